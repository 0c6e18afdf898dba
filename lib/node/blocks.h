// What users of this host may not download or import: the block list of its cluster, from the manager or
// from dynconfig.yaml. What schedulers and other peers ask for is their business.
//
//   Blocks blocks(metrics, log);
//   blocks.take_json(manager.client_config());
//   CO_OK(blocks.permit(wish));
#pragma once

#include <string>

#include "api/block_list.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/result.h"
#include "fetch/wish.h"

namespace d7y::node {

class Blocks {
 public:
  Blocks(Metrics& metrics, Log log) : metrics_(metrics), log_(std::move(log)) {}

  void take(const api::BlockList& list);
  // A cluster's client configuration as its manager gives it. One that is no JSON leaves the last list in
  // force.
  void take_json(const std::string& text);

  // kPermission, with the property that the list names.
  Result<void> permit(const fetch::Wish& wish);

 private:
  Metrics& metrics_;
  Log log_;
  std::string text_;  // of the last take_json()
  api::BlockRules rules_;
};

}  // namespace d7y::node
