#include "fetch/parent_phase.h"

#include <algorithm>
#include <bit>

#include "store/claim.h"

namespace d7y::fetch {
namespace {

// How often late pieces are looked at while nothing else happens.
constexpr auto kTick = std::chrono::milliseconds(100);

// With nothing to do for so long, a child takes what a parent deals to other children. Longer than it takes
// one of them to begin with a piece and to say so.
constexpr auto kShareIdle = std::chrono::milliseconds(20);
// Children of one that deals out its pieces, from which on each of them takes one at a time.
constexpr std::uint32_t kManyChildren = 4;

// A piece that comes from there by way of another child is asked for there as well if nothing comes for so
// long.
constexpr auto kDealtStall = std::chrono::seconds(2);
// So many such pieces at once: enough to keep a connection busy.
constexpr std::size_t kBeyondShares = 2;

// Failures that are ours and not the parent's.
bool is_ours(ErrorCode code) {
  return code == ErrorCode::kDiskFull || code == ErrorCode::kIo || code == ErrorCode::kChanged ||
         code == ErrorCode::kClosed;
}

swarm::vortex::Kind kind_on_wire(const Wish& wish) {
  return wish.replica ? swarm::vortex::Kind::kPersistentCache : swarm::vortex::Kind::kStandard;
}

}  // namespace

ParentPhase::ParentPhase(Conductor& conductor)
    : conductor_(conductor),
      watching_(conductor.parts_.world.loop()),
      fetching_(conductor.parts_.world.loop()) {}

ParentPhase::~ParentPhase() {
  // What is cut off here is free for whoever comes next.
  fetching_.cancel();
  conductor_.plan_.release_all();
}

void ParentPhase::offer(const std::vector<swarm::Candidate>& offered) {
  auto now = conductor_.parts_.world.now();
  for (const auto& candidate : offered) {
    if (!conductor_.suspects_.may_give(conductor_.task_id_, candidate.peer_id, candidate.host_id, now)) {
      refused_.push_back(candidate.peer_id);
      continue;
    }
    auto known = std::find_if(parents_.begin(), parents_.end(), [&](const Parent& p) {
      return p.watch->parent().peer_id == candidate.peer_id;
    });
    if (known != parents_.end() && known->watch->state() != swarm::ParentWatch::State::kFailed) continue;
    swarm::WatchOptions watch;
    watch.host_id = conductor_.options_.self.host_id;
    watch.task_id = conductor_.task_id_;
    watch.kind = kind_on_wire(conductor_.wish_);
    watch.piece_length = conductor_.task_->piece_length();
    watch.content_length = conductor_.task_->content_length();
    watch.silence = conductor_.options_.silence_timeout;
    watch.same_version = [this](std::uint64_t tag) { return conductor_.is_our_version(tag); };
    for (std::uint32_t piece = 0; piece < conductor_.plan_.pieces(); ++piece) {
      if (conductor_.plan_.wanted(piece) && !conductor_.task_->has(piece)) watch.wanted.push_back(piece);
    }
    conductor_.hosts_[candidate.peer_id] = candidate.host_id;
    auto& parent = parents_.emplace_back();
    parent.id = set_.add(candidate.peer_id, candidate.host_id, now);
    parent.watch = std::make_unique<swarm::ParentWatch>(*conductor_.parts_.parents, candidate,
                                                        std::move(watch), conductor_.log_);
    watching_.spawn(follow(parent));
  }
}

Task<void> ParentPhase::follow(Parent& parent) {
  for (;;) {
    // Bits to bytes.
    set_.hint(parent.id, static_cast<double>(parent.watch->idle_tx()) / 8);
    set_.capacity(parent.id, static_cast<double>(parent.watch->max_tx()) / 8);
    auto changed = co_await parent.watch->changed().wait(Deadline::never());
    if (!changed) co_return;
    work_.notify_all();
  }
}

void ParentPhase::count_copies() {
  copies_.resize(conductor_.plan_.pieces(), 0);
  for (auto& parent : parents_) {
    bool gone = set_.given_up(parent.id);
    if (parent.seen_version == parent.watch->version() && !gone) continue;
    parent.seen_version = parent.watch->version();
    const auto& complete = parent.watch->complete().words();
    const auto& arriving = parent.watch->arriving().words();
    parent.counted.resize(std::max({parent.counted.size(), complete.size(), arriving.size()}), 0);
    for (std::size_t i = 0; i < parent.counted.size(); ++i) {
      std::uint64_t now = 0;
      if (!gone && i < complete.size()) now |= complete[i];
      if (!gone && i < arriving.size()) now |= arriving[i];
      for (auto changed = now ^ parent.counted[i]; changed != 0; changed &= changed - 1) {
        auto bit = std::countr_zero(changed);
        auto piece = i * 64 + static_cast<std::size_t>(bit);
        if (piece >= copies_.size()) continue;
        copies_[piece] = static_cast<std::uint16_t>(copies_[piece] + ((now >> bit & 1) != 0 ? 1 : -1));
      }
      parent.counted[i] = now;
    }
  }
}

void ParentPhase::compare() {
  const auto all = conductor_.plan_.pieces();
  for (const auto& parent : parents_) set_.parent_has(parent.id, parent.watch->complete().count(), all);
  set_.we_have(conductor_.plan_.here(), all);
}

// `why`: kBeyondShare ignores how the parent deals its pieces.
bool ParentPhase::assign_open(Parent& parent, Why why, swarm::AnnounceSession& session) {
  auto& world = conductor_.parts_.world;
  auto& plan = conductor_.plan_;
  auto length = conductor_.task_->piece_length();
  auto now = world.now();
  auto share = parent.watch->share();
  if (why == Why::kBeyondShare) share = {};
  const bool dealt = share.count > 1;
  if (plan.open() == 0 || set_.given_up(parent.id) || !set_.usable(parent.id, length, now, true, dealt))
    return false;
  const auto& there = parent.watch->complete();
  std::optional<std::uint32_t> piece;
  // What is dealt among many comes one by one: the more at once, the later others have the first of them.
  const bool one_by_one = share.count >= kManyChildren && set_.in_flight(parent.id) > 0;
  if (set_.usable(parent.id, length, now) && !one_by_one)
    piece = plan.pick(there, copies_, world.random(), share);
  // Our share is taken: what others have not come to yet.
  if (!piece && dealt && there.count() >= plan.pieces() && set_.in_flight(parent.id) == 0) {
    const auto& given = parent.watch->given();
    piece = plan.pick(there, copies_, world.random(), {}, &given);
    // All of it is with somebody, who may be slow: the parent has nothing better to do than to send it again.
    if (!piece && given.count() >= plan.pieces()) piece = plan.pick(there, copies_, world.random());
  }
  if (!piece) piece = plan.pick(parent.watch->arriving(), copies_, world.random(), share);
  if (!piece) return false;
  start(parent, *piece, why, session);
  return true;
}

void ParentPhase::assign(swarm::AnnounceSession& session) {
  count_copies();
  compare();
  // Whoever held these outside of this download may be done with them.
  for (auto piece : std::exchange(busy_, {})) conductor_.plan_.released(piece);
  // In turns, so that work is spread before anybody's window is full.
  for (bool any = true; any && !failure_;) {
    any = false;
    for (auto& parent : parents_) {
      if (assign_open(parent, Why::kOpen, session)) any = true;
    }
  }
  assign_beyond_shares(session);
  if (conductor_.plan_.open() == 0 && !failure_) assign_hedges(session);
}

// What a parent deals to others is taken from it only when there is nothing else to do, or a reader waits for
// it.
void ParentPhase::assign_beyond_shares(swarm::AnnounceSession& session) {
  bool dealt = conductor_.plan_.open() > 0 &&
               std::any_of(parents_.begin(), parents_.end(),
                           [](const Parent& parent) { return parent.watch->share().count > 1; });
  auto running_beyond = [this] {
    return static_cast<std::size_t>(std::count_if(fetches_.begin(), fetches_.end(),
                                                  [](const Fetch& f) { return f.why == Why::kBeyondShare; }));
  };
  bool idle = running_beyond() == fetches_.size() || conductor_.plan_.reader_waits();
  if (!dealt || failure_ || !idle) {
    idle_since_.reset();
    return;
  }
  auto now = conductor_.parts_.world.now();
  if (!idle_since_) idle_since_ = now;
  if (now - *idle_since_ < kShareIdle) return;
  for (auto& parent : parents_) {
    if (running_beyond() >= kBeyondShares) return;
    assign_open(parent, Why::kBeyondShare, session);
  }
}

void ParentPhase::assign_hedges(swarm::AnnounceSession& session) {
  auto now = conductor_.parts_.world.now();
  struct Start {
    Parent* parent;
    std::uint32_t piece;
  };
  std::vector<Start> starts;
  for (const auto& late : fetches_) {
    if (late.why == Why::kRival || conductor_.task_->has(late.piece)) continue;
    bool has_rival = std::any_of(fetches_.begin(), fetches_.end(), [&](const Fetch& f) {
      return f.why == Why::kRival && f.piece == late.piece;
    });
    if (has_rival) continue;
    std::vector<swarm::ParentSet::Id> having;
    bool dealt_only = true;
    for (const auto& parent : parents_) {
      if (&parent == late.parent || !parent.watch->complete().test(late.piece)) continue;
      having.push_back(parent.id);
      dealt_only = dealt_only && parent.watch->share().count > 1;
    }
    if (having.empty()) continue;
    // Only whoever deals it out has it yet: it is on its way from there, and not faster if sent twice.
    if (dealt_only && now - std::max(late.running.last_byte, late.running.asked) < kDealtStall) continue;
    auto helper = set_.hedge(late.running, having, now);
    if (!helper) continue;
    auto found =
        std::find_if(parents_.begin(), parents_.end(), [&](const Parent& p) { return p.id == *helper; });
    if (found != parents_.end()) starts.push_back({&*found, late.piece});
  }
  for (const auto& each : starts) start(*each.parent, each.piece, Why::kRival, session);
}

void ParentPhase::start(Parent& parent, std::uint32_t piece, Why why, swarm::AnnounceSession& session) {
  bool rival = why == Why::kRival;
  auto& plan = conductor_.plan_;
  auto now = conductor_.parts_.world.now();
  auto claimed = conductor_.task_->claim(piece, rival ? store::Rivals::kAllowed : store::Rivals::kNo);
  if (!claimed) {
    if (!failure_) failure_ = std::move(claimed).error();
    return;
  }
  if (claimed->state == store::ClaimState::kHave) return plan.completed(piece);
  if (claimed->state == store::ClaimState::kBusy) {
    if (rival) return;
    busy_.push_back(piece);
    return plan.taken(piece);
  }
  auto claim = std::move(*claimed->claim);
  auto length = claim.length();
  if (!rival) plan.taken(piece);
  auto& record = fetches_.emplace_back();
  record.urgent = set_.urgent(parent.id);
  set_.asked(parent.id, length, now);
  record.parent = &parent;
  record.piece = piece;
  record.why = why;
  record.running = {.parent = parent.id, .length = length, .left = length, .asked = now, .last_byte = now};
  fetching_.spawn(fetch(record, std::move(claim), session));
}

Task<void> ParentPhase::fetch(Fetch& record, store::PieceClaim claim, swarm::AnnounceSession& session) {
  auto& world = conductor_.parts_.world;
  auto& parent = *record.parent;
  auto piece = record.piece;
  swarm::FetchOptions how;
  how.kind = kind_on_wire(conductor_.wish_);
  how.deadline = Deadline::in(conductor_.options_.piece_timeout, world.now());
  how.stall_timeout = conductor_.options_.idle_timeout;
  how.peer_id = parent.watch->parent().peer_id;
  how.apart = record.urgent;
  how.limit = conductor_.own_limit_.unlimited() ? nullptr : &conductor_.own_limit_;
  how.received = [this, &record](std::size_t bytes) {
    auto now = conductor_.parts_.world.now();
    record.running.last_byte = now;
    record.running.left -= std::min<std::uint64_t>(record.running.left, bytes);
    set_.received(record.running.parent, bytes, now);
    conductor_.bytes_arrived(bytes);
  };
  auto address = parent.watch->data();
  auto fetched = co_await conductor_.parts_.parents->fetch(address, std::move(claim), std::move(how));
  auto now = world.now();
  if (fetched) {
    set_.finished(parent.id, now);
    conductor_.piece_done(*fetched);
  } else {
    auto code = fetched.error().code();
    auto left = record.running.left;
    conductor_.plan_.released(piece);        // if a rival still runs, the next claim finds it busy
    if (code == ErrorCode::kPrecondition) {  // a rival was first
      set_.cancelled(parent.id, left, now);
      if (conductor_.task_->has(piece)) conductor_.plan_.completed(piece);
    } else if (is_ours(code)) {
      set_.cancelled(parent.id, left, now);
      if (!failure_) failure_ = std::move(fetched).error();
    } else {
      conductor_.log_.debug("piece {} of task {} from {}: {}", piece, conductor_.task_id_,
                            parent.watch->parent().peer_id, fetched.error().message());
      // It waits for the piece as we do: not a reason to speak ill of it.
      if (code == ErrorCode::kTimeout && !parent.watch->complete().test(piece)) code = ErrorCode::kExhausted;
      set_.failed(parent.id, left, code, now);
      if (code == ErrorCode::kNotFound) parent.watch->lost(piece);
      if (code != ErrorCode::kExhausted) session.piece_failed(piece, parent.watch->parent().peer_id);
    }
  }
  fetches_.remove_if([&record](const Fetch& f) { return &f == &record; });
  work_.notify_all();
}

bool ParentPhase::may_bring_something(const Parent& parent) const {
  using State = swarm::ParentWatch::State;
  if (set_.given_up(parent.id)) return false;
  auto state = parent.watch->state();
  if (state == State::kAsking || state == State::kFollowing) return true;
  for (std::uint32_t piece = 0; piece < conductor_.plan_.pieces(); ++piece) {
    if (conductor_.plan_.is_open(piece) && parent.watch->complete().test(piece)) return true;
  }
  return false;
}

bool ParentPhase::exhausted() const {
  return fetches_.empty() && std::none_of(parents_.begin(), parents_.end(),
                                          [this](const Parent& p) { return may_bring_something(p); });
}

// More parents may come at any time.
Task<void> ParentPhase::listen(swarm::AnnounceSession& session) {
  for (;;) {
    auto arrived = co_await session.arrived().wait(Deadline::never());
    if (!arrived) co_return;
    work_.notify_all();
  }
}

Task<Result<ParentPhase::End>> ParentPhase::run(swarm::AnnounceSession& session) {
  auto& world = conductor_.parts_.world;
  Scope listening(world.loop());
  listening.spawn(listen(session));
  auto progress_at = world.now();
  for (;;) {
    while (auto unasked = session.unasked()) {
      if (unasked->kind == swarm::Verdict::Kind::kParents) offer(unasked->parents);
      if (unasked->kind == swarm::Verdict::Kind::kBackToSource) co_return End::kSent;
    }
    for (auto& peer : std::exchange(refused_, {})) session.piece_failed(0, std::move(peer));
    assign(session);
    if (failure_) co_return std::move(*failure_);
    if (conductor_.done()) {
      fetching_.cancel();  // rivals that lost
      co_return End::kDone;
    }
    if (exhausted()) co_return End::kExhausted;
    auto now = world.now();
    progress_at = std::max(progress_at, conductor_.last_byte_at_);
    if (now - progress_at >= conductor_.options_.stall_timeout) co_return End::kStalled;
    auto wake = Deadline::at(progress_at + conductor_.options_.stall_timeout);
    if (idle_since_ && now < *idle_since_ + kShareIdle)
      wake = wake.or_earlier(Deadline::at(*idle_since_ + kShareIdle));
    if (!fetches_.empty()) wake = wake.or_earlier(Deadline::in(kTick, now));
    if (auto back = set_.next_return(now); back != TimePoint::max())
      wake = wake.or_earlier(Deadline::at(back));
    if (auto woken = co_await work_.wait(wake); !woken && !woken.failed_with(ErrorCode::kTimeout)) {
      co_return std::move(woken).error();
    }
  }
}

}  // namespace d7y::fetch
