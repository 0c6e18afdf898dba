// In which order the pieces that unmodified children ask for are sent, and how many at once.
#include "fixture.h"

#include "swarm/upload_width.h"

using namespace d7y;
using namespace d7y::swarm;

namespace {

constexpr std::uint64_t kPiece = 4_MiB;
const std::string kTask = an_id(1);

// ---- The width alone: a way that carries so many bytes a second at a width.

struct Way {
  std::function<double(std::size_t)> rate;
  UploadWidth width{};
  TimePoint now{};
  std::size_t narrowest = UploadWidth::kMost, widest = 1;

  void send_for(Duration time, bool wanted = true) {
    narrowest = UploadWidth::kMost;
    widest = 1;
    for (const auto end = now + time; now < end; now += 1ms) {
      const auto bytes = static_cast<std::uint64_t>(rate(width.width()) / 1000);
      if (width.sent(bytes, now)) width.span_over(wanted);
      narrowest = std::min(narrowest, width.width());
      widest = std::max(widest, width.width());
    }
  }
};

// Every connection brings as much as the first.
double each(std::size_t width) { return 20e6 * static_cast<double>(width); }

// ---- Eight pieces asked for at once.

struct Asked {
  std::vector<std::pair<std::uint32_t, TimePoint>> ends;  // in the order in which they ended
};

Task<void> ask(sim::Host& child, Address parent, std::uint32_t number, Asked& asked) {
  auto fetching =
      rust_fetch(child, parent, rust_request(kTask, number), kPiece, Deadline::in(300s, child.now()));
  auto answer = must(co_await fetching);
  CHECK(answer.body.size() == kPiece);
  asked.ends.emplace_back(number, child.now());
}

// Asks for a piece and takes nothing.
Task<void> ask_and_stand_still(sim::Host& child, Address parent, std::uint32_t number) {
  auto connecting = child.network().connect(parent, world::ConnectOptions{}, Deadline::never());
  auto stream = must(co_await connecting);
  auto request = rust_request(kTask, number);
  auto writing = world::write_all(*stream, as_bytes(request), Deadline::never());
  must(co_await writing);
  co_await sleep_for(40s);
}

// Has so many pieces, and this uplink.
constexpr double kUplink = 20'000'000;  // bytes per second
Task<std::unique_ptr<TestPeer>> parent_of(sim::Simulation& sim, std::uint64_t pieces) {
  auto& host = sim.add_host({.uplink = static_cast<std::uint64_t>(kUplink)});
  auto making = make_peer(host, host.address(4005));
  auto peer = co_await making;
  auto stocking = stock(*peer, kTask, made_up(pieces * kPiece), kPiece);
  auto task = co_await stocking;
  co_return peer;
}

double seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

TEST_CASE("one piece at a time where that fills the way") {
  Way way{[](std::size_t) { return 125e6; }};
  way.send_for(100s);
  CHECK(way.width.width() == 1);
  CHECK(way.widest == 2);  // is tried, and seldom
}

TEST_CASE("more at once where each brings more") {
  Way way{each};
  way.send_for(5s);
  CHECK(way.width.width() >= 4);
  way.send_for(30s);
  CHECK(way.narrowest >= 4);
  CHECK(way.widest == UploadWidth::kMost);
}

TEST_CASE("twice as many that bring a tenth more are not worth it") {
  Way way{[](std::size_t width) { return 100e6 * (1 + 0.1 * static_cast<double>(width - 1)); }};
  way.send_for(60s);
  CHECK(way.width.width() == 1);
}

TEST_CASE("a way that has become full is found out") {
  Way way{each};
  way.send_for(5s);
  way.rate = [](std::size_t) { return 125e6; };
  way.send_for(120s);
  CHECK(way.width.width() <= 2);
}

TEST_CASE("nothing is learned while nobody waits") {
  Way way{each};
  way.send_for(20s, false);
  CHECK(way.width.width() == 1);
  CHECK(way.widest == 1);
}

SWARM_TEST("an unmodified child gets one piece after the other, the first of the content first") {
  auto& child = sim.add_host();
  auto making = parent_of(sim, 8);
  auto peer = co_await making;
  Asked asked;
  const auto began = sim.now();
  {
    Scope scope(sim.loop());
    for (const std::uint32_t number : {7U, 3U, 5U, 1U, 0U, 2U, 4U, 6U}) {
      scope.spawn(ask(child, peer->data, number, asked));
      co_await sleep_for(1ms);
    }
    must(co_await scope.idle(Deadline::never()));
  }
  const double whole = 8.0 * kPiece / kUplink * 1.07;  // what the bytes around them take
  REQUIRE(asked.ends.size() == 8);
  CHECK(asked.ends[0].first == 7);  // nobody else had asked
  for (std::uint32_t i = 1; i < 8; ++i) CHECK(asked.ends[i].first == i - 1);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(seconds(asked.ends[i].second - began) <= whole * (static_cast<double>(i) + 2) / 8);
  }
  CHECK(seconds(asked.ends[7].second - began) <= whole);
}

SWARM_TEST("two unmodified children share the uplink, each piece by piece") {
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  auto making = parent_of(sim, 4);
  auto peer = co_await making;
  Asked asked_one, asked_two;
  const auto began = sim.now();
  {
    Scope scope(sim.loop());
    for (std::uint32_t number = 0; number < 4; ++number) {
      scope.spawn(ask(one, peer->data, number, asked_one));
      scope.spawn(ask(two, peer->data, number, asked_two));
    }
    must(co_await scope.idle(Deadline::never()));
  }
  const double whole = 8.0 * kPiece / kUplink;
  for (const auto* asked : {&asked_one, &asked_two}) {
    CHECK(seconds(asked->ends[0].second - began) <= whole * 0.35);
    CHECK(seconds(asked->ends[3].second - began) >= whole * 0.9);
  }
}

SWARM_TEST(
    "a connection that takes nothing keeps the child's others waiting for a second, not for a minute") {
  auto& child = sim.add_host();
  auto making = parent_of(sim, 4);
  auto peer = co_await making;
  Asked asked;
  const auto began = sim.now();
  Scope standing(sim.loop());
  standing.spawn(ask_and_stand_still(child, peer->data, 0));
  co_await sleep_for(10ms);
  {
    Scope scope(sim.loop());
    for (const std::uint32_t number : {1U, 2U, 3U}) scope.spawn(ask(child, peer->data, number, asked));
    must(co_await scope.idle(Deadline::never()));
  }
  CHECK(asked.ends.size() == 3);
  CHECK(seconds(sim.now() - began) <= 4.0 * kPiece / kUplink + 2.5);
}

SWARM_TEST("beside children of ours an unmodified one has as many pieces on their way as there are of them") {
  auto& child = sim.add_host();
  auto making = parent_of(sim, 16);
  auto peer = co_await making;
  std::vector<std::unique_ptr<TestPeer>> ours;
  std::vector<store::TaskHandle> tasks;
  for (int i = 0; i < 3; ++i) {
    auto& other = sim.add_host();
    auto making_child = make_peer(other, other.address(4005));
    ours.push_back(co_await making_child);
    auto creating = store::make_task(*ours.back()->store, facts_of(kTask, 16 * kPiece, kPiece));
    tasks.push_back(co_await creating);
  }
  DataAddress from{peer->data, vortex::kOurAbilities};
  std::vector<Result<store::PieceInfo>> fetched;
  Asked asked;
  Scope scope(sim.loop());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    for (std::uint32_t number = 0; number < 8; ++number)
      scope.spawn(fetch_into(*ours[i], from, tasks[i], number, fetched));
  }
  co_await sleep_for(100ms);
  const auto began = sim.now();
  for (std::uint32_t number = 8; number < 14; ++number) scope.spawn(ask(child, peer->data, number, asked));
  must(co_await scope.idle(Deadline::never()));
  // Half of the uplink is the unmodified child's: its six pieces take as long as six of the others'.
  REQUIRE(asked.ends.size() == 6);
  CHECK(seconds(asked.ends[5].second - began) <= 12.0 * kPiece / kUplink * 1.25);
}
