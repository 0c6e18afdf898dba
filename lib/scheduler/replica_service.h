// The calls about persistent and persistent-cache tasks, for Dragonfly's daemons: the hands around Replicas.
//
//   ReplicaService service(world, brain, rules, host_calls, log, metrics);
//   service.attach(server);
//   scope.spawn(service.run());
//
// Entries in a ledger: groups "persistent/<id>" and "persistent-cache/<id>"; without a name the task, by peer
// id its peers, all as JSON.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/dfdaemon.h"
#include "api/scheduler.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/scope.h"
#include "net/grpc/server.h"
#include "scheduler/call_limits.h"
#include "scheduler/dynamic.h"
#include "scheduler/host_calls.h"
#include "scheduler/ledger.h"
#include "scheduler/replica_metrics.h"
#include "scheduler/replicas.h"
#include "world/world.h"

namespace d7y::scheduler {

class ReplicaService {
 public:
  ReplicaService(world::World& world, const Brain& brain, const DynamicRules& rules, HostCalls& hosts,
                 StreamLimit& streams, Log log, Metrics& metrics);
  ReplicaService(const ReplicaService&) = delete;
  ReplicaService& operator=(const ReplicaService&) = delete;

  void remember_in(Ledger& ledger) { ledger_ = &ledger; }
  // Takes an entry of the ledger; false if it is about something else.
  bool load(const LedgerEntry& entry);
  // `ready` is awaited before each call.
  void attach(grpc::Server& server, std::function<Task<void>()> ready);
  Task<void> run();
  void host_left(const std::string& host_id);

  Replicas& replicas() { return replicas_; }

 private:
  template <class Kind>
  void attach_kind(grpc::Server& server);
  template <class Kind>
  Task<Result<api::Empty>> upload_started(typename Kind::UploadStarted request);
  template <class Kind>
  Task<Result<typename Kind::TaskMessage>> upload_finished(typename Kind::UploadFinished request);
  template <class Kind>
  Task<Result<api::Empty>> upload_failed(typename Kind::UploadFailed request);
  template <class Kind>
  Task<Result<typename Kind::TaskMessage>> stat_task(typename Kind::StatTask request);
  template <class Kind>
  Task<Result<typename Kind::PeerMessage>> stat_peer(typename Kind::StatPeer request);
  template <class Kind>
  Task<Result<api::Empty>> delete_task(typename Kind::DeleteTask request);
  template <class Kind>
  Task<Result<api::Empty>> delete_peer(typename Kind::DeletePeer request);
  template <class Kind>
  Task<Result<void>> announce(grpc::ServerCall& call, grpc::Reader<typename Kind::Announce>& in,
                              grpc::Writer<typename Kind::Answer>& out);
  template <class Kind>
  Result<typename Kind::Answer> answer(const ReplicaKey& key, const ReplicaAnswer& from);
  template <class Kind>
  typename Kind::TaskMessage task_message(const ReplicaTask& task) const;
  template <class Kind>
  typename Kind::PeerMessage peer_message(const ReplicaTask& task, const std::string& peer_id,
                                          const Replica& replica) const;
  template <class Kind>
  Task<void> make(MakeReplica action);

  // Waits until calls may be answered, and looks up what others know about the task.
  Task<void> prepare(ReplicaKey key);
  void pump();
  Task<void> make_any(MakeReplica action);
  Task<void> drop(DropReplica action);
  void write(const ReplicaChanged& changed);

  friend struct ReplicaStream;
  world::World& world_;
  const Brain& brain_;
  const DynamicRules& rules_;
  HostCalls& hosts_;
  StreamLimit& streams_;
  Log log_;
  ReplicaMetrics metrics_;
  Gauge& tasks_;
  Counter &made_, &not_made_;
  Replicas replicas_;
  Ledger* ledger_ = nullptr;
  std::function<Task<void>()> ready_;
  Scope scope_;
};

}  // namespace d7y::scheduler
