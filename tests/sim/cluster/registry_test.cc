// What a registry is asked for when many peers pull the same layers.
#include <doctest/doctest.h>

#include <functional>
#include <initializer_list>

#include "base/hash.h"
#include "net/http/client.h"
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

// A layer of each of these sizes, for everybody and for some, however it is pulled.
void crosses_once(std::initializer_list<std::uint64_t> sizes, const std::function<void(Fleet&)>& pull) {
  for (auto size : sizes) {
    for (auto* authorization : {"", "Bearer right"}) {
      for (auto seed : sim::seeds(3)) {
        CAPTURE(size);
        CAPTURE(authorization);
        CAPTURE(seed);
        Fleet fleet(seed, size, authorization);
        pull(fleet);
        CHECK(fleet.cluster.origin().body_bytes() == size);
      }
    }
  }
}

}  // namespace

TEST_CASE("a layer crosses its registry once, however small and however private") {
  crosses_once({24_MiB, 1_MiB, 100_KiB}, [](Fleet& fleet) {
    fleet.pull(0, 1);
    fleet.pull(1, 6);
  });
}

TEST_CASE("so it does when all want it at once") {
  crosses_once({24_MiB, 1_MiB}, [](Fleet& fleet) { fleet.pull(0, 6); });
}

namespace {

std::string add_blob(sim::Cluster& cluster, std::uint64_t seed, std::uint64_t size = 8_MiB) {
  auto bytes = sim::random_bytes(size, seed);
  Hasher hasher(HashKind::kSha256);
  hasher.update(as_bytes(bytes));
  auto path = "/v2/app/blobs/sha256:" + hasher.hex();
  cluster.origin().serve(path, bytes);
  return path;
}

// From the request to the first byte of its answer's body.
Task<Result<Duration>> first_byte(sim::Host& client_host, http::Client& client, std::string url) {
  const auto began = client_host.now();
  http::Request request;
  request.url = std::move(url);
  CO_TRY(auto response, co_await client.fetch(std::move(request), Deadline::never()));
  std::byte one{};
  CO_TRY(auto got, co_await response.read(MutableBytes(&one, 1), Deadline::never()));
  if (got == 0) co_return error(ErrorCode::kProtocol, "an empty layer");
  const auto took = client_host.now() - began;
  CO_TRY(auto rest, co_await response.read_all(64_MiB, Deadline::never()));
  if (rest.size() + 1 != 8_MiB) co_return error(ErrorCode::kProtocol, "{} bytes", rest.size() + 1);
  co_return took;
}

}  // namespace

TEST_CASE(
    "the first byte of a layer that nobody has: the peer asks the registry what it is, and its reader for "
    "bytes") {
  for (bool with_seed : {true, false}) {
    CAPTURE(with_seed);
    sim::Cluster cluster(1);
    const auto trip = 200ms;  // to the registry and back
    auto& runtime = cluster.sim().add_host({.name = "runtime"});
    cluster.add_scheduler();
    auto* seed = with_seed ? &cluster.add_seed() : nullptr;
    auto& peer = cluster.add_peer();
    peer.config().proxy.mirror_addr = cluster.origin().url("");
    cluster.start();
    std::vector<sim::Host*> near = {&peer.host(), &runtime};
    if (seed != nullptr) near.push_back(&seed->host());
    for (auto* host : near)
      cluster.sim().fabric().set_link(*host, cluster.origin().host(), {.latency = trip / 2});
    http::Client client(runtime, {});
    auto ask = [&](const std::string& url) {
      auto took = cluster.sim().run(first_byte(runtime, client, url), 100s);
      REQUIRE_MESSAGE(took.ok(), took.error().message());
      return *took;
    };
    const auto proxy = "http://" + peer.host().address(4001).to_string();
    // The first ones make the connections.
    (void)ask(proxy + add_blob(cluster, 1));
    (void)ask(cluster.origin().url(add_blob(cluster, 2)));
    CHECK(ask(cluster.origin().url(add_blob(cluster, 3))) < trip + 5ms);
    // The peer asks what it is; then whoever reads it does so at once.
    CHECK(ask(proxy + add_blob(cluster, 4)) < 2 * trip + 10ms);
  }
}

TEST_CASE("a peer sets a seed about a layer before it makes room for it") {
  sim::Cluster cluster(1);
  cluster.add_scheduler();
  cluster.add_seed();
  // Some tenth of a second for the first records of a journal.
  auto& peer = cluster.add_peer({.disk = {.write_rate = 4000, .dirty_limit = 0}});
  cluster.start();
  auto fetches = cluster.fetch_everywhere({&peer}, add_blob(cluster, 1));
  auto& sim = cluster.sim();
  REQUIRE(sim.run_until([&] { return cluster.origin().requests("HEAD") == 1; }, 10s));
  const auto known = sim.now();
  REQUIRE(sim.run_until([&] { return cluster.origin().requests("GET") == 1; }, 10s));
  CHECK(sim.now() - known < 20ms);
}

namespace {

// An image's four layers of 48 MiB, pulled at once by one peer.
struct Image {
  // `rate`: bytes a second of each answer; 0: of the network. One with an authorization no seed gets.
  explicit Image(std::uint64_t rate, const std::string& authorization = {}) : cluster(1) {
    options.authorization = authorization;
    cluster.add_scheduler();
    cluster.add_seed();
    peer = &cluster.add_peer();
    for (std::uint64_t layer = 0; layer < 4; ++layer) {
      paths.push_back(add_blob(cluster, layer, 48_MiB));
      cluster.origin().file(paths.back()).rate = rate;
      cluster.origin().file(paths.back()).authorization = authorization;
    }
    cluster.start();
    // Faster than a connection has to be.
    cluster.origin().host().set_bandwidth(0, 0);
    for (const auto& each : cluster.peers()) each->host().set_bandwidth(0, 0);
  }
  // Until the last one is here.
  Duration pull() {
    std::vector<sim::FetchPtr> fetches;
    for (const auto& path : paths) fetches.push_back(peer->fetch(path, options));
    REQUIRE(cluster.wait(fetches, 120s));
    Duration took{};
    for (auto& fetch : fetches) {
      CHECK_MESSAGE(fetch->right(), fetch->verdict());
      took = std::max(took, fetch->ended - fetch->began);
    }
    CHECK(cluster.origin().body_bytes() == 4 * 48_MiB);
    return took;
  }

  sim::Cluster cluster;
  sim::Peer* peer = nullptr;
  sim::FetchOptions options;
  std::vector<std::string> paths;
};

}  // namespace

TEST_CASE("layers that are pulled at once share the connections that one of them would have") {
  for (auto* authorization : {"", "Bearer right"}) {
    CAPTURE(authorization);
    Image image(0, authorization);
    image.pull();
    // Four for bytes, and those by which the peer asked what each layer is.
    CHECK(image.cluster.origin().most_connections() <= 4 + 4);
    // What begins a layer is asked for by itself; then there are few requests for much.
    CHECK(image.cluster.origin().requests("GET") <= 4 * 3);
  }
}

TEST_CASE(
    "each layer has all connections where the registry is slow, by its own doing or by being far away") {
  // Four connections bring 16 MiB/s; what is begun before that is known takes a little longer.
  for (auto* authorization : {"", "Bearer right"}) {
    CAPTURE(authorization);
    Image throttled(4_MiB, authorization);
    CHECK(throttled.pull() < 4s);
    CHECK(throttled.cluster.origin().most_connections() >= 16);

    Image far(0, authorization);
    for (const auto& each : far.cluster.peers())
      far.cluster.sim().fabric().set_link(each->host(), far.cluster.origin().host(), {.latency = 100ms});
    // 2.80 s with all of them from the beginning, which is known a look later.
    CHECK(far.pull() < 2900ms);
    CHECK(far.cluster.origin().most_connections() >= 16);
  }
}
