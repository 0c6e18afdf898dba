#include "base/piece.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace d7y {

std::uint64_t automatic_piece_length(std::uint64_t content_length) {
  const std::uint64_t share = content_length / kWantedPieceCount;
  if (share <= kMinPieceLength) return kMinPieceLength;
  if (share >= kMaxPieceLength) return kMaxPieceLength;
  return std::bit_ceil(share);
}

Result<void> PieceGeometry::check(std::uint64_t content_length, std::uint64_t piece_length) {
  if (piece_length == 0) return error(ErrorCode::kInvalid, "the length of pieces must not be 0");
  if ((content_length - 1) / piece_length >= std::numeric_limits<std::uint32_t>::max() &&
      content_length != 0) {
    return error(ErrorCode::kTooLarge, "content of {} bytes in pieces of {} bytes has more than 2^32 pieces",
                 content_length, piece_length);
  }
  return {};
}

std::uint64_t PieceGeometry::length(std::uint32_t number) const {
  const std::uint64_t start = offset(number);
  return start >= content_length_ ? 0 : std::min(piece_length_, content_length_ - start);
}

Result<PieceSpan> PieceGeometry::covering(std::uint64_t start, std::uint64_t length) const {
  if (length == 0) return error(ErrorCode::kInvalid, "the range is empty");
  if (start >= content_length_) {
    return error(ErrorCode::kInvalid, "the range starts at byte {}, the content has {} bytes", start,
                 content_length_);
  }
  const std::uint64_t last = start + std::min(length, content_length_ - start) - 1;
  return PieceSpan{at(start), at(last) + 1};
}

}  // namespace d7y
