// Full buffers of pieces, written by another thread while the loop receives the next ones.
//
// Receiving and summing up costs about as much as writing, so together they are one core's work; with
// the writes on another core a single download is nearly twice as fast. A hand-over costs some 10 us on
// both sides: buffers are handed over by the MiB, and small pieces never.
//
// Nobody sees the difference. A flight's `written` counts what was handed over; whoever wants to read
// it, or to be sure of it, calls drain() first (StoredTask::settle_writes), which writes itself what is
// still queued. A write that fails takes `written` back to where it began and leaves the flight's
// `failure` for its claims to find.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "store/buffers.h"
#include "store/flight.h"
#include "store/stored_task.h"

namespace d7y::store {

class WriteBehind {
 public:
  explicit WriteBehind(StoredTask& task) : task_(task), queue_(std::make_shared<Queue>()) {}
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  // Takes over `bytes`, which lie in `buffer` and go to `flight`'s written bytes. The caller counts them
  // as written after this.
  void put(BufferPool::Loan buffer, Bytes bytes, std::shared_ptr<Flight> flight);
  // When this returns everything of `flight` is on the disk, or its failure is known.
  void drain(Flight& flight);
  // The same without holding up the loop.
  Task<void> drained(std::shared_ptr<Flight> flight);

 private:
  struct Write {
    BufferPool::Loan buffer;
    Bytes bytes;
    std::shared_ptr<world::File> file;
    std::uint64_t offset = 0;  // in the content
    std::shared_ptr<Flight> flight;
    // The flight before this write.
    std::uint64_t written = 0, held = 0;
    std::uint32_t crc = 0;
    // The other thread's, until done.
    bool done = false;
    std::optional<Error> failure;
  };
  // What both threads see. Everything in it, and `done`, is under the lock.
  struct Queue {
    // Writes the next one; false if there is none.
    bool work();
    std::mutex mutex;
    std::condition_variable finished;
    std::deque<std::shared_ptr<Write>> waiting;
  };

  void start();
  Task<void> run(TaskHandle pin);
  void collect();
  void conclude(Write& write);
  void work_or_wait();

  StoredTask& task_;
  std::shared_ptr<Queue> queue_;
  std::deque<std::shared_ptr<Write>> under_way_;  // in the order of put()
  std::vector<std::shared_ptr<Write>> spares_;    // used before; at most as many as were under way
  std::size_t gathered_ = 0;                      // of them, since the other thread was last woken
  bool running_ = false;
  Signal progress_;
};

}  // namespace d7y::store
