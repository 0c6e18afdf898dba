// Dragonfly's scheduler.yaml (Dragonfly scheduler 5.4) and, without a manager, its dynconfig.yaml beside it.
//
//   TRY(auto config, SchedulerConfig::parse(text, "scheduler.yaml"));
//   for (auto& warning : config.warnings) log.warn("{}", warning);
//
// Every key is read and checked. Keys that have no effect here are named in a warning when they are set to
// something else than their default.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "net/otlp/tracing.h"
#include "net/tls/tls.h"
#include "scheduler/brain.h"
#include "scheduler/dynamic.h"

namespace d7y::scheduler {

struct SchedulerConfig {
  // server
  std::string advertise_ip;          // empty: the first address of the machine
  std::uint16_t advertise_port = 0;  // 0: the one it listens on
  std::string listen_ip;             // empty: all
  std::uint16_t port = 8002;
  std::string hostname;  // empty: the machine's
  net::TlsFiles tls;
  std::uint32_t request_rate_limit = 4000;  // calls and new streams per second
  std::string log_dir;                      // empty: no files
  std::string log_level = "info";
  std::uint64_t log_max_size_mb = 1024;
  std::uint32_t log_max_age_days = 7, log_max_backups = 20;
  bool console = false;
  // Where files are kept that outlive a restart; empty: nowhere.
  std::string data_dir;
  bool data_dir_said = false;      // by the file
  bool data_dir_optional = false;  // one that cannot be used is a warning
  // scheduler
  std::uint32_t back_to_source_count = 200;
  std::uint32_t retry_back_to_source_limit = 4, retry_limit = 5;
  Duration retry_interval = std::chrono::milliseconds(500);
  Duration piece_download_timeout = std::chrono::minutes(30);
  Duration peer_gc_interval = std::chrono::seconds(10), peer_ttl = std::chrono::hours(24);
  Duration task_gc_interval = std::chrono::minutes(30);
  Duration host_gc_interval = std::chrono::minutes(5), host_ttl = std::chrono::hours(1);
  // seedPeer
  net::TlsFiles seed_tls, peer_tls;
  Duration seed_task_download_timeout = std::chrono::hours(10);
  std::uint32_t hot_task = 48;  // ours: peers of a task for which a second seed is asked; 0: never
  // database.redis
  struct Redis {
    std::vector<std::string> addrs;  // empty: no Redis
    std::string master_name, username, password, sentinel_username, sentinel_password;
    net::TlsFiles tls;
    bool insecure_skip_verify = false;
    std::uint32_t broker_database = 1, result_database = 2;  // of the manager's jobs
  } redis;
  // job
  bool jobs_enable = true;
  std::uint32_t jobs_at_once = 1000;
  // the rest
  std::string idc, location;  // of this scheduler, told to the manager
  std::string manager_addr;   // "host:port"; empty: none
  net::TlsFiles manager_tls;
  Duration manager_keep_alive = std::chrono::seconds(5);
  std::uint64_t scheduler_cluster_id = 1;
  Duration dynconfig_refresh = std::chrono::minutes(1);
  bool metrics_enable = false;
  std::string metrics_addr = ":8000";
  bool metrics_enable_host = false;
  bool enable_ipv6 = false;
  otlp::TracingConfig tracing;
  std::string tracing_service_name = "scheduler";
  DynamicConfig dynamic;
  // Where `dynamic` is read from, again every dynconfig_refresh; empty: nowhere. It may be missing.
  std::string dynconfig_path;

  // About this file, for the log: unknown keys, keys without effect.
  std::vector<std::string> warnings;

  // kInvalid with all mistakes, each with its line and key.
  static Result<SchedulerConfig> parse(std::string_view text, std::string_view name);
  BrainOptions brain_options() const;
};

}  // namespace d7y::scheduler
