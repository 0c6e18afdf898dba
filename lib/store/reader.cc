#include "store/reader.h"

#include <algorithm>
#include <limits>

#include "base/crc32.h"
#include "store/flight.h"
#include "store/store.h"
#include "store/task_slot.h"

namespace d7y::store {
namespace {

constexpr std::uint64_t kNoEnd = std::numeric_limits<std::uint64_t>::max();
// Held back at the end until the whole content's digest is verified. Short content is then not
// begun before it is known to be right.
constexpr std::uint64_t kHeldForDigest = 16 << 10;

}  // namespace

Reader::Reader(TaskHandle task, ReaderOptions options)
    : task_(std::move(task)), options_(options), position_(options.offset), resets_(task_->resets_) {
  task_->readers_.push_back(this);
}

Reader::~Reader() { std::erase(task_->readers_, this); }

std::uint64_t Reader::end() const {
  auto content = task_->content_length().value_or(kNoEnd);
  if (!options_.length) return content;
  auto wanted = *options_.length > kNoEnd - options_.offset ? kNoEnd : options_.offset + *options_.length;
  return std::min(wanted, content);
}

bool Reader::at_end() const { return position_ >= end(); }

void Reader::consume(std::uint64_t n) { position_ += n; }

Result<void> Reader::check() const {
  if (lied_) {
    return error(ErrorCode::kCorrupt, "task {}: bytes that were already read before {} failed verification",
                 task_->id(), position_);
  }
  if (resets_ != task_->resets_) {
    if (task_->failure() != nullptr) return task_->failure()->clone();
    return error(ErrorCode::kChanged, "task {} was started anew while it was read at {}", task_->id(),
                 position_);
  }
  auto content = task_->content_length();
  if (content && options_.offset > *content) {
    return error(ErrorCode::kInvalid, "task {} has {} bytes; nothing can be read from {}", task_->id(),
                 *content, options_.offset);
  }
  return {};
}

Result<void> Reader::prove() {
  auto start = unproven_->piece * task_->piece_length();
  bool same = unproven_->crc.has_value();
  auto buffer = task_->store_.buffers_.borrow();
  std::uint32_t crc = 0;
  for (auto at = start; same && at < position_;) {
    auto part = buffer.bytes().first(std::min<std::uint64_t>(buffer.bytes().size(), position_ - at));
    auto got = task_->content_->read_at(at, part);
    same = got && *got == part.size();
    if (same) crc = crc32(part, crc);
    at += part.size();
  }
  lied_ = !same || crc != *unproven_->crc;
  unproven_.reset();
  return check();
}

// Where the run of complete pieces that begins with `piece` ends, as far as this reader may go.
std::uint64_t Reader::verified_end(std::uint32_t piece) const {
  const StoredTask& task = *task_;
  auto bits = static_cast<std::uint32_t>(task.have_.words().size() * 64);
  auto gap = task.have_.first_clear(piece, bits).value_or(bits);
  auto run = std::min(gap * task.piece_length(), end());
  bool whole = options_.offset == 0 && task.content_length() == std::optional(end());
  if (options_.wait_for_content_digest && whole && !task.facts_.digest.empty() && !task.digest_verified_) {
    auto length = *task.content_length();
    run = std::min(run, length - std::min(length, kHeldForDigest));
  }
  return std::max(run, position_);
}

Result<Extent> Reader::ready() {
  TRY_OK(check());
  if (at_end()) return Extent{position_, 0};
  StoredTask& task = *task_;
  if (task.shared_ && !task.intact()) {
    task.doubt_all();
    task.store_.scope_->spawn(task.settle_in_background(task_));
  }
  auto piece =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(position_ / task.piece_length(), kMaxPieces));
  if (unproven_ && unproven_->piece != piece) unproven_.reset();  // nothing of this piece was handed out

  if (task.has(piece)) {
    if (unproven_) TRY_OK(prove());
    return Extent{position_, verified_end(piece) - position_};
  }
  auto flight = task.flights_.find(piece);
  if (!options_.follow_in_flight || flight == task.flights_.end()) return Extent{position_, 0};
  task.settle_writes(*flight->second);
  auto reach = std::min(flight->second->offset + flight->second->readable(), end());
  if (position_ >= reach) return Extent{position_, 0};
  if (unproven_) TRY_OK(prove());
  // The end of the range may lie within what is not verified: hold back as at a piece's end.
  if (reach == end() && reach < flight->second->offset + flight->second->length) {
    reach = reach - 1;
  }
  if (options_.wait_for_content_digest && !task.facts_.digest.empty() && options_.offset == 0 &&
      task.content_length()) {
    auto length = *task.content_length();
    reach = std::max(position_, std::min(reach, length - std::min(length, kHeldForDigest)));
  }
  return Extent{position_, reach - position_};
}

Task<Result<Extent>> Reader::next(Deadline deadline) {
  for (;;) {
    auto run = ready();
    if (!run || run->length > 0 || at_end()) co_return run;
    auto piece =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(position_ / task_->piece_length(), kMaxPieces));
    auto found = task_->flights_.find(piece);
    auto flight = found != task_->flights_.end() ? found->second : nullptr;
    bool fetched = flight && flight->writers > 0;
    if (!fetched && task_->failure() != nullptr) co_return task_->failure()->clone();
    // A piece in flight that holds back only for its digest, or that is not followed, still moves.
    Signal& signal = fetched ? flight->moved : task_->changed_;
    CO_OK(co_await signal.wait(deadline));
  }
}

Task<Result<std::size_t>> Reader::read(MutableBytes buffer, Deadline deadline) {
  CO_TRY(auto run, co_await next(deadline));
  auto part = buffer.first(std::min<std::uint64_t>(buffer.size(), run.length));
  CO_TRY(auto got, task_->content_->read_at(run.offset, part));
  if (got < part.size()) {
    co_return error(ErrorCode::kCorrupt,
                    "task {}: the stored content ends at {}, in the middle of a complete piece", task_->id(),
                    run.offset + got);
  }
  consume(got);
  co_return got;
}

}  // namespace d7y::store
