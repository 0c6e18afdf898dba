// A node that lives in this process.
#pragma once

#include "node/node.h"
#include "peer.h"

namespace d7y::capi {

class LocalPeer final : public Peer {
 public:
  LocalPeer(std::unique_ptr<node::Node> node, Metrics& metrics) : node_(std::move(node)), metrics_(metrics) {}

  node::Node& node() { return *node_; }

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
  std::unique_ptr<node::Node> node_;
  Metrics& metrics_;
};

}  // namespace d7y::capi
