// One file through the whole house, with everything going wrong that can.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <set>

#include "api/dealing.h"
#include "api/dfdaemon.h"
#include "api/methods.h"
#include "base/ids.h"
#include "net/grpc/channel.h"
#include "node/task_stream.h"
#include "scheduler/service.h"
#include "sim/cluster/cluster.h"
#include "swarm/vortex.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kSize = 24_MiB + 12'345;  // 7 pieces

std::string verdicts(const std::vector<sim::FetchPtr>& fetches) {
  std::string all;
  for (auto& fetch : fetches) {
    all += fmt::format("{}: {} ({} s; source {}, seeds {}, peers {}, local {})\n", fetch->peer->host().name(),
                       fetch->verdict(), (fetch->ended - fetch->began) / 1ms / 1000.0,
                       fetch->progress.from_source, fetch->progress.from_seeds, fetch->progress.from_peers,
                       fetch->progress.from_local);
  }
  return all;
}

void check_all_right(const std::vector<sim::FetchPtr>& fetches) {
  for (auto& fetch : fetches)
    CHECK_MESSAGE(fetch->right(), fetch->peer->host().name() << ": " << fetch->verdict());
}

// Right, or a clear end by then; never wrong bytes under a final name.
void check_none_wrong(const std::vector<sim::FetchPtr>& fetches) {
  for (auto& fetch : fetches) {
    if (fetch->ok()) {
      CHECK(fetch->right());
    } else if (!fetch->crashed()) {
      CHECK_MESSAGE(fetch->over, fetch->peer->host().name() << ": " << fetch->verdict());
      CHECK(!fetch->peer->host().disk().exists(fetch->output));
    }
  }
}

// The usual cluster: one scheduler, one seed, some peers, one file.
struct House {
  explicit House(std::uint64_t seed, std::size_t count = 6, sim::SimulationOptions options = {})
      : cluster(seed, options), random(sim::mix(seed ^ 0x401c)) {
    file = &cluster.origin().serve("/model.bin", sim::random_bytes(kSize, seed));
    scheduler = &cluster.add_scheduler();
    seed_peer = &cluster.add_seed();
    peers = cluster.add_peers(count);
  }
  std::vector<sim::FetchPtr> fetch_all(const sim::FetchOptions& options = {}) {
    return cluster.fetch_everywhere(peers, "/model.bin", options);
  }
  // Some moment of the usual download, which takes about half a second.
  Duration moment() { return random.up_to(600ms); }

  sim::Cluster cluster;
  sim::Random random;
  sim::OriginFile* file = nullptr;
  sim::Host* scheduler = nullptr;
  sim::Peer* seed_peer = nullptr;
  std::vector<sim::Peer*> peers;
};

}  // namespace

TEST_CASE("many peers download one file and the origin is read once") {
  for (auto seed : sim::seeds(4)) {
    CAPTURE(seed);
    House house(seed, 8);
    house.cluster.start();
    auto fetches = house.fetch_all();
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 120s), verdicts(fetches));
    check_all_right(fetches);
    CHECK(house.cluster.origin().body_bytes() <= kSize * 1.02);
    std::uint64_t from_others = 0;
    for (auto& fetch : fetches) from_others += fetch->progress.from_seeds + fetch->progress.from_peers;
    CHECK(from_others >= kSize * 7);
    // Once more: everything is here already.
    auto again = house.fetch_all();
    REQUIRE(house.cluster.wait(again, 60s));
    check_all_right(again);
    for (auto& fetch : again) CHECK(fetch->progress.from_local == kSize);
    CHECK(house.cluster.origin().body_bytes() <= kSize * 1.02);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("of many peers that begin together one asks the origin what it has") {
  for (auto seed : sim::seeds(4)) {
    CAPTURE(seed);
    House house(seed, 16);
    house.cluster.start();
    std::vector<sim::FetchPtr> fetches;
    for (auto* peer : house.peers) {
      fetches.push_back(peer->fetch("/model.bin"));
      house.cluster.run_for(house.random.up_to(250ms));
    }
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 120s), verdicts(fetches));
    check_all_right(fetches);
    CHECK(house.cluster.origin().requests("HEAD") == 1);
    CHECK(house.cluster.origin().body_bytes() == kSize);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("whoever is given credentials asks the origin itself, and tells nobody") {
  House house(3, 3);
  house.file->authorization = "Bearer sesame";
  house.cluster.start();
  auto with = house.peers[0]->fetch("/model.bin", {.authorization = "Bearer sesame"});
  auto also = house.peers[1]->fetch("/model.bin", {.authorization = "Bearer sesame"});
  auto without = house.peers[2]->fetch("/model.bin");
  REQUIRE(house.cluster.wait({with, also, without}, 120s));
  CHECK(with->right());
  CHECK(also->right());
  REQUIRE(without->failure);
  CHECK(without->failure->status() == 401);
  CHECK(house.cluster.origin().requests("HEAD") == 3);
}

TEST_CASE("an origin that has changed since another peer asked it is read anew") {
  for (auto seed : sim::seeds(4)) {
    CAPTURE(seed);
    House house(seed, 3);
    house.cluster.start();
    auto first = house.peers[0]->fetch("/model.bin");
    REQUIRE(house.cluster.wait({first}, 60s));
    CHECK(first->right());
    // Nobody has a copy any more, but what the first one was told is still known.
    house.peers[0]->kill();
    house.seed_peer->kill();
    house.file->change(sim::random_bytes(kSize + 1, seed + 1), "\"v2\"");
    house.cluster.run_for(1s);
    auto second = house.peers[1]->fetch("/model.bin");
    REQUIRE(house.cluster.wait({second}, 120s));
    CHECK_MESSAGE(second->right(), second->verdict());
    // And others are told of it.
    const auto asked = house.cluster.origin().requests("HEAD");
    CHECK(asked == 2);
    auto third = house.peers[2]->fetch("/model.bin");
    REQUIRE(house.cluster.wait({third}, 120s));
    CHECK_MESSAGE(third->right(), third->verdict());
    CHECK(house.cluster.origin().requests("HEAD") == asked);
  }
}

TEST_CASE("the same seed runs a whole cluster the same way") {
  auto run = [](std::uint64_t seed) {
    House house(seed, 4);
    house.cluster.start();
    auto fetches = house.fetch_all();
    CHECK(house.cluster.wait(fetches, 120s));
    return house.cluster.sim().fingerprint();
  };
  auto once = run(1);
  CHECK(once == run(1));
  CHECK(once != run(2));
}

TEST_CASE("without any scheduler everybody goes to the origin and ends right") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    House house(seed, 3);
    house.scheduler->power_off();
    for (auto* peer : house.peers) peer->start();
    auto fetches = house.fetch_all();
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 120s), verdicts(fetches));
    check_all_right(fetches);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("a scheduler that dies midway, or is killed and comes back, stops nobody") {
  for (auto seed : sim::seeds(8)) {
    CAPTURE(seed);
    House house(seed);
    house.cluster.start();
    auto fetches = house.fetch_all();
    house.cluster.run_for(house.moment());
    bool silent = house.random.chance(0.5), comes_back = house.random.chance(0.5);
    CAPTURE(silent);
    CAPTURE(comes_back);
    if (silent) {
      house.scheduler->power_off();
    } else {
      house.scheduler->kill();
    }
    if (comes_back) {
      house.cluster.run_for(house.random.up_to(3s));
      house.scheduler->start();
      house.cluster.start_scheduler(*house.scheduler);
    }
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 120s), verdicts(fetches));
    check_all_right(fetches);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("parents may crash: children go on with others or with the origin") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    House house(seed);
    house.cluster.start();
    auto fetches = house.fetch_all();
    std::set<sim::Peer*> dead;
    for (int i = 0; i < 3; ++i) {
      house.cluster.run_for(house.moment() / 2);
      auto* victim = i == 0 && house.random.chance(0.5) ? house.seed_peer
                                                        : house.peers[house.random.below(house.peers.size())];
      if (house.random.chance(0.5)) {
        victim->kill();
      } else {
        victim->power_off();
      }
      dead.insert(victim);
    }
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 120s), verdicts(fetches));
    for (auto& fetch : fetches) {
      if (!dead.contains(fetch->peer)) {
        CHECK_MESSAGE(fetch->right(), fetch->peer->host().name() << ": " << fetch->verdict());
      }
    }
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("a child whose only parent drops its copy midway goes on at once") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    sim::Cluster cluster(seed);
    auto& file = cluster.origin().serve("/model.bin", sim::random_bytes(kSize, seed));
    cluster.add_scheduler();
    auto peers = cluster.add_peers(2);
    cluster.start();
    auto first = peers[0]->fetch("/model.bin");
    REQUIRE(cluster.wait({first}, 60s));
    peers[0]->host().set_bandwidth(20'000'000, 0);  // 1.3 s for all of it
    auto second = peers[1]->fetch("/model.bin");
    cluster.run_for(400ms);
    const auto task = task_id({.url = cluster.origin().url("/model.bin")});
    REQUIRE(peers[0]->node()->store().remove(*task).ok());
    REQUIRE_MESSAGE(cluster.wait({second}, 60s), second->verdict());
    CHECK_MESSAGE(second->right(), second->verdict());
    CHECK(second->ended - second->began < 1500ms);
    CHECK(file.body_bytes < kSize * 2);
    CHECK(cluster.shut_down() == "");
  }
}

TEST_CASE("when a seed dies midway another one, or one of the peers, reads on within seconds") {
  for (bool another : {false, true}) {
    CAPTURE(another);
    House house(11, 6);
    if (another) house.cluster.add_seed();
    house.cluster.origin().host().set_bandwidth(20'000'000, 0);  // 1.3 s for all of it
    house.cluster.start();
    auto fetches = house.fetch_all();
    house.cluster.run_for(600ms);
    auto* reads = house.seed_peer;
    for (const auto& peer : house.cluster.peers()) {
      if (peer->config().seed_peer && peer->host().sent_bytes() > 1_MiB) reads = peer.get();
    }
    reads->kill();
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 120s), verdicts(fetches));
    check_all_right(fetches);
    for (const auto& fetch : fetches) CHECK_MESSAGE(fetch->ended - fetch->began < 8s, verdicts(fetches));
    CHECK(house.file->body_bytes < kSize * 2);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("a second seed gets what many download, and costs the origin nothing") {
  for (bool dies : {false, true}) {
    CAPTURE(dies);
    sim::Cluster cluster(17);
    auto& file = cluster.origin().serve("/model.bin", sim::random_bytes(kSize, 17));
    d7y::scheduler::SchedulerConfig config;
    config.hot_task = 6;
    cluster.add_scheduler(config);
    sim::Peer* first = nullptr;
    std::vector<sim::Peer*> seeds = {&cluster.add_seed(), &cluster.add_seed()};
    const auto peers = cluster.add_peers(8);
    cluster.origin().host().set_bandwidth(10'000'000, 0);  // 2.5 s for all of it
    cluster.start();
    auto fetches = cluster.fetch_everywhere(peers, "/model.bin");
    cluster.run_for(1500ms);
    if (dies) {
      first = *std::max_element(seeds.begin(), seeds.end(), [](sim::Peer* a, sim::Peer* b) {
        return a->host().sent_bytes() < b->host().sent_bytes();
      });
      first->kill();
    }
    REQUIRE_MESSAGE(cluster.wait(fetches, 120s), verdicts(fetches));
    check_all_right(fetches);
    // The second reads what it had not yet, half of it or more.
    CHECK_MESSAGE(file.body_bytes < kSize * (dies ? 1.8 : 1.02), verdicts(fetches));
    for (const auto& fetch : fetches) CHECK_MESSAGE(fetch->ended - fetch->began < 8s, verdicts(fetches));
    cluster.run_for(2s);
    file.faults.push_back({.status = 503, .count = sim::kAlways});
    for (auto* seed : seeds) {
      if (seed == first) continue;
      auto there = seed->fetch("/model.bin");
      REQUIRE(cluster.wait({there}, 60s));
      CHECK_MESSAGE(there->progress.from_local == kSize, verdicts({there}));
    }
    CHECK(cluster.shut_down() == "");
  }
}

TEST_CASE("a seed that downloads for itself beside others reads the origin for all, at once") {
  for (auto seed : sim::seeds(12)) {
    CAPTURE(seed);
    House house(seed, 3);
    house.cluster.start();
    auto fetches = house.fetch_all();
    house.cluster.run_for(house.random.up_to(4ms));
    fetches.push_back(house.seed_peer->fetch("/model.bin"));
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 60s), verdicts(fetches));
    check_all_right(fetches);
    CHECK_MESSAGE(house.file->body_bytes == kSize, verdicts(fetches));
    for (const auto& fetch : fetches) CHECK_MESSAGE(fetch->ended - fetch->began < 4s, verdicts(fetches));
  }
}

TEST_CASE("a crashed peer resumes what it had") {
  for (auto seed : sim::seeds(8)) {
    CAPTURE(seed);
    House house(seed, 3);
    house.cluster.start();
    // Slow enough that the crash comes in the middle.
    for (auto* peer : house.peers) peer->host().set_bandwidth(20'000'000, 20'000'000);
    auto fetches = house.fetch_all();
    house.cluster.run_for(200ms + house.moment());
    auto* victim = house.peers[0];
    bool power = house.random.chance(0.5);
    if (power) {
      victim->power_off();
    } else {
      victim->kill();
    }
    auto rest = std::vector(fetches.begin() + 1, fetches.end());
    REQUIRE_MESSAGE(house.cluster.wait(rest, 120s), verdicts(fetches));
    check_all_right(rest);
    victim->restart();
    auto again = victim->fetch("/model.bin");
    REQUIRE_MESSAGE(house.cluster.wait({again}, 120s), verdicts({again}));
    check_all_right({again});
    CHECK(house.cluster.origin().body_bytes() <= kSize * 1.02);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("an origin that breaks off, stalls, is busy or slow is read to the end") {
  for (auto seed : sim::seeds(8)) {
    CAPTURE(seed);
    House house(seed, 4);
    auto& faults = house.file->faults;
    faults.push_back({.status = 503, .retry_after = 1, .probability = 0.15, .count = 4});
    faults.push_back({.reset_after = house.random.below(8_MiB), .probability = 0.2, .count = 6});
    faults.push_back({.close_after = house.random.below(8_MiB), .probability = 0.2, .count = 3});
    faults.push_back({.stall_after = house.random.below(8_MiB), .probability = 0.1, .count = 1});
    house.cluster.start();
    auto fetches = house.fetch_all({.timeout = 300s});
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 310s), verdicts(fetches));
    check_none_wrong(fetches);
    auto right = std::count_if(fetches.begin(), fetches.end(), [](auto& fetch) { return fetch->right(); });
    CHECK_MESSAGE(right >= 3, verdicts(fetches));
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("an origin that thinks for long before each answer makes nobody else go there") {
  for (auto thinks : {5s, 12s, 20s, 28s}) {
    CAPTURE(thinks.count());
    House house(7, 6);
    house.file->faults.push_back({.delay = thinks, .method = "GET", .count = 1000});
    house.cluster.start();
    auto fetches = house.fetch_all();
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 110s), verdicts(fetches));
    check_all_right(fetches);
    // The seed asks for the beginning, then for all the rest, and is everybody's parent meanwhile.
    CHECK(house.file->body_bytes == kSize);
    for (const auto& fetch : fetches)
      CHECK_MESSAGE(fetch->ended - fetch->began < 2 * thinks + 2s, verdicts(fetches));
  }
}

TEST_CASE("what the origin refuses everybody is told, with its status") {
  for (int status : {403, 404}) {
    CAPTURE(status);
    House house(1, 3);
    house.file->faults.push_back({.status = status, .count = sim::kAlways});
    house.cluster.start();
    auto fetches = house.fetch_all();
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    for (auto& fetch : fetches) {
      REQUIRE(fetch->failure);
      CHECK_MESSAGE(fetch->failure->status() == status, fetch->failure->message());
      CHECK(fetch->ended - fetch->began < 60s);
    }
    check_none_wrong(fetches);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("a seed that makes a task's files before its origin answers keeps none that the origin refuses") {
  House house(1, 3);
  house.file->faults.push_back({.status = 404, .method = "GET", .count = sim::kAlways});
  house.cluster.start();
  auto fetches = house.fetch_all();
  REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
  for (auto& fetch : fetches) {
    REQUIRE(fetch->failure);
    CHECK_MESSAGE(fetch->failure->status() == 404, fetch->failure->message());
  }
  house.cluster.run_for(10s);
  CHECK(house.seed_peer->node()->store().list().empty());
  CHECK(house.cluster.shut_down() == "");
}

TEST_CASE("content that changes in mid-download is never mixed") {
  for (auto seed : sim::seeds(6)) {
    CAPTURE(seed);
    House house(seed, 4);
    house.file->rate = 10'000'000;
    house.cluster.start();
    auto old = house.file->content;
    auto fetches = house.fetch_all();
    house.cluster.run_for(house.random.up_to(2s));
    house.file->change(sim::random_bytes(kSize, seed + 1000), "\"v2\"");
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    for (auto& fetch : fetches) {
      auto got = fetch->peer->host().disk().content(fetch->output);
      if (fetch->ok()) {
        CHECK((got == *old || got == *house.file->content));
      } else {
        CHECK(got.empty());
      }
    }
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("a cluster cut in two ends right on both sides") {
  for (auto seed : sim::seeds(6)) {
    CAPTURE(seed);
    House house(seed);
    house.cluster.start();
    auto fetches = house.fetch_all();
    house.cluster.run_for(house.moment());
    // The origin is reachable by all, the scheduler and the seed only by one half.
    std::vector<sim::Host*> one{house.scheduler, &house.seed_peer->host()}, other;
    for (std::size_t i = 0; i < house.peers.size(); ++i)
      (i % 2 ? one : other).push_back(&house.peers[i]->host());
    house.cluster.sim().fabric().partition(one, other);
    if (house.random.chance(0.5)) {
      house.cluster.run_for(house.random.up_to(20s));
      house.cluster.sim().fabric().heal();
    }
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    check_all_right(fetches);
  }
}

TEST_CASE("a lying parent is found out, left, and the bytes are right") {
  for (auto seed : sim::seeds(6)) {
    CAPTURE(seed);
    House house(seed);
    auto& liar = house.cluster.add_peer({.name = "liar"});
    house.cluster.start();
    auto first = liar.fetch("/model.bin");
    REQUIRE(house.cluster.wait({first}, 60s));
    REQUIRE(first->right());
    liar.host().disk().rot("content", 1_MiB);
    if (house.random.chance(0.5)) house.seed_peer->kill();  // nobody else has it
    auto fetches = house.fetch_all();
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    check_all_right(fetches);
  }
}

TEST_CASE("a peer with a full disk fails alone and clearly") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    House house(seed, 4);
    auto& full = house.cluster.add_peer({.name = "full", .disk = {.capacity = 10_MiB}});
    house.cluster.start();
    auto fetches = house.fetch_all();
    auto doomed = full.fetch("/model.bin");
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    REQUIRE_MESSAGE(house.cluster.wait({doomed}, 130s), verdicts({doomed}));
    check_all_right(fetches);
    REQUIRE(doomed->failure);
    CHECK_MESSAGE(doomed->failure->code() == ErrorCode::kDiskFull, doomed->failure->message());
    CHECK(!full.host().disk().exists(doomed->output));
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("readers that hang up disturb nobody, and what they leave can be fetched again") {
  for (auto seed : sim::seeds(8)) {
    CAPTURE(seed);
    House house(seed);
    house.cluster.start();
    auto fetches = house.fetch_all();
    auto more = house.fetch_all();
    house.cluster.run_for(house.moment());
    for (auto* list : {&fetches, &more}) {
      for (auto& fetch : *list) {
        if (!fetch->over && house.random.chance(0.4)) fetch->peer->cancel(fetch);
      }
    }
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    REQUIRE_MESSAGE(house.cluster.wait(more, 130s), verdicts(more));
    for (auto* list : {&fetches, &more}) {
      for (auto& fetch : *list) {
        bool cancelled = fetch->failure && fetch->failure->code() == ErrorCode::kCancelled;
        if (!cancelled) CHECK_MESSAGE(fetch->right(), fetch->verdict());
        if (cancelled) CHECK(!fetch->peer->host().disk().exists(fetch->output));
      }
    }
    auto again = house.fetch_all();
    REQUIRE_MESSAGE(house.cluster.wait(again, 130s), verdicts(again));
    check_all_right(again);
    CHECK(house.cluster.shut_down() == "");
  }
}

TEST_CASE("whoever read to the last byte and went has a copy that others find") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    sim::Cluster cluster(seed);
    auto& file = cluster.origin().serve("/model.bin", sim::random_bytes(kSize, seed));
    cluster.add_scheduler();
    auto peers = cluster.add_peers(2);
    cluster.start();
    for (auto* peer : peers) {
      auto fetch = peer->fetch("/model.bin", {.read = true, .leave = true});
      REQUIRE_MESSAGE(cluster.wait({fetch}, 60s), verdicts({fetch}));
      CHECK_MESSAGE(fetch->right(), fetch->verdict());
    }
    CHECK(file.body_bytes == kSize);
    CHECK(cluster.shut_down() == "");
  }
}

TEST_CASE("content that is another by now goes round anew, and nobody is sent to a copy that is no more") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    sim::Cluster cluster(seed);
    auto& file = cluster.origin().serve("/model.bin", sim::random_bytes(kSize, seed));
    auto& machine = cluster.add_scheduler();
    auto peers = cluster.add_peers(3);
    for (auto* peer : peers) peer->config().backend.revalidate_after = 60s;
    cluster.start();
    const auto fetch_all = [&] {
      for (auto* peer : peers) {
        auto fetch = peer->fetch("/model.bin");
        REQUIRE_MESSAGE(cluster.wait({fetch}, 60s), verdicts({fetch}));
        CHECK_MESSAGE(fetch->right(), fetch->verdict());
      }
    };
    fetch_all();
    file.change(sim::random_bytes(kSize, seed + 1000), "\"v2\"");
    cluster.run_for(61s);
    const auto sent = file.body_bytes;
    fetch_all();
    CHECK(file.body_bytes - sent == kSize);

    // While the next version comes slowly, the copy before it is not counted any more.
    file.change(sim::random_bytes(kSize, seed + 2000), "\"v3\"");
    file.rate = kSize / 20;
    cluster.run_for(61s);
    auto slow = peers[0]->fetch("/model.bin");
    cluster.run_for(4s);
    CHECK_FALSE(slow->over);
    const auto& brain = cluster.scheduler(machine)->service().brain();
    int copies = 0;
    for (std::uint32_t at = 0; at < brain.peers().end(); ++at) {
      if (!brain.peers().live(at)) continue;
      const auto& peer = brain.peers().at(at);
      if (peer.state == d7y::scheduler::PeerState::kSucceeded) ++copies;
    }
    CHECK(copies == 2);
    REQUIRE_MESSAGE(cluster.wait({slow}, 100s), verdicts({slow}));
    CHECK_MESSAGE(slow->right(), slow->verdict());
    CHECK(cluster.shut_down() == "");
  }
}

TEST_CASE("a digest that is right passes, one that is wrong leaves nothing") {
  House house(1, 3);
  house.cluster.start();
  auto bad = house.peers[0]->fetch("/model.bin", {.digest = "sha256:" + std::string(64, '0')});
  REQUIRE_MESSAGE(house.cluster.wait({bad}, 130s), verdicts({bad}));
  REQUIRE(bad->failure);
  CHECK_MESSAGE(bad->failure->code() == ErrorCode::kCorrupt, bad->failure->message());
  CHECK(!house.peers[0]->host().disk().exists(bad->output));
}

TEST_CASE("ranges come from peers as well, and are exact") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    House house(seed, 4);
    house.cluster.start();
    std::vector<sim::FetchPtr> fetches;
    for (auto* peer : house.peers) {
      auto offset = house.random.below(kSize);
      auto length = 1 + house.random.below(kSize - offset);
      fetches.push_back(peer->fetch("/model.bin", {.range = {{offset, length}}}));
    }
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    check_all_right(fetches);
    CHECK(house.cluster.shut_down() == "");
  }
}

namespace {

struct Following {
  bool told = false, over = false;
};

// As an unmodified child does it, until it is gone.
Task<void> follow_pieces(sim::Host& host, Address parent, std::string task, Following& following,
                         Duration keepalive) {
  grpc::ChannelOptions options;
  options.keepalive = keepalive;
  grpc::Channel channel(host, parent, options);
  api::dfdaemon::SyncPiecesRequest request;
  request.set_host_id("child");
  request.set_task_id(std::move(task));
  for (std::uint32_t number = 0; number < 7; ++number) request.add_interested_piece_numbers(number);
  auto call = channel.server_stream<api::dfdaemon::SyncPiecesResponse>(api::method::upload::kSyncPieces,
                                                                       request, grpc::CallOptions());
  for (;;) {
    auto message = co_await call.read();
    following.over = !message || !*message;
    if (following.over) co_return;
    following.told = true;
  }
}

// The second peer follows what the first has of the file.
void begin_to_follow(House& house, Following& following, Duration keepalive = 5min) {
  house.cluster.start();
  auto& parent = *house.peers[0];
  auto& child = house.peers[1]->host();
  std::vector<sim::FetchPtr> fetches{parent.fetch("/model.bin", {.range = {{0, 1_MiB}}})};
  REQUIRE(house.cluster.wait(fetches, 60s));
  auto task = task_id({.url = house.cluster.origin().url("/model.bin")});
  REQUIRE(task.ok());
  const auto at = parent.host().address(parent.config().upload.server.port);
  child.spawn(follow_pieces(child, at, *task, following, keepalive));
  REQUIRE(house.cluster.sim().run_until([&] { return following.told; }, 10s));
}

}  // namespace

TEST_CASE("whoever calls a peer may ask every 10 s whether it is there") {
  House house(93, 2);
  Following following;
  begin_to_follow(house, following, 10s);
  house.cluster.run_for(3min);
  CHECK_FALSE(following.over);
}

namespace {

// What the daemon says when it is told that the child will come for the task.
Task<void> promise_child(sim::Host& host, Address parent, std::string task, std::optional<grpc::Code>& code) {
  grpc::Channel channel(host, parent);
  api::dealing::DealRequest request;
  request.set_host_id("child");
  request.set_task_id(std::move(task));
  auto calling = channel.unary<api::dealing::DealResponse>(api::method::dealing::kDeal, request);
  auto answer = co_await calling;
  code = answer ? grpc::Code::kOk : static_cast<grpc::Code>(answer.error().status());
}

}  // namespace

TEST_CASE("a daemon takes promises of children for what it has") {
  House house(94, 2);
  Following following;
  begin_to_follow(house, following);
  auto& parent = *house.peers[0];
  auto& child = house.peers[1]->host();
  const auto at = parent.host().address(parent.config().upload.server.port);
  auto task = task_id({.url = house.cluster.origin().url("/model.bin")});
  REQUIRE(task.ok());
  std::optional<grpc::Code> known, unknown;
  child.spawn(promise_child(child, at, *task, known));
  child.spawn(promise_child(child, at, std::string(64, '0'), unknown));
  REQUIRE(house.cluster.sim().run_until([&] { return known && unknown; }, 10s));
  CHECK(*known == grpc::Code::kOk);
  CHECK(*unknown == grpc::Code::kNotFound);
}

TEST_CASE("a child whose machine vanishes does not hold what it followed") {
  House house(91, 2);
  Following following;
  begin_to_follow(house, following);
  auto& parent = *house.peers[0];
  auto& child = *house.peers[1];
  house.cluster.run_for(5s);
  CHECK(parent.node()->store().stats().pinned == 1);
  child.power_off();
  house.cluster.run_for(40s);
  CHECK(parent.node()->store().stats().pinned == 0);
}

namespace {

struct Refused {
  bool over = false;
  TimePoint headers{}, end{};
  std::string message;
};

Task<void> ask_the_socket(sim::Host& host, std::string socket, std::string url, Refused& refused) {
  grpc::Channel channel(host, Address::unix_socket(socket));
  api::dfdaemon::DownloadTaskRequest request;
  request.mutable_download()->set_url(url);
  auto call = channel.server_stream<api::dfdaemon::DownloadTaskResponse>(api::method::download::kDownloadTask,
                                                                         request, grpc::CallOptions());
  auto began = co_await call.wait_headers();
  refused.headers = host.now();
  auto message = co_await call.read();
  refused.end = host.now();
  if (began.ok() && !message) refused.message = message.error().message();
  refused.over = true;
}

}  // namespace

TEST_CASE("an origin's refusal is all that the local socket answers: headers would say that it has begun") {
  House house(92, 1);
  house.file->faults.push_back({.status = 404, .count = sim::kAlways});
  house.cluster.start();
  auto& peer = *house.peers[0];
  Refused refused;
  peer.host().spawn(ask_the_socket(peer.host(), peer.config().download.socket_path,
                                   house.cluster.origin().url("/model.bin"), refused));
  REQUIRE(house.cluster.sim().run_until([&] { return refused.over; }, 60s));
  CHECK(refused.headers == refused.end);  // status and headers are one
  CHECK(refused.message.find("404") != std::string::npos);
  CHECK(house.cluster.shut_down() == "");
}

namespace {

// Schedulers and block lists as an operator writes them beside dfdaemon.yaml.
void write_dynconfig(sim::Peer& peer, const std::string& scheduler, std::string_view list) {
  auto& files = peer.host().files();
  REQUIRE(files.make_folders("/etc/dragonfly").ok());
  auto file = files.open("/etc/dragonfly/dynconfig.yaml", world::OpenMode::kCreate);
  REQUIRE(file.ok());
  auto text = fmt::format("scheduler: {{addrs: [\"{}\"]}}\n{}", scheduler, list);
  REQUIRE((*file)->resize(0).ok());
  REQUIRE((*file)->write_at(0, as_bytes(text)).ok());
}

}  // namespace

TEST_CASE("a blocked download is refused where a user asks for it, and not where a scheduler does") {
  House house(96, 2);
  const auto scheduler = house.peers[0]->config().scheduler.addrs.front();
  for (auto* peer : {house.peers[0], house.seed_peer}) {
    peer->config().scheduler.addrs.clear();
    write_dynconfig(*peer, scheduler,
                    "clientConfig: {blockList: {task: {download: {urls: [model]}}}}\n"
                    "seedClientConfig: {blockList: {task: {download: {urls: [model]}}}}\n");
  }
  house.cluster.start();
  for (auto* peer : {house.peers[0], house.seed_peer}) {
    auto blocked = peer->fetch("/model.bin");
    REQUIRE(house.cluster.wait({blocked}, 60s));
    REQUIRE(blocked->failure);
    CHECK(blocked->failure->code() == ErrorCode::kPermission);
  }
  CHECK(house.cluster.origin().requests() == 0);
  auto other = house.peers[1]->fetch("/model.bin");
  REQUIRE(house.cluster.wait({other}, 60s));
  check_all_right({other});
  CHECK(house.seed_peer->node()->store().stats().tasks == 1);
  // The file is read again each minute.
  write_dynconfig(*house.peers[0], scheduler, "");
  house.cluster.run_for(70s);
  auto allowed = house.peers[0]->fetch("/model.bin");
  REQUIRE(house.cluster.wait({allowed}, 60s));
  check_all_right({allowed});
  CHECK(house.cluster.shut_down() == "");
}

namespace {

// Asks for the file at `output` with a digest that it does not have.
Task<void> ask_in_vain(sim::Host& host, std::string socket, std::string url, std::string user_agent,
                       std::string output, std::optional<Error>& failure) {
  grpc::ChannelOptions options;
  options.user_agent = std::move(user_agent);
  grpc::Channel channel(host, Address::unix_socket(socket), options);
  api::dfdaemon::DownloadTaskRequest request;
  request.mutable_download()->set_url(url);
  request.mutable_download()->set_digest("sha256:" + std::string(64, '0'));
  request.mutable_download()->set_output_path(output);
  auto call = channel.server_stream<api::dfdaemon::DownloadTaskResponse>(api::method::download::kDownloadTask,
                                                                         request, grpc::CallOptions());
  while (!failure) {
    auto message = co_await call.read();
    REQUIRE((!message || *message));  // no good end
    if (!message) failure = std::move(message).error();
  }
}

}  // namespace

TEST_CASE("where a download fails that had begun, Dragonfly's commands find a file to remove, and say why") {
  House house(94, 1);
  house.cluster.start();
  auto& peer = *house.peers[0];
  const auto& socket = peer.config().download.socket_path;
  for (std::string user_agent : {"tonic/0.12.3", "d7y", "grpc-go/1.70"}) {
    CAPTURE(user_agent);
    const auto output = "/file-for-" + user_agent.substr(0, 3);
    std::optional<Error> failure;
    peer.host().spawn(ask_in_vain(peer.host(), socket, house.cluster.origin().url("/model.bin"), user_agent,
                                  output, failure));
    REQUIRE(house.cluster.sim().run_until([&] { return failure.has_value(); }, 60s));
    CHECK(failure->message().find("digest") != std::string::npos);
    CHECK(peer.host().disk().exists(output) == user_agent.starts_with("tonic"));
    CHECK(peer.host().disk().content(output).empty());
  }
  CHECK(house.cluster.shut_down() == "");
}

namespace {

struct Streamed {
  std::string bytes, whole_pieces;
  std::optional<TimePoint> first;
  TimePoint end{};
  std::size_t pieces = 0, told = 0, longest = 0;
  std::optional<Error> failure;
  bool over = false;
};

// Asks for the content as clients of ours do, or as Dragonfly's.
Task<void> stream_from_the_socket(sim::Host& host, std::string socket, api::common::Download wish, bool ours,
                                  Streamed& got) {
  grpc::Channel channel(host, Address::unix_socket(socket));
  api::dfdaemon::DownloadTaskRequest request;
  *request.mutable_download() = std::move(wish);
  request.mutable_download()->set_need_piece_content(true);
  grpc::CallOptions options;
  if (ours) options.metadata.add(node::kBytesKey, "1");
  auto call = channel.server_stream<api::dfdaemon::DownloadTaskResponse>(api::method::download::kDownloadTask,
                                                                         request, std::move(options));
  for (;;) {
    auto message = co_await call.read();
    if (!message) got.failure = std::move(message).error();
    if (got.failure || !*message) break;
    if ((*message)->has_download_task_started_response())
      got.told = static_cast<std::size_t>((*message)->download_task_started_response().pieces_size());
    if (!(*message)->has_download_piece_finished_response()) continue;
    const auto& piece = (*message)->download_piece_finished_response().piece();
    if (!piece.digest().empty()) ++got.pieces;
    if (!piece.content().empty() && !got.first) got.first = host.now();
    got.longest = std::max(got.longest, piece.content().size());
    (piece.digest().empty() ? got.bytes : got.whole_pieces) += piece.content();
  }
  got.end = host.now();
  got.over = true;
}

}  // namespace

TEST_CASE("a client of ours gets a download's bytes in order as they arrive, Dragonfly's whole pieces") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    House house(seed, 3);
    // A piece of 1 MiB takes a second and more.
    house.file->rate = 1'000'000;
    house.cluster.start();
    api::common::Download wish;
    wish.set_url(house.cluster.origin().url("/model.bin"));
    wish.set_piece_length(8_MiB);
    std::array<Streamed, 3> got;
    for (std::size_t i = 0; i < 3; ++i) {
      auto& peer = *house.peers[i];
      auto asked = wish;
      // The third wants a part that neither begins nor ends with a piece.
      if (i == 2) {
        asked.mutable_range()->set_start(100'000);
        asked.mutable_range()->set_length(1'500'000);
      }
      peer.host().spawn(
          stream_from_the_socket(peer.host(), peer.config().download.socket_path, asked, i != 1, got[i]));
    }
    REQUIRE(house.cluster.sim().run_until([&] { return got[0].over && got[1].over && got[2].over; }, 60s));
    for (auto& each : got) {
      REQUIRE_MESSAGE(!each.failure, each.failure->message());
      CHECK(each.pieces == each.told);
    }
    const auto& content = *house.file->content;
    CHECK(got[0].bytes == content);
    CHECK(got[2].bytes == content.substr(100'000, 1'500'000));
    CHECK(got[1].bytes.empty());
    CHECK(got[1].whole_pieces == content);
    CHECK(got[0].longest <= 256 << 10);
    CHECK(*got[1].first - *got[0].first > 1s);
    CHECK(house.cluster.shut_down() == "");
  }
}

namespace {

// What a Dragonfly child does that is configured for QUIC and was told no QUIC port.
Task<void> ask_the_grpc_port(sim::Host& host, Address parent, std::string task, std::string& got,
                             bool& over) {
  auto until = Deadline::in(10s, host.now());
  auto stream = co_await host.network().connect(parent, {}, until);
  REQUIRE(stream.ok());
  auto request = swarm::vortex::encode(swarm::vortex::PieceRequest{.task_id = task, .number = 1}, 'P');
  REQUIRE(request.ok());
  auto asked = co_await world::write_all(**stream, as_bytes(*request), until);
  REQUIRE(asked.ok());
  swarm::vortex::AnswerReader reader;
  std::optional<swarm::vortex::Answer> answer;
  std::byte next{};
  while (!answer) {
    auto read = co_await world::read_exactly(**stream, MutableBytes(&next, 1), until);
    REQUIRE(read.ok());
    auto step = reader.feed(Bytes(&next, 1));
    REQUIRE(step.ok());
    answer = std::move(step->answer);
  }
  REQUIRE(std::holds_alternative<swarm::vortex::PieceContent>(*answer));
  got.resize(reader.body_left());
  auto body = co_await world::read_exactly(**stream, as_mutable_bytes(got), until);
  REQUIRE(body.ok());
  over = true;
}

}  // namespace

TEST_CASE("a Dragonfly child that is set to QUIC gets its pieces over TCP, at the port where it asks gRPC") {
  House house(91, 2);
  house.cluster.start();
  auto fetches = house.fetch_all();
  REQUIRE(house.cluster.wait(fetches, 60s));
  check_all_right(fetches);

  auto& parent = *house.peers[0];
  auto& child = house.peers[1]->host();
  auto task = task_id({.url = house.cluster.origin().url("/model.bin")});
  REQUIRE(task.ok());
  std::string got;
  bool over = false;
  child.spawn(
      ask_the_grpc_port(child, parent.host().address(parent.node()->ports().upload), *task, got, over));
  REQUIRE(house.cluster.sim().run_until([&] { return over; }, 10s));
  CHECK(got == fetches[0]->expected->substr(4_MiB, 4_MiB));
  CHECK(house.cluster.shut_down() == "");
}

TEST_CASE("chaos: machines and links fail at random, bytes are never wrong and everything ends") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    House house(seed, 8, {.fabric = {.link = {.latency = 2ms, .jitter = 3ms, .loss = 0.002}}});
    house.cluster.start();
    auto fetches = house.fetch_all();
    auto& fabric = house.cluster.sim().fabric();
    for (int i = 0; i < 15; ++i) {
      house.cluster.run_for(house.random.up_to(400ms));
      auto& peer = *house.peers[house.random.below(house.peers.size())];
      switch (house.random.below(7)) {
        case 0: peer.kill(); break;
        case 1: peer.power_off(); break;
        case 2:
          if (!peer.host().running()) peer.restart();
          break;
        case 3: fabric.isolate(peer.host()); break;
        case 4: fabric.heal(); break;
        case 5: peer.host().burn(house.random.up_to(2s)); break;
        default:
          peer.host().disk().inject({.op = sim::FileOp::kWrite, .path = "content", .probability = 0.3});
          break;
      }
    }
    fabric.heal();
    REQUIRE_MESSAGE(house.cluster.wait(fetches, 130s), verdicts(fetches));
    check_none_wrong(fetches);
    // When all is well again, everybody gets it.
    for (auto* peer : house.peers) {
      peer->host().disk().clear_faults();
      if (!peer->host().running()) peer->restart();
    }
    house.cluster.run_for(5s);
    auto again = house.fetch_all();
    REQUIRE_MESSAGE(house.cluster.wait(again, 130s), verdicts(again));
    check_all_right(again);
    CHECK(house.cluster.shut_down() == "");
  }
}
TEST_CASE("a scheduler that dies does not stop what its seed reads") {
  House house(5, 4);
  house.file->rate = 3'000'000;
  house.cluster.start();
  auto fetches = house.fetch_all();
  house.cluster.run_for(1s);
  house.scheduler->kill();
  REQUIRE_MESSAGE(house.cluster.wait(fetches, 60s), verdicts(fetches));
  check_all_right(fetches);
  CHECK(house.file->body_bytes == kSize);
  for (const auto& fetch : fetches) CHECK_MESSAGE(fetch->ended - fetch->began < 5s, verdicts(fetches));
}

TEST_CASE("a scheduler that cannot be reached any more delays the first downloads only") {
  House house(5, 3);
  house.cluster.start();
  house.cluster.sim().fabric().isolate(*house.scheduler);
  for (auto* peer : {house.peers[0], house.peers[0], house.peers[1]}) {
    auto fetch = peer->fetch("/model.bin", {.piece_length = peer == house.peers[1] ? 8_MiB : 4_MiB});
    REQUIRE(house.cluster.wait({fetch}, 60s));
    CHECK(fetch->right());
  }
  house.cluster.run_for(10s);
  auto later = house.peers[0]->fetch("/model.bin", {.piece_length = 16_MiB});  // another task
  REQUIRE(house.cluster.wait({later}, 60s));
  CHECK(later->right());
  CHECK_MESSAGE(later->ended - later->began < 3s, verdicts({later}));
  house.cluster.sim().fabric().heal();
  house.cluster.run_for(6min);  // its connection is tried for as long
  auto healed = house.peers[0]->fetch("/model.bin", {.piece_length = 32_MiB});
  REQUIRE(house.cluster.wait({healed}, 60s));
  CHECK_MESSAGE(healed->progress.from_seeds == kSize, verdicts({healed}));
}

TEST_CASE("when a seed's machine vanishes one of its children reads the origin, for all") {
  House house(5, 5);
  house.file->rate = 3'000'000;
  house.cluster.start();
  auto fetches = house.fetch_all({.timeout = 600s});
  house.cluster.run_for(1s);
  house.seed_peer->power_off();
  REQUIRE_MESSAGE(house.cluster.wait(fetches, 300s), verdicts(fetches));
  check_all_right(fetches);
  CHECK_MESSAGE(house.file->body_bytes < kSize * 2, verdicts(fetches));  // half by the seed
  for (const auto& fetch : fetches) CHECK_MESSAGE(fetch->ended - fetch->began < 45s, verdicts(fetches));
}
