#include "store/piece_view.h"

#include "store/flight.h"

namespace d7y::store {

std::uint64_t PieceView::length() const { return flight_ ? flight_->length : length_; }

bool PieceView::complete() const { return !flight_ || flight_->state == Flight::kComplete; }

std::uint64_t PieceView::available() const {
  if (!flight_) return length_;
  task_->settle_writes(*flight_);
  return flight_->written;
}

Task<Result<void>> PieceView::more(std::uint64_t have, Deadline deadline) {
  for (;;) {
    if (!flight_) co_return Result<void>{};
    if (flight_->state == Flight::kCorrupt) {
      co_return error(ErrorCode::kCorrupt, "task {} piece {}: verification failed", task_->id(), number_);
    }
    if (flight_->state == Flight::kReset) {
      co_return error(ErrorCode::kChanged, "task {} was started anew", task_->id());
    }
    if (complete() || available() > have) co_return Result<void>{};
    if (flight_->writers == 0 && task_->failure() != nullptr) co_return task_->failure()->clone();
    CO_OK(co_await flight_->moved.wait(deadline));
  }
}

Task<Result<std::uint32_t>> PieceView::digest(Deadline deadline) {
  while (!complete()) CO_OK(co_await more(length(), deadline));
  co_return flight_ ? flight_->crc : crc_;
}

}  // namespace d7y::store
