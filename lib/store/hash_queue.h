// Content digests, computed beside the loop from what is on disk, several at once.
//
// An image's layers arrive together, and their digests are most of what a download costs a processor. What
// waits for a thread is therefore taken up three at a time: SHA-256 of three contents takes 0.58 of the time
// that they take one by one (base/sha256_lanes.h). One thread is enough for 3 GiB/s; where many wait, more.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "base/hash.h"
#include "base/notify.h"
#include "base/scope.h"
#include "world/world.h"

namespace d7y::store {

// How far the digest of a content is computed.
struct HashProgress {
  explicit HashProgress(HashKind kind) : hasher(kind) {}
  Hasher hasher;
  std::uint64_t done = 0;  // bytes from the content's start
};

class HashQueue {
 public:
  explicit HashQueue(world::World& world) : world_(world), scope_(world.loop()) {}

  // Takes the next `length` bytes of `file` into `progress`, which nobody else touches until this is over,
  // also when the waiting task is cancelled. False: the file ends before; `progress` is then of no use, as
  // after an error.
  Task<Result<bool>> feed(std::shared_ptr<HashProgress> progress, std::shared_ptr<world::File> file,
                          std::uint64_t length);

 private:
  struct Job;
  Task<void> work();

  world::World& world_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::size_t hands_ = 0;  // work()s under way
  Scope scope_;
};

}  // namespace d7y::store
