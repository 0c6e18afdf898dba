#include "fetch/shared_stat.h"

#include "api/methods.h"
#include "source/stat_message.h"

namespace d7y::fetch {
namespace {

// A scheduler that is there says so at once.
constexpr auto kHeaders = std::chrono::seconds(1);
// How long the one who looks is waited for; the scheduler lets another one look sooner.
constexpr auto kPatience = std::chrono::seconds(8);
// For the words to reach the scheduler.
constexpr auto kFarewell = std::chrono::seconds(5);
// Longer than schedulers keep what they were told.
constexpr auto kDoubt = std::chrono::seconds(15);

}  // namespace

Task<Result<SharedStat::Stat>> SharedStat::stat(std::string task_id, source::Request request,
                                                Deadline deadline) {
  auto asking = ask(task_id);
  Heard heard = co_await asking;
  if (heard.stat) {
    auto info = source::info_of(*heard.stat, request.url);
    co_return Stat{std::move(info), std::move(heard.stat)};
  }
  auto looking = sources_.stat(request, deadline);
  auto info = co_await looking;
  Request said;
  if (auto found = info ? source::shareable(*info) : std::nullopt) *said.mutable_found() = std::move(*found);
  if (heard.call) scope_.spawn(tell(std::move(heard.call), std::move(said)));
  if (!info) co_return std::move(info).error();
  co_return Stat{std::move(*info), std::nullopt};
}

std::shared_ptr<SharedStat::Call> SharedStat::open_call(const std::string& task_id) {
  if (schedulers_ == nullptr) return nullptr;
  auto picked = schedulers_->pick(task_id);
  if (!picked || schedulers_->foreign(picked->address)) return nullptr;
  grpc::CallOptions options;
  options.headers_deadline = Deadline::in(kHeaders, world_.now());
  return std::make_shared<Call>(
      picked->channel->bidi<Request, Response>(api::method::origins::kStatOrigin, std::move(options)));
}

Task<SharedStat::Heard> SharedStat::ask(std::string task_id) {
  Heard heard;
  auto call = open_call(task_id);
  if (!call) co_return heard;
  Request request;
  request.set_task_id(task_id);
  if (const auto* wrong = doubted(task_id)) *request.mutable_doubted() = *wrong;
  auto asking = first_answer(call, request);
  auto waiting = within(Deadline::in(kPatience, world_.now()), std::move(asking));
  auto answer = co_await waiting;
  if (!answer) {
    log_.debug("task {}: nobody says what its origin has: {}", task_id, answer.error().message());
    auto picked = schedulers_->pick(task_id);
    if (answer.failed_with(ErrorCode::kUnsupported) && picked) schedulers_->is_foreign(picked->address);
    if (answer.failed_with(ErrorCode::kTimeout) && picked) schedulers_->silent(picked->address);
    co_return heard;
  }
  if (!answer->has_known()) {
    heard.call = std::move(call);
    co_return heard;
  }
  auto good = source::check(answer->known());
  if (good && answer->known().SerializeAsString() == request.doubted().SerializeAsString()) {
    log_.debug("task {}: the origin is said to have what it has not", task_id);
  } else if (good) {
    heard.stat = std::move(*answer->mutable_known());
  } else {
    log_.warn("task {}: {} from the scheduler; asking the origin", task_id, good.error().message());
  }
  co_return heard;
}

Task<Result<SharedStat::Response>> SharedStat::first_answer(std::shared_ptr<Call> call, Request request) {
  auto writing = call->write(request);
  (void)co_await writing;  // should it fail, reading says why
  auto reading = call->read();
  CO_TRY(auto response, co_await reading);
  if (!response) co_return error(ErrorCode::kProtocol, "the scheduler ends the call without an answer");
  co_return std::move(*response);
}

Task<void> SharedStat::tell(std::shared_ptr<Call> call, Request request) {
  auto writing = call->write(request);
  (void)co_await writing;
  auto finishing = call->finish();
  (void)co_await within(Deadline::in(kFarewell, world_.now()), std::move(finishing));
}

void SharedStat::doubt(const std::string& task_id, api::origins::OriginStat heard) {
  const auto now = world_.now();
  std::erase_if(doubted_, [&](const auto& entry) { return entry.second.until <= now; });
  doubted_[task_id] = {std::move(heard), now + kDoubt};
}

const api::origins::OriginStat* SharedStat::doubted(const std::string& task_id) const {
  const auto found = doubted_.find(task_id);
  return found != doubted_.end() && world_.now() < found->second.until ? &found->second.heard : nullptr;
}

}  // namespace d7y::fetch
