// Who is a good parent for whom. Formulas and their reasons: docs/scheduling.md.
#include <algorithm>
#include <cmath>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kSampleHere = 24;       // open parents looked at in the child's own site
constexpr std::size_t kSampleElsewhere = 12;  // and in all others together
constexpr std::size_t kSampleHard = 512;      // of all usable ones, when soft limits no longer count

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

bool Brain::may_be_parent(const PeerRecord& child, const PeerRecord& parent, bool hard, TimePoint now) const {
  // What the peer's own record says first: most of those that are out are out by it, and the host's is
  // elsewhere in memory.
  if (parent.host == child.host || !parent.counted_usable) return false;
  if (parent.partial() &&
      (parent.range_start != child.range_start || parent.range_length != child.range_length)) {
    return false;
  }
  if (!hard && !parent.counted_root && parent.depth >= options_.max_depth) return false;
  if (child.progress->rescheduling && !parent.counted_root && !parent.partial() &&
      parent.finished_pieces <= child.finished_pieces) {
    return false;  // it waits for the same pieces
  }
  const auto& host = *hosts_.find(parent.host);
  const auto health = host.health.state(now);
  if (health == HostHealth::State::kQuarantined) return false;
  if (health == HostHealth::State::kProbation && host.used_units >= kChildUnits) return false;
  if (host.used_units + kChildUnits / kMaxParents > hard_limit(host)) return false;
  for (const auto& block : child.progress->blocked) {
    if (block.until > now && peers_.find(block.parent) == &parent) return false;
  }
  return true;
}

// Less is better. One unit is about what one level of distance or a full parent is worth.
double Brain::score(const PeerRecord& child, const PeerRecord& parent, TimePoint now) {
  const auto& host = *hosts_.find(parent.host);
  const auto& task = *tasks_.find(parent.task);
  const auto from = host.site, to = hosts_.find(child.host)->site;
  double points = from == to ? 0 : 3 * distance(sites_[to], sites_[from]);
  points += 2.0 * parent.children_units / soft_limit(host);
  // In a mesh everyone is equal, and nobody shall have more than others.
  if (parent.state != PeerState::kSucceeded)
    points += 0.5 + (child.takes_offers && roots_are_rare(task) ? 0 : 0.15 * parent.depth);
  if (task.piece_count > 0) points -= 0.5 * parent.finished_pieces / task.piece_count;
  if (parent.partial()) points += 1;
  if (host.health.rate() > 0 && usual_rate_ > 0) {
    points -= std::clamp(std::log2(host.health.rate() / usual_rate_), -3.0, 1.0);
  }
  if (host.health.state(now) == HostHealth::State::kProbation) points += 2;
  return points + static_cast<double>(random() >> 40) / static_cast<double>(1 << 24) * 0.25;
}

void Brain::consider(const PeerRecord& child, std::uint32_t position, bool hard, TimePoint now) {
  const auto& parent = peers_.at(position);
  if (!may_be_parent(child, parent, hard, now)) return;
  for (const auto& edge : child.progress->parents) {  // it has that one
    const auto* known = peers_.find(edge.parent);
    if (known != nullptr && known->host == parent.host) return;
  }
  const bool cross = hosts_.find(parent.host)->site != hosts_.find(child.host)->site;
  candidates_.push_back({position, score(child, parent, now), cross});
}

// An unmodified client takes each piece from whoever tells it first and never changes its mind, so whoever
// has everything would send everything. It gets complete parents, which share evenly; or those that are still
// downloading. While few have everything, those of them that are full are left out even if the child has
// waited long, because all others depend on them; and of the rest, an idle uplink is better than a near one.
void Brain::keep_level(bool hard) {
  const bool rare = roots_are_rare(*tasks_.find(peers_.at(candidates_.front().position).task));
  const auto at = [&](const Candidate& candidate) -> const PeerRecord& {
    return peers_.at(candidate.position);
  };
  const auto keep = [&](const auto& which) {
    if (std::none_of(candidates_.begin(), candidates_.end(), which)) return false;
    std::erase_if(candidates_, [&](const Candidate& candidate) { return !which(candidate); });
    return true;
  };
  if (hard) {
    if (rare)
      keep([&](const Candidate& c) { return !at(c).counted_root || at(c).open_position != kNowhere; });
  } else if (keep([&](const Candidate& c) { return at(c).counted_root; })) {
    return;
  }
  if (rare) keep([&](const Candidate& c) { return at(c).children_units + kBranch <= kChildUnits; });
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

// The parents for `child`, best first, on different hosts; empty if it has to wait. `hard`: it has waited
// enough, only what the hosts can really bear counts.
std::vector<PeerHandle> Brain::choose(PeerHandle handle, std::size_t wanted, bool hard, TimePoint now) {
  const auto& child = *peers_.find(handle);
  auto& task = *tasks_.find(child.task);
  const auto site = hosts_.find(child.host)->site;
  auto& here = bucket(task, site);
  candidates_.clear();

  const auto sample = [&](const SiteParents& from, std::size_t count) {
    const auto some = [&](std::size_t first, std::size_t size, std::size_t most) {
      if (size == 0) return;
      const std::size_t start = size > most ? random() % size : 0;
      for (std::size_t i = 0; i < std::min(most, size); ++i)
        consider(child, from.open[first + (start + i) % size], hard, now);
    };
    // Those who have everything are never overlooked.
    const auto roots = std::min<std::size_t>(from.open_roots, count / 2);
    some(0, from.open_roots, roots);
    some(from.open_roots, from.open.size() - from.open_roots, count - roots);
  };
  std::uint32_t from_elsewhere = 0;
  if (hard) {
    std::size_t looked = 0;
    for (auto at = task.first_peer; at != kNowhere && looked < kSampleHard;
         at = peers_.at(at).task_after, ++looked) {
      consider(child, at, true, now);
    }
    from_elsewhere = options_.candidate_parents;
  } else {
    sample(here, kSampleHere);
    const std::size_t local = candidates_.size();
    const auto left =
        here.inbound < options_.cross_site_budget ? options_.cross_site_budget - here.inbound : 0;
    // Without anybody here take all from elsewhere; else one, for pieces that the site does not have yet.
    from_elsewhere =
        local == 0 ? std::min(left, options_.candidate_parents) : std::min<std::uint32_t>(left, 1);
    if (task.sites.size() > 1 && from_elsewhere > 0) {
      const std::size_t first = random() % task.sites.size();
      for (std::size_t i = 0; i < task.sites.size() && candidates_.size() < local + kSampleElsewhere; ++i) {
        const auto& other = task.sites[(first + i) % task.sites.size()];
        if (other.site != site) sample(other, kSampleElsewhere);
      }
    }
  }
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.position < b.position;
  });

  std::vector<PeerHandle> chosen;
  const bool mesh = child.takes_offers && roots_are_rare(task);
  const auto take = [&](const Candidate& candidate) {
    const auto& parent = peers_.at(candidate.position);
    if (chosen.size() == kMaxParents) return;
    for (const auto& other : chosen) {
      if (peers_.find(other)->host == parent.host) return;
    }
    if (candidate.cross_site) {
      if (from_elsewhere == 0) return;
      --from_elsewhere;
    }
    chosen.push_back(peers_.handle_of(candidate.position));
  };
  if (!child.takes_offers && !candidates_.empty()) keep_level(hard);
  if (mesh) keep_listeners();
  std::size_t next = 0;
  // In a mesh one that has everything comes beside the neighbours.
  if (mesh &&
      std::none_of(child.progress->parents.begin(), child.progress->parents.end(), [&](const auto& edge) {
        const auto* parent = peers_.find(edge.parent);
        return parent != nullptr && parent->counted_root;
      })) {
    for (; next < candidates_.size() && chosen.empty(); ++next) {
      if (!peers_.at(candidates_[next].position).counted_root) break;
      take(candidates_[next]);
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
