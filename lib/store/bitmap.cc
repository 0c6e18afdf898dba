#include "store/bitmap.h"

#include <algorithm>
#include <bit>

namespace d7y::store {

bool Bitmap::set(std::uint32_t bit) {
  if (test(bit)) return false;
  if (bit / 64 >= words_.size()) words_.resize(bit / 64 + 1);
  words_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  ++count_;
  return true;
}

bool Bitmap::clear(std::uint32_t bit) {
  if (!test(bit)) return false;
  words_[bit / 64] &= ~(std::uint64_t{1} << (bit % 64));
  --count_;
  return true;
}

void Bitmap::clear_all() {
  words_.clear();
  count_ = 0;
}

namespace {

// The first bit in [from, end) that is set in `flip` ^ words; bits behind the last word are clear.
std::optional<std::uint32_t> scan(const std::vector<std::uint64_t>& words, std::uint32_t from,
                                  std::uint32_t end, std::uint64_t flip) {
  for (std::uint64_t bit = from; bit < end; bit = (bit / 64 + 1) * 64) {
    auto index = bit / 64;
    std::uint64_t word = (index < words.size() ? words[index] : 0) ^ flip;
    word &= ~std::uint64_t{0} << (bit % 64);
    if (word == 0) continue;
    auto found = index * 64 + static_cast<unsigned>(std::countr_zero(word));
    if (found >= end) return std::nullopt;
    return static_cast<std::uint32_t>(found);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint32_t> Bitmap::first_clear(std::uint32_t from, std::uint32_t end) const {
  return scan(words_, from, end, ~std::uint64_t{0});
}

std::optional<std::uint32_t> Bitmap::first_set(std::uint32_t from, std::uint32_t end) const {
  return scan(words_, from, std::min<std::uint64_t>(end, words_.size() * 64), 0);
}

}  // namespace d7y::store
