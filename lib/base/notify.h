// Waiting for something to change, with a deadline.
//
// A Signal is a condition variable for one loop: it holds no state of its own, so a waiter checks
// its condition, waits, and checks again.
//
//   while (queue.empty()) CO_OK(co_await filled.wait(deadline));
#pragma once

#include "base/task.h"

namespace d7y {

class Signal {
 public:
  class Wait;

  Signal() = default;
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;
  // Waiters that outlive the signal are woken with kClosed.
  ~Signal();

  // Wakes everyone who waits now. They run in the order in which they began to wait.
  void notify_all();
  // Wakes the one who has waited longest; false if nobody waits.
  bool notify_one();
  bool has_waiters() const { return first_ != nullptr; }

  // Awaitable: Result<void>, ok when notified, kTimeout when `deadline` passed first, kClosed when
  // the signal died.
  Wait wait(Deadline deadline);

 private:
  void append(Wait& wait);
  void unlink(Wait& wait);

  Wait* first_ = nullptr;
  Wait* last_ = nullptr;
};

class Signal::Wait final {
 public:
  Wait(Signal* signal, Deadline deadline) : signal_(signal), deadline_(deadline), alarm_(*this) {}
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  ~Wait();

  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    resumption_.bind(handle);
    begin();
  }
  Result<void> await_resume();

 private:
  friend class Signal;
  enum class Outcome : std::uint8_t { kWaiting, kNotified, kTimeout, kClosed };
  class Alarm final : public Timer {
   public:
    explicit Alarm(Wait& wait) : wait_(wait) {}

   private:
    void fire() override { wait_.end(Outcome::kTimeout); }
    Wait& wait_;
  };

  void begin();
  void end(Outcome outcome);

  Signal* signal_;
  Deadline deadline_;
  Resumption resumption_;
  Alarm alarm_;
  Wait* before_ = nullptr;
  Wait* after_ = nullptr;
  Outcome outcome_ = Outcome::kWaiting;
};

// Sleeps until `when`.
Task<void> sleep_until(TimePoint when);
// Sleeps for `how_long` of the world's time.
Task<void> sleep_for(Duration how_long);

}  // namespace d7y
