#include "scheduler/manager_link.h"

#include <charconv>

#include "api/methods.h"
#include "base/hash.h"
#include "scheduler/connections.h"

namespace d7y::scheduler {
namespace {

namespace method = api::method::manager;

// The file of the last good answers: a line with format and digest, then two messages, each behind its
// length in decimal and a newline.
constexpr std::string_view kMagic = "d7y manager answers 1 ";
constexpr std::uint64_t kBiggestCache = 16 << 20;  // bytes

std::string pack(const api::manager::Scheduler& scheduler,
                 const api::manager::ListApplicationsResponse& applications) {
  std::string out;
  for (const auto& bytes : {scheduler.SerializeAsString(), applications.SerializeAsString()}) {
    out += fmt::format("{}\n", bytes.size());
    out += bytes;
  }
  return out;
}

std::optional<std::string_view> next_part(std::string_view& from) {
  const auto newline = from.find('\n');
  if (newline == std::string_view::npos) return std::nullopt;
  std::size_t length = 0;
  const auto parsed = std::from_chars(from.data(), from.data() + newline, length);
  if (parsed.ec != std::errc() || parsed.ptr != from.data() + newline) return std::nullopt;
  from.remove_prefix(newline + 1);
  if (from.size() < length) return std::nullopt;
  const auto part = from.substr(0, length);
  from.remove_prefix(length);
  return part;
}

Result<DynamicConfig> unpack(std::string_view answers) {
  api::manager::Scheduler scheduler;
  api::manager::ListApplicationsResponse applications;
  const auto first = next_part(answers);
  const auto second = first ? next_part(answers) : std::nullopt;
  if (!second || !scheduler.ParseFromArray(first->data(), static_cast<int>(first->size())) ||
      !applications.ParseFromArray(second->data(), static_cast<int>(second->size()))) {
    return error(ErrorCode::kCorrupt, "not a manager's answers");
  }
  return DynamicConfig::from_manager(scheduler, applications);
}

}  // namespace

std::string dns_name(std::string hostname) {
  for (char& c : hostname) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.';
    if (!fine) c = '-';
  }
  return hostname;
}

ManagerLink::ManagerLink(world::World& world, ManagerLinkOptions options, OnChange on_change, Log log,
                         Metrics& metrics)
    : world_(world),
      options_(std::move(options)),
      on_change_(std::move(on_change)),
      log_(log.in("manager")),
      connected_(metrics.gauge("d7y_scheduler_manager_connected", "1 while the manager knows us as alive.")),
      failures_(metrics.counter("d7y_scheduler_manager_failures_total", "Calls to the manager that failed.")),
      channel_(
          world, options_.address, [this](Deadline deadline) { return dial(deadline); },
          grpc::ChannelOptions{}, log_),
      scope_(world.loop()) {}

Task<Result<std::unique_ptr<world::Stream>>> ManagerLink::dial(Deadline deadline) {
  if (options_.connect) {
    auto connecting = options_.connect(deadline);
    co_return co_await connecting;
  }
  auto dialing = scheduler::dial(world_, options_.address, deadline);
  co_return co_await dialing;
}

template <class Request>
void ManagerLink::sign(Request& request) const {
  request.set_source_type(api::manager::SCHEDULER_SOURCE);
  request.set_hostname(options_.hostname);
  request.set_ip(options_.ip);
}

std::optional<DynamicConfig> ManagerLink::last_good() {
  if (options_.cache_path.empty()) return std::nullopt;
  auto file = world_.files().open(options_.cache_path, world::OpenMode::kRead);
  if (!file) return std::nullopt;
  auto status = (*file)->status();
  if (!status || status->size > kBiggestCache) return std::nullopt;
  std::string text(status->size, '\0');
  auto length = (*file)->read_at(0, as_mutable_bytes(text));
  const auto newline = text.find('\n');
  if (!length || *length != text.size() || newline == std::string::npos || !text.starts_with(kMagic)) {
    log_.warn("{} does not hold a manager's answers; ignored", options_.cache_path);
    return std::nullopt;
  }
  auto answers = text.substr(newline + 1);
  if (text.substr(kMagic.size(), newline - kMagic.size()) != sha256_hex(as_bytes(answers))) {
    log_.warn("{} is damaged; ignored", options_.cache_path);
    return std::nullopt;
  }
  auto config = unpack(answers);
  if (!config) return std::nullopt;
  answers_ = std::move(answers);
  return std::move(*config);
}

Result<void> ManagerLink::keep(const std::string& answers) {
  if (options_.cache_path.empty()) return {};
  const auto fresh = options_.cache_path + ".new";
  const auto text = fmt::format("{}{}\n{}", kMagic, sha256_hex(as_bytes(answers)), answers);
  // Client configurations may hold what is not for everyone.
  TRY(auto file, world_.files().open(fresh, world::OpenMode::kCreate, 0600));
  TRY_OK(file->resize(0));
  TRY_OK(file->write_at(0, as_bytes(text)));
  return world_.files().rename(fresh, options_.cache_path);
}

void ManagerLink::take(const std::string& answers) {
  if (answers == answers_) return;
  auto config = unpack(answers);
  if (!config) {
    log_.warn("dynamic configuration stays as it is: {}", config.error().message());
    return;
  }
  answers_ = answers;
  log_.info("dynamic configuration read from manager {}", channel_.name());
  on_change_(std::move(*config));
  if (auto kept = keep(answers_); !kept) {
    log_.warn("the manager's answers are not kept for a restart: {}", kept.error().message());
  }
}

Task<Result<void>> ManagerLink::register_here() {
  api::manager::UpdateSchedulerRequest request;
  sign(request);
  request.set_port(options_.port);
  if (!options_.idc.empty()) request.set_idc(options_.idc);
  if (!options_.location.empty()) request.set_location(options_.location);
  request.set_scheduler_cluster_id(options_.cluster_id);
  for (const auto& feature : options_.features) request.add_features(feature);
  request.set_config(fmt::format("{{\"manager_keep_alive_interval\":{}}}", options_.keep_alive.count()));
  grpc::CallOptions options;
  options.deadline = Deadline::in(options_.call_timeout, world_.now());
  auto calling =
      channel_.unary<api::manager::Scheduler>(method::kUpdateScheduler, request, std::move(options));
  CO_TRY(auto registered, co_await calling);
  log_.info("registered at manager {} as {} {}:{}, id {}", channel_.name(), options_.hostname, options_.ip,
            options_.port, registered.id());
  co_return Result<void>{};
}

Task<Result<void>> ManagerLink::refresh() {
  api::manager::GetSchedulerRequest request;
  sign(request);
  request.set_scheduler_cluster_id(options_.cluster_id);
  grpc::CallOptions options;
  options.deadline = Deadline::in(options_.call_timeout, world_.now());
  auto getting = channel_.unary<api::manager::Scheduler>(method::kGetScheduler, request, options);
  CO_TRY(auto scheduler, co_await getting);
  api::manager::ListApplicationsRequest list;
  sign(list);
  auto listing =
      channel_.unary<api::manager::ListApplicationsResponse>(method::kListApplications, list, options);
  auto applications = co_await listing;
  // There are none, or the manager does not know the question.
  if (!applications && !applications.failed_with(ErrorCode::kNotFound) &&
      !applications.failed_with(ErrorCode::kUnsupported)) {
    co_return std::move(applications).error();
  }
  const api::manager::ListApplicationsResponse none;
  // Only what matters here: times of day in an answer would look like a change.
  api::manager::Scheduler kept;
  kept.mutable_scheduler_cluster()->CopyFrom(scheduler.scheduler_cluster());
  if (scheduler.seed_peers_size() > 0) {
    *kept.add_seed_peers()->mutable_seed_peer_cluster() = scheduler.seed_peers(0).seed_peer_cluster();
  }
  take(pack(kept, applications ? *applications : none));
  co_return Result<void>{};
}

Task<void> ManagerLink::refresh_for_ever() {
  for (;;) {
    auto refreshing = refresh();
    auto refreshed = co_await refreshing;
    if (!refreshed) {
      failures_.add();
      log_.warn("dynamic configuration stays as it is: manager {}: {}", channel_.name(),
                refreshed.error().message());
    }
    co_await sleep_for(options_.refresh);
  }
}

// Until the stream ends, which is never a success unless we leave.
Task<Result<void>> ManagerLink::keep_alive() {
  auto call = channel_.client_stream<api::manager::KeepAliveRequest, api::Empty>(method::kKeepAlive);
  api::manager::KeepAliveRequest request;
  sign(request);
  request.set_cluster_id(options_.cluster_id);
  for (;;) {
    if (leaving_) {
      auto ending = call.finish();
      auto ended = co_await ending;
      (void)ended;  // some managers end the stream without an answer
      co_return Result<void>{};
    }
    auto writing = call.write(request);
    CO_OK(co_await writing);
    alive_ = true;
    connected_.set(1);
    const auto deadline = Deadline::in(options_.keep_alive, world_.now());
    auto waited = co_await leave_.wait(deadline);
    (void)waited;
  }
}

Task<void> ManagerLink::run() {
  Backoff pause(std::chrono::seconds(1), options_.keep_alive > std::chrono::seconds(1)
                                             ? options_.keep_alive * 6
                                             : std::chrono::seconds(30));
  bool refreshing = false;
  while (!leaving_) {
    auto registering = register_here();
    auto registered = co_await registering;
    if (registered) {
      if (!refreshing) scope_.spawn(refresh_for_ever());
      refreshing = true;
      pause.reset();
      auto staying = keep_alive();
      registered = co_await staying;
      alive_ = false;
      connected_.set(0);
    }
    if (registered) break;  // we leave
    failures_.add();
    log_.warn("manager {}: {}; tried again", channel_.name(), registered.error().message());
    co_await sleep_for(pause.next(world_.random()));
  }
  left_.notify_all();
}

Task<void> ManagerLink::leave(Deadline deadline) {
  leaving_ = true;
  if (!alive_) co_return;
  leave_.notify_all();
  auto waited = co_await left_.wait(deadline);
  (void)waited;
}

}  // namespace d7y::scheduler
