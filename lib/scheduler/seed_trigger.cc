// Asking a seed to download a task: its DownloadTask stream is read to its end, what it says is of no
// interest.
#include <nlohmann/json.hpp>

#include "api/methods.h"
#include "scheduler/service.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kMostChannels = 1024;  // kept to seeds

// Daemons put the origin's answer as JSON into the status details (Dragonfly grpc 3g).
bool origin_refused(const Error& error) {
  if (error.details().empty()) return false;
  const auto details = nlohmann::json::parse(error.details(), nullptr, false);
  if (!details.is_object() || !details.contains("status_code") || !details["status_code"].is_number_integer())
    return false;
  const auto status = details["status_code"].get<std::int64_t>();
  return status >= 400 && status < 500 && status != 408 && status != 429;
}

SeedOutcome outcome_of(const Error& error) {
  if (origin_refused(error)) return SeedOutcome::kRefused;
  switch (error.code()) {
    case ErrorCode::kRefused:
    case ErrorCode::kReset:
    case ErrorCode::kTimeout:
    case ErrorCode::kUnavailable:
    case ErrorCode::kClosed: return SeedOutcome::kUnreachable;
    default: return SeedOutcome::kFailed;
  }
}

}  // namespace

grpc::Channel& Service::channel_to(const Address& at) {
  auto& channel = channels_[at];
  if (channel) return *channel;
  if (channels_.size() > kMostChannels) {
    std::erase_if(channels_,
                  [&](const auto& entry) { return entry.second && entry.second->open_calls() == 0; });
  }
  grpc::ChannelOptions options;
  options.idle_timeout = std::chrono::minutes(5);
  auto& made = channels_[at];
  if (options_.seed_connect) {
    made = std::make_unique<grpc::Channel>(world_, at.to_string(), options_.seed_connect(at), options, log_);
  } else {
    made = std::make_unique<grpc::Channel>(world_, at, options, log_);
  }
  return *made;
}

Task<Result<void>> Service::drain_download(grpc::Channel& channel,
                                           api::dfdaemon::DownloadTaskRequest request) {
  auto call =
      channel.server_stream<api::dfdaemon::DownloadTaskResponse>(api::method::upload::kDownloadTask, request);
  for (;;) {
    auto reading = call.read();
    CO_TRY(auto message, co_await reading);
    if (!message) co_return Result<void>{};
  }
}

Task<void> Service::trigger(TaskHandle task, std::uint32_t attempt, std::string task_id, std::string seed,
                            Address at, api::dfdaemon::DownloadTaskRequest request) {
  metrics_.seed_triggers.add();
  log_.info("seed {} is asked for task {}", seed, task_id);
  auto& channel = channel_to(at);
  auto download = drain_download(channel, std::move(request));
  auto bounded = within(Deadline::in(options_.seed_timeout, world_.now()), std::move(download));
  auto ended = co_await bounded;
  auto outcome = SeedOutcome::kDone;
  if (!ended) {
    outcome = outcome_of(ended.error());
    metrics_.seed_failures.add();
    log_.warn("seed {} at {} could not fetch task {}: {}", seed, at.to_string(), task_id,
              ended.error().message());
  }
  brain_.seed_ended(task, attempt, outcome, world_.now());
  pump();
}

}  // namespace d7y::scheduler
