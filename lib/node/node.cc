#include "node/node.h"

#include <algorithm>

#include "api/descriptors.h"
#include "api/methods.h"
#include "base/ids.h"
#include "base/url.h"
#include "net/tls/tls.h"
#include "node/upload_door.h"
#include "node/version.h"
#include "source/file_backend.h"
#include "source/http_backend.h"
#include "source/metered_backend.h"
#include "swarm/host_description.h"
#include "world/host_address.h"

namespace d7y::node {
namespace {

std::string_view descriptors() {
  return {reinterpret_cast<const char*>(api::kDescriptorSet), api::kDescriptorSetSize};
}

using Stream = std::unique_ptr<world::Stream>;
using Connect = std::function<Task<Result<Stream>>(Address, Deadline)>;

Task<Result<Stream>> connect_with_tls(world::World& world, std::shared_ptr<net::TlsContext> context,
                                      Address to, Deadline deadline) {
  world::ConnectOptions plain_options;
  plain_options.keepalive = grpc::kTcpKeepalive;
  CO_TRY(auto plain, co_await world.network().connect(to, plain_options, deadline));
  net::TlsConnectOptions options;
  options.server_name = to.ip();
  options.now = world.wall_now();
  options.alpn = {"h2"};
  auto secured =
      co_await net::tls_connect(std::move(plain), std::move(context), std::move(options), deadline);
  if (!secured) co_return std::move(secured).error();
  co_return Stream(std::move(*secured));
}

Task<Result<Stream>> connect_to_name(world::World& world, std::shared_ptr<net::TlsContext> context,
                                     std::string host, std::uint16_t port, Deadline deadline) {
  CO_TRY(auto addresses, co_await world.network().resolve(host, port, deadline));
  world::ConnectOptions plain_options;
  CO_TRY(auto plain,
         co_await world::connect_any(world.network(), std::move(addresses), plain_options, deadline));
  net::TlsConnectOptions options;
  options.server_name = host;
  options.now = world.wall_now();
  options.alpn = {"h2"};
  auto secured =
      co_await net::tls_connect(std::move(plain), std::move(context), std::move(options), deadline);
  if (!secured) co_return std::move(secured).error();
  co_return Stream(std::move(*secured));
}

Connect tls_connector(world::World& world, std::shared_ptr<net::TlsContext> context) {
  return [&world, context](Address to, Deadline deadline) {
    return connect_with_tls(world, context, to, deadline);
  };
}

}  // namespace

namespace {
constexpr auto kFlushTime = std::chrono::seconds(3);
// As on connections for pieces (Dragonfly client 3.7).
constexpr std::chrono::seconds kChildKeepalive{5};
// Schedulers ask every 10 s whether a seed that works for them is there.
constexpr std::chrono::seconds kLeastPingInterval{5};

// Dragonfly's default of 50 GB/s means no limit, and is treated as none.
std::uint64_t limit_of(std::uint64_t bytes_per_second) {
  return bytes_per_second >= 50'000'000'000 ? 0 : bytes_per_second;
}
}  // namespace

Node::Node(world::World& world, NodeOptions options, Metrics& metrics, Log log)
    : world_(world),
      options_(std::move(options)),
      metrics_(metrics),
      log_(log),
      download_limit_(limit_of(options_.config.download.bandwidth_limit), 0, world.now()),
      source_limit_(limit_of(options_.config.download.back_to_source_bandwidth_limit), 0, world.now()),
      upload_limit_(limit_of(options_.config.upload.bandwidth_limit), 0, world.now()),
      upload_calls_(options_.config.upload.request_rate_limit, options_.config.upload.request_rate_limit,
                    world.now()),
      download_calls_(options_.config.download.request_rate_limit,
                      options_.config.download.request_rate_limit, world.now()),
      blocks_(metrics, log_.in("node")),
      metrics_page_(metrics, [this] { refresh_metrics(); }),
      health_page_([this] { return !draining_; }),
      scope_(world.loop()) {}

Node::~Node() = default;

Task<Result<std::unique_ptr<Node>>> Node::open(world::World& world, NodeOptions options, Metrics& metrics,
                                               Log log) {
  std::unique_ptr<Node> node(new Node(world, std::move(options), metrics, log));
  auto started = co_await node->start();
  if (!started) {
    auto why = std::move(started).error();
    co_await node->close();
    co_return why;
  }
  co_return std::move(node);
}

Task<Result<void>> Node::start() {
  choose_identity();
  CO_OK(co_await open_store());
  CO_OK(open_sources());
  CO_OK(open_piece_server());

  const auto& config = options_.config;
  auto upload = call_limit(upload_calls_, "upload.server.requestRateLimit", "upload_task_blocked_total");
  upload_server_ = std::make_unique<grpc::Server>(world_, std::move(upload), log_.in("grpc"));
  auto local = call_limit(download_calls_, "download.server.requestRateLimit", "download_task_blocked_total");
  download_server_ = std::make_unique<grpc::Server>(world_, std::move(local), log_.in("grpc"));
  // The upload port goes into announcements, so it is taken before schedulers hear of us.
  CO_OK(open_upload_server());
  CO_OK(co_await open_swarm());

  auto engine = std::move(options_.engine);
  engine.piece_timeout = config.download.piece_timeout;
  engine.concurrent_pieces = config.download.concurrent_piece_count;
  engine.stat_timeout = std::max(engine.stat_timeout, config.download.piece_timeout);
  engine.silence_timeout = config.download.collected_piece_timeout;
  engine.max_verdicts = config.scheduler.max_schedule_count;
  // Dragonfly's 3 h would let a scheduler that hangs hold a download for as long.
  engine.schedule_timeout = std::min(engine.schedule_timeout, config.scheduler.schedule_timeout);
  engine.revalidate_after = config.backend.revalidate_after;
  engine.retry.attempts = static_cast<int>(config.backend.max_retries) + 1;
  engine.self.host_id = host_id_;
  if (auto self = Address::parse_ip(ip_, ports_.upload)) engine.self.upload = *self;
  engine.ip = ip_;
  engine.hostname = hostname_;
  engine.seed = config.seed_peer;
  for (const auto& [name, value] : config.backend.request_header)
    engine.source_headers.emplace_back(name, value);
  fetch::EngineParts parts{.world = world_,
                           .store = *store_,
                           .sources = sources_,
                           .parents = parents_.get(),
                           .schedulers = schedulers_.get(),
                           .download_limit = &download_limit_,
                           .source_limit = &source_limit_,
                           .metrics = &metrics_,
                           .log = log_.in("fetch"),
                           .permit = [this](const fetch::Wish& wish) { return blocks_.permit(wish); }};
  engine_ = std::make_unique<fetch::Engine>(parts, std::move(engine));
  calls_ =
      std::make_unique<TaskCalls>(*engine_, *store_, sources_, schedulers_.get(), host_id_, log_.in("node"));
  calls_->count_in(metrics_);
  if (options_.user) calls_->trust_only(*options_.user);
  attach_upload_service(*upload_server_, *calls_);
  attach_download_service(*download_server_, *calls_);
  replicas_ = std::make_unique<ReplicaCalls>(*calls_, *store_, config.gc.persistent_cache_task_ttl);
  attach_upload_service(*upload_server_, *replicas_);
  attach_download_service(*download_server_, *replicas_);
  CO_OK(open_download_server());
  CO_OK(open_tracing());
  CO_OK(open_proxy());
  CO_OK(open_pages());
  using Serving = grpc::Health::Serving;
  for (auto* health : {&upload_health_, &download_health_}) health->set("", Serving::kYes);
  upload_health_.set(std::string(api::method::upload::kService), Serving::kYes);
  download_health_.set(std::string(api::method::download::kService), Serving::kYes);
  scope_.spawn(collect_garbage());

  if (schedulers_ && !schedulers_->none()) {
    auto patience = Deadline::in(options_.scheduler_patience, world_.now());
    if (auto met = co_await schedulers_->start(patience); !met) {
      log_.warn("no scheduler can be reached yet, downloads go to their origins: {}", met.error().message());
    }
  }
  for (const auto& warning : warnings()) log_.warn("{}", warning);
  if (ports_.upload != 0 || ports_.piece != 0) {
    log_.info("d7yd {} serves pieces on port {}, gRPC on port {}, as host {}", kVersion, ports_.piece,
              ports_.upload, host_id_);
  }
  co_return Result<void>{};
}

// Refuses what is beyond the configured number of requests per second.
grpc::ServerOptions Node::call_limit(TokenBucket& bucket, std::string_view key, std::string_view blocked) {
  auto& count = metrics_.counter("dragonfly_client_" + std::string(blocked),
                                 "Requests refused because there were too many.", {{"type", "0"}});
  grpc::ServerOptions options;
  options.min_ping_interval = kLeastPingInterval;
  options.admit = [this, &bucket, &count, key](const grpc::ServerCall&) -> Result<void> {
    if (bucket.take(1, world_.now()) == 1) return {};
    count.add();
    return error(ErrorCode::kExhausted, "more requests than the {} a second of {}; try again later",
                 bucket.rate(), key);
  };
  return options;
}

void Node::choose_identity() {
  const auto& config = options_.config;
  hostname_ = !config.host.hostname.empty() ? config.host.hostname : world_.machine().hostname;
  ip_ = !config.host.ip.empty() ? config.host.ip : world::host_address(world_.network(), config.enable_ipv6);
  host_id_ = d7y::host_id(ip_, hostname_, config.seed_peer);
}

Address Node::listen_address(const ServerAddress& server) const {
  auto ip = !server.ip.empty() ? server.ip : options_.config.enable_ipv6 ? "::" : "0.0.0.0";
  auto address = Address::parse_ip(ip, server.port);
  return address ? *address : Address::ipv4({}, server.port);  // the configuration was checked
}

Task<Result<void>> Node::open_store() {
  const auto& config = options_.config;
  store::StoreOptions options;
  options.folder = config.storage.dir;
  options.keep = config.storage.keep;
  // What the next start throws away need not survive until then.
  if (!options.keep) options.sync = store::SyncPolicy::kNever;
  options.temporary = options_.temporary_store;
  options.gc.standard_ttl = config.gc.task_ttl;
  options.gc.persistent_ttl = config.gc.persistent_task_ttl;
  options.gc.persistent_cache_ttl = config.gc.persistent_cache_task_ttl;
  options.gc.disk_threshold = config.gc.disk_threshold;
  options.gc.high_percent = config.gc.disk_high_percent;
  options.gc.low_percent = config.gc.disk_low_percent;
  auto opened = co_await store::Store::open(world_, std::move(options), log_.in("store"));
  if (!opened) co_return std::move(opened).error();
  store_ = std::move(*opened);
  co_return Result<void>{};
}

// The proxies that origins are asked through.
Result<void> Node::choose_proxies() {
  const auto& config = options_.config;
  auto variables = options_.proxies;
  auto prefer = [](std::string& other, const std::string& ours) {
    if (!ours.empty()) other = ours;
  };
  prefer(variables.http_proxy, config.backend.http_proxy);
  prefer(variables.https_proxy, config.backend.https_proxy);
  prefer(variables.no_proxy, config.backend.no_proxy);
  auto chosen = http::ProxySettings::from_variables(variables);
  if (!chosen) {
    return std::move(chosen).error().in(
        "proxy for origins (backend.httpProxy, backend.httpsProxy, or the environment's http_proxy, "
        "https_proxy, all_proxy)");
  }
  proxies_ = std::move(*chosen);
  // A machine whose tools all use our proxy has it in our environment, too.
  auto is_ours = [&](const http::Proxy& proxy) {
    auto address = Address::parse_ip(proxy.host, 0);
    const bool here = proxy.host == "localhost" || proxy.host == hostname_ || proxy.host == ip_ ||
                      (address && address->is_loopback());
    auto has_port = [&](const ProxyRegistry& registry) { return registry.port == proxy.port; };
    const auto& registries = config.proxy.registries;
    return here && config.proxy.server.enabled &&
           (proxy.port == config.proxy.server.port ||
            std::any_of(registries.begin(), registries.end(), has_port));
  };
  if (proxies_.remove_if(is_ours)) {
    log_.warn("the proxy that origins are to be asked through is this daemon's own; going to them directly");
  }
  return {};
}

namespace {

Result<net::TlsIdentity> load_identity(world::Files& files, const std::string& certificate,
                                       const std::string& key) {
  net::TlsIdentity identity;
  TRY(identity.certificate_pem, net::load_pem(files, certificate));
  TRY(identity.key_pem, net::load_pem(files, key));
  return identity;
}

}  // namespace

Result<void> Node::choose_identities() {
  for (const auto& registry : options_.config.proxy.registries) {
    const bool own = !registry.cert.empty() || registry.insecure_skip_verify || !registry.client_cert.empty();
    if (!own) continue;
    auto where = [&](Error why) { return std::move(why).in("registry " + registry.name); };
    auto address = proxy::registry_address(registry.addr.empty() ? registry.name : registry.addr);
    if (!address) return where(std::move(address).error());
    TRY(auto url, Url::parse(*address));
    net::TlsClientOptions tls;
    tls.verify = !registry.insecure_skip_verify;
    if (tls.verify && registry.cert.empty()) {
      TRY(tls.trust_pem, net::load_system_roots(world_.files(), options_.roots));
    } else if (tls.verify) {
      auto trust = net::load_pem(world_.files(), registry.cert);
      if (!trust) return where(std::move(trust).error());
      tls.trust_pem.push_back(std::move(*trust));
    }
    if (!registry.client_cert.empty()) {
      auto identity = load_identity(world_.files(), registry.client_cert, registry.client_key);
      if (!identity) return where(std::move(identity).error());
      tls.identity = std::move(*identity);
    }
    auto context = net::TlsContext::client(std::move(tls));
    if (!context) return where(std::move(context).error());
    origin_tls_[url.origin()] = std::move(*context);
  }
  return {};
}

// Whom https origins are verified against.
Result<std::shared_ptr<net::TlsContext>> Node::origin_trust() {
  const auto& config = options_.config;
  net::TlsClientOptions tls;
  tls.verify = !config.backend.insecure_skip_verify;
  if (tls.verify) {
    TRY(tls.trust_pem, net::load_system_roots(world_.files(), options_.roots));
    for (const auto& path : {config.backend.ca_cert, config.proxy.mirror_cert}) {
      if (path.empty()) continue;
      TRY(auto extra, net::load_pem(world_.files(), path));
      tls.trust_pem.push_back(std::move(extra));
    }
  }
  if (!config.backend.client_cert.empty()) {
    TRY(tls.identity, load_identity(world_.files(), config.backend.client_cert, config.backend.client_key));
  }
  return net::TlsContext::client(std::move(tls));
}

Result<void> Node::open_sources() {
  const auto& config = options_.config;
  TRY_OK(choose_proxies());
  TRY_OK(choose_identities());
  // Read again when the first https origin needs them; what is wrong with them shows at once.
  for (const auto& [key, path] : {std::pair("backend.caCert", config.backend.ca_cert),
                                  std::pair("proxy.registryMirror.cert", config.proxy.mirror_cert)}) {
    if (path.empty()) continue;
    if (auto there = net::load_pem(world_.files(), path); !there) return std::move(there).error().in(key);
  }
  http::ClientOptions client;
  client.user_agent = std::string(source::user_agent());
  client.proxies = proxies_;
  client.tls_of = origin_tls_;
  client.tls = [this] { return origin_trust(); };
  client.head_timeout = std::max(client.head_timeout, config.download.piece_timeout);
  client.connect.keepalive = grpc::kTcpKeepalive;  // or a machine that vanished would be waited for as long
  http_client_ = std::make_unique<http::Client>(world_, std::move(client), log_.in("http"));
  source::HttpBackendOptions origins;
  origins.redirects_kept =
      config.backend.cache_temporary_redirect ? config.backend.temporary_redirect_ttl : Duration::zero();
  origins.allow_downgrade = config.backend.insecure_skip_verify;
  auto http = std::make_shared<source::HttpBackend>(*http_client_, std::move(origins));
  auto add = [this](std::string_view scheme, std::shared_ptr<source::Backend> backend) {
    sources_.add(std::string(scheme), std::make_shared<source::MeteredBackend>(
                                          std::move(backend), world_.loop(), metrics_, scheme));
  };
  add("http", http);
  add("https", http);
  add("file", std::make_shared<source::FileBackend>(world_.files()));
  if (config.backend.insecure_skip_verify) {
    log_.warn("backend.insecureSkipVerify is on: https origins are not verified");
  }
  return {};
}

Result<void> Node::open_piece_server() {
  const auto& config = options_.config;
  if (!config.storage.server.enabled) return {};
  swarm::VortexServerOptions options;
  options.limit = &upload_limit_;
  options.metrics = &metrics_;
  options.deals = config.seed_peer;
  handouts_ = std::make_unique<swarm::Handouts>(world_);
  options.handouts = handouts_.get();
  vortex_ = std::make_unique<swarm::VortexServer>(world_, *store_, options, log_.in("vortex"));
  auto at = vortex_->listen(listen_address(config.storage.server));
  if (!at) return std::move(at).error().in("piece server (storage.server)");
  ports_.piece = at->port();
  return {};
}

// Reading the descriptors costs a millisecond, which nodes without servers do without.
Result<void> Node::describe_services(grpc::Server& server) {
  if (!std::exchange(described_, true)) TRY_OK(reflection_.add(descriptors()));
  reflection_.attach(server);
  return {};
}

Result<void> Node::open_upload_server() {
  const auto& config = options_.config;
  upload_health_.attach(*upload_server_);
  if (!config.upload.server.enabled) return {};
  TRY_OK(describe_services(*upload_server_));
  swarm::NetworkMeterOptions meter;
  meter.ip = ip_;
  meter.download_limit = config.download.bandwidth_limit;
  meter.upload_limit = config.upload.bandwidth_limit;
  meter_ = std::make_unique<swarm::NetworkMeter>(world_, std::move(meter));
  swarm::SyncServiceOptions sync;
  sync.advertised_ip = ip_;
  sync.tcp_port = ports_.piece;
  sync.handouts = handouts_.get();
  sync_ = std::make_unique<swarm::SyncService>(world_, *store_, *meter_, std::move(sync), log_.in("sync"));
  sync_->attach(*upload_server_);
  grpc::ListenerOptions listener;
  UploadDoor door{world_, vortex_.get(), nullptr, config.upload.allow_plaintext};
  if (config.upload.server_tls.complete()) {
    TRY(door.secure, net::mutual_tls_server(world_.files(), config.upload.server_tls));
  }
  listener.wrap = [door = std::move(door)](Stream stream, Deadline deadline) {
    return enter(door, std::move(stream), deadline);
  };
  // Children whose machines vanish hold what they follow until it is noticed; gRPC itself looks every 5
  // minutes.
  listener.listen.keepalive = kChildKeepalive;
  auto at = upload_server_->listen(listen_address(config.upload.server), std::move(listener));
  if (!at) return std::move(at).error().in("upload server (upload.server)");
  ports_.upload = at->port();
  return {};
}

Result<void> Node::open_download_server() {
  const auto& config = options_.config;
  download_health_.attach(*download_server_);
  if (config.download.socket_path.empty()) return {};
  TRY_OK(describe_services(*download_server_));
  auto slash = config.download.socket_path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    TRY_OK(world_.files().make_folders(config.download.socket_path.substr(0, slash)));
  }
  grpc::ListenerOptions listener;
  listener.listen.mode = config.download.socket_mode;
  auto at = download_server_->listen(Address::unix_socket(config.download.socket_path), std::move(listener));
  if (!at) return std::move(at).error().in("download server (download.server.socketPath)");
  return {};
}

Result<void> Node::open_pages() {
  const auto& config = options_.config;
  auto open = [&](const ServerAddress& server, std::string_view name, http::Handler& page,
                  std::unique_ptr<world::Listener>& listener, std::unique_ptr<http::Server>& out,
                  std::uint16_t& port) -> Result<void> {
    if (!server.enabled) return {};
    auto listening = world_.network().listen(listen_address(server), {});
    if (!listening) return std::move(listening).error().in(name);
    listener = std::move(*listening);
    port = listener->local().port();
    http::ServerOptions options;
    options.name = "d7yd";
    options.max_connections = 256;
    out = std::make_unique<http::Server>(world_, page, options, log_.in("http"));
    scope_.spawn(out->serve(*listener));
    return {};
  };
  TRY_OK(open(config.metrics, "metrics server (metrics.server)", metrics_page_, metrics_listener_,
              metrics_server_, ports_.metrics));
  return open(config.health, "health server (health.server)", health_page_, health_listener_, health_server_,
              ports_.health);
}

Result<void> Node::open_proxy() {
  const auto& config = options_.config.proxy;
  if (!config.server.enabled) return {};
  http::ClientOptions client;
  client.proxies = proxies_;
  client.tls_of = origin_tls_;
  // As many as clients: those of slow readers must not keep others from the same origin.
  client.connections_per_origin = 4096;
  client.idle_per_origin = 32;
  client.tls = [this] { return origin_trust(); };
  client.connect.keepalive = grpc::kTcpKeepalive;
  // A registry may take minutes to store a big layer that was pushed.
  client.head_timeout = std::max(client.head_timeout, options_.config.download.piece_timeout);
  proxy_client_ = std::make_unique<http::Client>(world_, std::move(client), log_.in("proxy"));

  proxy::ProxyOptions options;
  for (const auto& rule : config.rules) {
    options.rules.push_back({.regex = rule.regex,
                             .use_tls = rule.use_tls,
                             .redirect = rule.redirect,
                             .filtered_query_params = rule.filtered_query_params});
  }
  options.mirror_address = config.mirror_addr;
  for (const auto& registry : config.registries) {
    options.registries.push_back({.name = registry.name, .address = registry.addr});
  }
  // With an address of its own the default is a registry that somebody wants; Docker Hub is it for want of
  // another.
  options.answer_version_check =
      !options.registries.empty() && config.mirror_addr == DaemonConfig().proxy.mirror_addr;
  options.blob_digest_ids = config.mirror_blob_digest_ids;
  options.disable_back_to_source = config.disable_back_to_source;
  options.ip = ip_;
  options.host = hostname_;
  options.check_rights = config.check_rights;
  options.rights_last = config.rights_last;
  options.keep_manifests = config.keep_manifests;
  options.requests_per_second = config.request_rate_limit;
  if (config.username) options.credentials = http::basic_credentials(*config.username, *config.password);
  options.prefetch = config.prefetch;
  options.prefetch_rate = config.prefetch_bandwidth_limit;
  if (!config.ca_cert.empty()) {
    options.intercept = config.intercept;
    options.authority.emplace();
    TRY(options.authority->certificate_pem, net::load_pem(world_.files(), config.ca_cert));
    TRY(options.authority->key_pem, net::load_pem(world_.files(), config.ca_key));
  }
  TRY(proxy_, proxy::Proxy::make({.world = world_,
                                  .engine = *engine_,
                                  .store = *store_,
                                  .client = *proxy_client_,
                                  .metrics = &metrics_,
                                  .log = log_.in("proxy"),
                                  .spans = spans_.get()},
                                 std::move(options)));

  auto open = [&](const ServerAddress& address, http::Handler& handler) -> Result<std::uint16_t> {
    TRY(auto listener, world_.network().listen(listen_address(address), {}));
    auto& port = proxy_ports_.emplace_back();
    port.listener = std::move(listener);
    port.server =
        std::make_unique<http::Server>(world_, handler, proxy::Proxy::server_options(), log_.in("proxy"));
    scope_.spawn(port.server->serve(*port.listener));
    return port.listener->local().port();
  };
  auto at = open(config.server, *proxy_);
  if (!at) return std::move(at).error().in("proxy (proxy.server)");
  ports_.proxy = *at;
  for (const auto& registry : config.registries) {
    if (!registry.port) continue;
    ServerAddress address = config.server;
    address.port = *registry.port;
    auto own = open(address, proxy_->port_of(registry.name));
    if (!own) return std::move(own).error().in("proxy, port of registry " + registry.name);
    ports_.registries[registry.name] = *own;
  }
  log_.in("proxy").info("proxy and registry mirror at {}",
                        proxy_ports_.front().listener->local().to_string());
  return {};
}

// Where spans go (Dragonfly client 10.4): the same resource, so that searches go on working.
Result<void> Node::open_tracing() {
  if (!options_.config.tracing.on()) return {};
  auto options = otlp::exporter_options(options_.config.tracing);
  options.version = kVersion;
  options.resource = {{"service.name", "dfdaemon-" + ip_},
                      {"service.namespace", std::string("dragonfly")},
                      {"service.version", std::string(kVersion)},
                      {"service.instance.id", host_id_},
                      {"host.name", hostname_},
                      {"host.ip", ip_},
                      {"host.idc", options_.config.host.idc.value_or("")},
                      {"host.location", options_.config.host.location.value_or("")},
                      {"host.seed_peer", options_.config.seed_peer}};
  auto made = otlp::Exporter::make(world_, std::move(options), *http_client_, &metrics_, log_.in("tracing"));
  if (!made) return std::move(made).error().in("tracing");
  spans_ = std::move(*made);
  return {};
}

// What names schedulers where neither the configuration nor a manager does; empty if there is no such file.
Result<DynamicConfig> Node::read_dynconfig() const {
  const auto& path = options_.dynconfig_path;
  auto file = world_.files().open(path, world::OpenMode::kRead);
  if (file.failed_with(ErrorCode::kNotFound)) return DynamicConfig{};
  if (!file) return std::move(file).error();
  TRY(auto status, (*file)->status());
  if (status.size > 1_MiB) return error(ErrorCode::kTooLarge, "{} is larger than 1 MiB", path);
  std::string text(status.size, '\0');
  TRY(auto length, (*file)->read_at(0, as_mutable_bytes(text)));
  text.resize(length);
  return DynamicConfig::parse(text, path);
}

Task<Result<std::vector<swarm::ListedScheduler>>> Node::schedulers_of_manager(Deadline deadline) {
  Task<Result<std::vector<swarm::ListedScheduler>>> asking = manager_->list_schedulers(deadline);
  auto listed = co_await asking;
  if (listed) blocks_.take_json(manager_->client_config());
  co_return listed;
}

Task<Result<std::vector<swarm::ListedScheduler>>> Node::schedulers_in_file() {
  CO_TRY(auto dynamic, read_dynconfig());
  blocks_.take(dynamic.blocked_for(options_.config.seed_peer));
  std::vector<swarm::ListedScheduler> listed;
  for (auto& address : dynamic.schedulers()) listed.push_back({std::move(address), 0});
  // A file that is just being written is no reason to do without.
  if (listed.empty())
    co_return error(ErrorCode::kInvalid, "{} names no scheduler any more", options_.dynconfig_path);
  co_return listed;
}

api::common::Host Node::describe() const {
  const auto& config = options_.config;
  swarm::HostFacts facts;
  facts.id = host_id_;
  facts.ip = ip_;
  facts.hostname = hostname_;
  facts.name = options_.instance_name;
  facts.seed = config.seed_peer;
  facts.upload_port = ports_.upload;
  facts.proxy_port = ports_.proxy != 0 ? ports_.proxy : config.proxy.server.port;
  facts.idc = config.host.idc.value_or("");
  facts.location = config.host.location.value_or("");
  facts.scheduler_cluster_id = config.host.scheduler_cluster_id;
  facts.disable_shared = config.upload.disable_shared;
  facts.storage_folder = config.storage.dir;
  facts.version = kVersion;
  return swarm::describe_host(world_, facts, *meter_);
}

Result<void> Node::open_manager() {
  const auto& config = options_.config;
  swarm::ManagerClientOptions manager;
  manager.address = config.manager.addr;
  manager.hostname = hostname_;
  manager.ip = ip_;
  manager.seed = config.seed_peer;
  manager.idc = config.host.idc.value_or("");
  manager.location = config.host.location.value_or("");
  manager.version = kVersion;
  manager.scheduler_cluster_id = config.host.scheduler_cluster_id;
  if (config.manager.addr.starts_with("https://")) {
    TRY(auto url, Url::parse(config.manager.addr));
    std::shared_ptr<net::TlsContext> context;
    if (config.manager.tls.complete()) {
      TRY(context, net::mutual_tls_client(world_.files(), config.manager.tls));
    } else {
      net::TlsClientOptions tls;
      TRY(tls.trust_pem, net::load_system_roots(world_.files(), options_.roots));
      TRY(context, net::TlsContext::client(std::move(tls)));
    }
    auto port = url.port().value_or(65003);
    manager.connect = [&world = world_, context, host = url.hostname(), port](Deadline deadline) {
      return connect_to_name(world, context, host, port, deadline);
    };
  }
  manager_ = std::make_unique<swarm::ManagerClient>(world_, std::move(manager), log_.in("manager"));
  return {};
}

Task<Result<void>> Node::open_swarm() {
  const auto& config = options_.config;
  swarm::ParentPoolOptions pool;
  pool.limit = &download_limit_;
  if (config.upload.client_tls.complete()) {
    CO_TRY(auto context, net::mutual_tls_client(world_.files(), config.upload.client_tls));
    pool.connect_grpc = tls_connector(world_, std::move(context));
  }
  parents_ = std::make_unique<swarm::ParentPool>(world_, std::move(pool), log_.in("swarm"));
  swarm::SchedulerSetOptions options;
  options.addresses = config.scheduler.addrs;
  if (options.addresses.empty() && !config.manager.addr.empty()) {
    CO_OK(open_manager());
    options.list = [this](Deadline deadline) { return schedulers_of_manager(deadline); };
  } else if (options.addresses.empty() && !options_.dynconfig_path.empty()) {
    CO_TRY(auto dynamic, read_dynconfig());
    blocks_.take(dynamic.blocked_for(config.seed_peer));
    for (auto& warning : dynamic.warnings) options_.config.warnings.push_back(std::move(warning));
    if (!dynamic.schedulers().empty()) options.list = [this](Deadline) { return schedulers_in_file(); };
    if (!options.list)
      log_.info(
          "neither scheduler.addrs nor manager.addr nor {} names a scheduler: downloads go to their origins",
          options_.dynconfig_path);
  }
  options.refresh = config.dynconfig_refresh_interval;
  options.announce_interval = config.scheduler.announce_interval;
  if (config.scheduler.tls.complete()) {
    CO_TRY(auto context, net::mutual_tls_client(world_.files(), config.scheduler.tls));
    options.connect = tls_connector(world_, std::move(context));
  }
  // A node without an upload server cannot be a parent, so schedulers are not told of it as a host.
  std::function<api::common::Host()> announced;
  if (meter_) announced = [this] { return describe(); };
  schedulers_ = std::make_unique<swarm::SchedulerSet>(world_, std::move(options), std::move(announced),
                                                      log_.in("schedulers"));
  co_return Result<void>{};
}

Task<void> Node::collect_garbage() {
  for (;;) {
    auto collected = co_await store_->collect();
    if (!collected) {
      log_.error("garbage collection: {}", collected.error().message());
    } else if (schedulers_ && !schedulers_->none()) {
      for (const auto& item : collected->evicted) {
        log_.info("task {} evicted ({}), {} bytes", item.id, store::name_of(item.reason), item.bytes);
        // Of the other kinds the scheduler knows the time, and counts on copies that no daemon gives up.
        if (item.kind != store::TaskKind::kStandard) continue;
        auto deadline = Deadline::in(std::chrono::seconds(10), world_.now());
        auto told = co_await schedulers_->delete_task(host_id_, item.id, deadline);
        if (!told)
          log_.debug("scheduler was not told that task {} is gone: {}", item.id, told.error().message());
      }
    }
    co_await sleep_for(options_.config.gc.interval);
  }
}

void Node::refresh_metrics() {
  auto stats = store_->stats();
  auto gauge = [this](std::string_view name, std::string_view help, std::uint64_t value) {
    metrics_.gauge(name, help).set(static_cast<std::int64_t>(value));
  };
  if (auto space = store_->space()) {
    gauge("dragonfly_client_disk_space_total", "Bytes of the file system that holds the store.",
          space->total);
    gauge("dragonfly_client_disk_usage_space_total", "Bytes in use there.", space->total - space->free);
  }
  gauge("d7y_store_tasks", "Tasks in the store.", stats.tasks);
  gauge("d7y_store_bytes", "Bytes of complete pieces in the store.", stats.bytes);
  gauge("d7y_downloads_running", "Downloads that run now.", engine_ ? engine_->running() : 0);
  auto load = world_.load();
  gauge("process_resident_memory_bytes", "Resident memory of this process.", load.process_resident);
  metrics_
      .gauge("dragonfly_client_version", "Version of this daemon.",
             {{"git_version", std::string(kVersion)},
              {"git_commit", ""},
              {"platform", "linux"},
              {"build_time", ""}})
      .set(1);
}

Task<Result<void>> Node::drain(Deadline deadline) {
  draining_ = true;
  upload_health_.shut_down();
  download_health_.shut_down();
  engine_->close();
  if (schedulers_) co_await schedulers_->leave(host_id_, deadline);
  Result<void> outcome;
  auto note = [&outcome](Result<void> result) {
    if (!result && outcome) outcome = std::move(result);
  };
  note(co_await download_server_->drain(deadline));
  for (auto& port : proxy_ports_) note(co_await port.server->drain(deadline));
  if (proxy_) note(co_await proxy_->drain(deadline));
  note(co_await engine_->idle(deadline));
  note(co_await upload_server_->drain(deadline));
  if (vortex_) note(co_await vortex_->drain(deadline));
  if (spans_) {
    // A collector that is away holds nobody up for long.
    auto flushed = spans_->flush(deadline.or_earlier(Deadline::in(kFlushTime, world_.now())));
    co_await flushed;
  }
  co_return outcome;
}

Task<void> Node::close() {
  scope_.cancel();
  metrics_server_.reset();
  health_server_.reset();
  metrics_listener_.reset();
  health_listener_.reset();
  proxy_ports_.clear();
  proxy_.reset();
  spans_.reset();
  download_server_.reset();
  upload_server_.reset();
  vortex_.reset();
  sync_.reset();
  replicas_.reset();
  calls_.reset();
  engine_.reset();
  schedulers_.reset();
  manager_.reset();
  parents_.reset();
  meter_.reset();
  proxy_client_.reset();
  http_client_.reset();
  if (store_) {
    if (auto closed = co_await store_->close(); !closed) {
      log_.warn("store {}: {}", options_.config.storage.dir, closed.error().message());
    }
  }
  store_.reset();
}

}  // namespace d7y::node
