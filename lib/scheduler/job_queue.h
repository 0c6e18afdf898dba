// Jobs that Dragonfly's manager leaves in Redis for a scheduler (Dragonfly scheduler 4.5, manager 5.3; the
// format is that of the machinery library): preheat, sync_peers, get_task, delete_task.
//
//   JobQueue queue(world, service, options, log, metrics);
//   scope.spawn(queue.run());
//
// Jobs are taken from the list `scheduler_<cluster>_<hostname>_<ip>`, a bounded number at a time; their
// states and results are written where the manager looks for them. A job that was taken and not finished when
// a scheduler ended is told as failed by the next one, so that nobody waits for it in vain. A job of an
// unknown kind fails at once. Lives on the world's loop.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/scope.h"
#include "scheduler/redis_client.h"
#include "scheduler/service.h"

namespace d7y::scheduler {

struct JobQueueOptions {
  RedisOptions redis;  // its database is not used
  unsigned broker_database = 1, result_database = 2;
  std::uint64_t cluster_id = 1;
  std::string hostname, ip;                     // as the manager knows this scheduler
  std::size_t at_once = 1000;                   // jobs; more stay in the list
  Duration patience = std::chrono::seconds(3);  // of one look at an empty list
};

class JobQueue {
 public:
  JobQueue(world::World& world, Service& service, JobQueueOptions options, Log log, Metrics& metrics);
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  Task<void> run();  // for ever
  const std::string& name() const { return name_; }

 private:
  // What is kept of a job's message.
  struct Job {
    std::string text;  // the whole, as it stands in the list
    std::string id, kind, argument;
    std::string created;  // when it was, as the manager wrote it
  };

  Task<Result<void>> take_jobs(RedisConnection& broker);
  Task<Result<void>> fail_leftovers(RedisConnection& broker);
  Task<void> work(std::string text);
  Task<void> remember_creation(Job& job);
  void tell(const Job& job, std::string_view state, const nlohmann::json& results,
            const std::string& failure);
  Task<Result<nlohmann::json>> carry_out(const Job& job);
  Task<Result<nlohmann::json>> preheat(nlohmann::json request);
  Task<Result<nlohmann::json>> get_task(nlohmann::json request);
  Task<Result<nlohmann::json>> delete_task(nlohmann::json request);
  nlohmann::json sync_peers();

  world::World& world_;
  Service& service_;
  JobQueueOptions options_;
  std::string name_, taken_;  // lists: of jobs, and of those that are being worked on
  Log log_;
  Metrics& metrics_;
  RedisClient results_, broker_;
  std::size_t running_ = 0;
  Signal finished_;
  Scope scope_;
};

}  // namespace d7y::scheduler
