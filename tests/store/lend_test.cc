// Pieces whose bytes are received beside the loop: nobody sees a difference, whatever ends it.
#include "fixture.h"
#include "sim/simulation.h"
#include "world/network.h"

using namespace d7y;
using namespace d7y::store;

namespace {

constexpr std::uint64_t kPiece = 4_MiB + 12'345;

struct Pair {
  std::unique_ptr<world::Listener> listener;
  std::unique_ptr<world::Stream> ours, theirs;
};

Task<Pair> connected(world::World& world) {
  Pair pair;
  pair.listener = must(world.network().listen(Address::ipv4({127, 0, 0, 1}, 0), {}));
  world::ConnectOptions how;
  auto dialled = co_await world.network().connect(pair.listener->local(), how, soon(world));
  pair.ours = must(std::move(dialled));
  auto accepted = co_await pair.listener->accept(soon(world));
  pair.theirs = must(std::move(accepted));
  co_return pair;
}

Task<void> send(world::World& world, world::Stream& stream, std::string_view bytes) {
  auto sent = co_await world::write_all(stream, as_bytes(bytes), soon(world));
  must(std::move(sent));
}

// Sends as long as somebody takes it.
Task<void> try_to_send(world::World& world, world::Stream& stream, std::string_view bytes) {
  (void)co_await world::write_all(stream, as_bytes(bytes), soon(world));
}

Task<void> follow(world::World& world, PieceClaim& claim, std::shared_ptr<world::Receiving> receiving) {
  for (;;) {
    if (claim.catch_up(*receiving).ended) co_return;
    auto changed = co_await receiving->changed().wait(soon(world));
    must(std::move(changed));
  }
}

// Fills what is left of `claim` by the loop's own reading.
Task<void> fill(world::World& world, PieceClaim& claim, world::Stream& stream) {
  while (claim.remaining() > 0) {
    auto got = co_await world::read_some(stream, claim.buffer(), soon(world));
    auto bytes = must(std::move(got));
    REQUIRE(bytes > 0);
    must(claim.commit(bytes));
  }
}

// What was read along with a header is not written by itself; the rest is lent.
Task<std::shared_ptr<world::Receiving>> lend_behind(world::World& world, PieceClaim& claim, Pair& pair,
                                                    std::string_view head) {
  must(claim.write(as_bytes(head)));
  std::string read_along(head.size(), '\0');
  auto read = co_await world::read_exactly(*pair.ours, as_mutable_bytes(read_along), soon(world));
  must(std::move(read));
  auto receiving = claim.lend(*pair.ours, claim.remaining());
  REQUIRE(receiving != nullptr);
  co_return receiving;
}

struct Stage {
  std::unique_ptr<Store> store;
  std::string content = made_up(2 * kPiece);
  TaskHandle task;
  Pair pair;
  std::string_view piece(std::uint32_t number) const { return part_of(content, *task, number); }
};

Task<Stage> set_up(world::World& world, std::string folder) {
  REQUIRE(world.receiver() != nullptr);
  Stage stage;
  stage.store = co_await open_store(world, folder);
  stage.task = co_await make_task(*stage.store, facts_of(an_id(1), stage.content.size(), kPiece));
  stage.pair = co_await connected(world);
  co_return stage;
}

Result<PieceInfo> complete(PieceClaim claim, std::string_view bytes) {
  return claim.complete({.parent = "p", .expected_crc = crc32(as_bytes(bytes))});
}

Task<void> whole_piece(world::World& world, std::string folder) {
  auto stage = co_await set_up(world, folder);
  auto bytes = stage.piece(0);
  Scope sending(world.loop());
  sending.spawn(send(world, *stage.pair.theirs, bytes));
  auto claim = claim_of(*stage.task, 0);
  auto lending = lend_behind(world, claim, stage.pair, bytes.substr(0, 1000));
  auto receiving = co_await lending;
  co_await follow(world, claim, receiving);
  CHECK(receiving->state().taken == kPiece - 1000);
  CHECK(claim.remaining() == 0);
  must(complete(std::move(claim), bytes));
  CHECK(stored_piece(*stage.task, 0) == bytes);
  CHECK(stage.store->stats().written == kPiece);
}

// Whoever brings nothing for a moment gets its stream back, with what came until then.
Task<void> pause_in_the_middle(world::World& world, std::string folder) {
  auto stage = co_await set_up(world, folder);
  auto bytes = stage.piece(1);
  Scope sending(world.loop());
  sending.spawn(send(world, *stage.pair.theirs, bytes.substr(0, 1'500'000)));
  auto claim = claim_of(*stage.task, 1);
  auto receiving = claim.lend(*stage.pair.ours, claim.remaining());
  REQUIRE(receiving != nullptr);
  CHECK(stage.pair.ours->try_read(claim.buffer()).state == world::Transfer::State::kWouldBlock);
  co_await follow(world, claim, receiving);
  CHECK(claim.position() == receiving->state().taken);
  CHECK(claim.position() <= 1'500'000);
  sending.spawn(send(world, *stage.pair.theirs, bytes.substr(1'500'000)));
  co_await fill(world, claim, *stage.pair.ours);
  must(complete(std::move(claim), bytes));
  CHECK(stored_piece(*stage.task, 1) == bytes);
}

Task<void> dropped_claim(world::World& world, std::string folder) {
  auto stage = co_await set_up(world, folder);
  auto bytes = stage.piece(0);
  {
    Scope sending(world.loop());
    sending.spawn(try_to_send(world, *stage.pair.theirs, bytes));
    auto claim = claim_of(*stage.task, 0);
    auto lending = lend_behind(world, claim, stage.pair, bytes.substr(0, 10));
    auto receiving = co_await lending;
  }
  auto claim = claim_of(*stage.task, 0);
  auto here = claim.already();
  CHECK(here >= 10);
  CHECK(claim.skip_already());
  must(claim.write(as_bytes(bytes.substr(here))));
  must(complete(std::move(claim), bytes));
  CHECK(stored_piece(*stage.task, 0) == bytes);
}

Task<void> rival(world::World& world, std::string folder) {
  auto stage = co_await set_up(world, folder);
  auto bytes = stage.piece(0);
  Scope sending(world.loop());
  sending.spawn(try_to_send(world, *stage.pair.theirs, bytes.substr(0, 2'000'000)));
  auto claim = claim_of(*stage.task, 0);
  auto receiving = claim.lend(*stage.pair.ours, claim.remaining());
  REQUIRE(receiving != nullptr);
  auto rival = claim_of(*stage.task, 0, Rivals::kAllowed);
  CHECK(receiving->state().ended);
  claim.catch_up(*receiving);
  CHECK(claim.position() == receiving->state().taken);
  must(rival.write(as_bytes(bytes)));
  must(complete(std::move(rival), bytes));
  CHECK(claim.superseded());
  CHECK(stored_piece(*stage.task, 0) == bytes);
}

// A follower gets bytes while they come, and not only at the end.
Task<void> follower(world::World& world, std::string folder) {
  auto stage = co_await set_up(world, folder);
  auto bytes = stage.piece(0);
  auto claim = claim_of(*stage.task, 0);
  auto view = must(stage.task->view(0));
  Scope scope(world.loop());
  scope.spawn(send(world, *stage.pair.theirs, bytes));
  auto receiving = claim.lend(*stage.pair.ours, claim.remaining());
  REQUIRE(receiving != nullptr);
  scope.spawn(follow(world, claim, receiving));
  auto more = co_await view.more(0, soon(world));
  must(std::move(more));
  auto available = view.available();
  CHECK(available > 0);
  CHECK(stored_bytes(*stage.task, 0, available) == bytes.substr(0, available));
  auto idle = co_await scope.idle(soon(world));
  must(std::move(idle));
  if (claim.remaining() > 0) co_await fill(world, claim, *stage.pair.ours);
  must(complete(std::move(claim), bytes));
}

Task<void> stream_that_goes(world::World& world, std::string folder) {
  auto stage = co_await set_up(world, folder);
  auto bytes = stage.piece(0);
  Scope sending(world.loop());
  sending.spawn(try_to_send(world, *stage.pair.theirs, bytes));
  auto claim = claim_of(*stage.task, 0);
  auto receiving = claim.lend(*stage.pair.ours, claim.remaining());
  REQUIRE(receiving != nullptr);
  stage.pair.ours.reset();
  CHECK(receiving->state().ended);
  claim.catch_up(*receiving);
  auto from = claim.position();
  must(claim.write(as_bytes(bytes.substr(from))));
  must(complete(std::move(claim), bytes));
  CHECK(stored_piece(*stage.task, 0) == bytes);
}

using Case = Task<void> (*)(world::World&, std::string);

void run_simulated(Case each) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    sim::Simulation sim(seed);
    auto& host = sim.add_host({.receives = true});
    bool over = false;
    auto whole = [](world::World& world, Case test, bool& ended) -> Task<void> {
      co_await test(world, "/store");
      ended = true;
    };
    host.spawn(whole(host, each, over));
    sim.run_for(std::chrono::seconds(60));
    CHECK(over);
    CHECK(host.leaks() == "");
  }
}

#define LEND_TEST(name, each)                               \
  TEST_CASE(name " (simulated)") { run_simulated(each); }   \
  TEST_CASE(name " (with threads)") {                       \
    ::setenv("D7Y_RECEIVING_THREADS", "2", 1);              \
    for (int round = 0; round < 5; ++round) run_real(each); \
  }

}  // namespace

LEND_TEST("a piece is received beside the loop, with what was read before", whole_piece)
LEND_TEST("a stream that pauses comes back", pause_in_the_middle)
LEND_TEST("a claim that is dropped meanwhile leaves its bytes to the next one", dropped_claim)
LEND_TEST("a rival ends it, and both go on", rival)
LEND_TEST("a follower gets bytes while they come", follower)
LEND_TEST("a stream that goes ends it", stream_that_goes)
