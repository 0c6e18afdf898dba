// Arbitrary messages into every handler of a whole scheduler. Streams carry several: neighbours
// in the list with the same choice go over one stream. It answers, and its books are right.
#include <array>

#include "api/methods.h"
#include "calls.h"
#include "scheduler/node.h"
#include "scheduler/service.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

constexpr std::array kMethods = {
    api::method::scheduler::kAnnounceHost,
    api::method::scheduler::kAnnouncePeer,
    api::method::scheduler::kStatPeer,
    api::method::scheduler::kDeletePeer,
    api::method::scheduler::kStatTask,
    api::method::scheduler::kDeleteTask,
    api::method::scheduler::kListHosts,
    api::method::scheduler::kDeleteHost,
    std::string_view("/grpc.health.v1.Health/Check"),
    std::string_view("/grpc.health.v1.Health/Watch"),
    std::string_view("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    api::method::origins::kStatOrigin,
};

bool streams(std::string_view method) {
  return method == api::method::scheduler::kAnnouncePeer || method == api::method::origins::kStatOrigin;
}

Task<void> live(sim::Host& host, d7y::scheduler::SchedulerNode*& running) {
  Metrics metrics;
  auto opened = d7y::scheduler::SchedulerNode::open(host, d7y::scheduler::SchedulerConfig(), Log(), metrics);
  fuzz::must(opened.ok());
  auto node = std::move(*opened);
  running = node.get();
  Signal never;
  auto woken = co_await never.wait(Deadline::never());
  (void)woken;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto calls = fuzz::calls_in(data, size, 32);
  sim::Simulation simulation(1);
  auto& host = simulation.add_host({.name = "scheduler"});
  auto& client = simulation.add_host({.name = "client"});
  d7y::scheduler::SchedulerNode* scheduler = nullptr;
  host.spawn(live(host, scheduler));
  fuzz::must(simulation.run_until([&] { return scheduler != nullptr; }, 30s));
  {
    grpc::Channel channel(client, host.address(8002));
    Scope scope(client.loop());
    int open = 0;
    for (std::size_t i = 0; i < calls.size();) {
      auto choice = calls[i].choice;
      auto method = std::string(kMethods[choice % kMethods.size()]);
      std::vector<std::string> messages;
      do {
        messages.push_back(std::move(calls[i++].message));
      } while (streams(method) && i < calls.size() && calls[i].choice == choice);
      ++open;
      auto deadline = Deadline::in(20s, simulation.now());
      scope.spawn(fuzz::call(channel, std::move(method), std::move(messages), deadline, open));
      // Choices above 127 wait for an answer, so that later calls find what earlier ones left.
      if (choice > 127) simulation.run_for(10ms);
    }
    fuzz::must(simulation.run_until([&] { return open == 0; }, 60s));
    fuzz::must(scheduler->service().brain().check(host.now()).empty());
  }
  simulation.run_for(5s);
  fuzz::must(scheduler->service().brain().check(host.now()).empty());
  fuzz::must(scheduler->service().brain().waiting() == 0);
  host.kill();
  simulation.run_for(1s);
  fuzz::must(host.leaks().empty());
  return 0;
}
