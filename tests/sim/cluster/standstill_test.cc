// Machines that stand still, as stopped processes and vanished machines do: nobody says that anything ended.
#include <doctest/doctest.h>

#include <algorithm>

#include "sim/cluster/cluster.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kSize = 24_MiB + 12'345;  // 7 pieces

// One file, and an origin that needs 8 s for it.
struct House {
  explicit House(std::uint64_t seed, std::size_t count, std::size_t seeds = 1) : cluster(seed) {
    file = &cluster.origin().serve("/model.bin", sim::random_bytes(kSize, seed));
    cluster.origin().host().set_bandwidth(3'000'000, 0);
    scheduler = &cluster.add_scheduler();
    for (std::size_t i = 0; i < seeds; ++i) seed_peers.push_back(&cluster.add_seed());
    peers = cluster.add_peers(count);
    cluster.start();
  }
  // The one through which the content came.
  sim::Peer& busy_seed() {
    return **std::max_element(seed_peers.begin(), seed_peers.end(), [](sim::Peer* a, sim::Peer* b) {
      return a->host().received_bytes() < b->host().received_bytes();
    });
  }
  std::string times(const std::vector<sim::FetchPtr>& fetches) const {
    std::string all = fmt::format("{} bytes from the origin, {} its length\n", file->body_bytes,
                                  static_cast<double>(file->body_bytes) / static_cast<double>(kSize));
    for (const auto& fetch : fetches) {
      all += fmt::format("{}: {} ({} s; source {}, seeds {}, peers {})\n", fetch->peer->host().name(),
                         fetch->verdict(), (fetch->ended - fetch->began) / 1ms / 1000.0,
                         fetch->progress.from_source, fetch->progress.from_seeds, fetch->progress.from_peers);
    }
    return all;
  }

  sim::Cluster cluster;
  sim::OriginFile* file = nullptr;
  sim::Host* scheduler = nullptr;
  std::vector<sim::Peer*> seed_peers, peers;
};

// Who read it besides the seeds.
std::size_t readers(const std::vector<sim::FetchPtr>& fetches) {
  return static_cast<std::size_t>(std::count_if(
      fetches.begin(), fetches.end(), [](const auto& fetch) { return fetch->progress.from_source > 0; }));
}

std::vector<sim::FetchPtr> fetch_all(House& house) {
  return house.cluster.fetch_everywhere(house.peers, "/model.bin", {.timeout = 600s});
}

void check_all_right_within(House& house, const std::vector<sim::FetchPtr>& fetches, Duration limit) {
  REQUIRE_MESSAGE(house.cluster.wait(fetches, 600s), house.times(fetches));
  for (const auto& fetch : fetches) {
    CHECK(fetch->right());
    CHECK_MESSAGE(fetch->ended - fetch->began < limit, house.times(fetches));
  }
}

}  // namespace

// 8.4 s for all of it, 5.5 s of which are left.
TEST_CASE(
    "when a seed stands still or vanishes in the middle one other reads the origin seconds later, for all") {
  for (bool vanishes : {false, true}) {
    for (std::size_t seeds : {1, 2}) {
      for (std::size_t peers : {1, 5}) {
        CAPTURE(vanishes);
        CAPTURE(seeds);
        CAPTURE(peers);
        House house(5, peers, seeds);
        auto fetches = fetch_all(house);
        house.cluster.run_for(3s);
        auto& seed = house.busy_seed();
        if (vanishes) {
          seed.power_off();
        } else {
          seed.host().pause();
        }
        check_all_right_within(house, fetches, 18s);
        CHECK_MESSAGE(readers(fetches) == (seeds == 1 ? 1 : 0), house.times(fetches));
        // A third of it by the seed, whose machine receives more of it meanwhile if it is still there.
        CHECK_MESSAGE(house.file->body_bytes < kSize * (vanishes ? 6 : 7) / 4, house.times(fetches));
        if (vanishes) continue;
        seed.host().resume();
        house.cluster.run_for(30s);
        CHECK(house.file->body_bytes <= kSize * 2);  // it reads what it misses
        CHECK(house.cluster.shut_down() == "");
      }
    }
  }
}

TEST_CASE("a seed that stands still before it has said anything is hardly waited for, and not asked again") {
  House house(5, 5);
  auto& other = house.cluster.origin().serve("/other.bin", sim::random_bytes(kSize, 6));
  house.seed_peers[0]->host().pause();
  auto fetches = fetch_all(house);
  check_all_right_within(house, fetches, 14s);
  CHECK_MESSAGE(readers(fetches) == 1, house.times(fetches));
  CHECK(house.file->body_bytes == kSize);
  auto next = house.cluster.fetch_everywhere(house.peers, "/other.bin", {.timeout = 600s});
  check_all_right_within(house, next, 9500ms);
  CHECK(other.body_bytes == kSize);
  house.seed_peers[0]->host().resume();
  house.cluster.run_for(60s);
  auto& third = house.cluster.origin().serve("/third.bin", sim::random_bytes(kSize, 7));
  auto last = house.cluster.fetch_everywhere(house.peers, "/third.bin", {.timeout = 600s});
  check_all_right_within(house, last, 10s);
  CHECK_MESSAGE(readers(last) == 0, house.times(last));  // it is a seed again
  CHECK(third.body_bytes == kSize);
}

TEST_CASE("a seed, or a peer, that has everything and stands still is replaced") {
  for (std::size_t seeds : {1, 0}) {
    CAPTURE(seeds);
    House house(5, 6, seeds);
    auto& first = seeds == 1 ? *house.seed_peers[0] : *house.peers[5];
    REQUIRE(house.cluster.wait({first.fetch("/model.bin")}, 60s));
    house.peers.pop_back();
    first.host().set_bandwidth(3'000'000, 0);
    auto fetches = fetch_all(house);
    house.cluster.run_for(3s);
    first.host().pause();
    check_all_right_within(house, fetches, 18s);
    CHECK_MESSAGE(readers(fetches) == 1, house.times(fetches));
  }
}

TEST_CASE("an origin that stands still is waited for: a seed that is there is no reason to read it twice") {
  for (auto when : {100ms, 3000ms}) {
    House house(5, 5);
    auto fetches = fetch_all(house);
    house.cluster.run_for(when);
    house.cluster.origin().host().pause();
    house.cluster.run_for(20s);
    house.cluster.origin().host().resume();
    check_all_right_within(house, fetches, 40s);
    CHECK_MESSAGE(readers(fetches) == 0, house.times(fetches));
    CHECK(house.file->body_bytes == kSize);
  }
}

TEST_CASE(
    "a scheduler that stands still itself, alone or with its seed, takes nobody for lost when it goes on") {
  for (bool with_seed : {false, true}) {
    House house(5, 5);
    auto fetches = fetch_all(house);
    house.cluster.run_for(3s);
    house.scheduler->pause();
    if (with_seed) house.seed_peers[0]->host().pause();
    house.cluster.run_for(12s);
    house.scheduler->resume();
    if (with_seed) house.seed_peers[0]->host().resume();
    check_all_right_within(house, fetches, 25s);
    CHECK_MESSAGE(readers(fetches) == 0, house.times(fetches));
    CHECK(house.file->body_bytes == kSize);
  }
}

TEST_CASE("a peer that stands still holds up nobody else") {
  House house(5, 5);
  auto fetches = fetch_all(house);
  house.cluster.run_for(3s);
  house.peers[0]->host().pause();
  const std::vector<sim::FetchPtr> others(fetches.begin() + 1, fetches.end());
  check_all_right_within(house, others, 10s);
  house.peers[0]->host().resume();
  check_all_right_within(house, fetches, 20s);
  CHECK(house.file->body_bytes == kSize);
}
