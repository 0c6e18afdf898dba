// The heart of an event loop without the operating system: a queue of things that are ready to run
// and a heap of timers. A maker of worlds (libuv in production, the simulator in tests) drives it:
//
//   loop.set_now(clock);  loop.fire_timers();  loop.run_ready();  sleep until loop.next_timer();
//
// Everything here belongs to one thread. Order is deterministic: ready events run first come, first
// served; timers due at the same moment fire in the order in which they were set.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/deadline.h"

namespace d7y {

class Loop;
class TaskRoot;

// Something that can be queued to run, at most once at a time. Leaving the queue is free, so an
// owner that dies with its event pending just destroys it.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  bool queued() const { return previous_ != nullptr; }
  void unqueue();

 protected:
  virtual ~Event() { unqueue(); }
  virtual void fire() = 0;

 private:
  friend class Loop;
  Event* previous_ = nullptr;  // the queue is a ring through the loop's own sentinel
  Event* next_ = nullptr;
};

// A moment at which fire() runs. Set, moved and cancelled in O(log n).
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void set(Loop& loop, TimePoint when);
  void cancel();
  bool is_set() const { return index_ != kUnset; }

 protected:
  virtual ~Timer() { cancel(); }
  virtual void fire() = 0;

 private:
  friend class Loop;
  static constexpr std::size_t kUnset = ~std::size_t{0};
  Loop* loop_ = nullptr;
  TimePoint when_{};
  std::uint64_t sequence_ = 0;
  std::size_t index_ = kUnset;
};

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // The time of this turn. It stands still while events run.
  TimePoint now() const { return now_; }
  void set_now(TimePoint now) { now_ = now < now_ ? now_ : now; }

  void make_ready(Event& event);
  bool has_ready() const { return ring_.next_ != &ring_; }

  // Runs what is ready, including what becomes ready meanwhile, at most `limit` events; says
  // whether anything is left. The limit lets a driver look at its sockets in between.
  bool run_ready(std::size_t limit = 1024);

  // Fires all timers that are due at now().
  void fire_timers();
  // When the earliest timer is due; TimePoint::max() if none is set.
  TimePoint next_timer() const;
  std::size_t timers() const { return heap_.size(); }

  // The root task whose coroutine runs right now; null between events. Used to keep a scope from
  // destroying the stack it is called from.
  TaskRoot* running() const { return running_; }

 private:
  friend class Timer;
  friend class TaskRoot;
  friend class Scope;

  class Sentinel final : public Event {
    void fire() override {}
  };

  void insert(Timer& timer);
  void remove(Timer& timer);
  void sift_up(std::size_t index);
  void sift_down(std::size_t index);
  static bool earlier(const Timer& a, const Timer& b);
  void bury(std::unique_ptr<TaskRoot> root);
  void empty_graveyard();

  TimePoint now_{};
  Sentinel ring_storage_;
  Event& ring_ = ring_storage_;
  std::vector<Timer*> heap_;
  std::uint64_t sequence_ = 0;
  TaskRoot* running_ = nullptr;
  bool in_event_ = false;
  std::vector<std::unique_ptr<TaskRoot>> graveyard_;  // cancelled while an event ran
};

}  // namespace d7y
