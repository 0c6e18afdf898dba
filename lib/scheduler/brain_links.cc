// The brain's lists and books: who belongs to whom, who holds how much of whose capacity. Every change of a
// peer's state goes through set_state(), every change of capacity through reserve() and release_parents().
#include <algorithm>

#include "scheduler/brain.h"

namespace d7y::scheduler {

void Brain::link(PeerHandle handle) {
  auto& peer = *peers_.find(handle);
  auto& task = *tasks_.find(peer.task);
  auto& host = *hosts_.find(peer.host);
  peer.task_after = task.first_peer;
  if (task.first_peer != kNowhere) peers_.at(task.first_peer).task_before = handle.index;
  task.first_peer = handle.index;
  ++task.peers;
  peer.host_after = host.first_peer;
  if (host.first_peer != kNowhere) peers_.at(host.first_peer).host_before = handle.index;
  host.first_peer = handle.index;
  ++host.peers;
}

void Brain::unlink(PeerHandle handle) {
  auto& peer = *peers_.find(handle);
  auto& task = *tasks_.find(peer.task);
  auto& host = *hosts_.find(peer.host);
  (peer.task_before == kNowhere ? task.first_peer : peers_.at(peer.task_before).task_after) = peer.task_after;
  if (peer.task_after != kNowhere) peers_.at(peer.task_after).task_before = peer.task_before;
  --task.peers;
  (peer.host_before == kNowhere ? host.first_peer : peers_.at(peer.host_before).host_after) = peer.host_after;
  if (peer.host_after != kNowhere) peers_.at(peer.host_after).host_before = peer.host_before;
  --host.peers;
}

// Its children keep an edge to nothing, which costs nothing and says nothing.
void Brain::remove_peer(PeerHandle handle, TimePoint now, bool with_host) {
  auto& peer = *peers_.find(handle);
  if (peer.has_stream) {
    peer.has_stream = false;
    actions_.emplace_back(EndStream{handle, ErrorCode::kNotFound, "the peer was deleted"});
  }
  unpark(peer);
  neighbours_lost(peer, now);
  release_parents(peer);
  release_token(peer);
  const bool had_all = peer.state == PeerState::kSucceeded && !peer.partial();
  set_state(handle, PeerState::kLeave, now);
  auto& host = *hosts_.find(peer.host);
  if (had_all && options_.report_copies && (with_host || !has_copy(peer.host, peer.task)))
    actions_.emplace_back(CopyGone{host.facts.id, tasks_.find(peer.task)->id});
  host.used_units -= peer.children_units;
  make_dirty(peer.task);
  unlink(handle);
  peer_ids_.erase(peer_ids_.key(peer.name.text(host.prefix)), handle.index);
  peers_.erase(handle);
}

void Brain::remove_host(HostHandle handle, TimePoint now) {
  auto& host = *hosts_.find(handle);
  while (host.first_peer != kNowhere) remove_peer(peers_.handle_of(host.first_peer), now, true);
  if (host.seed_position != kNowhere) {
    seeds_[host.seed_position] = seeds_.back();
    hosts_.find(seeds_.back())->seed_position = host.seed_position;
    seeds_.pop_back();
  }
  if (options_.report_copies) actions_.emplace_back(HostGone{host.facts.id});
  host_ids_.erase(host_ids_.key(host.facts.id), handle.index);
  hosts_.erase(handle);
}

void Brain::reserve(PeerHandle child_handle, PeerHandle parent_handle, std::uint32_t units) {
  auto& child = *peers_.find(child_handle);
  const auto& parent = *peers_.find(parent_handle);
  const auto& from = *hosts_.find(parent.host);
  const auto& to = *hosts_.find(child.host);
  ParentEdge edge;
  edge.parent = parent_handle;
  edge.host = parent.host.index;
  edge.units = static_cast<std::uint16_t>(units);
  edge.cross_site = from.site != to.site;
  if (edge.cross_site) ++bucket(*tasks_.find(child.task), to.site).inbound;
  child.progress->parents.push_back(edge);
  charge(parent_handle, 0, units);
}

void Brain::release(PeerRecord& child, const ParentEdge& edge) {
  if (edge.cross_site) --bucket(*tasks_.find(child.task), hosts_.find(child.host)->site).inbound;
  charge(edge.parent, edge.units, 0);
}

void Brain::release_parents(PeerRecord& child) {
  if (!child.progress) return;
  for (const auto& edge : child.progress->parents) release(child, edge);
  child.progress->parents.clear();
}

// A child has `after` units of a parent instead of `before`.
void Brain::charge(PeerHandle handle, std::uint32_t before, std::uint32_t after) {
  auto* parent = peers_.find(handle);
  if (parent == nullptr || before == after) return;
  auto& host = *hosts_.find(parent->host);
  const bool was_full = host.used_units >= hard_limit(host);
  parent->children_units += after - before;
  host.used_units += after - before;
  update_open(handle.index);
  if (!was_full || host.used_units >= hard_limit(host)) return;
  for (auto at = host.first_peer; at != kNowhere; at = peers_.at(at).host_after)
    make_dirty(peers_.at(at).task);
}

void Brain::set_state(PeerHandle handle, PeerState state, TimePoint now) {
  auto& peer = *peers_.find(handle);
  auto& finished = hosts_.find(peer.host)->finished;
  finished -= peer.state == PeerState::kSucceeded;
  finished += state == PeerState::kSucceeded;
  peer.state = state;
  peer.updated = now;
  recount(handle);
  consider_more_seeds(peer.task, now);
}

// Brings the task's counts and its list of open parents in line with what the peer is now.
void Brain::recount(PeerHandle handle) {
  auto& peer = *peers_.find(handle);
  auto& task = *tasks_.find(peer.task);
  const bool can_serve = usable(peer);
  const bool root = is_root(peer);
  if (can_serve != peer.counted_usable) task.usable += can_serve ? 1 : std::uint32_t(-1);
  if (root != peer.counted_root) task.roots += root ? 1 : std::uint32_t(-1);
  const bool lost_a_root = peer.counted_root && !root;
  if (root != peer.counted_root) close(handle.index);  // its place among the open ones is another
  peer.counted_usable = can_serve;
  peer.counted_root = root;
  if (root) peer.depth = 0;
  count_seed(handle);
  update_open(handle.index);
  if (lost_a_root) make_dirty(peer.task);
  if (!lost_a_root || task.roots > 0 || task.usable == 0) return;
  task.orphaned = true;
  watch(peer.task, peer.updated);
}

void Brain::count_reader(TaskRecord& task, const PeerRecord& peer, bool comes) {
  const auto change = comes ? 1 : std::uint32_t(-1);
  if (!peer.partial()) {
    task.readers += change;
    return;
  }
  auto at = std::find_if(task.ranges.begin(), task.ranges.end(), [&](const RangeReaders& range) {
    return same_range(peer, range.start, range.length);
  });
  if (at == task.ranges.end()) at = task.ranges.insert(at, {peer.range_start, peer.range_length, 0});
  at->count += change;
  if (at->count == 0) task.ranges.erase(at);
}

void Brain::take_token(PeerRecord& peer) {
  if (peer.holds_token) return;
  auto& task = *tasks_.find(peer.task);
  peer.holds_token = true;
  const auto& host = *hosts_.find(peer.host);
  peer.token_serves = !host.facts.disable_shared && !host.silent;
  if (peer.token_serves) count_reader(task, peer, true);
  ++task.tokens;
  ++origins_[task.origin].tokens;
}

void Brain::release_token(PeerRecord& peer) {
  if (!peer.holds_token) return;
  auto& task = *tasks_.find(peer.task);
  peer.holds_token = false;
  if (peer.token_serves) count_reader(task, peer, false);
  peer.token_serves = false;
  --task.tokens;
  make_dirty(peer.task);
  auto& origin = origins_[task.origin];
  const bool was_full = origin.tokens-- >= options_.origin_tokens;
  // One token, but some of those who waited for it may not want it any more.
  for (int i = 0; was_full && i < 4 && !origin.wanted_by.empty(); ++i) {
    const auto next = origin.wanted_by.front();
    origin.wanted_by.pop_front();
    if (auto* waiting = tasks_.find(next)) waiting->wants_origin = false;
    make_dirty(next);
  }
}

bool Brain::usable(const PeerRecord& peer) const {
  const auto& host = *hosts_.find(peer.host);
  if (host.facts.disable_shared || host.silent) return false;
  return peer.state == PeerState::kRunning || peer.state == PeerState::kBackToSource ||
         peer.state == PeerState::kSucceeded;
}

// Those that have the whole content or are reading it from the origin.
bool Brain::is_root(const PeerRecord& peer) const {
  return usable(peer) && !peer.partial() && peer.state != PeerState::kRunning;
}

std::uint32_t Brain::soft_limit(const HostRecord& host) const {
  return kChildUnits * (host.facts.seed ? options_.children_per_seed : options_.children_per_peer);
}
std::uint32_t Brain::hard_limit(const HostRecord& host) const {
  return kChildUnits * (host.facts.seed ? options_.seed_host_limit : options_.host_limit);
}

SiteParents& Brain::bucket(TaskRecord& task, std::uint32_t site) {
  for (auto& one : task.sites) {
    if (one.site == site) return one;
  }
  task.sites.emplace_back().site = site;
  return task.sites.back();
}

// A peer is open while it may be a parent and has room below its soft limit.
void Brain::update_open(std::uint32_t position) {
  auto& peer = peers_.at(position);
  const auto& host = *hosts_.find(peer.host);
  auto& task = *tasks_.find(peer.task);
  const bool open =
      peer.counted_usable && peer.children_units + kChildUnits / kMaxParents <= soft_limit(host);
  if (open == (peer.open_position != kNowhere)) return;
  if (!open) return close(position);
  auto& here = bucket(task, host.site);
  auto& list = here.open;
  peer.open_position = list.size();
  list.push_back(position);
  ++task.open;
  if (peer.counted_root) swap_open(list, peer.open_position, here.open_roots++);
  make_dirty(peer.task);
}

void Brain::close(std::uint32_t position) {
  auto& peer = peers_.at(position);
  if (peer.open_position == kNowhere) return;
  auto& task = *tasks_.find(peer.task);
  auto& here = bucket(task, hosts_.find(peer.host)->site);
  auto& list = here.open;
  if (peer.open_position < here.open_roots) swap_open(list, peer.open_position, --here.open_roots);
  swap_open(list, peer.open_position, list.size() - 1);
  list.pop_back();
  --task.open;
  peer.open_position = kNowhere;
}

void Brain::swap_open(CompactList<std::uint32_t>& list, std::uint32_t a, std::uint32_t b) {
  std::swap(list[a], list[b]);
  peers_.at(list[a]).open_position = a;
  peers_.at(list[b]).open_position = b;
}

}  // namespace d7y::scheduler
