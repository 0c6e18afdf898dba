// What comes in at the upload port: gRPC as such, gRPC in TLS, and vortex.
//
// Vortex has a port of its own. But a Dragonfly peer that is configured to fetch over QUIC finds no QUIC
// port in our answers, and then asks for pieces with vortex over TCP at the port at which it asks gRPC
// (Dragonfly client 3.9). So that it is served like everybody else, its connections go on to the piece
// server. The second byte tells who it is: HTTP/2 begins with "PRI", TLS with a record of version 3, and
// vortex with an arbitrary byte and one of three tags.
#pragma once

#include <memory>

#include "net/tls/tls.h"
#include "swarm/vortex_server.h"
#include "world/world.h"

namespace d7y::node {

struct UploadDoor {
  world::World& world;
  swarm::VortexServer* pieces;              // null: there is no piece server
  std::shared_ptr<net::TlsContext> secure;  // null: no TLS at this port
  bool plaintext_too = false;               // with `secure`: clients without TLS are let in as well
};

// The stream that carries HTTP/2; null if the piece server took the connection. Whom `door` names must
// outlive the task.
Task<Result<std::unique_ptr<world::Stream>>> enter(UploadDoor door, std::unique_ptr<world::Stream> stream,
                                                   Deadline deadline);

}  // namespace d7y::node
