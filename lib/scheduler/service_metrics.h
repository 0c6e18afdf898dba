// The scheduler's numbers, under Dragonfly's names where the meaning is the same (Dragonfly scheduler 6.1),
// and under d7y_ where it has none.
#pragma once

#include <array>
#include <string_view>
#include <unordered_map>

#include "base/metrics.h"
#include "scheduler/brain.h"

namespace d7y::scheduler {

class ServiceMetrics {
 public:
  explicit ServiceMetrics(Metrics& metrics);

  // `name` lives for ever in all of these: what it counts is found once.
  // "dragonfly_scheduler_<name>_total", and its failures.
  void call(std::string_view name, bool ok);
  // The same with priority, task type and host type.
  void peer_event(std::string_view name, const PeerRecord& peer, const HostRecord& host, bool ok = true);
  void piece(bool from_source, std::uint64_t bytes, const HostRecord& host);
  void peer_duration(const TaskRecord& task, Duration duration);
  void schedule_duration(Duration duration);
  void show(const Brain& brain);

  Gauge& streams;
  Counter& seed_triggers;
  Counter& seed_failures;
  Counter& sent_to_source;
  Counter& sent_parents;

 private:
  struct CallCounters {
    Counter* calls = nullptr;
    Counter* failures = nullptr;
  };
  struct PieceCounters {
    Counter* pieces = nullptr;
    Counter* bytes = nullptr;
  };
  static constexpr std::size_t kPriorities = 7;
  using EventCounters = std::array<Counter*, kPriorities * 4>;  // by priority, kind of host, and ok
  static constexpr std::size_t kSizeLevels = 21;

  // All of them found when they are first needed.
  Metrics& metrics_;
  std::unordered_map<std::string_view, CallCounters> calls_;
  std::unordered_map<std::string_view, EventCounters> events_;
  std::array<PieceCounters, 4> pieces_;  // by source and kind of host
  std::array<Histogram*, kSizeLevels> peer_durations_{};
  Gauge &hosts_, &tasks_, &peers_, &waiting_;
  Histogram& schedule_;
};

// Dragonfly's task_size_level label: 0 unknown, 1 below 1 MiB, ... 20 from 1 TiB.
int task_size_level(std::int64_t content_length);

}  // namespace d7y::scheduler
