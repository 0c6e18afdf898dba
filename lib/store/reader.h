// Bytes of a task in order, as they arrive.
//
//   Reader reader(task, {.offset = 0});
//   for (;;) {
//     Extent run = CO_TRY(co_await reader.next(deadline));
//     if (run.length == 0) break;                                 // the end
//     auto sent = ... send_file(stream, *reader.file(), run.offset, run.length) ...
//     reader.consume(sent);
//   }
//
// A reader follows pieces in flight, so it may hand out bytes whose piece is not verified yet. What
// it promises:
//  - the last bytes of a piece are held back until the piece is verified, so nobody who reads to
//    the end of a piece, or of the range, ends over bytes that failed;
//  - when the piece fails verification after part of it was handed out, the reader remembers the
//    CRC of that part. When the piece arrives anew, it goes on if the part is the same; otherwise it
//    ends with kCorrupt, and its user must break off what it sent on;
//  - where a digest of the whole content is expected and the reader runs from the start to the end,
//    the last piece's last bytes are held back until finish() has verified it, unless turned off.
#pragma once

#include "store/stored_task.h"

namespace d7y::store {

struct ReaderOptions {
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;  // none: to the end of the content, even if unknown yet
  bool follow_in_flight = true;         // false: only bytes of verified pieces
  bool wait_for_content_digest = true;  // see above
};

// A run of bytes of the content.
struct Extent {
  std::uint64_t offset = 0, length = 0;
};

class Reader {
 public:
  Reader(TaskHandle task, ReaderOptions options);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  const TaskHandle& task() const { return task_; }
  std::uint64_t position() const { return position_; }  // in the content
  // Where it will end; the largest number while that is not known.
  std::uint64_t end() const;
  // The file that next()'s extents lie in.
  const std::shared_ptr<world::File>& file() const { return task_->file(); }

  // What can be read now from position() on: length 0 if nothing is there yet.
  Result<Extent> ready();
  // Waits until something is there; length 0 at the end of the range. The failure of the task,
  // kCorrupt, kChanged (the task was reset), kTimeout, kInvalid (offset beyond the content).
  Task<Result<Extent>> next(Deadline deadline);
  // `n` bytes of the last extent were used.
  void consume(std::uint64_t n);
  // next() and consume() with a copy into `buffer`; 0 at the end.
  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline);
  bool at_end() const;

 private:
  friend class StoredTask;

  // Part of a piece that was handed out before its verification failed.
  struct Unproven {
    std::uint32_t piece = 0;
    std::optional<std::uint32_t> crc;  // none: it cannot be known any more
  };
  // Of several failures in a row the first one counts: of later ones nothing was handed out.
  void remember(std::uint32_t piece, std::optional<std::uint32_t> crc) {
    if (!unproven_ || unproven_->piece != piece) unproven_ = {piece, crc};
  }
  // Compares what was handed out with what lies there now; kCorrupt from then on if it differs.
  Result<void> prove();
  Result<void> check() const;
  std::uint64_t verified_end(std::uint32_t piece) const;

  TaskHandle task_;
  ReaderOptions options_;
  std::uint64_t position_ = 0;
  std::uint64_t resets_ = 0;  // of the task when the reader began
  std::optional<Unproven> unproven_;
  bool lied_ = false;  // what was handed out was wrong
};

}  // namespace d7y::store
