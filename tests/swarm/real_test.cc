// The same over real sockets and files: what a simulation cannot know about the kernel.
#include "fixture.h"
#include "net/grpc/server.h"
#include "swarm/parent_watch.h"
#include "swarm/sync_service.h"

using namespace d7y;
using namespace d7y::swarm;

namespace {

constexpr std::uint64_t kPiece = 4_MiB;
const std::string kTask = an_id(5);

Address anywhere() { return Address::ipv4({127, 0, 0, 1}, 0); }

Task<void> fetch_into(TestPeer& child, DataAddress parent, store::TaskHandle task, std::uint32_t number,
                      std::vector<std::string>& failures) {
  auto fetching = fetch_piece(child, parent, task, number);
  auto fetched = co_await fetching;
  if (!fetched) failures.push_back(fetched.error().message());
}

Task<void> fetch_all(TestPeer& child, DataAddress parent, store::TaskHandle task) {
  Loop& loop = co_await this_loop();
  std::vector<std::string> failures;
  Scope scope(loop);
  for (std::uint32_t number = 0; number < *task->piece_count(); ++number) {
    if (!task->has(number)) scope.spawn(fetch_into(child, parent, task, number, failures));
  }
  must(co_await scope.idle(Deadline::never()));
  CHECK(failures.empty());
  for (const auto& failure : failures) MESSAGE(failure);
}

Task<void> d7y_to_d7y(world::World& world, std::string folder) {
  auto content = made_up(10 * kPiece - 12345);
  auto making_parent = make_peer(world, anywhere(), {}, {}, folder + "/parent");
  auto parent = co_await making_parent;
  auto making_child = make_peer(world, anywhere(), {}, {}, folder + "/child");
  auto child = co_await making_child;
  {
    auto stocking = stock(*parent, kTask, content, kPiece);
    auto theirs = co_await stocking;
    auto creating = store::make_task(*child->store, facts_of(kTask, content.size(), kPiece));
    auto ours = co_await creating;
    DataAddress from{parent->data, 0};
    auto first = fetch_piece(*child, from, ours, 3);
    must(co_await first);
    co_await fetch_all(*child, from, ours);
    CHECK(ours->has_everything());
    CHECK(store::stored_bytes(*ours, 0, content.size()) == content);
    auto finishing = ours->finish();
    must(co_await finishing);
  }
  child->pool.reset();
  auto draining = parent->server->drain(Deadline::in(5s, world.now()));
  must(co_await draining);
}

// A Rust child that takes its time, having half-closed at once.
Task<void> slow_rust_child(world::World& world, std::string folder) {
  auto content = made_up(kPiece);
  auto making = make_peer(world, anywhere(), {}, {}, folder + "/parent");
  auto parent = co_await making;
  auto stocking = stock(*parent, kTask, content, kPiece);
  auto task = co_await stocking;
  auto deadline = Deadline::in(20s, world.now());
  world::ConnectOptions small;
  small.receive_buffer = 16 * 1024;
  auto connecting = world.network().connect(parent->data, small, deadline);
  auto stream = must(co_await connecting);
  std::string request = rust_request(kTask, 0);
  auto writing = world::write_all(*stream, as_bytes(request), deadline);
  must(co_await writing);
  std::string header(6, '\0');
  auto reading_header = world::read_exactly(*stream, as_mutable_bytes(header), deadline);
  must(co_await reading_header);
  std::string metadata(big_endian(std::string_view(header).substr(2)), '\0');
  auto reading_metadata = world::read_exactly(*stream, as_mutable_bytes(metadata), deadline);
  must(co_await reading_metadata);
  stream->finish_writing();
  std::string body(kPiece, '\0');
  for (std::size_t at = 0; at < body.size(); at += 256 * 1024) {
    auto reading = world::read_exactly(*stream, as_mutable_bytes(body).subspan(at, 256 * 1024), deadline);
    must(co_await reading);
    co_await sleep_for(5ms);
  }
  CHECK(body == content);
  stream.reset();
  while (parent->server->stats().connections > 0) co_await sleep_for(1ms);
}

Task<void> d7y_from_rust(world::World& world, std::string folder) {
  auto content = made_up(6 * kPiece - 1);
  RustParent parent(world, anywhere(), kTask, content, kPiece);
  auto making = make_peer(world, anywhere(), {}, {}, folder + "/child");
  auto child = co_await making;
  auto creating = store::make_task(*child->store, facts_of(kTask, content.size(), kPiece));
  auto task = co_await creating;
  DataAddress from{parent.address(), 0};
  co_await fetch_all(*child, from, task);
  CHECK(store::stored_bytes(*task, 0, content.size()) == content);
  CHECK(parent.served == 6);
}

// Two peers behind a third one that still receives, followed by bitmaps.
Task<void> chain(world::World& world, std::string folder) {
  auto content = made_up(2 * kPiece);
  std::vector<std::unique_ptr<TestPeer>> peers;
  std::vector<store::TaskHandle> tasks;
  for (int i = 0; i < 3; ++i) {
    auto making = make_peer(world, anywhere(), {}, {}, fmt::format("{}/{}", folder, i));
    peers.push_back(co_await making);
    auto creating = store::make_task(*peers[i]->store, facts_of(kTask, content.size(), kPiece));
    tasks.push_back(co_await creating);
  }
  NetworkMeterOptions measuring;
  measuring.ip = "127.0.0.1";
  NetworkMeter meter(world, measuring);
  SyncServiceOptions telling;
  telling.advertised_ip = "127.0.0.1";
  telling.tcp_port = peers[0]->data.port();
  SyncService sync(world, *peers[0]->store, meter, telling, Log());
  grpc::Server server(world);
  sync.attach(server);
  Candidate candidate;
  candidate.peer_id = "first";
  candidate.host_id = "first-host";
  candidate.upload = must(server.listen(anywhere()));

  WatchOptions watching;
  watching.host_id = "second-host";
  watching.task_id = kTask;
  watching.wanted = {0, 1};
  watching.piece_length = kPiece;
  watching.content_length = content.size();
  ParentWatch watch(*peers[1]->pool, candidate, watching, Log());
  auto deadline = Deadline::in(20s, world.now());
  while (watch.state() == ParentWatch::State::kAsking) must(co_await watch.changed().wait(deadline));
  CHECK(watch.d7y());

  auto claim = store::claim_of(*tasks[0], 1);
  auto bytes = store::part_of(content, *tasks[0], 1);
  must(claim.write(as_bytes(bytes.substr(0, 1_MiB))));
  while (watch.has(1) != Availability::kArriving) must(co_await watch.changed().wait(deadline));

  Loop& loop = co_await this_loop();
  std::vector<std::string> failures;
  Scope scope(loop);
  scope.spawn(fetch_into(*peers[1], watch.data(), tasks[1], 1, failures));
  co_await sleep_for(20ms);
  scope.spawn(fetch_into(*peers[2], {peers[1]->data, vortex::kOurAbilities}, tasks[2], 1, failures));
  co_await sleep_for(20ms);
  // The last of the chain has the first half although the first peer lacks the second.
  {
    auto view = must(tasks[2]->view(1));
    must(co_await view.more(0, deadline));
    CHECK(view.available() > 0);
    CHECK(!view.complete());
  }
  for (std::size_t at = 1_MiB; at < bytes.size(); at += 512 * 1024) {
    must(claim.write(as_bytes(bytes.substr(at, 512 * 1024))));
    co_await sleep_for(1ms);
  }
  store::PieceOrigin origin;
  must(claim.complete(std::move(origin)));
  must(co_await scope.idle(deadline));
  CHECK(failures.empty());
  CHECK(store::stored_piece(*tasks[2], 1) == bytes);
  while (watch.has(1) != Availability::kComplete) must(co_await watch.changed().wait(deadline));
}

// Closing with unread bytes resets a connection; this must never destroy an answer.
Task<void> resets(world::World& world, std::string folder) {
  auto content = made_up(2 * kPiece);
  auto making = make_peer(world, anywhere(), {}, {}, folder + "/parent");
  auto parent = co_await making;
  auto stocking = stock(*parent, kTask, content, kPiece);
  auto task = co_await stocking;
  auto deadline = Deadline::in(20s, world.now());
  for (int round = 0; round < 20; ++round) {
    // A child that vanishes in the middle of its piece.
    auto connecting = world.network().connect(parent->data, world::ConnectOptions{}, deadline);
    auto stream = must(co_await connecting);
    std::string request = rust_request(kTask, 0);
    auto writing = world::write_all(*stream, as_bytes(request), deadline);
    must(co_await writing);
    std::string some(5000, '\0');
    auto reading = world::read_exactly(*stream, as_mutable_bytes(some), deadline);
    must(co_await reading);
    if (round % 2 == 0) stream->abort();
  }
  while (parent->server->stats().connections > 0) co_await sleep_for(1ms);
  auto fetching = rust_fetch(world, parent->data, rust_request(kTask, 1), kPiece, deadline);
  CHECK(must(co_await fetching).body == content.substr(kPiece));
}

}  // namespace

TEST_CASE("real sockets: a file goes from one d7y peer to another") { store::run_real(d7y_to_d7y); }
TEST_CASE("real sockets: a Rust child reads slowly behind its half-close") {
  store::run_real(slow_rust_child);
}
TEST_CASE("real sockets: a file comes from a Rust parent, one connection a piece") {
  store::run_real(d7y_from_rust);
}
TEST_CASE("real sockets: bytes run through a chain of three while they arrive") { store::run_real(chain); }
TEST_CASE("real sockets: children that vanish leave nothing behind") { store::run_real(resets); }
