// Fairness for bodies that never have to wait: after so many bytes in one turn of the loop, others run.
#pragma once

#include <cstdint>

#include "base/task.h"

namespace d7y::http::detail {

class Turn {
 public:
  // Counts bytes moved at `now`; true when it is time to yield().
  bool spent(std::uint64_t bytes, TimePoint now) {
    if (now != turn_) {
      turn_ = now;
      moved_ = 0;
    }
    moved_ += bytes;
    if (moved_ < kBytesPerTurn) return false;
    moved_ = 0;
    return true;
  }

 private:
  // Some 60 microseconds of copying.
  static constexpr std::uint64_t kBytesPerTurn = 256 << 10;
  TimePoint turn_{};
  std::uint64_t moved_ = 0;
};

}  // namespace d7y::http::detail
