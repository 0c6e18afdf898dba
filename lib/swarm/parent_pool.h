// The ways to all parents: connections for pieces (vortex) and gRPC channels, kept and shared by all
// downloads of a node.
//
//   ParentPool pool(world, options, log);
//   FetchOptions how{.deadline = Deadline::in(2min, world.now())};
//   auto piece = co_await pool.fetch(watch.data(), std::move(claim), how);
//
// A d7y parent gets few connections that stay open and carry several requests at once; a Rust parent
// gets one connection per piece, the next one opened ahead. Which of them a parent is shows by itself:
// a d7y parent says so in its first answer, or where its pieces are announced (parent_watch.h).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/address.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/token_bucket.h"
#include "net/grpc/channel.h"
#include "store/claim.h"
#include "swarm/vortex.h"
#include "world/world.h"

namespace d7y::swarm {

class ParentLink;

// Where a parent serves pieces.
struct DataAddress {
  Address address = Address::ipv4({}, 0);
  std::uint32_t abilities = 0;  // vortex::Ability bits if it is known to be d7y
};

struct ParentPoolOptions {
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(2);
  // Connections that a d7y parent gets at most; a second one is opened when the first is busy.
  std::uint32_t connections_per_parent = 2;
  // A connection that carries nothing is closed after this (Dragonfly keeps 420 s).
  std::chrono::nanoseconds idle_timeout = std::chrono::minutes(5);
  std::chrono::nanoseconds channel_idle_timeout = std::chrono::minutes(5);
  // How long a connection that was opened ahead is trusted.
  std::chrono::nanoseconds spare_lifetime = std::chrono::seconds(10);
  // Makes a connection for pieces; none: plain TCP. For TLS and for tests.
  std::function<Task<Result<std::unique_ptr<world::Stream>>>(Address, Deadline)> connect;
  // The same for gRPC.
  std::function<Task<Result<std::unique_ptr<world::Stream>>>(Address, Deadline)> connect_grpc;
  // All pieces of all downloads together; may be null. Must outlive the pool.
  TokenBucket* limit = nullptr;
};

struct FetchOptions {
  vortex::Kind kind = vortex::Kind::kStandard;
  Deadline deadline = Deadline::never();
  // No byte for this long is kTimeout. It bounds the wait for the first byte as well.
  std::chrono::nanoseconds stall_timeout = std::chrono::seconds(20);
  // Peer id of the parent, kept with the piece and named in errors.
  std::string peer_id;
  // This download's own limit; may be null. A limited download does not share its connections.
  TokenBucket* limit = nullptr;
  // Beside a request that is on its way, on a connection of its own if the parent may have one more: a parent
  // divides its uplink among connections.
  bool apart = false;
  // Called for all bytes that arrive, as they do; what it refers to must outlive the fetch.
  std::function<void(std::size_t)> received;
};

class ParentPool {
 public:
  ParentPool(world::World& world, ParentPoolOptions options, Log log);
  // Ends what still runs with kClosed; tasks that wait in fetch() must be gone.
  ~ParentPool();
  ParentPool(const ParentPool&) = delete;
  ParentPool& operator=(const ParentPool&) = delete;

  // Fetches the claimed piece from the parent straight into the store, verifies and completes it.
  // Whatever the end, the claim is over. kRefused, kTimeout, kReset: the parent cannot be reached
  // or broke off; kNotFound: it does not have the piece; kExhausted: it is busy; kProtocol: it does
  // not speak vortex or contradicts the task's geometry; kCorrupt: its bytes are not what its digest
  // says; kUnavailable: bytes of an earlier fetch and its own do not fit together; kPrecondition: a
  // rival was first; kDiskFull, kIo, kChanged: ours, from the store. Cancelling it takes the request
  // back and leaves the connection to others.
  Task<Result<store::PieceInfo>> fetch(DataAddress parent, store::PieceClaim claim, FetchOptions options);

  // The gRPC channel to a parent's upload server; valid until the pool dies or an idle minute passed
  // without calls, so ask anew for each call.
  grpc::Channel& channel(const Address& upload);

  // The link to a parent's data address (for ParentWatch).
  std::shared_ptr<ParentLink> link(const Address& data);

  // What is known about the parent whose upload server is there; none before anybody asked.
  std::optional<DataAddress> known(const Address& upload) const;
  void remember(const Address& upload, DataAddress data);
  void forget(const Address& upload);

  struct Stats {
    std::uint64_t connections_opened = 0, pieces = 0, bytes = 0;
    std::size_t links = 0, connections = 0;
  };
  Stats stats() const;

  world::World& world() { return world_; }
  const ParentPoolOptions& options() const { return options_; }

 private:
  friend class ParentLink;
  friend class DataConnection;
  Task<void> collect();

  struct Knowledge {
    DataAddress data;
    TimePoint learned{};
  };
  struct ChannelEntry {
    std::unique_ptr<grpc::Channel> channel;
    TimePoint used{};
  };

  world::World& world_;
  ParentPoolOptions options_;
  Log log_;
  Stats stats_;
  std::size_t busy_ = 0;  // connections with requests
  std::map<Address, std::shared_ptr<ParentLink>> links_;
  std::map<Address, ChannelEntry> channels_;
  std::map<Address, Knowledge> known_;
  Scope scope_;
};

}  // namespace d7y::swarm
