#include "world/uv_world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include "base/notify.h"
#include "real_world.h"

using namespace d7y;
using namespace d7y::world;
using namespace std::chrono_literals;

namespace {

Task<int> after(Duration time, int value) {
  co_await sleep_for(time);
  co_return value;
}

Task<void> set_after(Duration time, int& out, int value) {
  co_await sleep_for(time);
  out = value;
}

Task<int> offload_and_say(World& world, std::function<void()> work, int value) {
  co_await world.offload(std::move(work));
  co_return value;
}

Task<void> offload_and_set(World& world, std::function<void()> work, bool& out) {
  co_await world.offload(std::move(work));
  out = true;
}

Task<void> turn_forever(std::uint64_t& turns) {
  for (;;) {
    ++turns;
    co_await next_turn();
  }
}

}  // namespace

TEST_CASE("a sleeping task wakes when its time has come, not before") {
  RealWorld real;
  auto before = real->now();
  CHECK(real.wait(after(30ms, 7)) == 7);
  CHECK(real->now() - before >= 30ms);
}

TEST_CASE("an earlier timer set later still fires first") {
  RealWorld real;
  int first = 0, second = 0;
  Scope scope(real->loop());
  scope.spawn(set_after(10s, first, 1));
  real->run_until([] { return false; }, real.in(2ms));
  scope.spawn(set_after(5ms, second, 2));
  CHECK(real->run_until([&] { return second == 2; }, real.soon()));
  CHECK(first == 0);
}

TEST_CASE("run_until gives up at its deadline") {
  RealWorld real;
  auto before = real->now();
  CHECK_FALSE(real->run_until([] { return false; }, real.in(5ms)));
  CHECK(real->now() - before >= 5ms);
}

TEST_CASE("stop ends a run from another thread") {
  RealWorld real;
  std::thread other([&] { real->stop(); });
  real->run();
  other.join();
}

TEST_CASE("stop before a run ends that run after its first turn") {
  RealWorld real;
  real->stop();
  real->run();
  CHECK(real.wait(after(1ms, 3)) == 3);
}

TEST_CASE("a task that is always ready does not starve timers or other tasks") {
  RealWorld real;
  std::uint64_t turns = 0;
  int slept = 0;
  Scope scope(real->loop());
  scope.spawn(turn_forever(turns));
  scope.spawn(set_after(5ms, slept, 1));
  CHECK(real->run_until([&] { return slept == 1; }, real.soon()));
  CHECK(turns > 10);
}

TEST_CASE("functions posted from several threads all run on the loop's thread, each thread's in order") {
  RealWorld real;
  constexpr int kThreads = 4, kEach = 500;
  std::vector<int> seen[kThreads];
  int total = 0;
  auto home = std::this_thread::get_id();
  bool at_home = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        real->post([&, t, i] {
          seen[t].push_back(i);
          ++total;
          at_home = at_home && std::this_thread::get_id() == home;
        });
      }
    });
  }
  CHECK(real->run_until([&] { return total == kThreads * kEach; }, real.soon()));
  for (auto& thread : threads) thread.join();
  CHECK(at_home);
  for (auto& numbers : seen) CHECK(std::is_sorted(numbers.begin(), numbers.end()));
}

TEST_CASE("a posted function may post again") {
  RealWorld real;
  int left = 5;
  std::function<void()> again = [&] {
    if (--left > 0) real->post(again);
  };
  real->post(again);
  CHECK(real->run_until([&] { return left == 0; }, real.soon()));
}

TEST_CASE("two worlds on two threads talk by posting") {
  RealWorld here;
  std::promise<UvWorld*> made;
  std::thread thread([&] {
    RealWorld there;
    made.set_value(&*there);
    there->run();
  });
  UvWorld* there = made.get_future().get();
  int hops = 0;
  std::function<void()> ping, pong;
  pong = [&] {
    if (++hops < 100) there->post(ping);
  };
  ping = [&] { here->post(pong); };
  there->post(ping);
  CHECK(here->run_until([&] { return hops == 100; }, here.soon()));
  there->stop();
  thread.join();
}

TEST_CASE("offloaded work runs on another thread and its waiter goes on afterwards") {
  RealWorld real;
  std::atomic<bool> elsewhere{false};
  auto home = std::this_thread::get_id();
  CHECK(real.wait(offload_and_say(*real, [&] { elsewhere = std::this_thread::get_id() != home; }, 9)) == 9);
  CHECK(elsewhere);
}

TEST_CASE("offloaded work whose waiter was cancelled runs to its end and frees what it owns") {
  auto owned = std::make_shared<std::atomic<int>>(0);
  std::weak_ptr<std::atomic<int>> watch = owned;
  bool came_back = false;
  std::promise<void> began, go;
  {
    RealWorld real;
    {
      Scope scope(real->loop());
      std::function<void()> work = [owned = std::move(owned), &began, wait = go.get_future().share()] {
        began.set_value();
        wait.wait();
        *owned = 1;
      };
      scope.spawn(offload_and_set(*real, std::move(work), came_back));
      auto started = began.get_future();
      real->run_until([] { return true; });  // one turn: it is handed over
      started.wait();
    }
    CHECK(watch.lock() != nullptr);
    go.set_value();
  }  // the world waits for its work
  CHECK(watch.lock() == nullptr);
  CHECK_FALSE(came_back);
}

TEST_CASE("a world is torn down with timers set and functions posted") {
  auto owned = std::make_shared<int>(1);
  std::weak_ptr<int> watch = owned;
  {
    RealWorld real;
    int out = 0;
    Scope scope(real->loop());
    scope.spawn(set_after(1h, out, 1));
    real->run_until([] { return false; }, real.in(1ms));
    real->post([owned = std::move(owned)] {});
  }
  CHECK(watch.lock() == nullptr);
}

TEST_CASE("a world leaves signal handlers and masks as they were") {
  struct sigaction before[32], after_run[32];
  sigset_t mask_before, mask_after;
  for (int i = 1; i < 32; ++i) sigaction(i, nullptr, &before[i]);
  pthread_sigmask(SIG_BLOCK, nullptr, &mask_before);
  {
    RealWorld real;
    real.wait(after(1ms, 1));
    for (int i = 1; i < 32; ++i) sigaction(i, nullptr, &after_run[i]);
  }
  pthread_sigmask(SIG_BLOCK, nullptr, &mask_after);
  for (int i = 1; i < 32; ++i) {
    bool same = before[i].sa_handler == after_run[i].sa_handler;
    CHECK(same);
    CHECK(sigismember(&mask_before, i) == sigismember(&mask_after, i));
  }
}

TEST_CASE("closed standard streams are not taken for a world's own descriptors, and stay useless") {
  std::array<int, 3> kept{};
  for (int number = 0; number <= 2; ++number) {
    kept[number] = ::fcntl(number, F_DUPFD_CLOEXEC, 100);
    ::close(number);
  }
  bool made = false, held = true, useless = true;
  {
    auto world = make_uv_world();
    made = static_cast<bool>(world);
    for (int number = 0; number <= 2; ++number) held = held && ::fcntl(number, F_GETFD) == FD_CLOEXEC;
    char byte = 0;
    errno = 0;
    useless = ::read(0, &byte, 1) < 0 && errno == EBADF;
    for (int number : {1, 2}) useless = useless && ::write(number, "x", 1) < 0 && errno == EBADF;
  }  // closing it ended the process
  for (int number = 0; number <= 2; ++number) {
    if (kept[number] < 0) continue;
    ::dup2(kept[number], number);
    ::close(kept[number]);
  }
  CHECK(made);
  CHECK(held);
  CHECK(useless);
}

TEST_CASE("random numbers differ between draws and between worlds") {
  RealWorld one, two;
  std::set<std::uint64_t> drawn;
  for (int i = 0; i < 1000; ++i) {
    drawn.insert(one->random());
    drawn.insert(two->random());
  }
  CHECK(drawn.size() == 2000);
}

TEST_CASE("the machine has a name, processors and memory") {
  RealWorld real;
  auto facts = real->machine();
  CHECK_FALSE(facts.hostname.empty());
  CHECK(facts.os == "linux");
  CHECK(facts.logical_cpus >= 1);
  CHECK(facts.physical_cpus >= 1);
  CHECK(facts.physical_cpus <= facts.logical_cpus);
  auto load = real->load();
  CHECK(load.memory_total > 0);
  CHECK(load.memory_available <= load.memory_total);
  CHECK(load.process_resident > 0);
  CHECK(load.process_memory_percent > 0);
}

TEST_CASE("the load shows this process when it works") {
  RealWorld real;
  real->load();
  auto until = std::chrono::steady_clock::now() + 50ms;
  volatile std::uint64_t sum = 0;
  while (std::chrono::steady_clock::now() < until) sum = sum + 1;
  auto load = real->load();
  CHECK(load.process_cpu_percent > 1);
  CHECK(load.cpu_percent <= 100);
}

TEST_CASE("the time of day is that of the system") {
  RealWorld real;
  auto system = std::chrono::system_clock::now().time_since_epoch();
  auto ours = real->wall_now().time_since_epoch();
  CHECK(std::chrono::abs(std::chrono::duration_cast<std::chrono::seconds>(system - ours)) < 5s);
}

TEST_CASE("a world that finds too few descriptors says so, at whichever it is") {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit tight = before;
  tight.rlim_cur = 512;
  setrlimit(RLIMIT_NOFILE, &tight);
  std::vector<int> taken;
  for (int each; (each = ::dup(0)) >= 0;) taken.push_back(each);
  int refused = 0;
  bool made = false;
  while (!made && !taken.empty()) {
    {
      auto world = make_uv_world();
      made = world.ok();
      if (!made) CHECK(world.failed_with(ErrorCode::kExhausted));
    }
    refused += made ? 0 : 1;
    ::close(taken.back());
    taken.pop_back();
  }
  CHECK(made);
  CHECK(refused >= 3);
  for (const int each : taken) ::close(each);
  setrlimit(RLIMIT_NOFILE, &before);
}
