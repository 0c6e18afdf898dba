#include "base/backoff.h"

#include <algorithm>

namespace d7y {

Duration Backoff::next(std::uint64_t random) {
  auto doublings = std::min(tries_++, 40U);
  auto full = static_cast<double>(first_.count());
  for (unsigned i = 0; i < doublings && full < static_cast<double>(longest_.count()); ++i) full *= 2;
  full = std::min(full, static_cast<double>(longest_.count()));
  auto fraction = 0.5 + 0.5 * static_cast<double>(random >> 11U) / 9007199254740992.0;  // 2^53
  return Duration(static_cast<Duration::rep>(full * fraction));
}

}  // namespace d7y
