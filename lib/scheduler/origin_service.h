// d7y.v1.Origins: peers tell each other what an origin has. The hands around OriginStats.
//
//   OriginService origins(world, stream_limit, metrics);
//   origins.attach(server);
#pragma once

#include "api/origins.h"
#include "base/metrics.h"
#include "net/grpc/server.h"
#include "scheduler/call_limits.h"
#include "scheduler/origin_stats.h"
#include "world/world.h"

namespace d7y::scheduler {

class OriginService {
 public:
  OriginService(world::World& world, StreamLimit& streams, Metrics& metrics);
  OriginService(const OriginService&) = delete;
  OriginService& operator=(const OriginService&) = delete;

  void attach(grpc::Server& server);
  const OriginStats& stats() const { return stats_; }

 private:
  using Request = api::origins::StatOriginRequest;
  using Response = api::origins::StatOriginResponse;
  Task<Result<void>> stat_origin(grpc::ServerCall& call, grpc::Reader<Request>& in,
                                 grpc::Writer<Response>& out);
  // Until it is known or this one must look.
  Task<OriginStats::Answer> ask(std::string task, std::string doubted);
  Result<void> note(const std::string& task, OriginStats::Turn turn, const api::origins::OriginStat& stat);

  world::World& world_;
  StreamLimit& streams_;
  OriginStats stats_;
  Counter& unasked_;
};

}  // namespace d7y::scheduler
