// How much this host sends and receives, and could: measured once a second for everybody who wants to
// know (Dragonfly measures once per watcher, one after the other: client 3.4).
//
//   NetworkMeter meter(world, {.ip = "10.0.0.5", .upload_limit = 0});
//   auto network = meter.latest();
#pragma once

#include <string>

#include "api/common.h"
#include "base/notify.h"
#include "base/scope.h"
#include "world/world.h"

namespace d7y::swarm {

struct NetworkMeterOptions {
  std::string ip;                                      // the advertised one: names the interface
  std::uint64_t download_limit = 0, upload_limit = 0;  // bytes/s, 0: none
  std::chrono::nanoseconds interval = std::chrono::seconds(1);
  // Bits/s said where neither the interface's speed nor a limit is known.
  std::uint64_t unknown_speed = 10'000'000'000;
};

class NetworkMeter {
 public:
  struct Reading {
    std::uint64_t max_rx = 0, rx = 0, max_tx = 0, tx = 0;  // bits/s
  };

  // Measures from now on.
  NetworkMeter(world::World& world, NetworkMeterOptions options);

  const Reading& latest() const { return latest_; }
  // Puts the four numbers where Host wants them.
  void fill(api::common::Network& network) const;
  // Notified after each measurement.
  Signal& measured() { return measured_; }

 private:
  Task<void> run();
  void measure(Duration since_last);

  world::World& world_;
  NetworkMeterOptions options_;
  Reading latest_;
  std::uint64_t last_received_ = 0, last_sent_ = 0;
  bool seen_ = false;
  Signal measured_;
  Scope scope_;
};

}  // namespace d7y::swarm
