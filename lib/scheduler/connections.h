// How a scheduler reaches others and lets others in: names, TCP, TLS.
#pragma once

#include <memory>
#include <string>

#include "net/grpc/channel.h"
#include "net/tls/tls.h"
#include "scheduler/config.h"
#include "world/world.h"

namespace d7y::scheduler {

// A connection to "host:port", a name or an address; kInvalid if it has no port.
Task<Result<std::unique_ptr<world::Stream>>> dial(world::World& world, std::string name, Deadline deadline);
// The same with TLS on top; `server` is the name that the certificate must bear.
Task<Result<std::unique_ptr<world::Stream>>> dial_tls(world::World& world, std::string name,
                                                      std::string server,
                                                      std::shared_ptr<net::TlsContext> context,
                                                      std::vector<std::string> alpn, Deadline deadline);
// Lets TLS and plaintext in: Rust daemons of this release speak plaintext to schedulers whatever they are
// told (Dragonfly grpc 4.4).
Task<Result<std::unique_ptr<world::Stream>>> accept_tls(std::unique_ptr<world::Stream> stream,
                                                        std::shared_ptr<net::TlsContext> context,
                                                        WallTime now, Deadline deadline);

// Connects gRPC channels to hosts with that context.
std::function<grpc::Channel::Connect(Address)> tls_connector(world::World& world,
                                                             std::shared_ptr<net::TlsContext> context);

// The host part of "host:port".
std::string host_of(const std::string& name);

}  // namespace d7y::scheduler
