// Waiting and being woken: who is answered when, and who reads the origin.
#include <algorithm>
#include <utility>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kLookAtOnce = 256;   // waiting peers looked at in one go for one task
constexpr std::size_t kLookInVain = 4;     // of them, ones that nobody can serve
constexpr std::size_t kShortQueue = 16;    // not worth tidying
constexpr std::size_t kGatheringLook = 8;  // as which one counts that waits for a herd: many of them do
constexpr std::size_t kTasksAtOnce = 256;  // tasks in one call of take_actions
// When more parents are looked for after an answer with few.
constexpr Duration kLookAfter[] = {std::chrono::milliseconds(150), std::chrono::milliseconds(500),
                                   std::chrono::seconds(2), std::chrono::seconds(5),
                                   std::chrono::seconds(15)};
constexpr std::uint32_t kSmallSwarm = 64;   // peers of a task that are all looked at
constexpr std::size_t kTokenSearch = 64;    // waiting peers among which the furthest gets the token
constexpr std::size_t kRangeSearch = 1024;  // open ones among which a range is looked for

}  // namespace

void Brain::park(PeerHandle handle, Duration patience, TimePoint now) {
  auto& peer = *peers_.find(handle);
  auto& task = *tasks_.find(peer.task);
  peer.progress->deadline = now + patience;
  peer.progress->last_resort = false;
  peer.waiting = true;
  ++waiting_;
  ++task.waiters;
  if (task.waiting_from > 64 && task.waiting_from * 2 > task.waiting.size()) {
    task.waiting.erase(task.waiting.begin(),
                       task.waiting.begin() + static_cast<std::ptrdiff_t>(task.waiting_from));
    task.waiting_from = 0;
  }
  task.waiting.push_back(handle);
  alarms_.set(now, patience, handle);
  watch(peer.task, now);
  make_dirty(peer.task);
}

void Brain::unpark(PeerRecord& peer) {
  if (!peer.waiting) return;
  peer.waiting = false;
  --waiting_;
  --tasks_.find(peer.task)->waiters;
}

void Brain::make_dirty(TaskHandle handle) {
  auto* task = tasks_.find(handle);
  if (task == nullptr || task->dirty) return;
  if (task->waiting_from == task->waiting.size()) return;  // nobody to wake
  task->dirty = true;
  dirty_.push_back(handle);
}

std::vector<Action> Brain::take_actions(TimePoint now) {
  for (std::size_t i = 0; i < kTasksAtOnce && !dirty_.empty(); ++i) {
    const auto handle = dirty_.front();
    dirty_.pop_front();
    auto* task = tasks_.find(handle);
    if (task == nullptr) continue;
    task->dirty = false;
    if (serve(handle, now)) make_dirty(handle);
  }
  return std::exchange(actions_, {});
}

// Answers who can be answered; true if there may be more. What nobody can answer now is looked at again when
// a parent opens, at the latest when its patience ends.
bool Brain::serve(TaskHandle handle, TimePoint now) {
  auto& task = *tasks_.find(handle);
  const auto waits = [&](PeerHandle peer) {
    const auto* record = peers_.find(peer);
    return record != nullptr && record->waiting;
  };
  while (task.waiting_from < task.waiting.size() && !waits(task.waiting[task.waiting_from]))
    ++task.waiting_from;
  // When most in the queue do not wait any more, they cost more than those who do.
  const std::size_t queued = task.waiting.size() - task.waiting_from;
  if (queued > kShortQueue && queued > 2 * task.waiters) {
    std::erase_if(task.waiting, [&](PeerHandle peer) { return !waits(peer); });
    task.waiting_from = 0;
    task.look_from = 0;
  }
  if (task.waiting_from == task.waiting.size()) {
    task.waiting.clear();
    task.waiting_from = 0;
    return false;
  }
  if (task.refused_until > now && !somebody_has_some(task))
    return answer_those_the_origin_refuses(handle, now);
  const auto& first = *peers_.find(task.waiting[task.waiting_from]);
  if (!provider_expected_for(first, now) && !finished_copy_for(first, now)) find_provider(handle, now);
  const bool more_loners = send_loners(handle, now);
  const bool gathers = gathering(task, now);
  if (place_herd(task, now)) return true;

  // Those whom nobody could serve are not looked at over and over: the search stops after a few of them and
  // goes on behind them the next time.
  served_.clear();
  together_.clear();
  const bool rare = roots_are_rare(task);
  const std::size_t count = task.waiting.size() - task.waiting_from;
  std::size_t step = task.look_from < count ? task.look_from : 0;
  std::size_t looked = 0, in_vain = 0;
  for (std::size_t i = 0; i < count && looked < kLookAtOnce && in_vain < kLookInVain; ++i, ++step) {
    if (task.open == 0 && (!rare || task.usable == 0)) break;
    const auto child = task.waiting[task.waiting_from + step % count];
    if (!waits(child)) continue;
    ++looked;
    const auto& peer = *peers_.find(child);
    if (rare && !peer.takes_offers && !peer.progress->rescheduling) {
      if (gathers) {
        looked += kGatheringLook;
      } else if (place(child, now)) {
        served_.push_back(child);
      } else {
        ++in_vain;
      }
      continue;
    }
    // An orphan of a tree gets one: a second would send it what others need.
    const auto wanted = rare && !peer.takes_offers ? 1 : wanted_parents(peer);
    const auto parents = choose(child, wanted, Among::kOpen, now);
    if (parents.empty()) {
      ++in_vain;
      continue;
    }
    for (const auto parent : parents) reserve(child, parent, kChildUnits / kMaxParents);
    if (rare && !peer.takes_offers) add_parent(child, lifeline_of(task));
    if (rare) settle_shares(child);
    served_.push_back(child);
    if (peer.takes_offers) together_.push_back(child);
  }
  task.look_from = served_.empty() ? static_cast<std::uint32_t>(step % count) : 0;
  add_siblings(together_, now);
  for (const auto child : together_) link_back(child, now);
  for (const auto child : served_) answer(child, now);
  return !served_.empty() || more_loners;
}

// Those that are answered together become each other's parents where they have room for more: pieces flow
// only from who has one to who has not, so a circle does no harm. Not so to unmodified clients, who end a
// round when all their parents have ended theirs.
void Brain::add_siblings(const std::vector<PeerHandle>& served, TimePoint now) {
  if (served.size() < 2) return;
  for (std::size_t i = 0; i < served.size(); ++i) {
    const auto& child = *peers_.find(served[i]);
    const std::size_t wanted = wanted_parents(child);
    std::size_t tries = wanted * 4;
    for (; tries > 0 && child.progress->parents.size() < wanted; --tries) {
      // By chance: neighbours in the queue that are neighbours in the swarm would make long ways.
      const auto other = served[(i + 1 + random() % (served.size() - 1)) % served.size()];
      const auto& sibling = *peers_.find(other);
      const auto& host = *hosts_.find(sibling.host);
      if (host.facts.disable_shared || sibling.host == child.host || !host.health.may_serve(now)) continue;
      if (host.site != hosts_.find(child.host)->site) continue;
      if (sibling.partial() != child.partial() || sibling.range_start != child.range_start ||
          sibling.range_length != child.range_length) {
        continue;
      }
      const auto units = edge_units(child, sibling, child.progress->parents.size() + 1);
      if (sibling.children_units + units > soft_limit(host)) continue;
      if (!has_parent_on(child, sibling.host)) reserve(served[i], other, units);
    }
  }
}

// A child's demand is spread evenly over the parents it has now.
void Brain::settle_shares(PeerHandle handle) {
  auto& child = *peers_.find(handle);
  auto& edges = child.progress->parents;
  std::uint32_t depth = 255;
  for (auto& edge : edges) {
    const auto& parent = *peers_.find(edge.parent);
    const auto units = edge_units(child, parent, edges.size());
    charge(edge.parent, edge.units, units);
    edge.units = static_cast<std::uint16_t>(units);
    if (parent.counted_usable)
      depth = std::min<std::uint32_t>(depth, parent.counted_root ? 1 : parent.depth + 1U);
  }
  child.depth = static_cast<std::uint8_t>(std::min<std::uint32_t>(depth, 255));
}

// `child` has its edges; settles what each of them costs and sends them.
void Brain::answer(PeerHandle handle, TimePoint now) {
  auto& child = *peers_.find(handle);
  settle_shares(handle);
  send_parents(handle);
  unpark(child);
  child.updated = now;
  child.progress->rescheduling = false;
  child.progress->last_piece = now;
  child.progress->looks = 0;
  child.progress->untold = false;
  ++child.progress->responses;
  look_later(handle, now);
}

void Brain::send_parents(PeerHandle handle) {
  SendParents action{handle, {}};
  const auto& child = *peers_.find(handle);
  for (const auto& edge : child.progress->parents) action.parents.push_back(edge.parent);
  const auto& twins = tasks_.find(child.task)->twins;
  const auto& parents = action.parents;
  if (twins && !child.takes_offers &&
      std::find(parents.begin(), parents.end(), twins->dealer) != parents.end()) {
    const bool dealt = is_dealt_to(*twins, child);
    action.later = !dealt && parents.size() > 1;
    if (dealt || action.later) action.dealer = twins->dealer;
  }
  actions_.emplace_back(action);
}

// Few were there when it asked; there may be more in a moment.
void Brain::look_later(PeerHandle handle, TimePoint now) {
  auto& peer = *peers_.find(handle);
  auto& progress = *peer.progress;
  progress.look_again = {};
  if (!peer.takes_offers || progress.offers >= options_.offers) return;
  if (progress.looks == std::size(kLookAfter)) return;
  if (!progress.untold && progress.parents.size() >= wanted_parents(peer)) return;
  const auto wait = kLookAfter[progress.looks++];
  progress.look_again = now + wait;
  alarms_.set(now, wait, handle);
}

void Brain::offer_more(PeerHandle handle, TimePoint now) {
  auto& child = *peers_.find(handle);
  auto& progress = *child.progress;
  if (child.state == PeerState::kRunning && !child.holds_token && progress.offers < options_.offers) {
    // Parents that are gone make room.
    for (const auto& edge : progress.parents) peers_.prefetch(edge.parent.index);
    progress.parents.erase_if([&](const ParentEdge& edge) {
      const auto* parent = peers_.find(edge.parent);
      const bool gone =
          parent == nullptr || parent->state == PeerState::kFailed || hosts_.find(parent->host)->silent;
      if (gone) release(child, edge);
      return gone;
    });
    const std::size_t has = progress.parents.size(), wanted = wanted_parents(child);
    const auto more = choose(handle, wanted > has ? wanted - has : 0, Among::kOpen, now);
    if (!more.empty() || progress.untold) {
      for (const auto parent : more) {
        if (progress.parents.size() < kMaxParents) reserve(handle, parent, kChildUnits / kMaxParents);
      }
      settle_shares(handle);
      send_parents(handle);
      ++progress.offers;
      progress.untold = false;
      if (!more.empty()) link_back(handle, now);
    }
  }
  look_later(handle, now);
}

// Of the next 10 s: each waits for its own answer, which may be another one.
void Brain::note_refusal(TaskRecord& task, TimePoint now) {
  if (task.refused_until <= now) task.refusals = 0;
  ++task.refusals;
  task.refused_until = now + std::chrono::seconds(10);
}

// Whether a peer that may be a parent has something already.
bool Brain::somebody_has_some(const TaskRecord& task) const {
  std::size_t looked = 0;
  for (auto at = task.first_peer; at != kNowhere && looked < kLookAtOnce; at = peers_.at(at).task_after) {
    const auto& peer = peers_.at(at);
    if (peer.counted_root && (peer.state == PeerState::kSucceeded || peer.finished_pieces > 0)) return true;
    ++looked;
  }
  return false;
}

// One more at a time for each that it refused: those who may not have it hear so soon, and when one may, the
// others have not all gone there. False if those have to be waited for.
bool Brain::answer_those_the_origin_refuses(TaskHandle refused, TimePoint now) {
  auto& task = *tasks_.find(refused);
  for (std::size_t i = 0; i < kLookAtOnce && task.waiting_from < task.waiting.size(); ++i) {
    const auto handle = task.waiting[task.waiting_from];
    const auto* peer = peers_.find(handle);
    const bool waits = peer != nullptr && peer->waiting;
    if (waits && !peer->disable_back_to_source && !token_free(task, 1 + task.refusals)) {
      want_token(refused);
      return false;
    }
    ++task.waiting_from;
    if (!waits) continue;
    if (peer->disable_back_to_source) {
      end_with_error(handle, ErrorCode::kPrecondition, "the source refuses this content, and no peer has it",
                     now);
    } else {
      tell_back_to_source(handle, "the source refused the content to another peer", now);
    }
  }
  return true;
}

bool Brain::provider_expected(const TaskRecord& task) const {
  return task.roots > 0 || task.readers > 0 || task.seed_attempt != 0;
}

bool Brain::same_range(const PeerRecord& peer, std::uint64_t start, std::uint64_t length) {
  return peer.range_start == start && peer.range_length == length;
}

// Of a small swarm: all who have some of the content failed the child, or are on its own host.
bool Brain::nobody_left_for(const PeerRecord& child, TimePoint now) const {
  const auto& task = *tasks_.find(child.task);
  if (task.peers > kSmallSwarm) return false;
  const auto& blocked = child.progress->blocked;
  if (std::any_of(blocked.begin(), blocked.end(), [](const BlockedParent& block) { return block.served; }))
    return false;
  for (auto at = task.first_peer; at != kNowhere; at = peers_.at(at).task_after) {
    const auto& peer = peers_.at(at);
    if (peer.counted_usable && peer.host != child.host && !is_blocked(child, peers_.handle_of(at), now))
      return false;
  }
  return true;
}

// Somebody has, or will have, what the child wants: not only another part of the content.
bool Brain::provider_expected_for(const PeerRecord& child, TimePoint now) const {
  const auto& task = *tasks_.find(child.task);
  if (!child.partial())
    return task.readers > 0 || task.seed_attempt != 0 || (task.roots > 0 && !nobody_left_for(child, now));
  if (task.roots > 0 || task.readers > 0) return true;
  if (task.seed_attempt != 0 &&
      (task.seed_range_length == 0 || same_range(child, task.seed_range_start, task.seed_range_length))) {
    return true;
  }
  return std::any_of(task.ranges.begin(), task.ranges.end(),
                     [&](const RangeReaders& range) { return same_range(child, range.start, range.length); });
}

// Those whom nothing helps that others read from the origin, be it because those read other ranges or because
// they do not share, go there themselves. True if there may be more of them.
bool Brain::send_loners(TaskHandle handle, TimePoint now) {
  auto& task = *tasks_.find(handle);
  const bool other_ranges = task.tokens > 0 || (task.seed_attempt != 0 && task.seed_range_length != 0);
  if (!other_ranges || task.roots > 0 || task.readers > 0) return false;
  std::size_t looked = 0;
  bool sent = false;
  for (std::size_t at = task.waiting_from; at < task.waiting.size() && looked < kTokenSearch; ++at) {
    const auto* peer = peers_.find(task.waiting[at]);
    if (peer == nullptr || !peer->waiting || peer->disable_back_to_source) continue;
    ++looked;
    if (provider_expected_for(*peer, now) || finished_copy_for(*peer, now)) continue;
    if (!token_free(task, options_.back_to_source_count)) {
      want_token(handle);
      return false;
    }
    tell_back_to_source(task.waiting[at], "nobody who shares reads this part of the content", now);
    sent = true;
  }
  return sent;
}

// Whether somebody has all that `child` wants, though not the whole content: a range that both asked for.
bool Brain::finished_copy_for(const PeerRecord& child, TimePoint now) const {
  if (!child.partial()) return false;
  std::size_t looked = 0;
  for (const auto& site : tasks_.find(child.task)->sites) {
    for (const auto position : site.open) {
      const auto& parent = peers_.at(position);
      if (parent.state == PeerState::kSucceeded && fits(child, parent, false, now) &&
          host_may_serve(*hosts_.find(parent.host), now) &&
          !is_blocked(child, peers_.handle_of(position), now)) {
        return true;
      }
      if (++looked == kRangeSearch) return false;
    }
  }
  return false;
}

// Somebody has to get the content from the origin: a seed if one works, else one of those who wait.
void Brain::find_provider(TaskHandle handle, TimePoint now) {
  const auto& task = *tasks_.find(handle);
  const auto* first = peers_.find(task.waiting[task.waiting_from]);
  const bool is_seed = hosts_.find(first->host)->facts.seed;
  // Where several failed the child, a seed may be out of its reach as well, and look fine from here.
  const bool reaches_nobody = first->progress->blocked.size() > 1;
  const bool may_ask = !is_seed && task.seed_attempt == 0 && !reaches_nobody;
  if (may_ask && trigger_seed(handle, false, now)) return;
  if (give_token(handle, now)) return;
  // Nobody else may read it now: a seed that served others badly is better than none.
  if (may_ask && trigger_seed(handle, true, now)) return;
  want_token(handle);
  want_seed(handle);
}

// Its origin's tokens are all given: it is looked at again when one comes back.
void Brain::want_token(TaskHandle handle) {
  auto& task = *tasks_.find(handle);
  auto& origin = origins_[task.origin];
  if (task.wants_origin || origin.tokens < options_.origin_tokens) return;
  task.wants_origin = true;
  origin.wanted_by.push_back(handle);
}

bool Brain::token_free(const TaskRecord& task, std::uint32_t limit) const {
  return task.tokens < limit && origins_[task.origin].tokens < options_.origin_tokens;
}

// To whoever waits and has the most already, since an unmodified client reads all that it misses; first to
// those from whom others can have all of it.
bool Brain::give_token(TaskHandle handle, TimePoint now) {
  auto& task = *tasks_.find(handle);
  if (task.readers >= options_.back_to_source_at_once || !token_free(task, options_.back_to_source_count))
    return false;
  PeerHandle best;
  std::pair<bool, std::uint32_t> most;  // whether it serves others, pieces it has
  std::size_t looked = 0;
  for (std::size_t at = task.waiting_from; at < task.waiting.size() && looked < kTokenSearch; ++at) {
    const auto* peer = peers_.find(task.waiting[at]);
    if (peer == nullptr || !peer->waiting || peer->disable_back_to_source) continue;
    ++looked;
    const bool serves = !peer->partial() && !hosts_.find(peer->host)->facts.disable_shared;
    const std::pair merit(serves, peer->finished_pieces);
    if (best && merit <= most) continue;
    best = task.waiting[at];
    most = merit;
  }
  if (!best) return false;
  tell_back_to_source(best, "no peer has the content and no seed can fetch it", now);
  return true;
}

// Whether one that waited too long may read the origin, though somebody else may be about to.
bool Brain::may_hedge(const PeerRecord& peer, bool last, TimePoint now) const {
  const auto& task = *tasks_.find(peer.task);
  const auto limit = options_.back_to_source_count;
  if (last || !provider_expected_for(peer, now)) return token_free(task, limit);
  // What others cannot have from it helps nobody else.
  if (peer.partial() || hosts_.find(peer.host)->facts.disable_shared)
    return token_free(task, std::min(options_.back_to_source_at_once, limit));
  // One more than usual for a child whom a reader gives nothing any more. One that had nothing yet may have
  // a slow origin.
  return task.readers < options_.back_to_source_at_once + (left_a_reader(peer, now) ? 1 : 0) &&
         token_free(task, limit);
}

void Brain::wait_ran_out(PeerHandle handle, TimePoint now) {
  auto& peer = *peers_.find(handle);
  auto& task = *tasks_.find(peer.task);
  if (task.usable > 0) {
    const auto parents =
        choose(handle, std::min<std::size_t>(options_.candidate_parents, kMaxParents), Among::kAll, now);
    for (const auto parent : parents) reserve(handle, parent, kChildUnits / kMaxParents);
    if (!parents.empty()) return answer(handle, now);
  }
  const bool last = peer.progress->last_resort;
  if (!peer.disable_back_to_source && may_hedge(peer, last, now)) {
    return tell_back_to_source(handle, "no parent became available in time", now);
  }
  if (last) {
    return end_with_error(
        handle, ErrorCode::kPrecondition,
        peer.disable_back_to_source
            ? "no peer can serve the content, and the download may not go to the source"
            : "no peer can serve the content, and enough peers read it from the source already",
        now);
  }
  peer.progress->last_resort = true;
  peer.progress->deadline = now + options_.last_resort;
  alarms_.set(now, options_.last_resort, handle);
  make_dirty(peer.task);
}

void Brain::tick(TimePoint now) {
  while (const auto handle = alarms_.take(now)) {
    const auto* peer = peers_.find(*handle);
    if (peer == nullptr || !peer->progress) continue;
    if (peer->waiting) {
      const auto gathered = tasks_.find(peer->task)->gather_until;
      if (peer->progress->deadline <= now) {
        wait_ran_out(*handle, now);
      } else if (gathered != TimePoint{}) {
        if (gathered > now) {
          alarms_.set(now, gathered - now, *handle);
        } else {
          make_dirty(peer->task);
        }
      }
    } else if (peer->progress->look_again != TimePoint{} && peer->progress->look_again <= now) {
      offer_more(*handle, now);
    }
  }
  alarms_.drop([&](PeerHandle handle) {
    const auto* peer = peers_.find(handle);
    return peer == nullptr || !peer->progress ||
           (!peer->waiting && peer->progress->look_again == TimePoint{});
  });
  look_after_orphans(now);
  if (now >= next_clean_) clean(now);
}

TimePoint Brain::next_wakeup() const {
  if (pending()) return TimePoint{};
  const auto look = watched_.empty() ? TimePoint::max() : watched_.front().look;
  return std::min({next_clean_, alarms_.next(), look});
}

}  // namespace d7y::scheduler
