#include "fetch/origin_lanes.h"

#include <algorithm>

namespace d7y::fetch {

std::uint32_t OriginLanes::wanted() const {
  if (slow_) return std::max(1U, most_);
  return std::max(1U, most_ / std::max(1U, readers_.tasks()));
}

std::uint64_t OriginLanes::worthwhile() const {
  return static_cast<std::uint64_t>(kWorth * rate_ * std::chrono::duration<double>(wait_).count());
}

void OriginLanes::look(std::uint32_t running, TimePoint now) {
  const auto expected = [running](Duration time) {
    return std::chrono::duration<double>(time).count() * static_cast<double>(kFast) * std::max(1U, running);
  };
  const auto brought = static_cast<double>(bytes_);
  const auto time = now - since_;
  if (time < kLook && brought < expected(kLook)) return;
  rate_ = brought / std::chrono::duration<double>(time).count() / std::max(1U, running);
  slow_ = brought < expected(time);
  known_ = true;
  since_ = now;
  bytes_ = 0;
}

}  // namespace d7y::fetch
