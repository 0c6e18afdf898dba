#include "fetch/pacer.h"

namespace d7y::fetch {

Task<std::uint64_t> Pacer::take(std::uint64_t wanted) {
  Loop& loop = co_await this_loop();
  for (;;) {
    auto now = loop.now();
    auto granted = wanted;
    std::size_t asked = 0;
    for (; asked < buckets_.size() && granted > 0; ++asked) {
      auto here = buckets_[asked]->take(granted, now);
      for (std::size_t earlier = 0; earlier < asked; ++earlier) buckets_[earlier]->give_back(granted - here);
      granted = here;
    }
    if (granted > 0) co_return granted;
    co_await sleep_until(buckets_[asked - 1]->next(now));
  }
}

void Pacer::give_back(std::uint64_t bytes) {
  for (auto* bucket : buckets_) bucket->give_back(bytes);
}

}  // namespace d7y::fetch
