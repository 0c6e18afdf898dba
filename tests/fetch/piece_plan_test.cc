#include "fetch/piece_plan.h"

#include <doctest/doctest.h>

#include <set>

using d7y::fetch::PiecePlan;
using d7y::store::Bitmap;

namespace {
Bitmap bits(std::initializer_list<std::uint32_t> list) {
  Bitmap map;
  for (auto bit : list) map.set(bit);
  return map;
}
Bitmap all(std::uint32_t n) {
  Bitmap map;
  for (std::uint32_t i = 0; i < n; ++i) map.set(i);
  return map;
}
}  // namespace

TEST_CASE("the rarest piece of a parent goes first, and ties are spread by chance") {
  PiecePlan plan;
  plan.begin(8, bits({0}));
  plan.want({0, 8});
  CHECK(plan.missing() == 7);
  std::vector<std::uint16_t> copies{1, 3, 3, 1, 3, 1, 3, 3};
  CHECK(plan.pick(bits({1, 2, 3}), copies, 0) == 3);
  std::set<std::uint32_t> seen;
  for (std::uint64_t random = 0; random < 8; ++random) seen.insert(*plan.pick(all(8), copies, random));
  CHECK(seen == std::set<std::uint32_t>{3, 5});
  CHECK(!plan.pick(bits({0}), copies, 0));
}

TEST_CASE("what a reader needs next goes before everything") {
  PiecePlan plan;
  plan.begin(100, {});
  auto id = plan.want({0, 100});
  plan.want({50, 60});
  plan.reading(id, 20);
  CHECK(plan.pick(all(100), {}, 77) == 20);
  plan.taken(20);
  CHECK(plan.pick(all(100), {}, 77) == 21);
  CHECK(plan.next_run(4, 8)->first == 21);
}

TEST_CASE("a parent that deals its pieces is asked for those of our share, for a reader, too") {
  PiecePlan plan;
  plan.begin(8, {});
  auto id = plan.want({0, 8});
  std::set<std::uint32_t> seen;
  for (std::uint64_t random = 0; random < 8; ++random) seen.insert(*plan.pick(all(8), {}, random, {1, 4}));
  CHECK(seen == std::set<std::uint32_t>{1, 4});
  CHECK(!plan.pick(bits({0, 2}), {}, 0, {1, 4}));
  CHECK(!plan.reader_waits());
  plan.reading(id, 2);
  CHECK(plan.reader_waits());
  CHECK(plan.pick(all(8), {}, 0, {1, 4}) == 4);
  CHECK(plan.pick(all(8), {}, 0) == 2);
  plan.taken(2);
  CHECK(!plan.reader_waits());
}

TEST_CASE("a piece that is taken, complete or unwanted is not open") {
  PiecePlan plan;
  plan.begin(4, {});
  auto id = plan.want({1, 4});
  CHECK(plan.open() == 3);
  plan.taken(1);
  CHECK(!plan.is_open(1));
  plan.released(1);
  CHECK(plan.is_open(1));
  plan.taken(1);
  plan.completed(1);
  CHECK(plan.missing() == 2);
  plan.lost(1);
  CHECK(plan.missing() == 3);
  auto other = plan.want({2, 3});
  plan.forget(id);
  CHECK(plan.missing() == 1);
  CHECK(plan.is_open(2));
  plan.forget(other);
  CHECK(plan.missing() == 0);
  CHECK(plan.open() == 0);
}

TEST_CASE("runs from the origin are consecutive, stop at what is taken, and get shorter") {
  PiecePlan plan;
  plan.begin(64, {});
  plan.want({0, 64});
  auto run = plan.next_run(2, 100);
  CHECK(run->first == 0);
  CHECK(run->end == 16);
  for (auto piece = run->first; piece < run->end; ++piece) plan.taken(piece);
  run = plan.next_run(2, 100);
  CHECK(run->first == 16);
  CHECK(run->end == 28);
  plan.taken(20);
  CHECK(plan.next_run(2, 100)->end == 20);
  CHECK(plan.next_run(2, 2)->end == 18);
}

TEST_CASE("runs are as long as is worth while, if that leaves as much to the other lanes") {
  PiecePlan plan;
  plan.begin(14, {});
  plan.want({0, 14});
  CHECK(plan.next_run(4, 100)->end == 1);
  CHECK(plan.next_run(4, 100, 3)->end == 3);
  CHECK(plan.next_run(4, 100, 50)->end == 4);
  CHECK(plan.next_run(4, 2, 50)->end == 2);
  CHECK(plan.next_run(1, 100, 3)->end == 14);
}

TEST_CASE("content that ends earlier than thought forgets the pieces behind its end") {
  PiecePlan plan;
  plan.begin(10, {});
  plan.want({0, 10});
  plan.taken(3);
  plan.shorten(4);
  CHECK(plan.missing() == 4);
  CHECK(plan.open() == 3);
}
