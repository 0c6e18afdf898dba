// Hosts that serve badly.
#include "scheduler/brain.h"
#include "scheduler/host_health.h"
#include "script.h"

using namespace d7y;
using namespace d7y::scheduler;

TEST_CASE("a failed parent is not given again while the block lasts, and one that served well is") {
  Script s;
  s.hosts("h", 4);
  s.replica("h0");
  s.replica("h1");
  s.add("h2");
  s.started("h2-p");
  REQUIRE(s.last("h2-p").parents.size() == 2);
  s.piece("h2-p", 0, "h1-p");
  s.brain.piece_failed(s["h2-p"], "h0-p", true, s.now);
  s.reschedule("h2-p");
  CHECK(s.kind("h2-p") == "parents");
  CHECK(s.answers["h2-p"].size() == 1);  // not at once
  s.pass(6s);
  CHECK(s.kind("h2-p") != "");
  const auto answers = s.answers["h2-p"];
  REQUIRE(answers.size() == 2);
}

TEST_CASE("a parent that had nothing more to give is given again when it has; one that failed is not") {
  for (bool fails : {false, true}) {
    CAPTURE(fails);
    Script s;
    s.hosts("h", 2);
    s.add("h0");
    s.source_started("h0-p");
    s.add("h1");
    s.started("h1-p");
    REQUIRE(s.last("h1-p").parents == std::vector<std::string>{"h0-p"});
    if (fails) s.brain.piece_failed(s["h1-p"], "h0-p", true, s.now);
    s.reschedule("h1-p");
    s.pass(1s);
    CHECK(s.answers["h1-p"].size() == 1);
    s.finished("h0-p");
    s.settle();
    CHECK(s.answers["h1-p"].size() == 2);
    CHECK(s.kind("h1-p") == (fails ? "source" : "parents"));
    if (!fails) CHECK(s.last("h1-p").parents == std::vector<std::string>{"h0-p"});
  }
}

TEST_CASE("hosts that fail their children are quarantined, tried again, and trusted again") {
  BrainOptions options;
  Script s(options);
  s.hosts("h", 30);
  s.replica("h0");
  s.replica("h1");
  int child = 2;
  const auto fail_one = [&] {
    const auto name = "h" + std::to_string(child++);
    s.add(name);
    s.started(name + "-p");
    s.brain.piece_failed(s[name + "-p"], "h0-p", true, s.now);
    s.brain.piece_failed(s[name + "-p"], "h0-p", true, s.now);  // says it twice, counts once
    s.finished(name + "-p");
    s.brain.delete_peer(name + "-p", s.now);
    s.settle();
  };
  fail_one();
  fail_one();
  CHECK(s.host_record("h0").health.state(s.now) == HostHealth::State::kTrusted);
  fail_one();
  CHECK(s.host_record("h0").health.state(s.now) == HostHealth::State::kQuarantined);
  s.add("h20");
  CHECK_FALSE(has(s.last("h20-p").parents, "h0-p"));
  s.pass(options.health.quarantine + 1s);
  CHECK(s.host_record("h0").health.state(s.now) == HostHealth::State::kProbation);
  s.brain.delete_peer("h1-p", s.now);
  s.add("h21");
  REQUIRE(has(s.last("h21-p").parents, "h0-p"));
  s.started("h21-p");
  for (std::uint32_t n = 0; n < options.health.good_pieces_to_trust; ++n) s.piece("h21-p", n, "h0-p");
  CHECK(s.host_record("h0").health.state(s.now) == HostHealth::State::kTrusted);
}

TEST_CASE("a quarantine after a failed probation is longer") {
  HealthLimits limits;
  HostHealth health;
  TimePoint now{1h};
  for (int i = 0; i < 3; ++i) health.piece_failed(limits, now);
  CHECK(health.state(now + limits.quarantine - 1ns) == HostHealth::State::kQuarantined);
  now += limits.quarantine;
  CHECK(health.state(now) == HostHealth::State::kProbation);
  CHECK(health.piece_failed(limits, now));
  CHECK(health.state(now + 2 * limits.quarantine - 1ns) == HostHealth::State::kQuarantined);
  CHECK(health.state(now + 2 * limits.quarantine) == HostHealth::State::kProbation);
}

TEST_CASE("failures long ago are forgotten") {
  HealthLimits limits;
  HostHealth health;
  TimePoint now{1h};
  for (int i = 0; i < 20; ++i) {
    CHECK_FALSE(health.piece_failed(limits, now));
    now += limits.half_life * 2;
  }
}

TEST_CASE("an uploader far below the usual rate is quarantined") {
  HealthLimits limits;
  HostHealth health;
  TimePoint now{1h};
  const auto begin = now;
  while (health.state(now) == HostHealth::State::kTrusted && now < begin + 1min) {
    health.piece_served(4 << 20, 10s, 1e9, limits, now);
    now += 100ms;
  }
  CHECK(now - begin > limits.slow_for);
  CHECK(now - begin < limits.slow_for + 3s);
}

TEST_CASE("a pause that hits all uploads of a host at once is no slowness") {
  HealthLimits limits;
  HostHealth health;
  TimePoint now{1h};
  for (int pause = 0; pause < 5; ++pause) {
    for (int i = 0; i < 500; ++i) health.piece_served(4 << 20, 3s, 1e8, limits, now);
    CHECK(health.state(now) == HostHealth::State::kTrusted);
    now += 5s;
    for (int i = 0; i < 50; ++i) health.piece_served(4 << 20, 40ms, 1e8, limits, now);
    now += 10s;
  }
}

TEST_CASE("short pieces say nothing about a host's rate") {
  HealthLimits limits;
  HostHealth health;
  TimePoint now{1h};
  for (int i = 0; i < 1000; ++i) {
    health.piece_served(16 << 10, 1s, 1e8, limits, now);
    now += 100ms;
  }
  CHECK(health.state(now) == HostHealth::State::kTrusted);
  CHECK(health.rate() == 0);
}

TEST_CASE("an only seed in quarantine is asked when nobody else may read the origin") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 3);
  s.replica("seed");
  for (int i = 0; i < 3; ++i) {
    const auto name = "h" + std::to_string(i);
    s.add(name);
    s.started(name + "-p");
    s.brain.piece_failed(s[name + "-p"], "seed-p", true, s.now);
    s.finished(name + "-p");
    s.brain.delete_peer(name + "-p", s.now);
    s.settle();
  }
  REQUIRE(s.host_record("seed").health.state(s.now) == HostHealth::State::kQuarantined);
  const auto triggered = s.triggers.size();
  s.task = "another";
  s.add("h0", "may-read");
  CHECK(s.triggers.size() == triggered);
  CHECK(s.kind("may-read") == "source");
  s.task = "a third";
  s.add("h1", "may-not", [](Registration& made) { made.disable_back_to_source = true; });
  CHECK(s.triggers.size() == triggered + 1);
}
