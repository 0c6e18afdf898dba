// Seeds: which one is asked to fetch a task for others, and when a second one is.
#include <algorithm>
#include <utility>

#include "base/siphash.h"
#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kMostWanting = 65536;  // tasks that nobody fetches
constexpr std::size_t kSeedsOfHotTask = 2;
constexpr std::size_t kNewest = 256;  // peers of a host among which one is looked for

// Rendezvous hashing: every seed has its own tasks, and they stay its own when others come and go.
std::uint64_t weight_of(const TaskRecord& task, const HostRecord& seed) {
  return siphash24(as_bytes(task.id + "\n" + seed.facts.id)) | 1;
}

bool failed_before(const TaskRecord& task, const HostRecord& seed) {
  return std::find(task.seeds_failed.begin(), task.seeds_failed.end(), seed.facts.id) !=
         task.seeds_failed.end();
}

}  // namespace

// Nobody may fetch it: it is looked at again when a seed comes.
void Brain::want_seed(TaskHandle handle) {
  auto& task = *tasks_.find(handle);
  if (task.wants_seed || wants_seed_.size() >= kMostWanting) return;
  task.wants_seed = true;
  wants_seed_.push_back(handle);
}

void Brain::seed_came() {
  for (const auto handle : std::exchange(wants_seed_, {})) {
    if (auto* task = tasks_.find(handle)) task->wants_seed = false;
    make_dirty(handle);
  }
}

// 0 is none.
std::uint32_t Brain::next_attempt() {
  if (++attempts_ == 0) ++attempts_;
  return attempts_;
}

bool Brain::seed_may_be_asked(const HostRecord& seed, bool even_quarantined, TimePoint now) const {
  if (seed.facts.disable_shared || seed.silent || now < seed.unreachable_until) return false;
  return even_quarantined || seed.health.may_serve(now);
}

PeerHandle Brain::peer_on_seed(const TaskRecord& task, HostHandle seed) const {
  const auto found = std::find_if(task.seeds.begin(), task.seeds.end(),
                                  [&](std::uint32_t at) { return peers_.at(at).host == seed; });
  return found != task.seeds.end() ? peers_.handle_of(*found) : PeerHandle{};
}

PeerHandle Brain::waiting_on(HostHandle host, TaskHandle task) const {
  std::size_t looked = 0;
  for (auto at = hosts_.find(host)->first_peer; at != kNowhere && looked < kNewest;
       at = peers_.at(at).host_after, ++looked) {
    if (peers_.at(at).task == task && peers_.at(at).waiting) return peers_.handle_of(at);
  }
  return {};
}

// A seed that downloads a task for itself, or for a preheat, and is asked to fetch it for others, does both
// in one conversation: it must not wait there for itself.
bool Brain::was_asked(const PeerRecord& peer) const {
  const auto& task = *tasks_.find(peer.task);
  return task.seed_attempt != 0 && task.seed == peer.host && task.readers == 0 &&
         !peer.disable_back_to_source && same_range(peer, task.seed_range_start, task.seed_range_length);
}

void Brain::send_seed_to_source(PeerHandle handle, TimePoint now) {
  tell_back_to_source(handle, "it was asked to fetch the content for others", now);
}

// To read the origin. One that gets the task from others already has less to read.
bool Brain::trigger_seed(TaskHandle handle, bool even_quarantined, TimePoint now) {
  auto& task = *tasks_.find(handle);
  if (now < task.seed_rest_until || task.download.empty()) return false;
  HostHandle best;
  std::pair<bool, std::uint64_t> best_merit;
  for (const auto candidate : seeds_) {
    const auto& host = *hosts_.find(candidate);
    if (!seed_may_be_asked(host, even_quarantined, now) || failed_before(task, host)) continue;
    const std::pair merit(static_cast<bool>(peer_on_seed(task, candidate)), weight_of(task, host));
    if (merit <= best_merit) continue;
    best_merit = merit;
    best = candidate;
  }
  if (!best) {
    if (!task.seeds_failed.empty()) {  // all were tried
      task.seeds_failed.clear();
      task.seed_rest_until = now + options_.seed_rest;
    }
    return false;
  }
  if (const auto there = peer_on_seed(task, best)) peers_.find(there)->disable_back_to_source = false;
  task.seed = best;
  task.seed_attempt = next_attempt();
  task.seed_asked = now;
  const bool waits = task.waiting_from < task.waiting.size();
  const auto* child = waits ? peers_.find(task.waiting[task.waiting_from]) : nullptr;
  task.seed_range_start = child != nullptr ? child->range_start : 0;
  task.seed_range_length = child != nullptr ? child->range_length : 0;
  actions_.emplace_back(
      TriggerSeed{handle, best, task.seed_attempt, task.seed_range_start, task.seed_range_length});
  const auto waiting = waiting_on(best, handle);
  if (waiting && was_asked(*peers_.find(waiting))) send_seed_to_source(waiting, now);
  return true;
}

void Brain::seed_ended(TaskHandle handle, std::uint32_t attempt, SeedOutcome outcome, TimePoint now) {
  auto* task = tasks_.find(handle);
  if (task == nullptr || attempt == 0) return;
  if (task->more_attempt == attempt) return more_seed_ended(*task, outcome, now);
  if (task->seed_attempt != attempt) return;
  task->seed_attempt = 0;
  task->updated = now;
  auto* host = hosts_.find(task->seed);
  const bool has_range = task->seed_range_length != 0 && host != nullptr && finished_any(*host, handle);
  if (outcome == SeedOutcome::kDone && (task->roots > 0 || has_range)) {
    task->seeds_failed.clear();
    make_dirty(handle);
    return;
  }
  if (outcome == SeedOutcome::kRefused) {
    note_refusal(*task, now);
  } else if (host != nullptr) {
    if (outcome == SeedOutcome::kUnreachable) host->unreachable_until = now + options_.seed_unreachable;
    if (outcome != SeedOutcome::kUnreachable) task->seeds_failed.push_back(host->facts.id);
  }
  make_dirty(handle);
}

// Keeps a task's list of seeds in line with what its peer is now; part of recount().
void Brain::count_seed(PeerHandle handle) {
  auto& peer = *peers_.find(handle);
  const bool is_one = peer.counted_usable && hosts_.find(peer.host)->facts.seed;
  if (is_one == peer.counted_seed) return;
  auto& seeds = tasks_.find(peer.task)->seeds;
  if (is_one) {
    seeds.push_back(handle.index);
  } else {
    seeds.erase_if([&](std::uint32_t at) { return at == handle.index; });
  }
  peer.counted_seed = is_one;
}

// It was asked to get the task from others, and is at it.
bool Brain::is_more_seed(const TaskRecord& task, HostHandle host) {
  return task.more_attempt != 0 && task.more_seed == host;
}

// A hot task has few who have all of it for the many who want it. A second seed gets it from them, like any
// other peer, and never from the origin: then the loss of one seed does not stop everybody, and those who
// come later find two. First a seed in a site whose peers have none yet.
void Brain::consider_more_seeds(TaskHandle handle, TimePoint now) {
  auto& task = *tasks_.find(handle);
  if (options_.hot_task == 0 || seeds_.size() < kSeedsOfHotTask) return;
  if (task.usable < options_.hot_task || task.roots == 0) return;
  if (task.more_attempt != 0 || task.seeds.size() >= kSeedsOfHotTask || now < task.more_rest_until) return;
  if (!roots_are_rare(task) || task.download.empty()) return;
  HostHandle best;
  std::pair<bool, std::uint64_t> best_merit;
  for (const auto candidate : seeds_) {
    const auto& host = *hosts_.find(candidate);
    if (!seed_may_be_asked(host, false, now) || failed_before(task, host)) continue;
    if (peer_on_seed(task, candidate) || (task.seed_attempt != 0 && task.seed == candidate)) continue;
    const auto in_site = [&](std::uint32_t at) { return hosts_.find(peers_.at(at).host)->site == host.site; };
    const bool without = std::none_of(task.seeds.begin(), task.seeds.end(), in_site) &&
                         std::any_of(task.sites.begin(), task.sites.end(),
                                     [&](const SiteParents& site) { return site.site == host.site; });
    const std::pair merit(without, weight_of(task, host));
    if (merit <= best_merit) continue;
    best_merit = merit;
    best = candidate;
  }
  task.more_rest_until = now + options_.seed_rest;
  if (!best) return;
  task.more_seed = best;
  task.more_attempt = next_attempt();
  TriggerSeed action{handle, best, task.more_attempt};
  action.from_peers = true;
  actions_.emplace_back(action);
}

void Brain::more_seed_ended(TaskRecord& task, SeedOutcome outcome, TimePoint now) {
  task.more_attempt = 0;
  auto* host = hosts_.find(task.more_seed);
  if (host != nullptr && outcome == SeedOutcome::kUnreachable)
    host->unreachable_until = now + options_.seed_unreachable;
}

}  // namespace d7y::scheduler
