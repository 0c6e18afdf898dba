// A parent that lies: its vortex answers are read and written anew with something else in them.
//
//   fabric.rewrite(host, 4005, [&] { return liar(seed, 0.2); });
//
// What it tells is well formed most of the time and wrong: other lengths, numbers, offsets, digests and
// versions, pieces that it does not have, bits flipped in bytes, packets left out, told twice, or silence.
#pragma once

#include <cstdint>

#include "sim/fabric.h"

namespace d7y::sim {

// For one connection. About `share` of its packets, and one in 16 MiB / `share` bytes of content, are lies.
Fabric::Rewrite liar(std::uint64_t seed, double share);
// Keeps to the protocol and to what it says: the first byte of each piece is another, and the piece's sum is
// that of the bytes sent. Only the digest of the whole content shows it.
Fabric::Rewrite consistent_liar();
// Gives other bytes as well, and no sum of its pieces.
Fabric::Rewrite silent_liar();
// Flips bits: about one in `one_in` bytes, whatever is said.
Fabric::Rewrite bit_flipper(std::uint64_t seed, std::uint64_t one_in);

}  // namespace d7y::sim
