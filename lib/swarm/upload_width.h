// How many pieces are sent at once to each unmodified child (upload_turns.h): more, while that makes all
// uploads together faster.
//
// One piece at a time is best for those behind the child, as long as one connection fills the way. On long
// ways a new connection starts too slowly for that, and in fast networks one connection is a matter of a
// single processor. So it is measured: what was sent in a span of time at the present width is compared with
// what is sent at twice the width, and that is kept if it was a fifth more; half the width is kept if it sent
// as much. The more trials have failed, the longer nothing is tried.
//
//   UploadWidth width;
//   if (width.sent(bytes, now)) width.span_over(more_was_asked_for);
//
// A value; no clock, no thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/deadline.h"

namespace d7y::swarm {

class UploadWidth {
 public:
  static constexpr std::size_t kMost = 8;  // as many as a Dragonfly client asks for at once

  std::size_t width() const { return width_; }
  // True if a span of time is over that is long enough to be judged.
  bool sent(std::uint64_t bytes, TimePoint now);
  // `wanted`: more pieces were asked for than this width lets go at once. Else the span says nothing.
  void span_over(bool wanted);

 private:
  // Spans without a trial after one that failed: at first, and at most.
  static constexpr std::uint32_t kFirstRest = 16, kLongestRest = 128;

  bool trying() const { return width_ != proven_; }
  bool trial_succeeded(double rate) const;
  void try_another();
  void go_back();

  std::size_t width_ = 1;
  std::size_t proven_ = 1;  // what a trial is compared with
  double rate_ = 0;         // bytes per second at `proven_`; 0: not known
  std::uint32_t rest_ = 0, next_rest_ = kFirstRest;
  bool narrow_next_ = false;
  bool measuring_ = false;
  TimePoint began_{}, now_{};
  std::uint64_t bytes_ = 0;
};

}  // namespace d7y::swarm
