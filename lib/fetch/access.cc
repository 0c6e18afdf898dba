#include "fetch/access.h"

#include <algorithm>

namespace d7y::fetch {
namespace {

// So many different credentials are tried for one download.
constexpr std::size_t kMostRefused = 16;

}  // namespace

Accesses::Id Accesses::add(Access access) {
  callers_.push_back({next_id_, std::move(access)});
  return next_id_++;
}

void Accesses::remove(Id id) {
  callers_.remove_if([id](const Caller& caller) { return caller.id == id; });
}

bool Accesses::refused(std::uint64_t turn) {
  if (turn != turn_) return true;  // another request found it out before
  if (refused_.size() >= kMostRefused) return false;
  refused_.push_back(now_);
  for (auto caller = callers_.rbegin(); caller != callers_.rend(); ++caller) {
    if (std::find(refused_.begin(), refused_.end(), caller->access) != refused_.end()) continue;
    now_ = caller->access;
    ++turn_;
    return true;
  }
  return false;
}

}  // namespace d7y::fetch
