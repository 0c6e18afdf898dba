#include "base/sha256_lanes.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace d7y {

#ifdef __x86_64__

namespace {

#define D7Y_SHA [[gnu::target("sha,sse4.1,ssse3")]]
#define D7Y_SHA_PART [[gnu::target("sha,sse4.1,ssse3"), gnu::always_inline]]

// FIPS 180-4, 4.2.2.
alignas(16) constexpr std::uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// A lane while it is worked on. The instructions want the words a to h as ABEF and CDGH, and four words of
// the message schedule at a time.
struct Work {
  __m128i abef, cdgh;
  __m128i schedule[4];
};

D7Y_SHA_PART inline void load(Work& work, const std::uint32_t* words) {
  auto badc = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)), 0xB1);
  auto hgfe = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words + 4)), 0x1B);
  work.abef = _mm_alignr_epi8(badc, hgfe, 8);
  work.cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
}

D7Y_SHA_PART inline void store(const Work& work, std::uint32_t* words) {
  auto feba = _mm_shuffle_epi32(work.abef, 0x1B);
  auto dchg = _mm_shuffle_epi32(work.cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(words), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(words + 4), _mm_alignr_epi8(dchg, feba, 8));
}

D7Y_SHA_PART inline void load_block(Work& work, const std::byte* from) {
  const auto big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    auto words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + i);
    work.schedule[i] = _mm_shuffle_epi8(words, big_endian);
  }
}

// Four rounds of each lane, with the words at kPlace of its schedule. kGoesOn: makes those of 16 rounds
// later.
template <int kLanes, int kPlace, bool kGoesOn>
D7Y_SHA_PART inline void four_rounds(Work (&work)[kLanes], const std::uint32_t* constants) {
  const auto added = _mm_load_si128(reinterpret_cast<const __m128i*>(constants));
#pragma GCC unroll 3
  for (auto& lane : work) {
    auto& now = lane.schedule[kPlace];
    auto words = _mm_add_epi32(now, added);
    lane.cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, words);
    lane.abef = _mm_sha256rnds2_epu32(lane.abef, lane.cdgh, _mm_shuffle_epi32(words, 0x0E));
    if constexpr (kGoesOn) {
      const auto& last = lane.schedule[(kPlace + 3) % 4];
      auto next = _mm_sha256msg1_epu32(now, lane.schedule[(kPlace + 1) % 4]);
      next = _mm_add_epi32(next, _mm_alignr_epi8(last, lane.schedule[(kPlace + 2) % 4], 4));
      now = _mm_sha256msg2_epu32(next, last);
    }
  }
}

template <int kLanes, bool kGoesOn>
D7Y_SHA_PART inline void sixteen_rounds(Work (&work)[kLanes], const std::uint32_t* constants) {
  four_rounds<kLanes, 0, kGoesOn>(work, constants);
  four_rounds<kLanes, 1, kGoesOn>(work, constants + 4);
  four_rounds<kLanes, 2, kGoesOn>(work, constants + 8);
  four_rounds<kLanes, 3, kGoesOn>(work, constants + 12);
}

template <int kLanes>
D7Y_SHA void take(const Sha256Lane* lanes, std::size_t blocks) {
  Work work[kLanes];
  __m128i abef[kLanes], cdgh[kLanes];
#pragma GCC unroll 3
  for (int i = 0; i < kLanes; ++i) load(work[i], lanes[i].words);
  for (std::size_t block = 0; block < blocks; ++block) {
#pragma GCC unroll 3
    for (int i = 0; i < kLanes; ++i) {
      abef[i] = work[i].abef;
      cdgh[i] = work[i].cdgh;
      load_block(work[i], lanes[i].from + block * kSha256Block);
    }
    sixteen_rounds<kLanes, true>(work, kRounds);
    sixteen_rounds<kLanes, true>(work, kRounds + 16);
    sixteen_rounds<kLanes, true>(work, kRounds + 32);
    sixteen_rounds<kLanes, false>(work, kRounds + 48);
#pragma GCC unroll 3
    for (int i = 0; i < kLanes; ++i) {
      work[i].abef = _mm_add_epi32(work[i].abef, abef[i]);
      work[i].cdgh = _mm_add_epi32(work[i].cdgh, cdgh[i]);
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kLanes; ++i) store(work[i], lanes[i].words);
}

#undef D7Y_SHA
#undef D7Y_SHA_PART

bool look() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSSE3) == 0 || (c & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

}  // namespace

bool has_sha256_lanes() {
  static const bool has = look();
  return has;
}

void sha256_blocks(std::span<const Sha256Lane> lanes, std::size_t blocks) {
  static_assert(kSha256Lanes == 3);
  if (lanes.size() == 2) {
    take<2>(lanes.data(), blocks);
  } else {
    take<3>(lanes.data(), blocks);
  }
}

#else

bool has_sha256_lanes() { return false; }
void sha256_blocks(std::span<const Sha256Lane>, std::size_t) {}

#endif

}  // namespace d7y
