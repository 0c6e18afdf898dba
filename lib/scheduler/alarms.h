// When which peer has to be looked at. There are few different waits, and the time only goes forward: so each
// wait has a queue, whose first is its earliest, and nothing has to be sorted.
//
//   alarms.set(now, options.patience, peer);
//   while (auto peer = alarms.take(now)) ...
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <vector>

#include "base/deadline.h"
#include "scheduler/records.h"

namespace d7y::scheduler {

class Alarms {
 public:
  void set(TimePoint now, Duration wait, PeerHandle peer) { queue(wait).push_back({now + wait, peer}); }

  // The earliest; the end of time if there is none.
  TimePoint next() const {
    auto earliest = TimePoint::max();
    for (const auto& [wait, alarms] : queues_) {
      if (!alarms.empty()) earliest = std::min(earliest, alarms.front().when);
    }
    return earliest;
  }
  // One that is due, the earliest first.
  std::optional<PeerHandle> take(TimePoint now) {
    std::deque<Alarm>* first = nullptr;
    for (auto& [wait, alarms] : queues_) {
      if (alarms.empty() || alarms.front().when > now) continue;
      if (first == nullptr || alarms.front().when < first->front().when) first = &alarms;
    }
    if (first == nullptr) return std::nullopt;
    const auto peer = first->front().peer;
    first->pop_front();
    return peer;
  }
  // Most alarms are set for what does not come to pass: drops those, as long as they are the first of their
  // wait.
  template <class Idle>
  void drop(Idle idle) {
    for (auto& [wait, alarms] : queues_) {
      while (!alarms.empty() && idle(alarms.front().peer)) alarms.pop_front();
    }
  }

 private:
  struct Alarm {
    TimePoint when;
    PeerHandle peer;
  };
  struct Queue {
    Duration wait;
    std::deque<Alarm> alarms;
  };
  std::deque<Alarm>& queue(Duration wait) {
    for (auto& one : queues_) {
      if (one.wait == wait) return one.alarms;
    }
    return queues_.emplace_back(Queue{wait, {}}).alarms;
  }

  std::vector<Queue> queues_;
};

}  // namespace d7y::scheduler
