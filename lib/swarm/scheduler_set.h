// The schedulers of a cluster: which are alive, which one serves a task, and that they know us.
//
//   SchedulerSet schedulers(world, {.addresses = {"10.0.0.1:8002"}}, announcement, log);
//   co_await schedulers.start(deadline);                    // health checks, AnnounceHost to all
//   auto session = co_await AnnounceSession::open(schedulers, ...);
//   ...
//   co_await schedulers.leave(deadline);                    // DeleteHost to all
//
// All calls of one task go to one scheduler, found on a ring over the healthy ones as every Dragonfly
// client does, since peers meet only if they choose alike (Dragonfly client 1.5). A scheduler that
// cannot be reached loses its arc at once and gets it back with the first health check that
// succeeds; until then its tasks belong to its successor on the ring. A task that is being announced
// stays with the scheduler it began with.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/scheduler.h"
#include "base/address.h"
#include "base/log.h"
#include "base/scheduler_ring.h"
#include "base/scope.h"
#include "net/grpc/channel.h"
#include "world/world.h"

namespace d7y::swarm {

// A scheduler as a manager lists it.
struct ListedScheduler {
  std::string address;        // "ip:port"
  std::uint64_t cluster = 0;  // only one cluster is used: that of the first healthy one
};

struct SchedulerSetOptions {
  // "host:port" or "ip:port"; names are resolved at each refresh.
  std::vector<std::string> addresses;
  // Where the list comes from instead, if set: asked at each refresh (the manager client). A failure
  // keeps the old list.
  std::function<Task<Result<std::vector<ListedScheduler>>>(Deadline)> list;
  std::chrono::nanoseconds refresh = std::chrono::seconds(60);
  std::chrono::nanoseconds health_timeout = std::chrono::seconds(5);
  std::chrono::nanoseconds announce_interval = std::chrono::seconds(300);
  std::chrono::nanoseconds call_timeout = std::chrono::seconds(10);
  // A scheduler that was not reachable is tried again after this, not only at the next refresh.
  std::chrono::nanoseconds retry = std::chrono::seconds(2);
  // Makes a connection; none: plain TCP. For TLS.
  std::function<Task<Result<std::unique_ptr<world::Stream>>>(Address, Deadline)> connect;
};

// The scheduler as such is away, rather than unwilling.
inline bool is_absence(const Error& why) {
  return why.code() == ErrorCode::kRefused || why.code() == ErrorCode::kReset ||
         why.code() == ErrorCode::kUnavailable;
}

class SchedulerSet {
 public:
  // `describe` gives the host as it is announced, fresh for each announcement; without it nothing
  // is announced (a client that only asks).
  SchedulerSet(world::World& world, SchedulerSetOptions options, std::function<api::common::Host()> describe,
               Log log);
  ~SchedulerSet();
  SchedulerSet(const SchedulerSet&) = delete;
  SchedulerSet& operator=(const SchedulerSet&) = delete;

  // Nothing to talk to was configured.
  bool none() const { return options_.addresses.empty() && !options_.list; }

  // The first round of health checks and announcements, then goes on by itself. kUnavailable if no
  // scheduler is healthy; it goes on all the same, and a download that comes later finds those that
  // came back.
  Task<Result<void>> start(Deadline deadline);
  // Waits while start() has not asked everybody yet: who comes in that moment would take it that nobody is
  // there.
  Task<void> met(Deadline deadline);

  struct Picked {
    Address address = Address::ipv4({}, 0);
    std::shared_ptr<grpc::Channel> channel;
  };
  // The scheduler of a task. kUnavailable if none is healthy, with the reasons.
  Result<Picked> pick(std::string_view task_id) const;
  // All healthy ones.
  std::vector<Picked> all() const;
  // It did not answer: its arc goes to its successor until a health check succeeds.
  void unreachable(const Address& address, const Error& why);
  // Did not answer a call in time: whether it is healthy is asked soon.
  void silent(const Address& address);
  // It does not know the calls that only d7y's schedulers answer; until it was away, when another program may
  // have come in its place.
  void is_foreign(const Address& address);
  bool foreign(const Address& address) const;
  // Announces us to one scheduler now: it has forgotten us (NOT_FOUND at register).
  Task<Result<void>> announce_to(Picked scheduler, Deadline deadline);

  // One call to the scheduler of `request.task_id()`; to its successor if it is away.
  template <class Response, class Request>
  Task<Result<Response>> ask(std::string_view path, Request request, Deadline deadline);

  // Tells the task's scheduler that we no longer have it. Best effort.
  Task<Result<void>> delete_task(std::string host_id, std::string task_id, Deadline deadline);
  // Tells all schedulers that we go, and stops announcing.
  Task<void> leave(std::string host_id, Deadline deadline);

  world::World& world() { return world_; }

  // For health pages: each known address and why it is not used, empty if it is.
  std::vector<std::pair<std::string, std::string>> report() const;

 private:
  struct Entry {
    std::shared_ptr<grpc::Channel> channel;
    std::uint64_t cluster = 0;
    std::size_t order = 0;  // in the list
    bool healthy = false, announced = false, foreign = false;
    bool silent = false;  // a call was not answered since the last check
    std::string problem = "not asked yet";
  };
  Task<void> watch_forever();
  Task<void> announce_forever();
  Task<void> refresh(Deadline deadline);
  Task<Result<void>> read_list(Deadline deadline);
  Task<void> check(Address address, Deadline deadline);
  Task<void> announce_all(bool only_new, Deadline deadline);
  Task<void> announce_quietly(Picked scheduler, Deadline deadline);
  Task<void> delete_host(Picked scheduler, std::string host_id, Deadline deadline);
  std::string why_none() const;
  void rebuild();

  world::World& world_;
  SchedulerSetOptions options_;
  std::function<api::common::Host()> describe_;
  Log log_;
  std::map<Address, Entry> entries_;
  SchedulerRing ring_;  // of the healthy ones
  std::string list_problem_;
  bool started_ = false, starting_ = false;
  Signal wake_, all_asked_;
  Scope scope_;
};

template <class Response, class Request>
Task<Result<Response>> SchedulerSet::ask(std::string_view path, Request request, Deadline deadline) {
  Task<void> meeting = met(deadline);
  co_await meeting;
  for (bool again = false;; again = true) {
    CO_TRY(Picked scheduler, pick(request.task_id()));
    grpc::CallOptions options;
    options.deadline = deadline.or_earlier(Deadline::in(options_.call_timeout, world_.now()));
    Task<Result<Response>> calling =
        scheduler.channel->template unary<Response>(path, request, std::move(options));
    auto answer = co_await calling;
    if (answer || again || !is_absence(answer.error())) co_return answer;
    unreachable(scheduler.address, answer.error());
  }
}

}  // namespace d7y::swarm
