// Follows one piece that is complete or still arriving: what a parent needs to forward a piece's
// bytes while it receives them (cut-through), ending with the digest so that the child verifies.
//
//   PieceView view = TRY(task->view(number));
//   while (sent < view.length()) {
//     if (view.available() == sent) CO_OK(co_await view.more(sent, deadline));
//     send_file(stream, *view.file(), view.offset() + sent, view.available() - sent);
//   }
//   std::uint32_t crc = CO_TRY(co_await view.digest(deadline));
#pragma once

#include "store/stored_task.h"

namespace d7y::store {

class PieceView {
 public:
  PieceView(PieceView&&) noexcept = default;
  PieceView& operator=(PieceView&&) noexcept = default;
  ~PieceView() = default;

  const TaskHandle& task() const { return task_; }
  std::uint32_t number() const { return number_; }
  std::uint64_t offset() const { return offset_; }  // in the content
  std::uint64_t length() const;                     // bytes
  const std::shared_ptr<world::File>& file() const { return file_; }

  // Verified and complete; digest known.
  bool complete() const;
  // Bytes from the piece's start that may be sent now. Those of a piece in flight are not verified
  // yet: only for receivers that verify the digest themselves.
  std::uint64_t available() const;
  // Waits until available() > have or the piece is complete. kCorrupt: verification failed, bytes
  // sent so far are wrong or unproven: break the answer off. kChanged: the task was reset. kTimeout.
  // An abandoned fetch goes on when somebody claims the piece again.
  Task<Result<void>> more(std::uint64_t have, Deadline deadline);
  // CRC-32 of the verified piece; waits for it. Errors as more().
  Task<Result<std::uint32_t>> digest(Deadline deadline);

 private:
  friend class StoredTask;
  PieceView() = default;
  TaskHandle task_;
  std::shared_ptr<Flight> flight_;  // null: it was complete from the start
  std::shared_ptr<world::File> file_;
  std::uint32_t number_ = 0;
  std::uint32_t crc_ = 0;
  std::uint64_t offset_ = 0, length_ = 0;
};

}  // namespace d7y::store
