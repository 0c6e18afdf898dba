#include "scheduler/origin_service.h"

#include "api/methods.h"
#include "source/stat_message.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kLongestId = 512;  // bytes
// Longer than any peer waits for its origin.
constexpr auto kLook = std::chrono::seconds(60);

// A turn at looking, which another one gets if this one goes without a word.
class TurnHold {
 public:
  TurnHold(OriginStats& stats, const std::string& task, OriginStats::Turn turn)
      : stats_(stats), task_(task), turn_(turn) {}
  ~TurnHold() { stats_.lost(task_, turn_); }
  TurnHold(const TurnHold&) = delete;
  TurnHold& operator=(const TurnHold&) = delete;

 private:
  OriginStats& stats_;
  const std::string& task_;
  OriginStats::Turn turn_;
};

}  // namespace

OriginService::OriginService(world::World& world, StreamLimit& streams, Metrics& metrics)
    : world_(world),
      streams_(streams),
      unasked_(metrics.counter("d7y_scheduler_origin_unasked_total",
                               "Words about origins from peers that were not told to look.")) {}

void OriginService::attach(grpc::Server& server) {
  server.bidi<Request, Response>(std::string(api::method::origins::kStatOrigin),
                                 [this](grpc::ServerCall& call, grpc::Reader<Request>& in,
                                        grpc::Writer<Response>& out) { return stat_origin(call, in, out); });
}

Task<OriginStats::Answer> OriginService::ask(std::string task, std::string doubted) {
  for (;;) {
    auto answer = stats_.ask(task, world_.now(), doubted);
    if (answer.what != OriginStats::What::kWait) co_return answer;
    (void)co_await answer.entry->changed.wait(Deadline::at(answer.until));
  }
}

Result<void> OriginService::note(const std::string& task, OriginStats::Turn turn,
                                 const api::origins::OriginStat& stat) {
  TRY_OK(source::check(stat));
  stats_.found(task, turn, stat.SerializeAsString(), world_.now());
  return {};
}

Task<Result<void>> OriginService::stat_origin(grpc::ServerCall& call, grpc::Reader<Request>& in,
                                              grpc::Writer<Response>& out) {
  auto entering = streams_.enter(call, world_);
  CO_TRY(const StreamLimit::Place place, co_await entering);
  auto reading = in.read();
  CO_TRY(auto first, co_await reading);
  if (!first || first->task_id().empty() || first->task_id().size() > kLongestId) {
    co_return error(ErrorCode::kInvalid, "invalid StatOriginRequest.TaskId: 1 to {} bytes are wanted",
                    kLongestId);
  }
  const std::string task = first->task_id();
  if (first->has_found()) {
    // Anybody could say anything of any task.
    unasked_.add();
    co_return Result<void>{};
  }
  auto asking = ask(task, first->has_doubted() ? first->doubted().SerializeAsString() : std::string());
  auto answer = co_await asking;
  Response response;
  if (answer.what == OriginStats::What::kKnown) {
    (void)response.mutable_known()->ParseFromString(answer.entry->stat);
    auto writing = out.write(response);
    co_return co_await writing;
  }
  const TurnHold hold(stats_, task, answer.turn);
  auto writing = out.write(response);
  CO_OK(co_await writing);
  reading = in.read();
  auto waiting = within(Deadline::in(kLook, world_.now()), std::move(reading));
  auto second = co_await waiting;
  if (!second) co_return std::move(second).error();
  if (!*second) co_return Result<void>{};
  if ((*second)->has_found()) {
    auto noted = note(task, answer.turn, (*second)->found());
    if (!noted) stats_.gave_up(task, answer.turn, world_.now());
    co_return noted;
  }
  stats_.gave_up(task, answer.turn, world_.now());
  co_return Result<void>{};
}

}  // namespace d7y::scheduler
