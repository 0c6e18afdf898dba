// Which unmodified child is told first of which piece.
#include <doctest/doctest.h>

#include <algorithm>

#include "swarm/piece_handout.h"

using namespace d7y;
using namespace d7y::swarm;
using namespace std::chrono_literals;

namespace {

using Pieces = std::vector<std::uint32_t>;

Pieces range(std::uint32_t from, std::uint32_t end) {
  Pieces pieces;
  for (auto piece = from; piece < end; ++piece) pieces.push_back(piece);
  return pieces;
}

store::Bitmap bits(const Pieces& pieces) {
  store::Bitmap map;
  for (const auto piece : pieces) map.set(piece);
  return map;
}

// A handout, the time, and what each child was told.
struct Game {
  PieceHandout handout{};
  TimePoint now{};
  std::map<PieceHandout::Child, Pieces> told{};

  PieceHandout::Child join(const Pieces& wanted) {
    const auto child = handout.join(bits(wanted), now);
    told[child];
    return child;
  }
  void here(const Pieces& pieces) {
    for (const auto piece : pieces) handout.here(piece);
  }
  // What a child is told by what happened.
  Pieces deal(PieceHandout::Child child) {
    std::map<PieceHandout::Child, Pieces> fresh;
    for (const auto& telling : handout.deal(now)) {
      auto& before = told[telling.child];
      CHECK(std::find(before.begin(), before.end(), telling.piece) == before.end());
      before.push_back(telling.piece);
      fresh[telling.child].push_back(telling.piece);
    }
    others = fresh;
    others.erase(child);
    return fresh[child];
  }
  std::map<PieceHandout::Child, Pieces> others{};  // what the others were told in the last deal()
  void upload(std::uint32_t piece) {
    handout.asked(piece, now);
    handout.ended(piece, true, now);
  }
  // All asked for before the first one ended.
  void upload_all(const Pieces& pieces) {
    for (const auto piece : pieces) handout.asked(piece, now);
    for (const auto piece : pieces) handout.ended(piece, true, now);
  }
};

// Two children, all of 100 pieces here, the first four told to each.
struct TwoChildren : Game {
  PieceHandout::Child a, b;
  explicit TwoChildren(std::uint32_t pieces = 100) {
    a = join(range(0, pieces));
    b = join(range(0, pieces));
    here(range(0, pieces));
    handout.complete(true);
    deal(a);
  }
};

}  // namespace

TEST_CASE("each piece is told to one child first, the lowest first, four ahead") {
  TwoChildren game;
  CHECK(game.told[game.a] == Pieces{0, 2, 4, 6});
  CHECK(game.told[game.b] == Pieces{1, 3, 5, 7});
  CHECK(game.deal(game.a).empty());
}

TEST_CASE("a child is told of the next piece when one was uploaded to it, and of none before") {
  TwoChildren game;
  game.handout.asked(2, game.now);
  game.handout.asked(4, game.now);
  game.handout.moved(2, game.now);
  CHECK(game.deal(game.a).empty());
  game.handout.ended(2, true, game.now);
  CHECK(game.deal(game.a) == Pieces{8});
  CHECK(game.others.empty());
  // One that broke is still the child's to ask for.
  game.handout.ended(4, false, game.now);
  CHECK(game.deal(game.a).empty());
  game.upload(6);
  CHECK(game.deal(game.a) == Pieces{9, 10});  // nothing was under way any more
  game.upload_all({8, 4});
  CHECK(game.deal(game.a) == Pieces{11, 12, 13});
}

TEST_CASE("a fast child gets more pieces than a slow one") {
  TwoChildren game;
  for (int i = 0; i < 40; ++i) {
    game.now += 100ms;
    game.handout.moved(1, game.now);
    const auto last = game.told[game.a].back();
    game.handout.asked(last, game.now);
    game.upload(game.told[game.a][game.told[game.a].size() - 4]);
    game.deal(game.a);
  }
  CHECK(game.told[game.a].size() == 44);
  CHECK(game.told[game.b].size() == 4);
}

TEST_CASE("a child is told of nothing that it did not ask for") {
  Game game;
  const auto a = game.join(range(5, 10));
  const auto b = game.join(range(0, 10));
  game.here(range(0, 10));
  game.handout.complete(true);
  CHECK(game.deal(a) == Pieces{5, 6, 7, 8});
  CHECK(game.told[b] == Pieces{0, 1, 2, 3});
  game.upload_all({0, 1, 2, 3});
  CHECK(game.deal(b) == Pieces{4, 9, 5, 6, 7, 8});  // and after the last one everything else
  CHECK(game.told[a] == Pieces{5, 6, 7, 8, 9});
}

TEST_CASE("a child that had nothing under way when an upload ended is told more ahead, up to 64") {
  TwoChildren game(2000);
  game.upload(0);
  CHECK(game.deal(game.a).size() == 2);
  // Not if another one is under way or waiting.
  game.handout.asked(4, game.now);
  game.upload(2);
  CHECK(game.deal(game.a).size() == 1);
  game.handout.ended(4, true, game.now);
  CHECK(game.deal(game.a).size() == 2);
  for (int i = 0; i < 200; ++i) {
    const auto& all = game.told[game.a];
    const auto ahead = static_cast<std::size_t>(std::min(i + 6, 64));
    REQUIRE(all.size() >= ahead);
    game.upload(all[all.size() - ahead]);
    CHECK(game.deal(game.a).size() == (i < 58 ? 2 : 1));
  }
}

TEST_CASE("a child that had nothing under way because nothing is here is not told more ahead") {
  Game game;
  const auto a = game.join(range(0, 100));
  game.join(range(4, 100));
  for (std::uint32_t piece = 0; piece < 4; ++piece) {
    game.here({piece});
    CHECK(game.deal(a) == Pieces{piece});
    game.upload(piece);
  }
  game.here(range(4, 100));
  CHECK(game.deal(a).size() == 4);
}

TEST_CASE("pieces are dealt as they come, and only those that are here") {
  Game game;
  const auto a = game.join(range(0, 10));
  const auto b = game.join(range(0, 10));
  CHECK(game.deal(a).empty());
  game.here({7});
  game.here({7});
  CHECK(game.deal(a) == Pieces{7});
  game.here({3, 2, 8, 9, 1});
  CHECK(game.deal(a) == Pieces{1, 3, 9});
  CHECK(game.told[b] == Pieces{2, 8});
  // All that is here was told to somebody; more will come, so nothing is told to all.
  CHECK(game.deal(b).empty());
  CHECK(!game.handout.done(a));
}

TEST_CASE("when every piece was told to somebody and all are here, everybody is told of everything") {
  TwoChildren game(10);
  CHECK(!game.handout.done(game.a));
  game.upload_all({0, 2});
  CHECK(game.deal(game.a) == Pieces{8, 9, 1, 3, 5, 7});
  CHECK(game.others[game.b] == Pieces{0, 2, 4, 6, 8, 9});
  CHECK(game.handout.done(game.a));
  CHECK(game.handout.done(game.b));
}

TEST_CASE("what was told to a child that left and was not uploaded comes first in line") {
  TwoChildren game;
  const auto c = game.join(range(0, 100));
  CHECK(game.deal(c) == Pieces{8, 9, 10, 11});
  game.upload(3);
  game.handout.leave(game.b, game.now);
  game.handout.asked(11, game.now);
  game.upload_all({8, 9, 10});
  CHECK(game.deal(c) == Pieces{1, 5, 7});
  game.upload_all({1});
  CHECK(game.deal(c) == Pieces{12});
  CHECK(game.others.empty());
}

TEST_CASE("a child that is the only one for two seconds is told of everything at once") {
  Game game;
  const auto a = game.join(range(0, 100));
  game.here(range(0, 50));
  CHECK(game.deal(a).size() == 4);
  CHECK(game.handout.next() == Deadline::at(game.now + 2s));
  game.now += 1999ms;
  CHECK(game.deal(a).empty());
  game.now += 1ms;
  CHECK(game.deal(a) == range(4, 50));
  CHECK(!game.handout.done(a));
  game.here(range(50, 60));
  CHECK(game.deal(a) == range(50, 60));
  // Now another comes: what nobody was told of is dealt, to the first when its uploads come to an end.
  const auto b = game.join(range(0, 100));
  game.here(range(60, 100));
  CHECK(game.deal(b) == Pieces{60, 61, 62, 63});
  CHECK(game.others.empty());
}

TEST_CASE("children that come within two seconds are dealt to") {
  Game game;
  const auto a = game.join(range(0, 100));
  game.here(range(0, 100));
  game.deal(a);
  game.now += 1900ms;
  const auto b = game.join(range(0, 100));
  CHECK(game.deal(b) == Pieces{4, 5, 6, 7});
  game.now += 1s;
  CHECK(game.deal(a).empty());
}

TEST_CASE("a child whose only fellow left is told of everything at once") {
  TwoChildren game;
  game.now += 10s;
  game.handout.moved(0, game.now);
  game.handout.moved(1, game.now);
  game.upload(1);
  game.handout.leave(game.b, game.now);
  auto fresh = game.deal(game.a);
  CHECK(fresh.size() == 96);
  CHECK(Pieces(fresh.begin(), fresh.begin() + 3) == Pieces{3, 5, 7});
  CHECK(game.told[game.a].size() == 100);  // with 1, which is with nobody else now
  CHECK(game.handout.done(game.a));
}

TEST_CASE("and so it is while pieces still come") {
  Game game;
  const auto a = game.join(range(0, 100));
  const auto b = game.join(range(0, 100));
  game.here(range(0, 8));
  game.deal(a);
  game.upload_all({1, 3});
  game.handout.leave(b, game.now);
  CHECK(game.deal(a) == Pieces{5, 7, 1, 3});
  game.here(range(8, 20));
  CHECK(game.deal(a) == range(8, 20));
  CHECK(!game.handout.done(a));
}

TEST_CASE("a child that takes nothing for five seconds does not keep its pieces from the others") {
  TwoChildren game;
  const auto c = game.join(range(0, 100));
  game.deal(c);
  for (const auto piece : {0U, 1U, 8U}) game.handout.asked(piece, game.now);
  game.now += 4s;
  game.handout.moved(0, game.now);
  game.handout.moved(8, game.now);
  game.upload_all({9, 10});
  CHECK(game.deal(c) == Pieces{12, 13});
  CHECK(game.handout.next() == Deadline::at(TimePoint{} + 5s));
  game.now += 1s;
  CHECK(game.deal(c).empty());
  game.upload_all({11, 12});
  CHECK(game.deal(c) == Pieces{1, 3});
  game.upload_all({2, 4});
  CHECK(game.deal(game.a) == Pieces{5, 7});
  CHECK(game.told[game.b].size() == 4);
}

TEST_CASE("a child whose uploads move keeps its pieces, however long they take") {
  TwoChildren game;
  for (int i = 0; i < 60; ++i) {
    game.now += 1s;
    game.handout.moved(0, game.now);
    game.handout.moved(1, game.now);
    CHECK(game.deal(game.a).empty());
    CHECK(game.others.empty());
  }
}

TEST_CASE("a child to whom nothing is dealt stands not still") {
  Game game;
  const auto a = game.join(range(0, 100));
  const auto b = game.join(range(0, 100));
  game.now += 1h;
  CHECK(game.handout.next().is_never());
  CHECK(game.deal(a).empty());
  game.here(range(0, 100));
  CHECK(game.deal(a) == Pieces{0, 2, 4, 6});
  CHECK(game.handout.next() == Deadline::at(game.now + 5s));
  game.now += 4s;
  CHECK(game.deal(b).empty());
}

TEST_CASE("that others are told to it does not make up for a piece that a child does not take") {
  Game game;
  const auto a = game.join(range(0, 100));
  game.join(range(50, 100));
  game.here({0});
  CHECK(game.deal(a) == Pieces{0});
  game.now += 3s;
  game.here({1, 2});
  CHECK(game.deal(a) == Pieces{1, 2});
  CHECK(game.handout.next() == Deadline::at(game.now + 2s));
}

TEST_CASE("a child that stood still and takes pieces again is dealt to again") {
  TwoChildren game;
  const auto c = game.join(range(0, 100));
  game.deal(c);
  game.now += 5s;
  game.handout.moved(0, game.now);
  game.handout.moved(8, game.now);
  game.deal(c);
  game.upload(8);
  CHECK(game.deal(c) == Pieces{1, 3});  // and is one more ahead
  game.handout.asked(7, game.now);
  game.upload(5);
  CHECK(game.deal(game.b) == Pieces{12, 13, 14});  // 7 is still its own
  game.upload_all({9, 10, 11, 1, 3});
  CHECK(game.deal(c) == range(15, 21));
}

TEST_CASE("one that stands still beside only one other: after two more seconds that is told of everything") {
  TwoChildren game;
  game.now += 5s;
  game.handout.moved(0, game.now);
  CHECK(game.deal(game.a).empty());
  CHECK(game.handout.next() == Deadline::at(game.now + 2s));
  game.now += 2s;
  game.handout.moved(0, game.now);
  CHECK(game.deal(game.a).size() == 96);
  CHECK(game.told[game.b].size() == 100);  // and so is the other, which may wake up
  CHECK(game.handout.done(game.b));
}

TEST_CASE("if all stood still for a moment it goes on as before") {
  TwoChildren game;
  game.now += 5s;
  CHECK(game.deal(game.a).empty());
  game.now += 1500ms;
  game.handout.moved(0, game.now);
  CHECK(game.deal(game.a).empty());
  game.now += 1s;
  game.handout.asked(4, game.now);
  game.upload_all({0, 2});
  CHECK(game.deal(game.a) == Pieces{1, 3});  // which nobody had taken
  game.handout.asked(5, game.now);
  game.upload(7);
  CHECK(game.deal(game.b) == Pieces{8, 9, 10});
  CHECK(game.others.empty());
}

TEST_CASE("a child that stands still does not put off the end, though it alone wants some of the pieces") {
  Game game;
  const auto a = game.join(range(0, 8));
  const auto b = game.join(range(0, 30));
  const auto c = game.join(range(0, 8));
  game.here(range(0, 30));
  game.handout.complete(true);
  CHECK(game.deal(a) == Pieces{0, 3, 6});
  CHECK(game.told[b] == Pieces{1, 4, 7, 8});
  game.now += 5s;
  game.upload_all({0, 3});
  game.upload_all({2, 5});
  CHECK(game.deal(a) == Pieces{1, 7, 2, 4, 5});
  CHECK(game.told[b].size() == 30);
  CHECK(game.told[c].size() == 8);
}

TEST_CASE("a child that was told of all it wants, and does not take it, is done") {
  Game game;
  const auto a = game.join({0, 1});
  const auto b = game.join(range(2, 100));
  game.here(range(0, 50));
  CHECK(game.deal(a) == Pieces{0, 1});
  game.now += 5s;
  game.handout.moved(2, game.now);
  CHECK(game.deal(b).empty());
  CHECK(game.handout.done(a));
  CHECK(!game.handout.done(b));
}

TEST_CASE("a child is not done while what it was told of is under way, and others would have to take it") {
  Game game;
  const auto a = game.join({0, 1});
  game.join(range(2, 20));
  game.here(range(0, 20));
  game.handout.complete(true);
  CHECK(game.deal(a) == Pieces{0, 1});
  CHECK(!game.handout.done(a));
  game.upload(0);
  CHECK(!game.handout.done(a));
  game.upload(1);
  CHECK(game.handout.done(a));
}

TEST_CASE("a piece that is not here after all is dealt when it comes") {
  TwoChildren game;
  game.handout.gone(game.a, 4);
  game.told[game.a].erase(game.told[game.a].begin() + 2);
  CHECK(game.deal(game.a) == Pieces{8});
  game.here({4});
  game.handout.asked(6, game.now);
  game.upload_all({0, 2});
  CHECK(game.deal(game.a) == Pieces{4, 9});
}

TEST_CASE("uploads of pieces that nobody was told of change nothing") {
  TwoChildren game;
  game.upload(50);
  game.handout.ended(51, true, game.now);
  game.handout.moved(52, game.now);
  CHECK(game.deal(game.a).empty());
  CHECK(game.others.empty());
}

TEST_CASE("those who stand in line are told of everything when dealing was over for a while, two at a time") {
  Game game;
  const auto all = range(0, 20);
  const auto one = game.join(all), two = game.join(all);
  std::vector<PieceHandout::Child> line;
  for (int i = 0; i < 5; ++i) line.push_back(game.handout.queue(bits(all), game.now));
  game.here(all);
  game.handout.complete(true);
  game.deal(one);
  for (std::uint32_t piece = 0; piece < 20; ++piece) {
    game.now += 400ms;
    game.upload(piece);
    game.deal(one);
  }
  CHECK(game.told[one].size() == 20);
  CHECK(game.told[two].size() == 20);
  const auto told = [&](int i) { return game.told[line[static_cast<std::size_t>(i)]].size(); };
  for (int i = 0; i < 5; ++i) {
    CHECK(told(i) == 0);
    CHECK(!game.handout.done(line[static_cast<std::size_t>(i)]));
  }
  // A second after the last upload; and a quarter of the time that it took to deal all, and 2 s, have passed.
  const auto turn = game.handout.next();
  REQUIRE(!turn.is_never());
  CHECK(turn.when() == game.now + 1s);
  game.now += 900ms;
  game.deal(one);
  CHECK(told(0) == 0);
  game.now = turn.when();
  game.deal(one);
  CHECK(told(0) == 20);
  CHECK(told(1) == 20);
  CHECK(told(2) == 0);
  CHECK(game.handout.done(line[0]));
  SUBCASE("the next when they have what they were told of") {
    game.handout.leave(line[0], game.now);
    game.handout.leave(line[1], game.now);
    game.handout.asked(3, game.now);
    game.now += 5s;
    game.deal(one);
    CHECK(told(2) == 0);
    game.handout.ended(3, true, game.now);
    game.now += 500ms;
    game.deal(one);
    CHECK(told(2) == 0);
    game.now += 500ms;
    game.deal(one);
    CHECK(told(2) == 20);
    CHECK(told(3) == 20);
    CHECK(told(4) == 0);
  }
  SUBCASE("or after a while, whoever is busy") {
    game.handout.asked(3, game.now);
    game.now += 9s;
    game.deal(one);
    CHECK(told(2) == 0);
    game.now += 1s;
    game.deal(one);
    CHECK(told(2) == 20);
  }
}

TEST_CASE("when all to whom pieces were dealt are gone, the line gets what is here and what comes") {
  Game game;
  const auto all = range(0, 20);
  const auto one = game.join(all), last = game.handout.queue(bits(all), game.now);
  game.here(range(0, 5));
  game.deal(one);
  game.now += 1s;
  game.handout.leave(one, game.now);
  game.deal(last);
  CHECK(game.told[last].empty());
  game.now += 3s;
  CHECK(game.deal(last) == range(0, 5));
  CHECK(!game.handout.done(last));
  game.here(range(5, 8));
  CHECK(game.deal(last) == range(5, 8));
}
