#include "scheduler/node.h"

#include <fmt/format.h>

#include "api/descriptors.h"
#include "net/grpc/health.h"
#include "net/grpc/reflection.h"
#include "net/grpc/server.h"
#include "net/http/client.h"
#include "net/http/server.h"
#include "net/otlp/exporter.h"
#include "scheduler/call_limits.h"
#include "scheduler/call_metrics.h"
#include "scheduler/connections.h"
#include "scheduler/job_queue.h"
#include "scheduler/journal_ledger.h"
#include "scheduler/manager_link.h"
#include "scheduler/redis_ledger.h"
#include "scheduler/service.h"
#include "world/host_address.h"

namespace d7y::scheduler {
namespace {

// GET /metrics for Prometheus, GET /healthy for probes; DELETE /metrics begins to count anew.
class MetricsHandler final : public http::Handler {
 public:
  explicit MetricsHandler(Metrics& metrics) : metrics_(metrics) {}

  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    int status = 404;
    std::string body = "not found; try /metrics or /healthy\n";
    if (request.path() == "/metrics" && request.method() == "DELETE") {
      metrics_.reset();
      status = 200;
      body.clear();
    } else if (request.path() == "/metrics") {
      status = 200;
      body = metrics_.expose();
    } else if (request.path() == "/healthy") {
      status = 200;
      body = "ok\n";
    }
    auto sending = responder.send(status, "text/plain; version=0.0.4; charset=utf-8", std::move(body));
    (void)co_await sending;
  }

 private:
  Metrics& metrics_;
};

Result<Address> listen_address(const std::string& ip, std::uint16_t port, bool v6) {
  if (ip.empty()) return Address::parse_ip(v6 ? "::" : "0.0.0.0", port);
  return Address::parse_ip(ip, port);
}

// ":8000" means every address.
Result<Address> metrics_listen_address(const std::string& text) {
  if (text.starts_with(':')) return Address::parse("0.0.0.0" + text);
  auto address = Address::parse(text);
  if (!address) return std::move(address).error().in("metrics.addr");
  return address;
}

Result<RedisOptions> redis_options(world::World& world, const SchedulerConfig& config) {
  RedisOptions options;
  options.addrs = config.redis.addrs;
  options.master_name = config.redis.master_name;
  options.username = config.redis.username;
  options.password = config.redis.password;
  options.sentinel_username = config.redis.sentinel_username;
  options.sentinel_password = config.redis.sentinel_password;
  options.prefix = fmt::format("d7y:scheduler-clusters:{}:", config.scheduler_cluster_id);
  const auto& tls = config.redis.tls;
  if (tls.ca.empty() && tls.certificate.empty() && !config.redis.insecure_skip_verify) return options;
  net::TlsClientOptions client;
  client.verify = !config.redis.insecure_skip_verify;
  if (!tls.ca.empty()) {
    TRY(std::string authority, net::load_pem(world.files(), tls.ca));
    client.trust_pem.push_back(std::move(authority));
  } else if (client.verify) {
    TRY(client.trust_pem, net::load_system_roots(world.files(), net::RootPlaces{}));
  }
  if (!tls.certificate.empty()) {
    net::TlsIdentity identity;
    TRY(identity.certificate_pem, net::load_pem(world.files(), tls.certificate));
    TRY(identity.key_pem, net::load_pem(world.files(), tls.key));
    client.identity = std::move(identity);
  }
  auto context = net::TlsContext::client(std::move(client));
  if (!context) return std::move(context).error().in("database.redis.tls");
  options.connect = [&world, context = *context](std::string name, Deadline deadline) {
    auto server = host_of(name);
    return dial_tls(world, std::move(name), std::move(server), context, {}, deadline);
  };
  return options;
}

std::string advertised_ip(world::World& world, const SchedulerConfig& config) {
  if (!config.advertise_ip.empty()) return config.advertise_ip;
  return world::host_address(world.network(), config.enable_ipv6);
}
std::string name_for_manager(world::World& world, const SchedulerConfig& config) {
  return dns_name(config.hostname.empty() ? world.machine().hostname : config.hostname);
}
// The manager sends jobs through Redis only.
bool takes_jobs(const SchedulerConfig& config) {
  return config.jobs_enable && !config.manager_addr.empty() && !config.redis.addrs.empty();
}

// A collector that is away holds nobody up for long.
constexpr auto kFlushTime = std::chrono::seconds(3);
// After so long without a byte a client with open streams is asked whether it is there, and has as long to
// answer.
constexpr auto kQuietClient = std::chrono::seconds(20);

// Our own clients go on with the parents they have when a scheduler that stops lets them go.
constexpr auto kWaitForOurs = std::chrono::seconds(10);
constexpr auto kLook = std::chrono::seconds(1);

constexpr std::size_t kBiggestDynconfig = 4 << 20;  // bytes

// The text of the file; none if there is no such file.
Result<std::optional<std::string>> read_dynconfig(world::Files& files, const std::string& path) {
  auto opened = files.open(path, world::OpenMode::kRead);
  if (opened.failed_with(ErrorCode::kNotFound)) return std::optional<std::string>();
  if (!opened) return std::move(opened).error();
  TRY(const auto status, (*opened)->status());
  if (status.size > kBiggestDynconfig) return error(ErrorCode::kTooLarge, "{} is larger than 4 MiB", path);
  std::string text(status.size, '\0');
  TRY(const std::size_t length, (*opened)->read_at(0, as_mutable_bytes(text)));
  text.resize(length);
  return std::optional(std::move(text));
}

// Follows the file's changes; what cannot be read or is wrong leaves things as they are.
Task<void> follow_dynconfig(world::World& world, Service& service, SchedulerConfig config, std::string text,
                            Log log) {
  for (;;) {
    co_await sleep_for(config.dynconfig_refresh);
    auto fresh = read_dynconfig(world.files(), config.dynconfig_path);
    if (!fresh) {
      log.warn("dynamic configuration stays as it is: {}", fresh.error().message());
      continue;
    }
    std::string now = fresh->value_or("");
    if (now == text) continue;
    text = std::move(now);
    auto parsed = DynamicConfig::parse(text, config.dynconfig_path);
    if (!parsed) {
      log.warn("dynamic configuration stays as it is: {}", parsed.error().message());
      continue;
    }
    config.dynamic = std::move(*parsed);
    service.set_dynamic(config.brain_options(), config.dynamic);
    log.info("dynamic configuration read again from {}", config.dynconfig_path);
  }
}

}  // namespace

// In the order in which they are built; what serves goes first when it ends.
struct SchedulerNode::Parts {
  explicit Parts(world::World& w) : world(w), scope(w.loop()) {}
  world::World& world;
  std::unique_ptr<http::Client> collector_client;
  std::unique_ptr<otlp::Exporter> spans;
  std::unique_ptr<CallLimits> calls;
  std::unique_ptr<JournalLedger> journal;
  std::unique_ptr<RedisLedger> redis;
  std::unique_ptr<Service> service;
  grpc::Health health;
  grpc::Reflection reflection;
  std::unique_ptr<grpc::Server> server;
  std::optional<Address> address, metrics_address;
  std::unique_ptr<MetricsHandler> metrics_handler;
  std::unique_ptr<http::Server> metrics_server;
  std::unique_ptr<world::Listener> metrics_listener;
  std::unique_ptr<ManagerLink> manager;
  std::unique_ptr<JobQueue> jobs;
  Scope scope;

  // First what was, then what is.
  Task<void> remember() {
    if (redis) scope.spawn(redis->run());
    auto loading = service->load();
    co_await loading;
    if (!journal) co_return;
    auto writing = journal->run();
    co_await writing;
  }
  // While it drains.
  Task<void> let_ours_go() {
    co_await sleep_for(kWaitForOurs);
    while (service->foreign_downloads() > 0) co_await sleep_for(kLook);
    service->end_downloads();
  }
  Result<void> open_ledger(SchedulerConfig& config, Log log, Metrics& metrics);
  Result<void> open_tracing(const SchedulerConfig& config, Log log, Metrics& metrics);
  Result<void> follow_manager(const SchedulerConfig& config, Log log, Metrics& metrics);
  Result<void> take_jobs(const SchedulerConfig& config, Log log, Metrics& metrics);
};

Result<void> SchedulerNode::Parts::open_ledger(SchedulerConfig& config, Log log, Metrics& metrics) {
  if (!config.data_dir.empty()) {
    auto opened = JournalLedger::open(world, config.data_dir, log, metrics);
    if (opened) {
      journal = std::move(*opened);
    } else if (config.data_dir_optional) {
      log.warn("nothing outlives a restart: {}; say server.dataDir", opened.error().message());
      config.data_dir.clear();
    } else {
      return std::move(opened).error().in("server.dataDir");
    }
  }
  if (!config.redis.addrs.empty()) {
    journal.reset();
    TRY(auto options, redis_options(world, config));
    redis = std::make_unique<RedisLedger>(world, std::move(options), log, metrics);
    service->remember_in(*redis);
  } else if (journal) {
    service->remember_in(*journal);
  }
  return {};
}

// The resource is what Dragonfly's scheduler says of itself (Dragonfly scheduler 6.2).
Result<void> SchedulerNode::Parts::open_tracing(const SchedulerConfig& config, Log log, Metrics& metrics) {
  if (!config.tracing.on()) return {};
  http::ClientOptions client;
  client.tls = [this]() -> Result<std::shared_ptr<net::TlsContext>> {
    net::TlsClientOptions options;
    TRY(options.trust_pem, net::load_system_roots(world.files(), net::RootPlaces{}));
    return net::TlsContext::client(std::move(options));
  };
  collector_client = std::make_unique<http::Client>(world, std::move(client), log.in("tracing"));
  auto options = otlp::exporter_options(config.tracing);
  options.version = D7Y_VERSION;
  options.resource = {{"service.name", config.tracing_service_name},
                      {"service.namespace", std::string("dragonfly")},
                      {"service.version", std::string(D7Y_VERSION)},
                      {"host.name", name_for_manager(world, config)},
                      {"host.ip", advertised_ip(world, config)}};
  auto made = otlp::Exporter::make(world, std::move(options), *collector_client, &metrics, log.in("tracing"));
  if (!made) return std::move(made).error().in("tracing");
  spans = std::move(*made);
  return {};
}

// With a manager and a Redis that both know, as Dragonfly's scheduler does.
Result<void> SchedulerNode::Parts::take_jobs(const SchedulerConfig& config, Log log, Metrics& metrics) {
  JobQueueOptions options;
  TRY(options.redis, redis_options(world, config));
  options.broker_database = config.redis.broker_database;
  options.result_database = config.redis.result_database;
  options.cluster_id = config.scheduler_cluster_id;
  options.hostname = name_for_manager(world, config);
  options.ip = advertised_ip(world, config);
  options.at_once = config.jobs_at_once;
  jobs = std::make_unique<JobQueue>(world, *service, std::move(options), log, metrics);
  scope.spawn(jobs->run());
  log.info("the manager's jobs are taken from the list {} in Redis", jobs->name());
  return {};
}

Result<void> SchedulerNode::Parts::follow_manager(const SchedulerConfig& config, Log log, Metrics& metrics) {
  ManagerLinkOptions options;
  options.address = config.manager_addr;
  options.hostname = name_for_manager(world, config);
  options.ip = advertised_ip(world, config);
  if (!takes_jobs(config)) options.features = {"schedule"};
  options.port = config.advertise_port != 0 ? config.advertise_port : address->port();
  options.idc = config.idc;
  options.location = config.location;
  options.cluster_id = config.scheduler_cluster_id;
  options.keep_alive = config.manager_keep_alive;
  options.refresh = config.dynconfig_refresh;
  if (!config.data_dir.empty()) options.cache_path = config.data_dir + "/manager.answers";
  if (config.manager_tls.complete()) {
    auto context = net::mutual_tls_client(world.files(), config.manager_tls);
    if (!context) return std::move(context).error().in("manager.tls");
    options.connect = [this, name = config.manager_addr, context = *context](Deadline deadline) {
      return dial_tls(world, name, host_of(name), context, {"h2"}, deadline);
    };
  }
  auto take = [this, ours = SchedulerConfig(config)](DynamicConfig fresh) mutable {
    ours.dynamic = std::move(fresh);
    service->set_dynamic(ours.brain_options(), ours.dynamic);
  };
  manager = std::make_unique<ManagerLink>(world, std::move(options), take, log, metrics);
  if (auto last = manager->last_good()) {
    log.info("limits, applications and block lists are those that manager {} said last", config.manager_addr);
    take(std::move(*last));
  }
  scope.spawn(manager->run());
  return {};
}

SchedulerNode::SchedulerNode(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SchedulerNode::~SchedulerNode() = default;

Result<std::unique_ptr<SchedulerNode>> SchedulerNode::open(world::World& world, SchedulerConfig config,
                                                           Log log, Metrics& metrics) {
  auto parts = std::make_unique<Parts>(world);
  auto* raw = parts.get();
  std::string dynconfig;
  if (config.manager_addr.empty() && !config.dynconfig_path.empty()) {
    TRY(auto text, read_dynconfig(world.files(), config.dynconfig_path));
    dynconfig = text.value_or("");
    TRY(config.dynamic, DynamicConfig::parse(dynconfig, config.dynconfig_path));
  }
  TRY_OK(parts->open_tracing(config, log, metrics));
  ServiceOptions options;
  parts->calls = std::make_unique<CallLimits>(config.request_rate_limit, world.now());
  options.calls = parts->calls.get();
  options.spans = parts->spans.get();
  options.jobs.spans = parts->spans.get();
  options.brain = config.brain_options();
  options.scheduler_cluster_id = config.scheduler_cluster_id;
  options.dynamic = config.dynamic;
  options.jobs.own_ip = advertised_ip(world, config);
  options.seed_timeout = config.seed_task_download_timeout;
  options.each_host_metrics = config.metrics_enable_host;
  if (config.seed_tls.complete()) {
    auto context = net::mutual_tls_client(world.files(), config.seed_tls);
    if (!context) return std::move(context).error().in("seedPeer.tls");
    options.seed_connect = tls_connector(world, std::move(*context));
  }
  if (config.peer_tls.complete()) {
    auto context = net::mutual_tls_client(world.files(), config.peer_tls);
    if (!context) return std::move(context).error().in("peer.tls");
    options.peer_connect = tls_connector(world, std::move(*context));
  }
  parts->service = std::make_unique<Service>(world, std::move(options), log, metrics);

  TRY_OK(parts->open_ledger(config, log, metrics));

  grpc::ServerOptions server_options;
  server_options.max_receive_message = 4 << 20;
  // A machine that lost its power, or a daemon that was stopped, ends no stream; those that wait for it
  // should not wait for the usual five minutes.
  server_options.keepalive = kQuietClient;
  server_options.keepalive_timeout = kQuietClient;
  server_options.max_concurrent_streams = 20'000;
  server_options.admit = [raw](const grpc::ServerCall& call) {
    return raw->calls->admit(call.path(), call.remote(), raw->world.now());
  };
  server_options.counters = [&metrics](std::string_view path, grpc::MethodKind kind) {
    return count_call(metrics, path, kind);
  };
  server_options.spans = parts->spans.get();
  show_version(metrics, D7Y_VERSION);
  parts->server = std::make_unique<grpc::Server>(world, std::move(server_options), log.in("grpc"));
  parts->service->attach(*parts->server);
  parts->health.attach(*parts->server);
  TRY_OK(parts->reflection.add(
      std::string_view(reinterpret_cast<const char*>(api::kDescriptorSet), api::kDescriptorSetSize)));
  parts->reflection.attach(*parts->server);

  TRY(const Address wanted, listen_address(config.listen_ip, config.port, config.enable_ipv6));
  grpc::ListenerOptions listening;
  if (config.tls.complete()) {
    auto context = net::mutual_tls_server(world.files(), config.tls);
    if (!context) return std::move(context).error().in("server.tls");
    // Rust daemons of this release speak plaintext to schedulers whatever they are told (Dragonfly grpc 4.4).
    log.warn(
        "server.tls is on; connections without TLS are accepted too, or Dragonfly's daemons could not come");
    listening.wrap = [raw, context = *context](std::unique_ptr<world::Stream> stream, Deadline deadline) {
      return accept_tls(std::move(stream), context, raw->world.wall_now(), deadline);
    };
  }
  auto bound = parts->server->listen(wanted, std::move(listening));
  if (!bound) return std::move(bound).error().in(fmt::format("cannot listen at {}", wanted.to_string()));
  parts->address = *bound;

  if (config.metrics_enable) {
    TRY(const Address at, metrics_listen_address(config.metrics_addr));
    auto listener = world.network().listen(at, world::ListenOptions{});
    if (!listener)
      return std::move(listener).error().in(fmt::format("cannot serve metrics at {}", at.to_string()));
    parts->metrics_listener = std::move(*listener);
    parts->metrics_address = parts->metrics_listener->local();
    parts->metrics_handler = std::make_unique<MetricsHandler>(metrics);
    parts->metrics_server =
        std::make_unique<http::Server>(world, *parts->metrics_handler, http::ServerOptions{}, log);
    parts->scope.spawn(parts->metrics_server->serve(*parts->metrics_listener));
  }
  parts->health.set("", grpc::Health::Serving::kYes);
  parts->health.set("scheduler.v2.Scheduler", grpc::Health::Serving::kYes);
  parts->scope.spawn(parts->remember());
  parts->scope.spawn(parts->service->run());
  if (!config.manager_addr.empty()) {
    TRY_OK(parts->follow_manager(config, log, metrics));
    if (takes_jobs(config)) TRY_OK(parts->take_jobs(config, log, metrics));
  } else if (!config.dynconfig_path.empty()) {
    parts->scope.spawn(follow_dynconfig(world, *parts->service, config, std::move(dynconfig), log));
  }
  log.info("scheduler listens at {}", parts->address->to_string());
  return std::unique_ptr<SchedulerNode>(new SchedulerNode(std::move(parts)));
}

Address SchedulerNode::address() const { return *parts_->address; }
std::optional<Address> SchedulerNode::metrics_address() const { return parts_->metrics_address; }
Service& SchedulerNode::service() { return *parts_->service; }

Task<Result<void>> SchedulerNode::drain(Deadline deadline) {
  parts_->health.shut_down();
  if (parts_->manager) {
    // No daemon shall be sent here any more; a manager that is away must not use up the time.
    const auto moment = Deadline::in(std::chrono::seconds(2), parts_->world.now());
    auto leaving = parts_->manager->leave(moment.or_earlier(deadline));
    co_await leaving;
  }
  parts_->scope.spawn(parts_->let_ours_go());
  auto draining = parts_->server->drain(deadline);
  auto drained = co_await draining;
  if (parts_->spans) {
    auto flushing = parts_->spans->flush(Deadline::in(kFlushTime, parts_->world.now()));
    co_await flushing;
  }
  Ledger* ledger = parts_->journal.get();
  if (parts_->redis) ledger = parts_->redis.get();
  if (ledger != nullptr) {
    auto settling = ledger->settle(Deadline::in(std::chrono::seconds(5), parts_->world.now()));
    auto settled = co_await settling;
    if (!settled) co_return settled;
  }
  co_return drained;
}

}  // namespace d7y::scheduler
