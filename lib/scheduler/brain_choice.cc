// Who is a good parent for whom. Formulas and their reasons: docs/scheduling.md.
#include <algorithm>
#include <cmath>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kSampleHere = 24;       // open parents looked at in the child's own site
constexpr std::size_t kSampleElsewhere = 12;  // and in all others together
constexpr std::size_t kRangeSearch = 1024;    // of open parents, for one that wants a range
constexpr std::size_t kSampleHard = 512;      // of all usable ones, when soft limits no longer count
constexpr std::size_t kMostAncestors = 128;   // looked at for a circle
constexpr std::uint32_t kMayLag = 8;  // the part of the content by which a parent in a tree may be behind

// In a mesh one is slow whose uplink is less than the usual by this power of two; and the part of a root that
// such ones may take of it before others.
constexpr float kSlow = 2;
constexpr std::uint32_t kSlowChildren = 5;

// How far apart two different sites are: 1 to 4, the less of the location in common the more.
double distance(const Site& a, const Site& b) {
  int common = 0;
  std::string_view x = a.location, y = b.location;
  while (!x.empty() && !y.empty() && common < 5) {
    const auto end_x = std::min(x.find('|'), x.size());
    const auto end_y = std::min(y.find('|'), y.size());
    if (x.substr(0, end_x) != y.substr(0, end_y)) break;
    ++common;
    x.remove_prefix(std::min(end_x + 1, x.size()));
    y.remove_prefix(std::min(end_y + 1, y.size()));
  }
  return 4 - 3 * common / 5.0;
}

}  // namespace

// splitmix64: every run with one seed makes the same choices.
std::uint64_t Brain::random() {
  std::uint64_t z = (random_state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// What the peer's own record says: most of those that are out are out by it, and the host's is elsewhere in
// memory.
bool Brain::fits(const PeerRecord& child, const PeerRecord& parent, bool hard, TimePoint now) const {
  if (parent.host == child.host || !parent.counted_usable) return false;
  if (parent.partial() &&
      (parent.range_start != child.range_start || parent.range_length != child.range_length)) {
    return false;
  }
  const bool too_deep = !hard && !parent.counted_root && parent.depth >= options_.max_depth;
  if (too_deep && (child.takes_offers || !roots_are_rare(*tasks_.find(child.task)))) return false;
  // One that is no further waits for the same pieces. In a tree that is better than an uplink that others
  // need, if it does not wait for this child.
  if (!child.progress->rescheduling || parent.counted_root || parent.partial() ||
      parent.finished_pieces > child.finished_pieces)
    return true;
  if (child.takes_offers || left_a_reader(child, now)) return false;
  const auto& task = *tasks_.find(child.task);
  return roots_are_rare(task) && parent.finished_pieces + task.piece_count / kMayLag >= child.finished_pieces;
}

bool Brain::host_may_serve(const HostRecord& host, TimePoint now) const {
  const auto health = host.health.state(now);
  if (health == HostHealth::State::kQuarantined) return false;
  if (health == HostHealth::State::kProbation && host.used_units >= kChildUnits) return false;
  return host.used_units + kChildUnits / kMaxParents <= hard_limit(host);
}

bool Brain::is_blocked(const PeerRecord& child, PeerHandle parent, TimePoint now) const {
  const auto& blocked = child.progress->blocked;
  return std::any_of(blocked.begin(), blocked.end(), [&](const BlockedParent& block) {
    if (block.until <= now || block.parent != parent) return false;
    const auto& record = peers_.at(parent.index);
    return record.finished_pieces <= block.pieces && !(block.to_read && record.holds_token);
  });
}

// A reader of the origin gave it nothing any more.
bool Brain::left_a_reader(const PeerRecord& child, TimePoint now) const {
  const auto& blocked = child.progress->blocked;
  return std::any_of(blocked.begin(), blocked.end(), [&](const BlockedParent& block) {
    const auto* parent = peers_.find(block.parent);
    return parent != nullptr && parent->token_serves && parent->finished_pieces > 0 &&
           is_blocked(child, block.parent, now);
  });
}

// Less is better. One unit is about what one level of distance or a full parent is worth.
double Brain::score(const Choice& choice, const PeerRecord& parent, const HostRecord& host) {
  double points = host.site == choice.site ? 0 : 3 * distance(sites_[choice.site], sites_[host.site]);
  points += 2.0 * parent.children_units / soft_limit(host);
  // In a mesh everyone is equal, and nobody shall have more than others.
  if (parent.state != PeerState::kSucceeded) points += 0.5 + (choice.mesh ? 0 : 0.15 * parent.depth);
  const auto pieces = choice.task.piece_count;
  if (pieces > 0) points -= 0.5 * parent.finished_pieces / pieces;
  if (parent.partial()) points += 1;
  if (host.health.rate() > 0 && usual_rate_ > 0) {
    points -= std::clamp(std::log2(host.health.rate() / usual_rate_), -3.0, 1.0);
  }
  if (host.health.state(choice.now) == HostHealth::State::kProbation) points += 2;
  // Like with like: what goes by way of a slow one is late for everybody behind it.
  if (choice.mesh && !parent.counted_root && host.uplink > 0 && choice.uplink > 0)
    points += std::min(0.75 * std::abs(host.uplink - choice.uplink), 3.0);
  return points + static_cast<double>(random() >> 40) / static_cast<double>(1 << 24) * 0.25;
}

// Of all in the sample: memory is asked for those of one step together, before any of them is looked at.
void Brain::consider_sample(const Choice& choice) {
  for (const auto position : sample_) peers_.prefetch(position);
  std::erase_if(sample_, [&](std::uint32_t position) {
    return !fits(choice.child, peers_.at(position), choice.among == Among::kAll, choice.now);
  });
  for (const auto position : sample_) hosts_.prefetch(peers_.at(position).host.index);
  for (const auto position : sample_) consider(choice, position);
  sample_.clear();
}

void Brain::consider(const Choice& choice, std::uint32_t position) {
  const auto& parent = peers_.at(position);
  const auto& host = hosts_.at(parent.host.index);
  if (!host_may_serve(host, choice.now)) return;
  if (is_blocked(choice.child, peers_.handle_of(position), choice.now)) return;
  if (std::find(choice.has.begin(), choice.has.end(), parent.host.index) != choice.has.end()) return;
  candidates_.push_back({position, host.site != choice.site, score(choice, parent, host)});
}

// An unmodified client takes each piece from whoever tells it first and never changes its mind, so whoever
// has everything would send everything. It gets complete parents, which share evenly; or those that are still
// downloading. While few have everything, those of them that are full are left out even if the child has
// waited long, because all others depend on them; and of the rest, an idle uplink is better than a near one.
// Slow ones are for slow ones.
void Brain::keep_level(bool hard, const PeerRecord& child) {
  const auto pieces = child.finished_pieces;
  const bool rare = roots_are_rare(*tasks_.find(peers_.at(candidates_.front().position).task));
  const auto at = [&](const Candidate& candidate) -> const PeerRecord& {
    return peers_.at(candidate.position);
  };
  const auto keep = [&](const auto& which) {
    if (std::none_of(candidates_.begin(), candidates_.end(), which)) return false;
    std::erase_if(candidates_, [&](const Candidate& candidate) { return !which(candidate); });
    return true;
  };
  keep([&](const Candidate& c) { return !slower(at(c), child); });
  if (hard) {
    if (rare)
      keep([&](const Candidate& c) { return !at(c).counted_root || at(c).open_position != kNowhere; });
  } else if (keep([&](const Candidate& c) { return at(c).counted_root; })) {
    return;
  }
  const auto branch = branch_of(*tasks_.find(peers_.at(candidates_.front().position).task));
  if (!rare) return;
  const auto has_room = [&](const Candidate& c) { return at(c).children_units + branch <= kChildUnits; };
  if (keep([&](const Candidate& c) { return has_room(c) && at(c).finished_pieces > pieces; })) return;
  if (!keep(has_room)) keep([&](const Candidate& c) { return at(c).finished_pieces > pieces; });
}

// A mesh leaves the trees of those who do not listen alone, where it can do without them: they pass on all
// that they can.
void Brain::keep_listeners() {
  const auto of_the_mesh = [&](const Candidate& candidate) {
    const auto& parent = peers_.at(candidate.position);
    return parent.counted_root || parent.takes_offers;
  };
  if (std::count_if(candidates_.begin(), candidates_.end(), of_the_mesh) < 2) return;
  std::erase_if(candidates_, [&](const Candidate& candidate) { return !of_the_mesh(candidate); });
}

// Adds some of the open parents of a site to the sample; of them some that have everything, if there are any.
void Brain::sample(const SiteParents& site, std::size_t count, const Choice& choice) {
  const auto some = [&](std::size_t first, std::size_t size, std::size_t most) {
    if (size == 0 || most == 0) return;
    const std::size_t start = size > most ? random() % size : 0;
    // Those side by side came together, and are neighbours in the swarm as well: other strides mix better.
    const std::size_t stride = size > most ? 1 + random() % (size / most) : 1;
    for (std::size_t i = 0; i < std::min(most, size); ++i)
      sample_.push_back(site.open[first + (start + i * stride) % size]);
  };
  const auto roots = std::min<std::size_t>(site.open_roots, count / 2);
  some(0, site.open_roots, roots);
  if (choice.among == Among::kOpenRoots) return;
  if (choice.child.partial()) return sample_range(site, count - roots, choice.child);
  some(site.open_roots, site.open.size() - site.open_roots, count - roots);
}

// By chance nobody with the same range would be found among those of many others.
void Brain::sample_range(const SiteParents& site, std::size_t most, const PeerRecord& child) {
  std::size_t looked = 0, found = 0;
  for (std::uint32_t at = site.open.size(); at > site.open_roots && looked < kRangeSearch && found < most;) {
    const auto& parent = peers_.at(site.open[--at]);
    ++looked;
    if (parent.partial() && !same_range(parent, child.range_start, child.range_length)) continue;
    sample_.push_back(site.open[at]);
    ++found;
  }
}

bool Brain::has_open_root(const TaskRecord& task) {
  return std::any_of(task.sites.begin(), task.sites.end(),
                     [](const SiteParents& site) { return site.open_roots > 0; });
}

// Finds the candidates; how many of them may be from other sites.
std::uint32_t Brain::look_around(const Choice& choice) {
  auto& task = choice.task;
  if (choice.among == Among::kAll) {
    for (auto at = task.first_peer; at != kNowhere && sample_.size() < kSampleHard;
         at = peers_.at(at).task_after)
      sample_.push_back(at);
    consider_sample(choice);
    return options_.candidate_parents;
  }
  const auto& here = bucket(task, choice.site);
  sample(here, kSampleHere, choice);
  consider_sample(choice);
  const std::size_t local = candidates_.size();
  const bool alone = local == 0 && (choice.among != Among::kOpenRoots || here.open.empty());
  const auto budget = choice.mesh ? options_.mesh_cross_site_budget : options_.cross_site_budget;
  const auto left = budget - std::min(here.inbound, budget);
  // Without anybody here take all from elsewhere; else one, for pieces that the site does not have yet.
  const auto from_elsewhere = std::min(left, alone ? options_.candidate_parents : 1);
  if (task.sites.size() < 2 || from_elsewhere == 0) return from_elsewhere;
  const std::size_t first = random() % task.sites.size();
  for (std::size_t i = 0; i < task.sites.size() && candidates_.size() < local + kSampleElsewhere; ++i) {
    const auto& other = task.sites[(first + i) % task.sites.size()];
    if (other.site == choice.site) continue;
    sample(other, kSampleElsewhere, choice);
    consider_sample(choice);
  }
  return from_elsewhere;
}

// Whether what `peer` gets may come by way of `ancestor`, as far as it is worth looking.
bool Brain::descends_from(const PeerRecord& peer, PeerHandle ancestor) const {
  std::vector<const PeerRecord*> seen{&peer};
  for (std::size_t at = 0; at < seen.size() && seen.size() < kMostAncestors; ++at) {
    if (!seen[at]->progress || seen[at]->terminal()) continue;
    for (const auto& edge : seen[at]->progress->parents) {
      if (edge.parent == ancestor) return true;
      const auto* parent = peers_.find(edge.parent);
      if (parent != nullptr && std::find(seen.begin(), seen.end(), parent) == seen.end())
        seen.push_back(parent);
    }
  }
  return false;
}

// The parents for `child`, best first, on different hosts; empty if it has to wait.
ParentList Brain::choose(PeerHandle handle, std::size_t wanted, Among among, TimePoint now) {
  const auto& child = *peers_.find(handle);
  auto& task = *tasks_.find(child.task);
  const auto& host = *hosts_.find(child.host);
  Choice choice{child, task, host.site, host.uplink, among, child.takes_offers && roots_are_rare(task),
                now,   {}};
  bool has_root = false;
  for (const auto& edge : child.progress->parents) {
    const auto* parent = peers_.find(edge.parent);
    if (parent == nullptr) continue;
    choice.has.push_back(edge.host);
    has_root |= parent->counted_root;
  }
  // In a mesh one that has everything comes beside the neighbours.
  const bool wants_root = choice.mesh && !has_root;
  if (wanted == 0 && !(wants_root && has_open_root(task))) return {};
  candidates_.clear();
  auto from_elsewhere = look_around(choice);
  // An unmodified client ends a round when all its parents have ended theirs: in a circle nobody would. In
  // two trees nearly everybody gets something by way of everybody, and a seed helps those who wait for each
  // other.
  if (!child.takes_offers && child.progress->rescheduling && !lifeline_of(task)) {
    std::erase_if(candidates_, [&](const Candidate& candidate) {
      return descends_from(peers_.at(candidate.position), handle);
    });
  }
  if (among == Among::kOpenMesh) {
    std::erase_if(candidates_, [&](const Candidate& candidate) {
      const auto& parent = peers_.at(candidate.position);
      return parent.counted_root || !parent.takes_offers;
    });
  }
  if (candidates_.empty()) return {};
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.position < b.position;
  });
  if (!child.takes_offers) keep_level(among == Among::kAll, child);
  if (choice.mesh) keep_listeners();

  ParentList chosen;
  const auto take = [&](const Candidate& candidate) {
    const auto& parent = peers_.at(candidate.position);
    if (chosen.full()) return;
    for (const auto& other : chosen) {
      if (peers_.at(other.index).host == parent.host) return;
    }
    if (candidate.cross_site) {
      if (from_elsewhere == 0) return;
      --from_elsewhere;
    }
    chosen.push_back(peers_.handle_of(candidate.position));
  };
  std::size_t next = 0;
  if (wants_root) {
    const auto root = [&](const Candidate& c) { return peers_.at(c.position).counted_root; };
    // Roots are for those who pass on what they get; slow ones have the others.
    const bool slow = host.uplink > 0 && host.uplink + kSlow <= usual_uplink_ &&
                      !std::all_of(candidates_.begin(), candidates_.end(), root);
    for (; next < candidates_.size() && chosen.empty() && root(candidates_[next]); ++next) {
      const auto& parent = peers_.at(candidates_[next].position);
      const bool busy = parent.children_units * kSlowChildren >= soft_limit(*hosts_.find(parent.host));
      if (!slow || !busy) take(candidates_[next]);
    }
    wanted += chosen.size();
  }
  // The best ones, and for the last place anyone of the rest: what all think best would be everyone's parent.
  while (next < candidates_.size() && chosen.size() + 1 < wanted) take(candidates_[next++]);
  if (next < candidates_.size()) {
    const std::size_t rest = candidates_.size() - next;
    const std::size_t start = random() % rest;
    for (std::size_t i = 0; i < rest && chosen.size() < wanted; ++i)
      take(candidates_[next + (start + i) % rest]);
  }
  return chosen;
}

}  // namespace d7y::scheduler
