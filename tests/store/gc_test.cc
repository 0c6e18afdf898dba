#include "store/gc.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::store;
using namespace std::chrono_literals;

namespace {

const WallTime kNow{std::chrono::hours(500'000)};

GcCandidate aged(std::size_t index, Duration age, std::uint64_t bytes = 100) {
  return {
      .index = index, .created_at = kNow - age, .accessed_at = kNow - age, .frees = bytes, .finished = true};
}

std::vector<std::size_t> indices(const std::vector<Eviction>& evictions) {
  std::vector<std::size_t> out;
  for (const auto& eviction : evictions) out.push_back(eviction.index);
  return out;
}

using Indices = std::vector<std::size_t>;

}  // namespace

TEST_CASE("a task goes when its time since the last access is over, a persistent one since creation") {
  GcOptions options;
  auto old = aged(0, 721h), used = aged(1, 721h), persistent = aged(2, 25h), own = aged(3, 2h),
       young = aged(4, 719h);
  used.accessed_at = kNow - 1h;
  persistent.kind = TaskKind::kPersistent;
  persistent.accessed_at = kNow;
  own.ttl = 1h;
  auto evictions = choose_evictions(options, {old, used, persistent, own, young}, {}, kNow);
  CHECK(indices(evictions) == Indices{0, 3, 2});
  for (const auto& eviction : evictions) CHECK(eviction.reason == GcReason::kExpired);
}

TEST_CASE("what is pinned stays, however old and however full the disk") {
  auto pinned = aged(0, 100'000h);
  pinned.pinned = true;
  CHECK(choose_evictions({}, {pinned}, {100, 100}, kNow).empty());
  CHECK(choose_for_room({}, {pinned}, 1000, kNow).empty());
}

TEST_CASE("above the high mark the least recently used go until the low mark is reached") {
  std::vector<GcCandidate> tasks;
  for (std::size_t i = 0; i < 10; ++i) tasks.push_back(aged(i, (i + 1) * 1h));
  CHECK(choose_evictions({}, tasks, {1000, 799}, kNow).empty());
  CHECK(indices(choose_evictions({}, tasks, {1000, 800}, kNow)) == Indices{9, 8});
  CHECK(indices(choose_evictions({}, tasks, {1000, 950}, kNow)) == Indices{9, 8, 7, 6});
  CHECK(choose_evictions({}, tasks, {1000, 100'000}, kNow).size() == 10);
}

TEST_CASE("what expired counts for the disk") {
  std::vector<GcCandidate> tasks{aged(0, 1h), aged(1, 2h), aged(2, 1000h, 150)};
  CHECK(indices(choose_evictions({}, tasks, {1000, 800}, kNow)) == Indices{2, 1});
}

TEST_CASE("for the disk only what is over, failed or long forgotten goes, and nothing persistent or shared") {
  auto running = aged(0, 10h), forgotten = aged(1, 30h), failed = aged(2, 5h), persistent = aged(3, 6h),
       shared = aged(4, 7h, 0);
  running.finished = forgotten.finished = failed.finished = false;
  failed.failed = true;
  persistent.persistent = true;
  CHECK(indices(choose_evictions({}, {running, forgotten, failed, persistent, shared}, {1000, 999}, kNow)) ==
        Indices{1, 2});
}

TEST_CASE("in need even unfinished downloads that nobody runs go, after all else") {
  auto running = aged(0, 10h), finished = aged(1, 1h), expired = aged(2, 1000h);
  running.finished = false;
  expired.accessed_at = kNow - 800h;
  CHECK(indices(choose_for_room({}, {running, finished, expired}, 50, kNow)) == Indices{2});
  CHECK(indices(choose_for_room({}, {running, finished, expired}, 150, kNow)) == Indices{2, 1});
  CHECK(indices(choose_for_room({}, {running, finished, expired}, 10'000, kNow)) == Indices{2, 1, 0});
}

TEST_CASE("a clock that was set back evicts nothing") {
  auto task = aged(0, -1000h);
  CHECK(choose_evictions({}, {task}, {}, kNow).empty());
}

TEST_CASE("thresholds are checked") {
  CHECK(GcOptions{}.check().ok());
  CHECK_FALSE(GcOptions{.high_percent = 50, .low_percent = 60}.check().ok());
  CHECK_FALSE(GcOptions{.high_percent = 100}.check().ok());
  CHECK_FALSE(GcOptions{.low_percent = 0}.check().ok());
}
