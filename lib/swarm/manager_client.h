// Asks a manager which schedulers there are (manager.v2.Manager/ListSchedulers), as a daemon with
// manager.addr does.
//
//   ManagerClient manager(world, {.address = "http://manager:65003", .hostname = "h1", .ip = "10.0.0.5"},
//   log); SchedulerSetOptions options; options.list = [&manager](Deadline deadline) { return
//   manager.list_schedulers(deadline); };
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "net/grpc/channel.h"
#include "swarm/scheduler_set.h"
#include "world/world.h"

namespace d7y::swarm {

struct ManagerClientOptions {
  std::string address;   // "host:port", with or without "http://" before it
  std::string hostname;  // ours; a DNS name
  std::string ip;        // ours, advertised
  bool seed = false;
  std::string idc, location, version;
  std::uint64_t scheduler_cluster_id = 0;  // 0: the manager chooses
  // Makes a connection; none: plain TCP to `address`. For TLS.
  std::function<Task<Result<std::unique_ptr<world::Stream>>>(Deadline)> connect;
};

class ManagerClient {
 public:
  ManagerClient(world::World& world, ManagerClientOptions options, Log log);
  ManagerClient(const ManagerClient&) = delete;
  ManagerClient& operator=(const ManagerClient&) = delete;

  // In the manager's order of preference. kUnavailable if it lists none that can be used.
  Task<Result<std::vector<ListedScheduler>>> list_schedulers(Deadline deadline);

  // JSON of the scheduler cluster's settings for clients of our kind (block lists), as of the last
  // list; empty before.
  const std::string& client_config() const { return client_config_; }

 private:
  Task<Result<std::unique_ptr<world::Stream>>> connect(Deadline deadline);

  world::World& world_;
  ManagerClientOptions options_;
  Log log_;
  std::string client_config_;
  grpc::Channel channel_;
};

}  // namespace d7y::swarm
