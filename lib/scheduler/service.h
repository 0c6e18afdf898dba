// scheduler.v2.Scheduler for standard tasks: the hands around the brain. It turns messages into events,
// actions into messages, and asks seeds; every decision is the brain's.
//
//   Service service(world, options, log, metrics);
//   service.attach(grpc_server);
//   scope.spawn(service.run());
//
// Must outlive the server it is attached to. Everything happens on the world's loop.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/dfdaemon.h"
#include "api/scheduler.h"
#include "base/log.h"
#include "base/scope.h"
#include "net/grpc/server.h"
#include "scheduler/brain.h"
#include "scheduler/call_limits.h"
#include "scheduler/config.h"
#include "scheduler/copy_book.h"
#include "scheduler/host_calls.h"
#include "scheduler/jobs.h"
#include "scheduler/ledger.h"
#include "scheduler/messages.h"
#include "scheduler/origin_service.h"
#include "scheduler/replica_service.h"
#include "scheduler/service_metrics.h"
#include "world/world.h"

namespace d7y::scheduler {

struct ServiceOptions {
  BrainOptions brain;
  std::uint64_t scheduler_cluster_id = 1;
  DynamicConfig dynamic;
  // A triggered download may take so long.
  Duration seed_timeout = std::chrono::hours(10);
  // Connects to a seed's upload server; none: plain TCP.
  HostCalls::Connector seed_connect;
  // The same for other hosts (copies of persistent tasks).
  HostCalls::Connector peer_connect;
  JobOptions jobs;
  std::uint32_t streams_per_address = 20'000;
  CallLimits* calls = nullptr;  // spreads the beginnings of streams; must outlive the service
  std::uint32_t most_hosts = 200'000;
  SpanSink* spans = nullptr;       // of what happens inside of calls; the calls' own are the server's
  bool each_host_metrics = false;  // count the traffic of each host by itself
};

class PeerStream;

class Service {
 public:
  Service(world::World& world, ServiceOptions options, Log log, Metrics& metrics);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Remembers hosts and complete copies there from now on. Before attach(); must outlive the service.
  void remember_in(Ledger& ledger);
  // Takes up what the ledger knows from before. Streams and questions wait until that is done.
  Task<void> load();

  void attach(grpc::Server& server);
  // Moves the brain's time; for ever.
  Task<void> run();

  // Limits and priorities change while it runs.
  void set_dynamic(BrainOptions options, const DynamicConfig& dynamic);

  // A host has removed its copies of a task.
  void forget_copies(std::string_view host_id, std::string_view task_id);

  // Downloads under way of clients that go to the origin when their stream ends, because they are not ours
  // (Dragonfly scheduler 0.12).
  std::size_t foreign_downloads() const;
  // Ends the streams of all downloads: who has parents goes on with them.
  void end_downloads();

  // Waits until load() is done.
  Task<void> ready();
  bool is_ready() const { return loaded_; }

  Brain& brain() { return brain_; }
  Jobs& jobs() { return jobs_; }
  const OriginStats& origins() const { return origins_.stats(); }
  Replicas& replicas() { return replica_service_.replicas(); }

 private:
  friend class PeerStream;
  using AnnounceRequest = api::scheduler::AnnouncePeerRequest;
  using AnnounceResponse = api::scheduler::AnnouncePeerResponse;

  // peer_stream.cc
  Task<Result<void>> announce_peer(grpc::ServerCall& call, grpc::Reader<AnnounceRequest>& in,
                                   grpc::Writer<AnnounceResponse>& out);
  // service.cc
  Result<api::Empty> announce_host(api::scheduler::AnnounceHostRequest&& request);
  Result<void> take_announcement(api::scheduler::AnnounceHostRequest& request);
  Result<api::Empty> delete_host(const api::scheduler::DeleteHostRequest& request);
  Result<api::scheduler::ListHostsResponse> list_hosts(const api::scheduler::ListHostsRequest& request);
  Result<api::common::Peer> stat_peer(const api::scheduler::StatPeerRequest& request);
  Result<api::Empty> delete_peer(const api::scheduler::DeletePeerRequest& request);
  Result<api::common::Task> stat_task(const api::scheduler::StatTaskRequest& request);
  Result<api::Empty> delete_task(const api::scheduler::DeleteTaskRequest& request);

  Clocks clocks();
  // Before a peer of this task registers.
  Task<void> recall(std::string task_id);
  // Carries out what the brain decided. After every event.
  void pump();
  PeerStream* stream_of(PeerHandle peer);
  // seed_trigger.cc
  void send(const SendParents& parents);
  Task<void> deal_then_send(SendParents parents);
  Task<void> trigger(TaskHandle task, std::uint32_t attempt, std::string task_id, std::string seed,
                     Address at, api::dfdaemon::DownloadTaskRequest request);
  // host_questions.cc
  Task<void> ask(HostHandle host, std::uint32_t question);
  Task<bool> answers(HostHandle host);
  Task<bool> answers_on(PeerHandle peer);

  world::World& world_;
  ServiceOptions options_;
  Log log_;
  ServiceMetrics metrics_;
  Brain brain_;
  DynamicRules rules_;
  std::unordered_map<std::uint32_t, PeerStream*> streams_;  // by the peer's position
  HostCalls hosts_;
  Jobs jobs_;
  HostCalls peer_calls_;
  StreamLimit stream_limit_;
  ReplicaService replica_service_;
  OriginService origins_;
  Ledger* ledger_ = nullptr;
  std::unique_ptr<CopyBook> copies_;  // with a ledger
  bool loaded_ = true;
  Signal loaded_now_;
  TimePoint sleeping_until_{};  // of run()
  Signal wake_;
  Scope scope_;
};

}  // namespace d7y::scheduler
