// How content is cut into pieces. Every peer computes this by itself and nothing on the wire corrects a
// mismatch, so it must come out the same everywhere (Dragonfly client 2.1, 2.2).
//
//   PieceGeometry pieces(content_length, automatic_piece_length(content_length));
//   pieces.offset(3), pieces.length(3);
#pragma once

#include <cstdint>

#include "base/result.h"

namespace d7y {

inline constexpr std::uint64_t kMinPieceLength = std::uint64_t{4} << 20;   // bytes
inline constexpr std::uint64_t kMaxPieceLength = std::uint64_t{64} << 20;  // bytes
inline constexpr std::uint64_t kWantedPieceCount = 500;                    // a target, not a cap

// The length of pieces, in bytes, where the caller wished for none.
std::uint64_t automatic_piece_length(std::uint64_t content_length);

// The pieces [first, end) of some content.
struct PieceSpan {
  std::uint32_t first = 0;
  std::uint32_t end = 0;
  std::uint32_t count() const { return end - first; }
  bool contains(std::uint32_t number) const { return number >= first && number < end; }
  bool operator==(const PieceSpan&) const = default;
};

class PieceGeometry {
 public:
  PieceGeometry() = default;
  // Content of unknown length has no geometry yet; empty content has no pieces. `piece_length` > 0.
  // Check lengths from a network with check() first.
  PieceGeometry(std::uint64_t content_length, std::uint64_t piece_length)
      : content_length_(content_length), piece_length_(piece_length) {}
  static PieceGeometry automatic(std::uint64_t content_length) {
    return {content_length, automatic_piece_length(content_length)};
  }
  // kInvalid for a piece length of 0, kTooLarge where the number of pieces would not fit 32 bits.
  static Result<void> check(std::uint64_t content_length, std::uint64_t piece_length);

  std::uint64_t content_length() const { return content_length_; }
  std::uint64_t piece_length() const { return piece_length_; }
  std::uint32_t count() const {
    return static_cast<std::uint32_t>(content_length_ / piece_length_ +
                                      (content_length_ % piece_length_ != 0));
  }
  std::uint64_t offset(std::uint32_t number) const { return number * piece_length_; }
  // The last piece is what remains; 0 for numbers beyond it.
  std::uint64_t length(std::uint32_t number) const;
  std::uint32_t at(std::uint64_t offset) const { return static_cast<std::uint32_t>(offset / piece_length_); }

  PieceSpan all() const { return {0, count()}; }
  // Whole pieces that overlap [start, start + length). An end past the content is trimmed; kInvalid for
  // length 0 and for a start at or beyond the content's end.
  Result<PieceSpan> covering(std::uint64_t start, std::uint64_t length) const;

  bool operator==(const PieceGeometry&) const = default;

 private:
  std::uint64_t content_length_ = 0;
  std::uint64_t piece_length_ = kMinPieceLength;
};

}  // namespace d7y
