// Parents for those who do not listen: unmodified clients, who take each piece from whoever tells them of it
// first, and keep the parents of their first answer to the end. While few have everything, each gets one
// parent: a place in a tree. Reasons: docs/scheduling.md.
#include <algorithm>
#include <array>
#include <cmath>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr std::uint32_t kLookAhead = 32;  // nodes looked at for one place
// Content with so many pieces for each host goes along a path: it then takes at most twice as long as to
// one.
constexpr std::size_t kPiecesPerHost = 8;
// In a mesh, children of one that has everything, and of others at most.
constexpr std::uint32_t kRootChildren = 20, kMostChildren = 12;

// By this power of two an uplink is so much slower that it would hold up those behind it. And the parts of a
// place, or of one that has everything, of which slow children get one.
constexpr float kSlower = 1, kMostShares = 5;

// Uplinks of one band are at most twice apart.
constexpr int kBands = 40;
static_assert(kUnknownBandwidth <= std::uint64_t{1} << (kBands - 1));
std::uint8_t band_of(const HostRecord& host) { return static_cast<std::uint8_t>(std::lround(host.uplink)); }

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
    // Those to whom it deals take that, whoever else is their parent; others nothing before that is over.
    const auto& twins = tasks_.find(child.task)->twins;
    if (twins && peers_.find(twins->dealer) == &parent) {
      if (edges > 1 && !is_dealt_to(*twins, child)) return 1;
      edges = 1;
    }
    return std::max<std::uint32_t>(share_of(part, child, parent) / static_cast<std::uint32_t>(edges), 1);
  }
  if (parent.takes_offers) return share;
  return share_of(branch_of(*tasks_.find(child.task)), child, parent);
}

// Of `units` of `parent`, what `child` can use if its downlink is as fast as its uplink, but not less than a
// fifth: what hosts say of their interfaces need not be true of their ways.
std::uint32_t Brain::share_of(std::uint32_t units, const PeerRecord& child, const PeerRecord& parent) const {
  const auto down = hosts_.find(child.host)->uplink, up = hosts_.find(parent.host)->uplink;
  if (down <= 0 || up <= 0 || down >= up) return units;
  const auto shares = std::min(std::exp2(up - down), kMostShares);
  return static_cast<std::uint32_t>(std::ceil(static_cast<float>(units) / shares));
}

// So that what goes by way of `parent` would be late for `child` and all behind it.
bool Brain::slower(const PeerRecord& parent, const PeerRecord& child) const {
  const auto of = hosts_.find(parent.host)->uplink, to = hosts_.find(child.host)->uplink;
  return of > 0 && to > 0 && of + kSlower <= to;
}

// The same, of most.
bool Brain::is_slow(const HostRecord& host) const {
  return host.uplink > 0 && host.uplink + kSlower <= usual_uplink_;
}

// In a small cluster a path is faster than a tree: everybody has one child, and gives it his whole uplink.
// Each hop adds the time of eight pieces, a tree nearly all of the content's. Who will come is not known, but
// no more than are here. Seeds with fast uplinks begin several paths.
bool Brain::path_pays(const TaskRecord& task) const {
  if (task.sites.size() > 1) return false;
  float paths = 0;
  for (const auto position : task.seeds) {
    const auto& seed = peers_.at(position);
    const auto uplink = hosts_.find(seed.host)->uplink;
    if (seed.counted_root)
      paths += uplink > 0 && usual_uplink_ > 0
                   ? std::clamp(std::exp2(uplink - usual_uplink_), 1.0F, kMostShares - 1)
                   : 1;
  }
  const auto hosts = hosts_.size() - std::min(hosts_.size(), seeds_.size());
  return static_cast<float>(hosts * kPiecesPerHost) <=
         static_cast<float>(task.piece_count) * std::max(paths, 1.0F);
}

std::uint32_t Brain::branch_of(const TaskRecord& task) const {
  return path_pays(task) ? kChildUnits : kBranch;
}

// A place in a site: under one with an uplink like the child's own before others, and never under one whose
// uplink is slower; who does not say how fast it is begins with the fastest. `most`: units that it may spend
// in all.
PeerHandle Brain::free_place(SiteParents& site, const PeerRecord& child, std::uint32_t most, TimePoint now) {
  std::array<Tree*, kBands> trees{};
  for (auto* tree = &site.tree; tree != nullptr; tree = tree->next.get()) trees[tree->band] = tree;
  const int said = band_of(*hosts_.find(child.host)), own = said > 0 ? said : kBands - 1;
  for (int apart = 0; apart < kBands; ++apart) {
    for (const int band : {own + apart, own - apart}) {
      if (band < 0 || band >= kBands || trees[band] == nullptr) continue;
      if (const auto found = free_place(*trees[band], child, most, now)) return found;
      trees[band] = nullptr;
    }
  }
  return {};
}

// The same in one tree, the nearest to the source first.
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
    if (passes_on(node) && node->children_units + branch <= kChildUnits + kSlowRoom) break;
    ++tree.from;
  }
  // Full ones bear one more only if nobody else does.
  const auto from = most <= kChildUnits ? tree.from : tree.from - std::min(tree.from, kLookAhead);
  for (auto at = from; at < tree.nodes.size() && at < from + 2 * kLookAhead; ++at) {
    const auto* node = peers_.find(tree.nodes[at]);
    if (!passes_on(node) || node->host == child.host || slower(*node, child)) continue;
    if (node->children_units + share_of(branch, child, *node) > most + kSlowRoom) continue;
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
  const auto& host = *hosts_.find(child.host);
  const auto site = host.site;
  // Next to the source if there is room, in the child's own site before others.
  const auto wanted = std::min<std::size_t>(options_.candidate_parents, kMaxParents);
  const auto roots = choose(handle, wanted, Among::kOpenRoots, now);
  const auto in_site = [&](PeerHandle peer) { return hosts_.find(peers_.find(peer)->host)->site == site; };
  PeerHandle parent;
  // Who passes nothing on, or slowly, or whom nobody waits for, leaves the places next to the source to
  // others; and who cannot use all of the last one.
  const bool slow = is_slow(host);
  const auto fills = [&](PeerHandle at) {
    const auto& root = *peers_.find(at);
    const auto units = root.children_units + edge_units(child, root, roots.size());
    return slower(child, root) && units >= soft_limit(*hosts_.find(root.host));
  };
  // Below a mesh of those who listen a tree begins once, since they need all of the source's uplink.
  const auto mesh = roots.empty() ? roots : choose(handle, wanted, Among::kOpenMesh, now);
  const bool below_mesh = mesh.size() >= 2;
  const bool gives_way = below_mesh || slow || host.facts.disable_shared || is_more_seed(task, child.host) ||
                         std::any_of(roots.begin(), roots.end(), fills);
  if (roots.empty() || !in_site(roots.front()) || gives_way)
    parent = free_place(bucket(task, site), child, kChildUnits, now);
  if (!parent && (roots.empty() || gives_way) && place_by_twins(handle)) return true;
  const auto& heads = below_mesh ? mesh : roots;
  if (!parent && !heads.empty()) {
    for (const auto head : heads) reserve(handle, head, edge_units(child, *peers_.find(head), heads.size()));
    add_to_tree(handle);
    return true;
  }
  if (!parent && bucket(task, site).inbound < options_.cross_site_budget) {
    for (auto& other : task.sites) {
      if (other.site != site && !parent) parent = free_place(other, child, kChildUnits, now);
    }
  }
  if (!parent) parent = free_place(bucket(task, site), child, kChildUnits + branch_of(task), now);
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
  for (const auto& site : task.sites) {
    for (const auto* tree = &site.tree; tree != nullptr; tree = tree->next.get()) {
      if (tree->from < tree->nodes.size()) return true;
    }
  }
  return false;
}

void Brain::add_to_tree(PeerHandle handle) {
  const auto& peer = *peers_.find(handle);
  const auto& host = *hosts_.find(peer.host);
  if (host.facts.disable_shared) return;
  auto* at = &bucket(*tasks_.find(peer.task), host.site).tree;
  const auto band = band_of(host);
  if (at->nodes.empty()) at->band = band;
  while (at->band != band) {
    if (!at->next) {
      at->next = std::make_unique<Tree>();
      at->next->band = band;
    }
    at = at->next.get();
  }
  auto& tree = *at;
  tree.nodes.push_back(handle);
  if (tree.from <= 64 || tree.from * 2 <= tree.nodes.size()) return;
  tree.nodes.erase_first(tree.from);
  tree.from = 0;
}

}  // namespace d7y::scheduler
