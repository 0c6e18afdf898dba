#include "swarm/piece_share.h"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

using namespace d7y::swarm;

TEST_CASE("each piece belongs to exactly one child, and blocks of pieces are dealt evenly") {
  for (std::uint32_t count : {1u, 2u, 3u, 8u, 13u}) {
    for (std::uint32_t block = 0; block < 5; ++block) {
      std::vector<int> dealt(count, 0);
      for (std::uint32_t piece = block * count; piece < (block + 1) * count; ++piece) {
        int owners = 0;
        for (std::uint32_t index = 0; index < count; ++index) {
          if (!PieceShare{index, count}.contains(piece)) continue;
          ++owners;
          ++dealt[index];
        }
        CHECK(owners == 1);
      }
      for (int pieces : dealt) CHECK(pieces == 1);
    }
  }
}

TEST_CASE("pieces at equal distances go to different children") {
  for (std::uint32_t distance : {4u, 8u, 16u, 64u}) {
    CAPTURE(distance);
    std::vector<int> dealt(8, 0);
    for (std::uint32_t lane = 0; lane < 8; ++lane) {
      for (std::uint32_t index = 0; index < 8; ++index) {
        if (PieceShare{index, 8}.contains(lane * distance)) ++dealt[index];
      }
    }
    for (int pieces : dealt) CHECK(pieces <= 2);
  }
}

TEST_CASE("shares follow the children that come and go, and tasks do not mix") {
  Dealing dealing;
  int told = 0;
  auto seat = [&](const char* task) {
    return std::make_unique<Dealing::Seat>(dealing, task, [&told] { ++told; });
  };
  auto first = seat("a");
  CHECK(first->share() == PieceShare{0, 1});
  CHECK(told == 0);  // alone it has everything, as before
  auto other = seat("b");
  CHECK(told == 0);
  auto second = seat("a");
  CHECK(first->share() == PieceShare{0, 2});
  CHECK(second->share() == PieceShare{1, 2});
  CHECK(told == 2);
  first.reset();
  CHECK(second->share() == PieceShare{0, 1});
  CHECK(other->share() == PieceShare{0, 1});
  CHECK(told == 3);
}

TEST_CASE("all children of a task hear once which pieces some child was given, also those who come later") {
  Dealing dealing;
  int told = 0;
  auto seat = [&](const char* task) {
    return std::make_unique<Dealing::Seat>(dealing, task, [&told] { ++told; });
  };
  auto first = seat("a");
  auto other = seat("b");
  dealing.give("a", 7);
  dealing.give("a", 3);
  dealing.give("a", 7);
  dealing.give("nobody wants it", 1);
  CHECK(told == 2);
  CHECK(first->given_more());
  CHECK(first->given() == std::vector<std::uint32_t>{7, 3});
  CHECK_FALSE(first->given_more());
  CHECK_FALSE(other->given_more());
  auto second = seat("a");
  CHECK(second->given() == std::vector<std::uint32_t>{7, 3});
  // When nobody is left it is dealt out anew.
  first.reset();
  second.reset();
  CHECK_FALSE(seat("a")->given_more());
}
