// The race between addresses (RFC 8305) on a network that answers when it is told to, by a clock
// turned by hand.
#include <doctest/doctest.h>

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "base/scope.h"
#include "world/network.h"

using namespace d7y;
using namespace d7y::world;
using namespace std::chrono_literals;

namespace {

struct NamedStream final : Stream {
  explicit NamedStream(Address to) : to(std::move(to)) {}
  Transfer try_read(MutableBytes) override { return {}; }
  Transfer try_write(std::span<const Bytes>, bool) override { return {}; }
  Transfer try_send_file(File&, std::uint64_t, std::uint64_t) override { return {}; }
  Signal& readable() override { return signal; }
  Signal& writable() override { return signal; }
  Error error() const override { return Error(ErrorCode::kInternal, ""); }
  void finish_writing() override {}
  void abort() override {}
  Address local() const override { return to; }
  Address remote() const override { return to; }
  Address to;
  Signal signal;
};

// Each address answers, or refuses, after its own time.
struct SlowNetwork final : Network {
  struct Plan {
    Duration after;
    bool answers;
  };
  std::map<Address, Plan> plans;
  std::vector<std::pair<TimePoint, Address>> begun;
  int in_flight = 0;

  Task<Result<std::unique_ptr<Stream>>> connect(Address to, ConnectOptions, Deadline deadline) override {
    struct Flight {
      int& count;
      explicit Flight(int& count) : count(++count) {}
      ~Flight() { --count; }
    } flight(in_flight);
    Loop& loop = co_await this_loop();
    begun.emplace_back(loop.now(), to);
    auto plan = plans.at(to);
    auto end = Deadline::in(plan.after, loop.now());
    if (deadline < end) {
      co_await sleep_until(deadline.when());
      co_return error(ErrorCode::kTimeout, "too late");
    }
    co_await sleep_until(end.when());
    if (!plan.answers) co_return error(ErrorCode::kRefused, "{} refused", to.to_string());
    co_return std::unique_ptr<Stream>(std::make_unique<NamedStream>(to));
  }
  Result<std::unique_ptr<Listener>> listen(const Address&, const ListenOptions&) override {
    return error(ErrorCode::kUnsupported, "connects only");
  }
  Task<Result<std::vector<Address>>> resolve(std::string, std::uint16_t, Deadline) override {
    co_return error(ErrorCode::kUnsupported, "connects only");
  }
  std::vector<Interface> interfaces() override { return {}; }
};

Address v4(std::uint8_t last) { return Address::ipv4({192, 0, 2, last}, 80); }
Address v6(std::uint8_t last) {
  std::array<std::uint8_t, 16> octets{0x20, 0x01, 0x0d, 0xb8};
  octets[15] = last;
  return Address::ipv6(octets, 80);
}

struct Race {
  Loop loop;
  SlowNetwork network;
  std::optional<Result<std::unique_ptr<Stream>>> result;
  TimePoint ended{};

  void run(std::vector<Address> candidates, Deadline deadline) {
    Scope scope(loop);
    scope.spawn(race(*this, std::move(candidates), deadline));
    while (loop.run_ready()) {
    }
    while (!result) {
      REQUIRE(loop.next_timer() != TimePoint::max());
      loop.set_now(loop.next_timer());
      loop.fire_timers();
      while (loop.run_ready()) {
      }
    }
  }

 private:
  static Task<void> race(Race& race, std::vector<Address> candidates, Deadline deadline) {
    auto got = co_await connect_any(race.network, std::move(candidates), {}, deadline);
    race.ended = race.loop.now();
    race.result.emplace(std::move(got));
  }
};

const TimePoint kStart{};

}  // namespace

TEST_CASE("a silent first address costs 250 ms, then the other family is tried while it goes on") {
  Race race;
  race.network.plans = {{v6(1), {1h, true}}, {v6(2), {1h, true}}, {v4(1), {10ms, true}}};
  race.run({v6(1), v6(2), v4(1)}, Deadline::never());
  REQUIRE(race.result->ok());
  CHECK((**race.result)->remote() == v4(1));
  CHECK(race.ended == kStart + 260ms);
  REQUIRE(race.network.begun.size() == 2);
  CHECK(race.network.begun[1] == std::pair{kStart + 250ms, v4(1)});
  CHECK(race.network.in_flight == 0);
}

TEST_CASE("a refusal starts the next address at once") {
  Race race;
  race.network.plans = {{v6(1), {5ms, false}}, {v4(1), {5ms, true}}};
  race.run({v6(1), v4(1)}, Deadline::never());
  REQUIRE(race.result->ok());
  CHECK(race.ended == kStart + 10ms);
}

TEST_CASE("a slow first address still wins over a slower second one") {
  Race race;
  race.network.plans = {{v6(1), {300ms, true}}, {v4(1), {300ms, true}}};
  race.run({v6(1), v4(1)}, Deadline::never());
  REQUIRE(race.result->ok());
  CHECK((**race.result)->remote() == v6(1));
  CHECK(race.network.in_flight == 0);
}

TEST_CASE("all refused: the last refusal, and how many were tried") {
  Race race;
  race.network.plans = {{v6(1), {5ms, false}}, {v4(1), {5ms, false}}, {v4(2), {5ms, false}}};
  race.run({v6(1), v4(1), v4(2)}, Deadline::never());
  REQUIRE_FALSE(race.result->ok());
  CHECK(race.result->error().code() == ErrorCode::kRefused);
  CHECK(race.result->error().message().find("none of 3") != std::string::npos);
  CHECK(race.result->error().message().find("192.0.2.2") != std::string::npos);
}

TEST_CASE("silence from all ends at the deadline and leaves nothing in flight") {
  Race race;
  race.network.plans = {{v6(1), {1h, true}}, {v4(1), {1h, true}}};
  race.run({v6(1), v4(1)}, Deadline::at(kStart + 1s));
  REQUIRE_FALSE(race.result->ok());
  CHECK(race.result->error().code() == ErrorCode::kTimeout);
  CHECK(race.ended == kStart + 1s);
  CHECK(race.network.in_flight == 0);
}

TEST_CASE("one address is simply connected to") {
  Race race;
  race.network.plans = {{v4(1), {5ms, true}}};
  race.run({v4(1)}, Deadline::never());
  CHECK(race.result->ok());
}
