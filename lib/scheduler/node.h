// A running scheduler, composed from its parts: brain, gRPC server, health, reflection, metrics.
//
//   TRY(auto node, SchedulerNode::open(world, config, log, metrics));
//   node->address();                       // where it listens, with the real port
//   CO_OK(co_await node->drain(deadline));  // lets calls in progress end; then destroy it
//
// Lives on its world's loop. Destroying it closes everything at once.
#pragma once

#include <memory>
#include <optional>

#include "base/address.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/task.h"
#include "scheduler/config.h"
#include "world/world.h"

namespace d7y::scheduler {

class Service;

class SchedulerNode {
 public:
  // kInvalid: the configuration cannot work (an address that is none, unreadable certificates); kExists: a
  // port is taken; kPermission. `metrics` must outlive the node. Where config.metrics_enable is set, metrics
  // are also served over HTTP at config.metrics_addr.
  static Result<std::unique_ptr<SchedulerNode>> open(world::World& world, SchedulerConfig config, Log log,
                                                     Metrics& metrics);
  ~SchedulerNode();

  // The gRPC server's address.
  Address address() const;
  // The metrics server's; none if it is off.
  std::optional<Address> metrics_address() const;

  // Stops accepting, reports not serving, and waits for calls in progress; kTimeout if some were left.
  // Downloads of our own clients, which go on without a scheduler, are waited for 10 s only, or as long as
  // there are others; their streams end with UNAVAILABLE, as all do at the deadline.
  Task<Result<void>> drain(Deadline deadline);

  // The service behind it, for tests and tools that look inside.
  Service& service();

 private:
  struct Parts;
  explicit SchedulerNode(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace d7y::scheduler
