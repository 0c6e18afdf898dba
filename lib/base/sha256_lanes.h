// SHA-256 of several contents at once, on processors that have instructions for it.
//
// Each of these instructions needs what the one before it gave, so one content leaves the processor waiting
// half of the time. Two in turn take 0.70 of the time that they take one after the other, three 0.58, and
// four no less (measured on an AMD EPYC 9005; hash.h has the face for it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace d7y {

constexpr std::size_t kSha256Lanes = 3;  // at most at once
constexpr std::size_t kSha256Block = 64;

// One content: its eight words so far, and where its next blocks lie.
struct Sha256Lane {
  std::uint32_t* words = nullptr;
  const std::byte* from = nullptr;
};

// This processor can do it.
bool has_sha256_lanes();
// Takes `blocks` blocks into each of the lanes, two or three of them. Only where has_sha256_lanes().
void sha256_blocks(std::span<const Sha256Lane> lanes, std::size_t blocks);

}  // namespace d7y
