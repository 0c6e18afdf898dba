// What happens to peers of persistent and persistent-cache tasks, counted under Dragonfly's names by the kind
// of their host (Dragonfly scheduler 6.1).
#pragma once

#include <array>
#include <cstdint>

#include "base/metrics.h"
#include "scheduler/replicas.h"

namespace d7y::scheduler {

class ReplicaMetrics {
 public:
  enum class Event : std::uint8_t { kRegistered, kStarted, kFinished, kPiece };

  explicit ReplicaMetrics(Metrics& metrics) : metrics_(metrics) {}
  // Failed ones are counted among all, and once more by themselves.
  void add(ReplicaKind kind, Event event, bool seed, bool ok = true);

 private:
  struct Pair {
    Counter* all = nullptr;
    Counter* failures = nullptr;
  };
  static constexpr std::size_t kEvents = 4;

  Metrics& metrics_;
  std::array<Pair, 2 * kEvents * 2> pairs_;  // by kind, event and kind of host; found when first needed
};

}  // namespace d7y::scheduler
