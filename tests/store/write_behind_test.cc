// Long pieces, whose buffers another thread writes: nobody sees a difference, and what fails is told.
#include "fixture.h"
#include "sim/simulation.h"

using namespace d7y;
using namespace d7y::store;

namespace {

constexpr std::uint64_t kBuffer = 16 << 10;
constexpr std::uint64_t kPiece = 40 * kBuffer + 5000;

StoreOptions long_pieces(std::string folder, bool behind = true) {
  StoreOptions options;
  options.folder = std::move(folder);
  options.buffer_size = kBuffer;
  options.write_behind = behind;
  return options;
}

Result<void> feed(PieceClaim& claim, std::string_view content, std::uint64_t bytes) {
  auto place = content.substr(claim.offset() + claim.position(), bytes);
  return claim.write(as_bytes(place));
}

// Receives a piece in steps, with a follower that compares what it may read, and a second piece between.
Task<void> receive_and_follow(world::World& world, std::string folder, bool behind) {
  auto opened = co_await Store::open(world, long_pieces(folder, behind), Log());
  auto store = must(std::move(opened));
  auto content = made_up(2 * kPiece - 100);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), kPiece));
  {
    auto first = claim_of(*task, 0), second = claim_of(*task, 1);
    auto view = must(task->view(0));
    std::uint64_t seen = 0;
    for (int step = 0; first.remaining() > 0; ++step) {
      must(feed(first, content, std::min<std::uint64_t>(first.remaining(), 7777)));
      if (second.remaining() > 0) {
        must(feed(second, content, std::min<std::uint64_t>(second.remaining(), 30'000)));
      }
      if (step % 10 != 9) continue;
      auto available = view.available();
      CHECK(available >= seen);
      CHECK(available + kBuffer > first.position());
      CHECK(stored_bytes(*task, 0, available) == content.substr(0, available));
      seen = available;
    }
    auto rest = second.remaining();
    must(feed(second, content, rest));
    Task<void> settling = first.settled();
    co_await settling;
    must(first.complete({.parent = "p", .expected_crc = crc32(as_bytes(part_of(content, *task, 0)))}));
    must(second.complete({.parent = "p", .expected_crc = crc32(as_bytes(part_of(content, *task, 1)))}));
  }
  auto finished = co_await task->finish();
  must(std::move(finished));
  CHECK(stored_bytes(*task, 0, content.size()) == content);
  CHECK(store->stats().written == content.size());
  CHECK(store->stats().buffers == 0);
}

}  // namespace

STORE_TEST("followers of a long piece may read whatever they are told of") {
  co_await receive_and_follow(world, folder, true);
}

STORE_TEST("and so without another thread") { co_await receive_and_follow(world, folder, false); }

STORE_TEST("a claim that is dropped leaves its bytes to the next one, which verifies them all") {
  auto opened = co_await Store::open(world, long_pieces(folder), Log());
  auto store = must(std::move(opened));
  auto content = made_up(kPiece);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), kPiece));
  {
    auto claim = claim_of(*task, 0);
    must(feed(claim, content, 10 * kBuffer + 10));
  }
  auto claim = claim_of(*task, 0);
  CHECK(claim.already() == 10 * kBuffer + 10);
  CHECK(claim.skip_already());
  must(feed(claim, content, claim.remaining()));
  must(claim.complete({.parent = "p", .expected_crc = crc32(as_bytes(content))}));
  CHECK(stored_bytes(*task, 0, content.size()) == content);
}

STORE_TEST("a task that is started anew while its pieces are written takes nothing of them over") {
  auto opened = co_await Store::open(world, long_pieces(folder), Log());
  auto store = must(std::move(opened));
  auto content = made_up(kPiece), other = made_up(kPiece, 2);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), kPiece));
  auto claim = claim_of(*task, 0);
  must(feed(claim, content, 12 * kBuffer));
  must(task->reset(facts_of(an_id(1), other.size(), kPiece)));
  CHECK(feed(claim, content, 100).failed_with(ErrorCode::kChanged));
  must(put_all(*task, other));
  CHECK(stored_bytes(*task, 0, other.size()) == other);
}

namespace {

Task<void> fail_once(sim::Host& host, std::uint64_t after, ErrorCode code, int& failures, bool& done) {
  auto opened = co_await Store::open(host, long_pieces("/store"), host.log());
  auto store = must(std::move(opened));
  auto content = made_up(kPiece);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), kPiece));
  host.disk().inject({.op = sim::FileOp::kWrite, .path = "content", .code = code, .after = after});
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto claim = claim_of(*task, 0);
    auto already = claim.already();
    CHECK(already <= after * kBuffer);
    CHECK(stored_bytes(*task, 0, already) == content.substr(0, already));
    CHECK(claim.skip_already());
    Result<void> fed;
    while (fed && claim.remaining() > 0) {
      fed = feed(claim, content, std::min<std::uint64_t>(claim.remaining(), 20'000));
      co_await next_turn();  // the other thread may run
    }
    Task<void> settling = claim.settled();
    co_await settling;
    if (fed) {
      auto completed = claim.complete({.parent = "p", .expected_crc = crc32(as_bytes(content))});
      if (completed) break;
      fed = std::move(completed).error();
    }
    CHECK(fed.failed_with(code));
    CHECK_FALSE(task->has(0));
    ++failures;
  }
  CHECK(task->has(0));
  CHECK(stored_bytes(*task, 0, content.size()) == content);
  done = true;
}

}  // namespace

TEST_CASE("a write that fails behind is the claim's failure, and the next one goes on in front of it") {
  int failures = 0;
  for (auto code : {ErrorCode::kIo, ErrorCode::kDiskFull}) {
    for (std::uint64_t after = 0; after < 42; ++after) {
      CAPTURE(after);
      sim::Simulation sim(after + 1);
      auto& host = sim.add_host();
      bool done = false;
      host.spawn(fail_once(host, after, code, failures, done));
      CHECK(sim.run_until([&] { return done; }, 1h));
    }
  }
  // A full disk is tried once more, and this one fails once only.
  CHECK(failures >= 41);
}
