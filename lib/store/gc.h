// Which tasks must go: a pure decision over plain values. The store asks and then acts (Store::collect).
//
// Three reasons, in this order:
//  - its time is over (TTL since the last access, or since the creation, see KindPolicy);
//  - the disk, or our share of it, is fuller than the high mark: the least recently used go until
//    use is below the low mark;
//  - somebody needs room right now (a write met a full disk).
// What is pinned (read, served, downloaded) never goes.
#pragma once

#include <cstdint>
#include <vector>

#include "store/task_facts.h"

namespace d7y::store {

struct GcOptions {
  // Lives of tasks by kind, where a task does not say itself (Dragonfly client 9, gc.policy).
  Duration standard_ttl = std::chrono::hours(720);
  Duration persistent_ttl = std::chrono::hours(24);
  Duration persistent_cache_ttl = std::chrono::hours(24);
  // Our share of the disk in bytes; 0: judge the whole file system.
  std::uint64_t disk_threshold = 0;
  std::uint32_t high_percent = 80, low_percent = 60;
  // A task that is neither finished nor failed is kept this long for its download to be resumed.
  Duration unfinished_grace = std::chrono::hours(24);

  Duration ttl(TaskKind kind) const;
  // kInvalid unless 1 <= low <= high <= 99.
  Result<void> check() const;
};

struct GcCandidate {
  std::size_t index = 0;  // the caller's
  TaskKind kind = TaskKind::kStandard;
  Duration ttl{0};  // 0: by kind
  WallTime created_at{}, accessed_at{};
  std::uint64_t frees = 0;  // bytes on disk that deleting it gives back
  bool finished = false, failed = false, persistent = false, pinned = false;
};

struct DiskUse {
  std::uint64_t capacity = 0, used = 0;  // bytes
};

enum class GcReason : std::uint8_t { kExpired, kDiskUse, kRoomNeeded, kVanished };
std::string_view name_of(GcReason reason);

struct Eviction {
  std::size_t index = 0;
  GcReason reason = GcReason::kExpired;
};

// What to delete now, in order.
std::vector<Eviction> choose_evictions(const GcOptions& options, std::vector<GcCandidate> candidates,
                                       DiskUse use, WallTime now);
// What to delete so that `needed` bytes become free: least recently used first, expired before all.
// May free less if there is not enough; unfinished tasks go last.
std::vector<Eviction> choose_for_room(const GcOptions& options, std::vector<GcCandidate> candidates,
                                      std::uint64_t needed, WallTime now);

}  // namespace d7y::store
