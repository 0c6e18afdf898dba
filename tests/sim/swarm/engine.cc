#include "sim/swarm/engine.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sim/swarm/client.h"

namespace d7y::sim::swarm {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr std::uint32_t kSourceLanes = 8;
constexpr double kStandstill = 1;  // bytes per second

double cpu_now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// A power of two near a five hundredth of the content, 4 to 64 MiB (Dragonfly client 2.1).
double piece_length(double bytes) {
  double piece = 4 * kMiB;
  while (piece < bytes / 500 && piece < 64 * kMiB) piece *= 2;
  return piece;
}

std::uint64_t flow_tag(PeerNumber child, std::uint32_t piece) { return std::uint64_t{child} << 32 | piece; }

}  // namespace

std::string_view name_of(Client client) {
  switch (client) {
    case Client::kRust: return "rust";
    case Client::kD7y: return "d7y";
    case Client::kMesh: return "mesh";
    default: return "tree";
  }
}

std::string_view name_of(Policy policy) {
  switch (policy) {
    case Policy::kBrain: return "d7y";
    case Policy::kDragonfly: return "dragonfly";
    case Policy::kRegular: return "regular graph";
    default: return "tree";
  }
}

Engine::Engine(const Scenario& scenario, std::uint64_t seed) : scenario_(scenario), random_(seed) {
  task_.bytes = scenario.bytes;
  task_.piece = scenario.piece > 0 ? scenario.piece : piece_length(scenario.bytes);
  task_.pieces = static_cast<std::uint32_t>(std::ceil(task_.bytes / task_.piece));
  const auto make = [&](Client kind) {
    switch (kind) {
      case Client::kRust: return rust_client(*this);
      case Client::kD7y: return d7y_client(*this);
      case Client::kMesh: return mesh_client(*this);
      default: return tree_client(*this);
    }
  };
  client_ = make(scenario.client);
  if (scenario.rust_share > 0) rust_ = make(Client::kRust);
  switch (scenario.policy) {
    case Policy::kBrain: tracker_ = brain_tracker(*this, task_, seed, scenario.check); break;
    case Policy::kDragonfly: tracker_ = dragonfly_tracker(*this, task_, seed); break;
    case Policy::kRegular:
      tracker_ = regular_tracker(*this, scenario.peers + scenario.seeds, scenario.degree, seed);
      break;
    default: tracker_ = tree_tracker(*this, scenario.arity);
  }
}
Engine::~Engine() = default;

double Engine::piece_bytes(std::uint32_t piece) const {
  return std::min(task_.piece, task_.bytes - task_.piece * piece);
}

Seconds Engine::delay(PeerNumber a, PeerNumber b) const {
  return peers_[a].site == peers_[b].site ? scenario_.delay : scenario_.site_delay;
}

double Engine::rate_of(const Peer& peer) const {
  if (peer.seed && scenario_.seed_rate > 0) return scenario_.seed_rate;
  return peer.slow ? scenario_.rate / scenario_.slow_factor : scenario_.rate;
}

Seconds Engine::up_to(Seconds most) { return most * static_cast<double>(random_.below(1 << 30)) / (1 << 30); }

void Engine::at(Seconds when, Kind kind, std::uint32_t a, std::uint32_t b) {
  events_.push({when, order_++, kind, a, b});
}

void Engine::build() {
  const auto total = scenario_.seeds + scenario_.peers;
  peers_.resize(total);
  injected_.assign((task_.pieces + 63) / 64, 0);
  links_.reserve(total + 1);
  links_.add_host(scenario_.origin_rate, scenario_.origin_rate);
  const std::size_t words = (task_.pieces + 63) / 64;
  double all_up = 0, slowest = scenario_.rate, seed_up = 0;
  for (PeerNumber number = 0; number < total; ++number) {
    auto& peer = peers_[number];
    peer.seed = number < scenario_.seeds;
    peer.have.assign(words, 0);
    peer.taken.assign(words, 0);
    peer.given.assign(words, 0);
    peer.site =
        peer.seed ? number % scenario_.sites : static_cast<std::uint32_t>(random_.below(scenario_.sites));
    const double place = static_cast<double>(random_.below(1 << 30)) / (1 << 30);
    if (!peer.seed) {
      peer.slow = place < scenario_.slow_share;
      peer.lies = place > 1 - scenario_.lying_share;
      if (scenario_.rust_share > 0)
        peer.rust = static_cast<double>(random_.below(1 << 30)) / (1 << 30) < scenario_.rust_share;
    }
    const double rate = rate_of(peer);
    links_.add_host(rate, rate);
    (peer.seed ? seed_up : all_up) += rate;
    slowest = std::min(slowest, rate);
    const double said = scenario_.says_uplink ? rate : 0;
    tracker_->add_host(number, {peer.seed, peer.site, said, said}, now_);
  }
  bound_ = std::max(
      {task_.bytes / seed_up, task_.bytes / slowest, scenario_.peers * task_.bytes / (seed_up + all_up)});
  running_ = scenario_.peers;
  for (PeerNumber number = 0; number < total && scenario_.pauses > 0; ++number) {
    at(up_to(120 / scenario_.pauses), Kind::kPause, number);
  }
  for (PeerNumber number = 0; number < total; ++number) {
    auto& peer = peers_[number];
    if (peer.seed) {
      if (!scenario_.warm || number > 0) continue;
      for (std::uint32_t piece = 0; piece < task_.pieces; ++piece) set_bit(peer.have, piece);
      peer.have_count = task_.pieces;
      peer.status = PeerStatus::kDone;
      tracker_->register_peer(number, {number, true, scenario_.deals}, now_);
      tracker_->back_to_source_started(number, now_);
      tracker_->finished(number, true, now_);
      continue;
    }
    const double place = static_cast<double>(random_.below(1 << 30)) / (1 << 30);
    at(scenario_.arrival * place, Kind::kArrive, number);
    if (static_cast<double>(random_.below(1 << 30)) / (1 << 30) < scenario_.crash_share) {
      const double share = static_cast<double>(random_.below(1 << 30)) / (1 << 30);
      at(bound_ * (scenario_.crash_from + (scenario_.crash_to - scenario_.crash_from) * share), Kind::kCrash,
         number);
    }
  }
}

Result Engine::run() {
  const double cpu = cpu_now();
  build();
  const double give_up = scenario_.give_up > 0 ? scenario_.give_up : bound_ * 20 + 600;
  while (running_ > 0 && result_.broken.empty()) {
    const double event = events_.empty() ? kNever : events_.top().when;
    const double flow = links_.next();
    const double next = std::min(event, flow);
    if (next == kNever || next > give_up) break;
    now_ = std::max(now_, next);
    if (now_ >= sample_at_) {
      double use = 0;
      for (PeerNumber i = 0; i < peers_.size(); ++i) use += links_.uplink_use(host_of(i));
      result_.use.push_back(static_cast<float>(use / static_cast<double>(peers_.size())));
      sample_at_ = now_ + bound_ / 20;
    }
    if (flow <= event) {
      if (const auto ended = links_.take_finished(now_); ended != kNoFlow) flow_ended(ended);
    } else {
      const auto happened = events_.top();
      events_.pop();
      happen(happened);
    }
  }
  result_.cpu = cpu_now() - cpu;
  return summary();
}

void Engine::happen(const Event& event) {
  auto& peer = event.kind == Kind::kTick || event.kind == Kind::kAnswer ? peers_[0] : peers_[event.a];
  switch (event.kind) {
    case Kind::kArrive: {
      if (!peer.live() && peer.status != PeerStatus::kAbsent) return;
      if (peer.status != PeerStatus::kAbsent) return;
      // It asks the origin for the length first.
      peer.status = PeerStatus::kWaiting;
      peer.asked = now_ + scenario_.origin_delay;
      at(now_ + scenario_.origin_delay + scenario_.delay, Kind::kRegister, event.a);
      return;
    }
    case Kind::kRegister:
      if (!peer.live()) return;
      tracker_->register_peer(event.a,
                              {event.a, peer.seed && !peer.from_peers,
                               peer.seed ? scenario_.deals : model(event.a).takes_offers()},
                              now_);
      break;
    case Kind::kStarted:
      if (peer.live()) tracker_->started(event.a, now_);
      break;
    case Kind::kSourceStarted:
      if (peer.live()) tracker_->back_to_source_started(event.a, now_);
      break;
    case Kind::kReschedule: {
      if (!peer.live()) return;
      std::vector<PeerNumber> had;
      for (const auto& slot : peer.parents) had.push_back(slot.peer);
      tracker_->reschedule(event.a, had, now_);
      break;
    }
    case Kind::kFinished: tracker_->finished(event.a, event.b != 0, now_); break;
    case Kind::kLost: tracker_->lost(event.a, now_); break;
    case Kind::kAnswer: {
      const auto answer = std::move(answers_[event.b]);
      free_answers_.push_back(event.b);
      take_answer(event.a, answer);
      return;
    }
    case Kind::kCollect:
      if (peer.downloading()) model(event.a).collect(event.a);
      return;
    case Kind::kWake:
      peer.wake_set = false;
      if (peer.downloading()) model(event.a).wake(event.a);
      return;
    case Kind::kCrash: crash(event.a); return;
    case Kind::kTick:
      if (now_ < tick_at_ - 1e-9) return;
      tick_at_ = kNever;
      tracker_->tick(now_);
      break;
    case Kind::kReadSource:
      if (peer.status == PeerStatus::kSource) read_source(event.a);
      return;
    case Kind::kPause:
      links_.set_capacity(host_of(event.a), kStandstill, now_);
      at(now_ + up_to(1), Kind::kResume, event.a);
      return;
    case Kind::kResume:
      links_.set_capacity(host_of(event.a), rate_of(peer), now_);
      at(now_ + up_to(120 / scenario_.pauses), Kind::kPause, event.a);
      return;
    case Kind::kLine:
      peer.dealt_out = true;
      serve_line(event.a);
      return;
    case Kind::kNotice: notice_gone(event.a, event.b); return;
  }
  after_tracker();
}

void Engine::after_tracker() {
  if (scenario_.check && result_.broken.empty()) result_.broken = tracker_->check(now_);
}

// What the tracker says goes out with the network's delay.

void Engine::push_answer(PeerNumber peer, Answer answer) {
  std::uint32_t index = 0;
  if (free_answers_.empty()) {
    index = static_cast<std::uint32_t>(answers_.size());
    answers_.push_back(std::move(answer));
  } else {
    index = free_answers_.back();
    free_answers_.pop_back();
    answers_[index] = std::move(answer);
  }
  at(now_ + scenario_.delay, Kind::kAnswer, peer, index);
}
void Engine::parents(PeerNumber peer, const std::vector<PeerNumber>& parents) {
  push_answer(peer, {Answer::Kind::kParents, parents});
}
void Engine::deal(PeerNumber seed, PeerNumber peer, bool later) {
  if (unmodified(seed)) return;
  if (later) {
    peers_[seed].later.push_back(peer);
    peers_[peer].dealer = seed;
    return;
  }
  if (peers_[seed].began_dealing < 0) peers_[seed].began_dealing = now_;
  peers_[seed].dealt.resize((task_.pieces + 63) / 64);
  peers_[seed].dealt_to.push_back(peer);
  peers_[peer].dealer = seed;
}
void Engine::back_to_source(PeerNumber peer) { push_answer(peer, {Answer::Kind::kSource, {}}); }
void Engine::refused(PeerNumber peer) { push_answer(peer, {Answer::Kind::kRefused, {}}); }

void Engine::trigger(HostNumber seed, std::uint32_t, bool from_peers) {
  if (peers_[seed].status != PeerStatus::kAbsent) return;
  peers_[seed].from_peers = from_peers;
  at(now_ + scenario_.delay, Kind::kArrive, seed);
}

void Engine::wake_at(Seconds when) {
  if (when >= tick_at_) return;
  tick_at_ = std::max(when, now_);
  at(tick_at_, Kind::kTick, 0);
}

void Engine::take_answer(PeerNumber number, const Answer& answer) {
  auto& peer = peers_[number];
  if (peer.status == PeerStatus::kDone || !peer.live()) return;
  ++result_.responses;
  if (peer.first_answer < 0) peer.first_answer = now_ - peer.asked;
  if (answer.kind == Answer::Kind::kParents) {
    if (peer.status == PeerStatus::kSource) return;
    if (peer.status == PeerStatus::kDownloading) {
      ++result_.offers;
    } else {
      ++peer.responses;
      at(now_ + scenario_.delay, Kind::kStarted, number);
    }
    peer.status = PeerStatus::kDownloading;
    model(number).offered(number, answer.parents);
    return;
  }
  if (!peer.seed) ++result_.to_source;
  peer.status = PeerStatus::kSource;
  if (answer.kind == Answer::Kind::kSource) at(now_ + scenario_.delay, Kind::kSourceStarted, number);
  at(now_ + scenario_.origin_delay, Kind::kReadSource, number);
}

void Engine::reschedule(PeerNumber number) {
  auto& peer = peers_[number];
  if (peer.status != PeerStatus::kDownloading) return;
  ++result_.reschedules;
  if (peer.responses >= model(number).most_responses()) {
    // It tells that it failed, and reads the rest from the origin.
    ++result_.to_source;
    peer.status = PeerStatus::kSource;
    at(now_ + scenario_.delay, Kind::kLost, number);
    at(now_ + scenario_.origin_delay, Kind::kReadSource, number);
    return;
  }
  peer.status = PeerStatus::kWaiting;
  at(now_ + scenario_.delay, Kind::kReschedule, number);
}

void Engine::wake(PeerNumber number, Seconds after) {
  auto& peer = peers_[number];
  if (peer.wake_set) return;
  peer.wake_set = true;
  at(now_ + after, Kind::kWake, number);
}

void Engine::collect_at(PeerNumber peer, Seconds when) { at(when, Kind::kCollect, peer); }

// Transfers.

void Engine::follow(PeerNumber child, PeerNumber parent) {
  auto& children = peers_[parent].children;
  if (std::find(children.begin(), children.end(), child) == children.end()) children.push_back(child);
  result_.most_children = std::max(result_.most_children, static_cast<std::uint32_t>(children.size()));
}

// Each piece to one of the children first, to each a few that it has not fetched yet; when all were told, all
// to all (swarm/piece_handout.h).
void Engine::deal_out(PeerNumber parent) {
  constexpr std::size_t kAhead = 4;
  auto& dealer = peers_[parent];
  const auto tell = [&](PeerNumber child, std::uint32_t piece) {
    model(child).parent_has(child, parent, piece, true);
  };
  std::vector<PeerNumber> listeners;
  for (const auto child : dealer.dealt_to) {
    if (peers_[child].downloading()) listeners.push_back(child);
  }
  std::uint32_t next = 0;
  const auto undealt = [&] {
    while (next < task_.pieces && (bit(dealer.dealt, next) || !bit(dealer.have, next))) ++next;
    return next < task_.pieces;
  };
  for (bool more = true; more && undealt();) {
    more = false;
    for (const auto child : listeners) {
      if (peers_[child].told.size() >= kAhead || !undealt()) continue;
      more = true;
      set_bit(dealer.dealt, next);
      if (bit(peers_[child].have, next)) continue;
      peers_[child].told.push_back(next);
      tell(child, next);
    }
  }
  const bool over = dealer.have_count == task_.pieces && !undealt();
  if (!over && dealer.dealt_to.size() > 1) return;
  if (over && !dealer.line_set) {
    dealer.line_set = true;
    at(now_ + 2 + 0.25 * (now_ - dealer.began_dealing), Kind::kLine, parent);
  }
  for (const auto child : listeners) {
    for (std::uint32_t piece = 0; piece < task_.pieces; ++piece) {
      if (bit(dealer.have, piece)) tell(child, piece);
    }
  }
}

void Engine::serve_line(PeerNumber seed) {
  auto& line = peers_[seed].later;
  std::erase_if(line, [&](PeerNumber child) { return !peers_[child].downloading(); });
  for (std::size_t i = 0; i < line.size() && i < 2; ++i) {
    for (std::uint32_t piece = 0; piece < task_.pieces; ++piece)
      model(line[i]).parent_has(line[i], seed, piece, true);
  }
}

void Engine::leaves_table(PeerNumber child) {
  const auto parent = peers_[child].dealer;
  if (parent == kOrigin) return;
  if (std::erase(peers_[parent].later, child) > 0) {
    peers_[child].dealer = kOrigin;
    if (peers_[parent].dealt_out) serve_line(parent);
    return;
  }
  for (const auto piece : peers_[child].told) clear_bit(peers_[parent].dealt, piece);
  peers_[child].told.clear();
  peers_[child].dealer = kOrigin;
  std::erase(peers_[parent].dealt_to, child);
  deal_out(parent);
  if (peers_[parent].dealt_to.empty() && !peers_[parent].line_set) {
    peers_[parent].line_set = true;
    at(now_ + 2, Kind::kLine, parent);
  }
}

void Engine::fetch(PeerNumber child, PeerNumber parent, std::uint32_t piece, bool rival) {
  auto& peer = peers_[child];
  double cap = kNever;
  if (parent != kOrigin && !bit(peers_[parent].have, piece)) {
    // It forwards what it receives: both end together as things are now.
    for (const auto& upstream : peers_[parent].fetches) {
      if (upstream.piece != piece || upstream.flow == kNoFlow) continue;
      const double time = links_.left(upstream.flow, now_) / std::max(1.0, links_.rate(upstream.flow));
      cap = piece_bytes(piece) / std::max(time, 1e-3);
      break;
    }
  }
  if (parent != kOrigin) set_bit(peers_[parent].given, piece);
  set_bit(peer.taken, piece);
  const bool waits =
      parent != kOrigin && takes_turns(child, parent) && going(child, parent) >= at_once(parent);
  peer.fetches.push_back({parent, piece, kNoFlow, now_, 0, rival, false, waits});
  if (waits) return;
  const auto flow = links_.start(parent == kOrigin ? 0 : host_of(parent), host_of(child), piece_bytes(piece),
                                 cap, flow_tag(child, piece), now_);
  peer.fetches.back().flow = flow;
  if (model(child).cut_through() && !rival) {
    for (const auto grandchild : peer.children) {
      if (peers_[grandchild].downloading()) model(grandchild).parent_has(grandchild, child, piece, false);
    }
  }
}

// A d7y parent sends an unmodified child one piece after the other, or as many at once as it has d7y children
// (swarm/upload_turns.h). That it sends more where that is faster is not modelled.
bool Engine::unmodified(PeerNumber number) const {
  const auto& peer = peers_[number];
  return peer.seed ? !scenario_.deals : scenario_.client == Client::kRust || peer.rust;
}

bool Engine::takes_turns(PeerNumber child, PeerNumber parent) const {
  return unmodified(child) && !unmodified(parent);
}

std::size_t Engine::going(PeerNumber child, PeerNumber parent) const {
  const auto& fetches = peers_[child].fetches;
  return static_cast<std::size_t>(std::count_if(fetches.begin(), fetches.end(), [&](const Fetch& fetch) {
    return fetch.parent == parent && fetch.flow != kNoFlow;
  }));
}

std::size_t Engine::at_once(PeerNumber parent) const {
  std::size_t others = 0;
  for (const auto flow : links_.outgoing(host_of(parent))) {
    if (!unmodified(static_cast<PeerNumber>(links_.tag(flow) >> 32))) ++others;
  }
  return std::max<std::size_t>(1, others);
}

void Engine::next_turn(PeerNumber child, PeerNumber parent) {
  Fetch* next = nullptr;
  for (auto& fetch : peers_[child].fetches) {
    if (fetch.parent != parent) continue;
    if (fetch.waits && (next == nullptr || fetch.piece < next->piece)) next = &fetch;
  }
  if (next == nullptr || going(child, parent) >= at_once(parent)) return;
  next->waits = false;
  next->flow = links_.start(host_of(parent), host_of(child), piece_bytes(next->piece), kNever,
                            flow_tag(child, next->piece), now_);
}

void Engine::stop_fetch(PeerNumber child, std::size_t at) {
  auto& peer = peers_[child];
  const auto stopped = peer.fetches[at];
  peer.fetches.erase(peer.fetches.begin() + static_cast<std::ptrdiff_t>(at));
  if (stopped.flow != kNoFlow) links_.cancel(stopped.flow, now_);
  const bool other = std::any_of(peer.fetches.begin(), peer.fetches.end(),
                                 [&](const Fetch& f) { return f.piece == stopped.piece; });
  if (!other) clear_bit(peer.taken, stopped.piece);
  if (stopped.parent != kOrigin) next_turn(child, stopped.parent);
}

bool Engine::upstream_incomplete(const Fetch& fetch) const {
  return fetch.parent != kOrigin && !bit(peers_[fetch.parent].have, fetch.piece);
}

void Engine::flow_ended(FlowId flow) {
  const auto child = static_cast<PeerNumber>(links_.tag(flow) >> 32);
  auto& fetches = peers_[child].fetches;
  for (std::size_t at = 0; at < fetches.size(); ++at) {
    if (fetches[at].flow != flow) continue;
    fetches[at].flow = kNoFlow;
    return sent(child, at);
  }
}

void Engine::sent(PeerNumber child, std::size_t at) {
  auto& fetch = peers_[child].fetches[at];
  if (upstream_incomplete(fetch)) return;  // ends with the parent's own
  if (fetch.parent != kOrigin && peers_[fetch.parent].lies) return piece_broken(child, at);
  piece_arrived(child, at);
}

void Engine::piece_arrived(PeerNumber child, std::size_t at) {
  auto& peer = peers_[child];
  const auto fetch = peer.fetches[at];
  const double bytes = piece_bytes(fetch.piece);
  peer.fetches.erase(peer.fetches.begin() + static_cast<std::ptrdiff_t>(at));
  clear_bit(peer.taken, fetch.piece);
  if (fetch.parent != kOrigin) next_turn(child, fetch.parent);
  for (std::size_t i = 0; i < peer.fetches.size();) {  // rivals that lost
    if (peer.fetches[i].piece == fetch.piece) {
      const auto loser = peer.fetches[i];
      if (loser.flow != kNoFlow) {
        const double left = links_.left(loser.flow, now_);
        (loser.parent == kOrigin ? result_.origin_bytes : result_.peer_bytes) += bytes - left;
        links_.cancel(loser.flow, now_);
      }
      peer.fetches.erase(peer.fetches.begin() + static_cast<std::ptrdiff_t>(i));
      if (loser.parent != kOrigin && peer.set) {
        for (const auto& slot : peer.parents) {
          if (slot.peer == loser.parent)
            peer.set->cancelled(slot.id, static_cast<std::uint64_t>(bytes - loser.counted),
                                TimePoint(Duration(static_cast<std::int64_t>(now_ * 1e9))));
        }
      }
    } else {
      ++i;
    }
  }
  if (bit(peer.have, fetch.piece)) return;
  set_bit(peer.have, fetch.piece);
  ++peer.have_count;
  if (fetch.parent == kOrigin) {
    result_.origin_bytes += bytes;
    tracker_->source_piece_finished(child, fetch.piece, bytes, now_);
  } else {
    result_.peer_bytes += bytes;
    if (peers_[fetch.parent].seed) {
      result_.seed_bytes += bytes;
      if (!bit(injected_, fetch.piece)) {
        set_bit(injected_, fetch.piece);
        result_.injected = now_;
      }
    }
    if (peers_[fetch.parent].site != peer.site) result_.cross_site_bytes += bytes;
    tracker_->piece_finished(child, fetch.parent, fetch.piece, bytes, now_ - fetch.started, now_);
  }
  after_tracker();
  const bool complete = peer.have_count == task_.pieces;
  if (complete) done(child);
  // Its children hear of it, and those who were waiting for its last bytes have them.
  for (std::size_t i = 0; i < peers_[child].children.size(); ++i) {
    const auto grandchild = peers_[child].children[i];
    auto& follower = peers_[grandchild];
    if (!follower.downloading()) continue;
    for (std::size_t j = 0; j < follower.fetches.size(); ++j) {
      auto& going = follower.fetches[j];
      if (going.parent != child || going.piece != fetch.piece) continue;
      if (going.flow == kNoFlow) {
        sent(grandchild, j);
      } else {
        links_.set_cap(going.flow, kNever, now_);
      }
      break;
    }
    if (follower.downloading() && !deals(child, grandchild))
      model(grandchild).parent_has(grandchild, child, fetch.piece, true);
    if (complete && follower.downloading()) model(grandchild).parent_done(grandchild, child);
  }
  if (peer.dealer != kOrigin && std::erase(peer.told, fetch.piece) > 0) deal_out(peer.dealer);
  if (!peer.dealt_to.empty()) deal_out(child);
  if (complete) return;
  if (peer.status == PeerStatus::kSource) {
    read_source(child);
  } else if (peer.downloading()) {
    model(child).fetched(child, fetch);
  }
}

void Engine::piece_broken(PeerNumber child, std::size_t at) {
  const auto fetch = peers_[child].fetches[at];
  stop_fetch(child, at);
  ++result_.piece_failures;
  model(child).broken(child, fetch, true);
  tracker_->piece_failed(child, fetch.parent, fetch.piece, now_);
  after_tracker();
}

void Engine::read_source(PeerNumber number) {
  auto& peer = peers_[number];
  for (std::uint32_t piece = 0; piece < task_.pieces && peer.fetches.size() < kSourceLanes; ++piece) {
    if (!bit(peer.have, piece) && !bit(peer.taken, piece)) fetch(number, kOrigin, piece, false);
  }
}

void Engine::done(PeerNumber number) {
  auto& peer = peers_[number];
  const bool source = peer.status == PeerStatus::kSource;
  peer.status = PeerStatus::kDone;
  peer.done_at = now_;
  while (!peer.fetches.empty()) stop_fetch(number, 0);
  model(number).ended(number);
  leaves_table(number);
  if (!peer.seed) --running_;
  at(now_ + scenario_.delay, Kind::kFinished, number, source ? 1 : 0);
}

void Engine::crash(PeerNumber number) {
  auto& peer = peers_[number];
  if (!peer.live()) return;
  if (peer.status != PeerStatus::kDone && !peer.seed) --running_;
  peer.status = PeerStatus::kCrashed;
  ++result_.crashed;
  while (!peer.fetches.empty()) stop_fetch(number, 0);
  model(number).ended(number);
  leaves_table(number);
  const auto outgoing = links_.outgoing(host_of(number));
  for (const auto flow : outgoing) {
    const auto child = static_cast<PeerNumber>(links_.tag(flow) >> 32);
    for (auto& fetch : peers_[child].fetches) {
      if (fetch.flow == flow) fetch.flow = kNoFlow;  // nothing comes any more
    }
    links_.cancel(flow, now_);
  }
  const Seconds notice = scenario_.silent_crash ? model(number).notices_silence() : scenario_.delay;
  for (const auto child : peer.children) at(now_ + notice, Kind::kNotice, child, number);
  // The scheduler's connection: broken at once, or found out by its pings.
  at(now_ + (scenario_.silent_crash ? 30 : scenario_.delay), Kind::kLost, number);
}

void Engine::notice_gone(PeerNumber child, PeerNumber parent) {
  auto& peer = peers_[child];
  if (!peer.downloading() && peer.status != PeerStatus::kWaiting) return;
  for (std::size_t at = 0; at < peer.fetches.size();) {
    if (peer.fetches[at].parent != parent) {
      ++at;
      continue;
    }
    const auto fetch = peer.fetches[at];
    stop_fetch(child, at);
    ++result_.piece_failures;
    model(child).broken(child, fetch, false);
    tracker_->piece_failed(child, parent, fetch.piece, now_);
  }
  after_tracker();
  model(child).parent_gone(child, parent);
}

Result Engine::summary() {
  std::vector<double> waits;
  for (const auto& peer : peers_) {
    if (peer.seed) continue;
    if (peer.first_answer >= 0) waits.push_back(peer.first_answer);
    if (peer.status == PeerStatus::kDone) {
      ++result_.done;
      result_.finish_times.push_back(static_cast<float>(peer.done_at));
      result_.makespan = std::max(result_.makespan, peer.done_at);
      if (peer.rust) result_.rust_makespan = std::max(result_.rust_makespan, peer.done_at);
      if (!peer.slow) result_.fast_makespan = std::max(result_.fast_makespan, peer.done_at);
    } else if (peer.status != PeerStatus::kCrashed) {
      ++result_.unfinished;
    }
  }
  if (result_.unfinished > 0) result_.makespan = result_.fast_makespan = kNever;
  std::sort(result_.finish_times.begin(), result_.finish_times.end());
  std::sort(waits.begin(), waits.end());
  const auto quantile = [](const auto& sorted, double share) {
    if (sorted.empty()) return 0.0;
    return static_cast<double>(
        sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))]);
  };
  result_.median = quantile(result_.finish_times, 0.5);
  result_.p99 = quantile(result_.finish_times, 0.99);
  result_.first_parents_median = quantile(waits, 0.5);
  result_.first_parents_p99 = quantile(waits, 0.99);
  result_.bound = bound_;
  result_.brain_cpu = tracker_->cpu_seconds();
  return std::move(result_);
}

Result run(const Scenario& scenario, std::uint64_t seed) { return Engine(scenario, seed).run(); }

}  // namespace d7y::sim::swarm
