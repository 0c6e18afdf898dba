// Private parts of StoredTask that its sources share.
#pragma once

#include "store/hash_queue.h"
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
  std::shared_ptr<HashProgress> state;
  bool busy = false;
};

}  // namespace d7y::store
