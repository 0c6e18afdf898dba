// How bytes flow between hosts: each host has an uplink and a downlink, each transfer is a fluid with one
// rate, and the rates are close to max-min fair, as those of many TCP connections are.
//
//   Links links(finished);
//   auto host = links.add_host(up, down);          // bytes per second
//   auto flow = links.start(from, to, bytes, now);
//   links.run_until(now) ...                       // calls finished(flow, when) in order of time
//
// A link keeps a level: the rate of its transfers that are held back by nothing else. A transfer runs at the
// smaller of its two links' levels. When a transfer starts or ends, the levels of its links are found anew,
// and those of neighbours whose use moved away from what they have; the rest of the ripple waits for the next
// event.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <vector>

namespace d7y::sim::swarm {

using Seconds = double;
using FlowId = std::uint32_t;
inline constexpr FlowId kNoFlow = ~FlowId{0};

class Links {
 public:
  std::uint32_t add_host(double up, double down);
  void reserve(std::size_t hosts) { links_.reserve(hosts * 2); }

  // `cap`: bytes per second it cannot exceed. `tag` is the caller's.
  FlowId start(std::uint32_t from, std::uint32_t to, double bytes, double cap, std::uint64_t tag,
               Seconds now);
  void set_capacity(std::uint32_t host, double both, Seconds now);
  void set_cap(FlowId flow, double cap, Seconds now);
  // Ends it early.
  void cancel(FlowId flow, Seconds now);
  double left(FlowId flow, Seconds now) const;
  double rate(FlowId flow) const { return flows_[flow].rate; }
  std::uint64_t tag(FlowId flow) const { return flows_[flow].tag; }
  std::uint32_t from(FlowId flow) const { return flows_[flow].link[0] / 2; }

  // Share of the uplink in use, 0 to 1.
  double uplink_use(std::uint32_t host) const { return links_[host * 2].used / links_[host * 2].capacity; }
  double uplink(std::uint32_t host) const { return links_[host * 2].capacity; }
  // Transfers that leave or reach the host.
  const std::vector<FlowId>& outgoing(std::uint32_t host) const { return links_[host * 2].flows; }
  const std::vector<FlowId>& incoming(std::uint32_t host) const { return links_[host * 2 + 1].flows; }

  // When something may end next; the end of time if nothing flows.
  Seconds next();
  // A transfer that has ended by `now`, taken off its links; kNoFlow if none has.
  FlowId take_finished(Seconds now);

 private:
  struct Flow {
    double left = 0, rate = 0, cap = 0;
    Seconds updated = 0;
    std::uint64_t tag = 0;
    std::uint32_t link[2] = {0, 0};      // up: 2 x host, down: 2 x host + 1
    std::uint32_t position[2] = {0, 0};  // in the links' lists
    bool live = false;
  };
  struct Link {
    double capacity = 0, level = 0, used = 0;
    std::vector<FlowId> flows;
    std::uint32_t changes = 0;  // since the level was found
    bool queued = false;
    Seconds due = std::numeric_limits<double>::infinity();  // downlinks: the alarm that is set
  };
  struct Alarm {
    Seconds when;
    std::uint32_t link;
    bool operator>(const Alarm& other) const { return when > other.when; }
  };

  void take_off(FlowId flow, Seconds now);
  void touch(std::uint32_t link);
  void settle(Seconds now);
  void find_level(std::uint32_t link, Seconds now);
  void set_rate(Flow& flow, double rate, Seconds now);
  void set_alarm(std::uint32_t downlink, Seconds when);

  std::vector<Flow> flows_;
  std::vector<FlowId> free_;
  std::vector<Link> links_;
  std::vector<std::uint32_t> queue_;
  std::size_t queue_from_ = 0;
  std::priority_queue<Alarm, std::vector<Alarm>, std::greater<>> alarms_;
};

}  // namespace d7y::sim::swarm
