// What a registry is asked for when many peers pull the same layers.
#include <doctest/doctest.h>

#include "base/hash.h"
#include "sim/cluster/cluster.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

struct Fleet {
  Fleet(std::uint64_t seed, std::uint64_t size, const std::string& authorization) : cluster(seed) {
    auto bytes = sim::random_bytes(size, seed);
    Hasher hasher(HashKind::kSha256);
    hasher.update(as_bytes(bytes));
    path = "/v2/app/blobs/sha256:" + hasher.hex();
    cluster.origin().serve(path, bytes).authorization = authorization;
    cluster.add_scheduler();
    cluster.add_seed();
    peers = cluster.add_peers(6);
    cluster.start();
    options.authorization = authorization;
  }
  void pull(std::size_t from, std::size_t to) {
    std::vector<sim::Peer*> some(peers.begin() + static_cast<std::ptrdiff_t>(from),
                                 peers.begin() + static_cast<std::ptrdiff_t>(to));
    auto fetches = cluster.fetch_everywhere(some, path, options);
    REQUIRE(cluster.wait(fetches, 120s));
    for (auto& fetch : fetches) CHECK_MESSAGE(fetch->right(), fetch->verdict());
  }

  sim::Cluster cluster;
  std::string path;
  sim::FetchOptions options;
  std::vector<sim::Peer*> peers;
};

}  // namespace

TEST_CASE("a layer crosses its registry once, however small and however private") {
  for (std::uint64_t size : {24_MiB, 1_MiB, 100_KiB}) {
    for (auto* authorization : {"", "Bearer right"}) {
      for (auto seed : sim::seeds(3)) {
        CAPTURE(size);
        CAPTURE(authorization);
        CAPTURE(seed);
        Fleet fleet(seed, size, authorization);
        fleet.pull(0, 1);
        fleet.pull(1, 6);
        CHECK(fleet.cluster.origin().body_bytes() == size);
      }
    }
  }
}

TEST_CASE("so it does when all want it at once") {
  for (std::uint64_t size : {24_MiB, 1_MiB}) {
    for (auto* authorization : {"", "Bearer right"}) {
      for (auto seed : sim::seeds(3)) {
        CAPTURE(size);
        CAPTURE(authorization);
        CAPTURE(seed);
        Fleet fleet(seed, size, authorization);
        fleet.pull(0, 6);
        CHECK(fleet.cluster.origin().body_bytes() == size);
      }
    }
  }
}
