// What parents tell about their pieces, and how children follow it.
#include "api/methods.h"
#include "fixture.h"
#include "net/grpc/channel.h"
#include "net/grpc/server.h"
#include "swarm/parent_watch.h"
#include "swarm/sync_service.h"

using namespace d7y;
using namespace d7y::swarm;
using api::dfdaemon::SyncPiecesRequest;
using api::dfdaemon::SyncPiecesResponse;

namespace {

constexpr std::uint64_t kPiece = 128 * 1024;
const std::string kTask = an_id(1);

// A peer with both of its servers.
struct Parent {
  std::unique_ptr<TestPeer> peer;
  std::unique_ptr<NetworkMeter> meter;
  std::unique_ptr<SyncService> sync;
  std::unique_ptr<grpc::Server> server;
  Address upload = Address::ipv4({}, 0);

  Candidate candidate() const {
    Candidate out;
    out.peer_id = "peer-of-" + upload.ip();
    out.host_id = upload.ip() + "-host";
    out.upload = upload;
    return out;
  }
};

Task<std::unique_ptr<Parent>> make_parent(sim::Host& host, bool extensions = true, bool deals = false) {
  auto parent = std::make_unique<Parent>();
  VortexServerOptions serving;
  serving.extensions = extensions;
  serving.deals = deals;
  auto making = make_peer(host, host.address(4005), serving);
  parent->peer = co_await making;
  auto ip = host.address(0).ip();
  NetworkMeterOptions measuring;
  measuring.ip = ip;
  parent->meter = std::make_unique<NetworkMeter>(host, measuring);
  SyncServiceOptions telling;
  telling.advertised_ip = ip;
  telling.tcp_port = 4005;
  telling.extensions = extensions;
  parent->sync = std::make_unique<SyncService>(host, *parent->peer->store, *parent->meter, telling, Log());
  parent->server = std::make_unique<grpc::Server>(host);
  parent->sync->attach(*parent->server);
  parent->upload = must(parent->server->listen(host.address(4000)));
  co_return parent;
}

SyncPiecesRequest wanting(std::vector<std::uint32_t> numbers, std::string task = kTask) {
  SyncPiecesRequest request;
  request.set_host_id("child-host");
  request.set_task_id(std::move(task));
  for (auto number : numbers) request.add_interested_piece_numbers(number);
  return request;
}

WatchOptions watching(std::vector<std::uint32_t> wanted, std::uint64_t content_length) {
  WatchOptions options;
  options.host_id = "child-host";
  options.task_id = kTask;
  options.wanted = std::move(wanted);
  options.piece_length = kPiece;
  options.content_length = content_length;
  return options;
}

Task<void> until(ParentWatch& watch, std::function<bool()> holds, Deadline deadline) {
  while (!holds()) {
    auto woken = co_await watch.changed().wait(deadline);
    if (!woken) {
      CHECK_MESSAGE(false, "what was waited for did not happen");
      co_return;
    }
  }
}

}  // namespace

SWARM_TEST("SyncPieces tells each wanted piece once, with ip and both ports, and ends when all are told") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  auto content = made_up(6 * kPiece - 5);
  auto stocking = stock(*parent->peer, kTask, content, kPiece, {4, 1, 5});
  auto task = co_await stocking;
  grpc::Channel channel(child, parent->upload);
  auto call = channel.server_stream<SyncPiecesResponse>(api::method::upload::kSyncPieces,
                                                        wanting({0, 1, 4, 5, 5, 999}));
  std::vector<std::uint32_t> numbers;
  for (int i = 0; i < 3; ++i) {
    auto reading = call.read();
    auto said = must(co_await reading);
    REQUIRE(said.has_value());
    numbers.push_back(said->number());
    CHECK(said->offset() == said->number() * kPiece);
    CHECK(said->length() == (said->number() == 5 ? kPiece - 5 : kPiece));
    CHECK(said->ip() == host.address(0).ip());
    CHECK(said->tcp_port() == 4005);
    CHECK(!said->has_quic_port());  // a child set to QUIC then asks the gRPC port over TCP
  }
  CHECK(numbers == std::vector<std::uint32_t>{1, 4, 5});
  // The others come as they are completed; one that does not exist keeps nothing from ending.
  must(store::put_piece(*task, 2, content));
  must(store::put_piece(*task, 0, content));
  auto reading = call.read();
  auto said = must(co_await reading);
  REQUIRE(said.has_value());
  CHECK(said->number() == 0);
  must(store::put_piece(*task, 3, content));
  auto ending = call.read();
  CHECK(!must(co_await ending).has_value());
}

SWARM_TEST("SyncPieces ends at once for a complete task, even if asked for more than there is") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  auto stocking = stock(*parent->peer, kTask, made_up(2 * kPiece), kPiece);
  auto task = co_await stocking;
  grpc::Channel channel(child, parent->upload);
  auto call = channel.server_stream<SyncPiecesResponse>(api::method::upload::kSyncPieces, wanting({1, 0, 7}));
  std::vector<std::uint32_t> numbers;
  for (;;) {
    auto reading = call.read();
    auto said = must(co_await reading);
    if (!said) break;
    numbers.push_back(said->number());
  }
  CHECK(numbers == std::vector<std::uint32_t>{1, 0});
}

SWARM_TEST("SyncPieces answers INTERNAL in the stream for a task that is not here or has failed") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  auto stocking = stock(*parent->peer, kTask, made_up(2 * kPiece), kPiece, {0});
  auto task = co_await stocking;
  grpc::Channel channel(child, parent->upload);
  for (auto request :
       {wanting({0}, an_id(9)), wanting({0}, "../../x"), wanting({0}, std::string(5000, 'a'))}) {
    auto call = channel.server_stream<SyncPiecesResponse>(api::method::upload::kSyncPieces, request);
    auto heading = call.wait_headers();
    must(co_await heading);
    auto reading = call.read();
    auto said = co_await reading;
    REQUIRE(!said.ok());
    CHECK(said.error().status() == static_cast<int>(grpc::Code::kInternal));
  }
  // One that fails while it is followed.
  auto call = channel.server_stream<SyncPiecesResponse>(api::method::upload::kSyncPieces, wanting({0, 1}));
  auto first = call.read();
  must(co_await first);
  task->fail(error(ErrorCode::kIo, "the origin is gone"));
  auto second = call.read();
  auto said = co_await second;
  REQUIRE(!said.ok());
  CHECK(said.error().status() == static_cast<int>(grpc::Code::kInternal));
  auto again = channel.server_stream<SyncPiecesResponse>(api::method::upload::kSyncPieces, wanting({0}));
  auto third = again.read();
  CHECK((co_await third).error().status() == static_cast<int>(grpc::Code::kInternal));
  // A persistent task is not asked for by the standard call, and the other way round.
  auto other =
      channel.server_stream<SyncPiecesResponse>(api::method::upload::kSyncPersistentPieces, wanting({0}));
  auto fourth = other.read();
  CHECK(!(co_await fourth).ok());
}

SWARM_TEST("SyncHost tells the network about once a second and nothing else, without end") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  grpc::Channel channel(child, parent->upload);
  api::dfdaemon::SyncHostRequest request;
  request.set_host_id("child");
  request.set_peer_id("peer");
  auto call = channel.server_stream<api::common::Host>(api::method::upload::kSyncHost, request);
  auto began = sim.now();
  for (int i = 0; i < 15; ++i) {
    auto reading = call.read();
    auto said = must(co_await reading);
    REQUIRE(said.has_value());
    CHECK(said->id().empty());
    CHECK(said->has_network());
    CHECK(said->network().max_tx_bandwidth() > 0);
    CHECK(said->network().tx_bandwidth() <= said->network().max_tx_bandwidth());
  }
  CHECK(sim.now() - began > 13s);
  CHECK(sim.now() - began < 17s);
}

SWARM_TEST("a Rust parent is followed by SyncPieces") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host, false);
  auto parent = co_await making;
  auto content = made_up(5 * kPiece);
  auto stocking = stock(*parent->peer, kTask, content, kPiece, {2});
  auto task = co_await stocking;
  ParentPool pool(child, {}, Log());
  ParentWatch watch(pool, parent->candidate(), watching({0, 1, 2, 3, 4}, content.size()), Log());
  CHECK(watch.state() == ParentWatch::State::kAsking);
  auto deadline = Deadline::in(30s, sim.now());
  auto first = until(watch, [&] { return watch.has(2) == Availability::kComplete; }, deadline);
  co_await first;
  CHECK(watch.state() == ParentWatch::State::kFollowing);
  CHECK(!watch.d7y());
  CHECK(watch.data().address == host.address(4005));
  CHECK(watch.has(0) == Availability::kNone);
  // Its host is followed as well.
  co_await sleep_for(3s);
  CHECK(watch.idle_tx() > 0);
  CHECK(watch.idle_tx() <= watch.parent().max_tx);
  must(store::put_all(*task, content));
  auto last = until(watch, [&] { return watch.state() == ParentWatch::State::kEnded; }, deadline);
  co_await last;
  CHECK(watch.complete().count() == 5);
  watch.retract(3);
  CHECK(watch.has(3) == Availability::kNone);
  CHECK(watch.complete().count() == 4);
  watch.lost(2);
  CHECK(watch.complete().count() == 3);
  CHECK(watch.state() == ParentWatch::State::kEnded);
  watch.lost(0);  // tasks are dropped whole
  CHECK(watch.complete().count() == 0);
  CHECK(watch.state() == ParentWatch::State::kFailed);
  CHECK(watch.failure()->code() == ErrorCode::kNotFound);
}

SWARM_TEST("a Rust parent that still announces pieces has not lost them all") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host, false);
  auto parent = co_await making;
  auto content = made_up(5 * kPiece);
  auto stocking = stock(*parent->peer, kTask, content, kPiece, {1, 2, 3});
  auto task = co_await stocking;
  ParentPool pool(child, {}, Log());
  ParentWatch watch(pool, parent->candidate(), watching({0, 1, 2, 3, 4}, content.size()), Log());
  auto some = until(watch, [&] { return watch.complete().count() == 3; }, Deadline::in(30s, sim.now()));
  co_await some;
  watch.lost(1);
  watch.lost(2);
  CHECK(watch.has(2) == Availability::kNone);
  CHECK(watch.has(3) == Availability::kComplete);
  CHECK(watch.state() == ParentWatch::State::kFollowing);
}

SWARM_TEST("a d7y seed that deletes what it has says so, and has nothing any more") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host, true, true);
  auto parent = co_await making;
  auto content = made_up(5 * kPiece);
  for (bool complete : {false, true}) {
    CAPTURE(complete);
    std::vector<std::uint32_t> some{1, 2};
    if (complete) some.clear();
    auto stocking = stock(*parent->peer, kTask, content, kPiece, some);
    auto task = co_await stocking;
    ParentPool pool(child, {}, Log());
    ParentWatch watch(pool, parent->candidate(), watching({0, 1, 2, 3, 4}, content.size()), Log());
    const std::size_t there = complete ? 5 : 2;
    const auto deadline = Deadline::in(30s, sim.now());
    auto known = until(watch, [&] { return watch.complete().count() == there; }, deadline);
    co_await known;
    must(parent->peer->store->remove(kTask));
    auto failed = until(watch, [&] { return watch.state() == ParentWatch::State::kFailed; }, deadline);
    co_await failed;
    CHECK(watch.complete().count() == 0);
    CHECK(watch.failure()->code() == ErrorCode::kNotFound);
  }
}

SWARM_TEST("a d7y parent is followed by bitmaps, pieces in flight included, and is known the next time") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  auto content = made_up(200 * kPiece);
  std::vector<std::uint32_t> early;
  for (std::uint32_t number = 50; number < 150; ++number) early.push_back(number);
  auto stocking = stock(*parent->peer, kTask, content, kPiece, early);
  auto task = co_await stocking;
  ParentPool pool(child, {}, Log());
  std::vector<std::uint32_t> all(200);
  for (std::uint32_t number = 0; number < 200; ++number) all[number] = number;
  ParentWatch watch(pool, parent->candidate(), watching(all, content.size()), Log());
  auto deadline = Deadline::in(60s, sim.now());
  auto first = until(watch, [&] { return watch.complete().count() == 100; }, deadline);
  co_await first;
  CHECK(watch.d7y());
  CHECK(watch.has(50) == Availability::kComplete);
  CHECK(watch.has(49) == Availability::kNone);
  CHECK(watch.content_length() == content.size());

  // Claimed is not arriving; the first byte makes it so.
  std::optional<store::PieceClaim> claim = store::claim_of(*task, 0);
  co_await sleep_for(1s);
  CHECK(watch.has(0) == Availability::kNone);
  must(claim->write(as_bytes(std::string_view(content).substr(0, 100))));
  must(claim->publish());
  auto arriving = until(watch, [&] { return watch.has(0) == Availability::kArriving; }, deadline);
  co_await arriving;
  claim.reset();
  auto lost = until(watch, [&] { return watch.has(0) == Availability::kNone; }, deadline);
  co_await lost;

  // A second download of the same parent needs no gRPC any more.
  parent->server.reset();
  ParentWatch second(pool, parent->candidate(), watching(all, content.size()), Log());
  auto known = until(second, [&] { return second.complete().count() == 100; }, deadline);
  co_await known;

  must(store::put_all(*task, content));
  auto last = until(watch, [&] { return watch.state() == ParentWatch::State::kEnded; }, deadline);
  co_await last;
  CHECK(watch.complete().count() == 200);
  CHECK(watch.arriving().count() == 0);
}

SWARM_TEST("a parent that has begun a moment later than its child is waited for") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  auto content = made_up(3 * kPiece);
  ParentPool pool(child, {}, Log());
  pool.remember(parent->upload, {host.address(4005), vortex::kOurAbilities});
  ParentWatch watch(pool, parent->candidate(), watching({0, 1, 2}, content.size()), Log());
  co_await sleep_for(500ms);
  auto stocking = stock(*parent->peer, kTask, content, kPiece);
  auto task = co_await stocking;
  auto deadline = Deadline::in(30s, sim.now());
  auto all = until(watch, [&] { return watch.state() == ParentWatch::State::kEnded; }, deadline);
  co_await all;
  CHECK(watch.complete().count() == 3);
}

SWARM_TEST("a parent without the task, or with another idea of it, fails the watch and says why") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  ParentPool pool(child, {}, Log());
  auto deadline = Deadline::in(60s, sim.now());
  {
    ParentWatch watch(pool, parent->candidate(), watching({0}, kPiece), Log());
    auto failed = until(watch, [&] { return watch.state() == ParentWatch::State::kFailed; }, deadline);
    co_await failed;
    REQUIRE(watch.failure() != nullptr);
    CHECK(watch.failure()->message().find("not") != std::string::npos);
  }
  auto stocking = stock(*parent->peer, kTask, made_up(3 * kPiece), kPiece);
  auto task = co_await stocking;
  ParentWatch watch(pool, parent->candidate(), watching({0}, 4 * kPiece), Log());
  auto failed = until(watch, [&] { return watch.state() == ParentWatch::State::kFailed; }, deadline);
  co_await failed;
  CHECK(watch.failure()->code() == ErrorCode::kProtocol);
}

SWARM_TEST("a parent that is not there fails the watch within seconds") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  ParentPool pool(child, {}, Log());
  Candidate nobody;
  nobody.peer_id = "nobody";
  nobody.upload = host.address(4000);
  auto began = sim.now();
  ParentWatch watch(pool, nobody, watching({0}, kPiece), Log());
  auto failed =
      until(watch, [&] { return watch.state() == ParentWatch::State::kFailed; }, Deadline::in(60s, began));
  co_await failed;
  CHECK(sim.now() - began < 20s);
}

SWARM_TEST("one subscription too many is told so and harms no other") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  VortexServerOptions few;
  few.max_subscriptions = 1;
  auto making = make_peer(host, host.address(4005), few);
  auto peer = co_await making;
  auto content = made_up(2 * kPiece);
  auto stocking = stock(*peer, kTask, content, kPiece, {0});
  auto task = co_await stocking;
  ParentPool pool(child, {}, Log());
  Candidate candidate;
  candidate.peer_id = "peer";
  candidate.upload = host.address(4000);
  pool.remember(candidate.upload, {peer->data, vortex::kOurAbilities});
  ParentWatch first(pool, candidate, watching({0, 1}, content.size()), Log());
  auto deadline = Deadline::in(60s, sim.now());
  auto following = until(first, [&] { return first.has(0) == Availability::kComplete; }, deadline);
  co_await following;
  {
    ParentWatch second(pool, candidate, watching({0, 1}, content.size()), Log());
    auto failed = until(second, [&] { return second.state() == ParentWatch::State::kFailed; }, deadline);
    co_await failed;
  }
  must(store::put_piece(*task, 1, content));
  auto ended = until(first, [&] { return first.state() == ParentWatch::State::kEnded; }, deadline);
  co_await ended;
}

SWARM_TEST("a parent that vanishes without a word is noticed while it is only watched") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  auto stocking = stock(*parent->peer, kTask, made_up(4 * kPiece), kPiece, {0});
  auto task = co_await stocking;
  ParentPool pool(child, {}, Log());
  ParentWatch watch(pool, parent->candidate(), watching({0, 1, 2, 3}, 4 * kPiece), Log());
  auto began = sim.now();
  auto first =
      until(watch, [&] { return watch.has(0) == Availability::kComplete; }, Deadline::in(60s, began));
  co_await first;
  sim.fabric().partition({&host}, {&child});
  began = sim.now();
  auto failed =
      until(watch, [&] { return watch.state() == ParentWatch::State::kFailed; }, Deadline::in(300s, began));
  co_await failed;
  CHECK(sim.now() - began < 60s);
}

SWARM_TEST("a broken connection to a d7y parent is taken up again") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_parent(host);
  auto parent = co_await making;
  auto content = made_up(4 * kPiece);
  auto stocking = stock(*parent->peer, kTask, content, kPiece, {0});
  auto task = co_await stocking;
  ParentPool pool(child, {}, Log());
  ParentWatch watch(pool, parent->candidate(), watching({0, 1, 2, 3}, content.size()), Log());
  auto deadline = Deadline::in(60s, sim.now());
  auto first = until(watch, [&] { return watch.has(0) == Availability::kComplete; }, deadline);
  co_await first;
  // The server's restart.
  parent->peer->server =
      std::make_unique<VortexServer>(host, *parent->peer->store, VortexServerOptions{}, Log());
  must(parent->peer->server->listen(host.address(4005)));
  must(store::put_all(*task, content));
  auto all = until(watch, [&] { return watch.state() == ParentWatch::State::kEnded; }, deadline);
  co_await all;
  CHECK(watch.complete().count() == 4);
}

SWARM_TEST("a parent that announces nonsense is not followed into it") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  grpc::Server server(host);
  std::function<void(SyncPiecesResponse&)> spoil;
  server.server_stream<SyncPiecesRequest, SyncPiecesResponse>(
      std::string(api::method::upload::kSyncPieces),
      [&spoil](grpc::ServerCall&, SyncPiecesRequest,
               grpc::Writer<SyncPiecesResponse>& out) -> Task<Result<void>> {
        for (std::uint32_t number : {1u, 5'000'000u, 0xffffffffu, 1u}) {
          SyncPiecesResponse response;
          response.set_number(number);
          response.set_ip("10.9.9.9");
          response.set_tcp_port(4005);
          spoil(response);
          auto writing = out.write(response);
          CO_OK(co_await writing);
        }
        co_await sleep_for(1s);
        co_return Result<void>{};
      });
  Candidate candidate;
  candidate.peer_id = "liar";
  candidate.upload = must(server.listen(host.address(4000)));
  ParentPool pool(child, {}, Log());
  auto deadline = Deadline::in(60s, sim.now());
  {
    spoil = [](SyncPiecesResponse&) {};
    ParentWatch watch(pool, candidate, watching({0, 1}, 2 * kPiece), Log());
    auto ended = until(watch, [&] { return watch.state() == ParentWatch::State::kEnded; }, deadline);
    co_await ended;
    CHECK(watch.complete().count() == 1);
  }
  for (int kind = 0; kind < 3; ++kind) {
    spoil = [kind](SyncPiecesResponse& response) {
      if (kind == 0) response.set_ip("not an ip");
      if (kind == 1) response.clear_tcp_port();
      if (kind == 2) response.set_tcp_port(70'000);
    };
    ParentWatch watch(pool, candidate, watching({0, 1}, 2 * kPiece), Log());
    auto failed = until(watch, [&] { return watch.state() == ParentWatch::State::kFailed; }, deadline);
    co_await failed;
    CHECK(watch.failure()->code() == ErrorCode::kProtocol);
  }
}
