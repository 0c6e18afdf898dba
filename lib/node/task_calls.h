// The unary calls about tasks that both servers of a daemon answer: stat, list, delete, entries.
#pragma once

#include <optional>
#include <string>

#include "api/dfdaemon.h"
#include "api/scheduler.h"
#include "base/scope.h"
#include "fetch/engine.h"
#include "net/grpc/server_call.h"
#include "store/store.h"
#include "swarm/scheduler_set.h"

namespace d7y::node {

class TaskCalls {
 public:
  // `schedulers` may be null. All references must outlive the object.
  TaskCalls(fetch::Engine& engine, store::Store& store, source::Sources& sources,
            swarm::SchedulerSet* schedulers, std::string host_id, Log log)
      : engine_(engine),
        store_(store),
        sources_(sources),
        schedulers_(schedulers),
        host_id_(std::move(host_id)),
        log_(log),
        unattended_(engine.world().loop()) {}

  fetch::Engine& engine() { return engine_; }
  const std::string& host_id() const { return host_id_; }
  // Downloads that go on though nobody waits for them.
  Scope& unattended() { return unattended_; }
  swarm::SchedulerSet* schedulers() { return schedulers_; }

  // Counts the calls, under Dragonfly's names.
  void count_in(Metrics& metrics) { metrics_ = &metrics; }
  Metrics* metrics() const { return metrics_; }
  // Files are written and read only for this user and for root, who could do it themselves.
  void trust_only(std::uint32_t user) { user_ = user; }
  bool trusts(const grpc::ServerCall& call) const;

  // What the task's scheduler knows; kUnavailable without one.
  Task<Result<api::common::Task>> stat_task(std::string task_id);
  // What is stored here. kNotFound "local task not found: ...".
  Task<Result<api::dfdaemon::StatLocalTaskResponse>> stat_local(std::string task_id);
  api::dfdaemon::ListLocalTasksResponse list_local() const;
  // Deletes here and, with `everywhere`, tells the scheduler.
  Task<Result<api::Empty>> remove(std::string task_id, bool everywhere);
  // What lies below a folder URL, all levels.
  Task<Result<api::dfdaemon::ListTaskEntriesResponse>> list_entries(
      api::dfdaemon::ListTaskEntriesRequest request);

 private:
  fetch::Engine& engine_;
  store::Store& store_;
  source::Sources& sources_;
  swarm::SchedulerSet* schedulers_;
  std::string host_id_;
  Log log_;
  Metrics* metrics_ = nullptr;
  std::optional<std::uint32_t> user_;
  Scope unattended_;
};

// Counts one call about tasks of a type, as "dragonfly_client_NAME" (Dragonfly client 10.1).
void count_call(const TaskCalls& calls, api::common::TaskType type, std::string_view name,
                std::string_view help);

// Counts a call and, if it fails, a failure.
template <class Answer>
Task<Result<Answer>> counted(TaskCalls& calls, api::common::TaskType type, std::string_view name,
                             std::string_view failure, Task<Result<Answer>> work) {
  count_call(calls, type, name, "Calls about tasks.");
  auto answer = co_await std::move(work);
  if (!answer) count_call(calls, type, failure, "Calls about tasks that failed.");
  co_return answer;
}

// What is stored of a task, in a StatLocalTaskResponse or StatLocalPersistentCacheTaskResponse.
template <class Response>
void describe_stored(Response& out, const store::TaskSummary& task) {
  out.set_task_id(task.id);
  out.set_piece_length(task.piece_length);
  if (task.content_length) out.set_content_length(*task.content_length);
  api::set_time(*out.mutable_created_at(), task.created_at);
  api::set_time(*out.mutable_updated_at(), task.accessed_at);
  if (task.finished) api::set_time(*out.mutable_finished_at(), task.accessed_at);
  if (task.failed) api::set_time(*out.mutable_failed_at(), task.accessed_at);
}

// Whether a URL means a file of this machine.
bool names_file(std::string_view url);
// Why it is not read for a caller who is not trusted.
Error no_files_from_afar();
// Whether `output_path` of a local caller is one to write to; empty is.
Result<void> may_write(const std::string& output_path, bool trusted);

// Everything below `request`'s folder, depth first, folders included. kTooLarge past `limit` entries or
// 64 levels.
Task<Result<std::vector<source::Entry>>> list_below(source::Sources& sources, source::Request request,
                                                    std::size_t limit, Deadline deadline);

}  // namespace d7y::node
