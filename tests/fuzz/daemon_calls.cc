// Arbitrary messages into every handler of a whole daemon: its own users' service over the Unix socket, other
// machines' service over TCP, health and reflection. It answers all of them in time, serves on, and stops.
#include <array>
#include <map>

#include "api/methods.h"
#include "calls.h"
#include "node/node.h"
#include "sim/origin.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

constexpr std::array kMethods = {
    api::method::download::kDownloadTask,
    api::method::download::kStatTask,
    api::method::download::kStatLocalTask,
    api::method::download::kListLocalTasks,
    api::method::download::kListTaskEntries,
    api::method::download::kDeleteTask,
    api::method::download::kDeleteLocalTask,
    api::method::download::kDeleteHost,
    api::method::upload::kDownloadTask,
    api::method::upload::kStatTask,
    api::method::upload::kStatLocalTask,
    api::method::upload::kListTaskEntries,
    api::method::upload::kDeleteTask,
    api::method::upload::kSyncPieces,
    api::method::upload::kSyncHost,
    std::string_view("/grpc.health.v1.Health/Check"),
    std::string_view("/grpc.health.v1.Health/Watch"),
    std::string_view("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    api::method::download::kUploadPersistentCacheTask,
    api::method::download::kDownloadPersistentCacheTask,
    api::method::download::kStatPersistentCacheTask,
    api::method::download::kStatLocalPersistentCacheTask,
    api::method::download::kListLocalPersistentCacheTasks,
    api::method::upload::kDownloadPersistentCacheTask,
    api::method::upload::kUpdatePersistentCacheTask,
    api::method::upload::kStatPersistentCacheTask,
    api::method::upload::kDeletePersistentCacheTask,
    api::method::upload::kSyncPersistentCachePieces,
    api::method::dealing::kDeal,
};

struct Daemon {
  explicit Daemon(sim::Host& where) : host(where) {}
  Task<void> live() {
    Metrics metrics;
    node::NodeOptions options;
    options.config.storage.dir = "/var/lib/d7y";
    options.dynconfig_path.clear();
    auto opened = co_await node::Node::open(host, std::move(options), metrics, Log());
    fuzz::must(opened.ok());
    auto node = std::move(*opened);
    ready = true;
    while (!stop) {
      auto woken = co_await stopping.wait(Deadline::never());
      if (!woken) co_return;
    }
    auto drained = co_await node->drain(Deadline::in(30s, host.now()));
    fuzz::must(drained.ok());
    co_await node->close();
    node.reset();
    stopped = true;
  }
  sim::Host& host;
  bool ready = false, stop = false, stopped = false;
  Signal stopping;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto calls = fuzz::calls_in(data, size, 8);
  sim::Simulation simulation(1);
  auto& origin_host = simulation.add_host({.name = "origin"});
  auto& host = simulation.add_host({.name = "daemon"});
  auto& client = simulation.add_host({.name = "client"});
  sim::Origin origin(origin_host);
  origin.serve("/a", sim::random_bytes(100'000));
  Daemon daemon(host);
  host.spawn(daemon.live());
  fuzz::must(simulation.run_until([&] { return daemon.ready; }, 30s));
  {
    auto socket = Address::unix_socket("/var/run/dragonfly/dfdaemon.sock");
    grpc::Channel local(host, socket);
    grpc::Channel remote(client, host.address(4000));
    Scope own(host.loop()), others(client.loop());
    int open = 0;
    for (auto& each : calls) {
      auto method = std::string(kMethods[each.choice % kMethods.size()]);
      bool is_local = method.starts_with("/dfdaemon.v2.DfdaemonDownload");
      ++open;
      std::vector<std::string> messages{std::move(each.message)};
      auto& scope = is_local ? own : others;
      auto& channel = is_local ? local : remote;
      auto deadline = Deadline::in(20s, simulation.now());
      scope.spawn(fuzz::call(channel, std::move(method), std::move(messages), deadline, open));
    }
    fuzz::must(simulation.run_until([&] { return open == 0; }, 60s));
  }
  daemon.stop = true;
  daemon.stopping.notify_all();
  fuzz::must(simulation.run_until([&] { return daemon.stopped; }, 120s));
  simulation.run_for(5s);
  fuzz::must(host.leaks().empty());
  origin_host.kill();
  return 0;
}
