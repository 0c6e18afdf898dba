#include "node/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/address.h"
#include "base/bytes.h"
#include "base/config_tree.h"
#include "net/http/headers.h"
#include "proxy/registries.h"
#include "proxy/rules.h"

namespace d7y::node {
namespace {

// Known keys that mean nothing to this version; setting one is worth a warning.
constexpr std::string_view kWithoutEffect[] = {
    "server.pluginDir",
    "server.cacheDir",
    "server.adaptiveRateLimit",
    "download.server.requestBufferSize",
    "upload.server.requestBufferSize",
    "storage.server.quicPort",
    "storage.server.tcpFastopen",
    "storage.writePieceTimeout",
    "storage.cacheCapacity",
    "storage.writeBufferSize",
    "storage.readBufferSize",
    "backend.putConcurrentChunkCount",
    "backend.putChunkSize",
    "backend.putTimeout",
    "backend.enableHickoryDNS",
    "gc.policy.persistentTaskTTL",
    "gc.policy.pageCacheIdleTimeout",
    "security.enable",
    "stats.server.ip",
    "stats.server.port",
    "proxy.readBufferSize",
};

void read_tls(ConfigReader& reader, const std::string& at, net::TlsFiles& out) {
  reader.read(at + ".caCert", out.ca);
  reader.read(at + ".cert", out.certificate);
  reader.read(at + ".key", out.key);
  if (out.any() && !out.complete())
    reader.complain(at, "caCert, cert and key belong together; set all three or none");
}

void read_ip(ConfigReader& reader, const std::string& path, std::string& out) {
  reader.read(path, out);
  if (!out.empty() && !Address::parse_ip(out, 0)) {
    reader.complain(path, fmt::format("\"{}\" is not an IP address", out));
  }
}

void read_server(ConfigReader& reader, const std::string& at, const std::string& port_key,
                 ServerAddress& out) {
  read_ip(reader, at + ".ip", out.ip);
  reader.read<std::uint16_t>(at + "." + port_key, out.port);
}

void read_percent(ConfigReader& reader, const std::string& key, std::string_view alias, std::uint32_t& out) {
  reader.read<std::uint32_t>(alias, out, 1, 99);
  reader.read<std::uint32_t>(key, out, 1, 99);
}

// The items of a list; none, with a complaint, where another thing stands.
std::span<const ConfigTree> list_at(ConfigReader& reader, std::string_view key, const ConfigTree& value) {
  if (value.kind() != ConfigTree::Kind::kList && !value.is_null()) reader.complain(key, "must be a list");
  return value.items();
}

std::string complaint_about(const ProxyRule& rule) {
  auto made = proxy::Rule::make({.regex = rule.regex, .redirect = rule.redirect});
  return made ? std::string() : made.error().message();
}

void read_proxy(ConfigReader& reader, DaemonConfig::Proxy& out, std::vector<std::string>& warnings) {
  read_server(reader, "proxy.server", "port", out.server);
  reader.read<std::uint64_t>("proxy.server.requestRateLimit", out.request_rate_limit, 1);
  reader.read("proxy.server.caCert", out.ca_cert);
  reader.read("proxy.server.caKey", out.ca_key);
  reader.read("proxy.server.basicAuth.username", out.username);
  reader.read("proxy.server.basicAuth.password", out.password);
  if (out.username.has_value() != out.password.has_value())
    reader.complain("proxy.server.basicAuth", "username and password belong together");
  if (out.ca_cert.empty() != out.ca_key.empty())
    reader.complain("proxy.server", "caCert and caKey belong together; set both or none");
  reader.read("proxy.server.intercept", out.intercept);
  for (const auto& regex : out.intercept) {
    if (auto why = complaint_about({.regex = regex}); !why.empty())
      reader.complain("proxy.server.intercept", why);
  }
  reader.read("proxy.rights.check", out.check_rights);
  reader.read_duration("proxy.rights.last", out.rights_last);
  reader.read_duration("proxy.registryMirror.manifestCacheTTL", out.keep_manifests);
  if (const auto* rules = reader.take("proxy.rules"); rules != nullptr) {
    out.rules.clear();
    for (const auto& item : list_at(reader, "proxy.rules", *rules)) {
      ProxyRule rule;
      ConfigReader each(item, "proxy.rules[]");
      each.read("regex", rule.regex);
      each.read("useTLS", rule.use_tls);
      each.read("redirect", rule.redirect);
      if (each.has("filteredQueryParams")) {
        rule.filtered_query_params.emplace();
        each.read("filteredQueryParams", *rule.filtered_query_params);
      }
      if (auto why = complaint_about(rule); !why.empty())
        each.complain(each.has("regex") ? "regex" : "redirect", why);
      if (auto good = each.finish(); !good) reader.complain("proxy.rules", good.error().message());
      // Without its regex a rule is for everything.
      for (auto& unknown : each.unknown_keys()) warnings.push_back(std::move(unknown));
      out.rules.push_back(std::move(rule));
    }
  }
  if (const auto* registries = reader.take("proxy.registryMirror.registries"); registries != nullptr) {
    for (const auto& item : list_at(reader, "proxy.registryMirror.registries", *registries)) {
      ProxyRegistry registry;
      ConfigReader each(item, "proxy.registryMirror.registries[]");
      each.read("name", registry.name);
      each.read("addr", registry.addr);
      each.read("cert", registry.cert);
      each.read("insecureSkipVerify", registry.insecure_skip_verify);
      each.read("clientCert", registry.client_cert);
      each.read("clientKey", registry.client_key);
      if (registry.client_cert.empty() != registry.client_key.empty())
        each.complain("clientCert", "it and clientKey belong together; set both or none");
      if (each.has("port")) each.read<std::uint16_t>("port", registry.port.emplace(0));
      if (registry.name.empty()) each.complain("name", "a registry needs one, as host or host:port");
      if (auto good = proxy::registry_address(registry.addr); !registry.addr.empty() && !good)
        each.complain("addr", good.error().message());
      if (auto good = each.finish(); !good)
        reader.complain("proxy.registryMirror.registries", good.error().message());
      for (auto& unknown : each.unknown_keys()) reader.complain("proxy.registryMirror.registries", unknown);
      out.registries.push_back(std::move(registry));
    }
  }
  reader.read("proxy.registryMirror.addr", out.mirror_addr);
  if (auto good = proxy::registry_address(out.mirror_addr); !out.mirror_addr.empty() && !good)
    reader.complain("proxy.registryMirror.addr", good.error().message());
  reader.read("proxy.registryMirror.cert", out.mirror_cert);
  reader.read("proxy.registryMirror.enableTaskIDBasedBlobDigest", out.mirror_blob_digest_ids);
  reader.read("proxy.disableBackToSource", out.disable_back_to_source);
  reader.read("proxy.prefetch", out.prefetch);
  reader.read_size("proxy.prefetchBandwidthLimit", out.prefetch_bandwidth_limit);
  reader.read_size("proxy.readBufferSize", out.read_buffer_size);
}

}  // namespace

Result<DaemonConfig> DaemonConfig::parse(std::string_view text, std::string_view name) {
  TRY(auto tree, ConfigTree::parse(text, name));
  DaemonConfig config;
  ConfigReader reader(tree);

  reader.read("host.idc", config.host.idc);
  reader.read("host.location", config.host.location);
  reader.read("host.hostname", config.host.hostname);
  read_ip(reader, "host.ip", config.host.ip);
  reader.read<std::uint64_t>("host.schedulerClusterID", config.host.scheduler_cluster_id);

  auto& download = config.download;
  reader.read("download.server.socketPath", download.socket_path);
  reader.read<std::uint32_t>("download.server.socketMode", download.socket_mode, 0, 0777);
  reader.read<std::uint64_t>("download.server.requestRateLimit", download.request_rate_limit, 1);
  reader.read<std::uint64_t>("download.server.requestBufferSize", download.request_buffer_size, 1);
  reader.read("download.protocol", download.protocol);
  if (download.protocol == "quic") {
    // Every peer that speaks QUIC serves TCP too, so a file that asks for it works all the same.
    config.warnings.push_back(
        fmt::format("{}:{}: download.protocol: quic is not spoken; pieces come over tcp", name,
                    tree.find("download.protocol")->line()));
  } else if (download.protocol != "tcp") {
    reader.complain("download.protocol", fmt::format("\"{}\" is neither tcp nor quic", download.protocol));
  }
  reader.read_size("download.bandwidthLimit", download.bandwidth_limit);
  reader.read_size("download.backToSourceBandwidthLimit", download.back_to_source_bandwidth_limit);
  reader.read_duration("download.pieceTimeout", download.piece_timeout);
  reader.read_duration("download.collectedPieceTimeout", download.collected_piece_timeout);
  reader.read<std::uint32_t>("download.concurrentPieceCount", download.concurrent_piece_count, 1, 1024);

  auto& upload = config.upload;
  read_server(reader, "upload.server", "port", upload.server);
  read_tls(reader, "upload.server", upload.server_tls);
  reader.read("upload.server.allowPlaintext", upload.allow_plaintext);
  read_tls(reader, "upload.client", upload.client_tls);
  reader.read<std::uint64_t>("upload.server.requestRateLimit", upload.request_rate_limit, 1);
  reader.read<std::uint64_t>("upload.server.requestBufferSize", upload.request_buffer_size, 1);
  reader.read("upload.disableShared", upload.disable_shared);
  reader.read_size("upload.bandwidthLimit", upload.bandwidth_limit);

  reader.read("manager.addr", config.manager.addr);
  if (const auto& addr = config.manager.addr; !addr.empty()) {
    auto scheme = addr.find("://");
    auto place = addr.substr(scheme == std::string::npos ? 0 : scheme + 3);
    if (place.ends_with('/')) place.pop_back();
    if (!HostPort::parse(place))
      reader.complain("manager.addr", fmt::format("\"{}\" is not http://host:port", addr));
  }
  read_tls(reader, "manager", config.manager.tls);

  reader.read("scheduler.addrs", config.scheduler.addrs);
  for (const auto& addr : config.scheduler.addrs) {
    if (auto good = HostPort::parse(addr); !good) reader.complain("scheduler.addrs", good.error().message());
  }
  reader.read_interval("scheduler.announceInterval", config.scheduler.announce_interval);
  reader.read_duration("scheduler.scheduleTimeout", config.scheduler.schedule_timeout);
  reader.read<std::uint32_t>("scheduler.maxScheduleCount", config.scheduler.max_schedule_count, 1);
  read_tls(reader, "scheduler", config.scheduler.tls);

  reader.read("seedPeer.enable", config.seed_peer);
  std::string seed_type = "super";
  reader.read("seedPeer.type", seed_type);
  if (seed_type != "super" && seed_type != "normal") {
    reader.complain("seedPeer.type", fmt::format("\"{}\" is neither super nor normal", seed_type));
  }
  reader.read_interval("dynconfig.refreshInterval", config.dynconfig_refresh_interval);

  auto& storage = config.storage;
  read_server(reader, "storage.server", "tcpPort", storage.server);
  reader.read<std::uint16_t>("storage.server.quicPort", storage.quic_port);
  reader.read("storage.server.tcpFastopen", storage.tcp_fast_open);
  reader.read("storage.dir", storage.dir);
  if (storage.dir.empty()) reader.complain("storage.dir", "a folder is needed");
  reader.read("storage.keep", storage.keep);
  reader.read_duration("storage.writePieceTimeout", storage.write_piece_timeout);
  reader.read_size("storage.writeBufferSize", storage.write_buffer_size);
  reader.read_size("storage.readBufferSize", storage.read_buffer_size);
  reader.read_size("storage.cacheCapacity", storage.cache_capacity);

  auto& backend = config.backend;
  reader.read("backend.requestHeader", backend.request_header);
  for (const auto& [header, value] : backend.request_header) {
    if (!http::is_header_name(header) || !http::is_header_value(value))
      reader.complain("backend.requestHeader",
                      fmt::format("\"{}\" holds characters that a header cannot hold", header));
  }
  reader.read<std::uint32_t>("backend.maxRetries", backend.max_retries, 0, 100);
  reader.read("backend.enableCacheTemporaryRedirect", backend.cache_temporary_redirect);
  reader.read_duration("backend.cacheTemporaryRedirectTTL", backend.temporary_redirect_ttl);
  reader.read_duration("backend.revalidateAfter", backend.revalidate_after);
  reader.read("backend.insecureSkipVerify", backend.insecure_skip_verify);
  reader.read("backend.caCert", backend.ca_cert);
  reader.read("backend.clientCert", backend.client_cert);
  reader.read("backend.clientKey", backend.client_key);
  if (backend.client_cert.empty() != backend.client_key.empty())
    reader.complain("backend.clientCert", "it and clientKey belong together; set both or none");
  reader.read("backend.httpProxy", backend.http_proxy);
  reader.read("backend.httpsProxy", backend.https_proxy);
  reader.read("backend.noProxy", backend.no_proxy);

  auto& gc = config.gc;
  reader.read_interval("gc.interval", gc.interval);
  reader.read_duration("gc.policy.taskTTL", gc.task_ttl);
  reader.read_duration("gc.policy.persistentTaskTTL", gc.persistent_task_ttl);
  reader.read_duration("gc.policy.persistentCacheTaskTTL", gc.persistent_cache_task_ttl);
  reader.read_duration("gc.policy.pageCacheIdleTimeout", gc.page_cache_idle_timeout);
  reader.read_size("gc.policy.distThreshold", gc.disk_threshold);
  reader.read_size("gc.policy.diskThreshold", gc.disk_threshold);
  read_percent(reader, "gc.policy.diskHighThresholdPercent", "gc.policy.distHighThresholdPercent",
               gc.disk_high_percent);
  read_percent(reader, "gc.policy.diskLowThresholdPercent", "gc.policy.distLowThresholdPercent",
               gc.disk_low_percent);
  if (gc.disk_low_percent >= gc.disk_high_percent) {
    reader.complain("gc.policy",
                    fmt::format("diskLowThresholdPercent {} must be below diskHighThresholdPercent {}",
                                gc.disk_low_percent, gc.disk_high_percent));
  }

  read_proxy(reader, config.proxy, config.warnings);

  reader.read("network.enableIPv6", config.enable_ipv6);
  read_server(reader, "health.server", "port", config.health);
  read_server(reader, "metrics.server", "port", config.metrics);
  read_server(reader, "stats.server", "port", config.stats);

  otlp::read_tracing(reader, config.tracing);

  reader.read("log.level", config.log.level);
  static constexpr std::string_view kLevels[] = {"trace", "debug", "info", "warn", "error"};
  if (std::find(std::begin(kLevels), std::end(kLevels), config.log.level) == std::end(kLevels)) {
    reader.complain("log.level", "must be trace, debug, info, warn or error");
  }
  reader.read("log.format", config.log.format);
  if (config.log.format != "text" && config.log.format != "json") {
    reader.complain("log.format", fmt::format("\"{}\" is neither text nor json", config.log.format));
  }
  reader.read("log.dir", config.log.dir);
  reader.read_size("log.maxFileSize", config.log.max_file_size);
  if (config.log.max_file_size != 0 && config.log.max_file_size < 64_KiB) {
    reader.complain("log.maxFileSize", "must be at least 64KiB, or 0 for no limit");
  }
  reader.read<std::uint32_t>("log.maxFiles", config.log.max_files, 1, 1000);

  for (auto key : kWithoutEffect) {
    if (const auto* node = tree.find(key); node != nullptr) {
      reader.accept(key);
      config.warnings.push_back(
          fmt::format("{}:{}: {} has no effect in this version of d7yd", name, node->line(), key));
    }
  }
  TRY_OK(reader.finish());
  for (auto& unknown : reader.unknown_keys()) config.warnings.push_back(std::move(unknown));
  return config;
}

std::vector<std::string> DynamicConfig::schedulers() const {
  if (!scheduler_addrs.empty() || scheduler_addr.empty()) return scheduler_addrs;
  return {scheduler_addr};
}

Result<DynamicConfig> DynamicConfig::parse(std::string_view text, std::string_view name) {
  TRY(auto tree, ConfigTree::parse(text, name));
  DynamicConfig config;
  ConfigReader reader(tree);
  reader.read("scheduler.addrs", config.scheduler_addrs);
  reader.read("scheduler.addr", config.scheduler_addr);
  api::read_block_list(reader, "clientConfig.blockList", config.blocked);
  api::read_block_list(reader, "seedClientConfig.blockList", config.blocked_on_seeds);
  TRY_OK(reader.finish());
  for (auto& unknown : reader.unknown_keys()) config.warnings.push_back(std::move(unknown));
  return config;
}

}  // namespace d7y::node
