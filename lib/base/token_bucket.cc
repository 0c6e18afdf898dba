#include "base/token_bucket.h"

#include <algorithm>
#include <cmath>

namespace d7y {

std::uint64_t TokenBucket::default_burst(std::uint64_t rate) {
  return std::max<std::uint64_t>(rate / 20, 64U << 10);
}

TokenBucket::TokenBucket(std::uint64_t rate, std::uint64_t burst, TimePoint now)
    : rate_(rate),
      burst_(static_cast<double>(burst != 0 ? burst : default_burst(rate))),
      tokens_(burst_),
      filled_at_(now) {}

void TokenBucket::refill(TimePoint now) {
  if (now <= filled_at_) return;
  auto seconds = std::chrono::duration<double>(now - filled_at_).count();
  tokens_ = std::min(burst_, tokens_ + seconds * static_cast<double>(rate_));
  filled_at_ = now;
}

std::uint64_t TokenBucket::take(std::uint64_t wanted, TimePoint now) {
  if (rate_ == 0) return wanted;
  refill(now);
  auto granted = std::min(wanted, static_cast<std::uint64_t>(tokens_));
  tokens_ -= static_cast<double>(granted);
  return granted;
}

void TokenBucket::give_back(std::uint64_t bytes) {
  if (rate_ != 0) tokens_ = std::min(burst_, tokens_ + static_cast<double>(bytes));
}

TimePoint TokenBucket::next(TimePoint now) const {
  if (rate_ == 0) return now;
  auto seconds = std::chrono::duration<double>(now - filled_at_).count();
  auto there = std::min(burst_, tokens_ + std::max(0.0, seconds) * static_cast<double>(rate_));
  auto missing = std::max(1.0, burst_ / 4) - there;
  if (missing <= 0) return now;
  auto wait = std::chrono::duration<double>(missing / static_cast<double>(rate_));
  return now + std::chrono::ceil<Duration>(wait);
}

void TokenBucket::set_rate(std::uint64_t rate, std::uint64_t burst, TimePoint now) {
  refill(now);
  rate_ = rate;
  burst_ = static_cast<double>(burst != 0 ? burst : default_burst(rate));
  tokens_ = std::min(tokens_, burst_);
}

}  // namespace d7y
