// A second seed for tasks that many want.
#include <doctest/doctest.h>

#include "script.h"

namespace d7y::scheduler {
namespace {

constexpr int kHot = 12;

BrainOptions options() {
  BrainOptions made;
  made.hot_task = kHot;
  return made;
}

std::string other_of(const std::string& seed) { return seed == "s1" ? "s2" : "s1"; }

void may_not_ask_the_origin(Registration& r) { r.disable_back_to_source = r.takes_offers = true; }

// Peers "h<first>" to "h<last - 1>" come and download.
void join(Script& s, int first, int last, const std::string& idc = "") {
  for (int i = first; i < last; ++i) {
    s.host("h" + std::to_string(i), false, idc);
    s.add("h" + std::to_string(i), {}, listens);
    s.started(peer_of(i));
  }
}

// The seed that was asked reads the origin; everybody downloads from it. Returns its name.
std::string heat(Script& s, int peers) {
  s.host("h0");
  s.add("h0", {}, listens);
  REQUIRE(s.triggers.size() == 1);
  const auto seed = s.triggers[0].first;
  s.add(seed, seed + "-p", [](Registration& r) { r.need_back_to_source = r.takes_offers = true; });
  s.source_started(seed + "-p");
  s.started("h0-p");
  join(s, 1, peers);
  return seed;
}

}  // namespace

TEST_CASE("a task that many download gets a second seed, which has it from the others") {
  Script s(options());
  for (const auto* name : {"s1", "s2"}) s.host(name, true);
  const auto first = heat(s, kHot - 1);  // with the seed itself
  REQUIRE(s.triggers.size() == 2);
  const auto second = s.triggers[1].first;
  CHECK(second == other_of(first));
  CHECK(s.from_peers);
  join(s, kHot, kHot + 8);
  CHECK(s.triggers.size() == 2);

  s.add(second, second + "-p", may_not_ask_the_origin);
  CHECK(s.kind(second + "-p") == "parents");
  s.started(second + "-p");
  s.finished(second + "-p");
  s.brain.seed_ended(s.triggered_task, s.triggers[1].second, SeedOutcome::kDone, s.now);
  CHECK(s.task_record().seeds.size() == 2);
  CHECK(s.task_record().roots == 2);
  s.pass(40s);
  join(s, kHot + 8, kHot + 16);
  CHECK(s.triggers.size() == 2);
}

TEST_CASE("a seed that downloads for itself what it is asked for does not wait for itself") {
  const auto asked = [](Script& s) {
    s.host("h0");
    s.host("s1", true);
    s.add("h0");
    REQUIRE(s.triggers.size() == 1);
  };
  SUBCASE("it comes after it was asked") {
    Script s;
    asked(s);
    s.add("s1", {}, listens);
    CHECK(s.kind("s1-p") == "source");
    s.source_started("s1-p");
    CHECK(s.last("h0-p").parents == std::vector<std::string>{"s1-p"});
  }
  SUBCASE("it comes back after it was asked") {
    Script s;
    for (const auto* name : {"h0", "h1"}) s.host(name);
    s.host("s1", true);
    s.replica("h0");
    s.add("s1", {}, listens);
    s.started("s1-p");
    s.brain.delete_host(s.ids["h0"], s.now);
    s.add("h1");
    s.pass(4s);
    REQUIRE(s.triggers.size() == 1);
    s.reschedule("s1-p");
    CHECK(s.kind("s1-p") == "source");
  }
  SUBCASE("it may not") {
    Script s;
    asked(s);
    s.add("s1", {}, [](Registration& r) { r.disable_back_to_source = r.takes_offers = true; });
    CHECK(s.kind("s1-p") == "");
  }
}

TEST_CASE("a task that few download has one seed") {
  for (const std::uint32_t hot : {std::uint32_t{kHot}, 0U}) {
    auto made = options();
    made.hot_task = hot;
    Script s(made);
    for (const auto* name : {"s1", "s2"}) s.host(name, true);
    heat(s, hot == 0 ? 60 : kHot - 2);
    s.pass(40s);
    CHECK(s.triggers.size() == 1);
  }
}

TEST_CASE("the second seed is one of a site whose peers have none") {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Script s(options(), seed);
    s.task = "task-" + std::to_string(seed);
    for (const auto* name : {"s1", "s2", "s3"}) s.host(name, true, "east");
    for (const auto* name : {"nobody's", "s4"}) s.host(name, true, name[0] == 'n' ? "north" : "west");
    s.host("h0", false, "east");
    s.add("h0", {}, listens);
    const auto first = s.triggers.at(0).first;
    s.add(first, first + "-p", [](Registration& r) { r.need_back_to_source = r.takes_offers = true; });
    s.source_started(first + "-p");
    s.started("h0-p");
    join(s, 1, kHot / 2, "east");
    join(s, kHot / 2, kHot, "west");
    REQUIRE(s.triggers.size() == 2);
    const auto site_of_first = s.host_record(first).facts.idc;
    const auto site_of_second = s.host_record(s.triggers[1].first).facts.idc;
    CHECK(site_of_second != site_of_first);
    CHECK(site_of_second != "north");
  }
}

TEST_CASE("among unmodified clients a second seed leaves the places next to the source to them") {
  Script s(options());
  for (const auto* name : {"s1", "s2"}) s.host(name, true);
  s.hosts("h", kHot);
  s.add("h0");
  const auto first = s.triggers.at(0).first;
  s.add(first, first + "-p", [](Registration& r) { r.need_back_to_source = true; });
  s.source_started(first + "-p");
  s.started("h0-p");
  for (int i = 1; i < kHot; ++i) {
    s.add("h" + std::to_string(i));
    s.started(peer_of(i));
  }
  REQUIRE(s.triggers.size() == 2);
  const auto second = s.triggers[1].first + "-p";
  s.lost("h0-p");  // there is room at the seed
  s.add(s.triggers[1].first, second, may_not_ask_the_origin);
  const auto parents = s.last(second).parents;
  REQUIRE(parents.size() == 1);
  CHECK(parents[0] != first + "-p");
  s.started(second);
  s.pass(20s);
  CHECK(s.answers[second].size() == 1);
}

TEST_CASE("a second seed that cannot be reached is no reason to ask all the time") {
  Script s(options());
  for (const auto* name : {"s1", "s2"}) s.host(name, true);
  heat(s, kHot);
  REQUIRE(s.triggers.size() == 2);
  s.brain.seed_ended(s.triggered_task, s.triggers[1].second, SeedOutcome::kUnreachable, s.now);
  join(s, kHot, kHot + 4);
  CHECK(s.triggers.size() == 2);
  s.pass(31s);
  join(s, kHot + 4, kHot + 5);
  CHECK(s.triggers.size() == 3);
}

TEST_CASE("when the first seed is lost the second reads the origin, with what it has already") {
  Script s(options());
  for (const auto* name : {"s1", "s2", "s3"}) s.host(name, true);
  const auto first = heat(s, kHot);
  REQUIRE(s.triggers.size() == 2);
  const auto second = s.triggers[1].first;
  s.add(second, second + "-p", may_not_ask_the_origin);
  s.started(second + "-p");
  s.piece(second + "-p", 0, first + "-p");
  s.lost(first + "-p");
  s.brain.delete_host(s.ids[first], s.now);
  s.pass(5s);
  REQUIRE(s.triggers.size() == 3);
  CHECK(s.triggers[2].first == second);
  CHECK_FALSE(s.from_peers);
  CHECK(s.kind(second + "-p") == "source");
  CHECK(s.task_record().tokens == 1);
}

}  // namespace d7y::scheduler
