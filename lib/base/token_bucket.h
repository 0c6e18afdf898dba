// Decides how many bytes may move now. Pure: time comes in as an argument, so a test can run a year
// in a microsecond and a simulation replays exactly.
//
// A bucket holds at most `burst` bytes and refills at `rate` bytes per second. take() grants what is
// there, so a 64 MiB piece at 10 MB/s flows evenly instead of waiting for all its tokens and then
// bursting (Dragonfly client 5.6).
//
//   while (left > 0) {
//     auto granted = bucket.take(std::min(left, kStep), loop.now());
//     if (granted == 0) { co_await sleep_until(bucket.next(loop.now())); continue; }
//     ...move `granted` bytes...
//   }
#pragma once

#include <cstdint>

#include "base/deadline.h"

namespace d7y {

class TokenBucket {
 public:
  // `rate` in bytes per second; 0 means unlimited. `burst` in bytes; 0 means 50 ms worth of rate,
  // at least 64 KiB.
  explicit TokenBucket(std::uint64_t rate = 0, std::uint64_t burst = 0, TimePoint now = {});

  bool unlimited() const { return rate_ == 0; }
  std::uint64_t rate() const { return rate_; }

  // Bytes that may be moved now, at most `wanted`; 0 means ask again at next(now).
  std::uint64_t take(std::uint64_t wanted, TimePoint now);

  // Gives back what was taken and not moved.
  void give_back(std::uint64_t bytes);

  // When take() will grant a worthwhile amount (a quarter of the burst).
  TimePoint next(TimePoint now) const;

  // Changes the rate; what is in the bucket stays, up to the new burst.
  void set_rate(std::uint64_t rate, std::uint64_t burst, TimePoint now);

 private:
  void refill(TimePoint now);
  static std::uint64_t default_burst(std::uint64_t rate);

  std::uint64_t rate_;
  double burst_;
  double tokens_;
  TimePoint filled_at_;
};

}  // namespace d7y
