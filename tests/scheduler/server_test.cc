// The scheduler as daemons meet it: over gRPC, in a simulated network.
#include <algorithm>

#include "cluster.h"
#include "net/grpc/status.h"
#include "net/http/client.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

const std::string kTask = task_id_for('a');

bool is_source(const std::optional<Answer>& answer) {
  return answer && answer->has_need_back_to_source_response();
}
bool is_normal(const std::optional<Answer>& answer) { return answer && answer->has_normal_task_response(); }

template <class Response, class Request>
Task<Result<Response>> ask(Daemon& daemon, std::string_view path, Request request) {
  auto calling = daemon.channel().unary<Response>(path, request);
  co_return co_await calling;
}

api::scheduler::StatTaskRequest stat_task(const Daemon& daemon) {
  api::scheduler::StatTaskRequest request;
  request.set_host_id(daemon.host_id());
  request.set_task_id(kTask);
  return request;
}

}  // namespace

SCHEDULER_TEST("one peer reads the origin, the next gets it as a parent, and both streams end with OK") {
  TestCluster cluster(sim);
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;

  MUST(auto first, a->open(kTask));
  MUST(auto told, first->read());
  CHECK(is_source(told));
  DONE(first->source_started());
  MUST(auto second, b->open(kTask));
  MUST(auto answer, second->read());
  REQUIRE(is_normal(answer));
  const auto& parents = answer->normal_task_response().candidate_parents();
  REQUIRE(parents.size() == 1);
  const auto& parent = parents[0];
  // All that an unmodified client reads, and all that a Go scheduler would check when it is echoed.
  CHECK(parent.id() == first->peer_id());
  CHECK(parent.host().id() == a->host_id());
  CHECK(parent.host().ip() == a->machine().addresses().front().ip());
  CHECK(parent.host().port() == 4000);
  CHECK(parent.host().network().max_tx_bandwidth() == 10'000'000'000);
  CHECK(parent.state() == "BackToSource");
  CHECK(parent.task().id() == kTask);
  CHECK(parent.task().content_length() == 100 << 20);
  const auto valid = api::validate(parent);
  CHECK_MESSAGE(valid.ok(), (valid ? "" : valid.error().message()));
  // And nothing of the first one's secrets.
  CHECK(parent.SerializeAsString().find("secret") == std::string::npos);
  CHECK(parent.task().request_header().empty());

  DONE(second->started());
  DONE(first->piece(0, ""));
  DONE(second->piece(0, first->peer_id()));
  DONE(first->source_finished());
  MUST(auto first_end, first->read());
  CHECK_FALSE(first_end);
  DONE(second->finished());
  MUST(auto second_end, second->read());
  CHECK_FALSE(second_end);

  MUST(auto task, ask<api::common::Task>(*a, api::method::scheduler::kStatTask, stat_task(*a)));
  CHECK(task.state() == "Succeeded");
  CHECK(task.peer_count() == 2);
  CHECK(task.has_available_peer());
  REQUIRE(task.pieces_size() == 1);
  CHECK(task.pieces(0).digest() == "crc32:907060870");
  CHECK(cluster.brain().check(cluster.machine().now()) == "");
}

SCHEDULER_TEST("a peer whose machine vanishes is lost within a minute") {
  TestCluster cluster(sim);
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  MUST(auto stream, a->open(kTask));
  MUST(auto told, stream->read());
  CHECK(is_source(told));
  DONE(stream->source_started());
  api::scheduler::StatPeerRequest stat;
  stat.set_host_id(a->host_id());
  stat.set_task_id(kTask);
  stat.set_peer_id(stream->peer_id());
  co_await sleep_for(100s);  // quiet, but there
  MUST(auto quiet, ask<api::common::Peer>(*b, api::method::scheduler::kStatPeer, stat));
  CHECK(quiet.state() == "BackToSource");
  a->machine().power_off();
  co_await sleep_for(60s);
  MUST(auto lost, ask<api::common::Peer>(*b, api::method::scheduler::kStatPeer, stat));
  CHECK(lost.state() == "Failed");
}

SCHEDULER_TEST("response headers come at once, however long the answer takes") {
  TestCluster cluster(sim);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  auto download = a->download();
  download.set_disable_back_to_source(true);
  MUST(auto stream, a->open(kTask, download));
  const auto before = sim.now();
  DONE(stream->call().wait_headers());
  CHECK(sim.now() - before < 1s);
  auto reading = stream->read(7s);
  auto answer = co_await reading;
  CHECK(answer.failed_with(ErrorCode::kTimeout));
  auto waiting = stream->read(600s);
  auto verdict = co_await waiting;
  REQUIRE_FALSE(verdict.ok());
  CHECK(grpc::code_of(verdict.error()) == grpc::Code::kFailedPrecondition);
}

SCHEDULER_TEST("what breaks the conversation ends the stream with the status Go would give") {
  TestCluster cluster(sim);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  const auto code_after = [](Result<std::optional<Answer>> result) {
    return result ? grpc::Code::kOk : grpc::code_of(result.error());
  };
  {
    Daemon stranger(sim.add_host({}), cluster.node().address(), false);
    MUST(auto stream, stranger.open(kTask));
    auto reading = stream->read();
    CHECK(code_after(co_await reading) == grpc::Code::kNotFound);
  }
  {
    auto bad = a->download();
    bad.set_url("no url");
    MUST(auto stream, a->open(kTask, bad));
    auto reading = stream->read();
    auto result = co_await reading;
    CHECK(code_after(result ? Result<std::optional<Answer>>(std::nullopt) : result.error().clone()) ==
          grpc::Code::kInvalidArgument);
    CHECK(result.error().message().find("invalid Download.Url") != std::string::npos);
  }
  {
    MUST(auto stream, a->open(kTask));
    MUST(auto told, stream->read());
    CHECK(is_source(told));
    auto again = stream->envelope();
    *again.mutable_register_peer_request()->mutable_download() = a->download();
    DONE(stream->write(again));
    auto reading = stream->read();
    CHECK(code_after(co_await reading) == grpc::Code::kFailedPrecondition);
  }
  {
    MUST(auto stream, a->open(kTask));
    auto other = stream->envelope();
    other.set_peer_id("another");
    other.mutable_download_peer_started_request();
    DONE(stream->write(other));
    auto reading = stream->read();
    auto result = co_await reading;
    if (result && *result) {  // the answer to the registration came first
      auto more = stream->read();
      result = co_await more;
    }
    CHECK(code_after(std::move(result)) == grpc::Code::kInvalidArgument);
  }
  {
    auto call = a->channel().bidi<Announce, Answer>(api::method::scheduler::kAnnouncePeer);
    DownloadStream stream(a->machine(), std::move(call), a->host_id(), kTask, "never-registered");
    DONE(stream.started());
    auto reading = stream.read();
    CHECK(code_after(co_await reading) == grpc::Code::kNotFound);
  }
  {
    // A half-close is a quiet end.
    MUST(auto stream, a->open(task_id_for('b')));
    MUST(auto told, stream->read());
    CHECK(is_source(told));
    stream->call().finish_writing();
    MUST(auto end, stream->read());
    CHECK_FALSE(end);
  }
  CHECK(cluster.brain().check(cluster.machine().now()) == "");
}

SCHEDULER_TEST(
    "a cold herd triggers the seed once, with the download as it was, and nobody else reads the origin") {
  TestCluster cluster(sim);
  auto making_seed = cluster.daemon("seed", true);
  auto seed = co_await making_seed;
  std::unique_ptr<DownloadStream> seed_stream;
  Scope seed_work(seed->machine().loop());
  struct Seeding {
    static Task<Result<void>> run(Daemon& seed, std::unique_ptr<DownloadStream>& stream,
                                  api::dfdaemon::DownloadTaskRequest request) {
      co_await sleep_for(2s);  // the origin is slow
      auto opening = seed.open(kTask, request.download());
      CO_TRY(stream, co_await opening);
      auto reading = stream->read();
      CO_TRY(auto answer, co_await reading);
      CHECK(is_source(answer));
      auto starting = stream->source_started();
      CO_OK(co_await starting);
      co_await sleep_for(3600s);
      co_return Result<void>{};
    }
  };
  FakeSeed server(seed->machine(), [&](api::dfdaemon::DownloadTaskRequest request) {
    return Seeding::run(*seed, seed_stream, std::move(request));
  });

  constexpr int kPeers = 30;
  std::vector<std::unique_ptr<Daemon>> daemons;
  std::vector<std::unique_ptr<DownloadStream>> streams;
  for (int i = 0; i < kPeers; ++i) {
    auto making = cluster.daemon("peer" + std::to_string(i));
    daemons.push_back(co_await making);
  }
  auto download = daemons[0]->download();
  // A field that only newer versions know.
  REQUIRE(download.MergeFromString(std::string("\x92\x02\x03\x0a\x01t", 6)));
  for (auto& daemon : daemons) {
    MUST(auto stream, daemon->open(kTask, download));
    streams.push_back(std::move(stream));
  }
  const auto began = sim.now();
  int normal = 0, source = 0;
  for (auto& stream : streams) {
    MUST(auto answer, stream->read(20s));
    normal += is_normal(answer);
    source += is_source(answer);
    if (is_normal(answer)) DONE(stream->started());
  }
  CHECK(normal == kPeers);
  CHECK(source == 0);
  CHECK(sim.now() - began < 10s);
  REQUIRE(server.requests.size() == 1);
  const auto& asked = server.requests[0].download();
  CHECK(asked.need_back_to_source());
  CHECK_FALSE(asked.has_output_path());
  CHECK(asked.url() == download.url());
  CHECK(asked.request_header().at("Authorization") == "Bearer secret");
  CHECK(asked.SerializeAsString().find(std::string("\x92\x02\x03\x0a\x01t", 6)) != std::string::npos);
  CHECK(cluster.brain().check(cluster.machine().now()) == "");
}

TEST_CASE("a seed is asked for the range that is waited for, not for one that another child wanted") {
  api::common::Download download;
  download.mutable_range()->set_start(100);
  download.mutable_range()->set_length(50);
  (*download.mutable_request_header())["range"] = "bytes=100-149";
  (*download.mutable_request_header())["Accept"] = "*/*";
  TaskRecord task;
  task.download = download.SerializeAsString();
  const auto asked = [&](std::uint64_t start, std::uint64_t length) {
    TriggerSeed trigger;
    trigger.range_start = start;
    trigger.range_length = length;
    return seed_request(task, trigger).download();
  };
  CHECK(asked(100, 50).range().start() == 100);
  CHECK(asked(100, 50).request_header().contains("range"));
  CHECK(asked(300, 50).range().start() == 300);
  CHECK_FALSE(asked(300, 50).request_header().contains("range"));
  CHECK_FALSE(asked(0, 0).has_range());
  CHECK_FALSE(asked(0, 0).request_header().contains("range"));
  CHECK(asked(0, 0).request_header().contains("Accept"));
  CHECK(asked(0, 0).need_back_to_source());
  CHECK_FALSE(asked(0, 0).disable_back_to_source());
  TriggerSeed second;
  second.from_peers = true;
  CHECK_FALSE(seed_request(task, second).download().need_back_to_source());
  CHECK(seed_request(task, second).download().disable_back_to_source());
}

SCHEDULER_TEST("a seed that is away costs a moment, then one peer reads the origin") {
  TestCluster cluster(sim);
  auto making_seed = cluster.daemon("seed", true);
  auto seed = co_await making_seed;  // announced, but nothing listens there
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  MUST(auto first, a->open(kTask));
  co_await sleep_for(100ms);
  MUST(auto second, b->open(kTask));
  MUST(auto told, first->read(10s));
  CHECK(is_source(told));
  DONE(first->source_started());
  MUST(auto parents, second->read(10s));
  CHECK(is_normal(parents));
}

SCHEDULER_TEST("a seed whose machine vanishes while it works is no seed within half a minute") {
  TestCluster cluster(sim);
  auto making_seed = cluster.daemon("seed", true);
  auto seed = co_await making_seed;
  struct Working {
    static Task<Result<void>> run() {
      co_await sleep_for(1h);
      co_return Result<void>{};
    }
  };
  FakeSeed server(seed->machine(), [](const api::dfdaemon::DownloadTaskRequest&) { return Working::run(); });
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  MUST(auto first, a->open(kTask));
  co_await sleep_for(1s);
  CHECK(server.requests.size() == 1);
  seed->machine().power_off();
  co_await sleep_for(25s);
  // Another task does not wait for it any more.
  MUST(auto second, b->open(task_id_for('v')));
  MUST(auto told, second->read(5s));
  CHECK(is_source(told));
}

SCHEDULER_TEST("an origin that says 404 to the seed is heard by each peer itself") {
  TestCluster cluster(sim);
  auto making_seed = cluster.daemon("seed", true);
  auto seed = co_await making_seed;
  struct Refusing {
    static Task<Result<void>> run() {
      co_return error(ErrorCode::kInternal, "origin")
          .with_details(R"({"message":"x","header":{},"status_code":404})");
    }
  };
  FakeSeed server(seed->machine(), [](const api::dfdaemon::DownloadTaskRequest&) { return Refusing::run(); });
  std::vector<std::unique_ptr<Daemon>> daemons;
  std::vector<std::unique_ptr<DownloadStream>> streams;
  for (int i = 0; i < 5; ++i) {
    auto making = cluster.daemon("peer" + std::to_string(i));
    daemons.push_back(co_await making);
  }
  for (auto& daemon : daemons) {
    MUST(auto stream, daemon->open(kTask));
    streams.push_back(std::move(stream));
  }
  struct Peer {
    // Asks the origin as it is told to, and hears the same.
    static Task<void> run(DownloadStream& stream, int& told) {
      MUST(auto answer, stream.read(5s));
      CHECK(is_source(answer));
      ++told;
      DONE(stream.source_started());
      auto failed = stream.envelope();
      failed.mutable_download_piece_back_to_source_failed_request()->mutable_backend()->set_status_code(404);
      DONE(stream.write(failed));
      failed = stream.envelope();
      failed.mutable_download_peer_back_to_source_failed_request();
      DONE(stream.write(failed));
    }
  };
  int told = 0;
  Scope peers(sim.loop());
  for (auto& stream : streams) peers.spawn(Peer::run(*stream, told));
  auto idle = peers.idle(Deadline::in(10s, sim.now()));
  auto ended = co_await idle;
  CHECK(ended.ok());
  CHECK(told == 5);
  CHECK(server.requests.size() == 1);
}

SCHEDULER_TEST("a daemon that vanishes is noticed at once, and whoever waits for it gets the token") {
  TestCluster cluster(sim);
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  MUST(auto first, a->open(kTask));
  MUST(auto told, first->read());
  CHECK(is_source(told));
  MUST(auto second, b->open(kTask));
  const auto id = first->peer_id();
  first.reset();  // RST_STREAM(CANCEL), as when a Rust client gives up
  MUST(auto next, second->read(2s));
  CHECK(is_source(next));
  const auto* lost = cluster.brain().peer(cluster.brain().find_peer(id));
  REQUIRE(lost != nullptr);
  CHECK(lost->state == PeerState::kFailed);
}

SCHEDULER_TEST("rescheduling gives others, with the whole list echoed back") {
  TestCluster cluster(sim);
  std::vector<std::unique_ptr<Daemon>> daemons;
  for (int i = 0; i < 3; ++i) {
    auto making = cluster.daemon("d" + std::to_string(i));
    daemons.push_back(co_await making);
  }
  MUST(auto first, daemons[0]->open(kTask));
  MUST(auto told, first->read());
  DONE(first->source_started());
  MUST(auto child, daemons[2]->open(kTask));
  MUST(auto answer, child->read());
  REQUIRE(is_normal(answer));
  DONE(child->started());
  auto download = daemons[1]->download();
  download.set_need_back_to_source(true);
  MUST(auto other, daemons[1]->open(kTask, download));
  MUST(auto told_too, other->read());
  CHECK(is_source(told_too));
  DONE(other->source_started());
  DONE(child->reschedule(*answer));
  MUST(auto better, child->read());
  REQUIRE(is_normal(better));
  CHECK(better->normal_task_response().candidate_parents(0).id() == other->peer_id());
}

SCHEDULER_TEST("our own clients are offered more parents while they download, Dragonfly's are not") {
  for (const bool ours : {true, false}) {
    TestCluster cluster(sim);
    std::vector<std::unique_ptr<Daemon>> daemons;
    for (int i = 0; i < 3; ++i) {
      auto making = cluster.daemon((ours ? "o" : "r") + std::to_string(i), false, ours);
      daemons.push_back(co_await making);
    }
    MUST(auto first, daemons[0]->open(kTask));
    MUST(auto told, first->read());
    DONE(first->source_started());
    MUST(auto early, daemons[1]->open(kTask));
    MUST(auto answer, early->read());
    CHECK(answer->normal_task_response().candidate_parents_size() == 1);
    DONE(early->started());
    co_await sleep_for(100ms);
    MUST(auto late, daemons[2]->open(kTask));
    MUST(auto both, late->read());
    // Dragonfly's takes all from one of those who have everything or read it.
    CHECK(both->normal_task_response().candidate_parents_size() == (ours ? 2 : 1));
    DONE(late->started());
    auto reading = early->read(30s);
    auto offer = co_await reading;
    if (ours) {
      REQUIRE(offer.ok());
      REQUIRE(is_normal(*offer));
      CHECK((*offer)->normal_task_response().candidate_parents_size() == 2);
    } else {
      CHECK(offer.failed_with(ErrorCode::kTimeout));
    }
  }
}

SCHEDULER_TEST("hosts are listed, forgotten and cleaned up with their peers") {
  TestCluster cluster(sim);
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_seed = cluster.daemon("s", true);
  auto seed = co_await making_seed;
  api::scheduler::ListHostsRequest list;
  MUST(auto all, ask<api::scheduler::ListHostsResponse>(*a, api::method::scheduler::kListHosts, list));
  CHECK(all.hosts_size() == 2);
  list.set_type(1);
  MUST(auto seeds, ask<api::scheduler::ListHostsResponse>(*a, api::method::scheduler::kListHosts, list));
  REQUIRE(seeds.hosts_size() == 1);
  CHECK(seeds.hosts(0).name() == "ns-s");
  CHECK(seeds.hosts(0).proxy_port() == 4001);
  CHECK(seeds.hosts(0).scheduler_cluster_id() == 1);
  list.set_type(2);
  MUST(auto none, ask<api::scheduler::ListHostsResponse>(*a, api::method::scheduler::kListHosts, list));
  CHECK(none.hosts_size() == 0);

  auto download = a->download();
  download.set_need_back_to_source(true);
  MUST(auto stream, a->open(kTask, download));
  MUST(auto told, stream->read());
  DONE(stream->source_started());
  DONE(stream->source_finished());
  MUST(auto end, stream->read());

  api::scheduler::StatPeerRequest stat;
  stat.set_host_id(a->host_id());
  stat.set_task_id(kTask);
  stat.set_peer_id(stream->peer_id());
  MUST(auto peer, ask<api::common::Peer>(*a, api::method::scheduler::kStatPeer, stat));
  CHECK(peer.state() == "Succeeded");
  CHECK(peer.host().cpu().logical_count() == 4);
  CHECK(api::validate(peer).ok());

  api::scheduler::DeleteTaskRequest drop;
  drop.set_host_id(a->host_id());
  drop.set_task_id(kTask);
  MUST(auto dropped, ask<api::Empty>(*a, api::method::scheduler::kDeleteTask, drop));
  auto asking = ask<api::common::Peer>(*a, api::method::scheduler::kStatPeer, stat);
  auto gone = co_await asking;
  REQUIRE_FALSE(gone.ok());
  CHECK(grpc::code_of(gone.error()) == grpc::Code::kNotFound);
  api::scheduler::DeletePeerRequest forget;
  forget.set_host_id("h");
  forget.set_task_id("t");
  forget.set_peer_id("p");
  MUST(auto forgotten, ask<api::Empty>(*a, api::method::scheduler::kDeletePeer, forget));

  api::scheduler::DeleteHostRequest leave;
  leave.set_host_id(a->host_id());
  MUST(auto left, ask<api::Empty>(*a, api::method::scheduler::kDeleteHost, leave));
  auto leaving = ask<api::Empty>(*a, api::method::scheduler::kDeleteHost, leave);
  auto twice = co_await leaving;
  REQUIRE_FALSE(twice.ok());
  CHECK(grpc::code_of(twice.error()) == grpc::Code::kNotFound);
  CHECK(cluster.brain().hosts().size() == 1);
}

SCHEDULER_TEST("an empty content and a complete copy have their own answers") {
  TestCluster cluster(sim);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  auto download = a->download();
  download.set_actual_content_length(0);
  download.set_actual_piece_count(0);
  MUST(auto stream, a->open(kTask, download));
  MUST(auto answer, stream->read());
  CHECK((answer && answer->has_empty_task_response()));
  DONE(stream->started());
  DONE(stream->finished());
  MUST(auto end, stream->read());
  CHECK_FALSE(end);

  auto copy = a->download();
  copy.set_metadata_only(true);
  MUST(auto second, a->open(task_id_for('b'), copy));
  MUST(auto noted, second->read());
  CHECK((noted && noted->has_metadata_only_response()));
  DONE(second->started());
  DONE(second->finished());
  MUST(auto over, second->read());
  CHECK_FALSE(over);
}

SCHEDULER_TEST("health answers under load, calls over the limit are told so, announcements never") {
  SchedulerConfig config;
  config.request_rate_limit = 5;
  TestCluster cluster(sim, config);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  int refused = 0;
  for (int i = 0; i < 30; ++i) {
    auto asking = ask<api::common::Task>(*a, api::method::scheduler::kStatTask, stat_task(*a));
    auto result = co_await asking;
    if (!result && grpc::code_of(result.error()) == grpc::Code::kResourceExhausted) ++refused;
    DONE(grpc::check_health(a->channel(), "", Deadline::in(2s, sim.now())));
    MUST(auto announced, a->announce());
  }
  CHECK(refused > 5);
  CHECK(refused < 30);
}

SCHEDULER_TEST("draining ends with idle connections and reports not serving") {
  SchedulerConfig config;
  config.metrics_enable = true;
  config.metrics_addr = ":0";
  TestCluster cluster(sim, config);
  REQUIRE(cluster.node().metrics_address());
  auto making = cluster.daemon("a");
  auto a = co_await making;
  MUST(auto stream, a->open(kTask));
  MUST(auto told, stream->read());
  auto draining = cluster.node().drain(Deadline::in(5s, sim.now()));
  auto drained = co_await draining;
  CHECK(drained.failed_with(ErrorCode::kTimeout));  // the stream was still open
  cluster.stop();
  CHECK(cluster.machine().leaks() == "");
}

namespace {

Task<void> drain_into(TestCluster& cluster, Deadline deadline, std::optional<Result<void>>& ended) {
  auto draining = cluster.node().drain(deadline);
  ended = co_await draining;
}

}  // namespace

SCHEDULER_TEST("draining waits for downloads that would go to the origin, and not long for ours") {
  TestCluster cluster(sim);
  auto making_foreign = cluster.daemon("foreign");
  auto foreign = co_await making_foreign;
  auto making_ours = cluster.daemon("ours", false, true);
  auto ours = co_await making_ours;
  MUST(auto kept, foreign->open(kTask));
  MUST(auto told_kept, kept->read());
  CHECK(is_source(told_kept));
  DONE(kept->source_started());
  MUST(auto let_go, ours->open(task_id_for('b')));
  MUST(auto told_let_go, let_go->read());
  CHECK(is_source(told_let_go));
  DONE(let_go->source_started());

  std::optional<Result<void>> ended;
  Scope draining(cluster.machine().loop());
  draining.spawn(drain_into(cluster, Deadline::in(600s, sim.now()), ended));
  co_await sleep_for(25s);
  CHECK_FALSE(ended);
  DONE(kept->source_finished());
  MUST(auto end_of_kept, kept->read());
  CHECK_FALSE(end_of_kept);
  auto reading = let_go->read(5s);
  auto end_of_ours = co_await reading;
  CHECK(end_of_ours.failed_with(ErrorCode::kUnavailable));
  co_await sleep_for(1s);
  REQUIRE(ended);
  CHECK(ended->ok());
}

SCHEDULER_TEST("draining lets our own clients go after a while") {
  TestCluster cluster(sim);
  auto making = cluster.daemon("ours", false, true);
  auto ours = co_await making;
  MUST(auto stream, ours->open(kTask));
  MUST(auto told, stream->read());
  CHECK(is_source(told));
  std::optional<Result<void>> ended;
  Scope draining(cluster.machine().loop());
  draining.spawn(drain_into(cluster, Deadline::in(600s, sim.now()), ended));
  co_await sleep_for(9s);
  CHECK_FALSE(ended);
  co_await sleep_for(3s);
  REQUIRE(ended);
  CHECK(ended->ok());
}

SCHEDULER_TEST("limits and priorities follow their file, and a broken file changes nothing") {
  sim::HostOptions options;
  options.name = "sched";
  auto& machine = sim.add_host(options);
  const auto write = [&](const std::string& text) {
    auto file = machine.files().open("/dynconfig.yaml", world::OpenMode::kCreate);
    REQUIRE(file.ok());
    CHECK((*file)->resize(0).ok());
    CHECK((*file)->write_at(0, as_bytes(text)).ok());
  };
  write("schedulerClusterConfig: {candidateParentLimit: 2}\n");
  SchedulerConfig config;
  config.listen_ip = machine.addresses().front().ip();
  config.dynconfig_path = "/dynconfig.yaml";
  Metrics metrics;
  auto opened = SchedulerNode::open(machine, config, machine.log(), metrics);
  REQUIRE(opened.ok());
  auto node = std::move(*opened);
  CHECK(node->service().brain().options().candidate_parents == 2);
  write("schedulerClusterConfig: {candidateParentLimit: 3}\n");
  co_await sleep_for(config.dynconfig_refresh + 1s);
  CHECK(node->service().brain().options().candidate_parents == 3);
  write("schedulerClusterConfig: {candidateParentLimit: many}\n");
  co_await sleep_for(config.dynconfig_refresh + 1s);
  CHECK(node->service().brain().options().candidate_parents == 3);
}
