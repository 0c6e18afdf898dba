// The production world: a libuv loop, the system's sockets, files and clocks.
//
//   TRY(auto world, world::make_uv_world());
//   Scope scope(world->loop());
//   scope.spawn(serve(*world));
//   world->run();                         // until stop()
//
// Everything made with a world's loop, network or files (scopes, streams, listeners, files) must be
// destroyed before the world. Work still on the thread pool then is waited for. A process may hold
// any number of worlds, each run by one thread at a time; they share nothing but libuv's thread pool.
// No signal handler, no environment, no other process-wide state is touched; while a world runs,
// SIGPIPE is blocked for its thread alone (sendfile has no MSG_NOSIGNAL). Descriptors 0 to 2 are not taken:
// where they are closed, /dev/null is opened in their places and stays.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/scope.h"
#include "world/world.h"

namespace d7y::world {

class UvWorld : public World {
 public:
  // Runs the loop until stop(). Not from inside a task or a posted function.
  virtual void run() = 0;

  // Runs the loop until `done` says so after some turn (true), or stop() or `deadline` comes first
  // (false).
  virtual bool run_until(const std::function<bool()>& done, Deadline deadline = Deadline::never()) = 0;

  // Makes the running run() or run_until(), or else the next one, return after its turn. May be
  // called from any thread.
  virtual void stop() = 0;

  // Runs the loop until `task` has ended and gives its value; nothing if stop() came first, the task
  // is then cancelled. For main programs and tests.
  template <class T>
  std::optional<T> wait_for(Task<T> task) {
    std::optional<T> value;
    Scope scope(loop());
    scope.spawn(keep_value(std::move(task), value));
    run_until([&] { return value.has_value(); });
    return value;
  }

 private:
  template <class T>
  static Task<void> keep_value(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await task);
  }
};

// A world of its own loop. kExhausted when the process has no descriptors left (a world needs eight).
Result<std::unique_ptr<UvWorld>> make_uv_world();

}  // namespace d7y::world
