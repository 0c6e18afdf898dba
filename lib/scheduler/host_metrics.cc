#include "scheduler/host_metrics.h"

#include <array>

namespace d7y::scheduler {
namespace {

constexpr std::string_view kTraffic = "dragonfly_scheduler_host_traffic";
constexpr std::array kKindLabels = {
    "os",          "platform",   "platform_family", "platform_version", "kernel_version",
    "git_version", "git_commit", "go_version",      "build_platform"};
using KindValues = std::array<std::string_view, kKindLabels.size()>;

// Dragonfly's scheduler passes the family a second time where the version should be.
KindValues kind_of(const api::common::Host& host) {
  const auto& build = host.build();
  return {host.os(),
          host.platform(),
          host.platform_family(),
          host.platform_version(),
          host.kernel_version(),
          build.git_version(),
          build.git_commit(),
          build.go_version(),
          build.platform()};
}

Labels labels_of(const KindValues& values) {
  Labels labels;
  for (std::size_t i = 0; i < values.size(); ++i) labels.emplace_back(kKindLabels[i], values[i]);
  return labels;
}

}  // namespace

std::string host_type(bool seed) { return seed ? "super" : "normal"; }

void AnnouncementCounters::add(const api::common::Host& host, bool ok) {
  auto& pair = pair_of(host);
  pair.calls->add();
  if (!ok) pair.failures->add();
}

AnnouncementCounters::Pair& AnnouncementCounters::pair_of(const api::common::Host& host) {
  const auto values = kind_of(host);
  key_.clear();
  bool too_long = false;
  for (const auto value : values) {
    key_.append(value).push_back('\0');
    too_long = too_long || value.size() > kLongestLabel;
  }
  const auto known = pairs_.find(key_);
  if (known != pairs_.end()) return known->second;
  if (!too_long && pairs_.size() < kMostKinds)
    return pairs_.emplace(key_, make(labels_of(values))).first->second;
  if (others_.calls == nullptr) {
    KindValues other;
    other.fill("other");
    others_ = make(labels_of(other));
  }
  return others_;
}

AnnouncementCounters::Pair AnnouncementCounters::make(const Labels& labels) {
  return {&metrics_.counter("dragonfly_scheduler_announce_host_total", "Announcements of hosts.", labels),
          &metrics_.counter("dragonfly_scheduler_announce_host_failure_total",
                            "Announcements that were refused.", labels)};
}

void HostTraffic::add(const HostRecord& host, bool upload, std::uint64_t bytes) {
  const auto& facts = host.facts;
  auto& entry = entries_[facts.id];
  const std::size_t which = upload ? 1 : 0;
  if (entry.counters[which] == nullptr) {
    entry.labels[which] = {{"type", upload ? "upload" : "download"},
                           {"task_type", "STANDARD"},
                           {"host_type", host_type(facts.seed)},
                           {"host_id", facts.id},
                           {"host_ip", facts.ip},
                           {"host_name", facts.hostname}};
    entry.counters[which] = &metrics_.counter(kTraffic, "Bytes of each host.", entry.labels[which]);
  }
  entry.counters[which]->add(bytes);
}

void HostTraffic::forget(const std::string& host_id) {
  const auto found = entries_.find(host_id);
  if (found == entries_.end()) return;
  for (std::size_t which = 0; which < 2; ++which) {
    if (found->second.counters[which] != nullptr)
      metrics_.forget_counter(kTraffic, found->second.labels[which]);
  }
  entries_.erase(found);
}

}  // namespace d7y::scheduler
