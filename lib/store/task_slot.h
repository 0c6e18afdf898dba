// Private parts of StoredTask that its sources share.
#pragma once

#include "base/hash.h"
#include "store/stored_task.h"

namespace d7y::store {

struct StoredTask::Slot {
  std::uint32_t crc = 0;
  std::uint32_t parent = 0;  // index in parents_
  std::uint64_t length = 0;
  Traffic traffic = Traffic::kBackToSource;
  Duration cost{0};
  WallTime created_at{};
};

struct StoredTask::Hashing {
  // Shared with work on another thread, which only it touches while `busy`.
  struct State {
    explicit State(HashKind kind) : hasher(kind) {}
    Hasher hasher;
    std::uint64_t done = 0;  // bytes from the content's start
  };
  std::shared_ptr<State> state;
  bool busy = false;
};

}  // namespace d7y::store
