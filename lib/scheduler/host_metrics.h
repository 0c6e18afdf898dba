// What is counted by host: announcements by what hosts are made of, and each host's traffic. Their labels are
// what hosts say of themselves, so there is an end to how many there may be.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "api/common.h"
#include "base/metrics.h"
#include "scheduler/records.h"

namespace d7y::scheduler {

// "super" or "normal", Dragonfly's label host_type.
std::string host_type(bool seed);

// dragonfly_scheduler_announce_host_total and ..._failure_total.
class AnnouncementCounters {
 public:
  explicit AnnouncementCounters(Metrics& metrics) : metrics_(metrics) {}
  void add(const api::common::Host& host, bool ok);

 private:
  static constexpr std::size_t kMostKinds = 500;     // of hosts; more are counted together
  static constexpr std::size_t kLongestLabel = 128;  // bytes; hosts with longer ones are counted there, too
  struct Pair {
    Counter* calls = nullptr;
    Counter* failures = nullptr;
  };
  Pair& pair_of(const api::common::Host& host);
  Pair make(const Labels& labels);

  Metrics& metrics_;
  std::unordered_map<std::string, Pair> pairs_;  // by all labels
  Pair others_;
  std::string key_;  // its memory is used again
};

// dragonfly_scheduler_host_traffic: bytes that each host reported as loaded, and that others reported as
// loaded from it, as long as it is known.
class HostTraffic {
 public:
  explicit HostTraffic(Metrics& metrics) : metrics_(metrics) {}
  void add(const HostRecord& host, bool upload, std::uint64_t bytes);
  void forget(const std::string& host_id);

 private:
  struct Entry {
    Counter* counters[2] = {};  // downloads, uploads
    Labels labels[2];
  };
  Metrics& metrics_;
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace d7y::scheduler
