// Pieces between peers: d7y and Dragonfly's, in all four combinations that matter.
#include "fixture.h"

#include "store/piece_view.h"

using namespace d7y;
using namespace d7y::swarm;

namespace {

constexpr std::uint64_t kPiece = 512 * 1024;
const std::string kTask = an_id(1);

// A peer with its task: a parent that has all of the content, a child that has nothing.
struct PeerWithTask {
  std::unique_ptr<TestPeer> peer;
  store::TaskHandle task;
};

Task<PeerWithTask> make_parent(sim::Host& host, std::string content,
                               VortexServerOptions serving = VortexServerOptions()) {
  PeerWithTask made;
  auto making = make_peer(host, host.address(4005), std::move(serving));
  made.peer = co_await making;
  auto stocking = stock(*made.peer, kTask, std::move(content), kPiece);
  made.task = co_await stocking;
  co_return made;
}

Task<PeerWithTask> make_child(sim::Host& host, std::uint64_t length,
                              ParentPoolOptions asking = ParentPoolOptions()) {
  PeerWithTask made;
  auto making = make_peer(host, host.address(4005), VortexServerOptions(), std::move(asking));
  made.peer = co_await making;
  auto creating = store::make_task(*made.peer->store, facts_of(kTask, length, kPiece));
  made.task = co_await creating;
  co_return made;
}

// A piece that arrives at `task` slowly, as from an origin.
Task<void> trickle(store::TaskHandle task, std::uint32_t number, std::string content, Duration step,
                   int parts) {
  auto claim = store::claim_of(*task, number);
  auto bytes = store::part_of(content, *task, number);
  auto part = (bytes.size() + parts - 1) / parts;
  for (std::size_t at = 0; at < bytes.size(); at += part) {
    co_await sleep_for(step);
    must(claim.write(as_bytes(bytes.substr(at, part))));
    must(claim.publish());
  }
  store::PieceOrigin origin;
  must(claim.complete(std::move(origin)));
}

}  // namespace

SWARM_TEST("what comes fast is received beside the loop") {
  constexpr std::uint64_t kLong = 4_MiB;
  auto& host = sim.add_host({.uplink = 0, .downlink = 0});
  auto& other = sim.add_host({.uplink = 0, .downlink = 0, .receives = true});
  auto making = make_peer(host, host.address(4005));
  auto parent = co_await making;
  auto making_child = make_peer(other, other.address(4005));
  auto child = co_await making_child;
  auto content = made_up(12 * kLong - 1000);
  auto stocking = stock(*parent, kTask, content, kLong);
  auto theirs = co_await stocking;
  auto creating = store::make_task(*child->store, facts_of(kTask, content.size(), kLong));
  auto ours = co_await creating;
  DataAddress from{parent->data, vortex::kOurAbilities};
  std::vector<Result<store::PieceInfo>> fetched;
  {
    Scope scope(sim.loop());
    for (std::uint32_t number = 0; number < 12; ++number)
      scope.spawn(fetch_into(*child, from, ours, number, fetched));
    // A loop that has much to do finds much when it looks.
    while (fetched.size() < 12) {
      other.burn(5ms);
      co_await sleep_for(6ms);
    }
  }
  for (const auto& piece : fetched) CHECK(piece.ok());
  CHECK(store::stored_bytes(*ours, 0, content.size()) == content);
  CHECK(child->store->stats().written == content.size());
  CHECK(dynamic_cast<sim::HostReceiver&>(*other.receiver()).started() > 0);
}

SWARM_TEST("a Rust child gets its piece although it half-closes as soon as it has the metadata") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_peer(host, host.address(4005));
  auto peer = co_await making;
  auto content = made_up(3 * kPiece - 1000);
  auto stocking = stock(*peer, kTask, content, kPiece);
  auto task = co_await stocking;

  for (std::uint32_t number = 0; number < 3; ++number) {
    auto expected = content.substr(number * kPiece, kPiece);
    auto fetching = rust_fetch(child, peer->data, rust_request(kTask, number), expected.size(),
                               Deadline::in(30s, sim.now()));
    auto answer = must(co_await fetching);
    CHECK(answer.tag == 1);
    CHECK(answer.body == expected);
    // Exactly the fields that a Rust child reads, at their places.
    auto metadata = std::string_view(answer.value).substr(4);
    CHECK(big_endian(answer.value.substr(0, 4)) == metadata.size());
    CHECK(big_endian(metadata.substr(0, 4)) == number);
    CHECK(big_endian(metadata.substr(4, 8)) == number * kPiece);
    CHECK(big_endian(metadata.substr(12, 8)) == expected.size());
    auto digest_length = big_endian(metadata.substr(20, 4));
    CHECK(metadata.substr(24, digest_length) == fmt::format("crc32:{}", crc32(as_bytes(expected))));
    auto rest = metadata.substr(24 + digest_length);
    CHECK(big_endian(rest.substr(0, 4)) == 8);
    CHECK(rest.substr(4, 8) == "parent-1");
    CHECK(rest[12] == 1);
  }
  // All connections end with their children.
  co_await sleep_for(5s);
  CHECK(peer->server->stats().connections == 0);
  CHECK(peer->server->stats().pieces == 3);
  CHECK(task->uploaded() == content.size());
}

SWARM_TEST("a Rust child that asks for what is not here gets Error NotFound, and nothing breaks") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_peer(host, host.address(4005));
  auto peer = co_await making;
  auto stocking = stock(*peer, kTask, made_up(4 * kPiece), kPiece, {1});
  auto task = co_await stocking;
  auto deadline = Deadline::in(30s, sim.now());
  for (auto request : {rust_request(kTask, 0), rust_request(kTask, 99), rust_request(kTask, 0xffffffff),
                       rust_request(an_id(77), 1), rust_request(std::string(64, '/'), 1),
                       rust_request(std::string("../../../../etc/passwd") + std::string(42, 'x'), 1),
                       rust_request(kTask, 1, 2), rust_request(kTask, 1, 4), rust_request(kTask, 1, 6)}) {
    auto fetching = rust_fetch(child, peer->data, request, 0, deadline);
    auto answer = must(co_await fetching);
    CHECK(answer.tag == 255);
    CHECK(answer.value.substr(0, 1) == "\x02");
    CHECK(answer.value.size() > 1);
  }
  auto fetching = rust_fetch(child, peer->data, rust_request(kTask, 1), kPiece, deadline);
  CHECK(must(co_await fetching).body.size() == kPiece);
}

SWARM_TEST("what is no request is hung up on") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_peer(host, host.address(4005));
  auto peer = co_await making;
  auto deadline = Deadline::in(30s, sim.now());
  for (std::string bytes : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\x00\x01\x00\x00\x00\x44", 6),
                            std::string("\x00\x00\xff\xff\xff\xff", 6)}) {
    auto connecting = child.network().connect(peer->data, world::ConnectOptions{}, deadline);
    auto stream = must(co_await connecting);
    auto writing = world::write_all(*stream, as_bytes(bytes), deadline);
    must(co_await writing);
    std::byte buffer[10];
    auto reading = world::read_some(*stream, buffer, deadline);
    auto got = co_await reading;
    CHECK((!got || *got == 0));
  }
  // And who says nothing at all is not waited for for ever.
  auto connecting = child.network().connect(peer->data, world::ConnectOptions{}, deadline);
  auto stream = must(co_await connecting);
  std::byte buffer[10];
  auto reading = world::read_some(*stream, buffer, Deadline::in(60s, sim.now()));
  auto got = co_await reading;
  CHECK((got.failed_with(ErrorCode::kReset) || (got && *got == 0)));
  CHECK(peer->server->stats().connections == 0);
}

SWARM_TEST("a Rust child waits for a piece in flight, because its digest goes first") {
  auto& host = sim.add_host();
  auto& child = sim.add_host();
  auto making = make_peer(host, host.address(4005));
  auto peer = co_await making;
  auto content = made_up(2 * kPiece);
  auto stocking = stock(*peer, kTask, content, kPiece, {1});
  auto task = co_await stocking;
  Scope scope(sim.loop());
  scope.spawn(trickle(task, 0, content, 1s, 5));
  co_await sleep_for(100ms);
  auto began = sim.now();
  auto fetching = rust_fetch(child, peer->data, rust_request(kTask, 0), kPiece, Deadline::in(30s, sim.now()));
  auto answer = must(co_await fetching);
  CHECK(answer.body == content.substr(0, kPiece));
  CHECK(sim.now() - began > 4s);
  must(co_await scope.idle(Deadline::never()));
}

SWARM_TEST("all pieces come from a Rust parent, one connection each, opened ahead") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(8 * kPiece - 77);
  RustParent parent(parent_host, parent_host.address(4005), kTask, content, kPiece);
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;

  std::vector<Result<store::PieceInfo>> results;
  Scope scope(sim.loop());
  for (std::uint32_t number = 0; number < 8; ++number) {
    scope.spawn(fetch_into(*peer, {parent.address(), 0}, task, number, results));
    if (number % 2 == 1) must(co_await scope.idle(Deadline::never()));
  }
  REQUIRE(results.size() == 8);
  for (auto& result : results) {
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message()));
    CHECK(result->parent == "parent-1");
    CHECK(result->traffic == store::Traffic::kRemotePeer);
  }
  CHECK(task->has_everything());
  CHECK(store::stored_bytes(*task, 0, content.size()) == content);
  CHECK(parent.served == 8);
  CHECK(parent.surplus == 0);
  // One for each piece, and at most the two that stand ready for more.
  CHECK(parent.connections >= 8);
  CHECK(parent.connections <= 10);
}

SWARM_TEST("a d7y parent is recognised by its first answer, and its connection kept") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(9 * kPiece);
  auto making_parent = make_parent(parent_host, content);
  auto [parent, theirs] = co_await making_parent;
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;

  auto fetching = fetch_piece(*peer, {parent->data, 0}, task, 0);
  must(co_await fetching);
  std::vector<Result<store::PieceInfo>> results;
  Scope scope(sim.loop());
  for (std::uint32_t number = 1; number < 9; ++number) {
    scope.spawn(fetch_into(*peer, {parent->data, 0}, task, number, results));
  }
  must(co_await scope.idle(Deadline::never()));
  for (auto& result : results) CHECK(result.ok());
  CHECK(store::stored_bytes(*task, 0, content.size()) == content);
  // The first one, perhaps a spare of it, and one more because eight requests are many.
  CHECK(peer->pool->stats().connections_opened <= 3);
  CHECK(parent->server->stats().pieces == 9);
}

SWARM_TEST("an urgent request goes beside another on a connection of its own") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(3 * kPiece);
  auto making_parent = make_parent(parent_host, content);
  auto [parent, theirs] = co_await making_parent;
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;
  const DataAddress from{parent->data, vortex::kOurAbilities};
  std::vector<Result<store::PieceInfo>> results;
  Scope scope(sim.loop());
  scope.spawn(fetch_into(*peer, from, task, 0, results));
  scope.spawn(fetch_into(*peer, from, task, 1, results));
  co_await sleep_for(1ms);
  CHECK(peer->pool->stats().connections_opened == 1);
  scope.spawn(fetch_into(*peer, from, task, 2, results, true));
  must(co_await scope.idle(Deadline::never()));
  CHECK(results.size() == 3);
  for (auto& result : results) CHECK(result.ok());
  CHECK(peer->pool->stats().connections_opened == 2);
  CHECK(store::stored_bytes(*task, 0, content.size()) == content);
}

SWARM_TEST("requests to a d7y parent are pipelined: many pieces cost few round trips") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  sim.fabric().set_link(parent_host, host, {.latency = 50ms, .jitter = 0ms, .loss = 0});
  const std::uint64_t small = 16 * 1024;
  auto content = made_up(16 * small);
  auto making_parent = make_peer(parent_host, parent_host.address(4005));
  auto parent = co_await making_parent;
  auto stocking = stock(*parent, kTask, content, small);
  auto theirs = co_await stocking;
  auto making = make_peer(host, host.address(4005));
  auto peer = co_await making;
  auto creating = store::make_task(*peer->store, facts_of(kTask, content.size(), small));
  auto task = co_await creating;
  auto began = sim.now();
  std::vector<Result<store::PieceInfo>> results;
  Scope scope(sim.loop());
  for (std::uint32_t number = 0; number < 16; ++number) {
    scope.spawn(fetch_into(*peer, {parent->data, vortex::kOurAbilities}, task, number, results));
  }
  must(co_await scope.idle(Deadline::never()));
  for (auto& result : results) CHECK(result.ok());
  CHECK(task->has_everything());
  // Connecting and asking are a round trip each; sixteen answers come on their heels.
  CHECK(sim.now() - began < 500ms);
}

SWARM_TEST("a parent whose extensions are off is used like a Rust one") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(3 * kPiece);
  VortexServerOptions plain;
  plain.extensions = false;
  auto making_parent = make_parent(parent_host, content, plain);
  auto [parent, theirs] = co_await making_parent;
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;
  for (std::uint32_t number = 0; number < 3; ++number) {
    auto fetching = fetch_piece(*peer, {parent->data, 0}, task, number);
    must(co_await fetching);
  }
  CHECK(store::stored_bytes(*task, 0, content.size()) == content);
}

SWARM_TEST("a parent taken for d7y that is Rust by now costs one failure, then works") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(2 * kPiece);
  RustParent parent(parent_host, parent_host.address(4005), kTask, content, kPiece);
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;
  auto first = fetch_piece(*peer, {parent.address(), vortex::kOurAbilities}, task, 0);
  auto failed = co_await first;
  CHECK(!failed.ok());
  auto second = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  must(co_await second);
  CHECK(task->has(0));
}

SWARM_TEST("wrong bytes are found out and not kept") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(2 * kPiece);
  RustParent parent(parent_host, parent_host.address(4005), kTask, content, kPiece);
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;
  parent.flip_a_bit = true;
  auto first = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  CHECK((co_await first).failed_with(ErrorCode::kCorrupt));
  CHECK(!task->has(0));
  parent.flip_a_bit = false;
  auto second = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  must(co_await second);
  CHECK(store::stored_piece(*task, 0) == content.substr(0, kPiece));
  // Imports by hard link have no digest; Dragonfly takes them, and so do we.
  parent.no_digest = true;
  auto third = fetch_piece(*peer, {parent.address(), 0}, task, 1);
  must(co_await third);
}

SWARM_TEST("a parent that contradicts the task's geometry is not believed") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(2 * kPiece);
  RustParent parent(parent_host, parent_host.address(4005), kTask, content, kPiece);
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;
  parent.wrong_length = true;
  auto first = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  CHECK((co_await first).failed_with(ErrorCode::kProtocol));
  parent.wrong_length = false;
  parent.wrong_offset = true;
  auto second = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  CHECK((co_await second).failed_with(ErrorCode::kProtocol));
  parent.wrong_offset = false;
  parent.missing = {0};
  auto third = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  CHECK((co_await third).failed_with(ErrorCode::kNotFound));
  parent.missing.clear();
  parent.hang_up = true;
  auto fourth = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  CHECK((co_await fourth).failed_with(ErrorCode::kReset));
  CHECK(!task->has(0));
}

SWARM_TEST("a parent that stalls or breaks off is given up in time") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(2 * kPiece);
  RustParent parent(parent_host, parent_host.address(4005), kTask, content, kPiece);
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;
  parent.stall_after = 100'000;
  auto began = sim.now();
  auto first = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  CHECK((co_await first).failed_with(ErrorCode::kTimeout));
  CHECK(sim.now() - began < 25s);
  parent.stall_after.reset();
  parent.break_after = 100'000;
  auto second = fetch_piece(*peer, {parent.address(), 0}, task, 0);
  CHECK((co_await second).failed_with(ErrorCode::kReset));
  // A dead host.
  parent_host.power_off();
  began = sim.now();
  auto third = fetch_piece(*peer, {parent.address(), 0}, task, 1);
  CHECK(!(co_await third).ok());
  CHECK(sim.now() - began < 25s);
}

SWARM_TEST("a cancelled request gives its connection back to the others") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  parent_host.set_bandwidth(1'000'000, 0);
  auto content = made_up(4 * kPiece);
  auto making_parent = make_parent(parent_host, content);
  auto [parent, theirs] = co_await making_parent;
  ParentPoolOptions one;
  one.connections_per_parent = 1;
  auto making = make_child(host, content.size(), one);
  auto [peer, task] = co_await making;
  DataAddress from{parent->data, vortex::kOurAbilities};
  std::vector<Result<store::PieceInfo>> given_up, results;
  {
    Scope scope(sim.loop());
    scope.spawn(fetch_into(*peer, from, task, 0, given_up));
    co_await sleep_for(200ms);
  }
  CHECK(given_up.empty());
  Scope scope(sim.loop());
  for (std::uint32_t number = 1; number < 4; ++number)
    scope.spawn(fetch_into(*peer, from, task, number, results));
  must(co_await scope.idle(Deadline::never()));
  for (auto& result : results) CHECK(result.ok());
  CHECK(peer->pool->stats().connections_opened == 1);
  // The piece is free again, and its beginning need not come a second time.
  auto again = fetch_piece(*peer, from, task, 0);
  must(co_await again);
  CHECK(store::stored_bytes(*task, 0, content.size()) == content);
}

SWARM_TEST("a piece goes through a chain of three peers while it still arrives") {
  auto& first_host = sim.add_host();
  auto& second_host = sim.add_host();
  auto& third_host = sim.add_host();
  auto content = made_up(kPiece);
  auto making_first = make_peer(first_host, first_host.address(4005));
  auto first = co_await making_first;
  auto making_second = make_peer(second_host, second_host.address(4005));
  auto second = co_await making_second;
  auto making_third = make_peer(third_host, third_host.address(4005));
  auto third = co_await making_third;
  std::vector<store::TaskHandle> tasks;
  for (auto* peer : {first.get(), second.get(), third.get()}) {
    auto creating = store::make_task(*peer->store, facts_of(kTask, content.size(), kPiece));
    tasks.push_back(co_await creating);
  }
  auto began = sim.now();
  std::vector<Result<store::PieceInfo>> results;
  Scope scope(sim.loop());
  scope.spawn(trickle(tasks[0], 0, content, 100ms, 20));  // two seconds in all
  co_await sleep_for(10ms);
  scope.spawn(fetch_into(*second, {first->data, vortex::kOurAbilities}, tasks[1], 0, results));
  co_await sleep_for(10ms);
  scope.spawn(fetch_into(*third, {second->data, vortex::kOurAbilities}, tasks[2], 0, results));
  must(co_await scope.idle(Deadline::never()));
  REQUIRE(results.size() == 2);
  for (auto& result : results) CHECK_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message()));
  CHECK(store::stored_bytes(*tasks[2], 0, content.size()) == content);
  // Store and forward would need two seconds and two transfers; cut-through ends just behind the source.
  CHECK(sim.now() - began < 2100ms);
}

SWARM_TEST("when what is forwarded in flight turns out wrong, nobody down the chain keeps it") {
  auto& first_host = sim.add_host();
  auto& second_host = sim.add_host();
  auto content = made_up(kPiece);
  auto making_first = make_peer(first_host, first_host.address(4005));
  auto first = co_await making_first;
  auto making_second = make_peer(second_host, second_host.address(4005));
  auto second = co_await making_second;
  auto creating_first = store::make_task(*first->store, facts_of(kTask, content.size(), kPiece));
  auto upper = co_await creating_first;
  auto creating_second = store::make_task(*second->store, facts_of(kTask, content.size(), kPiece));
  auto lower = co_await creating_second;

  auto claim = store::claim_of(*upper, 0);
  must(claim.write(as_bytes(std::string_view(content).substr(0, 1000))));
  must(claim.publish());
  std::vector<Result<store::PieceInfo>> results;
  Scope scope(sim.loop());
  scope.spawn(fetch_into(*second, {first->data, vortex::kOurAbilities}, lower, 0, results));
  co_await sleep_for(1s);
  must(claim.write(as_bytes(std::string_view(content).substr(1000))));
  store::PieceOrigin lie;
  lie.expected_crc = crc32(as_bytes(content)) ^ 1;
  CHECK(claim.complete(std::move(lie)).failed_with(ErrorCode::kCorrupt));
  must(co_await scope.idle(Deadline::never()));
  REQUIRE(results.size() == 1);
  CHECK(!results[0].ok());
  // It is not the second peer's parent that lied.
  CHECK(!results[0].failed_with(ErrorCode::kCorrupt));
  CHECK(!lower->has(0));
  // Nothing of it is left to spoil the next attempt.
  must(store::put_piece(*upper, 0, std::string(content)));
  auto again = fetch_piece(*second, {first->data, vortex::kOurAbilities}, lower, 0);
  must(co_await again);
  CHECK(store::stored_piece(*lower, 0) == content);
}

SWARM_TEST("a child that does not read holds up nobody else, and is dropped") {
  auto& parent_host = sim.add_host();
  auto& slow = sim.add_host();
  auto& host = sim.add_host();
  const std::uint64_t big = 8_MiB;
  auto content = made_up(2 * big);
  auto making_parent = make_peer(parent_host, parent_host.address(4005));
  auto parent = co_await making_parent;
  auto stocking = stock(*parent, kTask, content, big);
  auto theirs = co_await stocking;
  auto making = make_peer(host, host.address(4005));
  auto peer = co_await making;
  auto creating = store::make_task(*peer->store, facts_of(kTask, content.size(), big));
  auto task = co_await creating;

  auto connecting =
      slow.network().connect(parent->data, world::ConnectOptions{}, Deadline::in(5s, sim.now()));
  auto stream = must(co_await connecting);
  std::string request = rust_request(kTask, 0);
  auto writing = world::write_all(*stream, as_bytes(request), Deadline::in(5s, sim.now()));
  must(co_await writing);
  co_await sleep_for(1s);
  CHECK(parent->server->stats().uploading == 1);
  auto began = sim.now();
  auto fetching = fetch_piece(*peer, {parent->data, 0}, task, 1);
  must(co_await fetching);
  CHECK(sim.now() - began < 2s);
  co_await sleep_for(70s);
  CHECK(parent->server->stats().uploading == 0);
  CHECK(parent->server->stats().connections == 1);
}

SWARM_TEST("one host may not take all connections") {
  auto& parent_host = sim.add_host();
  auto& greedy = sim.add_host();
  auto& modest = sim.add_host();
  VortexServerOptions options;
  options.max_connections_per_host = 4;
  options.max_connections = 6;
  auto making = make_peer(parent_host, parent_host.address(4005), options);
  auto parent = co_await making;
  auto content = made_up(kPiece);
  auto stocking = stock(*parent, kTask, content, kPiece);
  auto task = co_await stocking;
  std::vector<std::unique_ptr<world::Stream>> held;
  for (int i = 0; i < 8; ++i) {
    auto connecting =
        greedy.network().connect(parent->data, world::ConnectOptions{}, Deadline::in(5s, sim.now()));
    held.push_back(must(co_await connecting));
  }
  co_await sleep_for(1s);
  CHECK(parent->server->stats().connections == 4);
  CHECK(parent->server->stats().connections_refused == 4);
  auto fetching =
      rust_fetch(modest, parent->data, rust_request(kTask, 0), kPiece, Deadline::in(5s, sim.now()));
  CHECK(must(co_await fetching).body == content);
}

SWARM_TEST("uploads keep to their limit, evenly") {
  auto& parent_host = sim.add_host();
  auto& child = sim.add_host();
  TokenBucket limit(1'000'000, 0, sim.now());
  VortexServerOptions options;
  options.limit = &limit;
  auto making = make_peer(parent_host, parent_host.address(4005), options);
  auto parent = co_await making;
  auto content = made_up(4'000'000);
  auto stocking = stock(*parent, kTask, content, 4'000'000);
  auto task = co_await stocking;
  auto began = sim.now();
  auto fetching =
      rust_fetch(child, parent->data, rust_request(kTask, 0), content.size(), Deadline::in(60s, sim.now()));
  CHECK(must(co_await fetching).body == content);
  auto took = sim.now() - began;
  CHECK(took > 3500ms);
  CHECK(took < 4500ms);
}

SWARM_TEST("downloads keep to the limit of their own and of all") {
  auto& parent_host = sim.add_host();
  auto& host = sim.add_host();
  auto content = made_up(8 * kPiece);
  auto making_parent = make_parent(parent_host, content);
  auto [parent, theirs] = co_await making_parent;
  TokenBucket all(4'000'000, 0, sim.now()), own(1'000'000, 0, sim.now());
  ParentPoolOptions options;
  options.limit = &all;
  auto making = make_child(host, content.size(), options);
  auto [peer, task] = co_await making;
  DataAddress from{parent->data, vortex::kOurAbilities};

  auto how = patient(host);
  how.limit = &own;
  std::uint64_t counted = 0;
  how.received = [&counted](std::size_t bytes) { counted += bytes; };
  auto began = sim.now();
  for (std::uint32_t number = 0; number < 4; ++number) {
    auto claim = store::claim_of(*task, number);
    auto fetching = peer->pool->fetch(from, std::move(claim), how);
    must(co_await fetching);
  }
  auto took = sim.now() - began;
  CHECK(took > 1900ms);
  CHECK(took < 2500ms);
  CHECK(counted == 4 * kPiece);

  began = sim.now();
  std::vector<Result<store::PieceInfo>> results;
  Scope scope(sim.loop());
  for (std::uint32_t number = 4; number < 8; ++number)
    scope.spawn(fetch_into(*peer, from, task, number, results));
  must(co_await scope.idle(Deadline::never()));
  took = sim.now() - began;
  CHECK(took > 350ms);
  CHECK(took < 900ms);
  CHECK(store::stored_bytes(*task, 0, content.size()) == content);
}

SWARM_TEST("rivals for one piece: the faster parent wins, the other is taken back") {
  auto& slow_host = sim.add_host();
  auto& fast_host = sim.add_host();
  auto& host = sim.add_host();
  slow_host.set_bandwidth(20'000, 0);
  auto content = made_up(kPiece);
  auto making_slow = make_peer(slow_host, slow_host.address(4005));
  auto slow = co_await making_slow;
  auto stocking_slow = stock(*slow, kTask, content, kPiece);
  auto slow_task = co_await stocking_slow;
  auto making_fast = make_peer(fast_host, fast_host.address(4005));
  auto fast = co_await making_fast;
  auto stocking_fast = stock(*fast, kTask, content, kPiece);
  auto fast_task = co_await stocking_fast;
  auto making = make_child(host, content.size());
  auto [peer, task] = co_await making;

  std::vector<Result<store::PieceInfo>> first;
  Scope scope(sim.loop());
  scope.spawn(fetch_into(*peer, {slow->data, vortex::kOurAbilities}, task, 0, first));
  co_await sleep_for(2s);
  auto began = sim.now();
  auto rival = store::claim_of(*task, 0, store::Rivals::kAllowed);
  auto fetching = peer->pool->fetch({fast->data, vortex::kOurAbilities}, std::move(rival), patient(host));
  must(co_await fetching);
  CHECK(sim.now() - began < 1s);
  CHECK(store::stored_piece(*task, 0) == content);
  must(co_await scope.idle(Deadline::in(25s, sim.now())));
  REQUIRE(first.size() == 1);
  CHECK(first[0].failed_with(ErrorCode::kPrecondition));
}

SWARM_TEST("draining lets a running answer end and takes no new children") {
  auto& parent_host = sim.add_host();
  auto& child = sim.add_host();
  parent_host.set_bandwidth(200'000, 0);
  auto content = made_up(kPiece);
  auto making = make_peer(parent_host, parent_host.address(4005));
  auto parent = co_await making;
  auto stocking = stock(*parent, kTask, content, kPiece);
  auto task = co_await stocking;
  std::optional<Result<RustAnswer>> answer;
  auto ask = [](sim::Host& from, Address to, std::optional<Result<RustAnswer>>& out) -> Task<void> {
    auto fetching = rust_fetch(from, to, rust_request(kTask, 0), kPiece, Deadline::in(60s, from.now()));
    out.emplace(co_await fetching);
  };
  Scope scope(sim.loop());
  scope.spawn(ask(child, parent->data, answer));
  co_await sleep_for(500ms);
  auto draining = parent->server->drain(Deadline::in(30s, sim.now()));
  must(co_await draining);
  must(co_await scope.idle(Deadline::in(30s, sim.now())));
  REQUIRE(answer.has_value());
  CHECK(must(std::move(*answer)).body == content);
  auto fetching =
      rust_fetch(child, parent->data, rust_request(kTask, 0), kPiece, Deadline::in(5s, sim.now()));
  CHECK(!(co_await fetching).ok());
}
