// Calls about persistent-cache tasks: files of one host of which a cluster keeps copies for some time, known
// by the ids that their importers computed (Dragonfly client 5.8).
//
// An import reads the file through the download engine, as any origin, so that pieces are summed up and the
// content hashed; what the scheduler is told makes it ask other hosts for copies, over their upload service.
#pragma once

#include <set>
#include <string>

#include "net/grpc/server.h"
#include "node/task_calls.h"

namespace d7y::node {

class ReplicaCalls {
 public:
  // Both must outlive the object. `default_ttl`: of an import that does not say how long it shall live.
  ReplicaCalls(TaskCalls& calls, store::Store& store, Duration default_ttl)
      : calls_(calls), store_(store), default_ttl_(default_ttl) {}

  TaskCalls& calls() { return calls_; }

  // Makes a task of a local file, and says what the scheduler made of it. kInvalid (path, lengths), kExists
  // (it is there already, or another call imports it), kUnavailable (no scheduler), kChanged (the file is
  // being written), kDiskFull. How it fails is told to the scheduler, also if the caller is gone.
  Task<Result<api::common::PersistentCacheTask>> upload(
      api::dfdaemon::UploadPersistentCacheTaskRequest request);

  // What the task's scheduler knows.
  Task<Result<api::common::PersistentCacheTask>> stat(std::string task_id);
  // What is stored here. kNotFound.
  Result<api::dfdaemon::StatLocalPersistentCacheTaskResponse> stat_local(const std::string& task_id) const;
  api::dfdaemon::ListLocalPersistentCacheTasksResponse list_local() const;
  // Whether the copy here stays until its time is over, however full the disk is. kNotFound.
  Task<Result<api::Empty>> update(std::string task_id, bool persistent);
  // Deletes the copy here. kNotFound.
  Result<api::Empty> remove(const std::string& task_id);

 private:
  struct Import;
  Task<Result<Import>> examine(const api::dfdaemon::UploadPersistentCacheTaskRequest& request);
  Task<Result<api::common::PersistentCacheTask>> make(api::dfdaemon::UploadPersistentCacheTaskRequest request,
                                                      Deadline deadline);
  Task<Result<void>> announce(const Import& import, Deadline deadline);
  Task<Result<void>> store_file(const Import& import, Deadline deadline);
  Task<void> tell_failed(std::string task_id, std::string peer_id, std::string why);

  TaskCalls& calls_;
  store::Store& store_;
  Duration default_ttl_;
  std::set<std::string> importing_;  // ids: whoever gives up deletes what is stored, so one at a time
};

// DownloadPersistentCacheTask, UpdatePersistentCacheTask, StatPersistentCacheTask, DeletePersistentCacheTask
// for other machines; SyncPersistentCachePieces is swarm::SyncService's.
void attach_upload_service(grpc::Server& server, ReplicaCalls& replicas);
// DownloadPersistentCacheTask, UploadPersistentCacheTask, StatPersistentCacheTask,
// StatLocalPersistentCacheTask, ListLocalPersistentCacheTasks for this machine's users.
void attach_download_service(grpc::Server& server, ReplicaCalls& replicas);

}  // namespace d7y::node
