#include "scheduler/host_calls.h"

#include <algorithm>

#include "api/methods.h"
#include "base/scope.h"
#include "net/grpc/health.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kMostChannels = 1024;  // kept; more only while they have calls
// After so long without a byte a host with calls is asked whether it is there. One whose machine is gone
// would be waited for by every new task.
constexpr auto kQuiet = std::chrono::seconds(10);

Task<void> work_off(std::size_t& next, std::size_t count, std::function<Task<void>(std::size_t)>& work) {
  while (next < count) {
    auto working = work(next++);
    co_await working;
  }
}

}  // namespace

HostCalls::HostCalls(world::World& world, Connector connector, Log log)
    : world_(world), connector_(std::move(connector)), log_(log) {}

grpc::Channel& HostCalls::channel_to(const Address& at) {
  const auto found = channels_.find(at);
  if (found != channels_.end()) return *found->second;
  if (channels_.size() >= kMostChannels) {
    std::erase_if(channels_, [](const auto& entry) { return entry.second->open_calls() == 0; });
  }
  grpc::ChannelOptions options;
  options.idle_timeout = std::chrono::minutes(5);
  options.keepalive = kQuiet;
  options.keepalive_timeout = kQuiet;
  options.max_receive_message = 16 << 20;
  options.stream_window = 256 << 10;  // hosts say little here, and there are many
  options.connection_window = 1 << 20;
  auto made = connector_
                  ? std::make_unique<grpc::Channel>(world_, at.to_string(), connector_(at), options, log_)
                  : std::make_unique<grpc::Channel>(world_, at, options, log_);
  return *(channels_[at] = std::move(made));
}

Task<Result<void>> HostCalls::download(Address at, api::dfdaemon::DownloadTaskRequest request,
                                       const std::string& traceparent) {
  grpc::CallOptions options;
  if (!traceparent.empty()) options.metadata.add("traceparent", traceparent);
  return drain<api::dfdaemon::DownloadTaskResponse>(std::move(at), api::method::upload::kDownloadTask,
                                                    std::move(request), std::move(options));
}

Task<bool> HostCalls::answers(Address at, Duration patience) {
  Task<Result<void>> checking = grpc::check_health(channel_to(at), "", Deadline::in(patience, world_.now()));
  auto checked = co_await checking;
  co_return !checked.failed_with(ErrorCode::kTimeout);
}

Task<void> in_parallel(Loop& loop, std::size_t count, std::size_t at_once,
                       std::function<Task<void>(std::size_t)> work) {
  std::size_t next = 0;
  Scope workers(loop);
  for (std::size_t i = 0; i < std::min(count, at_once); ++i) workers.spawn(work_off(next, count, work));
  auto done = workers.idle(Deadline::never());
  auto ended = co_await done;
  (void)ended;
}

}  // namespace d7y::scheduler
