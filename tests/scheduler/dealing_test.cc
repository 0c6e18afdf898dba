// A seed is told to whom of a herd it deals before they hear of it.
#include "api/dealing.h"
#include "api/methods.h"
#include "cluster.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

constexpr int kHosts = 50;
const std::string kTask = task_id_for('a');

api::common::Download large(const Daemon& daemon) {
  auto download = daemon.download();
  download.set_actual_content_length(std::uint64_t{10} << 30);
  download.set_actual_piece_length(32 << 20);
  download.set_actual_piece_count(320);
  return download;
}

// A cluster with a seed of ours that has everything, and does what the test says when it is told to deal.
struct HerdCluster {
  explicit HerdCluster(sim::Simulation& sim) : cluster(sim) {}

  Task<void> start(sim::Simulation& sim) {
    auto making = cluster.daemon("seed", true, true);
    seed = co_await making;
    server = std::make_unique<grpc::Server>(seed->machine());
    if (deals) {
      server->unary<api::dealing::DealRequest, api::dealing::DealResponse>(
          std::string(api::method::dealing::kDeal),
          [this, &sim](grpc::ServerCall&, api::dealing::DealRequest request) { return deal(sim, request); });
    }
    const auto listening = server->listen(seed->machine().address(4000));
    CHECK(listening.ok());
    auto download = large(*seed);
    download.set_need_back_to_source(true);
    MUST(seed_stream, seed->open(kTask, download));
    MUST(auto told, seed_stream->read(10s));
    CHECK(told);
    DONE(seed_stream->source_started());
    DONE(seed_stream->source_finished());
    for (int i = 0; i < kHosts; ++i) {
      auto adding = cluster.daemon("h" + std::to_string(i));
      hosts.push_back(co_await adding);
    }
  }
  Task<Result<api::dealing::DealResponse>> deal(sim::Simulation& sim, api::dealing::DealRequest request) {
    CHECK(request.task_id() == kTask);
    (request.later() ? later : dealt).push_back(request.host_id());
    co_await sleep_for(takes);
    answered_at = sim.now();
    co_return api::dealing::DealResponse{};
  }
  Task<void> come(int from, int end) {
    for (int i = from; i < end; ++i) {
      auto& host = *hosts[static_cast<std::size_t>(i)];
      MUST(auto stream, host.open(kTask, large(host)));
      streams.push_back(std::move(stream));
    }
  }

  TestCluster cluster;
  bool deals = true;
  Duration takes = 1ms;
  std::unique_ptr<Daemon> seed;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<DownloadStream> seed_stream;
  std::vector<std::unique_ptr<Daemon>> hosts;
  std::vector<std::unique_ptr<DownloadStream>> streams;
  std::vector<std::string> dealt, later;
  TimePoint answered_at{};
};

}  // namespace

SCHEDULER_TEST("a seed hears of those to whom it deals before they hear of it") {
  HerdCluster herd(sim);
  auto starting = herd.start(sim);
  co_await starting;
  auto coming = herd.come(0, 40);
  co_await coming;
  int with_seed = 0;
  for (auto& stream : herd.streams) {
    MUST(auto told, stream->read(10s));
    REQUIRE(told);
    for (const auto& parent : told->normal_task_response().candidate_parents()) {
      if (parent.host().id() != herd.seed->host_id()) continue;
      ++with_seed;
      CHECK(herd.answered_at != TimePoint{});
    }
  }
  CHECK(herd.dealt.size() == 2);
  CHECK(herd.dealt.front() != herd.dealt.back());
  CHECK(herd.dealt.size() + herd.later.size() == static_cast<std::size_t>(with_seed));
  CHECK(herd.later.size() == 38);  // nobody is farther from the roots than that
}

SCHEDULER_TEST("a seed that does not answer does not keep a herd from its parents") {
  HerdCluster herd(sim);
  herd.takes = 1h;
  auto starting = herd.start(sim);
  co_await starting;
  auto coming = herd.come(0, 40);
  co_await coming;
  const auto began = sim.now();
  for (auto& stream : herd.streams) {
    MUST(auto told, stream->read(10s));
    CHECK(told);
  }
  CHECK(sim.now() - began < 1s);
  CHECK(herd.dealt.size() == 2);
}

SCHEDULER_TEST("a seed that does not know how to deal is asked once") {
  HerdCluster herd(sim);
  herd.deals = false;
  auto starting = herd.start(sim);
  co_await starting;
  auto coming = herd.come(0, 20);
  co_await coming;
  for (auto& stream : herd.streams) {
    MUST(auto told, stream->read(10s));
    CHECK(told);
  }
  // Who comes now does not wait for others.
  const auto began = sim.now();
  auto more = herd.come(20, 50);
  co_await more;
  MUST(auto told, herd.streams[20]->read(10s));
  CHECK(told);
  CHECK(sim.now() - began < 15ms);
}
