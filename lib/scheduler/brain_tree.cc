// Parents for those who do not listen: unmodified clients, who take each piece from whoever tells them of it
// first, and keep the parents of their first answer to the end. While few have everything, each gets one
// parent: a place in a tree. Reasons: docs/scheduling.md.
#include <algorithm>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr std::uint32_t kLookAhead = 32;  // nodes looked at for one place
// Content with so many pieces for each host goes along a path: it then takes at most 1.8 times as long as to
// one.
constexpr std::size_t kPiecesPerHost = 10;
// In a mesh, children of one that has everything, and of others at most.
constexpr std::uint32_t kRootChildren = 20, kMostChildren = 12;

}  // namespace

// Few have everything: whatever only they have must come from them.
bool Brain::roots_are_rare(const TaskRecord& task) { return task.roots < task.usable / 8 + 4; }

// What `parent` spends on one of `edges` parents of `child`.
std::uint32_t Brain::edge_units(const PeerRecord& child, const PeerRecord& parent, std::size_t edges) const {
  const auto share = static_cast<std::uint32_t>(kChildUnits / edges);
  // Who does not pass anything on takes as much as if nobody did.
  if (!roots_are_rare(*tasks_.find(child.task)) || hosts_.find(child.host)->facts.disable_shared)
    return share;
  const auto limit = soft_limit(*hosts_.find(parent.host));
  if (child.takes_offers)
    return std::max(share, limit / (parent.counted_root ? kRootChildren : kMostChildren));
  // One that has everything tells of everything first, and sends it all.
  if (parent.counted_root) {
    const auto part = path_pays(*tasks_.find(child.task)) ? limit : limit / 2;
    return std::max<std::uint32_t>(part / static_cast<std::uint32_t>(edges), 1);
  }
  return branch_of(*tasks_.find(child.task));
}

// In a small cluster a path is faster than a tree: everybody has one child, and gives it his whole uplink.
// Each hop adds the time of eight pieces, a tree nearly all of the content's. Who will come is not known, but
// no more than are here.
bool Brain::path_pays(const TaskRecord& task) const {
  const auto hosts = hosts_.size() - std::min(hosts_.size(), seeds_.size());
  return task.sites.size() <= 1 && hosts * kPiecesPerHost <= task.piece_count;
}

std::uint32_t Brain::branch_of(const TaskRecord& task) const {
  return path_pays(task) ? kChildUnits : kBranch;
}

// A place under somebody in `tree`, the nearest to the source first. `most`: units that it may spend in all.
PeerHandle Brain::free_place(Tree& tree, const PeerRecord& child, std::uint32_t most, TimePoint now) {
  const auto passes_on = [&](const PeerRecord* node) {
    if (node == nullptr || !node->progress || node->terminal()) return false;
    const auto& parents = node->progress->parents;
    return std::any_of(parents.begin(), parents.end(), [&](const ParentEdge& edge) {
      const auto* parent = peers_.find(edge.parent);
      return parent != nullptr && parent->state != PeerState::kFailed;
    });
  };
  const auto branch = branch_of(*tasks_.find(child.task));
  while (tree.from < tree.nodes.size()) {
    const auto* node = peers_.find(tree.nodes[tree.from]);
    if (passes_on(node) && node->children_units + branch <= kChildUnits) break;
    ++tree.from;
  }
  // Full ones bear one more only if nobody else does.
  const auto from = most <= kChildUnits ? tree.from : tree.from - std::min(tree.from, kLookAhead);
  for (auto at = from; at < tree.nodes.size() && at < from + 2 * kLookAhead; ++at) {
    const auto* node = peers_.find(tree.nodes[at]);
    if (!passes_on(node) || node->host == child.host || node->children_units + branch > most) continue;
    if (node->range_start != child.range_start || node->range_length != child.range_length) continue;
    if (!hosts_.find(node->host)->health.may_serve(now)) continue;
    return tree.nodes[at];
  }
  return {};
}

// The one parent of an unmodified client, or all those who have everything and have room; reserved. False if
// it has to wait.
bool Brain::place(PeerHandle handle, TimePoint now) {
  const auto& child = *peers_.find(handle);
  auto& task = *tasks_.find(child.task);
  const auto site = hosts_.find(child.host)->site;
  // Next to the source if there is room, in the child's own site before others.
  const auto wanted = std::min<std::size_t>(options_.candidate_parents, kMaxParents);
  const auto roots = choose(handle, wanted, Among::kOpenRoots, now);
  const auto in_site = [&](PeerHandle peer) { return hosts_.find(peers_.find(peer)->host)->site == site; };
  PeerHandle parent;
  // Who passes nothing on, or nobody waits for, leaves the places next to the source to others.
  const bool gives_way = hosts_.find(child.host)->facts.disable_shared || is_more_seed(task, child.host);
  if (roots.empty() || !in_site(roots.front()) || gives_way)
    parent = free_place(bucket(task, site).tree, child, kChildUnits, now);
  if (!parent && !roots.empty()) {
    for (const auto root : roots) reserve(handle, root, edge_units(child, *peers_.find(root), roots.size()));
    add_to_tree(handle);
    return true;
  }
  if (!parent && bucket(task, site).inbound < options_.cross_site_budget) {
    for (auto& other : task.sites) {
      if (other.site != site && !parent) parent = free_place(other.tree, child, kChildUnits, now);
    }
  }
  if (!parent) parent = free_place(bucket(task, site).tree, child, kChildUnits + branch_of(task), now);
  if (!parent) {
    const auto any = choose(handle, wanted, Among::kOpen, now);
    if (!any.empty()) parent = any.front();
  }
  if (!parent) return false;
  reserve(handle, parent, edge_units(child, *peers_.find(parent), 1));
  add_to_tree(handle);
  return true;
}

bool Brain::has_tree(const TaskRecord& task) {
  return std::any_of(task.sites.begin(), task.sites.end(),
                     [](const SiteParents& site) { return site.tree.from < site.tree.nodes.size(); });
}

void Brain::add_to_tree(PeerHandle handle) {
  const auto& peer = *peers_.find(handle);
  const auto& host = *hosts_.find(peer.host);
  if (host.facts.disable_shared) return;
  auto& tree = bucket(*tasks_.find(peer.task), host.site).tree;
  tree.nodes.push_back(handle);
  if (tree.from <= 64 || tree.from * 2 <= tree.nodes.size()) return;
  tree.nodes.erase_first(tree.from);
  tree.from = 0;
}

}  // namespace d7y::scheduler
