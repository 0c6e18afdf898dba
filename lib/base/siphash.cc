#include "base/siphash.h"

#include <bit>

namespace d7y {
namespace {

struct State {
  std::uint64_t v0, v1, v2, v3;
  void rounds(int count) {
    while (count-- > 0) {
      v0 += v1;
      v2 += v3;
      v1 = std::rotl(v1, 13) ^ v0;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 = std::rotl(v0, 32);
      v2 += v1;
      v0 += v3;
      v1 = std::rotl(v1, 17) ^ v2;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 = std::rotl(v2, 32);
    }
  }
  void absorb(std::uint64_t word) {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  }
};

}  // namespace

std::uint64_t siphash24(Bytes bytes, std::uint64_t key0, std::uint64_t key1) {
  // The four constants spell "somepseudorandomlygeneratedbytes".
  State state{key0 ^ 0x736f6d6570736575, key1 ^ 0x646f72616e646f6d, key0 ^ 0x6c7967656e657261,
              key1 ^ 0x7465646279746573};
  // Little-endian, as is every machine that we run on.
  static_assert(std::endian::native == std::endian::little);
  const auto word_at = [&](std::size_t at, std::size_t count) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, count);
    return word;
  };
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) state.absorb(word_at(at, 8));
  state.absorb(word_at(at, bytes.size() - at) | static_cast<std::uint64_t>(bytes.size()) << 56);
  state.v2 ^= 0xff;
  state.rounds(4);
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace d7y
