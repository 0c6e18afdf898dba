// A scheduler's side of its manager (Dragonfly scheduler 5.2, 5.3; grpc 3d): it registers, stays known by a
// stream of keep-alives, and reads its dynamic configuration.
//
//   ManagerLink link(world, options, [&](DynamicConfig fresh) { ... }, log, metrics);
//   if (auto last = link.last_good()) ...           // from disk, before the manager was heard
//   scope.spawn(link.run());
//
// A manager that is away costs nothing but news: what it said last stays in force, also over a restart.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/scope.h"
#include "net/grpc/channel.h"
#include "scheduler/dynamic.h"
#include "world/world.h"

namespace d7y::scheduler {

struct ManagerLinkOptions {
  std::string address;  // "host:port"
  // Makes a connection; none: plain TCP to `address`.
  grpc::Channel::Connect connect;
  // Who we are.
  std::string hostname;  // a DNS name
  std::string ip;
  std::uint16_t port = 8002;
  std::string idc, location;
  std::uint64_t cluster_id = 1;
  std::vector<std::string> features = {"schedule", "preheat"};
  Duration keep_alive = std::chrono::seconds(5);
  Duration refresh = std::chrono::minutes(1);
  Duration call_timeout = std::chrono::seconds(20);
  std::string cache_path;  // the last good answers; empty: not kept
};

class ManagerLink {
 public:
  using OnChange = std::function<void(DynamicConfig)>;
  ManagerLink(world::World& world, ManagerLinkOptions options, OnChange on_change, Log log, Metrics& metrics);
  ManagerLink(const ManagerLink&) = delete;
  ManagerLink& operator=(const ManagerLink&) = delete;

  // What the manager said in an earlier life of this process; none if nothing was kept or it is damaged.
  std::optional<DynamicConfig> last_good();
  // Registers, keeps alive, refreshes; for ever.
  Task<void> run();
  // Tells the manager that we go, so that no daemon is sent here any more.
  Task<void> leave(Deadline deadline);

 private:
  Task<Result<void>> register_here();
  Task<Result<void>> refresh();
  Task<void> refresh_for_ever();
  Task<Result<void>> keep_alive();
  Task<Result<std::unique_ptr<world::Stream>>> dial(Deadline deadline);
  template <class Request>
  void sign(Request& request) const;
  void take(const std::string& answers);
  Result<void> keep(const std::string& answers);

  world::World& world_;
  ManagerLinkOptions options_;
  OnChange on_change_;
  Log log_;
  Gauge& connected_;
  Counter& failures_;
  grpc::Channel channel_;
  std::string answers_;  // as of the last refresh, serialized
  bool leaving_ = false;
  Signal leave_, left_;
  bool alive_ = false;  // a keep-alive stream is open
  Scope scope_;
};

// A DNS name out of a host's name: managers refuse others.
std::string dns_name(std::string hostname);

}  // namespace d7y::scheduler
