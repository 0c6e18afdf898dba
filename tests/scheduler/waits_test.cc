// Who waits for whom, and that nobody waits for one who will not help.
#include "script.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

// Registers `name` on `host` for the i-th 8 MiB.
void add_range(Script& s, const std::string& host, const std::string& name, std::uint64_t i) {
  auto wanted = s.registration(host);
  wanted.peer_id = name;
  wanted.range_start = i * (8 << 20);
  wanted.range_length = 8 << 20;
  const auto handle = s.brain.register_peer(wanted, s.now);
  REQUIRE(handle.ok());
  s.names[*handle] = name;
  s.handles[name] = *handle;
  s.settle();
}

void source_finished(Script& s, const std::string& name) {
  s.brain.back_to_source_finished(s[name], s.now);
  s.settle();
}

void refused(Script& s, const std::string& name) {
  s.brain.back_to_source_failed(s[name], true, s.now);
  s.settle();
}

void share_nothing(Script& s, const std::string& host) {
  auto facts = s.host_record(host).facts;
  facts.disable_shared = true;
  s.brain.announce_host(facts, s.now);
  s.settle();
}

std::string number(const char* prefix, int i) { return prefix + std::to_string(i); }

}  // namespace

TEST_CASE("ranges that nobody else reads are read at once, the same one once") {
  Script s;
  s.hosts("h", 12);
  for (int i = 0; i < 10; ++i) add_range(s, number("h", i), number("p", i), static_cast<std::uint64_t>(i));
  CHECK(s.count("source") == 10);
  add_range(s, "h10", "same", 3);
  CHECK(s.kind("same") == "");
  s.source_started("p3");
  CHECK(s.last("same").parents == std::vector<std::string>{"p3"});
  // All of it is read by one more, from whom every range can be had.
  s.add("h11");
  CHECK(s.kind("h11-p") == "source");
  add_range(s, "h10", "other", 11);
  CHECK(s.kind("other") == "");
  s.source_started("h11-p");
  CHECK(s.last("other").parents == std::vector<std::string>{"h11-p"});
}

TEST_CASE("tokens of ranges are counted as others") {
  BrainOptions options;
  options.back_to_source_count = 3;
  Script s(options);
  s.hosts("h", 5);
  for (int i = 0; i < 5; ++i) add_range(s, number("h", i), number("p", i), static_cast<std::uint64_t>(i));
  CHECK(s.count("source") == 3);
  s.source_started("p0");
  source_finished(s, "p0");
  CHECK(s.count("source") == 4);
}

TEST_CASE("a seed that fetched a range has not failed, and is asked for the next one") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 4);
  add_range(s, "h0", "p0", 0);
  REQUIRE(s.triggers.size() == 1);
  CHECK(s.triggered_range == std::pair<std::uint64_t, std::uint64_t>(0, 8 << 20));
  add_range(s, "h1", "p1", 1);
  CHECK(s.kind("p1") == "source");  // the seed is busy with something else
  s.add("seed", "seedp", [](Registration& r) {
    r.need_back_to_source = true;
    r.range_length = 8 << 20;
  });
  s.source_started("seedp");
  CHECK(s.last("p0").parents == std::vector<std::string>{"seedp"});
  source_finished(s, "seedp");
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kDone, s.now);
  s.settle();
  CHECK(s.task_record().seeds_failed.empty());
  add_range(s, "h2", "p2", 2);
  REQUIRE(s.triggers.size() == 2);
  CHECK(s.triggered_range == std::pair<std::uint64_t, std::uint64_t>(16 << 20, 8 << 20));
  CHECK(s.kind("p2") == "");
}

TEST_CASE("among copies of many ranges the same one is found") {
  Script s;
  s.hosts("h", 2);
  for (int i = 0; i < 400; ++i) {
    add_range(s, "h0", number("p", i), static_cast<std::uint64_t>(i));
    s.brain.back_to_source_started(s[number("p", i)], s.now);
    source_finished(s, number("p", i));
  }
  for (int i = 0; i < 400; i += 40) {
    const auto name = number("q", i);
    add_range(s, "h1", name, static_cast<std::uint64_t>(i));
    CHECK(s.last(name).parents == std::vector<std::string>{number("p", i)});
  }
}

TEST_CASE("nobody waits for one who reads the origin and does not share") {
  Script s;
  s.hosts("h", 4);
  share_nothing(s, "h0");
  s.add("h0");
  CHECK(s.kind("h0-p") == "source");
  s.add("h1");
  CHECK(s.kind("h1-p") == "source");
  s.add("h2");
  CHECK(s.kind("h2-p") == "");
  s.source_started("h1-p");
  CHECK(s.last("h2-p").parents == std::vector<std::string>{"h1-p"});
}

TEST_CASE("nor for one who does not share any more") {
  Script s;
  s.hosts("h", 3);
  s.add("h0");
  s.source_started("h0-p");
  share_nothing(s, "h0");
  s.add("h1");
  CHECK(s.kind("h1-p") == "source");
}

TEST_CASE("where several wait, one who shares reads the origin") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 3);
  share_nothing(s, "h0");
  for (int i = 0; i < 3; ++i) s.add(number("h", i));
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kFailed, s.now);
  s.settle();
  CHECK(s.count("source") == 1);
  CHECK(s.kind("h1-p") == "source");
}

TEST_CASE("hosts of which none shares read the origin at once, but no more than may") {
  BrainOptions options;
  options.back_to_source_count = 30;
  Script s(options);
  s.hosts("h", 40);
  for (int i = 0; i < 40; ++i) {
    share_nothing(s, number("h", i));
    s.add(number("h", i));
  }
  CHECK(s.count("source") == 30);
  s.source_started("h7-p");
  source_finished(s, "h7-p");
  CHECK(s.count("source") == 31);
}

TEST_CASE("one who reads for itself alone is no reason to leave orphans waiting") {
  Script s;
  s.hosts("h", 4);
  s.add("h0", {}, listens);
  s.source_started("h0-p");
  for (int i : {1, 2}) {
    s.add(number("h", i), {}, listens);
    s.started(peer_of(i));
    s.piece(peer_of(i), 0, "h0-p");
  }
  share_nothing(s, "h3");
  s.add("h3", {}, [](Registration& r) { r.need_back_to_source = true; });
  s.source_started("h3-p");
  s.lost("h0-p");
  const auto before = s.count("source");
  s.pass(5s);
  CHECK(s.count("source") == before + 1);
}

TEST_CASE("a seed serves as many of those that do not share as of others") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 20);
  s.replica("seed");
  for (int i = 0; i < 20; ++i) {
    share_nothing(s, number("h", i));
    s.add(number("h", i));
  }
  CHECK(s.count("parents") == 12);
  // The places next to the seed are for those who pass it on.
  Script t;
  t.host("seed", true);
  t.hosts("h", 3);
  t.replica("seed");
  t.add("h0");
  share_nothing(t, "h1");
  t.add("h1");
  CHECK(t.last("h1-p").parents == std::vector<std::string>{"h0-p"});
}

TEST_CASE("one whom the origin refuses does not send all others there") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 1000);
  for (int i = 0; i < 1000; ++i) s.add(number("h", i));
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kRefused, s.now);
  s.settle();
  CHECK(s.count("source") == 2);
  refused(s, "h0-p");
  s.source_started("h1-p");  // has said that it begins, not yet that it gets anything
  CHECK(s.count("source") == 4);
  // The second one may have it, so all others get it from there.
  PieceReport piece;
  piece.length = 4 << 20;
  s.brain.back_to_source_piece_finished(s["h1-p"], piece, s.now);
  s.settle();
  CHECK(s.count("source") == 4);
  CHECK(s.count("parents") == 996);
}

TEST_CASE("a refusal says nothing where others have the content") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 10);
  s.replica("seed");
  s.add("h0", {}, [](Registration& r) { r.need_back_to_source = true; });
  refused(s, "h0-p");
  s.answers.clear();
  for (int i = 1; i < 10; ++i) s.add(number("h", i));
  CHECK(s.count("source") == 0);
  CHECK(s.count("parents") == 9);
}

TEST_CASE("who waits for one of an origin's tokens gets it when it comes back") {
  BrainOptions options;
  options.origin_tokens = 2;
  Script s(options);
  s.hosts("h", 4);
  for (int i = 0; i < 4; ++i) {
    s.task = number("task", i);
    s.add(number("h", i));
  }
  CHECK(s.count("source") == 2);
  s.source_started("h0-p");
  source_finished(s, "h0-p");
  CHECK(s.kind("h2-p") == "source");
  CHECK(s.kind("h3-p") == "");
  s.lost("h1-p");
  CHECK(s.kind("h3-p") == "source");
}

TEST_CASE("a seed that comes is asked at once for what nobody may fetch") {
  Script s;
  s.hosts("h", 1);
  s.add("h0", {}, [](Registration& r) { r.disable_back_to_source = true; });
  s.pass(1s);
  s.host("seed", true);
  CHECK(s.triggers.size() == 1);
  // Likewise one that could not be reached, and is there again.
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kUnreachable, s.now);
  s.settle();
  CHECK(s.triggers.size() == 1);
  s.pass(1s);
  s.brain.announce_host(s.host_record("seed").facts, s.now);
  s.settle();
  CHECK(s.triggers.size() == 2);
}

TEST_CASE("children whom the reading seed gives nothing any more send one of them to the origin, after 2 s") {
  for (const bool ours : {false, true}) {
    CAPTURE(ours);
    Script s;
    s.host("seed", true);
    s.hosts("h", 6);
    s.add("h0", {}, ours ? listens : nullptr);
    s.add("seed", "seedp", [](Registration& r) { r.need_back_to_source = true; });
    s.source_started("seedp");
    for (int i = 1; i < 6; ++i) s.add(number("h", i), {}, ours ? listens : nullptr);
    for (int i = 0; i < 6; ++i) s.started(peer_of(i));
    PieceReport piece;
    piece.length = 4 << 20;
    s.brain.back_to_source_piece_finished(s["seedp"], piece, s.now);
    s.pass(15s);  // those of ours are each other's parents now
    s.answers.clear();
    for (int i = 0; i < 6; ++i) {
      s.reschedule(peer_of(i));
      s.pass(1ms);
    }
    s.pass(3s);
    CHECK(s.count("source") == 1);
    for (int i = 0; i < 6; ++i) {
      if (s.kind(peer_of(i)) == "source") s.source_started(peer_of(i));
    }
    CHECK(s.count("parents") >= 5);
    CHECK(s.count("source") == 1);
    CHECK(s.brain.waiting() == 0);
  }
}

TEST_CASE("a host that lost its copy does not wait for it, and nobody is sent there any more") {
  for (const bool seeded : {false, true}) {
    CAPTURE(seeded);
    Script s;
    s.hosts("h", 2);
    s.replica("h0");
    if (seeded) s.host("seed", true);
    s.add("h0", "again");
    CHECK(s.task_record().peers == 1);
    if (seeded) {
      CHECK(s.triggers.size() == 1);
    } else {
      CHECK(s.kind("again") == "source");
    }
    s.add("h1");
    CHECK(s.kind("h1-p") == "");
  }
}

TEST_CASE("a copy of another range is not lost, nor one that is registered by its metadata") {
  Script s;
  s.hosts("h", 2);
  add_range(s, "h0", "p0", 0);
  s.source_started("p0");
  source_finished(s, "p0");
  add_range(s, "h0", "p1", 1);
  CHECK(s.kind("p1") == "source");
  CHECK(s.task_record().peers == 2);
  s.replica("h1");
  s.add("h1", "metadata", [](Registration& r) { r.metadata_only = true; });
  CHECK(s.task_record().peers == 4);
}

TEST_CASE("who lost all who have some of it does not wait for them, but for others who may bring it") {
  for (const bool other_reads : {false, true}) {
    CAPTURE(other_reads);
    Script s;
    s.hosts("h", 3);
    s.replica("h0");
    s.add("h1");
    s.started("h1-p");
    REQUIRE(s.kind("h1-p") == "parents");
    if (other_reads) s.add("h2", "reads", [](Registration& r) { r.need_back_to_source = true; });
    s.answers.clear();
    s.reschedule("h1-p");
    CHECK(s.kind("h1-p") == (other_reads ? "" : "source"));
  }
}

TEST_CASE("a seed is asked anew by who lost the only copy, once") {
  Script s;
  s.hosts("h", 2);
  s.host("seed", true);
  s.replica("seed");
  s.add("h0");
  s.started("h0-p");
  s.reschedule("h0-p");
  REQUIRE(s.triggers.size() == 1);
  // It is out of the child's reach, not out of ours: it has the content, and says so again.
  s.add("seed", "seed-again", [](Registration& r) { r.metadata_only = true; });
  s.started("seed-again");
  s.finished("seed-again");
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kDone, s.now);
  s.settle();
  CHECK(s.last("h0-p").parents == std::vector<std::string>{"seed-again"});
  s.answers.clear();
  s.reschedule("h0-p");
  CHECK(s.triggers.size() == 1);
  CHECK(s.kind("h0-p") == "source");
}
