#include "swarm/parent_set.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::swarm;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kPiece = 4 << 20;

struct Play {
  ParentSet set;
  TimePoint now{};
  std::vector<ParentSet::Id> all;

  explicit Play(int parents, ParentPolicy policy = {}) : set(policy) {
    for (int i = 0; i < parents; ++i)
      all.push_back(set.add("peer" + std::to_string(i), "host" + std::to_string(i), now));
  }
  void deliver(ParentSet::Id id, Duration took) {
    set.asked(id, kPiece, now);
    for (int i = 0; i < 4; ++i) {
      now += took / 4;
      set.received(id, kPiece / 4, now);
    }
    set.finished(id, now);
  }
};

}  // namespace

TEST_CASE("the first parent is picked at once, before anything is known about it") {
  Play play(1);
  CHECK(play.set.pick(play.all, kPiece, play.now) == 0u);
}

TEST_CASE("load spreads over parents of which nothing is known") {
  Play play(3);
  std::vector<int> count(3);
  for (int i = 0; i < 6; ++i) {
    auto id = play.set.pick(play.all, kPiece, play.now);
    REQUIRE(id.has_value());
    play.set.asked(*id, kPiece, play.now);
    ++count[*id];
  }
  CHECK(count == std::vector<int>{2, 2, 2});
}

TEST_CASE("a parent that says it is busy is asked after the others, until it was measured") {
  Play play(2);
  play.set.hint(0, 1e6);
  CHECK(play.set.pick(play.all, kPiece, play.now) == 1u);
  for (int i = 0; i < 5; ++i) play.deliver(0, 5ms);
  play.set.hint(0, 1e6);
  for (int i = 0; i < 5; ++i) play.deliver(1, 500ms);
  CHECK(play.set.pick(play.all, kPiece, play.now) == 0u);
}

TEST_CASE("a parent's window bounds what is on its way") {
  Play play(1, {.window_min = 2, .window_max = 4, .rate_guess = 1e6});
  play.set.asked(0, kPiece, play.now);
  play.set.asked(0, kPiece, play.now);
  CHECK(!play.set.pick(play.all, kPiece, play.now));
  play.set.finished(0, play.now + 1s);
  CHECK(play.set.pick(play.all, kPiece, play.now + 1s) == 0u);
}

TEST_CASE("pieces that the parent still receives itself are followed beyond the window") {
  Play play(1, {.window_min = 2, .window_max = 2, .window_arriving = 3});
  for (int i = 0; i < 2; ++i) play.set.asked(0, kPiece, play.now);
  CHECK(!play.set.usable(0, kPiece, play.now));
  CHECK(play.set.usable(0, kPiece, play.now, true));
  play.set.asked(0, kPiece, play.now);
  CHECK(!play.set.usable(0, kPiece, play.now, true));
}

TEST_CASE("among many parents nobody is asked for a second piece while enough is on its way") {
  Play play(9);
  for (ParentSet::Id id = 0; id < 4; ++id) {
    play.set.asked(id, kPiece, play.now);
    CHECK(play.set.usable(id, kPiece, play.now));
    play.set.asked(id, kPiece, play.now);
  }
  for (ParentSet::Id id = 0; id < 9; ++id) {
    CHECK(play.set.usable(id, kPiece, play.now) == (id >= 4));
    CHECK(play.set.usable(id, kPiece, play.now, true) == (id >= 4));
    CHECK(play.set.usable(id, kPiece, play.now, true, true));  // others wait for what is dealt to us
  }
  play.set.finished(0, play.now);
  CHECK(play.set.usable(0, kPiece, play.now));
}

TEST_CASE("one that is behind its neighbours may ask some of them for a second piece") {
  Play play(10);
  for (ParentSet::Id id = 0; id < 10; ++id) play.set.asked(id, kPiece, play.now);
  const auto usable = [&] { return play.set.usable(3, kPiece, play.now, true); };
  const auto everyone_has = [&](std::uint32_t pieces) {
    for (ParentSet::Id id = 1; id < 10; ++id) play.set.parent_has(id, pieces, 1000);
  };
  // The seed had everything from the start, and is no measure; nor is it before it has said so.
  play.set.parent_has(0, 0, 1000);
  play.set.parent_has(0, 1000, 1000);
  play.set.we_have(500, 1000);
  CHECK(!usable());
  everyone_has(500);
  play.set.we_have(491, 1000);
  CHECK(!usable());
  play.set.we_have(490, 1000);
  CHECK(usable());
  CHECK(play.set.urgent(3));
  play.set.asked(3, kPiece, play.now);
  CHECK(!play.set.usable(4, kPiece, play.now, true));
  // Far behind: one more, and not more than that.
  play.set.we_have(100, 1000);
  CHECK(play.set.usable(4, kPiece, play.now, true));
  play.set.asked(4, kPiece, play.now);
  CHECK(!play.set.usable(5, kPiece, play.now, true));
  play.set.finished(3, play.now);
  play.set.finished(4, play.now);
  // A neighbour that has become complete counts on.
  everyone_has(1000);
  play.set.we_have(970, 1000);
  CHECK(usable());
  play.set.we_have(1000, 1000);
  CHECK(!usable());
  // A piece or two are chance where they are a large part.
  play.set.parent_has(0, 10, 30);
  for (ParentSet::Id id = 1; id < 10; ++id) play.set.parent_has(id, 10, 30);
  play.set.we_have(8, 30);
  CHECK(!usable());
  play.set.we_have(7, 30);
  CHECK(usable());
}

TEST_CASE("a fast parent gets a wider window, so that its pipe never runs dry") {
  Play play(1);
  for (int i = 0; i < 20; ++i) play.deliver(0, 5ms);
  int asked = 0;
  while (play.set.pick(play.all, kPiece, play.now)) {
    play.set.asked(0, kPiece, play.now);
    ++asked;
  }
  CHECK(asked == 4);
}

TEST_CASE("a parent ten times as fast gets most of the work") {
  Play play(2);
  std::vector<int> pieces(2);
  struct Flight {
    ParentSet::Id id;
    TimePoint ends;
  };
  // Parent 0 delivers a piece in 10 ms, parent 1 in 100 ms, each one after the other.
  std::vector<TimePoint> free(2);
  std::vector<Flight> flights;
  for (int step = 0; step < 4000; ++step) {
    while (auto id = play.set.pick(play.all, kPiece, play.now)) {
      play.set.asked(*id, kPiece, play.now);
      free[*id] = std::max(free[*id], play.now) + (*id == 0 ? 10ms : 100ms);
      flights.push_back({*id, free[*id]});
    }
    play.now += 1ms;
    for (auto flight = flights.begin(); flight != flights.end();) {
      if (flight->ends > play.now) {
        ++flight;
        continue;
      }
      play.set.received(flight->id, kPiece, play.now);
      play.set.finished(flight->id, play.now);
      ++pieces[flight->id];
      flight = flights.erase(flight);
    }
  }
  CHECK(pieces[0] > 300);
  CHECK(pieces[1] > 10);
  CHECK(pieces[1] < 60);
}

TEST_CASE(
    "a parent that is much slower than half of the others is asked when there is nothing else to wait for") {
  Play play(5);
  for (int i = 0; i < 5; ++i) play.set.capacity(play.all[i], i == 0 ? 12.5e6 : 125e6);
  CHECK(play.set.usable(0, kPiece, play.now));
  play.set.asked(1, kPiece, play.now);
  CHECK_FALSE(play.set.usable(0, kPiece, play.now));
  CHECK_FALSE(play.set.usable(0, kPiece, play.now, true, true));
  CHECK(play.set.usable(2, kPiece, play.now));
  play.set.finished(1, play.now);
  CHECK(play.set.usable(0, kPiece, play.now));
}

TEST_CASE("nobody is slow by what others say of themselves and do not deliver") {
  Play play(5);
  for (int i = 0; i < 5; ++i) play.set.capacity(play.all[i], i == 0 ? 125e6 : 125e9);
  for (int i = 1; i < 5; ++i) play.deliver(play.all[i], 60s);  // 70 kB/s
  play.set.asked(1, kPiece, play.now);
  CHECK(play.set.usable(0, kPiece, play.now));
  // Nor by those who say nothing, nor by a few.
  Play silent(5);
  silent.set.capacity(0, 1e6);
  silent.set.asked(1, kPiece, silent.now);
  CHECK(silent.set.usable(0, kPiece, silent.now));
  Play few(5);
  for (int i = 0; i < 5; ++i) few.set.capacity(few.all[i], i < 3 ? 125e6 : 1.25e9);
  few.set.asked(3, kPiece, few.now);
  CHECK(few.set.usable(0, kPiece, few.now));
}

TEST_CASE("wrong bytes and broken protocol ban a parent for good") {
  Play play(3);
  play.set.asked(0, kPiece, play.now);
  play.set.failed(0, 0, ErrorCode::kCorrupt, play.now);
  play.set.asked(1, kPiece, play.now);
  play.set.failed(1, kPiece, ErrorCode::kProtocol, play.now);
  CHECK(play.set.given_up(0));
  CHECK(play.set.given_up(1));
  CHECK(play.set.pick(play.all, kPiece, play.now + 1h) == 2u);
  CHECK(play.set.add("peer0", "host0", play.now) == 0u);
  CHECK(play.set.given_up(0));
}

TEST_CASE("a failing parent rests, longer each time, and comes back") {
  Play play(1);
  play.set.asked(0, kPiece, play.now);
  play.set.failed(0, kPiece, ErrorCode::kReset, play.now);
  CHECK(!play.set.pick(play.all, kPiece, play.now));
  auto first = play.set.next_return(play.now) - play.now;
  CHECK(first > 0ms);
  play.now += first;
  CHECK(play.set.pick(play.all, kPiece, play.now) == 0u);
  play.set.asked(0, kPiece, play.now);
  play.set.failed(0, kPiece, ErrorCode::kReset, play.now);
  CHECK(play.set.next_return(play.now) - play.now > first);
}

TEST_CASE("requests that break with one connection count as one failure") {
  Play play(1);
  for (int i = 0; i < 4; ++i) play.set.asked(0, kPiece, play.now);
  for (int i = 0; i < 4; ++i) play.set.failed(0, kPiece, ErrorCode::kReset, play.now);
  CHECK(!play.set.given_up(0));
  CHECK(play.set.in_flight(0) == 0);
  CHECK(play.set.next_return(play.now) - play.now <= 250ms);
}

TEST_CASE("a parent that only fails is given up, and its failures fade when it works") {
  Play play(1);
  int tries = 0;
  while (!play.set.given_up(0) && tries < 100) {
    play.now = std::max(play.now, play.set.next_return(play.now) == TimePoint::max()
                                      ? play.now
                                      : play.set.next_return(play.now));
    play.set.asked(0, kPiece, play.now);
    play.set.failed(0, kPiece, ErrorCode::kTimeout, play.now);
    ++tries;
  }
  CHECK(tries < 12);
  CHECK(play.set.exhausted());

  Play other(1);
  for (int i = 0; i < 50; ++i) {
    other.now += 1s;
    other.set.asked(0, kPiece, other.now);
    other.set.failed(0, kPiece, ErrorCode::kTimeout, other.now);
    other.now += 1s;
    other.deliver(0, 10ms);
  }
  CHECK(!other.set.given_up(0));
}

TEST_CASE("at the end a piece on a slow parent is asked for at a fast one too") {
  Play play(2);
  for (int i = 0; i < 10; ++i) play.deliver(0, 10ms);
  for (int i = 0; i < 3; ++i) play.deliver(1, 4s);
  play.set.asked(1, kPiece, play.now);
  ParentSet::Running running{1, kPiece, kPiece, play.now, play.now};
  CHECK(play.set.hedge(running, play.all, play.now) == 0u);
  // The other way round it would only cost.
  play.set.cancelled(1, kPiece, play.now);
  play.set.asked(0, kPiece, play.now);
  running = {0, kPiece, kPiece, play.now, play.now};
  CHECK(!play.set.hedge(running, play.all, play.now));
}

TEST_CASE("a stalled piece is asked for elsewhere, even of a parent not known to be faster") {
  Play play(2);
  play.set.asked(0, kPiece, play.now);
  ParentSet::Running running{0, kPiece, kPiece, play.now, play.now};
  CHECK(!play.set.hedge(running, play.all, play.now + 100ms));
  CHECK(play.set.hedge(running, play.all, play.now + 3s) == 1u);
}

TEST_CASE("a second peer on the same host is no second chance") {
  Play play(1);
  auto twin = play.set.add("another-peer", "host0", play.now);
  play.set.asked(0, kPiece, play.now);
  ParentSet::Running running{0, kPiece, kPiece, play.now, play.now};
  std::vector<ParentSet::Id> having{0, twin};
  CHECK(!play.set.hedge(running, having, play.now + 10s));
}
