#include "sim/rng.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace d7y::sim {

Random::Random(std::uint64_t seed) {
  for (auto& word : state_) word = seed = mix(seed);
}

std::uint64_t Random::next() {
  auto result = std::rotl(state_[1] * 5, 7) * 9;
  auto t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

std::uint64_t Random::below(std::uint64_t bound) { return bound == 0 ? 0 : next() % bound; }

bool Random::chance(double probability) {
  if (probability <= 0) return false;
  return static_cast<double>(next() >> 11) * 0x1p-53 < probability;
}

void fill_random(std::uint64_t seed, std::uint64_t offset, MutableBytes out) {
  auto base = mix(seed);
  auto word_at = [base](std::uint64_t index) { return mix(base + index * 0x2545f4914f6cdd1dULL); };
  std::size_t done = 0;
  while (done < out.size()) {
    auto at = offset + done;
    auto word = word_at(at / 8);
    auto skip = at % 8;
    auto count = std::min<std::size_t>(8 - skip, out.size() - done);
    std::byte bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(word >> (8 * i));
    std::memcpy(out.data() + done, bytes + skip, count);
    done += count;
  }
}

std::string random_bytes(std::uint64_t size, std::uint64_t seed) {
  std::string bytes(size, '\0');
  fill_random(seed, 0, as_mutable_bytes(bytes));
  return bytes;
}

std::vector<std::uint64_t> seeds(std::uint64_t count) {
  if (const char* one = std::getenv("D7Y_SIM_SEED")) return {std::strtoull(one, nullptr, 10)};
  if (const char* many = std::getenv("D7Y_SIM_SEEDS")) count = std::strtoull(many, nullptr, 10);
  std::vector<std::uint64_t> all(count);
  for (std::uint64_t i = 0; i < count; ++i) all[i] = i + 1;
  return all;
}

}  // namespace d7y::sim
