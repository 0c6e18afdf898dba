// Herds of unmodified clients: two trees.
#include "script.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

constexpr std::uint64_t kGigabit = 1'000'000'000;

void large(Registration& r) {
  r.content_length = std::int64_t{10} << 30;
  r.piece_length = 32 << 20;
  r.piece_count = 320;
}
void small(Registration& r) { r.piece_count = 25; }

// A cluster of so many hosts with a seed of ours that has everything.
struct Herd : Script {
  using Change = void (*)(Registration&);

  explicit Herd(int hosts_here = 100, Change seed_is = listens, Change content_is = large)
      : content(content_is) {
    host_with_uplink("seed", kGigabit, true);
    for (int i = 0; i < hosts_here; ++i) host_with_uplink("h" + std::to_string(i), kGigabit);
    auto made = registration("seed");
    made.peer_id = "seed";
    content(made);
    seed_is(made);
    made.need_back_to_source = true;
    const auto handle = brain.register_peer(made, now);
    REQUIRE(handle);
    names[*handle] = "seed";
    handles["seed"] = *handle;
    settle();
    source_started("seed");
    brain.back_to_source_finished(handles.at("seed"), now);
    settle();
    answers.clear();
  }
  void come(int from, int end) {
    for (int i = from; i < end; ++i) CHECK(add("h" + std::to_string(i), {}, content));
  }
  void all_start(int from, int end) {
    for (int i = from; i < end; ++i) started(peer_of(i));
  }
  // Who has `parent`, not counting those whom it tells later.
  int children(const std::string& parent) {
    int count = 0;
    for (const auto& [name, list] : answers) {
      for (const auto& answer : list) {
        if (answer.later && answer.dealer == parent) continue;
        count += static_cast<int>(has(answer.parents, parent));
      }
    }
    return count;
  }

  Change content;
};

// The trees that came of a herd, and how far everybody is from their roots.
struct Trees {
  Trees(Herd& herd, int size) {
    std::vector<std::string> left;
    for (int i = 0; i < size; ++i) {
      const auto answer = herd.last(peer_of(i));
      REQUIRE(answer.kind == "parents");
      if (answer.dealer == "seed" && !answer.later) {
        const auto tree = static_cast<int>(roots.size());
        roots.push_back(peer_of(i));
        tree_of[peer_of(i)] = tree;
        depth[tree][peer_of(i)] = 1;
        other[peer_of(i)] = answer.parents.at(1);
        own[peer_of(i)] = "seed";
      } else {
        own[peer_of(i)] = answer.parents.at(0);
        other[peer_of(i)] = answer.parents.at(1);
        left.push_back(peer_of(i));
      }
    }
    for (bool more = true; more;) {
      more = false;
      for (const auto& name : left) {
        const auto above = tree_of.find(own[name]);
        if (above == tree_of.end() || tree_of.contains(name)) continue;
        tree_of[name] = above->second;
        depth[above->second][name] = depth[above->second][own[name]] + 1;
        more = true;
      }
    }
    for (const auto& [name, parent] : other)
      depth[1 - tree_of[name]][name] = depth[tree_of[parent]][parent] + 1;
  }
  std::vector<std::string> roots;
  std::map<std::string, std::string> own, other;  // a peer's parents
  std::map<std::string, int> tree_of;             // of which it is an inner node
  std::map<std::string, int> depth[2];
};

}  // namespace

TEST_CASE("a herd of unmodified clients is laid in two trees") {
  for (const int size : {16, 48, 100, 250}) {
    CAPTURE(size);
    Herd herd(250);
    herd.come(0, size);
    CHECK(herd.count("parents") == 0);  // others may come
    herd.pass(200ms);
    CHECK(herd.count("parents") == size);
    Trees trees(herd, size);
    REQUIRE(trees.roots.size() == 2);
    CHECK(trees.tree_of.size() == static_cast<std::size_t>(size));
    CHECK(herd.children("seed") == 2);
    for (int i = 0; i < size; ++i) {
      const auto name = peer_of(i);
      const int tree = trees.tree_of[name];
      CHECK(herd.children(name) <= 2);
      // One parent for each half of the pieces, and nobody waits for one that waits for it.
      CHECK(trees.tree_of[trees.other[name]] == 1 - tree);
      CHECK(trees.other[trees.other[name]] != name);
      CHECK(trees.own[trees.other[name]] != name);
    }
  }
}

TEST_CASE("in two trees a client's parent in a piece's tree has it before its other parent") {
  Herd herd;
  herd.come(0, 100);
  herd.pass(200ms);
  Trees trees(herd, 100);
  int early = 0;
  for (int i = 0; i < 100; ++i) {
    const auto name = peer_of(i);
    const int tree = trees.tree_of[name];
    early += static_cast<int>(trees.depth[tree][trees.other[name]] < trees.depth[tree][name]);
    if (trees.own[name] != "seed")
      early += static_cast<int>(trees.depth[1 - tree][trees.own[name]] < trees.depth[1 - tree][name]);
  }
  // But for a few around the level where those change sides who would be each other's parents.
  CHECK(early <= 8);
  const auto deepest = std::max_element(trees.depth[0].begin(), trees.depth[0].end(),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
  CHECK(deepest->second <= 8);  // log2(50) + 2
}

TEST_CASE("a herd has gathered when nobody else comes, or after a while") {
  Herd herd;
  for (int i = 0; i < 100; ++i) {
    herd.come(i, i + 1);
    herd.pass(20ms);
  }
  // 1.5 s after the first one; the others came later.
  CHECK(herd.kind(peer_of(0)) == "parents");
  CHECK(herd.kind(peer_of(70)) == "parents");
  CHECK(herd.kind(peer_of(99)) == "");
  herd.pass(200ms);
  CHECK(herd.count("parents") == 100);
}

TEST_CASE("a herd goes on without those who leave while it gathers") {
  Herd herd;
  herd.come(0, 20);
  for (int i = 0; i < 3; ++i) herd.lost(peer_of(i));
  herd.pass(1200ms);
  CHECK(herd.count("parents") == 17);
}

TEST_CASE("one that is alone waits a moment and has the seed to itself") {
  Herd herd;
  herd.come(0, 1);
  CHECK(herd.kind(peer_of(0)) == "");
  herd.pass(160ms);
  const auto answer = herd.last(peer_of(0));
  CHECK(answer.parents == std::vector<std::string>{"seed"});
  CHECK(answer.dealer == "");
}

TEST_CASE("nobody waits for a herd where two trees do not pay") {
  SUBCASE("the content is short") {
    Herd herd(100, listens, small);
    herd.come(0, 2);
    CHECK(herd.count("parents") == 2);
  }
  SUBCASE("few hosts are there: a row is faster") {
    Herd herd(30);
    herd.come(0, 2);
    CHECK(herd.count("parents") == 2);
  }
  SUBCASE("the seed is not ours") {
    Herd herd(100, [](Registration&) {});
    herd.come(0, 2);
    CHECK(herd.count("parents") == 2);
  }
  SUBCASE("the seed does not know how to deal") {
    Herd herd;
    herd.brain.does_not_deal(herd.brain.find_host(herd.ids["seed"]), herd.now);
    herd.come(0, 2);
    CHECK(herd.count("parents") == 2);
    herd.pass(11min);
    herd.host_with_uplink("h2", kGigabit);
    herd.host_with_uplink("seed", kGigabit, true);
    herd.come(2, 3);
    CHECK(herd.kind(peer_of(2)) == "");
  }
}

TEST_CASE("those who come after a herd stand below it") {
  Herd herd;
  herd.come(0, 41);  // one is left over
  herd.pass(200ms);
  herd.all_start(0, 41);
  Trees trees(herd, 40);
  const auto odd = herd.last(peer_of(40)).parents;
  REQUIRE(odd.size() == 2);
  CHECK(has(odd, trees.roots[0]));
  CHECK(has(odd, trees.roots[1]));
  SUBCASE("one alone below the one that was left over, whose uplink is idle") {
    herd.come(41, 42);
    herd.pass(200ms);
    CHECK(herd.last(peer_of(41)).parents == std::vector<std::string>{peer_of(40)});
  }
  SUBCASE("another herd below the roots") {
    herd.come(41, 91);
    herd.pass(200ms);
    CHECK(herd.count("parents") == 91);
    CHECK(herd.children("seed") == 2);
    CHECK(herd.children(trees.roots[0]) == 3);
    CHECK(herd.children(trees.roots[1]) == 3);
  }
}

TEST_CASE("slow hosts and hosts of other sites do not stand in the two trees") {
  Herd herd(60);
  for (int i = 60; i < 70; ++i) herd.host_with_uplink("h" + std::to_string(i), kGigabit / 20);
  for (int i = 70; i < 80; ++i) herd.host("h" + std::to_string(i), false, "elsewhere");
  herd.come(0, 80);
  herd.pass(500ms);
  CHECK(herd.count("parents") == 80);
  Trees trees(herd, 60);
  CHECK(trees.tree_of.size() == 60);
  CHECK(herd.children("seed") == 2);
}

TEST_CASE("those near the roots have the seed as a third parent, which tells them later") {
  Herd herd;
  herd.come(0, 100);
  herd.pass(200ms);
  int later = 0;
  for (int i = 0; i < 100; ++i) {
    const auto answer = herd.last(peer_of(i));
    later += static_cast<int>(answer.later);
    CHECK(answer.parents.size() == (answer.later ? 3 : 2));
  }
  CHECK(later == 2 * 31);
  // They cost the seed next to nothing, and those to whom it deals all of what it has for children.
  CHECK(herd.record("seed").children_units == 12 * 24 + later);
}

TEST_CASE("one of two trees that lost its parents gets another one, and the seed later") {
  Herd herd;
  herd.come(0, 100);
  herd.pass(200ms);
  herd.all_start(0, 100);
  Trees trees(herd, 100);
  const auto name = peer_of(99);
  for (int i = 0; i < 99; ++i) herd.piece(peer_of(i), 1, trees.own[peer_of(i)]);
  herd.lost(trees.own[name]);
  herd.lost(trees.other[name]);
  herd.answers.clear();
  herd.reschedule(name);
  const auto answer = herd.last(name);
  REQUIRE(answer.kind == "parents");
  CHECK(answer.parents.size() == 2);
  CHECK(has(answer.parents, "seed"));
  CHECK(answer.later);
}
