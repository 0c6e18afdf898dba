// How long to wait before trying again: exponential with full jitter, so that a herd that failed
// together does not return together. Pure: randomness comes in.
#pragma once

#include <cstdint>

#include "base/deadline.h"

namespace d7y {

class Backoff {
 public:
  // The k-th wait is uniform in [first/2, first] * 2^k, capped at `longest`.
  Backoff(Duration first, Duration longest) : first_(first), longest_(longest) {}

  // The next wait; `random` is any uniformly random number.
  Duration next(std::uint64_t random);
  void reset() { tries_ = 0; }
  // How often next() was called since the last reset.
  unsigned tries() const { return tries_; }

 private:
  Duration first_, longest_;
  unsigned tries_ = 0;
};

}  // namespace d7y
