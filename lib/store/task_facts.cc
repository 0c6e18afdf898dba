#include "store/task_facts.h"

#include <algorithm>

#include "base/digest.h"

namespace d7y::store {

KindPolicy KindPolicy::of(TaskKind kind) {
  switch (kind) {
    // Dragonfly counts both persistent kinds from their creation (Dragonfly client 4.7).
    case TaskKind::kPersistent:
    case TaskKind::kPersistentCache: return {.ttl_from_access = false, .durable = true};
    default: return {};
  }
}

Result<void> check_task_id(std::string_view id) {
  auto fits = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  };
  if (id.empty() || id.size() > 128 || !std::all_of(id.begin(), id.end(), fits)) {
    return error(ErrorCode::kInvalid,
                 "a task id of {} bytes cannot be stored; expected 1 to 128 letters, digits, '-' or '_'",
                 id.size());
  }
  return {};
}

Result<void> check_facts(const TaskFacts& facts) {
  TRY_OK(check_task_id(facts.id));
  if (facts.kind > TaskKind::kPersistentCache) {
    return error(ErrorCode::kInvalid, "task {}: unknown kind {}", facts.id, static_cast<int>(facts.kind));
  }
  if (facts.piece_length == 0 || facts.piece_length > kMaxPieceLength) {
    return error(ErrorCode::kInvalid, "task {}: piece length {} is out of range; expected 1 to {} bytes",
                 facts.id, facts.piece_length, kMaxPieceLength);
  }
  if (facts.content_length && *facts.content_length > facts.piece_length * kMaxPieces) {
    const bool longest = facts.piece_length == kMaxPieceLength;
    return error(ErrorCode::kTooLarge, "task {}: {} bytes in pieces of {} are more than {} pieces; {}",
                 facts.id, *facts.content_length, facts.piece_length, kMaxPieces,
                 longest ? "no content may be that long" : "ask for longer pieces");
  }
  if (!facts.digest.empty()) TRY_OK(Digest::parse(facts.digest));
  return {};
}

}  // namespace d7y::store
