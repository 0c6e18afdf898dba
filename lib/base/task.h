// Coroutines with owners.
//
// Task<T> is a lazy coroutine: it runs when it is awaited, and it lives inside the expression that
// awaits it. A Scope (scope.h) runs tasks on their own and owns them. Cancelling is destroying: when a scope
// ends, the frames of its tasks are destroyed, innermost first, and every awaiter takes itself off
// whatever it waited for. There is no cancellation flag to check and no detached work; what must be
// undone is undone by destructors. All of it belongs to one loop's thread.
//
//   Task<Result<Piece>> fetch(Parent& parent, Deadline deadline);
//
//   Task<void> both(Parent& a, Parent& b, Deadline deadline) {
//     Loop& loop = co_await this_loop();
//     Scope scope(loop);
//     scope.spawn(run(a)); scope.spawn(run(b));
//     co_await scope.idle(deadline);          // leaving the block cancels what still runs
//   }
//
// Rules that keep g++ 12 and the reader safe: name awaited temporaries that own memory before the
// co_await expression; pass parameters of coroutines by value or by reference to something the
// caller keeps; no capturing lambda as a coroutine unless the lambda object outlives it.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/deadline.h"
#include "base/loop.h"
#include "base/result.h"

namespace d7y {

class Scope;
class TaskRoot;

namespace detail {

// What every promise knows: the root it runs under and who waits for it.
struct PromiseCore {
  TaskRoot* root = nullptr;
  std::coroutine_handle<> continuation;
  bool starting = false;  // completes inside its own first resume: the awaiter does not suspend
};

template <class Promise>
concept TaskPromise = std::derived_from<Promise, PromiseCore>;

struct FinalAwaiter {
  bool await_ready() noexcept { return false; }
  template <TaskPromise Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
    auto& promise = self.promise();
    if (promise.starting || !promise.continuation) return std::noop_coroutine();
    return promise.continuation;
  }
  void await_resume() noexcept {}
};

struct PromiseBase : PromiseCore {
  std::suspend_always initial_suspend() noexcept { return {}; }
  FinalAwaiter final_suspend() noexcept { return {}; }
  [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::coroutine_handle<Promise> get_return_object() {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  template <class U>
    requires std::convertible_to<U&&, T>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() { return std::move(*value_); }

 private:
  std::optional<T> value_;
};

template <>
struct Promise<void> : PromiseBase {
  std::coroutine_handle<Promise> get_return_object() {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  void return_void() noexcept {}
  void take() noexcept {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  Task(Handle handle) : handle_(handle) {}  // NOLINT: made by the compiler from get_return_object
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() { destroy(); }

  explicit operator bool() const { return static_cast<bool>(handle_); }
  Handle handle() const { return handle_; }

  struct Awaiter {
    Handle child;
    bool await_ready() const noexcept { return false; }
    template <detail::TaskPromise P>
    bool await_suspend(std::coroutine_handle<P> parent) {
      auto& promise = child.promise();
      promise.root = parent.promise().root;
      promise.continuation = parent;
      promise.starting = true;
      child.resume();
      promise.starting = false;
      return !child.done();
    }
    T await_resume() { return child.promise().take(); }
  };
  Awaiter operator co_await() const& noexcept { return Awaiter{handle_}; }
  Awaiter operator co_await() const&& noexcept { return Awaiter{handle_}; }

 private:
  void destroy() {
    if (handle_) std::exchange(handle_, {}).destroy();
  }
  Handle handle_;
};

// A task on its own feet: queued to start, resumed by events, handed back to its scope at its end.
class TaskRoot final : public Event {
 public:
  TaskRoot(Loop& loop, Task<void> task) : loop_(loop), task_(std::move(task)) {}
  ~TaskRoot() override;

  Loop& loop() const { return loop_; }
  // Resumes `handle`, which belongs to this root, and notices when the root's task has ended.
  void resume(std::coroutine_handle<> handle);

 private:
  friend class Scope;
  friend class Loop;
  void fire() override;

  Loop& loop_;
  Task<void> task_;
  Scope* scope_ = nullptr;
  TaskRoot* before_ = nullptr;  // in the scope's list
  TaskRoot* after_ = nullptr;
  bool started_ = false;
};

// Resumes a suspended coroutine from the loop's queue, never from inside another's stack.
class Resumption : public Event {
 public:
  template <detail::TaskPromise P>
  void bind(std::coroutine_handle<P> handle) {
    handle_ = handle;
    root_ = handle.promise().root;
  }
  Loop& loop() const { return root_->loop(); }
  bool bound() const { return root_ != nullptr; }
  void resume_later() { loop().make_ready(*this); }

 private:
  void fire() override { root_->resume(handle_); }
  std::coroutine_handle<> handle_;
  TaskRoot* root_ = nullptr;
};

// Lets everything else that is ready run first: `co_await yield();`. For work that could go on for long
// without ever having to wait, such as reading from a stream that is never empty.
class Yield {
 public:
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    resumption_.bind(handle);
    resumption_.resume_later();
  }
  void await_resume() const noexcept {}

 private:
  Resumption resumption_;
};
inline Yield yield() { return {}; }

// The loop that runs the awaiting coroutine: `Loop& loop = co_await this_loop();`. Never suspends.
struct ThisLoop {
  Loop* loop = nullptr;
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> handle) noexcept {
    loop = &handle.promise().root->loop();
    return false;
  }
  Loop& await_resume() const noexcept { return *loop; }
};
inline ThisLoop this_loop() { return {}; }

// Lets others run: the awaiting coroutine goes on behind everything that is ready now. For loops
// that could keep the thread for long without ever having to wait: `co_await next_turn();`.
class NextTurn {
 public:
  bool await_ready() const noexcept { return false; }
  template <detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    resumption_.bind(handle);
    resumption_.resume_later();
  }
  void await_resume() const noexcept {}

 private:
  Resumption resumption_;
};
inline NextTurn next_turn() { return {}; }

}  // namespace d7y
