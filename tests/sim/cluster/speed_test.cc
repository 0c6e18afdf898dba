// How fast a swarm is where only its links count: every uplink has a rate, processors are infinitely fast.
#include <doctest/doctest.h>

#include <algorithm>

#include "sim/cluster/cluster.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kRate = 125'000'000;  // 1 Gbit/s

double seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

// An origin, a scheduler, a seed and peers, with such uplinks.
struct Swarm {
  Swarm(std::uint64_t seed, std::size_t count, std::uint64_t size,
        d7y::scheduler::SchedulerConfig config = {})
      : cluster(seed), size(size) {
    file = &cluster.origin().serve("/model.bin", sim::random_bytes(size, seed));
    cluster.add_scheduler(std::move(config));
    seed_peer = &cluster.add_seed();
    seed_peer->host().set_bandwidth(kRate, 0);
    peers = cluster.add_peers(count);
    for (auto* peer : peers) peer->host().set_bandwidth(kRate, 0);
    cluster.origin().host().set_bandwidth(kRate, 0);
    cluster.start();
  }
  double ideal() const { return static_cast<double>(size) / kRate; }

  sim::Cluster cluster;
  std::uint64_t size;
  sim::OriginFile* file = nullptr;
  sim::Peer* seed_peer = nullptr;
  std::vector<sim::Peer*> peers;
};

double last_end(const std::vector<sim::FetchPtr>& fetches) {
  double last = 0;
  for (const auto& fetch : fetches) {
    REQUIRE_MESSAGE(fetch->right(), fetch->peer->host().name() << ": " << fetch->verdict());
    last = std::max(last, seconds(fetch->ended - fetch->began));
  }
  return last;
}

// Who is asked for which piece is chance: the median over seeds counts, as in all measurements, and nobody
// ends far off.
double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

d7y::scheduler::SchedulerConfig one_each() {
  d7y::scheduler::SchedulerConfig config;
  config.dynamic.candidate_parents = 1;
  config.dynamic.load_limit = 1;
  config.dynamic.seed_load_limit = 1;
  return config;
}

}  // namespace

TEST_CASE("peers that start together end hardly later than one that has the origin for itself") {
  std::vector<double> ends;
  for (std::uint64_t seed : {1, 2, 3, 4, 5, 6, 7}) {
    CAPTURE(seed);
    Swarm swarm(seed, 8, 128_MiB);
    auto fetches = swarm.cluster.fetch_everywhere(swarm.peers, "/model.bin");
    REQUIRE(swarm.cluster.wait(fetches, 60s));
    ends.push_back(last_end(fetches) / swarm.ideal());
    CHECK(ends.back() <= 1.4);
    CHECK(swarm.file->body_bytes == swarm.size);
    // Everybody's uplink takes part: the seed sends little more than each piece once.
    CHECK(swarm.seed_peer->host().sent_bytes() <= 1.25 * static_cast<double>(swarm.size));
  }
  CHECK(median(ends) <= 1.25);
}

TEST_CASE("peers that find a complete seed end hardly later than one that has it for itself") {
  std::vector<double> ends;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Swarm swarm(seed, 9, 128_MiB);
    std::vector<sim::FetchPtr> first{swarm.peers[0]->fetch("/model.bin")};
    REQUIRE(swarm.cluster.wait(first, 60s));
    swarm.peers[0]->power_off();
    std::vector<sim::Peer*> others(swarm.peers.begin() + 1, swarm.peers.end());
    auto fetches = swarm.cluster.fetch_everywhere(others, "/model.bin");
    REQUIRE(swarm.cluster.wait(fetches, 60s));
    ends.push_back(last_end(fetches) / swarm.ideal());
    CHECK(ends.back() <= 1.7);
  }
  CHECK(median(ends) <= 1.4);
}

TEST_CASE("a row of peers ends hardly later than one link needs, and the first byte runs through it") {
  for (std::uint64_t piece_length : {4_MiB, 64_MiB}) {
    CAPTURE(piece_length);
    Swarm swarm(1, 4, 128_MiB, one_each());
    // The origin thinks about the first request until the row stands.
    swarm.file->faults.push_back({.delay = 1s, .method = "GET"});
    std::vector<sim::FetchPtr> fetches;
    for (auto* peer : swarm.peers) {
      sim::FetchOptions options;
      options.piece_length = piece_length;
      fetches.push_back(peer->fetch("/model.bin", options));
      swarm.cluster.run_for(100ms);
    }
    REQUIRE(swarm.cluster.wait(fetches, 60s));
    last_end(fetches);
    for (std::size_t i = 1; i < fetches.size(); ++i) CHECK(fetches[i]->progress.from_peers == swarm.size);
    // The seed asked for the content a few milliseconds after the first peer began.
    auto answered = fetches[0]->began + 1s;
    CHECK(seconds(fetches.back()->ended - answered) <= 1.10 * swarm.ideal());
    auto first = fetches.back()->began + *fetches.back()->progress.first_byte;
    CHECK(first - answered <= 5 * 5ms);
  }
}

TEST_CASE(
    "a far origin is read in hardly more time than one connection needs where that is fast, and in less "
    "else") {
  for (std::uint64_t size : {64_MiB, 256_MiB}) {
    for (std::uint64_t rate : {std::uint64_t{0}, kRate / 12}) {  // of one connection; 0: as fast as the link
      CAPTURE(size);
      CAPTURE(rate);
      sim::Cluster cluster(1);
      auto& file = cluster.origin().serve("/model.bin", sim::random_bytes(size, 1));
      file.faults.push_back({.delay = 100ms, .count = 1'000'000});
      file.rate = rate;
      cluster.origin().host().set_bandwidth(kRate, kRate);
      auto peers = cluster.add_peers(1);
      cluster.start();
      auto fetches = cluster.fetch_everywhere(peers, "/model.bin");
      REQUIRE(cluster.wait(fetches, 100s));
      const double one_connection =
          0.1 + static_cast<double>(size) / static_cast<double>(rate > 0 ? rate : kRate);
      CHECK(last_end(fetches) <= one_connection * (rate > 0 ? 0.35 : 1.15));
      CHECK(file.body_bytes == size);
    }
  }
}
