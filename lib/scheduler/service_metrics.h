// The scheduler's numbers, under Dragonfly's names where the meaning is the same (Dragonfly scheduler 6.1),
// and under d7y_ where it has none. What is counted by call is in call_metrics.h.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "base/metrics.h"
#include "scheduler/brain.h"
#include "scheduler/host_metrics.h"

namespace d7y::scheduler {

class ServiceMetrics {
 public:
  // `each_host`: count the traffic of each host by itself, too.
  ServiceMetrics(Metrics& metrics, bool each_host);

  // "dragonfly_scheduler_<name>_total" with priority, task type and host type. `name` lives for ever: what it
  // counts is found once.
  void peer_event(std::string_view name, const PeerRecord& peer, const HostRecord& host);
  void piece(bool from_source, std::uint64_t bytes, const HostRecord& host);
  void piece_failed(bool from_source, const HostRecord& host);
  void peer_duration(const TaskRecord& task, Duration duration);
  void schedule_duration(Duration duration);
  void show(const Brain& brain);

  AnnouncementCounters announcements;
  std::optional<HostTraffic> host_traffic;
  Gauge& streams;
  Counter& seed_triggers;
  Counter& seed_failures;
  Counter& sent_to_source;
  Counter& sent_parents;

 private:
  struct PieceCounters {
    Counter* pieces = nullptr;
    Counter* failures = nullptr;
    Counter* bytes = nullptr;
  };
  static constexpr std::size_t kPriorities = 7;
  using EventCounters = std::array<Counter*, kPriorities * 2>;  // by priority and kind of host
  static constexpr std::size_t kSizeLevels = 21;
  PieceCounters& pieces_of(bool from_source, const HostRecord& host);

  // All of them found when they are first needed.
  Metrics& metrics_;
  std::unordered_map<std::string_view, EventCounters> events_;
  std::array<PieceCounters, 4> pieces_;  // by source and kind of host
  std::array<Histogram*, kSizeLevels> peer_durations_{};
  Gauge &hosts_, &tasks_, &peers_, &waiting_;
  Histogram& schedule_;
};

// dragonfly_scheduler_version, always 1: `version` as "0.1.0".
void show_version(Metrics& metrics, std::string_view version);

}  // namespace d7y::scheduler
