#include "store/claim.h"

#include <algorithm>

#include "base/crc32.h"
#include "store/flight.h"
#include "store/store.h"
#include "store/task_slot.h"
#include "store/write_behind.h"

namespace d7y::store {
namespace {

// Shorter pieces are written at once; in buffers.
constexpr std::size_t kBehindFrom = 4;

}  // namespace

PieceClaim::PieceClaim(TaskHandle task, std::shared_ptr<Flight> flight, bool rival)
    : task_(std::move(task)),
      flight_(std::move(flight)),
      number_(flight_->number),
      serial_(++task_->store_.claims_),
      rival_(rival) {
  ++flight_->writers;
}

PieceClaim::PieceClaim(PieceClaim&&) noexcept = default;

PieceClaim& PieceClaim::operator=(PieceClaim&& other) noexcept {
  if (this == &other) return *this;
  release();
  task_ = std::move(other.task_);
  flight_ = std::move(other.flight_);
  buffer_ = std::move(other.buffer_);
  number_ = other.number_;
  crc_ = other.crc_;
  serial_ = other.serial_;
  rival_ = other.rival_;
  from_origin_ = other.from_origin_;
  skipped_ = other.skipped_;
  broken_ = other.broken_;
  lent_ = other.lent_;
  position_ = other.position_;
  buffered_ = other.buffered_;
  return *this;
}

PieceClaim::~PieceClaim() { release(); }

void PieceClaim::release() {
  if (!flight_) return;
  if (lent_) task_->end_receiving(*flight_);
  if (flight_->state == Flight::kOpen && !broken_ && buffered_ > 0) {
    // What came is not lost for the next one. Should it not fit, then it is.
    if (auto flushed = flush(); !flushed) {
      task_->store_.log_.debug("task {} piece {}: the last {} bytes were not kept: {}", task_->id(), number_,
                               buffered_, flushed.error().message());
    }
  }
  task_->settle_writes(*flight_);
  auto flight = std::exchange(flight_, nullptr);
  buffer_ = {};
  if (--flight->writers > 0 || flight->state != Flight::kOpen) return;
  flight->failure.reset();
  if (flight->written == 0) task_->flights_.erase(number_);
  flight->moved.notify_all();
  task_->changed_.notify_all();
}

std::uint64_t PieceClaim::offset() const { return flight_ ? flight_->offset : 0; }
std::uint64_t PieceClaim::length() const { return flight_ ? flight_->length : 0; }
std::uint64_t PieceClaim::already() const {
  if (!flight_) return 0;
  task_->settle_writes(*flight_);
  return flight_->written;
}
bool PieceClaim::superseded() const { return !flight_ || flight_->state != Flight::kOpen; }
Signal& PieceClaim::changed() { return flight_->moved; }

bool PieceClaim::skip_already() {
  if (position_ > 0 || superseded()) return false;
  if (from_origin_ && flight_->peer_bytes) return false;
  if (flight_->written == 0) return true;
  position_ = flight_->written;
  skipped_ = true;
  return true;
}

MutableBytes PieceClaim::buffer() {
  if (!flight_ || position_ >= flight_->length) return {};
  if (!buffer_) buffer_ = task_->store_.buffers_.borrow();
  auto room = buffer_.bytes().subspan(buffered_);
  return room.first(std::min<std::uint64_t>(room.size(), remaining()));
}

Result<void> PieceClaim::still_wanted() const {
  if (!flight_) return error(ErrorCode::kPrecondition, "the claim on piece {} is over", number_);
  switch (flight_->state) {
    case Flight::kOpen:
      if (flight_->failure) return flight_->failure->clone();
      return {};
    case Flight::kComplete:
      return error(ErrorCode::kPrecondition, "task {} piece {}: another was faster", task_->id(), number_);
    case Flight::kCorrupt:
      return error(ErrorCode::kPrecondition,
                   "task {} piece {}: what was received of it was thrown away as wrong", task_->id(),
                   number_);
    default:
      return error(ErrorCode::kChanged, "task {} was started anew while piece {} was received", task_->id(),
                   number_);
  }
}

Result<void> PieceClaim::commit(std::size_t n) {
  TRY_OK(still_wanted());
  auto filled = buffer();
  if (n > filled.size()) {
    return error(ErrorCode::kInvalid, "task {} piece {}: {} bytes do not fit into {}", task_->id(), number_,
                 n, filled.size());
  }
  if (n == 0) return {};
  if (!skipped_) crc_ = crc32(filled.first(n), crc_);
  buffered_ += n;
  position_ += n;
  if (buffered_ == buffer_.bytes().size() || position_ == flight_->length) return flush();
  return {};
}

Result<void> PieceClaim::write(Bytes bytes) {
  while (!bytes.empty()) {
    TRY_OK(still_wanted());
    auto room = buffer();
    auto n = std::min(room.size(), bytes.size());
    if (n == 0) {
      return error(ErrorCode::kInvalid, "task {} piece {}: {} bytes more than its {}", task_->id(), number_,
                   bytes.size(), length());
    }
    std::memcpy(room.data(), bytes.data(), n);
    TRY_OK(commit(n));
    bytes = bytes.subspan(n);
  }
  return {};
}

bool PieceClaim::awaited() const { return !superseded() && flight_->moved.has_waiters(); }

Result<void> PieceClaim::publish() {
  if (buffered_ == 0 || !awaited()) return {};
  return flush();
}

Result<void> PieceClaim::flush() {
  auto start = position_ - buffered_;
  Flight& flight = *flight_;
  if (flight.failure) {
    broken_ = true;
    return flight.failure->clone();
  }
  if (position_ > flight.written) {
    // A rival may have been here; only what is new is written.
    auto skip = flight.written - start;
    Bytes fresh = buffer_.bytes().subspan(skip, buffered_ - skip);
    bool sole = flight.written == 0 || flight.sole_writer == serial_;
    auto crc = sole ? crc_ : crc32(fresh, flight.crc);
    if (auto written = write_out(fresh); !written) {
      broken_ = true;
      return written;
    }
    flight.sole_writer = sole ? serial_ : 0;
    flight.crc = crc;
    flight.peer_bytes = flight.peer_bytes || !from_origin_;
    flight.held = flight.written;
    flight.written = position_;
    task_->dirty_ = true;
    flight.moved.notify_all();
  }
  buffered_ = 0;
  return {};
}

Result<void> PieceClaim::write_out(Bytes fresh) {
  Flight& flight = *flight_;
  auto buffer = buffer_.bytes().size();
  // Whoever waits for bytes gets them sooner this way, and one short write costs less than a hand-over.
  bool at_once = !task_->store_.options_.write_behind || flight.length < kBehindFrom * buffer ||
                 fresh.size() < buffer / 4 || flight.moved.has_waiters();
  if (at_once) return task_->write(flight.offset + flight.written, fresh);
  task_->behind().put(std::move(buffer_), fresh, flight_);
  if (flight.failure) return flight.failure->clone();
  return {};
}

std::shared_ptr<world::Receiving> PieceClaim::lend(world::Stream& stream, std::uint64_t most) {
  auto* receiver = task_->store_.world_.receiver();
  if (receiver == nullptr || !flight_ || lent_) return nullptr;
  Flight& flight = *flight_;
  most = std::min(most, remaining());
  if (flight.state != Flight::kOpen || flight.receiving || flight.writers != 1 ||
      flight.moved.has_waiters() || most < receiver->terms().least)
    return nullptr;
  // What is being written behind our back would have to be waited for; the next piece is soon enough.
  if (flight.pending > 0) return nullptr;
  // All that is there is this claim's, or counted with it.
  bool sole = flight.written == 0 || flight.sole_writer == serial_;
  if (flight.failure || position_ - buffered_ != flight.written || !(sole || skipped_)) return nullptr;
  Bytes ahead = buffer_.bytes().first(buffered_);
  world::Receiver::Order order{flight.offset + flight.written, most, flight.crc};
  auto started = receiver->start(stream, task_->content_, order, ahead);
  if (!started) return nullptr;
  flight.receiving = std::move(started);
  flight.lent_at = flight.written;
  flight.sole_writer = sole ? serial_ : 0;
  flight.peer_bytes = flight.peer_bytes || !from_origin_;
  task_->dirty_ = true;
  buffered_ = 0;
  buffer_ = {};
  lent_ = true;
  return flight.receiving;
}

world::Receiving::State PieceClaim::catch_up(world::Receiving& receiving) {
  // Before the claim follows: others go on meanwhile, and what has ended by now has ended for the claim too,
  // but not the other way round.
  auto state = receiving.state();
  if (!lent_ || !flight_) return state;
  task_->note_received(*flight_);
  if (flight_->receiving) return state;
  lent_ = false;
  position_ = flight_->received_to;
  if (!skipped_) crc_ = flight_->received_crc;
  return state;
}

Task<void> PieceClaim::settled() {
  if (!flight_ || flight_->pending == 0) co_return;
  auto flight = flight_;
  Task<void> waiting = task_->behind().drained(std::move(flight));
  co_await waiting;
}

Result<PieceInfo> PieceClaim::complete(PieceOrigin origin) {
  auto result = verify_and_record(origin);
  if (!result) broken_ = true;  // nothing more to keep
  release();
  return result;
}

Result<PieceInfo> PieceClaim::verify_and_record(PieceOrigin& origin) {
  TRY_OK(still_wanted());
  Flight& flight = *flight_;
  if (position_ > flight.length) {
    return error(ErrorCode::kCorrupt,
                 "task {} piece {}: {} bytes received, but the content ends after {} of it", task_->id(),
                 number_, position_, flight.length);
  }
  if (position_ < flight.length || flight.length == 0) {
    return error(ErrorCode::kPrecondition, "task {} piece {}: only {} of {} bytes were received", task_->id(),
                 number_, position_, flight.length);
  }
  if (buffered_ > 0) TRY_OK(flush());
  task_->settle_writes(flight);
  TRY_OK(still_wanted());

  // What the bytes on disk must hash to: what the sender says, else what this claim itself received.
  auto expected = origin.expected_crc;
  if (!expected && !skipped_) expected = crc_;
  bool provable = expected.has_value() || !flight.peer_bytes;
  bool sender_wrong = origin.expected_crc && !skipped_ && crc_ != *origin.expected_crc;
  if (!provable || sender_wrong || (expected && flight.crc != *expected)) {
    // Bytes of others that this sender contradicts may well be right; its own are not.
    bool keep = sender_wrong && flight.sole_writer != serial_ && flight.crc != crc_;
    auto seen = skipped_ ? flight.crc : crc_;
    auto flight_crc = flight.crc;
    if (!keep) discard();
    if (!provable) {
      return error(ErrorCode::kCorrupt,
                   "task {} piece {}: bytes of a peer that nobody vouches for were thrown away", task_->id(),
                   number_);
    }
    return error(ErrorCode::kCorrupt, "task {} piece {} from {}: CRC-32 is {} (as stored {}) instead of {}",
                 task_->id(), number_, origin.parent.empty() ? "the origin" : origin.parent, seen, flight_crc,
                 expected.value_or(0));
  }

  PieceInfo piece{.number = number_,
                  .offset = flight.offset,
                  .length = flight.length,
                  .crc = flight.crc,
                  .traffic = origin.traffic,
                  .cost = origin.cost,
                  .created_at = task_->store_.world_.wall_now(),
                  .parent = std::move(origin.parent)};
  StoredTask& task = *task_;
  TRY_OK(task.record(piece));
  task.dirty_ = true;
  task.set_have(piece);
  ++task.store_.completed_pieces_;
  flight.state = Flight::kComplete;
  task.flights_.erase(number_);
  flight.moved.notify_all();
  task.changed_.notify_all();
  task.hash_what_is_here();
  return piece;
}

void PieceClaim::discard() {
  if (!flight_ || flight_->state != Flight::kOpen) return;
  buffered_ = 0;
  task_->flight_failed(*flight_);
}

}  // namespace d7y::store
