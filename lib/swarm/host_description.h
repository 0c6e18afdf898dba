// This host as it is announced to schedulers (AnnounceHost).
#pragma once

#include <string>

#include "api/common.h"
#include "swarm/network_meter.h"
#include "world/world.h"

namespace d7y::swarm {

struct HostFacts {
  std::string id;        // base/ids
  std::string ip;        // advertised
  std::string hostname;  // as in the id
  std::string name;      // instance name; empty: the hostname
  bool seed = false;
  std::uint16_t upload_port = 4000, proxy_port = 4001;
  std::string idc, location;
  std::uint64_t scheduler_cluster_id = 0;
  bool disable_shared = false;
  std::string storage_folder;  // whose disk is described
  std::string version;         // of this program
};

// Everything a Go scheduler reads: cpu, memory, network, disk and build are always set, since one
// with redis does not survive their absence (Dragonfly grpc 3a).
api::common::Host describe_host(world::World& world, const HostFacts& facts, const NetworkMeter& meter);

}  // namespace d7y::swarm
