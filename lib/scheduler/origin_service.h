// d7y.v1.Origins: peers tell each other what an origin has. The hands around OriginStats.
//
//   OriginService origins(world, stream_limit);
//   origins.attach(server);
#pragma once

#include "api/origins.h"
#include "net/grpc/server.h"
#include "scheduler/call_limits.h"
#include "scheduler/origin_stats.h"
#include "world/world.h"

namespace d7y::scheduler {

class OriginService {
 public:
  OriginService(world::World& world, StreamLimit& streams) : world_(world), streams_(streams) {}
  OriginService(const OriginService&) = delete;
  OriginService& operator=(const OriginService&) = delete;

  void attach(grpc::Server& server);
  const OriginStats& stats() const { return stats_; }

 private:
  using Request = api::origins::StatOriginRequest;
  using Response = api::origins::StatOriginResponse;
  Task<Result<void>> stat_origin(grpc::ServerCall& call, grpc::Reader<Request>& in,
                                 grpc::Writer<Response>& out);
  // Until it is known or somebody must look.
  Task<OriginStats::Answer> ask(std::string task);
  Result<void> note(const std::string& task, const api::origins::OriginStat& stat);

  world::World& world_;
  StreamLimit& streams_;
  OriginStats stats_;
};

}  // namespace d7y::scheduler
