// Who owns running tasks, and how long one may take.
#pragma once

#include "base/notify.h"
#include "base/task.h"

namespace d7y {

// Owns tasks that run on their own. See task.h for the idea and an example.
class Scope {
 public:
  explicit Scope(Loop& loop) : loop_(loop) {}
  // Cancels all tasks. Must not be called from inside one of them (the program ends with a
  // message); a task that wants its own scope to end calls cancel().
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  Loop& loop() const { return loop_; }

  // Runs `task` from the loop's next turn on.
  void spawn(Task<void> task);

  // Cancels all tasks. From inside one of them it takes effect when that one suspends next.
  void cancel();

  std::size_t size() const { return size_; }

  // Waits until no task is left; kTimeout if that takes longer than `deadline`, the tasks go on.
  Task<Result<void>> idle(Deadline deadline);

 private:
  friend class TaskRoot;
  std::unique_ptr<TaskRoot> unlink(TaskRoot& root);

  Loop& loop_;
  TaskRoot* first_ = nullptr;
  std::size_t size_ = 0;
  Signal idle_;
};

namespace detail {

// Runs a child under a deadline of its own; see within().
template <class T>
class Within {
 public:
  Within(Deadline deadline, Task<Result<T>> child)
      : deadline_(deadline), child_(std::move(child)), alarm_(*this) {}
  Within(Within&& other) noexcept
      : deadline_(other.deadline_), child_(std::move(other.child_)), alarm_(*this) {}

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> parent) {
    resumption_.bind(parent);
    typename Task<Result<T>>::Awaiter start{child_.handle()};
    if (!start.await_suspend(parent)) return false;
    if (!deadline_.is_never()) alarm_.set(resumption_.loop(), deadline_.when());
    return true;
  }
  Result<T> await_resume() {
    if (timed_out_) return Error(ErrorCode::kTimeout, "the deadline passed");
    return child_.handle().promise().take();
  }

 private:
  class Alarm final : public Timer {
   public:
    explicit Alarm(Within& within) : within_(within) {}

   private:
    void fire() override { within_.time_out(); }
    Within& within_;
  };
  void time_out() {
    if (child_.handle().done()) return;  // its result is on its way
    timed_out_ = true;
    child_ = {};  // cancels it
    resumption_.resume_later();
  }

  Deadline deadline_;
  Task<Result<T>> child_;
  Resumption resumption_;
  Alarm alarm_;
  bool timed_out_ = false;
};

}  // namespace detail

// Awaitable: the child's result, or kTimeout once `deadline` has passed; the child is then
// cancelled. `auto page = co_await within(deadline, fetch(url));`
template <class T>
detail::Within<T> within(Deadline deadline, Task<Result<T>> child) {
  return detail::Within<T>(deadline, std::move(child));
}

}  // namespace d7y
