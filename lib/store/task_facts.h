// What the store knows about a task and its pieces: plain values, copied freely.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"

namespace d7y::store {

// Task types by their numbers on the wire (common.v2.TaskType). One engine keeps them all; what
// differs is kept in KindPolicy.
enum class TaskKind : std::uint8_t { kStandard = 0, kPersistent = 1, kPersistentCache = 2 };

// How a kind of task is treated.
struct KindPolicy {
  // Counted from the last access; otherwise from the creation.
  bool ttl_from_access = true;
  // May go when the disk fills up, though its time is not over. A task that is marked
  // `persistent` never does.
  bool evictable_for_space = true;
  // Users may get a second name for the stored file itself instead of a copy.
  bool hard_link_output = true;
  // On stable storage before it counts as finished, because others are then told that it is kept here.
  bool durable = false;

  static KindPolicy of(TaskKind kind);
};

// Where the bytes of a piece came from (common.v2.TrafficType).
enum class Traffic : std::uint8_t { kBackToSource = 0, kRemotePeer = 1, kLocalPeer = 2 };

// Which version of the origin's content a task holds. Empty fields: the origin did not say.
struct SourceVersion {
  std::string etag;
  std::string last_modified;
  bool operator==(const SourceVersion&) const = default;
  bool known() const { return !etag.empty() || !last_modified.empty(); }
};

using Headers = std::vector<std::pair<std::string, std::string>>;

// Everything about a task but its pieces. `id` and `kind` never change; the rest is fixed by
// create() or learned while the task is downloaded.
struct TaskFacts {
  std::string id;  // letters, digits, '-' and '_', at most 128
  TaskKind kind = TaskKind::kStandard;
  std::string url;  // without secrets: the caller redacts credentials
  std::string tag, application;
  std::uint64_t piece_length = 0;               // bytes, > 0
  std::optional<std::uint64_t> content_length;  // bytes; none: not known before the end
  Headers response_headers;                     // of the origin
  SourceVersion version;
  std::string
      digest;       // of the whole content, "sha256:<hex>"; as Digest::parse() reads it; empty: none expected
  Duration ttl{0};  // 0: what the node is configured to for this kind
  bool persistent = false;  // never evicted for space
  bool prefetched = false;  // a download of the whole task was started behind a ranged one
};

// Where a piece lies, from piece length and content length alone.
struct PieceExtent {
  std::uint32_t number = 0;
  std::uint64_t offset = 0;  // in the content
  std::uint64_t length = 0;  // bytes
};

// A complete piece. Its bytes were verified against `crc`, the CRC-32 (IEEE) of them.
struct PieceInfo {
  std::uint32_t number = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint32_t crc = 0;
  Traffic traffic = Traffic::kBackToSource;
  Duration cost{0};  // how long it took to fetch
  WallTime created_at{};
  std::string parent;  // peer id of the parent it came from; empty: the origin
};

// One line of a listing.
struct TaskSummary {
  std::string id;
  TaskKind kind = TaskKind::kStandard;
  std::uint64_t piece_length = 0;
  std::optional<std::uint64_t> content_length;
  std::uint64_t stored = 0;  // bytes of complete pieces
  std::uint32_t pieces = 0;  // complete ones
  Duration ttl{0};
  WallTime created_at{}, accessed_at{};
  bool finished = false, failed = false, persistent = false;
  bool pinned = false;  // read, served or downloaded right now
};

// The most pieces one task may have; more is kTooLarge.
inline constexpr std::uint32_t kMaxPieces = 1u << 24;
// The longest piece the store takes (the longest of Dragonfly's is 64 MiB; callers may ask for more).
inline constexpr std::uint64_t kMaxPieceLength = std::uint64_t{1} << 30;

// ok if `facts` can be stored; kInvalid or kTooLarge with the reason.
Result<void> check_facts(const TaskFacts& facts);
// ok if `id` can name a task's folder. Ids come from the network.
Result<void> check_task_id(std::string_view id);

}  // namespace d7y::store
