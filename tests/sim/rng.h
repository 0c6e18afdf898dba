// Seeded randomness of the simulator, and content to move around that needs no memory to check.
//
//   Random random(seed);
//   if (random.chance(0.01)) drop();
//   auto bytes = random_bytes(64_MiB, 7);          // the same for everyone who asks for seed 7
//   fill_random(7, offset, buffer);                // the same bytes from any offset on
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/deadline.h"

namespace d7y::sim {

// Spreads the bits of `x` (the finaliser of splitmix64).
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// xoshiro256**: the same sequence on every machine, unlike the standard's distributions.
class Random {
 public:
  explicit Random(std::uint64_t seed);
  std::uint64_t next();
  // Uniform in [0, bound); 0 for bound 0.
  std::uint64_t below(std::uint64_t bound);
  // Uniform in [low, high].
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  Duration up_to(Duration longest) {
    return Duration(static_cast<std::int64_t>(below(static_cast<std::uint64_t>(longest.count()) + 1)));
  }
  bool chance(double probability);

 private:
  std::uint64_t state_[4];
};

// The bytes [offset, offset + out.size()) of the endless random content `seed`.
void fill_random(std::uint64_t seed, std::uint64_t offset, MutableBytes out);
// The first `size` bytes of that content.
std::string random_bytes(std::uint64_t size, std::uint64_t seed = 1);

// The seeds a test runs with: 1..count; or only $D7Y_SIM_SEED; or 1..$D7Y_SIM_SEEDS.
std::vector<std::uint64_t> seeds(std::uint64_t count);

}  // namespace d7y::sim
