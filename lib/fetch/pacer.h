// Makes a flow of bytes wait for its token buckets: its own and those it shares with others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "base/notify.h"
#include "base/result.h"
#include "base/task.h"
#include "base/token_bucket.h"

namespace d7y::fetch {

class Pacer {
 public:
  Pacer() = default;
  Pacer(std::initializer_list<TokenBucket*> buckets) {
    for (auto* bucket : buckets) {
      if (bucket != nullptr) buckets_.push_back(bucket);
    }
  }

  // No bucket limits anything now, so take() may be skipped.
  bool unlimited() const {
    return std::all_of(buckets_.begin(), buckets_.end(), [](const TokenBucket* b) { return b->unlimited(); });
  }

  // Waits until at least one byte may move; says how many of `wanted`.
  Task<std::uint64_t> take(std::uint64_t wanted);
  // Gives back what was granted and not moved.
  void give_back(std::uint64_t bytes);

 private:
  std::vector<TokenBucket*> buckets_;
};

}  // namespace d7y::fetch
