#include "scheduler/config.h"
#include "api/task_metrics.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "scheduler/service_metrics.h"

using namespace d7y;
using namespace d7y::scheduler;
using namespace std::chrono_literals;

namespace {
bool mentions(const std::vector<std::string>& list, const std::string& what) {
  return std::any_of(list.begin(), list.end(),
                     [&](const auto& one) { return one.find(what) != std::string::npos; });
}
}  // namespace

TEST_CASE("an empty file means Dragonfly's defaults") {
  const auto config = SchedulerConfig::parse("", "scheduler.yaml");
  REQUIRE(config.ok());
  CHECK(config->port == 8002);
  CHECK(config->request_rate_limit == 4000);
  CHECK(config->back_to_source_count == 200);
  CHECK(config->piece_download_timeout == 30min);
  CHECK(config->warnings.empty());
  CHECK_FALSE(config->tracing.on());
}

TEST_CASE("the keys of Dragonfly's file are read") {
  const auto config = SchedulerConfig::parse(R"(
console: true
server:
  advertiseIP: 10.1.2.3
  advertisePort: 18002
  listenIP: "::"
  port: 9002
  host: sched-0
  requestRateLimit: 100
  logLevel: debug
  tls: {caCert: ca.pem, cert: c.pem, key: k.pem}
scheduler:
  algorithm: default
  backToSourceCount: 7
  retryInterval: 2s
  gc:
    pieceDownloadTimeout: 5m
    peerTTL: 720h
    hostTTL: 2h
seedPeer:
  taskDownloadTimeout: 1h
metrics:
  enable: true
  addr: ":9000"
  enableHost: true
manager:
  schedulerClusterID: 3
tracing:
  protocol: https
  endpoint: collector:4318
  service-name: ours
  headers: {authorization: Bearer x}
)",
                                             "scheduler.yaml");
  REQUIRE_MESSAGE(config.ok(), (config ? "" : config.error().message()));
  CHECK(config->console);
  CHECK(config->metrics_enable_host);
  CHECK(config->tracing.on());
  const auto exporter = otlp::exporter_options(config->tracing);
  CHECK(exporter.endpoint == "https://collector:4318/v1/traces");
  CHECK(exporter.headers.get("authorization") == "Bearer x");
  CHECK(config->tracing_service_name == "ours");
  CHECK(config->advertise_ip == "10.1.2.3");
  CHECK(config->advertise_port == 18002);
  CHECK(config->listen_ip == "::");
  CHECK(config->port == 9002);
  CHECK(config->hostname == "sched-0");
  CHECK(config->tls.key == "k.pem");
  CHECK(config->scheduler_cluster_id == 3);
  CHECK(config->metrics_addr == ":9000");
  CHECK(config->seed_task_download_timeout == 1h);
  const auto options = config->brain_options();
  CHECK(options.back_to_source_count == 7);
  CHECK(options.piece_timeout == 5min);
  CHECK(options.peer_ttl == 720h);
  CHECK(options.host_ttl == 2h);
  CHECK(mentions(config->warnings, "scheduler.retryInterval has no effect"));
  CHECK_FALSE(mentions(config->warnings, "server.advertisePort"));
}

TEST_CASE("addresses and intervals that cannot be meant are wrong") {
  for (const char* wrong : {"manager: {addr: m}", "manager: {addr: \"http://m:65003\"}",
                            "database: {redis: {addrs: [r]}}", "dynConfig: {refreshInterval: 60}",
                            "manager: {keepAlive: {interval: 1ms}}", "scheduler: {gc: {hostTTL: 3600}}"})
    CHECK_MESSAGE(!SchedulerConfig::parse(wrong, "s.yaml"), wrong);
  CHECK(SchedulerConfig::parse("manager: {addr: \"m:65003\"}\ndatabase: {redis: {addrs: [\"r:6379\"]}}",
                               "s.yaml"));
}

TEST_CASE("keys without effect and unknown keys are named, with their line") {
  const auto config = SchedulerConfig::parse(
      "database:\n  redis:\n    poolSize: 5\njob:\n  globalWorkerNum: 5\nnonsense: 1\n", "s.yaml");
  REQUIRE_MESSAGE(config.ok(), (config ? "" : config.error().message()));
  CHECK(mentions(config->warnings, "s.yaml:3: database.redis.poolSize has no effect"));
  CHECK(mentions(config->warnings, "job.globalWorkerNum has no effect"));
  CHECK(mentions(config->warnings, "nonsense"));
}

TEST_CASE("tracing without a collector is off, as Dragonfly's chart leaves it") {
  const auto config =
      SchedulerConfig::parse("tracing:\n  protocol: grpc\n  endpoint:\n  path:\n  headers:\n", "s.yaml");
  REQUIRE_MESSAGE(config.ok(), (config ? "" : config.error().message()));
  CHECK(!config->tracing.on());
  const auto on = SchedulerConfig::parse("tracing: {protocol: grpc, endpoint: \"c:4317\"}", "s.yaml");
  REQUIRE(on.ok());
  CHECK(on->tracing.on());
  CHECK(!SchedulerConfig::parse("tracing: {endpoint: \"c:4317\"}", "s.yaml"));
}

TEST_CASE("the interval of the dynamic configuration is read in either spelling") {
  for (const char* text : {"dynconfig: {refreshInterval: 7s}", "dynConfig: {refreshInterval: 7s}"}) {
    const auto config = SchedulerConfig::parse(text, "s.yaml");
    REQUIRE(config.ok());
    CHECK(config->dynconfig_refresh == std::chrono::seconds(7));
    CHECK(config->warnings.empty());
  }
}

TEST_CASE("all mistakes are told at once, with line and key") {
  const auto config = SchedulerConfig::parse(
      "server:\n  port: 99999\n  listenIP: localhost\n  logLevel: loud\n  tls:\n    cert: "
      "c.pem\nscheduler:\n  gc:\n    hostTTL: 0s\ntracing: {protocol: jaeger}\n",
      "s.yaml");
  REQUIRE(config.failed_with(ErrorCode::kInvalid));
  const auto& text = config.error().message();
  for (const char* key : {"s.yaml:2: server.port", "server.listenIP", "server.logLevel", "server.tls",
                          "scheduler.gc.hostTTL", "tracing.protocol"}) {
    CHECK_MESSAGE(text.find(key) != std::string::npos, key, " in ", text);
  }
}

TEST_CASE("the dynamic part: limits and priorities of applications") {
  const auto config = DynamicConfig::parse(R"(
applications:
  - name: training
    priority:
      value: 4
      urls:
        - regex: "\\.safetensors$"
          value: 6
schedulerClusterConfig:
  candidateParentLimit: 5
  filterParentLimit: 15
schedulerClusterClientConfig:
  loadLimit: 50
  blockList:
    task: {download: {applications: [games], urls: ["^https://tracker\\."], tags: [old], priorities: [1]}}
    persistentTask: {upload: {tags: [huge]}}
seedPeerClusterConfig:
  loadLimit: 500
)",
                                           "dynconfig.yaml");
  REQUIRE_MESSAGE(config.ok(), (config ? "" : config.error().message()));
  CHECK(config->candidate_parents == 5);
  CHECK(config->load_limit == 50);
  CHECK(config->seed_load_limit == 500);
  REQUIRE(config->applications.size() == 1);
  CHECK(config->applications[0].priority == 4);
  REQUIRE(config->applications[0].urls.size() == 1);
  CHECK(config->applications[0].urls[0].priority == 6);
  const DynamicRules rules(*config);
  CHECK(rules.priority_of(0, "training", "https://h/model.safetensors") == 6);
  CHECK(rules.priority_of(0, "training", "https://h/readme") == 4);
  CHECK(rules.priority_of(2, "training", "https://h/readme") == 2);
  CHECK(rules.priority_of(0, "other", "https://h/readme") == 0);
  const auto why = [&](Use use, DynamicRules::Wish wish) {
    return std::string(rules.blocked(use, false, wish).value_or("allowed"));
  };
  CHECK(why(Use::kDownload, {"https://h/f", "games", "", 0}) == "application");
  CHECK(why(Use::kDownload, {"https://h/f", "", "old", 0}) == "tag");
  CHECK(why(Use::kDownload, {"https://tracker.h/f", "", "", 0}) == "url");
  CHECK(why(Use::kDownload, {"https://h/f", "", "", 1}) == "priority");
  CHECK(why(Use::kDownload, {"https://h/f", "", "", 0}) == "allowed");
  CHECK(why(Use::kPersistentUpload, {"https://h/f", "games", "huge", 0}) == "tag");
  CHECK_FALSE(rules.blocked(Use::kDownload, true, {"https://h/f", "games", "", 0}));
  CHECK(DynamicConfig::parse("schedulerClusterClientConfig: {blockList: {task: {download: {urls: ['(']}}}}",
                             "d")
            .failed_with(ErrorCode::kInvalid));
  CHECK(DynamicConfig::parse("applications:\n  - name: a\n    priority:\n      value: 9\n", "d")
            .failed_with(ErrorCode::kInvalid));
  CHECK(DynamicConfig::parse("applications:\n  - priority: {urls: [{regex: '(', value: 1}]}\n", "d")
            .failed_with(ErrorCode::kInvalid));
}

TEST_CASE("task size levels are Dragonfly's") {
  CHECK(api::task_size_level(-1) == 0);
  CHECK(api::task_size_level(0) == 0);
  CHECK(api::task_size_level((1 << 20) - 1) == 1);
  CHECK(api::task_size_level(1 << 20) == 2);
  CHECK(api::task_size_level(100 << 20) == 7);
  CHECK(api::task_size_level(std::int64_t{1} << 40) == 20);
}
