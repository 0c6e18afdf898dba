// Serves pieces to other peers: vortex over TCP.
//
//   VortexServer server(world, store, options, log);
//   TRY(Address at, server.listen(*Address::parse("0.0.0.0:4005")));
//
// Bytes go from the page cache to the socket (sendfile). A Rust child gets a piece once it is
// complete, because its digest precedes the bytes there; a d7y child gets it while it still arrives,
// with the digest behind. Everybody else's patience and memory is bounded: connections in all and per
// host, requests per connection, time without progress, upload rate.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/metrics.h"
#include "base/scope.h"
#include "base/token_bucket.h"
#include "store/store.h"
#include "swarm/handouts.h"
#include "swarm/piece_share.h"
#include "swarm/upload_turns.h"
#include "world/world.h"

namespace d7y::swarm {

class VortexConnection;

struct VortexServerOptions {
  std::uint32_t max_connections = 4096;
  std::uint32_t max_connections_per_host = 256;
  // Outstanding extension requests on one connection; more are left unread.
  std::uint32_t max_requests = 256;
  // Subscriptions on one connection; more are told to come back later.
  std::uint32_t max_subscriptions = 1024;
  // A new connection must send its first request in this time.
  std::chrono::nanoseconds first_request_timeout = std::chrono::seconds(30);
  // A kept connection without requests and subscriptions is closed after this.
  std::chrono::nanoseconds idle_timeout = std::chrono::minutes(7);
  // A child that takes no byte for this long is dropped.
  std::chrono::nanoseconds stall_timeout = std::chrono::seconds(60);
  // How long a Rust child is kept waiting for a piece in flight (Dragonfly: 360 s + 360 s).
  std::chrono::nanoseconds piece_wait = std::chrono::seconds(720);
  // Keep connections open and offer our extensions. Off: exactly as a Dragonfly server behaves.
  bool extensions = true;
  // Deal the pieces of a task out among the children that want it at the same time (piece_share.h). For
  // seeds.
  bool deals = false;
  // Is told what is sent to unmodified children; may be null. Must outlive the server.
  Handouts* handouts = nullptr;
  // All uploads together; may be null. Must outlive the server.
  TokenBucket* limit = nullptr;
  // Where uploads are counted, under Dragonfly's names; may be null. Must outlive the server.
  Metrics* metrics = nullptr;
};

class VortexServer {
 public:
  // `store` must outlive the server.
  VortexServer(world::World& world, store::Store& store, VortexServerOptions options, Log log);
  // Cancels what still runs.
  ~VortexServer();
  VortexServer(const VortexServer&) = delete;
  VortexServer& operator=(const VortexServer&) = delete;

  // Accepts children at `at` from now on; the real address, with the real port where 0 was asked for.
  Result<Address> listen(const Address& at, world::ListenOptions options = {});
  // Serves one connection that somebody else accepted.
  void serve(std::unique_ptr<world::Stream> stream);

  // Stops accepting, lets running answers end until `deadline`, then closes.
  Task<Result<void>> drain(Deadline deadline);

  struct Stats {
    std::uint64_t connections_accepted = 0, connections_refused = 0;
    std::uint64_t pieces = 0, failures = 0, bytes = 0;
    std::size_t connections = 0;
    std::size_t uploading = 0;  // answers on their way now
  };
  const Stats& stats() const { return stats_; }

 private:
  friend class VortexConnection;
  // One answer on its way.
  class Uploading {
   public:
    explicit Uploading(VortexServer& server);
    ~Uploading();
    Uploading(const Uploading&) = delete;
    Uploading& operator=(const Uploading&) = delete;

   private:
    VortexServer& server_;
  };
  void count(std::uint64_t bytes);
  Task<void> accept_forever(world::Listener& listener);
  Task<void> run(std::unique_ptr<world::Stream> stream);

  world::World& world_;
  store::Store& store_;
  VortexServerOptions options_;
  Log log_;
  Stats stats_;
  Counter* traffic_ = nullptr;
  Gauge* uploading_gauge_ = nullptr;
  bool draining_ = false;
  std::map<std::string, std::uint32_t> per_host_;
  std::vector<VortexConnection*> open_;
  Dealing dealing_;
  UploadTurns upload_turns_;
  std::vector<std::unique_ptr<world::Listener>> listeners_;
  Scope listening_;
  Scope connections_;
};

}  // namespace d7y::swarm
