#include "scheduler/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/address.h"
#include "base/config_tree.h"

namespace d7y::scheduler {
namespace {

void read_tls(ConfigReader& reader, const std::string& at, net::TlsFiles& out) {
  reader.read(at + ".caCert", out.ca);
  reader.read(at + ".cert", out.certificate);
  reader.read(at + ".key", out.key);
  if (out.any() && !out.complete()) reader.complain(at, "needs caCert, cert and key together");
}

void read_positive(ConfigReader& reader, std::string_view path, Duration& out) {
  reader.read_duration(path, out);
  if (out <= Duration::zero()) reader.complain(path, "must be longer than 0");
}

void check_ip(ConfigReader& reader, std::string_view path, const std::string& ip) {
  if (!ip.empty() && !Address::parse_ip(ip, 0)) reader.complain(path, "must be an IP address");
}

void check_place(ConfigReader& reader, std::string_view path, const std::string& place) {
  if (auto good = HostPort::parse(place); !good) reader.complain(path, good.error().message());
}

// Keys that Dragonfly reads and that mean nothing here (yet). Named in a warning when they are set.
constexpr std::string_view kWithoutEffect[] = {
    "console",
    "pprofPort",
    "server.logMaxAge",
    "server.pluginDir",
    "server.cacheDir",
    "server.workHome",
    "scheduler.retryBackToSourceLimit",
    "scheduler.retryLimit",
    "scheduler.retryInterval",
    "scheduler.gc.peerGCInterval",
    "scheduler.gc.hostGCInterval",
    "database.redis.poolSize",
    "database.redis.poolTimeout",
    "seedPeer.enable",
    "storage",
    "job.globalWorkerNum",
    "job.schedulerWorkerNum",
    "job.redis",
};

}  // namespace

Result<SchedulerConfig> SchedulerConfig::parse(std::string_view text, std::string_view name) {
  TRY(const ConfigTree tree, ConfigTree::parse(text, name));
  ConfigReader reader(tree);
  SchedulerConfig config;
  reader.read("console", config.console);
  reader.read("server.advertiseIP", config.advertise_ip);
  check_ip(reader, "server.advertiseIP", config.advertise_ip);
  reader.read("server.advertisePort", config.advertise_port, std::uint16_t{1});
  reader.read("server.listenIP", config.listen_ip);
  check_ip(reader, "server.listenIP", config.listen_ip);
  reader.read("server.port", config.port);
  reader.read("server.host", config.hostname);
  read_tls(reader, "server.tls", config.tls);
  reader.read("server.dataDir", config.data_dir);
  config.data_dir_said = reader.has("server.dataDir");
  reader.read("server.requestRateLimit", config.request_rate_limit, 1U);
  reader.read("server.logDir", config.log_dir);
  reader.read("server.logLevel", config.log_level);
  reader.read("server.logMaxSize", config.log_max_size_mb, std::uint64_t{1});
  reader.read("server.logMaxAge", config.log_max_age_days, 1U);
  reader.read("server.logMaxBackups", config.log_max_backups, 1U);
  std::string algorithm = "default";
  reader.read("scheduler.algorithm", algorithm);
  reader.read("scheduler.backToSourceCount", config.back_to_source_count, 1U);
  reader.read("scheduler.retryBackToSourceLimit", config.retry_back_to_source_limit, 1U);
  reader.read("scheduler.retryLimit", config.retry_limit, 1U);
  read_positive(reader, "scheduler.retryInterval", config.retry_interval);
  read_positive(reader, "scheduler.gc.pieceDownloadTimeout", config.piece_download_timeout);
  read_positive(reader, "scheduler.gc.peerGCInterval", config.peer_gc_interval);
  read_positive(reader, "scheduler.gc.peerTTL", config.peer_ttl);
  read_positive(reader, "scheduler.gc.taskGCInterval", config.task_gc_interval);
  read_positive(reader, "scheduler.gc.hostGCInterval", config.host_gc_interval);
  read_positive(reader, "scheduler.gc.hostTTL", config.host_ttl);
  read_tls(reader, "seedPeer.tls", config.seed_tls);
  read_tls(reader, "peer.tls", config.peer_tls);
  read_positive(reader, "seedPeer.taskDownloadTimeout", config.seed_task_download_timeout);
  reader.read("seedPeer.hotTaskPeers", config.hot_task);
  auto& redis = config.redis;
  reader.read("database.redis.addrs", redis.addrs);
  for (const auto& addr : redis.addrs) check_place(reader, "database.redis.addrs", addr);
  reader.read("database.redis.masterName", redis.master_name);
  reader.read("database.redis.username", redis.username);
  reader.read("database.redis.password", redis.password);
  reader.read("database.redis.sentinelUsername", redis.sentinel_username);
  reader.read("database.redis.sentinelPassword", redis.sentinel_password);
  reader.read("database.redis.tls.caCert", redis.tls.ca);
  reader.read("database.redis.tls.cert", redis.tls.certificate);
  reader.read("database.redis.tls.key", redis.tls.key);
  reader.read("database.redis.tls.insecureSkipVerify", redis.insecure_skip_verify);
  if (redis.tls.certificate.empty() != redis.tls.key.empty())
    reader.complain("database.redis.tls", "needs cert and key together");
  reader.read("database.redis.brokerDB", redis.broker_database);
  reader.read("database.redis.backendDB", redis.result_database);
  reader.read("job.enable", config.jobs_enable);
  reader.read("job.localWorkerNum", config.jobs_at_once, 1U);
  reader.read("host.idc", config.idc);
  reader.read("host.location", config.location);
  reader.read("manager.addr", config.manager_addr);
  if (!config.manager_addr.empty()) check_place(reader, "manager.addr", config.manager_addr);
  read_tls(reader, "manager.tls", config.manager_tls);
  reader.read_interval("manager.keepAlive.interval", config.manager_keep_alive);
  reader.read("manager.schedulerClusterID", config.scheduler_cluster_id, std::uint64_t{1});
  reader.read_interval("dynconfig.refreshInterval",
                       config.dynconfig_refresh);  // as Dragonfly's chart writes it
  reader.read_interval("dynConfig.refreshInterval", config.dynconfig_refresh);
  reader.read("metrics.enable", config.metrics_enable);
  reader.read("metrics.addr", config.metrics_addr);
  reader.read("metrics.enableHost", config.metrics_enable_host);
  reader.read("network.enableIPv6", config.enable_ipv6);
  otlp::read_tracing(reader, config.tracing);
  reader.read("tracing.service-name", config.tracing_service_name);

  for (const auto key : kWithoutEffect) {
    const auto* value = tree.find(key);
    const bool off =
        value != nullptr && value->kind() == ConfigTree::Kind::kScalar && value->scalar() == "false";
    const bool set = value != nullptr && !value->is_null() && !off;
    reader.accept(key);
    (void)reader.take(key);
    if (set) config.warnings.push_back(fmt::format("{}:{}: {} has no effect here", name, value->line(), key));
  }
  if (algorithm != "default") {
    config.warnings.push_back(
        fmt::format("{}: scheduler.algorithm: only \"default\" is there; it is used", name));
  }
  static constexpr std::string_view kLevels[] = {"debug", "info", "warn", "error"};
  if (std::find(std::begin(kLevels), std::end(kLevels), config.log_level) == std::end(kLevels)) {
    reader.complain("server.logLevel", "must be debug, info, warn or error");
  }
  TRY_OK(reader.finish());
  for (auto& unknown : reader.unknown_keys()) config.warnings.push_back(std::move(unknown));
  return config;
}

BrainOptions SchedulerConfig::brain_options() const {
  BrainOptions options;
  if (dynamic.candidate_parents > 0) {
    options.candidate_parents = std::min<std::uint32_t>(dynamic.candidate_parents, kMaxParents);
  }
  options.host_limit = dynamic.load_limit;
  options.seed_host_limit = dynamic.seed_load_limit;
  options.back_to_source_count = back_to_source_count;
  options.hot_task = hot_task;
  options.piece_timeout = piece_download_timeout;
  options.peer_ttl = peer_ttl;
  options.host_ttl = host_ttl;
  options.task_ttl = task_gc_interval;
  return options;
}

}  // namespace d7y::scheduler
