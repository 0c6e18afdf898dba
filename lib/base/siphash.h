// SipHash-2-4 with 64 bits of output: short inputs from strangers in tables and rings.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace d7y {

std::uint64_t siphash24(Bytes bytes, std::uint64_t key0 = 0, std::uint64_t key1 = 0);

}  // namespace d7y
