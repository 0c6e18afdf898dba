#include "store/gc.h"

#include <algorithm>

namespace d7y::store {
namespace {

WallTime counted_from(const GcCandidate& task) {
  return KindPolicy::of(task.kind).ttl_from_access ? std::max(task.accessed_at, task.created_at)
                                                   : task.created_at;
}

bool expired(const GcOptions& options, const GcCandidate& task, WallTime now) {
  auto ttl = task.ttl > Duration::zero() ? task.ttl : options.ttl(task.kind);
  // A clock that was set back makes times to come; such a task is simply young.
  return counted_from(task) <= now && now - counted_from(task) >= ttl;
}

bool evictable(const GcOptions& options, const GcCandidate& task, WallTime now) {
  if (task.pinned || task.persistent || !KindPolicy::of(task.kind).evictable_for_space) return false;
  return task.finished || task.failed || now - task.created_at >= options.unfinished_grace;
}

void least_recent_first(std::vector<GcCandidate>& tasks) {
  std::sort(tasks.begin(), tasks.end(), [](const GcCandidate& a, const GcCandidate& b) {
    return a.accessed_at != b.accessed_at ? a.accessed_at < b.accessed_at : a.index < b.index;
  });
}

}  // namespace

std::string_view name_of(GcReason reason) {
  switch (reason) {
    case GcReason::kExpired: return "expired";
    case GcReason::kDiskUse: return "disk use";
    case GcReason::kVanished: return "its files were deleted";
    default: return "room needed";
  }
}

Duration GcOptions::ttl(TaskKind kind) const {
  switch (kind) {
    case TaskKind::kPersistent: return persistent_ttl;
    case TaskKind::kPersistentCache: return persistent_cache_ttl;
    default: return standard_ttl;
  }
}

Result<void> GcOptions::check() const {
  if (low_percent < 1 || high_percent > 99 || low_percent > high_percent) {
    return error(ErrorCode::kInvalid,
                 "the disk thresholds {} % (low) and {} % (high) do not fit; expected 1 <= low <= high <= 99",
                 low_percent, high_percent);
  }
  return {};
}

std::vector<Eviction> choose_evictions(const GcOptions& options, std::vector<GcCandidate> candidates,
                                       DiskUse use, WallTime now) {
  std::vector<Eviction> evictions;
  least_recent_first(candidates);
  std::uint64_t freed = 0;
  std::erase_if(candidates, [&](const GcCandidate& task) {
    if (task.pinned || !expired(options, task, now)) return false;
    evictions.push_back({task.index, GcReason::kExpired});
    freed += task.frees;
    return true;
  });

  // In parts, so that no product overflows.
  auto mark = [&](std::uint32_t percent) { return use.capacity / 100 * percent; };
  if (use.capacity == 0 || use.used < mark(options.high_percent)) return evictions;
  auto goal = use.used - std::min(use.used, mark(options.low_percent));
  for (const GcCandidate& task : candidates) {
    if (freed >= goal) break;
    if (!evictable(options, task, now) || task.frees == 0) continue;
    evictions.push_back({task.index, GcReason::kDiskUse});
    freed += task.frees;
  }
  return evictions;
}

std::vector<Eviction> choose_for_room(const GcOptions& options, std::vector<GcCandidate> candidates,
                                      std::uint64_t needed, WallTime now) {
  std::vector<Eviction> evictions;
  least_recent_first(candidates);
  std::uint64_t freed = 0;
  auto take_those = [&](auto&& wanted) {
    for (const GcCandidate& task : candidates) {
      if (freed >= needed) return;
      if (task.pinned || task.persistent || task.frees == 0 || !wanted(task)) continue;
      evictions.push_back({task.index, GcReason::kRoomNeeded});
      freed += task.frees;
    }
  };
  auto over = [&](const GcCandidate& task) { return expired(options, task, now); };
  auto complete = [&](const GcCandidate& task) { return task.finished || task.failed; };
  take_those(over);
  take_those([&](const GcCandidate& task) { return !over(task) && complete(task); });
  take_those([&](const GcCandidate& task) { return !over(task) && !complete(task); });
  return evictions;
}

}  // namespace d7y::store
