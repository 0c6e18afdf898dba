#include "fetch/origin_lanes.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::fetch;
using namespace std::chrono_literals;

namespace {
constexpr TimePoint kStart{};
constexpr std::uint64_t kFastLook = OriginLanes::kFast / 20;  // a fast lane's bytes between two looks
static_assert(OriginLanes::kLook == 50ms);

// How many connections are wanted after a look at that time, when `bytes` have come since the last one.
std::uint32_t wanted_after(OriginLanes& lanes, std::uint64_t bytes, std::uint32_t connections, Duration at) {
  lanes.arrived(bytes);
  lanes.look(connections, kStart + at);
  return lanes.wanted();
}
}  // namespace

TEST_CASE("a task alone has all connections, several share them, and each has one") {
  OriginReaders readers;
  auto first = readers.enter();
  OriginLanes lanes(readers, 4, kStart);
  CHECK(lanes.wanted() == 4);
  {
    auto second = readers.enter();
    CHECK(lanes.wanted() == 2);
    auto third = std::move(second);
    CHECK(lanes.wanted() == 2);
    auto fourth = readers.enter(), fifth = readers.enter(), sixth = readers.enter();
    CHECK(readers.tasks() == 5);
    CHECK(lanes.wanted() == 1);
    third = {};
    CHECK(readers.tasks() == 4);
  }
  CHECK(lanes.wanted() == 4);
}

TEST_CASE("where each connection is slow, a task has all of them in spite of others") {
  OriginReaders readers;
  auto mine = readers.enter(), a = readers.enter(), b = readers.enter(), c = readers.enter();
  OriginLanes lanes(readers, 4, kStart);
  CHECK(lanes.wanted() == 1);
  CHECK(wanted_after(lanes, kFastLook + 1, 1, 50ms) == 1);
  CHECK(wanted_after(lanes, kFastLook / 2, 1, 100ms) == 4);
  // More of them bring more, but each as little as before.
  CHECK(wanted_after(lanes, kFastLook * 2, 4, 150ms) == 4);
  CHECK(wanted_after(lanes, kFastLook * 4 + 1, 4, 200ms) == 1);
  // Nothing at all is slow as well.
  CHECK(wanted_after(lanes, 0, 1, 250ms) == 4);
}

TEST_CASE("what is asked for leaves something to all connections, until it is known that fewer are enough") {
  OriginReaders readers;
  auto mine = readers.enter(), other = readers.enter();
  OriginLanes lanes(readers, 4, kStart);
  CHECK(lanes.sharing() == 4);
  // Too early to say anything.
  lanes.arrived(kFastLook / 2);
  lanes.look(1, kStart + 10ms);
  CHECK(lanes.sharing() == 4);
  // So much in so little time.
  lanes.arrived(kFastLook);
  lanes.look(1, kStart + 12ms);
  CHECK(lanes.sharing() == 2);
  CHECK(lanes.wanted() == 2);
  lanes.look(2, kStart + 20ms);
  CHECK(lanes.sharing() == 2);
  lanes.look(2, kStart + 62ms);
  CHECK(lanes.sharing() == 4);
}

TEST_CASE("there is always one connection") {
  OriginReaders readers;
  OriginLanes lanes(readers, 0, kStart);
  CHECK(lanes.wanted() == 1);
  lanes.look(0, kStart + 50ms);
  CHECK(lanes.wanted() == 1);
}

TEST_CASE("a request is worth while if its bytes take longer than its answer") {
  OriginReaders readers;
  OriginLanes lanes(readers, 4, kStart);
  CHECK(lanes.worthwhile() == 0);
  lanes.answered(100ms);  // how fast they are is not known: they may be fast
  CHECK(lanes.worthwhile() == static_cast<std::uint64_t>(OriginLanes::kWorth * 0.1 * OriginLanes::kFast));
  lanes.answered(300ms);  // there are busier moments
  lanes.arrived(4 * 1'000'000);
  lanes.look(4, kStart + 100ms);
  CHECK(lanes.worthwhile() == static_cast<std::uint64_t>(OriginLanes::kWorth * 0.1 * 10'000'000));
}
