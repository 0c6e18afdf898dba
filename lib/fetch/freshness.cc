#include "fetch/freshness.h"

#include <algorithm>

namespace d7y::fetch {
namespace {

constexpr std::size_t kMost = 100'000;  // tasks; about 20 MiB

}  // namespace

bool Freshness::is_due(const std::string& task_id, WallTime stored, Duration after, WallTime now) const {
  const auto found = compared_.find(task_id);
  return now - (found != compared_.end() ? std::max(found->second, stored) : stored) >= after;
}

void Freshness::compared(const std::string& task_id, Duration after, WallTime now) {
  if (compared_.size() >= kMost)
    std::erase_if(compared_, [&](const auto& entry) { return now - entry.second >= after; });
  if (compared_.size() >= kMost) compared_.clear();
  compared_[task_id] = now;
}

}  // namespace d7y::fetch
