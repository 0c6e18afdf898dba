// When complete content was compared with its origin last. Pure.
//
// A URL may have other content one day. Whoever wants to notice has what is stored compared with the origin
// now and then (EngineOptions::revalidate_after).
#pragma once

#include <string>
#include <unordered_map>

#include "base/deadline.h"

namespace d7y::fetch {

class Freshness {
 public:
  // Whether the last comparison of `task_id`, or where none is known its coming here at `stored`, is at least
  // `after` ago.
  bool is_due(const std::string& task_id, WallTime stored, Duration after, WallTime now) const;
  // What was compared more than `after` ago may be forgotten: it is due in any case.
  void compared(const std::string& task_id, Duration after, WallTime now);

 private:
  std::unordered_map<std::string, WallTime> compared_;
};

}  // namespace d7y::fetch
