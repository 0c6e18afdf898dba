#include "swarm/scheduler_set.h"

#include <algorithm>
#include <utility>

#include "api/methods.h"
#include "net/grpc/health.h"

namespace d7y::swarm {

namespace {

Result<HostPort> split(std::string_view text) {
  auto parts = HostPort::parse(text);
  if (!parts) return std::move(parts).error().in("scheduler");
  return parts;
}

// Dragonfly's own message names stay readable in logs without the channel's address twice.
std::string reason(const Error& why) { return why.message(); }

}  // namespace

SchedulerSet::SchedulerSet(world::World& world, SchedulerSetOptions options,
                           std::function<api::common::Host()> describe, Log log)
    : world_(world),
      options_(std::move(options)),
      describe_(std::move(describe)),
      log_(log.in("schedulers")),
      scope_(world.loop()) {}

SchedulerSet::~SchedulerSet() = default;

Task<Result<void>> SchedulerSet::start(Deadline deadline) {
  if (none()) co_return Result<void>{};
  {
    struct Asking {  // also when it is cancelled
      SchedulerSet& set;
      ~Asking() {
        set.starting_ = false;
        set.all_asked_.notify_all();
      }
    } asking{*this};
    starting_ = true;
    co_await refresh(deadline);
  }
  co_await announce_all(false, deadline);
  if (!started_) {
    started_ = true;
    scope_.spawn(watch_forever());
    scope_.spawn(announce_forever());
  }
  if (ring_.empty()) co_return error(ErrorCode::kUnavailable, "{}", why_none());
  co_return Result<void>{};
}

Task<void> SchedulerSet::met(Deadline deadline) {
  while (starting_) {
    auto asked = co_await all_asked_.wait(deadline);
    if (!asked) co_return;
  }
}

std::string SchedulerSet::why_none() const {
  if (none()) return "no scheduler is configured";
  std::string why = "no scheduler can be used";
  const char* separator = ": ";
  if (!list_problem_.empty()) {
    why += separator + list_problem_;
    separator = "; ";
  }
  for (const auto& [address, entry] : entries_) {
    if (entry.healthy) continue;
    why += fmt::format("{}{}: {}", separator, address.to_string(), entry.problem);
    separator = "; ";
  }
  return why;
}

// ---- Who is there

Task<void> SchedulerSet::watch_forever() {
  for (;;) {
    bool all_well = list_problem_.empty() && !entries_.empty() &&
                    std::all_of(entries_.begin(), entries_.end(),
                                [](const auto& e) { return e.second.healthy && !e.second.silent; });
    auto until =
        Deadline::in(all_well ? options_.refresh : std::min(options_.retry, options_.refresh), world_.now());
    // Woken when one was found unreachable: then the wait becomes the short one.
    auto woken = co_await wake_.wait(until);
    if (woken) continue;
    co_await refresh(Deadline::never());
    co_await announce_all(true, Deadline::in(options_.call_timeout, world_.now()));
  }
}

Task<void> SchedulerSet::refresh(Deadline deadline) {
  // A manager that does not answer must not use up the time of the schedulers.
  Task<Result<void>> reading =
      read_list(deadline.or_earlier(Deadline::in(options_.call_timeout, world_.now())));
  auto read = co_await reading;
  auto problem = read ? std::string() : reason(read.error());
  if (!read && problem != list_problem_) log_.warn("{}; going on with the schedulers known so far", problem);
  list_problem_ = std::move(problem);

  auto until = deadline.or_earlier(Deadline::in(options_.health_timeout, world_.now()));
  Scope checks(world_.loop());
  for (const auto& [address, entry] : entries_) checks.spawn(check(address, until));
  (void)co_await checks.idle(Deadline::never());
  rebuild();
}

Task<Result<void>> SchedulerSet::read_list(Deadline deadline) {
  std::vector<ListedScheduler> listed;
  if (options_.list) {
    Task<Result<std::vector<ListedScheduler>>> asking = options_.list(deadline);
    CO_TRY(listed, co_await asking);
  }
  for (const auto& address : options_.addresses) listed.push_back({address, 0});

  std::map<Address, std::pair<std::uint64_t, std::size_t>> wanted;
  std::optional<Error> trouble;
  for (const auto& scheduler : listed) {
    auto parts = split(scheduler.address);
    if (!parts) {
      trouble = std::move(parts).error();
      continue;
    }
    std::vector<Address> found;
    if (auto literal = Address::parse_ip(parts->host, parts->port)) {
      found.push_back(*literal);
    } else {
      Task<Result<std::vector<Address>>> resolving =
          world_.network().resolve(parts->host, parts->port, deadline);
      auto resolved = co_await resolving;
      if (!resolved) {
        trouble = std::move(resolved).error().in(fmt::format("resolving scheduler {}", scheduler.address));
        continue;
      }
      found = std::move(*resolved);
      // As Dragonfly's clients do, so that all peers have the same ring.
      bool v4 = std::any_of(found.begin(), found.end(),
                            [](const Address& a) { return a.family() == Address::Family::kIpv4; });
      if (v4) std::erase_if(found, [](const Address& a) { return a.family() != Address::Family::kIpv4; });
    }
    for (const auto& address : found) wanted.emplace(address, std::pair(scheduler.cluster, wanted.size()));
  }
  if (trouble && wanted.empty()) co_return std::move(*trouble);

  std::erase_if(entries_, [&](const auto& entry) { return !wanted.contains(entry.first); });
  for (const auto& [address, place] : wanted) {
    auto& entry = entries_[address];
    entry.cluster = place.first;
    entry.order = place.second;
    if (entry.channel) continue;
    if (options_.connect) {
      auto connect = [make = options_.connect, to = address](Deadline until) { return make(to, until); };
      entry.channel = std::make_shared<grpc::Channel>(world_, address.to_string(), std::move(connect),
                                                      grpc::ChannelOptions{}, log_);
    } else {
      entry.channel = std::make_shared<grpc::Channel>(world_, address, grpc::ChannelOptions{}, log_);
    }
  }
  if (trouble) co_return std::move(*trouble);
  co_return Result<void>{};
}

Task<void> SchedulerSet::check(Address address, Deadline deadline) {
  auto channel = entries_.at(address).channel;
  Task<Result<void>> asking = grpc::check_health(*channel, "", deadline);
  auto answer = co_await asking;
  auto found = entries_.find(address);
  if (found == entries_.end()) co_return;
  auto& entry = found->second;
  entry.silent = false;
  if (answer) {
    if (!entry.healthy) log_.info("scheduler {} is healthy", address.to_string());
    entry.healthy = true;
    entry.problem.clear();
    co_return;
  }
  auto problem = reason(answer.error());
  if (entry.healthy || entry.problem != problem) log_.warn("scheduler {}: {}", address.to_string(), problem);
  entry.healthy = entry.announced = entry.foreign = false;
  entry.problem = std::move(problem);
}

void SchedulerSet::rebuild() {
  const Entry* first = nullptr;
  for (const auto& [address, entry] : entries_) {
    if (entry.healthy && (first == nullptr || entry.order < first->order)) first = &entry;
  }
  std::vector<Address> members;
  for (const auto& [address, entry] : entries_) {
    if (entry.healthy && entry.cluster == first->cluster) members.push_back(address);
  }
  ring_ = SchedulerRing(members);
}

Result<SchedulerSet::Picked> SchedulerSet::pick(std::string_view task_id) const {
  const Address* address = ring_.pick(task_id);
  if (address == nullptr) return error(ErrorCode::kUnavailable, "{}", why_none());
  return Picked{*address, entries_.at(*address).channel};
}

std::vector<SchedulerSet::Picked> SchedulerSet::all() const {
  std::vector<Picked> out;
  for (const auto& [address, entry] : entries_) {
    if (entry.healthy) out.push_back({address, entry.channel});
  }
  return out;
}

void SchedulerSet::unreachable(const Address& address, const Error& why) {
  auto found = entries_.find(address);
  if (found == entries_.end() || !found->second.healthy) return;
  log_.warn("scheduler {}: {}; others take its tasks until it is back", address.to_string(), why.message());
  found->second.healthy = found->second.announced = found->second.foreign = false;
  found->second.problem = why.message();
  rebuild();
  wake_.notify_all();
}

void SchedulerSet::silent(const Address& address) {
  auto found = entries_.find(address);
  if (found == entries_.end() || std::exchange(found->second.silent, true)) return;
  wake_.notify_all();
}

void SchedulerSet::is_foreign(const Address& address) {
  auto found = entries_.find(address);
  if (found != entries_.end()) found->second.foreign = true;
}

bool SchedulerSet::foreign(const Address& address) const {
  auto found = entries_.find(address);
  return found != entries_.end() && found->second.foreign;
}

std::vector<std::pair<std::string, std::string>> SchedulerSet::report() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [address, entry] : entries_) out.emplace_back(address.to_string(), entry.problem);
  return out;
}

// ---- That they know us

Task<void> SchedulerSet::announce_forever() {
  for (;;) {
    co_await sleep_for(options_.announce_interval);
    co_await announce_all(false, Deadline::in(options_.call_timeout, world_.now()));
  }
}

Task<void> SchedulerSet::announce_all(bool only_new, Deadline deadline) {
  if (!describe_) co_return;
  Scope announcing(world_.loop());
  for (const auto& [address, entry] : entries_) {
    if (!entry.healthy || (only_new && entry.announced)) continue;
    Picked scheduler{address, entry.channel};
    announcing.spawn(announce_quietly(std::move(scheduler), deadline));
  }
  (void)co_await announcing.idle(Deadline::never());
}

Task<void> SchedulerSet::announce_quietly(Picked scheduler, Deadline deadline) {
  auto address = scheduler.address;
  Task<Result<void>> announcing = announce_to(std::move(scheduler), deadline);
  auto announced = co_await announcing;
  if (!announced)
    log_.warn("announcing this host to scheduler {}: {}", address.to_string(), announced.error().message());
}

Task<Result<void>> SchedulerSet::announce_to(Picked scheduler, Deadline deadline) {
  if (!describe_) co_return error(ErrorCode::kPrecondition, "this process does not announce itself");
  api::scheduler::AnnounceHostRequest request;
  *request.mutable_host() = describe_();
  api::set_duration(*request.mutable_interval(), options_.announce_interval);
  grpc::CallOptions options;
  options.deadline = deadline.or_earlier(Deadline::in(options_.call_timeout, world_.now()));
  Task<Result<api::Empty>> calling = scheduler.channel->unary<api::Empty>(
      api::method::scheduler::kAnnounceHost, request, std::move(options));
  auto called = co_await calling;
  auto found = entries_.find(scheduler.address);
  if (found != entries_.end()) found->second.announced = called.ok();
  CO_OK(called);
  co_return Result<void>{};
}

Task<Result<void>> SchedulerSet::delete_task(std::string host_id, std::string task_id, Deadline deadline) {
  api::scheduler::DeleteTaskRequest request;
  request.set_host_id(std::move(host_id));
  request.set_task_id(std::move(task_id));
  Task<Result<api::Empty>> calling =
      ask<api::Empty>(api::method::scheduler::kDeleteTask, std::move(request), deadline);
  CO_OK(co_await calling);
  co_return Result<void>{};
}

Task<void> SchedulerSet::delete_host(Picked scheduler, std::string host_id, Deadline deadline) {
  api::scheduler::DeleteHostRequest request;
  request.set_host_id(std::move(host_id));
  grpc::CallOptions options;
  options.deadline = deadline;
  Task<Result<api::Empty>> calling =
      scheduler.channel->unary<api::Empty>(api::method::scheduler::kDeleteHost, request, std::move(options));
  auto called = co_await calling;
  if (!called) {
    log_.info("telling scheduler {} that this host goes: {}", scheduler.address.to_string(),
              called.error().message());
  }
}

Task<void> SchedulerSet::leave(std::string host_id, Deadline deadline) {
  scope_.cancel();
  Scope leaving(world_.loop());
  for (const auto& scheduler : all()) leaving.spawn(delete_host(scheduler, host_id, deadline));
  (void)co_await leaving.idle(deadline);
}

}  // namespace d7y::swarm
