// The index: one line per task, written when the store closes, so that the next start need not read
// every journal. It is deleted as soon as it was read: that it is there says that the last stop was
// clean. Pure codec.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/task_facts.h"

namespace d7y::store {

struct IndexEntry {
  TaskSummary task;
  bool synced = false;  // all complete pieces were on stable storage
  bool shared = false;  // users have hard links to the content
};

std::string encode_index(const std::vector<IndexEntry>& entries, std::uint64_t generation);
// kCorrupt unless every byte is as it was written.
Result<std::vector<IndexEntry>> decode_index(Bytes file);

}  // namespace d7y::store
