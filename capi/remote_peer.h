// A daemon's node, reached through its Unix socket (dfdaemon.v2.DfdaemonDownload). Works with d7yd and with
// Dragonfly's own daemon.
#pragma once

#include "net/grpc/channel.h"
#include "peer.h"

namespace d7y::capi {

class RemotePeer final : public Peer {
 public:
  // kNotFound, kRefused, kPermission, kTimeout: no daemon answers at `socket`.
  static Task<Result<std::unique_ptr<RemotePeer>>> connect(world::World& world, std::string socket,
                                                           Deadline deadline);

  Result<std::unique_ptr<Scope>> begin(Order order, std::shared_ptr<Transfer> transfer) override;
  Task<Result<std::vector<source::Entry>>> list(Order order, Deadline deadline) override;
  Task<Result<std::vector<store::TaskSummary>>> tasks() override;
  Task<Result<store::TaskSummary>> stat(std::string task_id) override;
  Task<std::string> url_of(std::string task_id) override;
  Task<Result<void>> remove(std::string task_id) override;
  Result<std::string> metrics() override;
  Task<Result<void>> drain(Deadline deadline) override;
  Task<void> close() override;

 private:
  RemotePeer(world::World& world, std::string socket);
  grpc::CallOptions soon() const;

  world::World& world_;
  std::string socket_;
  grpc::Channel channel_;
};

// What a daemon's error means: a failure of the origin comes as JSON in its details (Dragonfly grpc 3g).
Error from_daemon(Error error);

}  // namespace d7y::capi
