// Small swarms around the real brain, with all its books counted after each event.
#include "sim/swarm/swarm.h"

#include <doctest/doctest.h>

#include "sim/swarm/report.h"

using namespace d7y::sim::swarm;

namespace {
Scenario small(Client client) {
  Scenario scenario;
  scenario.peers = 60;
  scenario.bytes = kGiB / 4;
  scenario.rate = 1.25e8;
  scenario.client = client;
  scenario.check = true;
  return scenario;
}
}  // namespace

TEST_CASE("everyone finishes from one seed, and nobody needs the origin") {
  for (const auto client : {Client::kD7y, Client::kRust}) {
    const auto result = run(small(client), 1);
    CHECK(result.broken == "");
    CHECK(result.done == 60);
    CHECK(result.origin_bytes == 0);
    CHECK(result.makespan >= result.bound);
  }
}

TEST_CASE("unmodified clients are fast in large swarms, and much faster than under Dragonfly's rules") {
  auto scenario = small(Client::kRust);
  scenario.check = false;
  scenario.peers = 1000;
  scenario.bytes = 10 * kGiB;
  const auto ours = run(scenario, 1);
  CHECK(ours.done == 1000);
  CHECK(ours.makespan <= 1.25 * ours.bound);
  scenario.policy = Policy::kDragonfly;
  CHECK(ours.makespan <= 0.5 * run(scenario, 1).makespan);
}

TEST_CASE("a few unmodified clients need little longer than one") {
  auto scenario = small(Client::kRust);
  scenario.bytes = 10 * kGiB;
  for (const auto peers : {2U, 5U, 10U, 20U}) {
    scenario.peers = peers;
    const auto result = run(scenario, 1);
    CHECK(result.broken == "");
    CHECK(result.done == peers);
    CHECK(result.makespan <= (1.02 + 0.003 * peers) * result.bound);
  }
}

TEST_CASE("a herd of unmodified clients takes little longer than one, whatever the seed has to do first") {
  auto scenario = small(Client::kRust);
  scenario.bytes = 10 * kGiB;
  for (const auto peers : {59U, 60U, 200U}) {
    CAPTURE(peers);
    scenario.peers = peers;
    scenario.warm = true;
    scenario.origin_delay = 0;
    const auto warm = run(scenario, 1);
    CHECK(warm.broken == "");
    CHECK(warm.done == peers);
    CHECK(warm.makespan <= 1.2 * warm.bound);
    scenario.warm = false;
    scenario.origin_delay = 2;
    const auto cold = run(scenario, 1);
    CHECK(cold.broken == "");
    CHECK(cold.done == peers);
    CHECK(cold.makespan <= 1.35 * cold.bound);
    CHECK(cold.origin_bytes <= 1.02 * scenario.bytes);
  }
}

TEST_CASE("each site of unmodified clients reads the content about once") {
  auto scenario = small(Client::kRust);
  scenario.peers = 200;
  scenario.sites = 4;
  const auto result = run(scenario, 1);
  CHECK(result.broken == "");
  CHECK(result.done == 200);
  CHECK(result.cross_site_bytes <= 1.3 * 4 * scenario.bytes);
}

TEST_CASE("our own clients share the work") {
  auto scenario = small(Client::kD7y);
  scenario.check = false;
  scenario.bytes = 2 * kGiB;
  const auto result = run(scenario, 1);
  CHECK(result.makespan <= 1.25 * result.bound);
  CHECK(result.seed_bytes <= 1.15 * scenario.bytes);
  scenario.peers = 300;
  CHECK(run(scenario, 1).makespan <= 1.3 * result.bound);
}

TEST_CASE(
    "hosts that pause, and a seed that sends eight pieces at a time, cost unmodified clients some of that") {
  auto scenario = small(Client::kRust);
  scenario.check = false;
  scenario.bytes = 10 * kGiB;
  scenario.peers = 400;
  scenario.pauses = 2;
  const auto herd = run(scenario, 1);
  CHECK(herd.done == 400);
  CHECK(herd.makespan <= 2.2 * herd.bound);
  scenario.pauses = 0;
  scenario.peers = 30;
  scenario.deals = false;
  const auto row = run(scenario, 1);
  CHECK(row.makespan >= 1.4 * row.bound);
  CHECK(row.makespan <= 1.9 * row.bound);
  CHECK(row.seed_bytes <= 1.01 * scenario.bytes);
}

TEST_CASE("slow hosts do not hold up the fast ones") {
  for (const auto client : {Client::kD7y, Client::kRust}) {
    for (const auto peers : {20U, 200U}) {
      auto scenario = small(client);
      scenario.check = false;
      scenario.peers = peers;
      scenario.bytes = 10 * kGiB;
      const auto equal = run(scenario, 1);
      scenario.slow_share = 1.0 / 3;
      const auto mixed = run(scenario, 1);
      CHECK(mixed.done == peers);
      CHECK(mixed.fast_makespan <= 1.25 * equal.makespan);
    }
  }
}

TEST_CASE("a seed with a fast uplink gives it to unmodified clients, too") {
  auto scenario = small(Client::kRust);
  scenario.bytes = 10 * kGiB;
  scenario.seed_rate = 10 * scenario.rate;
  const auto result = run(scenario, 1);
  CHECK(result.broken == "");
  CHECK(result.done == 60);
  CHECK(result.makespan <= 1.5 * result.bound);
}

TEST_CASE("sites share the work, and each reads the content little more than once") {
  auto scenario = small(Client::kD7y);
  scenario.check = false;
  scenario.peers = 400;
  scenario.bytes = 10 * kGiB;
  scenario.sites = 4;
  const auto result = run(scenario, 1);
  CHECK(result.makespan <= 1.4 * result.bound);
  CHECK(result.cross_site_bytes <= 1.3 * 4 * scenario.bytes);
}

TEST_CASE("a second seed of a hot task holds nobody up and does not read the origin") {
  for (const auto client : {Client::kD7y, Client::kRust}) {
    auto scenario = small(client);
    scenario.peers = 100;
    scenario.warm = false;
    const auto one = run(scenario, 1);
    scenario.seeds = 2;
    const auto two = run(scenario, 1);
    CHECK(two.broken == "");
    CHECK(two.done == 100);
    CHECK(two.makespan <= 1.05 * one.makespan);
    CHECK(two.origin_bytes <= 1.02 * scenario.bytes);
  }
}

TEST_CASE("the same seed gives the same run") {
  const auto first = run(small(Client::kD7y), 7), second = run(small(Client::kD7y), 7);
  CHECK(first.makespan == second.makespan);
  CHECK(first.peer_bytes == second.peer_bytes);
}

TEST_CASE("a cold task is read from a slow origin once") {
  auto scenario = small(Client::kD7y);
  scenario.warm = false;
  scenario.origin_delay = 2;
  const auto result = run(scenario, 1);
  CHECK(result.broken == "");
  CHECK(result.done == 60);
  CHECK(result.origin_bytes <= 1.02 * scenario.bytes);
}

TEST_CASE("whoever lives finishes when a fifth of the hosts crash") {
  for (const auto client : {Client::kD7y, Client::kRust}) {
    for (const auto peers : {20U, 60U, 400U}) {
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        CAPTURE(peers);
        CAPTURE(seed);
        auto scenario = small(client);
        scenario.check = peers <= 60;
        scenario.peers = peers;
        scenario.bytes = 2 * kGiB;
        scenario.crash_share = 0.2;
        const auto result = run(scenario, seed);
        CHECK(result.broken == "");
        CHECK(result.crashed > 0);
        CHECK(result.unfinished == 0);
        CHECK(result.makespan <= (client == Client::kRust ? 5 : 2) * result.bound);
      }
    }
  }
}

TEST_CASE("a report tells the median run, its range, and what went wrong") {
  Case one{"d7ysched & all", small(Client::kD7y), {}};
  for (const double makespan : {30.0, 22.0, 25.0}) {
    Result result;
    result.bound = 20;
    result.makespan = makespan;
    result.median = 21;
    result.p99 = 22;
    result.origin_bytes = one.scenario.bytes;
    result.use = {0, 0.5, 1};
    result.finish_times = {10, 20, static_cast<float>(makespan)};
    result.unfinished = makespan == 25 ? 57 : 0;
    one.results.push_back(result);
  }
  CHECK(headline(one).find("60 peers, 256 MiB, links of 1 Gbit/s") != std::string::npos);
  const auto line = table({one});
  CHECK(line.find("25.0 s") != std::string::npos);
  CHECK(line.find("1.250 (1.10-1.50)") != std::string::npos);
  CHECK(line.find("57 did not finish") != std::string::npos);
  const auto rows = plot(one);
  CHECK(rows.find("0.05") != std::string::npos);
  CHECK(rows.find(" 50 %") != std::string::npos);
  const auto picture = svg({one});
  CHECK(picture.starts_with("<svg"));
  CHECK(picture.ends_with("</svg>\n"));
  CHECK(picture.find("d7ysched &amp; all") != std::string::npos);
}
