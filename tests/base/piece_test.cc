#include "base/piece.h"

#include <doctest/doctest.h>

#include "base/bytes.h"

using namespace d7y;

TEST_CASE("pieces get longer so that there are about 500 of them") {
  CHECK(automatic_piece_length(0) == 4_MiB);
  CHECK(automatic_piece_length(1) == 4_MiB);
  CHECK(automatic_piece_length(2'097'152'499) == 4_MiB);
  CHECK(automatic_piece_length(2'097'152'500) == 8_MiB);
  CHECK(automatic_piece_length((std::uint64_t{1} << 23) * 500 + 499) == 8_MiB);
  CHECK(automatic_piece_length((std::uint64_t{1} << 23) * 500 + 500) == 16_MiB);
  CHECK(automatic_piece_length(16'777'216'499) == 32_MiB);
  CHECK(automatic_piece_length(16'777'216'500) == 64_MiB);
  CHECK(automatic_piece_length(~std::uint64_t{0}) == 64_MiB);
  CHECK(PieceGeometry::automatic(1024_GiB).count() == 16384);
}

TEST_CASE("the last piece is the rest") {
  const PieceGeometry pieces(10 * 4_MiB + 1, 4_MiB);
  CHECK(pieces.count() == 11);
  CHECK(pieces.offset(10) == 40_MiB);
  CHECK(pieces.length(9) == 4_MiB);
  CHECK(pieces.length(10) == 1);
  CHECK(pieces.length(11) == 0);
  CHECK(PieceGeometry(8_MiB, 4_MiB).count() == 2);
  CHECK(PieceGeometry(0, 4_MiB).count() == 0);
  CHECK(PieceGeometry(1, 4_MiB).count() == 1);
}

TEST_CASE("a range wants every piece it touches") {
  const PieceGeometry pieces(10_MiB, 4_MiB);
  CHECK(*pieces.covering(0, 1) == PieceSpan{0, 1});
  CHECK(*pieces.covering(4_MiB - 1, 2) == PieceSpan{0, 2});
  CHECK(*pieces.covering(4_MiB, 4_MiB) == PieceSpan{1, 2});
  CHECK(*pieces.covering(9_MiB, 100_MiB) == PieceSpan{2, 3});
  CHECK(*pieces.covering(1, ~std::uint64_t{0}) == PieceSpan{0, 3});
  CHECK(pieces.covering(0, 0).failed_with(ErrorCode::kInvalid));
  CHECK(pieces.covering(10_MiB, 1).failed_with(ErrorCode::kInvalid));
  CHECK(pieces.all() == PieceSpan{0, 3});
}

TEST_CASE("geometry from strangers is checked before it is used") {
  CHECK(PieceGeometry::check(10, 0).failed_with(ErrorCode::kInvalid));
  CHECK(PieceGeometry::check(~std::uint64_t{0}, 1).failed_with(ErrorCode::kTooLarge));
  CHECK(PieceGeometry::check((std::uint64_t{1} << 32), 1).failed_with(ErrorCode::kTooLarge));
  CHECK(PieceGeometry::check((std::uint64_t{1} << 32) - 1, 1).ok());
  CHECK(PieceGeometry::check(0, 4_MiB).ok());
}
