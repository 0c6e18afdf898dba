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

// The parents of `child` become its children where they are no further than it and want more.
void Brain::link_back(PeerHandle handle, TimePoint now) {
  const auto& child = *peers_.find(handle);
  const auto& task = *tasks_.find(child.task);
  const auto& host = *hosts_.find(child.host);
  if (mesh_degree() <= options_.candidate_parents || !child.takes_offers || !roots_are_rare(task)) return;
  if (host.facts.disable_shared || !host.health.may_serve(now)) return;
  for (const auto& edge : child.progress->parents) {
    const auto* parent = peers_.find(edge.parent);
    if (parent == nullptr || !parent->progress || parent->counted_root || parent->terminal()) continue;
    if (!parent->takes_offers || edge.cross_site) continue;
    if (parent->partial() != child.partial() || parent->range_start != child.range_start ||
        parent->range_length != child.range_length) {
      continue;
    }
    if (parent->finished_pieces > child.finished_pieces + task.piece_count / kAhead) continue;
    const auto& others = parent->progress->parents;
    if (others.size() >= kMaxParents || parent->progress->offers >= options_.offers) continue;
    if (parent->waiting && others.empty()) continue;  // it is not being answered now
    const bool known = std::any_of(others.begin(), others.end(), [&](const ParentEdge& other) {
      const auto* it = peers_.find(other.parent);
      return it != nullptr && it->host == child.host;
    });
    if (known) continue;
    const auto units = edge_units(*parent, child, others.size() + 1);
    if (child.children_units + units > soft_limit(host) || host.used_units + units > hard_limit(host)) return;
    reserve(edge.parent, handle, units);
    peers_.find(edge.parent)->progress->untold = true;
    look_soon(edge.parent, now);
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
  alarms_.push({look_again, handle});
}

}  // namespace d7y::scheduler
