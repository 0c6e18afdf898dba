// The scheduler's numbers, under Dragonfly's names where the meaning is the same (Dragonfly scheduler 6.1),
// and under d7y_ where it has none.
#pragma once

#include <array>

#include "base/metrics.h"
#include "scheduler/brain.h"

namespace d7y::scheduler {

class ServiceMetrics {
 public:
  explicit ServiceMetrics(Metrics& metrics);

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
  struct PieceCounters {
    Counter* pieces = nullptr;
    Counter* bytes = nullptr;
  };
  Metrics& metrics_;
  std::array<PieceCounters, 4> pieces_;  // by source and kind of host, found once
  Gauge &hosts_, &tasks_, &peers_, &waiting_;
  Histogram& schedule_;
};

// Dragonfly's task_size_level label: 0 unknown, 1 below 1 MiB, ... 20 from 1 TiB.
int task_size_level(std::int64_t content_length);

}  // namespace d7y::scheduler
