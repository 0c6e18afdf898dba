// Whether a host may be a parent, from what its children say about its uploads. A host that fails several
// children is left alone for a while (quarantine), then tried with little load (probation), and is trusted
// again after a few good pieces; a failure on probation sends it back for twice as long. The same for one
// that uploads far slower than the others for a while. Pure.
//
// What counts is what the host sends, not how fast its own download is: a peer behind a slow parent may
// be a fine parent (Dragonfly scheduler 8.3).
#pragma once

#include <cstdint>

#include "base/deadline.h"

namespace d7y::scheduler {

struct HealthLimits {
  double failures = 3;                             // decayed failures that put a host into quarantine
  Duration half_life = std::chrono::seconds(60);   // of a failure's weight
  Duration quarantine = std::chrono::seconds(30);  // the first time; doubles each time
  Duration longest = std::chrono::minutes(10);     // most that it grows to
  std::uint32_t good_pieces_to_trust = 4;          // on probation
  std::uint32_t pieces_to_judge_speed = 16;        // before slowness counts
  double too_slow = 1.0 / 32;                      // of the usual rate
  // For so long on end: all that a host sends at the time waits for the same pause, and one pause is no
  // slowness.
  Duration slow_for = std::chrono::seconds(10);
  // Bytes of a piece from which on its time tells a rate; shorter ones tell how long a request waits.
  std::uint64_t tells_rate = 256 << 10;
};

class HostHealth {
 public:
  enum class State : std::uint8_t { kTrusted, kQuarantined, kProbation };

  State state(TimePoint now) const {
    return !suspect_ ? State::kTrusted : now < until_ ? State::kQuarantined : State::kProbation;
  }
  bool may_serve(TimePoint now) const { return state(now) != State::kQuarantined; }

  // A child got a piece of `bytes` from this host in `cost`; `usual` is the rate one normally sees,
  // in bytes per second (0: not known yet).
  void piece_served(std::uint64_t bytes, Duration cost, double usual, const HealthLimits& limits,
                    TimePoint now);
  // A child could not get a piece from it. True if that put it into quarantine.
  bool piece_failed(const HealthLimits& limits, TimePoint now);

  // What a child gets of long pieces from it, bytes per second, smoothed; 0: not known.
  double rate() const { return static_cast<double>(rate_); }

 private:
  void decay(const HealthLimits& limits, TimePoint now);
  void quarantine(const HealthLimits& limits, TimePoint now);
  bool note_rate(double seen, double usual, const HealthLimits& limits, TimePoint now);

  // End of the quarantine. Not in one: since when it is slow (zero: it is not); one word, because candidates
  // are looked at by the cache line.
  TimePoint until_{};
  TimePoint decayed_at_{};  // when failures_ was right
  float failures_ = 0;
  float rate_ = 0;
  std::uint32_t pieces_ = 0;
  std::uint16_t good_ = 0;  // since the quarantine ended
  std::uint8_t times_ = 0;  // how often it was in quarantine without earning trust since
  bool suspect_ = false;    // in quarantine or on probation
};

}  // namespace d7y::scheduler
