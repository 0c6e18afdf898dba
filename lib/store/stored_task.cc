#include "store/stored_task.h"

#include <algorithm>

#include "base/crc32.h"
#include "store/claim.h"
#include "store/flight.h"
#include "store/piece_view.h"
#include "store/reader.h"
#include "store/store.h"
#include "store/task_slot.h"
#include "store/write_behind.h"

namespace d7y::store {
namespace {

// How far ahead space is taken at most while the length is not known.
constexpr std::uint64_t kReserveAhead = std::uint64_t{64} << 20;

}  // namespace

TaskHandle::TaskHandle(StoredTask& task) : task_(&task) { ++task.pins_; }

TaskHandle::TaskHandle(const TaskHandle& other) : task_(other.task_) {
  if (task_ != nullptr) ++task_->pins_;
}

TaskHandle::~TaskHandle() {
  if (task_ != nullptr && --task_->pins_ == 0) task_->store_.unpinned(*task_);
}

StoredTask::StoredTask(Store& store, std::string folder) : store_(store), folder_(std::move(folder)) {}
StoredTask::~StoredTask() = default;

// ---- What it is

TaskSummary StoredTask::summary() const {
  TaskSummary line;
  line.id = facts_.id;
  line.kind = facts_.kind;
  line.piece_length = facts_.piece_length;
  line.content_length = facts_.content_length;
  line.stored = stored_;
  line.pieces = have_.count();
  line.ttl = facts_.ttl;
  line.created_at = created_at_;
  line.accessed_at = accessed_at_;
  line.finished = finished_;
  line.failed = failure_.has_value();
  line.persistent = facts_.persistent;
  line.pinned = pins_ > 0;
  return line;
}

std::optional<std::uint32_t> StoredTask::piece_count() const {
  if (!facts_.content_length) return std::nullopt;
  return static_cast<std::uint32_t>((*facts_.content_length + facts_.piece_length - 1) / facts_.piece_length);
}

Result<void> StoredTask::check_piece(std::uint32_t number) const {
  auto count = piece_count();
  if (number >= count.value_or(kMaxPieces)) {
    return error(ErrorCode::kInvalid, "task {} has no piece {}: it has {} pieces", facts_.id, number,
                 count.value_or(kMaxPieces));
  }
  return {};
}

Result<PieceExtent> StoredTask::extent(std::uint32_t number) const {
  TRY_OK(check_piece(number));
  PieceExtent extent{number, number * facts_.piece_length, facts_.piece_length};
  if (facts_.content_length) extent.length = std::min(extent.length, *facts_.content_length - extent.offset);
  return extent;
}

Result<std::pair<std::uint32_t, std::uint32_t>> StoredTask::pieces_of(std::uint64_t offset,
                                                                      std::uint64_t length) const {
  auto limit = facts_.content_length.value_or(facts_.piece_length * kMaxPieces);
  if (offset > limit || length > limit - offset) {
    return error(ErrorCode::kInvalid, "task {}: {} bytes from {} reach beyond its {} bytes", facts_.id,
                 length, offset, limit);
  }
  auto first = static_cast<std::uint32_t>(offset / facts_.piece_length);
  if (length == 0) return std::pair{first, first};
  return std::pair{first, static_cast<std::uint32_t>((offset + length - 1) / facts_.piece_length + 1)};
}

// ---- What is here

bool StoredTask::has_everything() const {
  auto count = piece_count();
  return count && have_.count() == *count;
}

std::optional<PieceInfo> StoredTask::piece(std::uint32_t number) const {
  if (!has(number)) return std::nullopt;
  const Slot& slot = slots_.at(number);
  return PieceInfo{.number = number,
                   .offset = number * facts_.piece_length,
                   .length = slot.length,
                   .crc = slot.crc,
                   .traffic = slot.traffic,
                   .cost = slot.cost,
                   .created_at = slot.created_at,
                   .parent = parents_[slot.parent]};
}

std::span<const std::uint32_t> StoredTask::news(PieceCursor& cursor) const {
  if (cursor.epoch != epoch_ || cursor.position > log_.size()) cursor = {epoch_, 0};
  auto fresh = std::span(log_).subspan(cursor.position);
  cursor.position = log_.size();
  return fresh;
}

std::vector<std::uint32_t> StoredTask::in_flight() const {
  std::vector<std::uint32_t> numbers;
  for (const auto& [number, flight] : flights_) {
    if (flight->writers > 0) numbers.push_back(number);
  }
  return numbers;
}

std::uint64_t StoredTask::arriving(std::uint32_t first, std::uint32_t end) const {
  std::uint64_t bytes = 0;
  for (auto at = flights_.lower_bound(first); at != flights_.end() && at->first < end; ++at) {
    if (!has(at->first)) bytes += at->second->written;
  }
  return bytes;
}

void StoredTask::each_reader(
    const std::function<void(std::uint64_t position, std::uint64_t end)>& visit) const {
  for (const Reader* reader : readers_) visit(reader->position(), reader->end());
}

void StoredTask::set_have(PieceInfo piece) {
  auto parent = std::find(parents_.begin(), parents_.end(), piece.parent);
  if (parent == parents_.end()) parent = parents_.insert(parents_.end(), piece.parent);
  auto& slot = slots_[piece.number];
  slot = {.crc = piece.crc,
          .parent = static_cast<std::uint32_t>(parent - parents_.begin()),
          .length = piece.length,
          .traffic = piece.traffic,
          .cost = piece.cost,
          .created_at = piece.created_at};
  if (have_.set(piece.number)) {
    stored_ += piece.length;
    log_.push_back(piece.number);
  }
}

void StoredTask::drop_piece(std::uint32_t number) {
  if (have_.clear(number)) {
    stored_ -= slots_.at(number).length;
    restart_news();
  }
  slots_.erase(number);
}

void StoredTask::restart_news() {
  ++epoch_;
  log_.clear();
  auto end = static_cast<std::uint32_t>(have_.words().size() * 64);
  for (auto bit = have_.first_set(0, end); bit; bit = have_.first_set(*bit + 1, end)) log_.push_back(*bit);
}

// ---- Learning about it

Result<void> StoredTask::set_content_length(std::uint64_t length) {
  if (facts_.content_length) {
    if (*facts_.content_length == length) return {};
    return error(ErrorCode::kChanged, "task {} has {} bytes, now the origin says {}", facts_.id,
                 *facts_.content_length, length);
  }
  TaskFacts facts = facts_;
  facts.content_length = length;
  TRY_OK(check_facts(facts));
  for (const auto& [number, slot] : slots_) {
    auto offset = number * facts_.piece_length;
    if (offset >= length || slot.length != std::min(facts_.piece_length, length - offset)) {
      return error(ErrorCode::kChanged,
                   "task {} cannot end after {} bytes: piece {} with {} bytes from {} is stored", facts_.id,
                   length, number, slot.length, offset);
    }
  }
  settle_all_writes();
  auto left = [&](const Flight& flight) {
    return flight.offset >= length ? 0 : std::min(facts_.piece_length, length - flight.offset);
  };
  for (const auto& [number, flight] : flights_) {
    if (flight->written > left(*flight)) {
      return error(ErrorCode::kPrecondition,
                   "task {} cannot end after {} bytes: {} bytes from {} were received", facts_.id, length,
                   flight->written, flight->offset);
    }
  }
  facts_ = std::move(facts);
  if (auto noted = record_facts(); !noted) {
    facts_.content_length.reset();
    return noted;
  }
  for (const auto& [number, flight] : flights_) {
    flight->length = left(*flight);
    flight->moved.notify_all();
  }
  changed_.notify_all();
  return {};
}

Result<void> StoredTask::set_source(Headers headers, SourceVersion version) {
  if (facts_.version.known() && version.known() && facts_.version != version) {
    return error(ErrorCode::kChanged,
                 "the origin's content of task {} changed: ETag {:?} was {:?}, Last-Modified {:?} was {:?}",
                 facts_.id, version.etag, facts_.version.etag, version.last_modified,
                 facts_.version.last_modified);
  }
  if (facts_.response_headers == headers && facts_.version == version) return {};
  auto old_headers = std::exchange(facts_.response_headers, std::move(headers));
  auto old_version = facts_.version;
  if (version.known()) facts_.version = std::move(version);
  if (auto noted = record_facts(); !noted) {
    facts_.response_headers = std::move(old_headers);
    facts_.version = std::move(old_version);
    return noted;
  }
  changed_.notify_all();
  return {};
}

Result<void> StoredTask::set_digest(std::string digest) {
  if (facts_.digest == digest || digest.empty()) return {};
  if (!facts_.digest.empty()) {
    return error(ErrorCode::kChanged, "task {} is expected to be {}, not {}", facts_.id, facts_.digest,
                 digest);
  }
  TRY_OK(Digest::parse(digest));
  facts_.digest = std::move(digest);
  digest_verified_ = false;
  finished_ = false;
  if (auto noted = record_facts(); !noted) {
    facts_.digest.clear();
    return noted;
  }
  hash_what_is_here();
  changed_.notify_all();
  return {};
}

Result<void> StoredTask::set_prefetched() {
  if (facts_.prefetched) return {};
  facts_.prefetched = true;
  return record_facts();
}

Result<void> StoredTask::set_persistent(bool persistent) {
  if (facts_.persistent == persistent) return {};
  facts_.persistent = persistent;
  return record_facts();
}

Result<void> StoredTask::reserve(std::uint64_t offset, std::uint64_t length) {
  // A file system takes all it has before it says that this is not enough, and leaves it taken: we ask first.
  auto file = content_->status();
  auto here = file ? std::min(file->allocated, length) : 0;
  auto room = [&] {
    auto disk = store_.space();
    return !disk || disk->available >= length - here;
  };
  if (!room()) store_.make_room(length - here);
  if (!room()) {
    return store_.explain(error(ErrorCode::kDiskFull, "no room"), "reserve", length, facts_.id);
  }
  TRY_OK(take_space(offset, length));
  reserved_from_ = offset;
  reserved_to_ = offset + length;
  return {};
}

Result<void> StoredTask::take_space(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return {};
  auto taken = content_->reserve(offset, length);
  if (taken.failed_with(ErrorCode::kDiskFull) && store_.make_room(length) > 0)
    taken = content_->reserve(offset, length);
  if (taken) return taken;
  return store_.explain(std::move(taken).error(), "reserve", length, facts_.id);
}

Result<void> StoredTask::reserve_for(const PieceExtent& extent) {
  if (extent.offset >= reserved_from_ && extent.offset + extent.length <= reserved_to_) return {};
  if (facts_.content_length) return take_space(extent.offset, extent.length);
  // As much again as is there, so that short content does not take long content's room.
  auto length = std::max(extent.length, std::min(kReserveAhead, stored_));
  // Room for the piece itself is what counts; room ahead is only for speed.
  if (auto ahead = content_->reserve(extent.offset, length); !ahead)
    return take_space(extent.offset, extent.length);
  reserved_from_ = extent.offset;
  reserved_to_ = extent.offset + length;
  return {};
}

Result<void> StoredTask::write(std::uint64_t offset, Bytes bytes) {
  auto written = content_->write_at(offset, bytes);
  if (written.failed_with(ErrorCode::kDiskFull) && store_.make_room(bytes.size()) > 0) {
    written = content_->write_at(offset, bytes);
  }
  if (!written) return store_.explain(std::move(written).error(), "write", bytes.size(), facts_.id);
  store_.written_ += bytes.size();
  return {};
}

// ---- Fetching

Result<StoredTask::Claimed> StoredTask::claim(std::uint32_t number, Rivals rivals) {
  TRY_OK(check_piece(number));
  Claimed claimed;
  if (has(number)) {
    claimed.state = ClaimState::kHave;
    return claimed;
  }
  if (settling_ || doubts_.contains(number)) return claimed;  // busy: being read again

  auto found = flights_.find(number);
  bool rival = found != flights_.end() && found->second->writers > 0;
  if (rival && rivals == Rivals::kNo) return claimed;
  if (rival) end_receiving(*found->second);  // from now on both write
  if (found == flights_.end()) {
    if (!facts_.content_length && number > have_.count() + flights_.size()) {
      return error(
          ErrorCode::kInvalid,
          "task {}: piece {} cannot be fetched before those in front of it while the length is not known",
          facts_.id, number);
    }
    TRY(auto place, extent(number));
    TRY_OK(reserve_for(place));
    found = flights_.emplace(number, std::make_shared<Flight>(number, place.offset, place.length)).first;
  }
  failure_.reset();
  claimed.state = ClaimState::kClaimed;
  claimed.claim.emplace(PieceClaim(TaskHandle(*this), found->second, rival));
  if (!rival) changed_.notify_all();
  return claimed;
}

void StoredTask::fail(Error why) {
  if (finished_) return;
  // Best effort: a restart that does not know of the failure just tries again.
  if (auto noted = record(FailedRecord{why.message()}); !noted) {
    store_.log_.debug("task {}: its failure could not be recorded: {}", facts_.id, noted.error().message());
  }
  failure_ = std::move(why);
  for (const auto& [number, flight] : flights_) flight->moved.notify_all();
  changed_.notify_all();
}

WriteBehind& StoredTask::behind() {
  if (!behind_) behind_ = std::make_unique<WriteBehind>(*this);
  return *behind_;
}

void StoredTask::settle_writes(Flight& flight) {
  if (flight.receiving) {
    flight.receiving->hurry();
    note_received(flight);
  }
  if (flight.pending > 0) behind_->drain(flight);
}

void StoredTask::note_received(Flight& flight) {
  if (!flight.receiving) return;
  auto state = flight.receiving->state();
  auto written = flight.lent_at + state.written;
  if (written > flight.written) {
    store_.written_ += written - flight.written;
    flight.held = std::exchange(flight.written, written);
    flight.crc = state.crc;
    flight.moved.notify_all();
  }
  if (state.ended) end_receiving(flight);
}

void StoredTask::end_receiving(Flight& flight) {
  auto receiving = std::exchange(flight.receiving, nullptr);
  if (!receiving) return;
  receiving->stop();
  auto state = receiving->state();
  auto written = flight.lent_at + state.written;
  store_.written_ += written - flight.written;
  auto crc = state.crc;
  if (auto refused = receiving->refused()) {
    // There may be room again once something is evicted, which only the loop may do.
    bool again = refused->why.code() == ErrorCode::kDiskFull || refused->why.code() == ErrorCode::kCancelled;
    Result<void> outcome;
    if (again) {
      outcome = write(flight.offset + written, refused->bytes);
    } else {
      outcome = store_.explain(std::move(refused->why), "write", refused->bytes.size(), facts_.id);
    }
    if (outcome) {
      written += refused->bytes.size();
      crc = crc32(refused->bytes, crc);
    } else {
      flight.failure = std::move(outcome).error();
    }
  }
  flight.received_to = written;
  flight.received_crc = crc;
  if (written == flight.written) return;
  flight.held = std::exchange(flight.written, written);
  flight.crc = crc;
  flight.moved.notify_all();
}

void StoredTask::settle_all_writes() {
  for (const auto& [number, flight] : flights_) {
    end_receiving(*flight);
    settle_writes(*flight);
  }
}

void StoredTask::flight_failed(Flight& flight) {
  end_receiving(flight);
  settle_writes(flight);
  // Readers that handed out part of it must know what that part was: it is still on disk.
  std::vector<Reader*> involved;
  for (Reader* reader : readers_) {
    if (reader->position() > flight.offset && reader->position() <= flight.offset + flight.written) {
      involved.push_back(reader);
    }
  }
  std::sort(involved.begin(), involved.end(),
            [](const Reader* a, const Reader* b) { return a->position() < b->position(); });
  auto buffer = store_.buffers_.borrow();
  std::uint64_t at = flight.offset;
  std::uint32_t crc = 0;
  bool readable = true;
  for (Reader* reader : involved) {
    while (readable && at < reader->position()) {
      auto part =
          buffer.bytes().first(std::min<std::uint64_t>(buffer.bytes().size(), reader->position() - at));
      auto got = content_->read_at(at, part);
      readable = got && *got == part.size();
      if (readable) crc = crc32(part, crc);
      at += part.size();
    }
    reader->remember(flight.number, readable ? std::optional(crc) : std::nullopt);
  }
  flight.state = Flight::kCorrupt;
  auto self = flights_.find(flight.number);
  if (self != flights_.end() && self->second.get() == &flight) flights_.erase(self);  // the caller holds it
  ++store_.corrupt_pieces_;
  flight.moved.notify_all();
  changed_.notify_all();
}

void StoredTask::end_flights(int state) {
  settle_all_writes();
  for (const auto& [number, flight] : flights_) {
    flight->state = static_cast<Flight::State>(state);
    flight->moved.notify_all();
  }
  flights_.clear();
}

// ---- Serving

Result<PieceView> StoredTask::view(std::uint32_t number) {
  TRY_OK(check_piece(number));
  if (shared_ && !intact()) {
    doubt_all();
    TaskHandle pin(*this);
    store_.scope_->spawn(settle_in_background(std::move(pin)));
  }
  PieceView view;
  view.number_ = number;
  view.offset_ = number * facts_.piece_length;
  auto flight = flights_.find(number);
  if (has(number)) {
    const Slot& slot = slots_.at(number);
    view.crc_ = slot.crc;
    view.length_ = slot.length;
  } else if (flight != flights_.end()) {
    view.flight_ = flight->second;
  } else {
    return error(ErrorCode::kNotFound, "task {}: piece {} is neither here nor on its way", facts_.id, number);
  }
  view.file_ = content_;
  view.task_ = TaskHandle(*this);
  return view;
}

void StoredTask::touch() { accessed_at_ = std::max(accessed_at_, store_.world_.wall_now()); }

}  // namespace d7y::store
