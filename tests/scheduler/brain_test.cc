// What the scheduler decides, as lists of events. No clock, no socket: time is a number that the test moves.
#include "scheduler/brain.h"

#include <algorithm>

#include "script.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

BrainOptions one_place() {
  BrainOptions options;
  options.children_per_peer = 1;
  options.candidate_parents = 1;
  return options;
}

// h0 has everything, h1 has the only place there, and h2 waits.
struct FullParent : Script {
  explicit FullParent(const BrainOptions& given = one_place()) : Script(given) {
    hosts("h", 3);
    replica("h0");
    add("h1", {}, listens);
    add("h2", {}, listens);
  }
};

}  // namespace

TEST_CASE("a host that never announced itself cannot register") {
  Script s;
  s.ids["ghost"] = "10.0.0.9-ghost";
  CHECK(s.add("ghost").failed_with(ErrorCode::kNotFound));
}

TEST_CASE("an empty task is answered as empty, an unknown length is not") {
  Script s;
  s.host("a");
  s.add("a", "p", [](Registration& r) { r.content_length = 0; });
  CHECK(s.kind("p") == "empty");
  s.started("p");
  s.finished("p");
  CHECK(s.kind("p") == "end");
  s.task = "other";
  s.add("a", "q", [](Registration& r) { r.content_length = -1; });
  CHECK(s.kind("q") == "source");
}

TEST_CASE("without a seed one peer reads the origin and the others get it from there") {
  Script s;
  s.hosts("h", 10);
  for (int i = 0; i < 10; ++i) s.add("h" + std::to_string(i));
  CHECK(s.kind("h0-p") == "source");
  CHECK(s.count("source") == 1);
  CHECK(s.count("parents") == 0);
  CHECK(s.brain.waiting() == 9);
  s.source_started("h0-p");
  CHECK(s.count("parents") == 9);
  CHECK(s.brain.waiting() == 0);
  for (int i = 1; i < 10; ++i) CHECK(s.kind(peer_of(i)) == "parents");
  CHECK(has(s.last("h1-p").parents, "h0-p"));
}

TEST_CASE("a herd on a cold task triggers the seed once and waits for it") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 200);
  for (int i = 0; i < 200; ++i) s.add("h" + std::to_string(i));
  CHECK(s.triggers.size() == 1);
  CHECK(s.count("source") == 0);
  CHECK(s.brain.waiting() == 200);
  s.pass(3s);  // the origin is slow
  CHECK(s.count("source") == 0);
  s.add("seed", "seed-p", [](Registration& r) { r.need_back_to_source = true; });
  CHECK(s.kind("seed-p") == "source");
  s.source_started("seed-p");
  CHECK(s.count("parents") > 10);
  // Those who start carry the next wave.
  for (int wave = 0; wave < 10 && s.brain.waiting() > 0; ++wave) {
    for (int i = 0; i < 200; ++i) {
      if (s.kind(peer_of(i)) == "parents") s.started(peer_of(i));
    }
  }
  CHECK(s.brain.waiting() == 0);
  CHECK(s.count("parents") == 200);
  CHECK(s.count("source") == 1);
  CHECK(s.triggers.size() == 1);
}

TEST_CASE("whoever waits for a seed of ours has it as soon as that is told to read the origin") {
  for (bool ours : {true, false}) {
    CAPTURE(ours);
    Script s;
    s.host("seed", true);
    s.hosts("h", 1);
    s.add("h0");
    if (ours) {
      s.add("seed", "seed-p", [](Registration& r) { r.need_back_to_source = r.takes_offers = true; });
    } else {
      s.add("seed", "seed-p", [](Registration& r) { r.need_back_to_source = true; });
    }
    CHECK(s.kind("seed-p") == "source");
    CHECK(s.count("parents") == (ours ? 1 : 0));
    s.source_started("seed-p");
    CHECK(has(s.last(peer_of(0)).parents, "seed-p"));
  }
}

TEST_CASE("every child has at least one parent that really serves, and never its own host") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 50);
  s.replica("seed");
  for (int i = 0; i < 50; ++i) {
    s.add("h" + std::to_string(i));
    s.started(peer_of(i));
  }
  for (int i = 0; i < 50; ++i) {
    const auto answer = s.last(peer_of(i));
    REQUIRE(answer.kind == "parents");
    CHECK(answer.parents.size() <= 4);
    CHECK_FALSE(has(answer.parents, peer_of(i)));
    const std::set<std::string> different(answer.parents.begin(), answer.parents.end());
    CHECK(different.size() == answer.parents.size());
  }
}

TEST_CASE("two peers of one host are never parent and child, and one host is given once") {
  Script s;
  s.host("a");
  s.host("b");
  s.add("a");
  s.source_started("a-p");
  s.add("a", "a-second");
  s.pass(1s);
  CHECK(s.kind("a-second") == "");  // only its own host has it
  s.add("b", "b-p");
  CHECK(s.last("b-p").parents == std::vector<std::string>{"a-p"});
  s.started("b-p");
  CHECK(s.last("a-second").parents == std::vector<std::string>{"b-p"});
}

TEST_CASE("slots are reserved when given and come back however the child ends") {
  FullParent s;
  CHECK(s.record("h0-p").children_units == kChildUnits);
  CHECK(s.kind("h2-p") == "");  // full, and nobody else has it
  SUBCASE("it finished") { s.finished("h1-p"); }
  SUBCASE("it failed") {
    s.brain.failed(s["h1-p"], s.now);
    s.settle();
  }
  SUBCASE("its stream broke") { s.lost("h1-p"); }
  SUBCASE("it was deleted") {
    s.brain.delete_peer("h1-p", s.now);
    s.settle();
  }
  SUBCASE("its host went away") {
    s.brain.delete_host(s.ids["h1"], s.now);
    s.settle();
  }
  SUBCASE("it wants others") { s.reschedule("h1-p"); }
  CHECK(s.kind("h2-p") == "parents");
}

TEST_CASE("a waiting child gets a full parent rather than nothing when its patience ends") {
  FullParent s;
  s.pass(one_place().patience - 1ms);
  CHECK(s.kind("h2-p") == "");
  s.pass(2ms);
  CHECK(s.last("h2-p").parents == std::vector<std::string>{"h0-p"});
}

TEST_CASE("when more children are allowed, those who wait hear of it at once") {
  auto options = one_place();
  FullParent s(options);
  CHECK(s.kind("h2-p") == "");
  options.children_per_peer = 2;
  s.brain.set_options(options);
  s.settle();
  CHECK(s.last("h2-p").parents == std::vector<std::string>{"h0-p"});
}

TEST_CASE("a host's own limit holds even then") {
  BrainOptions options;
  options.host_limit = 1;
  options.candidate_parents = 1;
  options.back_to_source_count = 0;
  FullParent s(options);
  s.pass(options.patience + options.last_resort + 1s);
  CHECK(s.kind("h2-p").starts_with("error"));
}

TEST_CASE("the seed is asked again elsewhere when it cannot be reached") {
  Script s;
  s.host("s1", true);
  s.host("s2", true);
  s.host("a");
  s.add("a");
  REQUIRE(s.triggers.size() == 1);
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kUnreachable, s.now);
  s.settle();
  REQUIRE(s.triggers.size() == 2);
  CHECK(s.triggers[0].first != s.triggers[1].first);
  CHECK(s.kind("a-p") == "");
  s.brain.seed_ended(s.triggered_task, s.triggers[1].second, SeedOutcome::kFailed, s.now);
  s.settle();
  CHECK(s.triggers.size() == 2);
  CHECK(s.kind("a-p") == "source");  // no seed works: the token
}

TEST_CASE("an old attempt's outcome does not disturb the new one") {
  Script s;
  s.host("s1", true);
  s.host("s2", true);
  s.host("a");
  s.add("a");
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kUnreachable, s.now);
  s.settle();
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kFailed, s.now);
  s.settle();
  CHECK(s.task_record().seed_attempt == s.triggers[1].second);
}

TEST_CASE("a seed that says done and has nothing counts as failed") {
  Script s;
  s.host("seed", true);
  s.host("a");
  s.add("a");
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kDone, s.now);
  s.settle();
  CHECK(s.kind("a-p") == "source");
}

TEST_CASE("a seed that answers too slowly is hedged by one token, within the client's 10 s") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 20);
  for (int i = 0; i < 20; ++i) s.add("h" + std::to_string(i));
  s.pass(9s);
  CHECK(s.count("source") == 1);
  s.source_started("h0-p");
  CHECK(s.count("parents") == 19);
}

TEST_CASE("when the origin refuses, everybody hears it from the origin itself, twice as many each time") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 20);
  for (int i = 0; i < 20; ++i) s.add("h" + std::to_string(i));
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kRefused, s.now);
  s.settle();
  const auto before = s.now;
  std::vector<int> rounds;
  std::set<std::string> told;
  while (s.brain.waiting() > 0 && rounds.size() < 10) {
    std::vector<std::string> now;
    for (int i = 0; i < 20; ++i) {
      if (s.kind(peer_of(i)) == "source" && told.insert(peer_of(i)).second) now.push_back(peer_of(i));
    }
    for (const auto& peer : now) s.brain.back_to_source_failed(s[peer], true, s.now);
    rounds.push_back(static_cast<int>(now.size()));
    s.settle();
  }
  CHECK(rounds == std::vector<int>{2, 4, 8});  // and the rest
  CHECK(s.brain.waiting() == 0);
  CHECK(s.now == before);
}

TEST_CASE("tokens pass on when the holder fails or is lost, one at a time") {
  Script s;
  s.hosts("h", 5);
  for (int i = 0; i < 5; ++i) s.add("h" + std::to_string(i));
  CHECK(s.kind("h0-p") == "source");
  s.brain.back_to_source_failed(s["h0-p"], false, s.now);
  s.settle();
  CHECK(s.kind("h0-p") == "end");
  CHECK(s.kind("h1-p") == "source");
  s.source_started("h1-p");
  s.lost("h1-p");
  CHECK(s.count("source") == 2);
  CHECK(s.task_record().roots == 0);
  // The others hold parents that died; who comes back gets the token.
  s.started("h2-p");
  s.reschedule("h2-p");
  CHECK(s.kind("h2-p") == "source");
}

TEST_CASE("the token goes to whoever has the most already") {
  Script s;
  s.hosts("h", 4);
  for (int i = 0; i < 4; ++i) s.add("h" + std::to_string(i));
  s.source_started("h0-p");
  for (int i = 1; i < 4; ++i) s.started(peer_of(i));
  for (std::uint32_t n = 0; n < 3; ++n) s.piece("h1-p", n, "h0-p");
  for (std::uint32_t n = 0; n < 9; ++n) s.piece("h2-p", n, "h0-p");
  // All come back at the same moment, then the source dies.
  for (int i = 1; i < 4; ++i) s.brain.reschedule(s[peer_of(i)], s.now);
  s.lost("h0-p");
  CHECK(s.kind("h2-p") == "source");
  CHECK(s.count("source") == 2);
}

TEST_CASE("a download that may not go to the source is never sent there") {
  Script s;
  s.host("a");
  s.add("a", "p", [](Registration& r) { r.disable_back_to_source = true; });
  s.pass(7s);
  CHECK(s.kind("p") == "");
  s.pass(60s);
  CHECK(s.kind("p") == "error failed precondition");
  CHECK(s.brain.waiting() == 0);
}

TEST_CASE("a seed that downloads for itself reads the origin itself") {
  Script s;
  s.host("seed", true);
  s.add("seed");
  CHECK(s.kind("seed-p") == "source");
  CHECK(s.triggers.empty());
}

TEST_CASE("priorities decide about a cold task only") {
  Script s;
  s.host("seed", true);
  s.host("a");
  s.host("b");
  CHECK(s.add("a", "p1", [](Registration& r) { r.priority = 1; }).failed_with(ErrorCode::kPrecondition));
  CHECK(s.add("a", "p2", [](Registration& r) { r.priority = 2; }).failed_with(ErrorCode::kNotFound));
  s.add("a", "p3", [](Registration& r) { r.priority = 3; });
  CHECK(s.kind("p3") == "source");
  CHECK(s.triggers.empty());
  s.source_started("p3");
  s.add("b", "q1", [](Registration& r) { r.priority = 1; });
  CHECK(s.kind("q1") == "parents");
}

TEST_CASE("a complete copy is registered by its metadata alone") {
  Script s;
  s.host("seed", true);
  s.host("a");
  s.add("a");
  s.add("seed", "seed-p", [](Registration& r) { r.metadata_only = true; });
  CHECK(s.kind("seed-p") == "metadata");
  s.started("seed-p");
  s.finished("seed-p");
  CHECK(s.kind("seed-p") == "end");
  CHECK(s.last("a-p").parents == std::vector<std::string>{"seed-p"});
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kDone, s.now);
  s.settle();
  CHECK(s.task_record().seeds_failed.empty());
}

TEST_CASE("an id that is in use is refused, one that is over may come again") {
  Script s;
  s.host("a");
  s.add("a", "p");
  CHECK(s.add("a", "p").failed_with(ErrorCode::kExists));
  s.lost("p");
  CHECK(s.add("a", "p").ok());
}

TEST_CASE("a client says how many answers it takes on one stream, but not without end") {
  Script s;
  s.hosts("h", 20);
  for (int i = 0; i < 19; ++i) s.replica("h" + std::to_string(i));
  s.add("h19");
  s.started("h19-p");
  for (std::uint32_t i = 0; i < 99; ++i) {
    const auto parents = s.answers["h19-p"].back().parents;
    for (const auto& parent : parents) s.piece("h19-p", i % 25, parent);
    s.pass(6s);  // until parents that served well are given again
    s.reschedule("h19-p");
    REQUIRE(s.kind("h19-p") == "parents");
  }
  CHECK(s.answers["h19-p"].size() == 100);
  s.reschedule("h19-p");
  CHECK(s.kind("h19-p") == "error failed precondition");
}

TEST_CASE("a range's copy serves only those who want the same range") {
  Script s;
  s.hosts("h", 4);
  const auto range = [](Registration& r) {
    r.range_start = 8 << 20;
    r.range_length = 8 << 20;
  };
  s.add("h0", {}, range);
  s.source_started("h0-p");
  s.brain.back_to_source_finished(s["h0-p"], s.now);
  s.settle();
  CHECK(s.task_record().state != TaskState::kSucceeded);
  s.add("h1", {}, range);
  CHECK(s.last("h1-p").parents == std::vector<std::string>{"h0-p"});
  s.add("h2");
  CHECK(s.kind("h2-p") == "source");
}

TEST_CASE("a host that may not share is no parent") {
  Script s;
  s.hosts("h", 2);
  s.replica("h0");
  HostFacts facts = s.host_record("h0").facts;
  facts.disable_shared = true;
  s.brain.announce_host(facts, s.now);
  s.settle();
  CHECK(s.task_record().usable == 0);
  s.add("h1");
  CHECK(s.kind("h1-p") == "source");
  facts.disable_shared = false;
  s.brain.announce_host(facts, s.now);
  s.settle();
  CHECK(s.task_record().usable == 1);
}

TEST_CASE("a host that moves takes its peers along") {
  Script s;
  s.host("a", false, "east");
  s.host("b", false, "west");
  s.replica("a");
  s.add("b");
  CHECK(s.kind("b-p") == "parents");
  HostFacts facts = s.host_record("b").facts;
  facts.idc = "east";
  s.brain.announce_host(facts, s.now);
  s.settle();
  facts = s.host_record("a").facts;
  facts.idc = "north";
  s.brain.announce_host(facts, s.now);
  s.settle();
  s.finished("b-p");
  CHECK(s.task_record().roots == 2);
}

TEST_CASE("silent hosts, stuck peers and empty tasks go away by themselves, complete copies stay") {
  BrainOptions options;
  Script s(options);
  s.hosts("h", 3);
  s.replica("h0");
  s.add("h1");
  s.started("h1-p");
  const auto announce = [&] {
    for (int i = 0; i < 2; ++i) {
      auto facts = s.host_record("h" + std::to_string(i)).facts;
      s.brain.announce_host(facts, s.now);
    }
  };
  for (int i = 0; i < 20; ++i) {
    s.pass(100s);
    announce();
  }
  CHECK(s.brain.hosts().size() == 2);  // h2 was silent for more than two intervals
  CHECK(s.kind("h1-p") == "error timed out");
  CHECK(s.task_record().roots == 1);
  CHECK(s.task_record().peers == 1);
  s.pass(options.peer_ttl);
  CHECK(s.brain.peers().size() == 0);
  s.pass(options.task_ttl + 2min);
  CHECK(s.brain.tasks().size() == 0);
  CHECK(s.brain.hosts().size() == 0);
}

TEST_CASE("impossible reports change nothing") {
  Script s;
  s.hosts("h", 2);
  s.replica("h0");
  s.add("h1");
  s.started("h1-p");
  s.piece("h1-p", 25, "h0-p");
  CHECK(s.record("h1-p").finished_pieces == 0);
  PieceReport huge;
  huge.number = 1;
  huge.length = 1ull << 60;
  s.brain.piece_finished(s["h1-p"], "h0-p", huge, s.now);
  CHECK(s.record("h1-p").finished_pieces == 0);
  for (int i = 0; i < 100; ++i) s.piece("h1-p", 3, "h0-p");
  CHECK(s.record("h1-p").finished_pieces == 25);
  s.piece("h1-p", 3, "nobody");
  s.brain.piece_failed(s["h1-p"], "nobody", true, s.now);
  s.finished("h1-p");
  s.piece("h1-p", 3, "h0-p");
  s.started("h1-p");
  s.reschedule("h1-p");
  CHECK(s.record("h1-p").state == PeerState::kSucceeded);
  s.brain.started(PeerHandle{77, 77}, s.now);
  s.settle();
}

TEST_CASE("the first to come settles what the content looks like, until nobody has any of it") {
  Script s;
  s.hosts("h", 3);
  s.add("h0");
  s.source_started("h0-p");
  s.add("h1", {}, [](Registration& r) {
    r.content_length = 7;
    r.piece_count = 1;
  });
  CHECK(s.task_record().content_length == 100 << 20);
  s.lost("h0-p");
  s.lost("h1-p");
  s.add("h2", {}, [](Registration& r) {
    r.content_length = 7;
    r.piece_count = 1;
  });
  CHECK(s.task_record().content_length == 7);
}

TEST_CASE("ids in the usual form are kept as their uuid, others whole") {
  const std::string prefix = "10.0.0.1-host-";
  for (const std::string& id : std::vector<std::string>{prefix + "01234567-89ab-4def-8123-456789abcdef",
                                                        prefix + "01234567-89ab-4def-8123-456789abcdef-seed",
                                                        prefix + "01234567-89AB-4def-8123-456789abcdef",
                                                        prefix + "x", std::string("anything")}) {
    const PeerName name(id, prefix);
    CHECK(name.text(prefix) == id);
    CHECK(name.is(id, prefix));
    CHECK_FALSE(name.is(id + "0", prefix));
  }
  CHECK(sizeof(PeerName) <= 24);
}

TEST_CASE("a storm of random events never breaks the books") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    BrainOptions options;
    options.children_per_peer = 2;
    options.host_limit = 3;
    options.patience = 2s;
    options.last_resort = 5s;
    options.max_depth = 3;
    options.hot_task = 3;
    Script s(options, seed);
    std::uint64_t state = seed * 7919;
    const auto dice = [&](std::uint64_t sides) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      return (state >> 33) % sides;
    };
    for (int i = 0; i < 12; ++i) s.host("h" + std::to_string(i), i < 2, i % 3 == 0 ? "east" : "west");
    std::vector<std::string> known;
    for (int step = 0; step < 600; ++step) {
      const auto any = known.empty() ? std::string() : known[dice(known.size())];
      s.task = "task" + std::to_string(dice(3));
      switch (dice(known.empty() ? 1 : 16)) {
        case 0:
        case 1:
        case 2: {
          const auto name = "p" + std::to_string(step);
          const bool range = dice(8) == 0;
          void (*change)(Registration&) = dice(2) == 0 ? listens : nullptr;
          if (range) change = [](Registration& r) { r.range_length = 5; };
          if (s.add("h" + std::to_string(dice(12)), name, change)) {
            known.push_back(name);
          }
          break;
        }
        case 3:
        case 4: s.started(any); break;
        case 5: s.source_started(any); break;
        case 6: s.finished(any); break;
        case 7: s.reschedule(any); break;
        case 8: s.lost(any); break;
        case 9: s.piece(any, static_cast<std::uint32_t>(dice(30)), known[dice(known.size())]); break;
        case 10: s.brain.piece_failed(s[any], known[dice(known.size())], true, s.now); break;
        case 11: s.brain.back_to_source_failed(s[any], dice(4) == 0, s.now); break;
        case 12: s.pass(std::chrono::milliseconds(dice(3000))); break;
        case 13: {
          const auto host = "h" + std::to_string(dice(12));
          if (dice(4) == 0) s.brain.delete_host(s.ids[host], s.now);
          s.host(host, dice(6) == 0, dice(2) == 0 ? "east" : "west");
          break;
        }
        case 14:
          if (!s.triggers.empty()) {
            const auto& trigger = s.triggers[dice(s.triggers.size())];
            s.brain.seed_ended(s.triggered_task, trigger.second, static_cast<SeedOutcome>(dice(4)), s.now);
          }
          break;
        default: s.brain.delete_peer(any, s.now); break;
      }
      s.settle();
    }
    // Everybody who is still here and waits is answered in the end.
    s.pass(20s);
    CHECK(s.brain.waiting() == 0);
  }
}
