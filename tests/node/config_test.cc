#include "node/config.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace d7y;
using namespace d7y::node;
using namespace std::chrono_literals;

TEST_CASE("an empty dfdaemon.yaml has Dragonfly's defaults") {
  auto config = DaemonConfig::parse("", "dfdaemon.yaml");
  REQUIRE(config);
  CHECK(config->download.socket_path == "/var/run/dragonfly/dfdaemon.sock");
  CHECK(config->upload.server.port == 4000);
  CHECK(config->storage.server.port == 4005);
  CHECK(config->metrics.port == 4002);
  CHECK(config->health.port == 4003);
  CHECK(config->storage.dir == "/var/lib/dragonfly/");
  CHECK(!config->storage.keep);
  CHECK(!config->seed_peer);
  CHECK(config->scheduler.announce_interval == 300s);
  CHECK(config->scheduler.max_schedule_count == 5);
  CHECK(config->gc.task_ttl == 720h);
  CHECK(config->gc.disk_high_percent == 80);
  CHECK(config->download.concurrent_piece_count == 8);
  CHECK(config->warnings.empty());
}

TEST_CASE("a dfdaemon.yaml of a cluster is read key by key") {
  auto config = DaemonConfig::parse(R"(
host: {idc: fra, location: "eu|de", hostname: node-7, ip: 10.0.0.7, schedulerClusterID: 3}
download: {server: {socketPath: /run/d.sock, requestRateLimit: 100}, bandwidthLimit: 1GB, pieceTimeout: 40s}
upload: {server: {ip: 127.0.0.1, port: 14000}, bandwidthLimit: 500MB, disableShared: true}
manager: {addr: "http://manager:65003"}
scheduler: {announceInterval: 1m, maxScheduleCount: 7}
seedPeer: {enable: true, type: super}
storage: {dir: /data, keep: true, server: {tcpPort: 14005}}
gc: {interval: 10m, policy: {taskTTL: 7d, distHighThresholdPercent: 90, diskLowThresholdPercent: 70}}
proxy: {rules: [{regex: 'blobs/sha256.*', useTLS: true}]}
backend: {revalidateAfter: 10m}
)",
                                    "dfdaemon.yaml");
  REQUIRE_MESSAGE(config.ok(), config.error().message());
  CHECK(*config->host.idc == "fra");
  CHECK(config->host.scheduler_cluster_id == 3);
  CHECK(config->download.bandwidth_limit == 1'000'000'000);
  CHECK(config->download.piece_timeout == 40s);
  CHECK(config->upload.server.ip == "127.0.0.1");
  CHECK(config->upload.disable_shared);
  CHECK(config->manager.addr == "http://manager:65003");
  CHECK(config->scheduler.max_schedule_count == 7);
  CHECK(config->seed_peer);
  CHECK(config->storage.keep);
  CHECK(config->gc.task_ttl == 168h);
  CHECK(config->gc.disk_high_percent == 90);
  REQUIRE(config->proxy.rules.size() == 1);
  CHECK(config->proxy.rules[0].use_tls);
  CHECK(config->backend.revalidate_after == 10min);
}

TEST_CASE("wrong values are named with line and key, all of them at once") {
  auto config = DaemonConfig::parse(
      "upload:\n  server:\n    port: 70000\nhost:\n  ip: nowhere\ndownload:\n  protocol: udp\n", "d.yaml");
  REQUIRE(!config);
  const auto& message = config.error().message();
  CHECK(message.find("d.yaml:3: upload.server.port: 70000 is outside 0 to 65535") != std::string::npos);
  CHECK(message.find("d.yaml:5: host.ip: \"nowhere\" is not an IP address") != std::string::npos);
  CHECK(message.find("d.yaml:7: download.protocol: \"udp\" is neither tcp nor quic") != std::string::npos);
}

TEST_CASE("what is wrong about the proxy's rules and registries is named with its line") {
  auto config = DaemonConfig::parse(
      "proxy:\n  server:\n    intercept: ['(']\n  rules:\n    - regex: blobs\n    - regex: '['\n"
      "    - redirect: a b\n  registryMirror:\n    addr: ftp://x\n    registries:\n      - {name: a, addr: "
      "'b c'}\n",
      "d.yaml");
  REQUIRE(!config);
  const auto& message = config.error().message();
  for (auto at : {"d.yaml:3: proxy.server.intercept", "d.yaml:6: proxy.rules[].regex",
                  "d.yaml:7: proxy.rules[].redirect", "d.yaml:9: proxy.registryMirror.addr",
                  "d.yaml:11: proxy.registryMirror.registries[].addr"}) {
    CAPTURE(at);
    CAPTURE(message);
    CHECK(message.find(at) != std::string::npos);
  }
  CHECK(!DaemonConfig::parse("proxy:\n  rules: {regex: blobs}\n", "d.yaml"));
  auto misspelt = DaemonConfig::parse("proxy:\n  rules:\n    - {regexp: blobs}\n", "d.yaml");
  REQUIRE(misspelt);
  REQUIRE(misspelt->warnings.size() == 1);
  CHECK(misspelt->warnings[0].find("d.yaml:3") != std::string::npos);
  CHECK(misspelt->warnings[0].find("regexp") != std::string::npos);
}

TEST_CASE("a dfdaemon.yaml that asks for QUIC is taken, with a warning") {
  auto config = DaemonConfig::parse("download:\n  protocol: quic\n", "d.yaml");
  REQUIRE(config);
  REQUIRE(config->warnings.size() == 1);
  CHECK(config->warnings[0] == "d.yaml:2: download.protocol: quic is not spoken; pieces come over tcp");
}

TEST_CASE("unknown keys, and keys without effect yet, are warned about by name") {
  auto config = DaemonConfig::parse("colour: red\nsecurity:\n  enable: true\n", "d.yaml");
  REQUIRE(config);
  auto has = [&](const std::string& text) {
    return std::any_of(config->warnings.begin(), config->warnings.end(),
                       [&](const std::string& w) { return w.find(text) != std::string::npos; });
  };
  CHECK(has("d.yaml:1: key \"colour\" is not known"));
  CHECK(has("d.yaml:3: security.enable has no effect"));
}

TEST_CASE("addresses, intervals and headers are checked") {
  for (const char* good : {"scheduler: {addrs: [\"s:8002\", \"[::1]:8002\", 10.0.0.1:8002]}",
                           "manager: {addr: \"http://m:65003\"}", "manager: {addr: \"https://m:65003/\"}",
                           "manager: {addr: \"m:65003\"}", "manager: {addr: \"\"}"})
    CHECK_MESSAGE(DaemonConfig::parse(good, "d.yaml"), good);
  for (const char* wrong :
       {"scheduler: {addrs: [s]}", "scheduler: {addrs: [\"http://s:8002\"]}",
        "scheduler: {addrs: [\"s:99999\"]}", "scheduler: 10.0.0.1:8002", "scheduler: {announceInterval: 300}",
        "dynconfig: {refreshInterval: 10ms}", "backend: {requestHeader: {\"a b\": c}}", "manager: {addr: m}",
        "manager: {addr: \"http://m\"}"})
    CHECK_MESSAGE(!DaemonConfig::parse(wrong, "d.yaml"), wrong);
  auto named = DaemonConfig::parse("scheduler:\n  addrs:\n    - s\n", "d.yaml");
  CHECK(named.error().message() == "d.yaml:2: scheduler.addrs: \"s\" is not host:port");
}

TEST_CASE("certificates come in threes") {
  CHECK(!DaemonConfig::parse("upload: {server: {caCert: /ca.pem}}", "d.yaml"));
  CHECK(DaemonConfig::parse("upload: {server: {caCert: /ca.pem, cert: /c.pem, key: /k.pem}}", "d.yaml"));
}

TEST_CASE("dynconfig.yaml names the schedulers of a daemon without a manager") {
  auto config = DynamicConfig::parse("scheduler:\n  addrs: [10.0.0.1:8002, 10.0.0.2:8002]\nnonsense: {}\n",
                                     "dynconfig.yaml");
  REQUIRE(config);
  CHECK(config->scheduler_addrs == std::vector<std::string>{"10.0.0.1:8002", "10.0.0.2:8002"});
  REQUIRE(config->warnings.size() == 1);
}

TEST_CASE("dynconfig.yaml says what is blocked") {
  auto config = DynamicConfig::parse(R"(
clientConfig:
  blockList:
    task:
      download: {applications: [a], urls: ["^http://x/"], tags: [t], priorities: [1]}
seedClientConfig:
  blockList:
    persistentCacheTask:
      upload: {tags: [huge]}
)",
                                     "dynconfig.yaml");
  REQUIRE_MESSAGE(config.ok(), (config ? "" : config.error().message()));
  CHECK(config->warnings.empty());
  const auto& rule = config->blocked_for(false)[static_cast<std::size_t>(api::Use::kDownload)];
  CHECK(rule.applications == std::vector<std::string>{"a"});
  CHECK(rule.urls == std::vector<std::string>{"^http://x/"});
  CHECK(rule.priorities == std::vector<std::uint8_t>{1});
  const auto& seeds = config->blocked_for(true)[static_cast<std::size_t>(api::Use::kPersistentCacheUpload)];
  CHECK(seeds.tags == std::vector<std::string>{"huge"});
  CHECK(!DynamicConfig::parse("clientConfig: {blockList: {task: {download: {urls: [\"(\"]}}}}", "d.yaml"));
}

TEST_CASE("how origins are reached: proxies, and certificates that belong together") {
  auto config = DaemonConfig::parse(R"(
backend:
  clientCert: /c.pem
  clientKey: /k.pem
  httpProxy: http://proxy:3128
  httpsProxy: proxy:3129
  noProxy: .svc,10.0.0.0/8
proxy:
  registryMirror:
    registries:
      - name: reg.test
        clientCert: /rc.pem
        clientKey: /rk.pem
)",
                                    "d.yaml");
  REQUIRE_MESSAGE(config.ok(), config.error().message());
  const auto& good = *config;
  CHECK(good.warnings.empty());
  CHECK(good.backend.client_cert == "/c.pem");
  CHECK(good.backend.https_proxy == "proxy:3129");
  CHECK(good.backend.no_proxy == ".svc,10.0.0.0/8");
  CHECK(good.proxy.registries.at(0).client_key == "/rk.pem");
  for (auto half : {"backend: {clientKey: /k.pem}", "backend: {clientCert: /c.pem}",
                    "proxy: {registryMirror: {registries: [{name: a.test, clientCert: /c.pem}]}}"})
    CHECK_MESSAGE(!DaemonConfig::parse(half, "d.yaml"), half);
}
