#include "sim/simulation.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "world/network.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

// Echoes whatever one connection says, until it ends.
Task<void> echo(std::unique_ptr<world::Stream> stream) {
  std::vector<std::byte> buffer(10'000);
  for (;;) {
    auto got = co_await world::read_some(*stream, buffer, Deadline::never());
    if (!got || *got == 0) co_return;
    auto sent = co_await world::write_all(*stream, Bytes(buffer).first(*got), Deadline::never());
    if (!sent) co_return;
  }
}

Task<void> echo_server(sim::Host& host) {
  auto listener = host.network().listen(host.address(7), {});
  REQUIRE(listener.ok());
  Scope scope(host.loop());
  for (;;) {
    auto stream = co_await (*listener)->accept(Deadline::never());
    if (!stream) co_return;
    scope.spawn(echo(std::move(*stream)));
  }
}

Task<Result<void>> chat(sim::Host& host, Address to, int rounds) {
  auto deadline = Deadline::in(100s, host.now());
  CO_TRY(auto stream, co_await host.network().connect(to, {}, deadline));
  std::string answer;
  for (int i = 0; i < rounds; ++i) {
    auto text = sim::random_bytes(1 + host.random() % 5000, host.random());
    answer.assign(text.size(), '\0');
    CO_OK(co_await world::write_all(*stream, as_bytes(text), deadline));
    CO_OK(co_await world::read_exactly(*stream, as_mutable_bytes(answer), deadline));
    CHECK(answer == text);
    co_await sleep_for(Duration(static_cast<std::int64_t>(host.random() % 1'000'000)));
  }
  auto file = host.files().open("/log", world::OpenMode::kCreate);
  CO_OK((*file)->write_at(0, as_bytes(answer)));
  co_return co_await (*file)->sync();
}

Task<void> chat_all(std::vector<sim::Host*> hosts, Address to, int& succeeded) {
  Loop& loop = co_await this_loop();
  Scope scope(loop);
  auto one = [](sim::Host& host, Address server, int& count) -> Task<void> {
    auto result = co_await chat(host, server, 20);
    count += result.ok() ? 1 : 0;
  };
  for (auto* host : hosts) scope.spawn(one(*host, to, succeeded));
  auto idle = co_await scope.idle(Deadline::never());
  CHECK(idle.ok());
}

std::uint64_t party(std::uint64_t seed, std::uint64_t& events) {
  sim::Simulation sim(seed, {.fabric = {.link = {.loss = 0.01}}});
  auto& server = sim.add_host({.name = "server"});
  std::vector<sim::Host*> guests;
  for (int i = 0; i < 10; ++i) guests.push_back(&sim.add_host());
  server.spawn(echo_server(server));
  int succeeded = 0;
  CHECK(sim.run(chat_all(guests, server.address(7), succeeded), 100s));
  CHECK(succeeded == 10);
  events = sim.timeline().events();
  return sim.fingerprint();
}

}  // namespace

TEST_CASE("the same seed gives the same run, another seed another one") {
  std::uint64_t events_a = 0, events_b = 0, events_c = 0;
  auto a = party(1, events_a);
  auto b = party(1, events_b);
  auto c = party(2, events_c);
  CHECK(a == b);
  CHECK(events_a == events_b);
  CHECK(a != c);
  CHECK(events_a > 400);
}

TEST_CASE("time jumps to what happens next") {
  sim::Simulation sim(1);
  auto year = [](sim::Simulation& s) -> Task<void> {
    auto start = s.now();
    co_await sleep_for(24h * 365);
    CHECK(s.now() - start == 24h * 365);
  };
  CHECK(sim.run(year(sim), 24h * 366));
}

TEST_CASE("a run ends at its limit, or when nothing can happen any more") {
  sim::Simulation sim(1);
  auto& host = sim.add_host();
  auto forever = []() -> Task<void> {
    Signal never;
    auto woken = co_await never.wait(Deadline::never());
    CHECK(!woken.ok());
  };
  CHECK(!sim.run(forever(), 10s));
  CHECK(sim.now() == TimePoint(10s));
  host.spawn(sleep_for(1000h));
  CHECK(!sim.run(forever(), 10s));
  CHECK(sim.now() == TimePoint(20s));
  auto result = sim.run([]() -> Task<Result<int>> { co_return 5; }(), 1s);
  REQUIRE(result.ok());
  CHECK(*result == 5);
}

TEST_CASE("a paused host stands still and goes on later, the others do not notice") {
  sim::Simulation sim(3);
  auto& sleeper = sim.add_host();
  auto& other = sim.add_host();
  auto tick = [](sim::Host& host, std::vector<Duration>& ticks) -> Task<void> {
    for (int i = 0; i < 10; ++i) {
      co_await sleep_for(1s);
      ticks.push_back(host.now().time_since_epoch());
    }
  };
  std::vector<Duration> paused, running;
  sleeper.spawn(tick(sleeper, paused));
  other.spawn(tick(other, running));
  sim.run_for(3500ms);
  sleeper.pause();
  sim.run_for(4s);
  CHECK(paused.size() == 3);
  CHECK(running.size() == 7);
  sleeper.resume();
  sim.run_for(20s);
  REQUIRE(paused.size() == 10);
  CHECK(paused[3] == 7500ms);
  CHECK(running.back() == 10s);
}

TEST_CASE("a busy host runs nothing until it is done") {
  sim::Simulation sim(3);
  auto& host = sim.add_host();
  Duration woke{};
  auto nap = [](sim::Host& h, Duration& at) -> Task<void> {
    h.burn(700ms);
    co_await sleep_for(1ms);
    at = h.now().time_since_epoch();
  };
  host.spawn(nap(host, woke));
  sim.run_for(10s);
  CHECK(woke == 700ms);
}

TEST_CASE("the time of day may jump, measured time does not") {
  sim::Simulation sim(3);
  auto& host = sim.add_host();
  auto wall = host.wall_now();
  host.shift_clock(-1h);
  sim.run_for(1s);
  CHECK(host.wall_now() - wall == 1s - 1h);
  CHECK(host.now() == TimePoint(1s));
}

TEST_CASE("offloaded work takes time and ends even if nobody waits") {
  sim::Simulation sim(3);
  auto& host = sim.add_host();
  int done = 0;
  {
    Scope scope(host.loop());
    auto work = [](sim::Host& h, int& count) -> Task<void> {
      std::function<void()> job = [&count] { ++count; };
      co_await h.offload(job);
      ++count;
    };
    scope.spawn(work(host, done));
    sim.run_for(1us);
    CHECK(done == 0);
    scope.spawn(work(host, done));
    sim.run_for(1us);
    scope.cancel();
  }
  sim.run_for(1s);
  CHECK(done == 2);
  CHECK(sim.leaks() == "");
}

TEST_CASE("posted work runs on the host's loop, and not on a crashed one") {
  sim::Simulation sim(3);
  auto& host = sim.add_host();
  int done = 0;
  host.post([&] { ++done; });
  CHECK(done == 0);
  sim.run_for(1ms);
  CHECK(done == 1);
  host.post([&] { ++done; });
  host.kill();
  sim.run_for(1ms);
  CHECK(done == 1);
}

TEST_CASE("leaks name what a host still holds") {
  sim::Simulation sim(3);
  auto& host = sim.add_host({.name = "keeper"});
  CHECK(sim.leaks() == "");
  auto listener = host.network().listen(host.address(80), {});
  auto file = host.files().open("/file", world::OpenMode::kCreate);
  host.spawn(sleep_for(1h));
  sim.run_for(1ms);
  CHECK(sim.leaks() ==
        "keeper holds 1 tasks\nkeeper holds 1 listeners\nkeeper holds 1 open files\nkeeper holds 1 timers\n");
  host.kill();
  host.start();
  CHECK(sim.leaks() == "");
}

TEST_CASE("a crash destroys what runs on a host; a task may pull its own plug") {
  sim::Simulation sim(5);
  auto& host = sim.add_host();
  struct Guard {
    sim::Host& host;
    bool& gone;
    ~Guard() {
      // A destructor that tidies up must not change what a crash leaves behind.
      auto removed = host.files().remove("/precious");
      CHECK(!removed.ok());
      gone = true;
    }
  };
  bool gone = false, went_on = false;
  host.disk().put("/precious", "x");
  auto suicide = [](sim::Host& h, bool& g, bool& on) -> Task<void> {
    Guard guard{h, g};
    co_await sleep_for(1s);
    h.power_off();
    auto file = h.files().open("/late", world::OpenMode::kCreate);
    CHECK(!file.ok());
    co_await sleep_for(1ns);
    on = true;
  };
  host.spawn(suicide(host, gone, went_on));
  sim.run_for(10s);
  CHECK(gone);
  CHECK(!went_on);
  CHECK(!host.running());
  host.start();
  CHECK(host.disk().content("/precious") == "x");
  CHECK(!host.disk().exists("/late"));
}

TEST_CASE("random content is the same from every offset") {
  auto whole = sim::random_bytes(1000, 42);
  for (std::size_t offset : {0, 1, 7, 8, 9, 500, 993}) {
    std::string part(std::min<std::size_t>(100, 1000 - offset), '\0');
    sim::fill_random(42, offset, as_mutable_bytes(part));
    CHECK(part == whole.substr(offset, part.size()));
  }
  CHECK(sim::random_bytes(1000, 43) != whole);
}
