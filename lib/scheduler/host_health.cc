#include "scheduler/host_health.h"

#include <algorithm>
#include <cmath>

namespace d7y::scheduler {

void HostHealth::decay(const HealthLimits& limits, TimePoint now) {
  const double halves =
      static_cast<double>((now - decayed_at_).count()) / static_cast<double>(limits.half_life.count());
  if (halves > 0) failures_ = static_cast<float>(failures_ * std::exp2(-halves));
  decayed_at_ = now;
}

void HostHealth::quarantine(const HealthLimits& limits, TimePoint now) {
  const auto longer = limits.quarantine * (std::int64_t{1} << std::min<int>(times_, 16));
  until_ = now + std::min<Duration>(longer, limits.longest);
  times_ = static_cast<std::uint8_t>(std::min(times_ + 1, 16));
  suspect_ = true;
  good_ = 0;
  failures_ = 0;
  pieces_ = 0;
  rate_ = 0;
}

// Not in quarantine. True once it has been far below the usual rate for long enough.
bool HostHealth::note_rate(double seen, double usual, const HealthLimits& limits, TimePoint now) {
  rate_ = static_cast<float>(pieces_ == 0 ? seen : rate_ + (seen - rate_) / 8);
  ++pieces_;
  const bool slow = pieces_ >= limits.pieces_to_judge_speed && usual > 0 && rate_ < usual * limits.too_slow;
  if (!slow) {
    until_ = {};
  } else if (until_ == TimePoint{}) {
    until_ = now;
  }
  return slow && now - until_ >= limits.slow_for;
}

void HostHealth::piece_served(std::uint64_t bytes, Duration cost, double usual, const HealthLimits& limits,
                              TimePoint now) {
  if (bytes >= limits.tells_rate && state(now) != State::kQuarantined) {
    const double seconds = std::max(1e-6, std::chrono::duration<double>(cost).count());
    if (note_rate(static_cast<double>(bytes) / seconds, usual, limits, now)) return quarantine(limits, now);
  }
  if (state(now) != State::kProbation) return;
  if (++good_ >= limits.good_pieces_to_trust) {
    suspect_ = false;
    times_ = 0;
  }
}

bool HostHealth::piece_failed(const HealthLimits& limits, TimePoint now) {
  const auto before = state(now);
  if (before == State::kQuarantined) return false;  // its children of before are still finding out
  decay(limits, now);
  failures_ += 1;
  if (before == State::kProbation || failures_ >= limits.failures) {
    quarantine(limits, now);
    return true;
  }
  return false;
}

}  // namespace d7y::scheduler
