// Points in time as the world counts them, and the deadlines that bound every wait.
#pragma once

#include <chrono>
#include <cstdint>

namespace d7y {

using Duration = std::chrono::nanoseconds;

// The world's monotonic clock. Its zero has no meaning; simulated worlds start it at 0.
struct MonotonicClock {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicClock, Duration>;
  static constexpr bool is_steady = true;
};
using TimePoint = MonotonicClock::time_point;

// Time of day in UTC, nanoseconds since 1970. For records and people, never for measuring waits.
using WallTime = std::chrono::sys_time<Duration>;

// The moment at which a wait gives up with ErrorCode::kTimeout.
class Deadline {
 public:
  // A wait that only cancellation ends. Use it where an owner outside certainly ends the wait.
  static constexpr Deadline never() { return Deadline(TimePoint::max()); }
  static constexpr Deadline at(TimePoint when) { return Deadline(when); }
  static constexpr Deadline in(Duration from_now, TimePoint now) {
    return from_now > TimePoint::max() - now ? never() : Deadline(now + from_now);
  }

  constexpr TimePoint when() const { return when_; }
  constexpr bool is_never() const { return when_ == TimePoint::max(); }
  constexpr bool passed(TimePoint now) const { return now >= when_; }

  // Time left, at least zero.
  constexpr Duration left(TimePoint now) const { return passed(now) ? Duration::zero() : when_ - now; }

  constexpr Deadline or_earlier(Deadline other) const { return when_ < other.when_ ? *this : other; }
  constexpr auto operator<=>(const Deadline&) const = default;

 private:
  constexpr explicit Deadline(TimePoint when) : when_(when) {}
  TimePoint when_;
};

}  // namespace d7y
