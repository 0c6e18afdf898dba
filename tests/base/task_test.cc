#include "base/task.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/notify.h"
#include "base/scope.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

// Turns a loop by hand: no clock, no waiting.
struct Turner {
  Loop loop;
  void settle() {
    while (loop.run_ready()) {
    }
  }
  void advance(Duration by) {
    auto end = loop.now() + by;
    settle();
    while (loop.next_timer() <= end) {
      loop.set_now(loop.next_timer());
      loop.fire_timers();
      settle();
    }
    loop.set_now(end);
  }
};

Task<int> answer() { co_return 42; }
Task<Result<int>> fails() { co_return error(ErrorCode::kNotFound, "no {}", "milk"); }
Task<Result<std::string>> passes_on() {
  CO_TRY(int number, co_await fails());
  co_return std::to_string(number);
}

struct Flag {
  bool& flag;
  ~Flag() { flag = true; }
};

}  // namespace

TEST_CASE("a task returns its value to the one who awaits it") {
  Turner world;
  Scope scope(world.loop);
  int got = 0;
  auto outer = [](int& out) -> Task<void> { out = co_await answer(); };
  scope.spawn(outer(got));
  CHECK(got == 0);
  world.settle();
  CHECK(got == 42);
  CHECK(scope.size() == 0);
}

TEST_CASE("CO_TRY hands an error up unchanged") {
  Turner world;
  Scope scope(world.loop);
  std::string message;
  auto outer = [](std::string& out) -> Task<void> {
    auto result = co_await passes_on();
    out = result.error().message();
  };
  scope.spawn(outer(message));
  world.settle();
  CHECK(message == "no milk");
}

TEST_CASE("a million synchronous awaits do not grow the stack") {
  Turner world;
  Scope scope(world.loop);
  long sum = 0;
  auto outer = [](long& out) -> Task<void> {
    for (int i = 0; i < 1'000'000; ++i) out += co_await answer();
  };
  scope.spawn(outer(sum));
  world.settle();
  CHECK(sum == 42'000'000);
}

TEST_CASE("a signal wakes waiters in order, a deadline ends a wait") {
  Turner world;
  Scope scope(world.loop);
  Signal signal;
  std::vector<std::string> log;
  auto waiter = [](Signal& s, std::vector<std::string>& out, std::string name, Deadline d) -> Task<void> {
    auto woken = co_await s.wait(d);
    out.push_back(name + (woken                                    ? " woken"
                          : woken.failed_with(ErrorCode::kTimeout) ? " timeout"
                                                                   : " closed"));
  };
  scope.spawn(waiter(signal, log, "a", Deadline::never()));
  scope.spawn(waiter(signal, log, "b", Deadline::in(5ms, world.loop.now())));
  scope.spawn(waiter(signal, log, "c", Deadline::never()));
  world.settle();
  world.advance(10ms);
  signal.notify_all();
  world.settle();
  CHECK(log == std::vector<std::string>{"b timeout", "a woken", "c woken"});
}

TEST_CASE("destroying a scope destroys the frames of its tasks") {
  Turner world;
  bool gone = false;
  Signal never;
  {
    Scope scope(world.loop);
    auto inner = [](Signal& s, bool& flag) -> Task<Result<void>> {
      Flag guard{flag};
      CO_OK(co_await s.wait(Deadline::never()));
      co_return Result<void>{};
    };
    auto outer = [&](Signal& s, bool& flag) -> Task<void> { (void)co_await inner(s, flag); };
    scope.spawn(outer(never, gone));
    world.settle();
    CHECK(!gone);
    CHECK(never.has_waiters());
  }
  CHECK(gone);
  CHECK(!never.has_waiters());
}

TEST_CASE("a task may cancel its own scope; it ends at its next wait") {
  Turner world;
  Scope scope(world.loop);
  bool gone = false;
  int steps = 0;
  Signal never;
  auto body = [](Scope& own, Signal& s, bool& flag, int& count) -> Task<void> {
    Flag guard{flag};
    own.cancel();
    ++count;
    (void)co_await s.wait(Deadline::never());
    ++count;
  };
  scope.spawn(body(scope, never, gone, steps));
  world.settle();
  CHECK(steps == 1);
  CHECK(gone);
  CHECK(scope.size() == 0);
}

TEST_CASE("within cancels a child that takes too long and passes on one that does not") {
  Turner world;
  Scope scope(world.loop);
  std::vector<std::string> log;
  bool gone = false;
  auto child = [](Duration d, bool& flag) -> Task<Result<int>> {
    Flag guard{flag};
    co_await sleep_for(d);
    co_return 7;
  };
  auto outer = [&child](Loop& loop, std::vector<std::string>& out, bool& flag) -> Task<void> {
    auto quick = co_await within(Deadline::in(10ms, loop.now()), child(1ms, flag));
    out.push_back(quick ? "quick" : "late");
    flag = false;
    auto slow = co_await within(Deadline::in(10ms, loop.now()), child(1s, flag));
    out.push_back(slow ? "quick" : "late");
  };
  scope.spawn(outer(world.loop, log, gone));
  world.advance(100ms);
  CHECK(log == std::vector<std::string>{"quick", "late"});
  CHECK(gone);
}

TEST_CASE("idle waits for the last task of a scope") {
  Turner world;
  Scope outer_scope(world.loop);
  bool done = false;
  auto outer = [](bool& flag) -> Task<void> {
    Loop& loop = co_await this_loop();
    Scope scope(loop);
    scope.spawn(sleep_for(3ms));
    scope.spawn(sleep_for(9ms));
    auto early = co_await scope.idle(Deadline::in(5ms, loop.now()));
    CHECK(early.failed_with(ErrorCode::kTimeout));
    CHECK(scope.size() == 1);
    flag = (co_await scope.idle(Deadline::never())).ok();
  };
  outer_scope.spawn(outer(done));
  world.advance(8ms);
  CHECK(!done);
  world.advance(2ms);
  CHECK(done);
}

TEST_CASE("timers due together fire in the order they were set") {
  Turner world;
  Scope scope(world.loop);
  std::string order;
  auto sleeper = [](std::string& out, char name) -> Task<void> {
    co_await sleep_for(1ms);
    out.push_back(name);
  };
  for (char name : std::string("abcdef")) scope.spawn(sleeper(order, name));
  world.advance(2ms);
  CHECK(order == "abcdef");
}

TEST_CASE("who yields goes on only after everything else that was ready, and can be cancelled there") {
  Turner world;
  std::string order;
  auto eager = [](std::string& out) -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      out += 'e';
      co_await yield();
    }
  };
  auto other = [](std::string& out) -> Task<void> {
    out += 'o';
    co_return;
  };
  {
    Scope scope(world.loop);
    scope.spawn(eager(order));
    scope.spawn(other(order));
    world.settle();
  }
  CHECK(order == "eoee");
  {
    Scope scope(world.loop);
    scope.spawn(eager(order));
    world.loop.run_ready(1);
  }
  world.settle();
  CHECK(order == "eoeee");
}
