// Parents for those who listen, d7y's own clients: while few have everything they form a mesh. Whoever comes
// takes a few of the others as parents and becomes theirs, so that each has about as many children as
// parents, gets an equal part of each one's uplink, and pieces go both ways. Reasons: docs/scheduling.md.
#include <algorithm>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

// News of parents are sent together, not one by one.
constexpr Duration kSoon = std::chrono::milliseconds(30);
// One whose child has this part of the content more than it has nothing to get from it for long.
constexpr std::uint32_t kAhead = 8;

// One whose uplink is slower by this power of two is no parent for it.
constexpr float kSlower = 2;

}  // namespace

// Neighbours of one in a mesh; who was told to give few parents makes no meshes.
std::size_t Brain::mesh_degree() const {
  const std::size_t wanted = options_.candidate_parents;
  return std::min<std::size_t>(wanted < 4 ? wanted : 2 * wanted, kMaxParents - 2);
}

// Parents to be looked for, those who have everything aside.
std::size_t Brain::wanted_parents(const PeerRecord& child) const {
  const auto& task = *tasks_.find(child.task);
  const auto few = std::min<std::size_t>(options_.candidate_parents, kMaxParents);
  if (!child.takes_offers || !roots_are_rare(task)) return few;
  // Half of its neighbours come later, unless the swarm is so small that everyone is everyone's neighbour.
  const auto swarm = task.usable + (task.waiting.size() - task.waiting_from);
  return !child.waiting || swarm <= mesh_degree() + 1 ? mesh_degree() : few;
}

// Whether a parent of `child` is on that host.
bool Brain::has_parent_on(const PeerRecord& child, HostHandle host) const {
  const auto& parents = child.progress->parents;
  return std::any_of(parents.begin(), parents.end(), [&](const ParentEdge& edge) {
    return edge.host == host.index && peers_.find(edge.parent) != nullptr;
  });
}

// Those parents of `child` that could become its children as well, by their own records. The rest of what is
// known of them is on its way when this returns.
ParentList Brain::neighbours_of(const PeerRecord& child) const {
  const auto& edges = child.progress->parents;
  for (const auto& edge : edges) peers_.prefetch_all(edge.parent.index);
  const auto most = child.finished_pieces + tasks_.find(child.task)->piece_count / kAhead;
  ParentList found;
  for (const auto& edge : edges) {
    const auto* parent = peers_.find(edge.parent);
    if (parent == nullptr || parent->counted_root || parent->terminal()) continue;
    if (!parent->takes_offers || edge.cross_site || parent->finished_pieces > most) continue;
    if (parent->range_start != child.range_start || parent->range_length != child.range_length) continue;
    found.push_back(edge.parent);
    __builtin_prefetch(parent->progress.get());
  }
  for (const auto handle : found) __builtin_prefetch(peers_.at(handle.index).progress->parents.begin());
  return found;
}

// The parents of `child` become its children where they are no further than it and want more.
void Brain::link_back(PeerHandle handle, TimePoint now) {
  const auto& child = *peers_.find(handle);
  const auto& task = *tasks_.find(child.task);
  const auto& host = *hosts_.find(child.host);
  if (mesh_degree() <= options_.candidate_parents || !child.takes_offers || !roots_are_rare(task)) return;
  if (host.facts.disable_shared || !host.health.may_serve(now)) return;
  for (const auto neighbour : neighbours_of(child)) {
    auto& parent = peers_.at(neighbour.index);
    auto& progress = *parent.progress;
    const auto count = progress.parents.size();
    if (count >= kMaxParents || progress.offers >= options_.offers) continue;
    if (parent.waiting && count == 0) continue;  // it is not being answered now
    if (has_parent_on(parent, child.host)) continue;
    const auto uplink = hosts_.find(parent.host)->uplink;
    if (uplink > 0 && host.uplink > 0 && host.uplink + kSlower <= uplink) continue;
    const auto units = edge_units(parent, child, count + 1);
    if (child.children_units + units > soft_limit(host) || host.used_units + units > hard_limit(host)) return;
    reserve(neighbour, handle, units);
    progress.untold = true;
    look_soon(neighbour, now);
  }
}

// Those who had `peer` as a neighbour may want another.
void Brain::neighbours_lost(const PeerRecord& peer, TimePoint now) {
  if (!peer.progress || !peer.takes_offers) return;
  for (const auto& edge : peer.progress->parents) look_soon(edge.parent, now);
}

void Brain::look_soon(PeerHandle handle, TimePoint now) {
  auto* peer = peers_.find(handle);
  if (peer == nullptr || !peer->progress || peer->terminal() || !peer->takes_offers || peer->waiting) return;
  auto& look_again = peer->progress->look_again;
  if (look_again != TimePoint{} && look_again <= now + kSoon) return;
  look_again = now + kSoon;
  alarms_.set(now, kSoon, handle);
}

}  // namespace d7y::scheduler
