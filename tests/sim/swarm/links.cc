#include "sim/swarm/links.h"

#include <algorithm>
#include <cmath>

namespace d7y::sim::swarm {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kSame = 0.01;       // rates that differ by less are the same
constexpr double kOver = 1.02;       // use of a link above which it is looked at again
constexpr double kUnder = 0.97;      // and below which
constexpr std::size_t kRipple = 24;  // links looked at in one event
constexpr std::size_t kCrowd = 128;  // links with more transfers are not looked at for each change
constexpr double kDone = 1.0;        // bytes

}  // namespace

std::uint32_t Links::add_host(double up, double down) {
  for (const double capacity : {up, down}) {
    auto& link = links_.emplace_back();
    link.capacity = capacity;
    link.level = capacity;
  }
  return static_cast<std::uint32_t>(links_.size() / 2 - 1);
}

FlowId Links::start(std::uint32_t from, std::uint32_t to, double bytes, double cap, std::uint64_t tag,
                    Seconds now) {
  FlowId id = 0;
  if (free_.empty()) {
    id = static_cast<FlowId>(flows_.size());
    flows_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  auto& flow = flows_[id];
  flow = Flow{};
  flow.left = bytes;
  flow.cap = cap;
  flow.updated = now;
  flow.tag = tag;
  flow.live = true;
  flow.link[0] = from * 2;
  flow.link[1] = to * 2 + 1;
  for (int end = 0; end < 2; ++end) {
    auto& link = links_[flow.link[end]];
    flow.position[end] = static_cast<std::uint32_t>(link.flows.size());
    link.flows.push_back(id);
    touch(flow.link[end]);
  }
  settle(now);
  if (flow.rate == 0) {  // its links are crowded and not looked at yet
    set_rate(flow, std::min({links_[flow.link[0]].level, links_[flow.link[1]].level, cap}), now);
  }
  return id;
}

void Links::set_capacity(std::uint32_t host, double both, Seconds now) {
  links_[host * 2].capacity = both;
  links_[host * 2 + 1].capacity = both;
  touch(host * 2);
  touch(host * 2 + 1);
  settle(now);
}

void Links::set_cap(FlowId id, double cap, Seconds now) {
  flows_[id].cap = cap;
  touch(flows_[id].link[0]);
  touch(flows_[id].link[1]);
  settle(now);
}

void Links::take_off(FlowId id, Seconds now) {
  auto& flow = flows_[id];
  set_rate(flow, 0, now);
  for (int end = 0; end < 2; ++end) {
    auto& list = links_[flow.link[end]].flows;
    list[flow.position[end]] = list.back();
    auto& moved = flows_[list.back()];
    moved.position[moved.link[0] == flow.link[end] ? 0 : 1] = flow.position[end];
    list.pop_back();
    touch(flow.link[end]);
  }
  flow.live = false;
  free_.push_back(id);
}

void Links::cancel(FlowId id, Seconds now) {
  take_off(id, now);
  settle(now);
}

double Links::left(FlowId id, Seconds now) const {
  const auto& flow = flows_[id];
  return std::max(0.0, flow.left - flow.rate * (now - flow.updated));
}

void Links::touch(std::uint32_t at) {
  auto& link = links_[at];
  ++link.changes;
  if (link.queued) return;
  if (link.flows.size() > kCrowd && link.changes < link.flows.size() / 64) return;
  link.queued = true;
  queue_.push_back(at);
}

void Links::settle(Seconds now) {
  for (std::size_t i = 0; i < kRipple && queue_from_ < queue_.size(); ++i) {
    const auto at = queue_[queue_from_++];
    links_[at].queued = false;
    find_level(at, now);
  }
  if (queue_from_ == queue_.size()) {
    queue_.clear();
    queue_from_ = 0;
  }
}

void Links::find_level(std::uint32_t at, Seconds now) {
  auto& link = links_[at];
  link.changes = 0;
  if (link.flows.empty()) {
    link.level = link.capacity;
    link.used = 0;
    return;
  }
  const int other_end = at % 2 == 0 ? 1 : 0;
  const auto bound = [&](const Flow& flow) { return std::min(flow.cap, links_[flow.link[other_end]].level); };
  // Water filling: those bound elsewhere by less than an even share leave the rest to the others.
  double level = link.capacity / static_cast<double>(link.flows.size());
  for (int round = 0; round < 8; ++round) {
    double taken = 0;
    std::size_t bound_elsewhere = 0;
    for (const auto id : link.flows) {
      const double limit = bound(flows_[id]);
      if (limit > level) continue;
      taken += limit;
      ++bound_elsewhere;
    }
    if (bound_elsewhere == link.flows.size()) {
      level = link.capacity - taken + level;  // there is room for more than all want
      break;
    }
    const double next = (link.capacity - taken) / static_cast<double>(link.flows.size() - bound_elsewhere);
    if (next <= level * (1 + 1e-6)) break;
    level = next;
  }
  link.level = std::min(level, link.capacity);
  Seconds soonest = kNever;
  double used = 0;
  for (const auto id : link.flows) {
    auto& flow = flows_[id];
    auto& other = links_[flow.link[other_end]];
    const double rate = std::min(bound(flow), link.level);
    if (std::abs(rate - flow.rate) > kSame * flow.rate) {
      set_rate(flow, rate, now);
      const bool over = other.used > other.capacity * kOver;
      const bool under = other.used < other.capacity * kUnder && other.level < other.capacity;
      if ((over || under) && other.flows.size() <= kCrowd) touch(flow.link[other_end]);
    }
    used += flow.rate;
    if (flow.rate > 0) soonest = std::min(soonest, flow.updated + flow.left / flow.rate);
  }
  link.used = used;
  if (at % 2 == 1) set_alarm(at, soonest);
}

void Links::set_rate(Flow& flow, double rate, Seconds now) {
  flow.left = std::max(0.0, flow.left - flow.rate * (now - flow.updated));
  flow.updated = now;
  for (const auto link : flow.link) links_[link].used += rate - flow.rate;
  flow.rate = rate;
  if (rate > 0) set_alarm(flow.link[1], now + flow.left / rate);
}

void Links::set_alarm(std::uint32_t downlink, Seconds when) {
  auto& link = links_[downlink];
  if (when >= link.due) return;
  link.due = when;
  alarms_.push({when, downlink});
}

Seconds Links::next() {
  while (!alarms_.empty() && alarms_.top().when > links_[alarms_.top().link].due) alarms_.pop();
  return alarms_.empty() ? kNever : alarms_.top().when;
}

FlowId Links::take_finished(Seconds now) {
  for (;;) {
    const auto when = next();
    if (when > now) return kNoFlow;
    const auto at = alarms_.top().link;
    alarms_.pop();
    auto& link = links_[at];
    link.due = kNever;
    Seconds soonest = kNever;
    FlowId done = kNoFlow;
    for (const auto id : link.flows) {
      const auto& flow = flows_[id];
      if (flow.rate <= 0) continue;
      const auto end = flow.updated + flow.left / flow.rate;
      if (done == kNoFlow && (end <= now || left(id, now) <= kDone)) {
        done = id;
        continue;
      }
      soonest = std::min(soonest, end);
    }
    set_alarm(at, soonest);
    if (done == kNoFlow) continue;
    take_off(done, now);
    settle(now);
    return done;
  }
}

}  // namespace d7y::sim::swarm
