#include "store/write_behind.h"

#include <utility>

#include "store/store.h"

namespace d7y::store {
namespace {

// Buffers gathered before the other thread is woken: 1 MiB where they have 256 KiB.
constexpr std::size_t kHandOver = 4;
// Buffers under way at most; beyond them the loop writes as well.
constexpr std::size_t kMostUnderWay = 16;
// The same for all tasks of a store together, with the buffers that are being filled: some 10 MiB.
constexpr std::size_t kMostLent = 40;

}  // namespace

bool WriteBehind::Queue::work() {
  std::shared_ptr<Write> write;
  {
    std::lock_guard lock(mutex);
    if (waiting.empty()) return false;
    write = std::move(waiting.front());
    waiting.pop_front();
  }
  auto written = write->file->write_at(write->offset, write->bytes);
  {
    std::lock_guard lock(mutex);
    if (!written) write->failure = std::move(written).error();
    write->done = true;
  }
  finished.notify_all();
  return true;
}

void WriteBehind::put(BufferPool::Loan buffer, Bytes bytes, std::shared_ptr<Flight> flight) {
  std::shared_ptr<Write> write;
  if (spares_.empty()) {
    write = std::make_shared<Write>();
  } else {
    write = std::move(spares_.back());
    spares_.pop_back();
  }
  write->done = false;
  write->buffer = std::move(buffer);
  write->bytes = bytes;
  write->file = task_.content_;
  write->offset = flight->offset + flight->written;
  write->written = flight->written;
  write->held = flight->held;
  write->crc = flight->crc;
  write->flight = std::move(flight);
  ++write->flight->pending;
  under_way_.push_back(write);
  {
    std::lock_guard lock(queue_->mutex);
    queue_->waiting.push_back(std::move(write));
  }
  if (++gathered_ >= kHandOver) start();
  collect();
  auto too_much = [this] {
    return under_way_.size() >= kMostUnderWay || task_.store_.buffers_.lent() > kMostLent;
  };
  while (!under_way_.empty() && too_much()) work_or_wait();
}

void WriteBehind::start() {
  gathered_ = 0;
  if (running_) return;
  running_ = true;
  TaskHandle pin(task_);
  task_.store_.scope_->spawn(run(std::move(pin)));
}

// The pin is a parameter: the task must not go before this begins.
Task<void> WriteBehind::run(TaskHandle) {
  struct Running {
    explicit Running(WriteBehind& behind) : behind(behind) {}
    ~Running() {
      behind.running_ = false;
      behind.progress_.notify_all();
    }
    WriteBehind& behind;
  };
  Running running(*this);
  for (bool more = true; more;) {
    std::function<void()> work = [queue = queue_] {
      while (queue->work()) {
      }
    };
    co_await task_.store_.world_.offload(std::move(work));
    collect();
    std::lock_guard lock(queue_->mutex);
    more = !queue_->waiting.empty();
  }
}

// Concludes what is done, in order.
void WriteBehind::collect() {
  bool any = false;
  while (!under_way_.empty()) {
    {
      std::lock_guard lock(queue_->mutex);
      if (!under_way_.front()->done) break;
    }
    auto write = std::move(under_way_.front());
    under_way_.pop_front();
    conclude(*write);
    write->buffer = {};
    write->flight.reset();
    write->file.reset();
    write->failure.reset();
    // The other thread does not look at it any more, though it may still hold it for a moment.
    spares_.push_back(std::move(write));
    any = true;
  }
  if (any) progress_.notify_all();
}

void WriteBehind::conclude(Write& write) {
  Flight& flight = *write.flight;
  --flight.pending;
  if (flight.failure) return;  // written behind a gap
  if (!write.failure) {
    task_.store_.written_ += write.bytes.size();
    return;
  }
  Error why = std::move(*write.failure);
  if (why.code() == ErrorCode::kDiskFull && write.file == task_.content_) {
    // There may be room again once something is evicted, which only the loop may do.
    auto again = task_.write(write.offset, write.bytes);
    if (again) return;
    flight.failure = std::move(again).error();
  } else {
    flight.failure = task_.store_.explain(std::move(why), "write", write.bytes.size(), task_.id());
  }
  if (flight.state != Flight::kOpen) return;
  flight.written = write.written;
  flight.held = write.held;
  flight.crc = write.crc;
  flight.moved.notify_all();
}

// Brings what is under way on, from the loop's thread.
void WriteBehind::work_or_wait() {
  if (!queue_->work()) {
    std::unique_lock lock(queue_->mutex);
    queue_->finished.wait(lock, [this] { return under_way_.front()->done; });
  }
  collect();
}

void WriteBehind::drain(Flight& flight) {
  collect();
  while (flight.pending > 0) work_or_wait();
}

Task<void> WriteBehind::drained(std::shared_ptr<Flight> flight) {
  TaskHandle self(task_);
  for (;;) {
    collect();
    if (flight->pending == 0) co_return;
    start();
    auto moved = co_await progress_.wait(Deadline::never());
    if (!moved) co_return;
  }
}

}  // namespace d7y::store
