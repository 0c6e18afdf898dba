// Peers that give wrong bytes in good order: each piece is as they say, the whole is not what was asked for.
#include <doctest/doctest.h>

#include "base/hash.h"
#include "sim/cluster/cluster.h"
#include "sim/faults/liar.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kSize = 24_MiB + 12'345;

std::string sha256_of(const std::string& bytes) {
  Hasher hasher(HashKind::kSha256);
  hasher.update(as_bytes(bytes));
  return hasher.hex();
}

// Peers without a seed: the first of them brings the content from the origin.
struct Street {
  explicit Street(std::uint64_t seed, std::size_t count) : cluster(seed) {
    cluster.add_scheduler();
    peers = cluster.add_peers(count);
  }
  // A blob that everybody can check.
  std::string add_blob(std::uint64_t seed) {
    auto bytes = sim::random_bytes(kSize, seed);
    auto path = "/v2/app/blobs/sha256:" + sha256_of(bytes);
    cluster.origin().serve(path, bytes);
    return path;
  }
  sim::FetchPtr fetch(std::size_t peer, const std::string& path, sim::FetchOptions options = {}) {
    auto fetch = peers[peer]->fetch(path, std::move(options));
    REQUIRE_MESSAGE(cluster.wait({fetch}, 130s), fetch->verdict());
    return fetch;
  }
  void lies(std::size_t peer) {
    cluster.sim().fabric().rewrite(peers[peer]->host(), 4005, [] { return sim::consistent_liar(); });
  }
  std::uint64_t from_others(const sim::FetchPtr& fetch) {
    return fetch->progress.from_seeds + fetch->progress.from_peers;
  }

  sim::Cluster cluster;
  std::vector<sim::Peer*> peers;
};

}  // namespace

TEST_CASE("content that a peer forged is fetched anew from the origin, and the peer is asked no more") {
  for (auto seed : sim::seeds(3)) {
    CAPTURE(seed);
    Street street(seed, 3);
    auto blob = street.add_blob(seed), other = street.add_blob(seed + 1000);
    street.cluster.start();
    REQUIRE(street.fetch(0, blob)->right());
    REQUIRE(street.fetch(0, other)->right());
    street.lies(0);
    const auto before = street.cluster.origin().body_bytes();
    auto misled = street.fetch(1, blob);
    CHECK_MESSAGE(misled->right(), misled->verdict());
    CHECK(street.cluster.origin().body_bytes() - before == kSize);
    // Not even for what else it has.
    auto next = street.fetch(1, other);
    CHECK_MESSAGE(next->right(), next->verdict());
    CHECK(street.from_others(next) == 0);
    // Who has right bytes gives them.
    street.peers[0]->kill();
    auto third = street.fetch(2, blob);
    CHECK_MESSAGE(third->right(), third->verdict());
    CHECK(street.from_others(third) == kSize);
  }
}

TEST_CASE("pieces whose sum a peer does not say are not taken from it") {
  Street street(1, 2);
  street.cluster.origin().serve("/plain", sim::random_bytes(kSize, 1));
  street.cluster.start();
  REQUIRE(street.fetch(0, "/plain")->right());
  street.cluster.sim().fabric().rewrite(street.peers[0]->host(), 4005, [] { return sim::silent_liar(); });
  auto fetch = street.fetch(1, "/plain");
  CHECK_MESSAGE(fetch->right(), fetch->verdict());
  CHECK(street.from_others(fetch) == 0);
}

TEST_CASE("who has read forged bytes is cut off before the last one, and gets the right ones next time") {
  for (auto seed : sim::seeds(3)) {
    CAPTURE(seed);
    Street street(seed, 2);
    auto blob = street.add_blob(seed);
    street.cluster.start();
    REQUIRE(street.fetch(0, blob)->right());
    street.lies(0);
    auto misled = street.fetch(1, blob, {.read = true});
    REQUIRE(misled->failure);
    CHECK(misled->bytes.size() < kSize);
    auto next = street.fetch(1, blob, {.read = true});
    CHECK_MESSAGE(next->ok(), next->verdict());
    CHECK(next->bytes == *next->expected);
  }
}

TEST_CASE("one liar among honest parents is found out by name") {
  for (auto seed : sim::seeds(3)) {
    CAPTURE(seed);
    Street street(seed, 4);
    auto blob = street.add_blob(seed), other = street.add_blob(seed + 1000);
    street.cluster.start();
    for (std::size_t peer : {0, 1, 2}) REQUIRE(street.fetch(peer, blob)->right());
    REQUIRE(street.fetch(0, other)->right());
    REQUIRE(street.fetch(1, other)->right());
    street.lies(2);
    auto misled = street.fetch(3, blob);
    CHECK_MESSAGE(misled->right(), misled->verdict());
    REQUIRE(street.peers[3]->metrics() != nullptr);
    CHECK(street.peers[3]->metrics()->counter("d7y_content_wrong", "").value() == 1);
    CHECK(street.peers[3]->metrics()->counter("d7y_peers_banned", "").value() == 1);
    // The others are asked as before.
    auto next = street.fetch(3, other);
    CHECK_MESSAGE(next->right(), next->verdict());
    CHECK(street.from_others(next) == kSize);
  }
}

TEST_CASE("where the origin must not be asked, other parents are") {
  for (auto seed : sim::seeds(3)) {
    CAPTURE(seed);
    Street street(seed, 3);
    auto blob = street.add_blob(seed);
    street.cluster.start();
    REQUIRE(street.fetch(0, blob)->right());
    street.lies(0);
    const auto before = street.cluster.origin().body_bytes();
    auto nobody = street.fetch(2, blob, {.disable_back_to_source = true});
    REQUIRE(nobody->failure);
    CHECK(!street.peers[2]->host().disk().exists(nobody->output));
    CHECK(street.cluster.origin().body_bytes() == before);
    CHECK(street.fetch(1, blob)->right());  // from the origin, after it was lied to as well
    auto honest = street.fetch(2, blob, {.disable_back_to_source = true});
    CHECK_MESSAGE(honest->right(), honest->verdict());
    CHECK(street.cluster.origin().body_bytes() == before + kSize);
  }
}

TEST_CASE("stale content of peers, and one's own, gives way to what the digest says") {
  for (auto seed : sim::seeds(3)) {
    CAPTURE(seed);
    Street street(seed, 2);
    auto& file = street.cluster.origin().serve("/model.bin", sim::random_bytes(kSize, seed));
    file.etag.clear();  // nothing tells the versions apart
    file.last_modified.clear();
    street.cluster.start();
    REQUIRE(street.fetch(0, "/model.bin")->right());
    auto newer = sim::random_bytes(kSize, seed + 1000);
    auto digest = "sha256:" + sha256_of(newer);
    file.change(newer, "");
    file.last_modified.clear();
    auto before = street.cluster.origin().body_bytes();
    auto other = street.fetch(1, "/model.bin", {.digest = digest});
    CHECK_MESSAGE(other->right(), other->verdict());
    CHECK(street.cluster.origin().body_bytes() - before == kSize);
    before = street.cluster.origin().body_bytes();
    auto own = street.fetch(0, "/model.bin", {.digest = digest});
    CHECK_MESSAGE(own->right(), own->verdict());
    CHECK(street.cluster.origin().body_bytes() - before <= kSize);
  }
}

TEST_CASE("a digest that nothing has costs the origin one more reading, and nobody his name") {
  Street street(1, 3);
  street.cluster.origin().serve("/model.bin", sim::random_bytes(kSize, 1));
  street.cluster.start();
  REQUIRE(street.fetch(0, "/model.bin")->right());
  auto before = street.cluster.origin().body_bytes();
  auto wrong = street.fetch(1, "/model.bin", {.digest = "sha256:" + std::string(64, '0')});
  REQUIRE(wrong->failure);
  CHECK_MESSAGE(wrong->failure->code() == ErrorCode::kCorrupt, wrong->failure->message());
  CHECK(!street.peers[1]->host().disk().exists(wrong->output));
  CHECK(street.cluster.origin().body_bytes() - before == kSize);
  before = street.cluster.origin().body_bytes();
  auto right = street.fetch(1, "/model.bin");
  CHECK_MESSAGE(right->right(), right->verdict());
  CHECK(street.cluster.origin().body_bytes() == before);
}
