#include "fetch/source_phase.h"

#include <algorithm>
#include <utility>

#include "store/claim.h"

namespace d7y::fetch {
namespace {

// How long a piece in other hands is left alone at most.
constexpr auto kBusyPause = std::chrono::milliseconds(500);
// How often is looked at what those do.
constexpr auto kLook = std::chrono::milliseconds(100);

}  // namespace

SourcePhase::SourcePhase(Conductor& conductor)
    : conductor_(conductor),
      lanes_(conductor.origin_readers_, conductor.wish_.one_answer ? 1 : conductor.options_.source_lanes,
             conductor.parts_.world.now()) {
  lanes_.answered(conductor.first_wait_);
}

Task<Result<void>> SourcePhase::run() {
  auto& task = conductor_.task_;
  if (!task->content_length() || !conductor_.ranges_) co_return co_await stream_all();
  auto& loop = conductor_.parts_.world.loop();
  while (!conductor_.done()) {
    running_ = 0;
    {
      Scope lanes(loop), watching(loop);
      ++running_;
      lanes.spawn(lane());
      watching.spawn(watch(lanes));
      CO_OK(co_await lanes.idle(Deadline::never()));  // each lane's waits are bounded
    }
    if (failure_) co_return std::move(*failure_);
    if (!conductor_.ranges_) co_return co_await stream_all();
  }
  co_return Result<void>{};
}

void SourcePhase::add_lanes(Scope& lanes) {
  if (running_ == 0) return;  // all is done
  const auto wanted = std::min(lanes_.wanted(), running_ + conductor_.plan_.open());
  for (; running_ < wanted; ++running_) lanes.spawn(lane());
}

Task<void> SourcePhase::watch(Scope& lanes) {
  auto& world = conductor_.parts_.world;
  co_await sleep_for(OriginLanes::kOthersCome);
  for (;;) {
    add_lanes(lanes);
    co_await sleep_for(OriginLanes::kLook);
    lanes_.look(running_, world.now());
  }
}

Task<void> SourcePhase::lane() {
  struct Running {
    ~Running() {
      --count;
      ++ended;
    }
    std::uint32_t &count, &ended;
  } running{running_, ended_};
  source::Retry retry(conductor_.options_.retry);
  while (running_ <= lanes_.wanted() && !failure_ && conductor_.ranges_ && !conductor_.done()) {
    const auto pieces_in = [&](std::uint64_t bytes) {
      const auto pieces = std::max<std::uint64_t>(1, bytes / conductor_.task_->piece_length());
      return static_cast<std::uint32_t>(std::min<std::uint64_t>(pieces, conductor_.plan_.pieces()));
    };
    auto run = first_run();
    lanes_.look(running_, conductor_.parts_.world.now());
    if (!run) {
      run = conductor_.plan_.next_run(lanes_.sharing(), pieces_in(conductor_.options_.source_run),
                                      pieces_in(lanes_.worthwhile()));
    }
    if (!run) co_return;  // the rest is in other lanes' hands
    auto before = conductor_.plan_.missing();
    const auto turn = conductor_.accesses_.turn();
    const auto ended = ended_;
    auto fetched = co_await fetch_run(*run, retry);
    if (fetched) {
      retry.reset();
      continue;
    }
    if (fetched.failed_with(ErrorCode::kUnsupported)) {  // every lane may hear it
      if (std::exchange(conductor_.ranges_, false)) {
        conductor_.log_.info("origin of task {} sends no ranges; reading it as one stream",
                             conductor_.task_id_);
      }
      co_return;
    }
    if (conductor_.plan_.missing() < before) retry.reset();
    bool again = co_await try_again(retry, fetched.error(), turn);
    if (again) continue;
    if (may_be_for_others(fetched.error())) {
      if (leaves_it_to_others(fetched.error())) co_return;
      if (ended != ended_) {  // one that was in the way is gone
        retry.reset();
        continue;
      }
    }
    if (!failure_) failure_ = std::move(fetched).error();
    co_return;
  }
}

// Many origins give a client one or two connections and refuse the next ones, each in its own way.
bool SourcePhase::may_be_for_others(const Error& why) {
  return source::is_retryable(why) || why.status() == 401 || why.status() == 403;
}

bool SourcePhase::leaves_it_to_others(const Error& why) {
  if (running_ < 2) return false;
  lanes_.at_most(running_ - 1);
  conductor_.log_.info("task {}: {}; going on with {} connections", conductor_.task_id_, why.message(),
                       running_ - 1);
  return true;
}

// What the first request brought belongs to one lane, and nobody asks for it again.
std::optional<PiecePlan::Run> SourcePhase::first_run() const {
  if (!conductor_.first_body_ || !conductor_.plan_.is_open(0)) return std::nullopt;
  auto bytes = conductor_.first_body_->length().value_or(0);
  auto pieces = (bytes + conductor_.task_->piece_length() - 1) / conductor_.task_->piece_length();
  Run run{0, 1};
  while (run.end < pieces && run.end < conductor_.plan_.pieces() && conductor_.plan_.is_open(run.end))
    ++run.end;
  return run;
}

Task<bool> SourcePhase::try_again(source::Retry& retry, const Error& why, std::uint64_t turn) {
  auto& world = conductor_.parts_.world;
  if (conductor_.other_access(why, turn)) co_return true;
  const bool too_many = why.status() == 429 || why.status() == 503;
  if (too_many && running_ > 1) co_return false;
  auto pause = retry.after(why, world.random(), source::retry_after_of(why, world.wall_now()));
  if (!pause) co_return false;
  conductor_.log_.debug("task {}: {}; trying again in {} ms", conductor_.task_id_, why.message(),
                        std::chrono::duration_cast<std::chrono::milliseconds>(*pause).count());
  Task<void> resting = conductor_.rest(why, *pause);
  co_await resting;
  co_return true;
}

// Marks the pieces of a run as being fetched, and frees on its end those that did not arrive.
namespace {
class RunHold {
 public:
  RunHold(PiecePlan& plan, PiecePlan::Run run) : plan_(plan), run_(run) {
    for (auto piece = run.first; piece < run.end; ++piece) plan_.taken(piece);
  }
  ~RunHold() {
    for (auto piece = run_.first; piece < run_.end; ++piece) plan_.released(piece);
  }
  RunHold(const RunHold&) = delete;
  RunHold& operator=(const RunHold&) = delete;
  void done_with(std::uint32_t piece) { run_.first = piece + 1; }

 private:
  PiecePlan& plan_;
  PiecePlan::Run run_;
};
}  // namespace

Task<Result<void>> SourcePhase::fetch_run(Run run, source::Retry& retry) {
  auto& task = conductor_.task_;
  auto& world = conductor_.parts_.world;
  RunHold hold(conductor_.plan_, run);
  Stream stream;
  if (conductor_.first_body_ && run.first == 0) {
    stream.body = std::move(conductor_.first_body_);
    stream.end = stream.body->length().value_or(*task->content_length());
  }
  auto last = task->extent(run.end - 1);
  if (!last) co_return std::move(last).error();
  auto run_end = last->offset + last->length;

  for (auto number = run.first; number < run.end; ++number) {
    auto claimed = task->claim(number);
    if (!claimed) co_return std::move(claimed).error();
    if (claimed->state == store::ClaimState::kHave) {
      conductor_.plan_.completed(number);
      hold.done_with(number);
      continue;
    }
    if (claimed->state == store::ClaimState::kBusy) {
      // In other hands (read again after a crash, or a parent's): worth a look when something changed.
      auto woken = co_await task->changed().wait(Deadline::in(kBusyPause, world.now()));
      if (!woken && !woken.failed_with(ErrorCode::kTimeout)) co_return std::move(woken).error();
      co_return Result<void>{};
    }
    auto claim = std::move(*claimed->claim);
    auto began = world.now();
    claim.from_origin();
    claim.skip_already();
    CO_OK(co_await fill(claim, stream, run_end, retry));
    auto completed = co_await complete(std::move(claim), began);
    // What a peer had left of it was wrong, and is thrown away now.
    if (completed.failed_with(ErrorCode::kCorrupt) && contradicted_.insert(number).second)
      co_return Result<void>{};
    CO_OK(completed);
    hold.done_with(number);
  }
  co_return Result<void>{};
}

Task<Result<std::size_t>> SourcePhase::read_paced(source::Body& body, MutableBytes buffer) {
  auto& world = conductor_.parts_.world;
  auto& pacer = conductor_.source_pacer_;
  std::uint64_t granted = buffer.size();
  if (!pacer.unlimited()) granted = co_await pacer.take(granted);
  auto got =
      co_await body.read(buffer.first(granted), Deadline::in(conductor_.options_.idle_timeout, world.now()));
  auto moved = got ? *got : 0;
  if (moved < granted) pacer.give_back(granted - moved);
  if (moved > 0) conductor_.bytes_arrived(moved);
  lanes_.arrived(moved);
  co_return got;
}

// Fills `claim`, however often the origin breaks off on the way, as long as it gives something each time.
Task<Result<void>> SourcePhase::fill(store::PieceClaim& claim, Stream& stream, std::uint64_t run_end,
                                     source::Retry& retry) {
  static constexpr std::uint64_t kProgress = 64 << 10;  // less between two breaks counts as none
  for (;;) {
    auto before = claim.remaining();
    const auto turn = conductor_.accesses_.turn();
    auto filled = co_await fill_once(claim, stream, run_end);
    if (filled) co_return Result<void>{};
    stream.body.reset();
    if (before - claim.remaining() >= kProgress) retry.reset();
    bool again = co_await try_again(retry, filled.error(), turn);
    if (!again) co_return std::move(filled).error();
  }
}

// Fills `claim` from `stream`; where that stands elsewhere or has ended, a request for the bytes up to
// `run_end` takes its place.
Task<Result<void>> SourcePhase::fill_once(store::PieceClaim& claim, Stream& stream, std::uint64_t run_end) {
  auto& world = conductor_.parts_.world;
  while (claim.remaining() > 0) {
    auto wanted_at = claim.offset() + claim.position();
    if (!stream.body || stream.at != wanted_at || stream.at >= stream.end) {
      stream.body.reset();
      source::Span span{wanted_at, run_end - wanted_at};
      auto request = conductor_.source_request();
      const auto asked = world.now();
      auto deadline = Deadline::in(conductor_.options_.stat_timeout, asked);
      auto opened = co_await conductor_.parts_.sources.read(request, span, conductor_.version_, deadline);
      if (!opened) co_return std::move(opened).error();
      lanes_.answered(world.now() - asked);
      stream.body = std::move(*opened);
      if (conductor_.wish_.one_answer && !conductor_.version_.is_told())
        conductor_.version_ = stream.body->info().version;
      stream.at = wanted_at;
      stream.end = run_end;
    }
    CO_OK(claim.publish());
    // One lane by itself is better off here, with its writes on another thread.
    if (stream.fast && running_ > 1 && conductor_.source_pacer_.unlimited()) {
      auto bare = stream.body->bare();
      auto most = std::min({bare.left, stream.end - stream.at, claim.remaining()});
      auto receiving = bare.stream != nullptr ? claim.lend(*bare.stream, most) : nullptr;
      if (receiving) {
        Task<void> following = follow(claim, stream, std::move(receiving), most);
        co_await following;
        continue;
      }
    }
    auto room = claim.buffer();
    auto got = co_await read_paced(*stream.body,
                                   room.first(std::min<std::uint64_t>(room.size(), stream.end - stream.at)));
    if (!got) co_return std::move(got).error();
    if (*got == 0) {
      co_return error(ErrorCode::kReset, "the origin of {} ended {} bytes too early",
                      source::redacted(conductor_.wish_.message.url()), stream.end - stream.at);
    }
    stream.at += *got;
    stream.fast = world.receiver() != nullptr && world.receiver()->terms().fast(*got);
    CO_OK(claim.commit(*got));
  }
  co_return Result<void>{};
}

// Counts what others receive for us.
Task<void> SourcePhase::follow(store::PieceClaim& claim, Stream& stream,
                               std::shared_ptr<world::Receiving> receiving, std::uint64_t ordered) {
  auto& world = conductor_.parts_.world;
  auto began = world.now();
  for (std::uint64_t counted = 0;;) {
    auto state = claim.catch_up(*receiving);
    if (auto fresh = state.taken - counted; fresh > 0) {
      counted = state.taken;
      stream.at += fresh;
      stream.body->took(fresh);
      conductor_.bytes_arrived(fresh);
      lanes_.arrived(fresh);
    }
    if (state.ended) {
      stream.fast = counted == ordered && world.receiver()->terms().fast(ordered, world.now() - began);
      co_return;
    }
    (void)co_await receiving->changed().wait(Deadline::in(kLook, world.now()));
  }
}

Task<Result<void>> SourcePhase::complete(store::PieceClaim claim, TimePoint began) {
  Task<void> settling = claim.settled();
  co_await settling;
  store::PieceOrigin origin;
  origin.traffic = store::Traffic::kBackToSource;
  origin.cost = conductor_.parts_.world.now() - began;
  auto piece = claim.complete(std::move(origin));
  if (!piece) co_return std::move(piece).error();
  conductor_.piece_done(*piece);
  co_return Result<void>{};
}

// One request from the start to the end; what is here already is read and dropped. Used for origins
// without ranges and for content of unknown length.
Task<Result<void>> SourcePhase::stream_all() {
  source::Retry retry(conductor_.options_.retry);
  for (;;) {
    auto before = conductor_.task_->stored();
    const auto turn = conductor_.accesses_.turn();
    auto streamed = co_await stream_once();
    if (streamed) co_return Result<void>{};
    if (conductor_.task_->stored() > before) retry.reset();
    bool again = co_await try_again(retry, streamed.error(), turn);
    if (!again) co_return std::move(streamed).error();
  }
}

Task<Result<void>> SourcePhase::stream_once() {
  auto& task = conductor_.task_;
  auto& world = conductor_.parts_.world;
  auto body = std::move(conductor_.first_body_);
  if (!body) {
    auto request = conductor_.source_request();
    source::Span whole;
    auto deadline = Deadline::in(conductor_.options_.stat_timeout, world.now());
    auto opened = co_await conductor_.parts_.sources.read(request, whole, conductor_.version_, deadline);
    if (!opened) co_return std::move(opened).error();
    body = std::move(*opened);
  }
  for (std::uint32_t number = 0;; ++number) {
    auto length = task->content_length();
    if (length && (number >= *task->piece_count() || conductor_.done())) co_return Result<void>{};
    auto extent = task->extent(number);
    if (!extent) co_return std::move(extent).error();
    if (task->has(number)) {
      CO_OK(co_await drop(*body, extent->length));
      continue;
    }
    auto claimed = task->claim(number);
    if (!claimed) co_return std::move(claimed).error();
    if (claimed->state != store::ClaimState::kClaimed) {
      co_return error(ErrorCode::kInternal, "piece {} of task {} is in other hands", number, task->id());
    }
    auto claim = std::move(*claimed->claim);
    auto began = world.now();
    claim.from_origin();
    bool ended = false;
    while (claim.remaining() > 0 && !ended) {
      CO_OK(claim.publish());
      auto got = co_await read_paced(*body, claim.buffer());
      if (!got) co_return std::move(got).error();
      if (*got > 0) {
        CO_OK(claim.commit(*got));
      } else {
        ended = true;
      }
    }
    if (ended && length) {
      co_return error(ErrorCode::kReset, "the origin of {} ended {} bytes too early",
                      source::redacted(conductor_.wish_.message.url()),
                      *length - extent->offset - claim.position());
    }
    if (ended) co_return co_await end_of_unknown(std::move(claim), began);
    CO_OK(co_await complete(std::move(claim), began));
  }
}

Task<Result<void>> SourcePhase::drop(source::Body& body, std::uint64_t length) {
  std::string room(256 << 10, '\0');
  while (length > 0) {
    auto got =
        co_await read_paced(body, as_mutable_bytes(room).first(std::min<std::uint64_t>(length, room.size())));
    if (!got) co_return std::move(got).error();
    if (*got == 0) co_return error(ErrorCode::kReset, "the origin broke off {} bytes too early", length);
    length -= *got;
  }
  co_return Result<void>{};
}

// The origin has said all it has, somewhere in `claim`'s piece: now the length is known.
Task<Result<void>> SourcePhase::end_of_unknown(store::PieceClaim claim, TimePoint began) {
  auto& task = conductor_.task_;
  auto total = claim.offset() + claim.position();
  bool empty = claim.position() == 0;
  if (empty) {
    {
      auto given_back = std::move(claim);
    }
    CO_OK(task->set_content_length(total));
  } else {
    CO_OK(task->set_content_length(total));
    CO_OK(co_await complete(std::move(claim), began));
  }
  conductor_.begin_plan();
  conductor_.changed_.notify_all();
  co_return Result<void>{};
}

}  // namespace d7y::fetch
