// What a daemon is told: Dragonfly's dfdaemon.yaml, key by key, with its defaults (Dragonfly client 9).
//
//   TRY(auto config, DaemonConfig::parse(text, "/etc/dragonfly/dfdaemon.yaml"));
//   for (auto& warning : config.warnings) log.warn("{}", warning);
//
// Plain values; nothing is opened or looked up here.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/block_list.h"
#include "base/deadline.h"
#include "base/result.h"
#include "net/otlp/tracing.h"
#include "net/tls/tls.h"

namespace d7y::node {

// Where a server listens. A port of 0 takes any free one.
struct ServerAddress {
  std::string ip;  // empty: all addresses of the family network.enableIPv6 chooses
  std::uint16_t port = 0;
  bool enabled = true;
};

struct ProxyRule {
  std::string regex = ".*";
  bool use_tls = false;
  std::string redirect;
  std::optional<std::vector<std::string>> filtered_query_params;
};

// Ours: a registry that needs more than its name to be reached, or is chosen by port or path.
struct ProxyRegistry {
  std::string name, addr, cert, client_cert, client_key;
  bool insecure_skip_verify = false;
  std::optional<std::uint16_t> port;
};

struct DaemonConfig {
  struct Host {
    std::optional<std::string> idc, location;
    std::string hostname;  // empty: the system's
    std::string ip;        // empty: the first address that is not loopback
    std::uint64_t scheduler_cluster_id = 0;
  } host;

  struct Download {
    std::string socket_path = "/var/run/dragonfly/dfdaemon.sock";  // empty: no download server
    std::uint32_t socket_mode = 0777;                              // as Dragonfly's tools expect
    std::uint64_t request_rate_limit = 400;
    std::uint64_t request_buffer_size = 50;
    std::string protocol = "tcp";
    std::uint64_t bandwidth_limit = 50'000'000'000;                 // bytes per second
    std::uint64_t back_to_source_bandwidth_limit = 50'000'000'000;  // bytes per second
    Duration piece_timeout = std::chrono::seconds(360);
    Duration collected_piece_timeout = std::chrono::seconds(360);
    std::uint32_t concurrent_piece_count = 8;
  } download;

  struct Upload {
    ServerAddress server{{}, 4000};
    net::TlsFiles server_tls, client_tls;
    // Ours: serve plaintext beside TLS, which Rust peers need (Dragonfly grpc 4.4).
    bool allow_plaintext = false;
    std::uint64_t request_rate_limit = 400;
    std::uint64_t request_buffer_size = 50;
    bool disable_shared = false;
    std::uint64_t bandwidth_limit = 50'000'000'000;  // bytes per second
  } upload;

  struct Manager {
    std::string addr;  // empty: none, schedulers come from scheduler.addrs or the dynconfig file
    net::TlsFiles tls;
  } manager;

  struct Scheduler {
    std::vector<std::string> addrs;  // ours: static "host:port" list, also in dynconfig.yaml
    Duration announce_interval = std::chrono::seconds(300);
    Duration schedule_timeout = std::chrono::hours(3);
    std::uint32_t max_schedule_count = 5;
    net::TlsFiles tls;
  } scheduler;

  bool seed_peer = false;
  Duration dynconfig_refresh_interval = std::chrono::seconds(60);

  struct Storage {
    ServerAddress server{{}, 4005};
    std::uint16_t quic_port = 4006;
    bool tcp_fast_open = false;
    std::string dir = "/var/lib/dragonfly/";
    bool keep = false;
    Duration write_piece_timeout = std::chrono::seconds(360);
    std::uint64_t write_buffer_size = 512 << 10, read_buffer_size = 512 << 10;
    std::uint64_t cache_capacity = 64 << 20;
  } storage;

  struct Backend {
    std::map<std::string, std::string> request_header;
    std::uint32_t max_retries = 1;
    bool cache_temporary_redirect = true;
    Duration temporary_redirect_ttl = std::chrono::seconds(600);
    Duration revalidate_after{0};                   // ours: of complete content without a digest; 0: never
    bool insecure_skip_verify = false;              // ours: https origins are verified unless this is set
    std::string ca_cert;                            // ours: further roots for https origins
    std::string client_cert, client_key;            // ours: shown to https origins that ask for one
    std::string http_proxy, https_proxy, no_proxy;  // ours: before those of the environment. Secrets
  } backend;

  struct Gc {
    Duration interval = std::chrono::seconds(900);
    Duration task_ttl = std::chrono::hours(720);
    Duration persistent_task_ttl = std::chrono::hours(24);
    Duration persistent_cache_task_ttl = std::chrono::hours(24);
    Duration page_cache_idle_timeout = std::chrono::minutes(40);
    std::uint64_t disk_threshold = 0;  // bytes; 0: the whole file system
    std::uint32_t disk_high_percent = 80, disk_low_percent = 60;
  } gc;

  struct Proxy {
    ServerAddress server{{}, 4001};
    std::uint64_t request_rate_limit = 4000;
    std::string ca_cert, ca_key;
    std::optional<std::string> username, password;
    // Ours: whose tunnels are opened, with the authority; without the key all of them.
    std::vector<std::string> intercept{".*"};
    // Ours: how long an origin's word counts that a caller may have what is cached.
    bool check_rights = true;
    Duration rights_last = std::chrono::minutes(5);
    // Ours: how long manifests and lists of tags are given without asking; 0: not at all.
    Duration keep_manifests{0};
    // Without the key: blobs of registries.
    std::vector<ProxyRule> rules{{.regex = "blobs/sha256.*"}};
    std::vector<ProxyRegistry> registries;
    std::string mirror_addr = "https://index.docker.io";
    std::string mirror_cert;
    bool mirror_blob_digest_ids = false;
    bool disable_back_to_source = false, prefetch = false;
    std::uint64_t prefetch_bandwidth_limit = 10'000'000'000;
    std::uint64_t read_buffer_size = 512 << 10;
  } proxy;

  bool enable_ipv6 = false;
  ServerAddress health{"0.0.0.0", 4003};
  ServerAddress metrics{"0.0.0.0", 4002};
  ServerAddress stats{"0.0.0.0", 4004};

  otlp::TracingConfig tracing;

  struct LogFile {
    std::string level = "info";
    std::string format = "text";  // or json
    std::string dir;              // empty: the caller's sink
    std::uint64_t max_file_size = std::uint64_t{1} << 30;
    std::uint32_t max_files = 6;
  } log;  // ours

  // Keys that are unknown, or known and without effect in this version: "file:line: ..." each.
  std::vector<std::string> warnings;

  // Parses the text of a file called `name`. kInvalid lists every wrong value with line and key.
  static Result<DaemonConfig> parse(std::string_view text, std::string_view name);
};

// Dragonfly's dynconfig.yaml for daemons without a manager (Dragonfly client 5.9).
struct DynamicConfig {
  std::vector<std::string> scheduler_addrs;  // "ip:port" or "host:port"
  std::string scheduler_addr;                // one name that stands for several addresses
  api::BlockList blocked, blocked_on_seeds;
  std::vector<std::string> warnings;

  // Those of the two that count.
  std::vector<std::string> schedulers() const;
  const api::BlockList& blocked_for(bool seed) const { return seed ? blocked_on_seeds : blocked; }
  static Result<DynamicConfig> parse(std::string_view text, std::string_view name);
};

}  // namespace d7y::node
