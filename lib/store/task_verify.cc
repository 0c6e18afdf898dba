// What makes content trustworthy: pieces read again after doubt, the whole content's digest, and the
// watch over files that were hard-linked out.
#include <algorithm>

#include "base/crc32.h"
#include "store/flight.h"
#include "store/store.h"
#include "store/task_slot.h"

namespace d7y::store {
namespace {

// Read at a time on another thread; stays in a core's cache until it is summed up.
constexpr std::size_t kReadStep = 256 << 10;
// The content digest is computed behind the download as soon as this much is there.
constexpr std::uint64_t kHashAhead = std::uint64_t{4} << 20;

struct Reading {
  std::shared_ptr<world::File> file;
  std::uint64_t offset = 0, length = 0;
  std::uint32_t crc = 0;
  std::optional<Error> failure;
  bool whole = false;
};

// Feeds [offset, offset + length) of the file to `take`, step by step; false at a short file.
template <class Take>
Result<bool> read_through(world::File& file, std::uint64_t offset, std::uint64_t length, Take take) {
  const auto room = std::min<std::uint64_t>(kReadStep, length);
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(room);
  for (std::uint64_t done = 0; done < length;) {
    const MutableBytes part(buffer.get(), std::min<std::uint64_t>(room, length - done));
    TRY(auto got, file.read_at(offset + done, part));
    if (got < part.size()) return false;
    take(Bytes(part));
    done += part.size();
  }
  return true;
}

}  // namespace

Result<ContentStamp> StoredTask::stamp() const {
  TRY(auto status, content_->status());
  return ContentStamp{status.size, status.modified};
}

bool StoredTask::vanished() const {
  auto named = store_.world_.files().link_status(content_path(incarnation_));
  if (!named) return named.failed_with(ErrorCode::kNotFound);
  auto ours = content_->status();
  return ours && (named->inode != ours->inode || named->device != ours->device);
}

bool StoredTask::intact() const {
  if (!shared_) return true;
  auto now = stamp();
  return now && *now == *shared_;
}

Result<void> StoredTask::note_shared() {
  TRY(auto now, stamp());
  if (shared_ == now) return {};
  TRY_OK(record(SharedRecord{now}));
  shared_ = now;
  return {};
}

void StoredTask::doubt_all() {
  auto end = static_cast<std::uint32_t>(have_.words().size() * 64);
  for (auto bit = have_.first_set(0, end); bit; bit = have_.first_set(*bit + 1, end)) doubts_.insert(*bit);
  have_.clear_all();
  stored_ = 0;
  hashing_.reset();
  restart_news();
}

Task<Result<bool>> StoredTask::piece_is_good(std::shared_ptr<world::File> file, PieceExtent extent,
                                             std::uint32_t crc) {
  auto reading = std::make_shared<Reading>();
  reading->file = std::move(file);
  reading->offset = extent.offset;
  reading->length = extent.length;
  std::function<void()> work = [reading] {
    auto read = read_through(*reading->file, reading->offset, reading->length,
                             [&](Bytes part) { reading->crc = crc32(part, reading->crc); });
    if (!read) {
      reading->failure = std::move(read).error();
    } else {
      reading->whole = *read;
    }
  };
  co_await store_.world_.offload(std::move(work));
  if (reading->failure) {
    // A sector that cannot be read is as good as lost; other pieces may be fine.
    store_.log_.warn("task {} piece {}: {}", facts_.id, extent.number, reading->failure->message());
    co_return false;
  }
  co_return reading->whole && reading->crc == crc;
}

Task<Result<void>> StoredTask::settle() {
  TaskHandle self(*this);
  while (settling_) CO_OK(co_await changed_.wait(Deadline::never()));
  if (doubts_.empty()) co_return Result<void>{};

  // Whoever waits goes on by itself, also when this one is cancelled.
  struct Turn {
    explicit Turn(StoredTask& task) : task(task) { task.settling_ = true; }
    ~Turn() {
      task.settling_ = false;
      task.changed_.notify_all();
    }
    StoredTask& task;
  };
  Turn turn(*this);
  if (shared_) {
    CO_TRY(auto now, stamp());
    shared_ = now;  // changes from here on count as new ones
  }
  std::uint64_t lost = 0, kept = 0;
  auto resets = resets_;
  while (!doubts_.empty()) {
    auto number = *doubts_.begin();
    auto slot = slots_.at(number);
    PieceExtent extent{number, number * facts_.piece_length, slot.length};
    auto file = content_;
    CO_TRY(bool good, co_await piece_is_good(std::move(file), extent, slot.crc));
    if (resets != resets_) co_return Result<void>{};
    if (good) {
      doubts_.erase(number);
      have_.set(number);
      stored_ += slot.length;
      log_.push_back(number);
      ++kept;
      continue;
    }
    CO_OK(record(LostRecord{number}));
    doubts_.erase(number);
    slots_.erase(number);
    finished_ = digest_verified_ = false;
    ++store_.corrupt_pieces_;
    ++lost;
  }
  if (lost > 0) {
    store_.log_.warn("task {}: {} of {} pieces on disk were wrong and will be fetched again", facts_.id, lost,
                     lost + kept);
  }
  if (shared_) {
    // A user's file is never written to.
    if (lost > 0) {
      CO_OK(co_await keep_good_privately());
    } else {
      CO_OK(record(SharedRecord{*shared_}));
    }
  }
  hash_what_is_here();
  co_return Result<void>{};
}

Task<void> StoredTask::settle_in_background(TaskHandle) {
  auto settled = co_await settle();
  if (!settled)
    store_.log_.warn("task {}: its content could not be checked: {}", facts_.id, settled.error().message());
}

Task<Result<void>> StoredTask::keep_good_privately() {
  auto& files = store_.world_.files();
  auto next = incarnation_ + 1;
  auto resets = resets_;
  auto old_path = content_path(incarnation_);
  if (auto gone = files.remove(content_path(next)); !gone && !gone.failed_with(ErrorCode::kNotFound)) {
    co_return gone;
  }
  CO_TRY(std::shared_ptr<world::File> copy, files.open(content_path(next), world::OpenMode::kCreateNew));
  auto end = static_cast<std::uint32_t>(have_.words().size() * 64);
  for (auto bit = have_.first_set(0, end); bit; bit = have_.first_set(*bit + 1, end)) {
    auto slot = slots_.at(*bit);
    auto reading = std::make_shared<Reading>();
    reading->file = content_;
    reading->offset = *bit * facts_.piece_length;
    reading->length = slot.length;
    std::function<void()> work = [reading, copy] {
      auto to = reading->offset;
      auto read = read_through(*reading->file, reading->offset, reading->length, [&](Bytes part) {
        reading->crc = crc32(part, reading->crc);
        auto written = copy->write_at(to, part);
        if (!written && !reading->failure) reading->failure = std::move(written).error();
        to += part.size();
      });
      if (!read) reading->failure = std::move(read).error();
      reading->whole = read && *read;
    };
    co_await store_.world_.offload(std::move(work));
    if (resets != resets_) co_return Result<void>{};
    if (reading->failure)
      co_return store_.explain(std::move(*reading->failure), "copy", slot.length, facts_.id);
    if (!reading->whole || reading->crc != slot.crc) {  // changed once more under our hands
      CO_OK(record(LostRecord{*bit}));
      drop_piece(*bit);
      finished_ = digest_verified_ = false;
    }
  }
  shared_.reset();
  // The old file goes away: what was durable in it must be so in the copy first.
  CO_OK(co_await copy->sync());
  CO_TRY(auto fresh, write_journal(next, true));
  auto journal = fresh.file;
  CO_OK(co_await journal->sync());
  if (resets != resets_) co_return Result<void>{};
  CO_OK(take_journal(std::move(fresh)));
  content_ = std::move(copy);
  reserved_from_ = reserved_to_ = 0;
  CO_OK(co_await files.sync_folder(folder_));
  if (auto gone = files.remove(old_path); !gone) {
    store_.log_.debug("task {}: {} is left over: {}", facts_.id, old_path, gone.error().message());
  }
  co_return Result<void>{};
}

Task<Result<void>> StoredTask::revalidate() {
  TaskHandle self(*this);
  doubt_all();
  co_return co_await settle();
}

// ---- The whole content's digest

void StoredTask::hash_what_is_here() {
  if (facts_.digest.empty() || digest_verified_ || (hashing_ && hashing_->busy)) return;
  auto digest = Digest::parse(facts_.digest);
  if (!digest || digest->kind() == HashKind::kCrc32) return;
  if (!hashing_) {
    hashing_ = std::make_unique<Hashing>();
    hashing_->state = std::make_shared<HashProgress>(digest->kind());
  }
  auto bits = static_cast<std::uint32_t>(have_.words().size() * 64);
  auto piece = static_cast<std::uint32_t>(hashing_->state->done / facts_.piece_length);
  auto ready = have_.first_clear(piece, bits).value_or(bits) * facts_.piece_length;
  if (ready < hashing_->state->done + kHashAhead) return;
  TaskHandle pin(*this);
  store_.scope_->spawn(hash_in_background(std::move(pin)));
  hashing_->busy = true;
}

Task<void> StoredTask::hash_in_background(TaskHandle) {
  auto state = hashing_ ? hashing_->state : nullptr;
  while (hashing_ && hashing_->state == state) {
    auto bits = static_cast<std::uint32_t>(have_.words().size() * 64);
    auto piece = static_cast<std::uint32_t>(state->done / facts_.piece_length);
    auto ready = have_.first_clear(piece, bits).value_or(bits) * facts_.piece_length;
    if (facts_.content_length) ready = std::min(ready, *facts_.content_length);
    if (ready <= state->done) break;
    auto step = std::min(ready - state->done, kHashAhead);
    auto file = content_;
    Task<Result<bool>> feeding = store_.hashes_.feed(state, std::move(file), step);
    auto fed = co_await feeding;
    if (!fed || !*fed) {
      if (hashing_ && hashing_->state == state) hashing_.reset();  // finish() reads anew and says why
      break;
    }
  }
  if (hashing_ && hashing_->state == state) hashing_->busy = false;
  changed_.notify_all();
}

Result<void> StoredTask::compare(const Digest& computed, const Digest& wanted) const {
  if (computed == wanted) return {};
  return error(ErrorCode::kCorrupt, "task {}: the content's digest is {}, expected {}", facts_.id,
               computed.to_string(), wanted.to_string());
}

Task<Result<void>> StoredTask::verify_digest() {
  if (facts_.digest.empty() || digest_verified_) co_return Result<void>{};
  CO_TRY(auto wanted, Digest::parse(facts_.digest));
  if (wanted.kind() == HashKind::kCrc32) {
    // From the pieces' own, without reading anything.
    std::uint32_t crc = 0;
    auto count = *piece_count();
    for (std::uint32_t number = 0; number < count; ++number) {
      crc = crc32_combine(crc, slots_.at(number).crc, slots_.at(number).length);
    }
    co_return compare(Digest::crc32(crc), wanted);
  }
  while (hashing_ && hashing_->busy) CO_OK(co_await changed_.wait(Deadline::never()));
  // Ours from here on: should we be cancelled, what is under way ends with nobody else touching it.
  auto hashing = hashing_ ? std::move(hashing_->state) : std::make_shared<HashProgress>(wanted.kind());
  hashing_.reset();
  auto resets = resets_;
  bool whole = true;
  while (hashing->done < *facts_.content_length && whole) {
    auto step = std::min(*facts_.content_length - hashing->done, kHashAhead);
    auto file = content_;
    Task<Result<bool>> feeding = store_.hashes_.feed(hashing, std::move(file), step);
    auto fed = co_await feeding;
    if (resets != resets_) co_return error(ErrorCode::kChanged, "task {} was started anew", facts_.id);
    if (!fed)
      co_return std::move(fed).error().in(fmt::format("task {}: verifying {}", facts_.id, facts_.digest));
    whole = *fed;
  }
  if (!whole) co_return error(ErrorCode::kCorrupt, "task {}: the stored content is too short", facts_.id);
  co_return compare(Digest::of(hashing->hasher), wanted);
}

Task<Result<void>> StoredTask::finish() {
  TaskHandle self(*this);
  struct Turn {
    explicit Turn(StoredTask& task) : task(task) { task.finishing_ = true; }
    ~Turn() {
      task.finishing_ = false;
      task.changed_.notify_all();
    }
    StoredTask& task;
  };
  while (finishing_ || settling_ || !doubts_.empty()) {
    if (finishing_) {
      CO_OK(co_await changed_.wait(Deadline::never()));
    } else {
      CO_OK(co_await settle());
    }
  }
  if (finished_) co_return Result<void>{};
  if (!has_everything()) {
    co_return error(ErrorCode::kPrecondition, "task {} is not complete: {} of {} pieces are here", facts_.id,
                    have_.count(), piece_count().value_or(0));
  }
  Turn turn(*this);
  auto resets = resets_;
  auto verified = co_await verify_digest();
  if (resets != resets_) co_return error(ErrorCode::kChanged, "task {} was started anew", facts_.id);
  if (verified.failed_with(ErrorCode::kCorrupt)) {
    // Each piece is as its sender said, the whole is not: no telling which to keep.
    CO_OK(reset(facts_));
    failure_ = verified.error().clone();
    changed_.notify_all();
  }
  CO_OK(std::move(verified));
  if (!has_everything())
    co_return error(ErrorCode::kPrecondition, "task {} lost pieces meanwhile", facts_.id);
  // Also gives back what was reserved behind the end.
  CO_OK(content_->resize(*facts_.content_length));
  CO_OK(record(FinishedRecord{}));
  digest_verified_ = true;
  if (store_.options_.sync == SyncPolicy::kFinish || KindPolicy::of(facts_.kind).durable) {
    CO_OK(co_await store_.sync_task(self));
    if (resets != resets_) co_return error(ErrorCode::kChanged, "task {} was started anew", facts_.id);
  }
  finished_ = true;
  failure_.reset();
  changed_.notify_all();
  co_return Result<void>{};
}

}  // namespace d7y::store
