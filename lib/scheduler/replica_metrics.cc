#include "scheduler/replica_metrics.h"

#include <fmt/format.h>

#include "scheduler/host_metrics.h"

namespace d7y::scheduler {
namespace {

std::string name_of(ReplicaKind kind, ReplicaMetrics::Event event) {
  using Event = ReplicaMetrics::Event;
  const std::string_view prefix = kind == ReplicaKind::kPersistent ? "persistent" : "persistent_cache";
  switch (event) {
    case Event::kRegistered: return fmt::format("register_{}_peer", prefix);
    case Event::kStarted: return fmt::format("download_{}_peer_started", prefix);
    case Event::kFinished: return fmt::format("download_{}_peer_finished", prefix);
    case Event::kPiece: return fmt::format("download_{}_piece_finished", prefix);
  }
  return {};
}

}  // namespace

void ReplicaMetrics::add(ReplicaKind kind, Event event, bool seed, bool ok) {
  const std::size_t kinds = kind == ReplicaKind::kPersistent ? 0 : 1;
  auto& pair = pairs_[(kinds * kEvents + static_cast<std::size_t>(event)) * 2 + (seed ? 1 : 0)];
  if (pair.all == nullptr) {
    const auto name = name_of(kind, event);
    const Labels labels = {{"host_type", host_type(seed)}};
    pair.all = &metrics_.counter(fmt::format("dragonfly_scheduler_{}_total", name),
                                 "Events of peers of persistent tasks.", labels);
    pair.failures = &metrics_.counter(fmt::format("dragonfly_scheduler_{}_failure_total", name),
                                      "Those that were failures.", labels);
  }
  pair.all->add();
  if (!ok) pair.failures->add();
}

}  // namespace d7y::scheduler
