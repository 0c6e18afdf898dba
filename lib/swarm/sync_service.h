// What a parent tells children over gRPC: which pieces of a task it has (SyncPieces) and how busy its
// network is (SyncHost). Unmodified children that a scheduler has named (Deal, api/dealing.proto) are told of
// different pieces first (piece_handout.h).
//
//   SyncService sync(world, store, {.advertised_ip = "10.0.0.5", .tcp_port = 4005}, log);
//   sync.attach(upload_server);
//
// Every answer carries ip and tcp_port, and no quic_port: nothing listens for QUIC here, and a Rust child
// that is configured for QUIC then speaks vortex over TCP to the port of this very gRPC server (Dragonfly
// client 3.9), where node/upload_door.h takes it. A d7y child sees in the response headers where it gets
// the same as bitmaps (FORMAT.md 2), and leaves.
#pragma once

#include <memory>
#include <string>

#include "api/dealing.h"
#include "api/dfdaemon.h"
#include "base/log.h"
#include "base/scope.h"
#include "net/grpc/server.h"
#include "store/store.h"
#include "swarm/handouts.h"
#include "swarm/network_meter.h"
#include "world/world.h"

namespace d7y::swarm {

// Response header of SyncPieces: "<ip>:<port> <abilities in decimal>".
inline constexpr std::string_view kVortexHeader = "d7y-vortex";

struct SyncServiceOptions {
  std::string advertised_ip;  // an IP literal
  std::uint16_t tcp_port = 4005;
  // Show children our extensions.
  bool extensions = true;
  // Those to whom pieces are handed out, shared with the piece server; null: to nobody, and Deal is not
  // served. Must outlive the service.
  Handouts* handouts = nullptr;
};

class SyncService {
 public:
  // `store` and `meter` must outlive the service; the service must outlive the server's calls.
  SyncService(world::World& world, store::Store& store, NetworkMeter& meter, SyncServiceOptions options,
              Log log);

  // Registers SyncPieces, its persistent and persistent-cache variants, SyncHost, and Deal.
  void attach(grpc::Server& server);

 private:
  template <class Request, class Response>
  Task<Result<void>> sync_pieces(grpc::ServerCall& call, Request request, grpc::Writer<Response>& out,
                                 store::TaskKind kind);
  // The same for a child to whom pieces are handed out.
  Task<Result<void>> hand_out(store::TaskHandle task, Handouts::Seat& seat,
                              grpc::Writer<api::dfdaemon::SyncPiecesResponse>& out);
  template <class Response>
  Task<Result<void>> tell(store::TaskHandle task, std::uint32_t number, grpc::Writer<Response>& out);
  Task<Result<api::dealing::DealResponse>> deal(api::dealing::DealRequest request);
  Task<Result<void>> sync_host(grpc::ServerCall& call, api::dfdaemon::SyncHostRequest request,
                               grpc::Writer<api::common::Host>& out);

  world::World& world_;
  store::Store& store_;
  NetworkMeter& meter_;
  SyncServiceOptions options_;
  Log log_;
};

}  // namespace d7y::swarm
