#include "swarm/parent_set.h"

#include <algorithm>
#include <cmath>

namespace d7y::swarm {

namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Duration from_seconds(double value) {
  constexpr double kLongest = 1e6;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::min(value, kLongest)));
}

// A rate is taken from at least this much time, or this many bytes.
constexpr double kSampleSeconds = 0.1;
constexpr double kSampleBytes = 1 << 20;
// The share of the past in a rate falls to 1/e in this time.
constexpr double kMemorySeconds = 1.5;

}  // namespace

ParentSet::Id ParentSet::add(std::string peer_id, std::string host_id, TimePoint now) {
  for (Id id = 0; id < parents_.size(); ++id) {
    if (parents_[id].peer_id != peer_id) continue;
    parents_[id].gone = false;
    return id;
  }
  Parent parent;
  parent.peer_id = std::move(peer_id);
  parent.host_id = std::move(host_id);
  parent.rests_until = now;
  parents_.push_back(std::move(parent));
  return static_cast<Id>(parents_.size() - 1);
}

void ParentSet::remove(Id id) { parents_[id].gone = true; }

double ParentSet::failures(const Parent& parent, TimePoint now) const {
  if (parent.failures == 0) return 0;
  return parent.failures * std::exp2(-seconds(now - parent.failed_at) / seconds(policy_.failure_half_life));
}

double ParentSet::expected_rate(const Parent& parent) const {
  if (parent.rate > 0) return parent.rate;
  double best = 0;
  for (const auto& other : parents_) best = std::max(best, other.rate);
  if (best == 0) best = policy_.rate_guess;
  return parent.hint > 0 ? std::min(best, parent.hint) : best;
}

std::uint32_t ParentSet::window(const Parent& parent, std::uint64_t length) const {
  auto fits = expected_rate(parent) * seconds(policy_.window_time) /
              static_cast<double>(std::max<std::uint64_t>(length, 1));
  auto wanted = static_cast<std::uint32_t>(std::min(fits, 1000.0)) + 1;
  return std::clamp(wanted, policy_.window_min, policy_.window_max);
}

Duration ParentSet::time_to_deliver(const Parent& parent, std::uint64_t length, TimePoint now) const {
  auto rate = expected_rate(parent) / (1 + failures(parent, now));
  return from_seconds(static_cast<double>(parent.on_the_way + length) / std::max(rate, 1.0));
}

bool ParentSet::lags(Id id) const {
  const auto& parent = parents_[id];
  if (parent.capacity <= 0) return false;
  // What counts in the end is what somebody delivers, not what he says of himself.
  const auto least = parent.rate > 0 ? parent.rate : parent.capacity / policy_.usual_share;
  std::size_t known = 0, faster = 0;
  for (const auto& other : parents_) {
    if (other.gone || other.banned || other.capacity <= 0) continue;
    ++known;
    if (other.capacity >= policy_.lag * parent.capacity && (other.rate == 0 || other.rate >= least)) ++faster;
  }
  return known >= policy_.lag_among && faster * 2 >= known;
}

bool ParentSet::usable(Id id, std::uint64_t length, TimePoint now, bool arriving, bool dealt) const {
  const auto& parent = parents_[id];
  if (parent.gone || parent.banned || now < parent.rests_until) return false;
  if (on_their_way_ > 0 && lags(id)) return false;
  const bool spread = parent.in_flight == 0 || on_their_way_ < policy_.spread || dealt;
  if (!spread && on_their_way_ - busy_ >= urgent_) return false;
  return parent.in_flight < (arriving ? policy_.window_arriving : window(parent, length));
}

void ParentSet::parent_has(Id id, std::uint32_t pieces, std::uint32_t all) {
  auto& parent = parents_[id];
  parent.pieces = pieces;
  // One that has said nothing yet may have everything.
  parent.equal |= pieces > 0 && pieces < all;
}

void ParentSet::we_have(std::uint32_t pieces, std::uint32_t all) {
  double theirs = 0;
  std::size_t equals = 0;
  for (const auto& parent : parents_) {
    if (!parent.equal || parent.gone || parent.banned) continue;
    theirs += parent.pieces;
    ++equals;
  }
  const auto behind = equals == 0 ? 0 : theirs / static_cast<double>(equals) - pieces;
  const auto steps = std::floor(behind / std::max(policy_.behind_pieces, policy_.behind_part * all));
  urgent_ = static_cast<std::uint32_t>(std::clamp(steps, 0.0, static_cast<double>(policy_.urgent_max)));
}

bool ParentSet::urgent(Id id) const {
  return urgent_ > 0 && parents_[id].in_flight > 0 && on_their_way_ >= policy_.spread;
}

std::optional<ParentSet::Id> ParentSet::pick(std::span<const Id> having, std::uint64_t length,
                                             TimePoint now) const {
  std::optional<Id> best;
  Duration best_time = Duration::max();
  for (Id id : having) {
    if (id >= parents_.size() || !usable(id, length, now)) continue;
    auto time = time_to_deliver(parents_[id], length, now);
    // Equal prospects: the one who was asked less.
    if (time < best_time ||
        (time == best_time && best && parents_[id].in_flight < parents_[*best].in_flight)) {
      best = id;
      best_time = time;
    }
  }
  return best;
}

TimePoint ParentSet::next_return(TimePoint now) const {
  auto next = TimePoint::max();
  for (const auto& parent : parents_) {
    if (!parent.gone && !parent.banned && parent.rests_until > now) next = std::min(next, parent.rests_until);
  }
  return next;
}

bool ParentSet::exhausted() const {
  return std::all_of(parents_.begin(), parents_.end(), [](const Parent& p) { return p.gone || p.banned; });
}

void ParentSet::asked(Id id, std::uint64_t length, TimePoint now) {
  auto& parent = parents_[id];
  ++on_their_way_;
  if (parent.in_flight++ == 0) {
    ++busy_;
    parent.counting_from = now;
    parent.counted = 0;
  }
  parent.on_the_way += length;
}

void ParentSet::received(Id id, std::uint64_t bytes, TimePoint now) {
  auto& parent = parents_[id];
  parent.counted += bytes;
  parent.on_the_way -= std::min(parent.on_the_way, bytes);
  measure(parent, now, false);
}

void ParentSet::measure(Parent& parent, TimePoint now, bool pause) {
  auto took = seconds(now - parent.counting_from);
  auto counted = static_cast<double>(parent.counted);
  bool enough = took >= kSampleSeconds || (pause && counted >= kSampleBytes);
  if (!enough || (counted == 0 && took < seconds(policy_.stall))) return;
  auto sample = counted / std::max(took, 1e-6);
  auto weight = parent.rate == 0 ? 1.0 : 1 - std::exp(-std::max(took, 0.02) / kMemorySeconds);
  // Never 0: that would mean "not measured".
  parent.rate = std::max(parent.rate + weight * (sample - parent.rate), 1.0);
  parent.counting_from = now;
  parent.counted = 0;
}

void ParentSet::ended(Parent& parent, std::uint64_t left, TimePoint now) {
  if (parent.in_flight > 0) {
    --on_their_way_;
    if (--parent.in_flight == 0) --busy_;
  }
  parent.on_the_way = parent.in_flight == 0 ? 0 : parent.on_the_way - std::min(parent.on_the_way, left);
  measure(parent, now, parent.in_flight == 0);
}

void ParentSet::finished(Id id, TimePoint now) {
  auto& parent = parents_[id];
  ended(parent, 0, now);
  parent.failures = failures(parent, now) * 0.5;
  parent.failed_at = now;
}

void ParentSet::cancelled(Id id, std::uint64_t left, TimePoint now) { ended(parents_[id], left, now); }

void ParentSet::failed(Id id, std::uint64_t left, ErrorCode code, TimePoint now) {
  auto& parent = parents_[id];
  ended(parent, left, now);
  if (code == ErrorCode::kCorrupt || code == ErrorCode::kProtocol) {
    parent.banned = true;
    return;
  }
  // Several requests that break with one connection are one failure.
  if (now < parent.rests_until) return;
  parent.failures =
      failures(parent, now) + (code == ErrorCode::kNotFound || code == ErrorCode::kExhausted ? 0.5 : 1.0);
  parent.failed_at = now;
  if (parent.failures >= policy_.failures_max) {
    parent.banned = true;
    return;
  }
  auto rest = from_seconds(seconds(policy_.rest_min) * std::exp2(std::max(parent.failures - 1, 0.0)));
  parent.rests_until = now + std::min(rest, policy_.rest_max);
}

std::optional<ParentSet::Id> ParentSet::hedge(const Running& running, std::span<const Id> having,
                                              TimePoint now) const {
  const auto& current = parents_[running.parent];
  auto share = expected_rate(current) / std::max(1u, current.in_flight);
  auto rest = from_seconds(static_cast<double>(running.left) / std::max(share, 1.0));
  bool stalled = now - std::max(running.last_byte, running.asked) >= policy_.stall;
  if (!stalled && rest < policy_.hedge_worth) return std::nullopt;

  std::vector<Id> others;
  for (Id id : having) {
    // The same host behind another peer id would be no second chance.
    if (id < parents_.size() && id != running.parent && parents_[id].host_id != current.host_id)
      others.push_back(id);
  }
  auto best = pick(others, running.length, now);
  if (!best) return std::nullopt;
  if (stalled) return best;
  auto time = time_to_deliver(parents_[*best], running.length, now);
  return seconds(time) * policy_.hedge_gain < seconds(rest) ? best : std::nullopt;
}

}  // namespace d7y::swarm
