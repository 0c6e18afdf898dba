// A parent as the scheduler offers it: who it is and where its gRPC server listens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/common.h"
#include "base/address.h"
#include "base/result.h"

namespace d7y::swarm {

struct Candidate {
  std::string peer_id;
  std::string host_id;
  Address upload = Address::ipv4({}, 0);  // its DfdaemonUpload server: host.ip:host.port
  bool seed = false;
  // What it may send and sends now, bits/s; 0: it did not say.
  std::uint64_t max_tx = 0, tx = 0;
  // The peer as received, unknown fields included: rescheduling echoes it (Dragonfly grpc 5.19).
  api::common::Peer peer;
};

// Who we are, so that we are never offered to ourselves.
struct Self {
  std::string host_id;
  Address upload = Address::ipv4({}, 0);  // the address that we announce
};

// What of a scheduler's answer can be used: parents with an id, an IP literal and a port, not
// ourselves, each peer once, at most `most`. Why others were left out goes to `ignored`, if given.
std::vector<Candidate> usable_parents(const google::protobuf::RepeatedPtrField<api::common::Peer>& offered,
                                      const Self& self, std::size_t most = 64,
                                      std::vector<std::string>* ignored = nullptr);

}  // namespace d7y::swarm
