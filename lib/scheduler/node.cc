#include "scheduler/node.h"

#include <fmt/format.h>

#include "api/descriptors.h"
#include "base/token_bucket.h"
#include "net/grpc/health.h"
#include "net/grpc/reflection.h"
#include "net/grpc/server.h"
#include "net/http/server.h"
#include "net/tls/tls.h"
#include "scheduler/service.h"

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

Task<Result<std::unique_ptr<world::Stream>>> accept_tls(std::unique_ptr<world::Stream> stream,
                                                        std::shared_ptr<net::TlsContext> context,
                                                        WallTime now, Deadline deadline) {
  auto sniffing = net::sniff_tls(std::move(stream), deadline);
  CO_TRY(net::Sniffed sniffed, co_await sniffing);
  if (!sniffed.tls) co_return std::move(sniffed.stream);
  auto handshake = net::tls_accept(std::move(sniffed.stream), std::move(context), now, deadline);
  CO_TRY(std::unique_ptr<net::TlsStream> secure, co_await handshake);
  std::unique_ptr<world::Stream> plain(std::move(secure));
  co_return plain;
}

Task<Result<std::unique_ptr<world::Stream>>> connect_tls(world::World& world, Address to,
                                                         std::shared_ptr<net::TlsContext> context,
                                                         Deadline deadline) {
  auto connecting = world.network().connect(to, world::ConnectOptions{}, deadline);
  CO_TRY(std::unique_ptr<world::Stream> stream, co_await connecting);
  net::TlsConnectOptions options;
  options.server_name = to.ip();
  options.now = world.wall_now();
  options.alpn = {"h2"};
  auto handshake = net::tls_connect(std::move(stream), std::move(context), options, deadline);
  CO_TRY(std::unique_ptr<net::TlsStream> secure, co_await handshake);
  std::unique_ptr<world::Stream> plain(std::move(secure));
  co_return plain;
}

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

Result<std::shared_ptr<net::TlsContext>> server_context(world::Files& files, const TlsFiles& paths) {
  net::TlsServerOptions options;
  TRY(options.identity.certificate_pem, net::load_pem(files, paths.cert));
  TRY(options.identity.key_pem, net::load_pem(files, paths.key));
  TRY(std::string authority, net::load_pem(files, paths.ca_cert));
  options.client_trust_pem.push_back(std::move(authority));
  options.clients = net::ClientCertificates::kRequired;
  options.alpn = {"h2"};
  return net::TlsContext::server(std::move(options));
}

Result<std::shared_ptr<net::TlsContext>> client_context(world::Files& files, const TlsFiles& paths) {
  net::TlsClientOptions options;
  net::TlsIdentity identity;
  TRY(identity.certificate_pem, net::load_pem(files, paths.cert));
  TRY(identity.key_pem, net::load_pem(files, paths.key));
  TRY(std::string authority, net::load_pem(files, paths.ca_cert));
  options.trust_pem.push_back(std::move(authority));
  options.identity = std::move(identity);
  return net::TlsContext::client(std::move(options));
}

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
    service.set_dynamic(config.brain_options(), config.dynamic.applications);
    log.info("dynamic configuration read again from {}", config.dynconfig_path);
  }
}

}  // namespace

// In the order in which they are built; what serves goes first when it ends.
struct SchedulerNode::Parts {
  explicit Parts(world::World& w) : world(w), scope(w.loop()) {}
  world::World& world;
  TokenBucket calls;  // one token a call
  std::unique_ptr<Service> service;
  grpc::Health health;
  grpc::Reflection reflection;
  std::unique_ptr<grpc::Server> server;
  std::optional<Address> address, metrics_address;
  std::unique_ptr<MetricsHandler> metrics_handler;
  std::unique_ptr<http::Server> metrics_server;
  std::unique_ptr<world::Listener> metrics_listener;
  Scope scope;
};

SchedulerNode::SchedulerNode(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SchedulerNode::~SchedulerNode() = default;

Result<std::unique_ptr<SchedulerNode>> SchedulerNode::open(world::World& world, SchedulerConfig config,
                                                           Log log, Metrics& metrics) {
  auto parts = std::make_unique<Parts>(world);
  auto* raw = parts.get();
  std::string dynconfig;
  if (!config.dynconfig_path.empty()) {
    TRY(auto text, read_dynconfig(world.files(), config.dynconfig_path));
    dynconfig = text.value_or("");
    TRY(config.dynamic, DynamicConfig::parse(dynconfig, config.dynconfig_path));
  }
  ServiceOptions options;
  options.brain = config.brain_options();
  options.scheduler_cluster_id = config.scheduler_cluster_id;
  options.applications = config.dynamic.applications;
  options.seed_timeout = config.seed_task_download_timeout;
  if (config.seed_tls.on()) {
    auto context = client_context(world.files(), config.seed_tls);
    if (!context) return std::move(context).error().in("seedPeer.tls");
    options.seed_connect = [raw, context = *context](Address to) -> grpc::Channel::Connect {
      return [raw, context, to](Deadline deadline) { return connect_tls(raw->world, to, context, deadline); };
    };
  }
  parts->service = std::make_unique<Service>(world, std::move(options), log, metrics);

  grpc::ServerOptions server_options;
  parts->calls = TokenBucket(config.request_rate_limit, config.request_rate_limit, world.now());
  server_options.admit = [raw](const grpc::ServerCall&) -> Result<void> {
    if (raw->calls.take(1, raw->world.now()) == 1) return {};
    return error(ErrorCode::kExhausted, "more calls than server.requestRateLimit allows; try again later");
  };
  parts->server = std::make_unique<grpc::Server>(world, std::move(server_options), log.in("grpc"));
  parts->service->attach(*parts->server);
  parts->health.attach(*parts->server);
  TRY_OK(parts->reflection.add(
      std::string_view(reinterpret_cast<const char*>(api::kDescriptorSet), api::kDescriptorSetSize)));
  parts->reflection.attach(*parts->server);

  TRY(const Address wanted, listen_address(config.listen_ip, config.port, config.enable_ipv6));
  grpc::ListenerOptions listening;
  if (config.tls.on()) {
    auto context = server_context(world.files(), config.tls);
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
  parts->scope.spawn(parts->service->run());
  if (!config.dynconfig_path.empty()) {
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
  auto draining = parts_->server->drain(deadline);
  co_return co_await draining;
}

}  // namespace d7y::scheduler
