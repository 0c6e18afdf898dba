// Asks origins what they have, once for all peers that ask within seconds: the task's scheduler passes on
// what one of them was told (api/origins.proto). Wherever that does not work the origin is asked as ever.
//
//   CO_TRY(auto stat, co_await stats.stat(task_id, request, deadline));
//   if (stat.heard) ...   // another peer says so; the origin may say otherwise by now
//   stats.doubt(task_id, *stat.heard);   // it does
//
// What is passed on was told to a peer without any credentials, so it is no more than anybody would be told.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/origins.h"
#include "base/log.h"
#include "base/scope.h"
#include "net/grpc/channel.h"
#include "source/source.h"
#include "swarm/scheduler_set.h"
#include "world/world.h"

namespace d7y::fetch {

class SharedStat {
 public:
  // `schedulers` may be null. All must outlive this.
  SharedStat(world::World& world, source::Sources& sources, swarm::SchedulerSet* schedulers, Log log)
      : world_(world), sources_(sources), schedulers_(schedulers), log_(log), scope_(world.loop()) {}

  struct Stat {
    source::Info info;
    std::optional<api::origins::OriginStat> heard;
  };
  // For requests that carry nothing of the caller's: no credentials, headers, or certificates.
  Task<Result<Stat>> stat(std::string task_id, source::Request request, Deadline deadline);

  // What was heard of this task is wrong: for a while it is not believed again, and whoever looks next tells
  // others.
  void doubt(const std::string& task_id, api::origins::OriginStat heard);

 private:
  using Request = api::origins::StatOriginRequest;
  using Response = api::origins::StatOriginResponse;
  using Call = grpc::BidiCall<Request, Response>;

  // What another peer was told; or a call over which to tell what is found. Neither: nobody waits for it.
  struct Heard {
    std::optional<api::origins::OriginStat> stat;
    std::shared_ptr<Call> call;
  };
  Task<Heard> ask(std::string task_id);
  Task<Result<Response>> first_answer(std::shared_ptr<Call> call, Request request);
  Task<void> tell(std::shared_ptr<Call> call, Request request);
  std::shared_ptr<Call> open_call(const std::string& task_id);
  // What is not believed; null: nothing.
  const api::origins::OriginStat* doubted(const std::string& task_id) const;

  world::World& world_;
  source::Sources& sources_;
  swarm::SchedulerSet* schedulers_;
  Log log_;
  struct Doubt {
    api::origins::OriginStat heard;
    TimePoint until{};
  };
  std::map<std::string, Doubt> doubted_;
  Scope scope_;
};

}  // namespace d7y::fetch
