#include "fetch/suspects.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace std::chrono_literals;
using fetch::Suspects;

namespace {

TimePoint at(Duration time) { return TimePoint(time); }

std::vector<Suspects::Evidence> pieces() {
  return {{0, 100, 4, "peer-a", "host-a"}, {1, 101, 4, "peer-b", "host-b"}, {2, 102, 2, "peer-a", "host-a"}};
}

}  // namespace

TEST_CASE("all who gave pieces of wrong content are left out of its task, and of no other, for a while") {
  Suspects suspects;
  CHECK_FALSE(suspects.distrusted("task", at(0s)));
  suspects.suspect("task", pieces(), at(0s));
  CHECK(suspects.distrusted("task", at(29min)));
  CHECK_FALSE(suspects.may_give("task", "peer-a", "", at(1min)));
  CHECK_FALSE(suspects.may_give("task", "its next peer", "host-b", at(1min)));
  CHECK(suspects.may_give("task", "peer-c", "host-c", at(1min)));
  CHECK(suspects.may_give("other", "peer-a", "host-a", at(1min)));
  CHECK(suspects.may_give("task", "peer-a", "host-a", at(31min)));
  CHECK_FALSE(suspects.distrusted("task", at(31min)));
}

TEST_CASE("the right content tells who lied, and only he is left out of everything") {
  Suspects suspects;
  suspects.suspect("task", pieces(), at(0s));
  auto liars = suspects.judge(
      "task", [](std::uint32_t number, std::uint64_t) { return number == 1 ? 999U : 100U + number; },
      at(1min));
  REQUIRE(liars.size() == 1);
  CHECK(liars[0].peer_id == "peer-b");
  CHECK(liars[0].number == 1);
  CHECK_FALSE(suspects.distrusted("task", at(1min)));
  CHECK(suspects.may_give("task", "peer-a", "host-a", at(1min)));
  CHECK_FALSE(suspects.may_give("other", "peer-x", "host-b", at(1min + 29s)));
  CHECK(suspects.may_give("other", "peer-x", "host-b", at(1min + 30s)));
}

TEST_CASE("whoever lies again is left out for twice as long, up to a limit, until it is forgotten") {
  Suspects suspects;
  TimePoint now = at(0s);
  const auto lies = [&] {
    suspects.suspect("task", {{0, 100, 4, "a", "liar"}, {1, 101, 4, "b", "liar"}}, now);
    // Two of its peers in one content count as one lie.
    suspects.judge("task", [](std::uint32_t, std::uint64_t) { return 1; }, now);
  };
  for (const Duration lasts : {30s, 60s, 120s, 240s, 480s, 600s, 600s}) {
    lies();
    CHECK_FALSE(suspects.may_give("other", "c", "liar", now + lasts - 1ms));
    CHECK(suspects.may_give("other", "c", "liar", now + lasts));
    now += lasts;
  }
  now += 1h;
  lies();
  CHECK(suspects.may_give("other", "c", "liar", now + 30s));
}

TEST_CASE("pieces that cannot be compared accuse nobody, nor does an acquittal") {
  Suspects suspects;
  suspects.suspect("task", pieces(), at(0s));
  CHECK(suspects.judge("task", [](std::uint32_t, std::uint64_t) { return std::nullopt; }, at(0s)).empty());
  suspects.suspect("task", pieces(), at(0s));
  suspects.acquit("task");
  CHECK(suspects.may_give("task", "peer-a", "host-a", at(0s)));
  CHECK(suspects.judge("task", [](std::uint32_t, std::uint64_t) { return 0; }, at(0s)).empty());
}

TEST_CASE("only the latest cases are remembered") {
  Suspects suspects;
  for (int i = 0; i < 200; ++i)
    suspects.suspect("task" + std::to_string(i), pieces(), at(std::chrono::seconds(i)));
  CHECK_FALSE(suspects.distrusted("task0", at(200s)));
  CHECK(suspects.distrusted("task199", at(200s)));
}
