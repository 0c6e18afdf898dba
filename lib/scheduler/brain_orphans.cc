// Tasks whose pieces come no more, while some wait or download: because they lost the last one who had
// everything or read the origin, or because that one stands still.
//
// Those who ask for parents are served as ever. But clients of ours do not ask as long as their neighbours
// may have something for them, and notice only after many seconds that nobody has anything new. They listen,
// so they need not ask: once one of them gets nothing any more, a seed is asked again, or that one is sent to
// the origin.
#include <algorithm>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr Duration kLook = std::chrono::seconds(1);
constexpr std::size_t kTasksAtOnce = 256, kPeersAtOnce = 256;
// Without a piece for so long, and for so many times as long as its pieces took until now, a peer gets
// nothing.
constexpr Duration kStuck = std::chrono::seconds(2);
constexpr int kStuckPieces = 4;

bool listens(const PeerRecord& peer) {
  return peer.takes_offers && peer.progress && peer.state == PeerState::kRunning;
}

bool is_stuck(const PeerRecord& peer, TimePoint now) {
  const auto last = peer.progress->last_piece;
  const auto usual = (last - peer.created) / std::max(1U, peer.finished_pieces);
  return now - last >= std::max(kStuck, usual * kStuckPieces);
}

}  // namespace

void Brain::watch(TaskHandle handle, TimePoint now) {
  auto& task = *tasks_.find(handle);
  if (task.watched) return;
  task.watched = true;
  watched_.push_back({handle, now + kLook});
}

void Brain::look_after_orphans(TimePoint now) {
  for (std::size_t i = 0; i < kTasksAtOnce && !watched_.empty() && watched_.front().look <= now; ++i) {
    const auto handle = watched_.front().task;
    watched_.pop_front();
    auto* task = tasks_.find(handle);
    if (task == nullptr) continue;
    // Whose alarm would have ended the gathering is gone.
    if (task->gather_until != TimePoint{} && task->gather_until <= now) make_dirty(handle);
    task->watched = look_after_orphans_of(handle, now);
    if (task->watched) watched_.push_back({handle, now + kLook});
  }
}

std::vector<PeerHandle> Brain::listeners_of(const TaskRecord& task) const {
  std::vector<PeerHandle> found;
  auto at = task.first_peer;
  for (std::size_t i = 0; i < kPeersAtOnce && at != kNowhere; ++i, at = peers_.at(at).task_after) {
    const auto& peer = peers_.at(at);
    if (listens(peer) && !hosts_.find(peer.host)->silent) found.push_back(peers_.handle_of(at));
  }
  return found;
}

// One that was asked to read the origin, and got the task from others when they were lost: it is told so in
// its conversation as well, because what it does there goes on.
PeerHandle Brain::seed_that_waits(const TaskRecord& task, TimePoint now) const {
  if (task.seed_attempt == 0 || task.readers > 0 || now - task.seed_asked < kLook) return {};
  const auto seed = peer_on_seed(task, task.seed);
  return seed && listens(*peers_.find(seed)) ? seed : PeerHandle{};
}

// Whether it has to be looked at again.
bool Brain::look_after_orphans_of(TaskHandle handle, TimePoint now) {
  auto& task = *tasks_.find(handle);
  const bool moves = now - task.moved < kStuck;
  if (moves && !task.orphaned) return true;
  const auto children = listeners_of(task);
  if (task.orphaned && (children.empty() || task.roots > 0)) {
    task.orphaned = false;
    for (const auto orphan : children) look_soon(orphan, now);
  }
  if (children.empty() && task.waiters == 0) return false;
  const bool stuck = task.waiters > 0 || std::any_of(children.begin(), children.end(), [&](PeerHandle child) {
                       return is_stuck(*peers_.find(child), now);
                     });
  if (!moves && stuck) ask_providers(handle, now);
  if (task.orphaned) look_after_children_of(handle, children, now);
  return true;
}

// They have nobody any more who has everything or reads the origin.
void Brain::look_after_children_of(TaskHandle handle, std::vector<PeerHandle> orphans, TimePoint now) {
  const auto& task = *tasks_.find(handle);
  if (const auto seed = seed_that_waits(task, now))
    return tell_back_to_source(seed, "whoever read the source is lost", now);
  if (provider_expected(task) || task.refused_until > now) return;
  std::erase_if(orphans, [&](PeerHandle orphan) { return !is_stuck(*peers_.find(orphan), now); });
  if (orphans.empty() || trigger_seed(handle, false, now)) return;
  std::erase_if(orphans, [&](PeerHandle orphan) { return peers_.find(orphan)->disable_back_to_source; });
  const auto most = std::max_element(orphans.begin(), orphans.end(), [&](PeerHandle a, PeerHandle b) {
    return peers_.find(a)->finished_pieces < peers_.find(b)->finished_pieces;
  });
  // Nobody who shares reads it, or one would be expected to provide it; others' tokens are no reason to wait.
  if (most != orphans.end() && token_free(task, options_.back_to_source_count))
    tell_back_to_source(*most, "whoever read the source is lost", now);
}

}  // namespace d7y::scheduler
