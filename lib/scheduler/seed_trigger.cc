// Asking a seed to download a task: its DownloadTask stream is read to its end, what it says is of no
// interest.
#include <nlohmann/json.hpp>

#include "scheduler/service.h"

namespace d7y::scheduler {
namespace {

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

Task<void> Service::trigger(TaskHandle task, std::uint32_t attempt, std::string task_id, std::string seed,
                            Address at, api::dfdaemon::DownloadTaskRequest request) {
  metrics_.seed_triggers.add();
  log_.info("seed {} is asked for task {}", seed, task_id);
  auto download = hosts_.download(at, std::move(request));
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
