// Which pieces are there: one bit each, growing as needed, with a count kept beside.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace d7y::store {

class Bitmap {
 public:
  bool test(std::uint32_t bit) const {
    return bit / 64 < words_.size() && (words_[bit / 64] >> (bit % 64) & 1) != 0;
  }
  // Both say whether the bit changed.
  bool set(std::uint32_t bit);
  bool clear(std::uint32_t bit);
  void clear_all();

  std::uint32_t count() const { return count_; }
  // The first clear bit in [from, end); none if all are set.
  std::optional<std::uint32_t> first_clear(std::uint32_t from, std::uint32_t end) const;
  // The first set bit in [from, end).
  std::optional<std::uint32_t> first_set(std::uint32_t from, std::uint32_t end) const;
  // True if all bits of [from, end) are set; true for an empty range.
  bool all(std::uint32_t from, std::uint32_t end) const { return !first_clear(from, end); }

  const std::vector<std::uint64_t>& words() const { return words_; }  // bit i is words()[i / 64] >> i % 64

 private:
  std::vector<std::uint64_t> words_;
  std::uint32_t count_ = 0;
};

}  // namespace d7y::store
