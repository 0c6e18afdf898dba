#include "swarm/upload_width.h"

#include <algorithm>
#include <chrono>

namespace d7y::swarm {
namespace {

using std::chrono::milliseconds;

// Enough that what disappears into the buffers of new connections does not count: a few MiB each.
constexpr std::uint64_t kEnough = 32U << 20;
constexpr Duration kShortest = milliseconds(20);
// After this whatever was sent has to do.
constexpr Duration kLongest = milliseconds(500);

constexpr double kWorthIt = 1.2;    // twice the width sends so much more
constexpr double kAsGood = 0.95;    // half the width sends so much of it
constexpr double kNewShare = 0.25;  // of the newest span in the rate

}  // namespace

bool UploadWidth::sent(std::uint64_t bytes, TimePoint now) {
  if (!measuring_) {
    measuring_ = true;
    began_ = now;
    bytes_ = 0;
    return false;
  }
  now_ = now;
  bytes_ += bytes;
  const auto time = now - began_;
  return time >= kLongest || (time >= kShortest && bytes_ >= kEnough);
}

void UploadWidth::span_over(bool wanted) {
  measuring_ = false;
  if (!wanted) return go_back();
  const double rate = static_cast<double>(bytes_) / std::chrono::duration<double>(now_ - began_).count();
  if (!trying()) {
    rate_ = rate_ == 0 ? rate : rate_ + kNewShare * (rate - rate_);
    if (rest_ > 0) {
      --rest_;
    } else {
      try_another();
    }
    return;
  }
  if (!trial_succeeded(rate)) {
    go_back();
    rest_ = next_rest_;
    next_rest_ = std::min(next_rest_ * 2, kLongestRest);
    return;
  }
  narrow_next_ = width_ < proven_;  // what helped once may help again
  proven_ = width_;
  rate_ = rate;
  next_rest_ = kFirstRest;
  try_another();
}

bool UploadWidth::trial_succeeded(double rate) const {
  return width_ > proven_ ? rate >= kWorthIt * rate_ : rate >= kAsGood * rate_;
}

void UploadWidth::try_another() {
  const bool narrow = proven_ > 1 && (narrow_next_ || proven_ == kMost);
  narrow_next_ = !narrow;
  width_ = narrow ? proven_ / 2 : std::min(proven_ * 2, kMost);
}

void UploadWidth::go_back() { width_ = proven_; }

}  // namespace d7y::swarm
