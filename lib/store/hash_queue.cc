#include "store/hash_queue.h"

#include <algorithm>
#include <vector>

#include "base/sha256_lanes.h"
#include "world/files.h"

namespace d7y::store {
namespace {

constexpr std::size_t kTogether = kSha256Lanes;
// Read at a time for all of them; stays in a core's L2 cache until it is summed up.
constexpr std::size_t kRoom = 256 << 10;
// So many jobs that wait are worth a further thread, of those that a world has for such work.
constexpr std::size_t kJobsPerHand = 2 * kTogether;
constexpr std::size_t kMostHands = 3;

}  // namespace

struct HashQueue::Job {
  std::shared_ptr<HashProgress> progress;
  std::shared_ptr<world::File> file;
  std::uint64_t end = 0;
  std::optional<Error> failure;
  bool whole = true;
  // The loop's.
  bool over = false;
  Signal done;
};

namespace {

using Room = std::shared_ptr<std::byte[]>;

// The next bytes of one job; nothing when it is at its end, or failed.
template <class Job>
Bytes read_next(Job& job, MutableBytes room) {
  auto& at = job.progress->done;
  auto part = room.first(std::min<std::uint64_t>(room.size(), job.end - at));
  if (part.empty() || job.failure || !job.whole) return {};
  auto got = job.file->read_at(at, part);
  if (!got) {
    job.failure = std::move(got).error();
    return {};
  }
  job.whole = *got == part.size();
  if (!job.whole) return {};
  at += part.size();
  return part;
}

// On another thread.
template <class Jobs>
void hash_all(const Jobs& jobs, std::byte* room) {
  // A multiple of a block, so that they stay in step.
  const auto each = kRoom / jobs.size() / kSha256Block * kSha256Block;
  std::vector<HashPart> parts;
  do {
    parts.clear();
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      auto bytes = read_next(*jobs[i], MutableBytes(room + i * each, each));
      if (!bytes.empty()) parts.push_back({&jobs[i]->progress->hasher, bytes});
    }
    update_together(parts);
  } while (!parts.empty());
}

}  // namespace

Task<Result<bool>> HashQueue::feed(std::shared_ptr<HashProgress> progress, std::shared_ptr<world::File> file,
                                   std::uint64_t length) {
  auto job = std::make_shared<Job>();
  job->end = progress->done + length;
  job->progress = std::move(progress);
  job->file = std::move(file);
  waiting_.push_back(job);
  if (hands_ < kMostHands && hands_ * kJobsPerHand < waiting_.size()) {
    ++hands_;
    scope_.spawn(work());
  }
  while (!job->over) CO_OK(co_await job->done.wait(Deadline::never()));
  if (job->failure) co_return std::move(*job->failure);
  co_return job->whole;
}

Task<void> HashQueue::work() {
  Room room;
  while (!waiting_.empty()) {
    if (!room) room = std::make_shared_for_overwrite<std::byte[]>(kRoom);
    auto last = waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(waiting_.size(), kTogether));
    std::vector<std::shared_ptr<Job>> jobs(waiting_.begin(), last);
    waiting_.erase(waiting_.begin(), last);
    std::function<void()> hashing = [jobs, room] { hash_all(jobs, room.get()); };
    Task<void> hashed = world_.offload(std::move(hashing));
    co_await hashed;
    for (const auto& job : jobs) {
      job->over = true;
      job->done.notify_all();
    }
  }
  --hands_;
}

}  // namespace d7y::store
