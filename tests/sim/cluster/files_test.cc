// Contents of odd sizes from odd origins, by many peers at once; and peers that must not ask the origin.
#include <doctest/doctest.h>

#include <algorithm>

#include "sim/cluster/cluster.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kPiece = 64 << 10;

// One scheduler, one seed, `count` peers, pieces of 64 KiB.
struct Town {
  Town(std::uint64_t seed, std::size_t count) : cluster(seed) {
    cluster.add_scheduler();
    seeds.push_back(&cluster.add_seed());
    peers = cluster.add_peers(count);
    for (auto& peer : cluster.peers()) {
      peer->engine().piece_length = kPiece;
      peer->engine().small_content = 0;
    }
  }
  void check_all_right(const std::vector<sim::FetchPtr>& fetches) {
    REQUIRE(cluster.wait(fetches, 130s));
    for (auto& fetch : fetches)
      CHECK_MESSAGE(fetch->right(), fetch->peer->host().name() << ": " << fetch->verdict());
  }
  bool asked_origin(sim::Peer& peer) {
    auto ip = peer.host().addresses().front().ip();
    const auto& log = cluster.origin().log();
    return std::any_of(log.begin(), log.end(), [&](auto& request) { return request.client == ip; });
  }
  sim::Cluster cluster;
  std::vector<sim::Peer*> seeds, peers;
};

}  // namespace

TEST_CASE("odd sizes: sixty peers at once get them right and the origin sends them once") {
  for (std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{1}, kPiece - 1, kPiece, kPiece + 1, 5 * kPiece}) {
    for (bool reading : {false, true}) {
      CAPTURE(size);
      CAPTURE(reading);
      Town town(1 + size, 60);
      town.cluster.origin().serve("/f", sim::random_bytes(size, 7));
      town.cluster.start();
      town.check_all_right(town.cluster.fetch_everywhere(town.peers, "/f", {.read = reading}));
      CHECK(town.cluster.origin().body_bytes() <= size);
      CHECK(town.cluster.shut_down() == "");
    }
  }
}

TEST_CASE("content of unknown length, or without ranges, is right for everybody") {
  using Framing = sim::OriginFile::Framing;
  for (auto framing : {Framing::kChunked, Framing::kUntilClose, Framing::kLength}) {
    for (std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, kPiece, 3 * kPiece + 5}) {
      CAPTURE(static_cast<int>(framing));
      CAPTURE(size);
      Town town(2 + size, 12);
      auto& file = town.cluster.origin().serve("/f", sim::random_bytes(size, 8));
      file.framing = framing;
      file.ranges = false;
      town.cluster.start();
      auto fetches = town.cluster.fetch_everywhere(town.peers, "/f");
      for (auto& more : town.cluster.fetch_everywhere(town.peers, "/f", {.read = true}))
        fetches.push_back(more);
      town.check_all_right(fetches);
      CHECK(town.cluster.shut_down() == "");
    }
  }
}

TEST_CASE("a wrong digest is told before the end, whatever the content's length") {
  using Framing = sim::OriginFile::Framing;
  for (auto framing : {Framing::kChunked, Framing::kLength}) {
    for (std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, 2 * kPiece + 5}) {
      CAPTURE(static_cast<int>(framing));
      CAPTURE(size);
      Town town(3 + size, 1);
      town.cluster.origin().serve("/f", sim::random_bytes(size, 9)).framing = framing;
      town.cluster.start();
      auto fetch = town.peers[0]->fetch("/f", {.digest = "sha256:" + std::string(64, '1'), .read = true});
      REQUIRE(town.cluster.wait({fetch}, 130s));
      REQUIRE(fetch->failure);
      CHECK_MESSAGE(fetch->failure->code() == ErrorCode::kCorrupt, fetch->failure->message());
      CHECK(!fetch->read_to_end);
      if (framing == Framing::kLength) CHECK(fetch->bytes.size() < std::max<std::uint64_t>(size, 1));
    }
  }
}

TEST_CASE("who must not ask the origin gets everything from others, and does not even ask how long it is") {
  for (std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, 3 * kPiece + 5}) {
    for (bool warm : {false, true}) {
      CAPTURE(size);
      CAPTURE(warm);
      Town town(4 + size, 5);
      town.cluster.origin().serve("/f", sim::random_bytes(size, 10));
      town.cluster.start();
      auto& first = *town.peers[0];
      // Warm: a peer has it. Cold: the seed is sent for it.
      if (warm) town.check_all_right({first.fetch("/f")});
      std::vector<sim::Peer*> others(town.peers.begin() + 1, town.peers.end());
      auto fetches = town.cluster.fetch_everywhere(others, "/f", {.disable_back_to_source = true});
      if (size > 0 || warm) {
        town.check_all_right(fetches);
      } else {
        REQUIRE(town.cluster.wait(fetches, 130s));  // nobody can have what has no bytes
      }
      for (auto* peer : others) CHECK(!town.asked_origin(*peer));
      CHECK(town.cluster.shut_down() == "");
    }
  }
}

TEST_CASE("who must not ask the origin is told clearly that nobody has it") {
  for (bool scheduler : {false, true}) {
    CAPTURE(scheduler);
    Town town(5, 2);
    town.cluster.origin().serve("/f", sim::random_bytes(3 * kPiece, 11));
    if (!scheduler) {
      for (auto* peer : town.peers) peer->config().scheduler.addrs.clear();
    }
    town.seeds[0]->host().power_off();
    town.cluster.start_scheduler(*town.cluster.schedulers()[0]);
    for (auto* peer : town.peers) peer->start();
    auto fetch = town.peers[0]->fetch("/f", {.disable_back_to_source = true});
    REQUIRE(town.cluster.wait({fetch}, 130s));
    REQUIRE(fetch->failure);
    CHECK(fetch->failure->message().find("origin") != std::string::npos);
    CHECK(!town.asked_origin(*town.peers[0]));
  }
}

TEST_CASE("without the origin the versions of two parents are never mixed") {
  for (auto seed : sim::seeds(6)) {
    CAPTURE(seed);
    Town town(seed, 6);
    auto& file = town.cluster.origin().serve("/f", sim::random_bytes(8 * kPiece, seed));
    town.cluster.start();
    town.check_all_right({town.peers[0]->fetch("/f"), town.peers[1]->fetch("/f")});
    file.change(sim::random_bytes(8 * kPiece, seed + 1000), "\"v2\"");
    REQUIRE(town.peers[2]->node() != nullptr);
    // Somebody gets the new version past the scheduler, who does not know versions.
    town.peers[2]->config().scheduler.addrs.clear();
    town.peers[2]->stop();
    town.seeds[0]->kill();
    town.cluster.run_for(25s);
    town.peers[2]->start();
    auto fresh = town.peers[2]->fetch("/f");
    town.check_all_right({fresh});
    std::vector<sim::Peer*> others(town.peers.begin() + 3, town.peers.end());
    auto fetches = town.cluster.fetch_everywhere(others, "/f", {.disable_back_to_source = true});
    REQUIRE(town.cluster.wait(fetches, 130s));
    for (auto& fetch : fetches) {
      auto got = fetch->peer->host().disk().content(fetch->output);
      if (fetch->ok()) {
        CHECK((got == *file.versions[0] || got == *file.versions[1]));
      } else {
        CHECK(got.empty());
      }
    }
  }
}

TEST_CASE("who may ask the origin gets its new version where another download got an old one from peers") {
  Town town(3, 2);
  auto& file = town.cluster.origin().serve("/f", sim::random_bytes(8 * kPiece, 3));
  town.cluster.start();
  town.check_all_right({town.peers[0]->fetch("/f")});
  for (auto* seed : town.seeds) seed->kill();
  file.change(sim::random_bytes(8 * kPiece, 4), "\"v2\"");
  town.peers[0]->host().set_bandwidth(2 * kPiece, 0);
  auto old = town.peers[1]->fetch("/f", {.disable_back_to_source = true});
  town.cluster.run_for(1500ms);
  auto fresh = town.peers[1]->fetch("/f");
  town.cluster.run_for(200ms);
  REQUIRE(!old->over);
  town.peers[0]->kill();
  REQUIRE(town.cluster.wait({old, fresh}, 130s));
  CHECK_MESSAGE(fresh->right(), fresh->verdict());
}
