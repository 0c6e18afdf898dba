// A running peer, normal or seed: everything a daemon consists of, put together.
//
//   CO_TRY(auto node, co_await Node::open(world, std::move(options), metrics, log));
//   auto download = node->engine().start(wish, deadline);
//   ...
//   co_await node->drain(deadline);
//   co_await node->close();
//
// One loop. Which servers run is the configuration's choice; an embedded node may have none.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/scope.h"
#include "fetch/engine.h"
#include "net/grpc/health.h"
#include "net/grpc/reflection.h"
#include "net/grpc/server.h"
#include "net/http/client.h"
#include "net/http/proxy_settings.h"
#include "net/http/server.h"
#include "net/otlp/exporter.h"
#include "net/tls/tls.h"
#include "node/blocks.h"
#include "node/config.h"
#include "node/pages.h"
#include "node/replica_calls.h"
#include "node/services.h"
#include "proxy/proxy.h"
#include "source/source.h"
#include "store/store.h"
#include "swarm/manager_client.h"
#include "swarm/network_meter.h"
#include "swarm/parent_pool.h"
#include "swarm/scheduler_set.h"
#include "swarm/sync_service.h"
#include "swarm/vortex_server.h"
#include "world/world.h"

namespace d7y::node {

struct NodeOptions {
  DaemonConfig config;
  http::ProxyVariables proxies;  // for origins, by the environment; the configuration's come before them
  net::RootPlaces roots;         // SSL_CERT_FILE and SSL_CERT_DIR, where the caller knows them
  std::string dynconfig_path = "/etc/dragonfly/dynconfig.yaml";
  // The store's folder goes with the node (store::StoreOptions::temporary).
  bool temporary_store = false;
  std::string instance_name;  // Host.name; empty: the hostname
  // The user this process runs as; callers of the local socket who are neither that user nor root get no
  // files written or read for them. None: whoever reaches the socket is trusted (simulations).
  std::optional<std::uint32_t> user;
  // How long open() waits for the schedulers to know us before it goes on without.
  Duration scheduler_patience = std::chrono::seconds(3);
  // What no configuration key says; members that one does are overwritten.
  fetch::EngineOptions engine;
};

class Node {
 public:
  // kInvalid (configuration), kExists (port or store in use), kPermission, kIo, kDiskFull.
  static Task<Result<std::unique_ptr<Node>>> open(world::World& world, NodeOptions options, Metrics& metrics,
                                                  Log log);
  // After close(); without it the store counts as uncleanly stopped.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  fetch::Engine& engine() { return *engine_; }
  store::Store& store() { return *store_; }
  source::Sources& sources() { return sources_; }
  TaskCalls& calls() { return *calls_; }
  ReplicaCalls& replicas() { return *replicas_; }
  world::World& world() { return world_; }
  const DaemonConfig& config() const { return options_.config; }
  const std::vector<std::string>& warnings() const { return options_.config.warnings; }
  const std::string& host_id() const { return host_id_; }

  // Ports really listened on; 0 where a server does not run.
  struct Ports {
    std::uint16_t upload = 0, piece = 0, metrics = 0, health = 0, proxy = 0;
    std::map<std::string, std::uint16_t> registries;  // ports of their own
  };
  const Ports& ports() const { return ports_; }

  // Refuses new work, lets running transfers end, tells schedulers good-bye. kTimeout: some still ran.
  Task<Result<void>> drain(Deadline deadline);
  // Stops all servers and closes the store. Downloads must be gone.
  Task<void> close();

  // Brings gauges (disk, tasks, memory) up to date.
  void refresh_metrics();

 private:
  Node(world::World& world, NodeOptions options, Metrics& metrics, Log log);
  Task<Result<void>> start();
  void choose_identity();
  Task<Result<void>> open_store();
  Result<std::shared_ptr<net::TlsContext>> origin_trust();
  Result<void> choose_proxies();
  // The origins that are trusted, or shown who we are, in a way of their own.
  Result<void> choose_identities();
  Result<void> open_sources();
  Result<void> open_piece_server();
  grpc::ServerOptions call_limit(TokenBucket& bucket, std::string_view key, std::string_view blocked);
  Result<void> describe_services(grpc::Server& server);
  Result<void> open_upload_server();
  Result<void> open_download_server();
  Result<void> open_pages();
  Result<void> open_proxy();
  Result<void> open_tracing();
  Task<Result<void>> open_swarm();
  Result<DynamicConfig> read_dynconfig() const;
  Task<Result<std::vector<swarm::ListedScheduler>>> schedulers_of_manager(Deadline deadline);
  Task<Result<std::vector<swarm::ListedScheduler>>> schedulers_in_file();
  Result<void> open_manager();
  Address listen_address(const ServerAddress& server) const;
  api::common::Host describe() const;
  Task<void> collect_garbage();

  world::World& world_;
  NodeOptions options_;
  Metrics& metrics_;
  Log log_;
  std::string ip_, hostname_, host_id_;
  http::ProxySettings proxies_;
  std::map<std::string, std::shared_ptr<net::TlsContext>, std::less<>> origin_tls_;
  Ports ports_;
  bool draining_ = false;

  TokenBucket download_limit_, source_limit_, upload_limit_;
  TokenBucket upload_calls_, download_calls_;  // one token a request
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<http::Client> http_client_;
  source::Sources sources_;
  std::unique_ptr<swarm::NetworkMeter> meter_;
  std::unique_ptr<swarm::ParentPool> parents_;
  std::unique_ptr<swarm::ManagerClient> manager_;
  Blocks blocks_;
  std::unique_ptr<swarm::SchedulerSet> schedulers_;
  std::unique_ptr<fetch::Engine> engine_;
  std::unique_ptr<TaskCalls> calls_;
  std::unique_ptr<ReplicaCalls> replicas_;
  std::unique_ptr<swarm::Handouts> handouts_;  // null: there is no piece server
  std::unique_ptr<swarm::SyncService> sync_;
  std::unique_ptr<swarm::VortexServer> vortex_;
  std::unique_ptr<otlp::Exporter> spans_;
  std::unique_ptr<http::Client> proxy_client_;
  std::unique_ptr<proxy::Proxy> proxy_;
  // The proxy's port, and those of registries.
  struct ProxyPort {
    std::unique_ptr<world::Listener> listener;
    std::unique_ptr<http::Server> server;
  };
  std::vector<ProxyPort> proxy_ports_;
  grpc::Health upload_health_, download_health_;
  grpc::Reflection reflection_;
  bool described_ = false;  // reflection_ has read its descriptors
  std::unique_ptr<grpc::Server> upload_server_, download_server_;
  MetricsPage metrics_page_;
  HealthPage health_page_;
  std::unique_ptr<world::Listener> metrics_listener_, health_listener_;
  std::unique_ptr<http::Server> metrics_server_, health_server_;
  Scope scope_;
};

}  // namespace d7y::node
