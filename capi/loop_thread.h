// A world on a thread of its own, and calls into it from other threads.
#pragma once

#include <future>
#include <memory>
#include <thread>
#include <type_traits>

#include "base/result.h"
#include "base/scope.h"
#include "world/uv_world.h"

namespace d7y::capi {

class LoopThread {
 public:
  static Result<std::unique_ptr<LoopThread>> start(const char* name);
  // Everything that lives on the loop must be gone.
  ~LoopThread();
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  world::UvWorld& world() { return *world_; }
  bool is_current() const { return std::this_thread::get_id() == thread_.get_id(); }

  // Runs `work` on the loop and waits for what it returns. Not from the loop's own thread.
  template <class Work>
  auto call(Work work) {
    using Value = std::invoke_result_t<Work>;
    std::promise<Value> promise;
    auto future = promise.get_future();
    world_->post([&work, &promise] {
      if constexpr (std::is_void_v<Value>) {
        work();
        promise.set_value();
      } else {
        promise.set_value(work());
      }
    });
    return future.get();
  }

  // Runs the task that `make` returns on the loop, and waits for its value.
  template <class Make>
  auto await(Make make) {
    using Made = std::invoke_result_t<Make>;
    using Value = decltype(std::declval<Made>().operator co_await().await_resume());
    std::promise<Value> promise;
    auto future = promise.get_future();
    world_->post([this, &make, &promise] { scope_->spawn(keep(make(), promise)); });
    return future.get();
  }

 private:
  explicit LoopThread(std::unique_ptr<world::UvWorld> world);

  template <class Value>
  static Task<void> keep(Task<Value> task, std::promise<Value>& promise) {
    if constexpr (std::is_void_v<Value>) {
      co_await task;
      promise.set_value();
    } else {
      promise.set_value(co_await task);
    }
  }

  std::unique_ptr<world::UvWorld> world_;
  std::unique_ptr<Scope> scope_;
  std::thread thread_;
};

}  // namespace d7y::capi
