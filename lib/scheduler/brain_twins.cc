// Parents for unmodified clients that come in a herd, while few have everything: a place in each of two
// trees.
//
// In one tree everybody has half of its parent's uplink, and the leaves' uplinks are idle. Here each of two
// trees carries half of the pieces, and whoever is an inner node of one is a leaf of the other: it sends half
// of the content twice, in the time in which it gets all of it. An unmodified client cannot be told which
// piece to take from whom, it takes each from whoever tells of it first. So two things make it take the right
// ones. The seed deals: it tells one piece to the root of one tree, and the next to the root of the other
// (swarm/piece_handout.h). And a client's parent in a piece's tree has the piece before its other parent: an
// inner node is the nearer to the root as a leaf of the other tree, the farther from the root it is in its
// own. Its parent in its own tree is above it there, so as a leaf of the other tree it is no nearer to the
// root than the client.
//
// In each tree place 0 is the root; it has one child, place 1, and room for the root of a herd that comes
// later. From there on place k has the children 2k and 2k + 1; places from `half` on are leaves.
//
// When hosts crash, a client goes on with the parent that is left, which may get the other half by way of the
// client itself: in a circle nobody gets anything. So those near the roots have the seed as a third parent,
// which tells them of nothing while it deals, and of everything a while later.
#include <algorithm>
#include <bit>
#include <cmath>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr Duration kNoDealing = std::chrono::minutes(10);
constexpr std::size_t kLeastHerd = 16;  // in smaller ones some would be each other's parents
constexpr std::uint32_t kPlaceAtOnce = 256;
constexpr std::uint32_t kLifelines = 32;  // places in each tree
// A client with two parents waits so long for the second one to tell of a piece (Dragonfly client 5.3).
constexpr double kCollect = 0.1;
// Of the time that the content takes to one client: what levels may cost at most; how long clients wait for
// others to come, as long as they come, and after the last one came. Never longer than those seconds.
constexpr double kMostForLevels = 0.6, kGather = 0.02, kQuiet = 0.005;
constexpr double kLongestGather = 1.5, kLongestQuiet = 0.15;
constexpr float kUnsaidUplink = 33.2F;  // 10 Gbit/s, logarithm to base 2
// A herd so many times larger than what is there may have the seed to itself.
constexpr std::size_t kOutweighs = 4;
// Around the place that would be the other parent of its own other parent, so many places on each side change
// sides: then nobody is.
constexpr std::uint32_t kMostShift = 8;

// Where the inner node at `place` of `tree` is a leaf of the other one.
std::uint32_t leaf_place(std::uint32_t tree, std::uint32_t place, std::uint32_t half) {
  const auto shift = std::min(half / 3, kMostShift), from = 2 * half / 3 - shift;
  if (tree == 1 && place >= from && place < from + 2 * shift)
    place = from + (place - from + shift) % (2 * shift);
  return 2 * half - 1 - place;
}

Duration seconds(double count) { return Duration(static_cast<std::int64_t>(count * 1e9)); }

}  // namespace

// A seed of ours that has everything, or gets it from the origin.
PeerHandle Brain::dealer_of(const TaskRecord& task, TimePoint now) const {
  for (const auto position : task.seeds) {
    const auto& seed = peers_.at(position);
    const auto& host = *hosts_.find(seed.host);
    if (seed.counted_root && seed.takes_offers && !seed.partial() && !host.silent && host.deals_from <= now &&
        host.health.may_serve(now)) {
      return peers_.handle_of(position);
    }
  }
  return {};
}

void Brain::does_not_deal(HostHandle handle, TimePoint now) {
  if (auto* host = hosts_.find(handle)) host->deals_from = now + kNoDealing;
}

// The content, over a usual uplink.
double Brain::seconds_to_send(const TaskRecord& task) const {
  const float uplink = usual_uplink_ > 0 ? usual_uplink_ : kUnsaidUplink;
  return static_cast<double>(std::max<std::int64_t>(task.content_length, 0)) * 8 / std::exp2(uplink);
}

// Two trees take the time of the content, and for each level that of two pieces and of the wait for a second
// parent; one tree takes twice the time of the content. Who will come is not known, but no more than are
// here.
bool Brain::twins_pay(const TaskRecord& task, TimePoint now) const {
  if (task.piece_count == 0 || !roots_are_rare(task) || path_pays(task)) return false;
  const auto hosts = hosts_.size() - std::min(hosts_.size(), seeds_.size());
  const double levels = 2 * std::log2(static_cast<double>(hosts) + 1), whole = seconds_to_send(task);
  if (levels * (kCollect + 2 * whole / task.piece_count) > kMostForLevels * whole) return false;
  return static_cast<bool>(dealer_of(task, now));
}

// Unmodified, and asks for the first time.
bool Brain::may_gather(PeerHandle handle) const {
  const auto* peer = peers_.find(handle);
  return peer != nullptr && peer->waiting && !peer->takes_offers && !peer->progress->rescheduling;
}

bool Brain::fits_in_twins(const PeerRecord& child, PeerHandle dealer) const {
  const auto& host = *hosts_.find(child.host);
  return !is_slow(host) && !child.partial() && !host.facts.disable_shared &&
         host.site == hosts_.find(peers_.find(dealer)->host)->site &&
         !is_more_seed(*tasks_.find(child.task), child.host);
}

// Whether those of whom a herd could be shall wait for others. When that is over, the herd is there.
bool Brain::gathering(TaskRecord& task, TimePoint now) {
  const auto whole = seconds_to_send(task);
  const auto quiet = seconds(std::min(kQuiet * whole, kLongestQuiet));
  if (task.gather_until == TimePoint{}) {
    if (task.waiters == 0 || !twins_pay(task, now)) return false;
    const auto first =
        std::find_if(task.waiting.begin() + static_cast<std::ptrdiff_t>(task.waiting_from),
                     task.waiting.end(), [&](PeerHandle waiting) { return may_gather(waiting); });
    if (first == task.waiting.end()) return false;
    task.gather_longest = now + seconds(std::min(kGather * whole, kLongestGather));
    task.gathered = 0;
    alarms_.set(now, quiet, *first);
  }
  if (task.waiters > task.gathered) {
    task.gathered = task.waiters;
    task.gather_until = std::min(now + quiet, task.gather_longest);
  }
  if (now < task.gather_until) return true;
  task.gather_until = {};
  if (twins_pay(task, now)) gather_herd(task, now);
  return false;
}

void Brain::gather_herd(TaskRecord& task, TimePoint now) {
  const auto dealer = dealer_of(task, now);
  std::vector<PeerHandle> herd;
  for (auto at = task.waiting_from; at < task.waiting.size(); ++at) {
    const auto waiting = task.waiting[at];
    if (may_gather(waiting) && fits_in_twins(*peers_.find(waiting), dealer)) herd.push_back(waiting);
  }
  // Where more are coming, one that is left over comes with them.
  if (now >= task.gather_longest && herd.size() % 2 != 0) herd.pop_back();
  if (herd.size() < kLeastHerd) return;
  // Those who listen need all of the source's uplink.
  if (choose(herd.front(), 2, Among::kOpenMesh, now).size() == 2) return;
  std::array<PeerHandle, 2> under{dealer, dealer};
  const auto* before = task.twins.get();
  if (before != nullptr && before->dealer == dealer && passes_on(before->herd[0]) &&
      passes_on(before->herd[1])) {
    under = {before->herd[0], before->herd[1]};
  } else if (peers_.find(dealer)->children_units > 0 && herd.size() < kOutweighs * task.usable) {
    return;
  }
  task.twins = std::make_unique<Twins>(Twins{dealer, std::move(herd), under, 0});
}

bool Brain::passes_on(PeerHandle handle) const {
  const auto* peer = peers_.find(handle);
  return peer != nullptr && !peer->terminal() && !peer->waiting && !hosts_.find(peer->host)->silent;
}

// The inner node of `tree` above `place`, or the next above it that is there.
PeerHandle Brain::node_above(const Twins& twins, std::uint32_t tree, std::uint32_t place) const {
  while (place > 0) {
    place /= 2;
    const auto node = twins.herd[2 * place + tree];
    const auto* peer = peers_.find(node);
    if (peer != nullptr && peer->state != PeerState::kFailed && !hosts_.find(peer->host)->silent) return node;
  }
  return twins.under[tree];
}

// One of the roots of both trees.
bool Brain::is_dealt_to(const Twins& twins, const PeerRecord& child) const {
  return twins.under[0] == twins.dealer &&
         (peers_.find(twins.herd[0]) == &child || peers_.find(twins.herd[1]) == &child);
}

// The seed, for those who would otherwise wait for each other.
PeerHandle Brain::lifeline_of(const TaskRecord& task) const {
  if (!task.twins) return {};
  const auto* dealer = peers_.find(task.twins->dealer);
  const bool there = dealer != nullptr && dealer->counted_root && !hosts_.find(dealer->host)->silent;
  return there ? task.twins->dealer : PeerHandle{};
}

void Brain::add_parent(PeerHandle handle, PeerHandle parent) {
  const auto& child = *peers_.find(handle);
  const auto* record = peers_.find(parent);
  if (record == nullptr || record->host == child.host || has_parent_on(child, record->host)) return;
  reserve(handle, parent, 1);
}

// Answers some of the herd; true if there was anything to do.
bool Brain::place_herd(TaskRecord& task, TimePoint now) {
  if (!task.twins || task.twins->placed == task.twins->herd.size()) return false;
  const auto& twins = *task.twins;
  const auto half = static_cast<std::uint32_t>(twins.herd.size() / 2);
  for (std::uint32_t i = 0; i < kPlaceAtOnce && twins.placed < twins.herd.size(); ++i) {
    const auto number = task.twins->placed++;
    const auto handle = twins.herd[number];
    if (!may_gather(handle)) continue;
    const auto tree = number % 2, place = number / 2;
    if (place == half) {  // one is left over
      place_by_twins(handle);
    } else {
      add_parent(handle, node_above(twins, tree, place));
      add_parent(handle, node_above(twins, 1 - tree, leaf_place(tree, place, half)));
      if (place > 0 && place < kLifelines) add_parent(handle, lifeline_of(task));
    }
    if (!peers_.find(handle)->progress->parents.empty()) answer(handle, now);
  }
  return true;
}

// One that is left over or comes alone after a herd, and finds nobody else with room: below both roots if
// they have, else a leaf of both trees.
bool Brain::place_by_twins(PeerHandle handle) {
  const auto& child = *peers_.find(handle);
  const auto& task = *tasks_.find(child.task);
  if (!task.twins || child.partial()) return false;
  const auto& twins = *task.twins;
  const auto half = twins.herd.size() / 2;
  const auto has_room = [&](PeerHandle root) {
    return passes_on(root) && peers_.find(root)->children_units + kBranch <= kChildUnits;
  };
  const bool at_roots = has_room(twins.herd[0]) && has_room(twins.herd[1]);
  for (const auto tree : {0U, 1U}) {
    const auto parent = at_roots
                            ? twins.herd[tree]
                            : node_above(twins, tree, static_cast<std::uint32_t>(half + random() % half));
    if (passes_on(parent)) add_parent(handle, parent);
  }
  if (child.progress->parents.empty()) return false;
  add_to_tree(handle);
  return true;
}

}  // namespace d7y::scheduler
