// Whom those who listen and those who do not have around them: meshes, trees, sites, offers.
#include "scheduler/brain.h"

#include <algorithm>
#include <functional>

#include "script.h"

using namespace d7y;
using namespace d7y::scheduler;

TEST_CASE("those who are answered together become each other's parents") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 4);
  for (int i = 0; i < 4; ++i) s.add("h" + std::to_string(i), {}, listens);
  s.add("seed", "seed-p", [](Registration& r) { r.need_back_to_source = true; });
  s.source_started("seed-p");
  for (int i = 0; i < 4; ++i) {
    const auto parents = s.last(peer_of(i)).parents;
    CHECK(parents.size() == 4);
    CHECK(has(parents, "seed-p"));
  }
}

TEST_CASE("a herd of those who listen becomes a mesh of equals, and few of them have the seed") {
  Script s;
  s.host("seed", true);
  s.replica("seed");
  s.hosts("h", 200);
  for (int i = 0; i < 200; ++i) {
    s.add("h" + std::to_string(i), {}, listens);
    s.started(peer_of(i));
    s.pass(5ms);
  }
  s.pass(30s);
  std::map<PeerHandle, int> children;
  for (int i = 0; i < 200; ++i) {
    const auto& edges = s.record(peer_of(i)).progress->parents;
    CHECK(edges.size() >= 8);
    CHECK(edges.size() <= 12);
    // What it was told last is what is counted.
    CHECK(s.last(peer_of(i)).parents.size() == edges.size());
    for (const auto& edge : edges) ++children[edge.parent];
  }
  CHECK(children[s["seed-p"]] >= 8);
  CHECK(children[s["seed-p"]] <= 21);  // each takes a twentieth of it
  for (int i = 0; i < 200; ++i) {
    CHECK(children[s[peer_of(i)]] >= 5);
    CHECK(children[s[peer_of(i)]] <= 12);
  }
}

TEST_CASE("in a mesh the fast have the fast and the root, and the slow are left to none") {
  Script s;
  s.host("seed", true);
  s.replica("seed");
  const auto slow = [](int i) { return i % 3 == 2; };
  for (int i = 0; i < 150; ++i)
    s.host_with_uplink("h" + std::to_string(i), slow(i) ? 100'000'000 : 1'000'000'000);
  for (int i = 0; i < 150; ++i) {
    s.add("h" + std::to_string(i), {}, listens);
    s.started(peer_of(i));
    s.pass(5ms);
  }
  s.pass(30s);
  int fast_edges = 0, to_slow = 0, roots_of_slow = 0, roots = 0;
  for (int i = 0; i < 150; ++i) {
    const auto& edges = s.record(peer_of(i)).progress->parents;
    CHECK(edges.size() >= 6);
    for (const auto& edge : edges) {
      const bool root = edge.parent == s["seed-p"];
      roots += root;
      roots_of_slow += root && slow(i);
      if (root || slow(i)) continue;
      ++fast_edges;
      to_slow += s.brain.host(s.brain.peer(edge.parent)->host)->facts.max_tx_bandwidth < 1'000'000'000;
    }
  }
  CHECK(to_slow * 8 <= fast_edges);  // by chance it were a third
  CHECK(roots >= 10);
  CHECK(roots_of_slow * 4 <= roots);
  CHECK(s.brain.check(s.now) == "");
}

TEST_CASE("slow ones among themselves take the root") {
  Script s;
  s.host("seed", true);
  s.replica("seed");
  s.host_with_uplink("fast", std::uint64_t{1} << 60);  // says it, and never comes
  for (int i = 0; i < 30; ++i) s.host_with_uplink("h" + std::to_string(i), 1'000'000);
  for (int i = 0; i < 30; ++i) {
    s.add("h" + std::to_string(i), {}, listens);
    CHECK(s.kind(peer_of(i)) == "parents");
    s.started(peer_of(i));
    s.pass(5ms);
  }
  s.pass(10s);
  int roots = 0;
  for (int i = 0; i < 30; ++i) {
    for (const auto& edge : s.record(peer_of(i)).progress->parents) roots += edge.parent == s["seed-p"];
  }
  CHECK(roots >= 4);
}

TEST_CASE("neighbours of one that is lost get another, and the seed another child") {
  Script s;
  s.host("seed", true);
  s.replica("seed");
  s.hosts("h", 60);
  for (int i = 0; i < 60; ++i) {
    s.add("h" + std::to_string(i), {}, listens);
    s.started(peer_of(i));
    s.pass(5ms);
  }
  s.pass(30s);
  for (int i = 0; i < 12; ++i) s.lost(peer_of(i));
  s.pass(10s);
  int of_seed = 0;
  for (int i = 12; i < 60; ++i) {
    int there = 0;
    for (const auto& edge : s.record(peer_of(i)).progress->parents) {
      const auto* parent = s.brain.peer(edge.parent);
      there += parent != nullptr && parent->state == PeerState::kRunning;
      of_seed += edge.parent == s["seed-p"];
    }
    CHECK(there >= 7);
  }
  CHECK(of_seed >= 8);
}

TEST_CASE(
    "when the only reader of the origin is lost, one of those who get nothing any more takes its place") {
  Script s;
  s.hosts("h", 6);
  s.add("h0", {}, listens);
  s.source_started("h0-p");
  for (int i = 1; i < 6; ++i) {
    s.add("h" + std::to_string(i), {}, listens);
    s.started(peer_of(i));
  }
  for (int i = 1; i < 6; ++i) s.piece(peer_of(i), 0, "h0-p");
  s.piece("h3-p", 1, "h0-p");
  s.lost("h0-p");
  // They may have all of it together: as long as pieces come nobody is sent.
  for (int round = 0; round < 4; ++round) {
    s.pass(900ms);
    for (int i = 1; i < 6; ++i) s.piece(peer_of(i), 2 + round, peer_of(i % 5 + 1), 1ms);
    CHECK(s.count("source") == 1);
  }
  s.pass(4s);
  CHECK(s.count("source") == 2);
  CHECK(s.kind("h3-p") == "source");  // who has the most
  s.source_started("h3-p");
  s.pass(10s);
  CHECK(s.count("source") == 2);
  CHECK(s.brain.next_wakeup() > s.now);
}

TEST_CASE(
    "when a seed is lost, another one is asked once nobody gets anything, and those who wait hear of it") {
  Script s;
  s.host("s1", true);
  s.host("s2", true);
  s.hosts("h", 4);
  s.add("h0", {}, listens);
  REQUIRE(s.triggers.size() == 1);
  const auto first = s.triggers[0].first;
  const auto second = std::string(first == "s1" ? "s2" : "s1");
  const auto reads = [](Registration& r) { r.need_back_to_source = r.takes_offers = true; };
  s.add(first, {}, reads);
  for (int i = 1; i < 4; ++i) s.add("h" + std::to_string(i), {}, listens);
  for (int i = 0; i < 4; ++i) {
    s.started(peer_of(i));
    REQUIRE(has(s.last(peer_of(i)).parents, first + "-p"));
  }
  s.lost(first + "-p");
  s.brain.seed_ended(s.triggered_task, s.triggers[0].second, SeedOutcome::kUnreachable,
                     s.now);  // too late to matter
  s.brain.delete_host(s.ids[first], s.now);
  s.settle();
  CHECK(s.triggers.size() == 1);
  s.pass(4s);
  REQUIRE(s.triggers.size() == 2);
  CHECK(s.triggers[1].first == second);
  s.add(second, {}, reads);
  s.pass(2s);
  int told = 0;
  for (int i = 0; i < 4; ++i) told += has(s.last(peer_of(i)).parents, second + "-p");
  CHECK(told >= 2);
  CHECK(s.count("source") == 2);  // the seeds
}

TEST_CASE("whoever got few parents is offered more when they are there, if it listens") {
  for (const bool listening : {true, false}) {
    CAPTURE(listening);
    Script s;
    s.hosts("h", 6);
    s.add("h0");
    s.source_started("h0-p");
    s.add("h1", {}, listening ? listens : nullptr);
    s.started("h1-p");
    CHECK(s.last("h1-p").parents == std::vector<std::string>{"h0-p"});
    s.piece("h1-p", 0, "h0-p");
    for (int i = 2; i < 6; ++i) {
      s.add("h" + std::to_string(i));
      s.started(peer_of(i));
    }
    s.pass(10s);
    if (listening) {
      REQUIRE(s.answers["h1-p"].size() >= 2);
      CHECK(s.last("h1-p").parents.size() == 5);
      CHECK(has(s.last("h1-p").parents, "h0-p"));
      CHECK(s.record("h1-p").progress->parents[0].pieces == 1);
    } else {
      CHECK(s.answers["h1-p"].size() == 1);
    }
    CHECK(s.record("h1-p").progress->responses == 1);
  }
}

TEST_CASE("offers are few, and replace parents that are gone") {
  BrainOptions options;
  options.offers = 2;
  Script s(options);
  s.hosts("h", 12);
  s.replica("h0");
  s.add("h1", {}, [](Registration& r) { r.takes_offers = true; });
  s.started("h1-p");
  s.replica("h2");
  s.pass(200ms);
  CHECK(s.answers["h1-p"].size() == 1);
  CHECK(s.last("h1-p").parents.size() == 2);
  s.replica("h3");
  s.brain.delete_peer("h0-p", s.now);
  s.replica("h4");
  s.pass(600ms);
  const auto parents = s.last("h1-p").parents;
  CHECK(parents.size() == 3);
  CHECK_FALSE(has(parents, "h0-p"));
  for (int i = 5; i < 12; ++i) s.replica("h" + std::to_string(i));
  s.pass(60s);
  CHECK(s.answers["h1-p"].empty());  // two were enough
}

TEST_CASE("children stay in their site, and few edges cross between sites") {
  BrainOptions options;
  Script s(options);
  s.host("seed", true, "east");
  s.hosts("e", 20, "east");
  s.hosts("w", 20, "west");
  s.replica("seed");
  for (int i = 0; i < 20; ++i) {
    s.add("w" + std::to_string(i));
    s.started("w" + std::to_string(i) + "-p");
    s.add("e" + std::to_string(i));
    s.started("e" + std::to_string(i) + "-p");
  }
  int crossing = 0, in_west = 0;
  for (int i = 0; i < 20; ++i) {
    for (const auto& parent : s.last("w" + std::to_string(i) + "-p").parents) {
      crossing += parent[0] != 'w';
      in_west += parent[0] == 'w';
    }
    CHECK(s.kind("w" + std::to_string(i) + "-p") == "parents");
  }
  CHECK(crossing <= static_cast<int>(options.cross_site_budget));
  CHECK(in_west > crossing * 3);
}

TEST_CASE("a mesh takes more of other sites, though not without end") {
  BrainOptions options;
  Script s(options);
  s.host("seed", true, "east");
  s.hosts("e", 40, "east");
  s.hosts("w", 40, "west");
  s.replica("seed");
  for (int i = 0; i < 40; ++i) {
    for (const auto* site : {"w", "e"}) {
      const auto name = site + std::to_string(i);
      s.add(name, {}, listens);
      s.started(name + "-p");
      s.pass(5ms);
    }
  }
  s.pass(30s);
  std::uint32_t crossing = 0;
  for (int i = 0; i < 40; ++i) {
    for (const auto& edge : s.record("w" + std::to_string(i) + "-p").progress->parents)
      crossing += edge.cross_site;
  }
  CHECK(crossing > options.cross_site_budget);
  CHECK(crossing <= options.mesh_cross_site_budget);
}

TEST_CASE("depth is bounded among those who listen") {
  BrainOptions options;
  options.children_per_peer = 1;
  options.children_per_seed = 1;
  options.candidate_parents = 1;
  options.max_depth = 3;
  options.patience = 1h;
  Script s(options);
  s.hosts("h", 10);
  s.add("h0");
  s.source_started("h0-p");
  for (int i = 1; i < 10; ++i) {
    s.add("h" + std::to_string(i), {}, listens);
    if (s.kind(peer_of(i)) == "parents") s.started(peer_of(i));
    CHECK(s.record(peer_of(i)).depth <= 3);
  }
  CHECK(s.count("parents") == 3);
  CHECK(s.brain.waiting() == 6);
}

TEST_CASE("a herd of unmodified clients becomes a tree: one parent each, two children at most") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 200);
  s.replica("seed");
  s.answers.clear();
  std::map<std::string, int> children, depth;
  for (int i = 0; i < 200; ++i) {
    s.add("h" + std::to_string(i));
    const auto parents = s.last(peer_of(i)).parents;
    REQUIRE(parents.size() == 1);
    ++children[parents[0]];
    depth[peer_of(i)] = depth[parents[0]] + 1;
    s.started(peer_of(i));
  }
  CHECK(children["seed-p"] == 2);
  for (const auto& [name, count] : children) CHECK(count <= 2);
  for (const auto& [name, hops] : depth) CHECK(hops <= 7);
}

namespace {
using Children = std::map<std::string, std::vector<std::string>>;

// Who is whose parent, when so many hosts that are known ask one after the other for what the seed reads.
Children children_of_known(Script& s, int hosts) {
  s.add("seed", "seed-p", [](Registration& r) { r.need_back_to_source = true; });
  s.source_started("seed-p");
  Children children;
  for (int i = 0; i < hosts; ++i) {
    s.add("h" + std::to_string(i));
    s.pass(10ms);
    for (const auto& parent : s.last(peer_of(i)).parents) children[parent].push_back(peer_of(i));
    s.started(peer_of(i));
  }
  return children;
}

// The same of content with so many pieces, when nobody says how fast he is.
Children children_of(Script& s, int hosts, std::uint32_t pieces, const std::string& other_site = "") {
  s.pieces = pieces;
  s.host("seed", true);
  for (int i = 0; i < hosts; ++i) s.host("h" + std::to_string(i), false, i % 2 == 1 ? other_site : "");
  return children_of_known(s, hosts);
}

std::size_t most_of(const Children& children) {
  std::size_t most = 0;
  for (const auto& [name, list] : children) most = std::max(most, list.size());
  return most;
}
}  // namespace

TEST_CASE("in a small cluster unmodified clients stand in a row, as far as the content is worth it") {
  Script row, short_content, many, two_sites;
  const auto in_row = children_of(row, 20, 160);
  CHECK(in_row.size() == 20);
  CHECK(most_of(in_row) == 1);
  CHECK(most_of(children_of(short_content, 20, 159)) == 2);
  CHECK(most_of(children_of(many, 60, 320)) == 2);
  CHECK(most_of(children_of(two_sites, 20, 320, "elsewhere")) == 2);
}

TEST_CASE("below a mesh a tree begins once, and leaves the source to those who listen") {
  Script s;
  s.pieces = 320;
  s.host("seed", true);
  s.hosts("h", 8);
  s.hosts("w", 4);
  s.add("seed", "seed-p", [](Registration& r) { r.need_back_to_source = true; });
  s.source_started("seed-p");
  for (int i = 0; i < 8; ++i) {
    s.add("h" + std::to_string(i), {}, listens);
    s.pass(10ms);
    s.started(peer_of(i));
  }
  for (int i = 0; i < 4; ++i) {
    const auto name = "w" + std::to_string(i) + "-p";
    s.add("w" + std::to_string(i));
    s.pass(10ms);
    s.started(name);
    const auto parents = s.last(name).parents;
    CHECK_FALSE(has(parents, "seed-p"));
    if (i > 0) {
      CHECK(parents == std::vector<std::string>{"w" + std::to_string(i - 1) + "-p"});
    } else {
      CHECK(parents.size() == 4);
    }
  }
}

TEST_CASE("slow hosts stand behind each other, and hold up nobody in a row or a tree") {
  for (const int hosts : {20, 60, 300}) {
    for (const int slow : {10, 2, 1}) {  // how many fast ones to one
      CAPTURE(hosts);
      CAPTURE(slow);
      Script s;
      s.pieces = 320;
      const auto is_slow = [&](int i) { return i % (slow + 1) == 0; };
      s.host_with_uplink("seed", 1'000'000'000, true);
      for (int i = 0; i < hosts; ++i)
        s.host_with_uplink("h" + std::to_string(i), is_slow(i) ? 100'000'000 : 1'000'000'000);
      auto children = children_of_known(s, hosts);
      for (int i = 0; i < hosts; ++i) {
        CAPTURE(i);
        const auto parents = s.last(peer_of(i)).parents;
        REQUIRE(parents.size() == 1);
        int fast_ones = 0;
        for (const auto& child : children[peer_of(i)]) fast_ones += !is_slow(std::stoi(child.substr(1)));
        // Each serves as many of its own kind as in a swarm of these only.
        CHECK(fast_ones <= (is_slow(i) ? 0 : hosts == 20 ? 1 : 2));
        CHECK(children[peer_of(i)].size() <= (hosts == 20 ? 2 : 3));
      }
    }
  }
}

TEST_CASE("a seed with a fast uplink begins several rows, unless it does not know how fast it is") {
  const auto from_seed = [](std::uint64_t uplink, int hosts) {
    Script s;
    s.pieces = 320;
    s.host_with_uplink("seed", uplink, true);
    for (int i = 0; i < hosts; ++i) s.host_with_uplink("h" + std::to_string(i), 1'000'000'000);
    auto children = children_of_known(s, hosts);
    const auto count = children["seed-p"].size();
    children.erase("seed-p");
    CHECK(most_of(children) == (count == 2 ? 2 : 1));
    return count;
  };
  CHECK(from_seed(1'000'000'000, 32) == 1);
  CHECK(from_seed(1'000'000'000, 60) == 2);  // a tree
  CHECK(from_seed(10'000'000'000, 60) == 4);
  CHECK(from_seed(400'000'000'000, 32) == 1);
}

TEST_CASE("a fast orphan waits for no slow parent if there is another") {
  Script s;
  s.pieces = 320;
  s.host_with_uplink("seed", 1'000'000'000, true);
  for (int i = 0; i < 12; ++i)
    s.host_with_uplink("h" + std::to_string(i), i % 2 == 0 ? 100'000'000 : 1'000'000'000);
  const auto children = children_of_known(s, 12);
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 12; ++i) s.piece(peer_of(i), round, s.last(peer_of(i)).parents[0]);
  }
  const auto parent = s.last("h7-p").parents[0];
  CHECK(parent == "h5-p");
  s.lost(parent);
  s.reschedule("h7-p");
  s.pass(3s);
  REQUIRE(s.last("h7-p").parents.size() == 1);
  CHECK(std::stoi(s.last("h7-p").parents[0].substr(1)) % 2 == 1);
}

TEST_CASE("the next in the row goes to whoever fed the one that is lost") {
  Script s;
  auto children = children_of(s, 10, 320);
  for (int i = 0; i < 9; ++i) s.piece(peer_of(i), 0, i == 0 ? "seed-p" : peer_of(i - 1));
  s.lost(peer_of(4));
  s.reschedule(peer_of(5));
  s.pass(3s);
  CHECK(s.last(peer_of(5)).parents == std::vector<std::string>{peer_of(3)});
}

TEST_CASE("one that nobody reaches is given to a few unmodified clients only") {
  for (const bool behind_a_slow_origin : {false, true}) {
    CAPTURE(behind_a_slow_origin);
    Script s;
    children_of(s, 3, 320);
    for (int i = 0; i < 3 && !behind_a_slow_origin; ++i) {
      for (int piece = 0; piece < 20 - i; ++piece) s.piece(peer_of(i), piece, s.last(peer_of(i)).parents[0]);
    }
    s.hosts("w", 12);
    int sent_there = 0;
    for (int i = 0; i < 12; ++i) {
      const auto name = "w" + std::to_string(i) + "-p";
      s.add("w" + std::to_string(i));
      s.started(name);
      s.pass(1s);
      const auto parent = s.last(name).parents.at(0);
      if (parent == "h2-p") {
        ++sent_there;
        s.pass(3s);
        s.reschedule(name);
        s.pass(3s);
      }
      s.lost(name);
    }
    if (behind_a_slow_origin) CHECK(sent_there == 12);
    if (!behind_a_slow_origin) CHECK(sent_there <= 4);
  }
}

TEST_CASE("unmodified clients who lost their parents never wait for each other") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Script s({}, seed);
    children_of(s, 60, 320);
    std::map<std::string, std::vector<std::string>> parents;
    for (int i = 0; i < 60; ++i) parents[peer_of(i)] = s.last(peer_of(i)).parents;
    // Whatever each of them has, a tenth is lost, and all whose parents are among those ask at once.
    for (int i = 0; i < 60; ++i) {
      for (std::uint32_t piece = 0; piece < (i * 7 + seed) % 16; ++piece)
        s.piece(peer_of(i), piece, parents[peer_of(i)][0]);
    }
    for (int lost = 2; lost < 60; lost += 10) s.lost(peer_of(lost));
    for (int i = 0; i < 60; ++i) {
      if (i % 10 != 2 && !parents[peer_of(i)].empty() && parents[peer_of(i)][0].ends_with("2-p"))
        s.reschedule(peer_of(i));
    }
    s.pass(5s);
    for (int i = 0; i < 60; ++i) {
      if (!s.last(peer_of(i)).parents.empty()) parents[peer_of(i)] = s.last(peer_of(i)).parents;
    }
    const std::function<bool(const std::string&, const std::string&, int)> reaches =
        [&](const std::string& from, const std::string& to, int hops) {
          return hops > 0 &&
                 std::any_of(parents[from].begin(), parents[from].end(), [&](const std::string& parent) {
                   return parent == to || reaches(parent, to, hops - 1);
                 });
        };
    for (int i = 0; i < 60; ++i) CHECK_FALSE(reaches(peer_of(i), peer_of(i), 12));
  }
}

TEST_CASE("an orphan of the tree gets others who are ahead of it, and leaves a full seed alone") {
  Script s;
  s.host("seed", true);
  s.hosts("h", 20);
  s.replica("seed");
  s.answers.clear();
  for (int i = 0; i < 20; ++i) {
    s.add("h" + std::to_string(i));
    s.started(peer_of(i));
  }
  for (int i = 1; i < 20; ++i) s.piece(peer_of(i), 0, s.last(peer_of(i)).parents[0]);
  const auto child = [&](const std::string& parent) {
    for (int i = 0; i < 20; ++i) {
      if (has(s.last(peer_of(i)).parents, parent)) return i;
    }
    return -1;
  };
  const int middle = child("h1-p");
  REQUIRE(middle > 1);
  const int orphan = child(peer_of(middle));
  REQUIRE(orphan > middle);
  for (int i = 2; i < 8; ++i) {
    if (i != orphan) s.piece(peer_of(i), 1, s.last(peer_of(i)).parents[0]);
  }
  s.lost(peer_of(middle));
  s.reschedule(peer_of(orphan));
  s.pass(3s);
  const auto parents = s.last(peer_of(orphan)).parents;
  REQUIRE(!parents.empty());
  CHECK(parents.size() <= 4);
  CHECK_FALSE(has(parents, "seed-p"));
  CHECK_FALSE(has(parents, peer_of(middle)));
}

TEST_CASE("unmodified clients get several complete parents once there are enough") {
  Script s;
  s.hosts("h", 10);
  for (int i = 0; i < 9; ++i) s.replica("h" + std::to_string(i));
  s.add("h9");
  CHECK(s.last("h9-p").parents.size() == 4);
}
