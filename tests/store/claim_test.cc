#include "store/claim.h"

#include "fixture.h"

using namespace d7y;
using namespace d7y::store;

namespace {

PieceOrigin parent_says(std::string_view bytes, std::string name = "parent-1") {
  return {.parent = std::move(name), .traffic = Traffic::kRemotePeer, .expected_crc = crc32(as_bytes(bytes))};
}

}  // namespace

STORE_TEST("one host fetches a piece once: the second to ask hears that it is busy, then that it is here") {
  auto content = made_up(8000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 8000, 4000));
  {
    auto first = claim_of(*task, 0);
    CHECK(must(task->claim(0)).state == ClaimState::kBusy);
    CHECK(task->in_flight() == std::vector<std::uint32_t>{0});
    CHECK(must(task->claim(1)).state == ClaimState::kClaimed);  // dropped at once
    must(first.write(as_bytes(content.substr(0, 4000))));
    CHECK(must(task->claim(0)).state == ClaimState::kBusy);
    must(first.complete(parent_says(content.substr(0, 4000))));
  }
  CHECK(must(task->claim(0)).state == ClaimState::kHave);
  CHECK(task->in_flight().empty());
  CHECK(task->claim(2).failed_with(ErrorCode::kInvalid));
}

STORE_TEST("a dropped claim frees the piece, and keeps what came for the next one to go on") {
  auto content = made_up(1_MiB);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 1_MiB, 1_MiB));
  {
    auto claim = claim_of(*task, 0);
    must(claim.write(as_bytes(content.substr(0, 300'000))));
  }
  CHECK(task->in_flight().empty());
  auto claim = claim_of(*task, 0);
  CHECK_FALSE(claim.rival());
  CHECK(claim.already() == 300'000);
  CHECK(claim.skip_already());
  CHECK(claim.position() == 300'000);
  CHECK(claim.remaining() == 1_MiB - 300'000);
  must(claim.write(as_bytes(content.substr(300'000))));
  must(claim.complete(parent_says(content)));
  CHECK(stored_piece(*task, 0) == content);
}

STORE_TEST("what is there already is compared, not rewritten, by one who fetches it all") {
  auto content = made_up(600'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 1_MiB));
  {
    auto claim = claim_of(*task, 0);
    must(claim.write(as_bytes(content.substr(0, 500'000))));
  }
  auto before = store->stats().written;
  auto claim = claim_of(*task, 0);
  must(claim.write(as_bytes(content)));
  must(claim.complete({}));  // the origin names no CRC: what this claim received is the measure
  CHECK(store->stats().written - before == 100'000);
  CHECK(stored_piece(*task, 0) == content);
}

STORE_TEST("wrong bytes left by a parent are found out by the next one, and by the origin") {
  auto content = made_up(600'000), lie = made_up(600'000, 2);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 1_MiB));
  auto leave_lie = [&] {
    auto claim = claim_of(*task, 0);
    must(claim.write(as_bytes(lie.substr(0, 400'000))));
  };
  leave_lie();
  {
    auto claim = claim_of(*task, 0);
    must(claim.write(as_bytes(content)));
    CHECK(claim.crc() == crc32(as_bytes(content)));  // this one is not to blame
    CHECK(claim.complete(parent_says(content)).failed_with(ErrorCode::kCorrupt));
  }
  CHECK_FALSE(task->has(0));
  CHECK(claim_of(*task, 0).already() == 0);  // thrown away
  leave_lie();
  {
    auto claim = claim_of(*task, 0);
    claim.from_origin();
    CHECK_FALSE(claim.skip_already());  // nobody could vouch for the peer's bytes
    CHECK(claim.position() == 0);
    must(claim.write(as_bytes(content)));
    CHECK(claim.complete({}).failed_with(ErrorCode::kCorrupt));
  }
  auto claim = claim_of(*task, 0);
  claim.from_origin();
  must(claim.write(as_bytes(content)));
  must(claim.complete({}));
  CHECK(stored_piece(*task, 0) == content);
}

STORE_TEST("the origin may go on where the origin was interrupted") {
  auto content = made_up(600'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 1_MiB));
  {
    auto claim = claim_of(*task, 0);
    claim.from_origin();
    must(claim.write(as_bytes(content.substr(0, 400'000))));
  }
  auto claim = claim_of(*task, 0);
  claim.from_origin();
  CHECK(claim.skip_already());
  must(claim.write(as_bytes(content.substr(400'000))));
  auto piece = must(claim.complete({}));
  CHECK(piece.crc == crc32(as_bytes(content)));
}

STORE_TEST("a parent whose bytes do not fit its own digest is refused") {
  auto content = made_up(4000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 4000, 4000));
  {
    auto claim = claim_of(*task, 0);
    auto lie = content;
    lie[1234] ^= 1;
    must(claim.write(as_bytes(lie)));
    auto done = claim.complete(parent_says(content, "parent-7"));
    CHECK(done.failed_with(ErrorCode::kCorrupt));
    CHECK(done.error().message().find("parent-7") != std::string::npos);
  }
  CHECK(store->stats().corrupt_pieces == 1);
  CHECK(must(task->claim(0)).state == ClaimState::kClaimed);
}

STORE_TEST("a piece that is too short is not complete, one that is too long is refused") {
  auto content = made_up(4000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 4000, 4000));
  {
    auto claim = claim_of(*task, 0);
    must(claim.write(as_bytes(content.substr(0, 3999))));
    CHECK(claim.complete({}).failed_with(ErrorCode::kPrecondition));
    CHECK(claim.complete({}).failed_with(ErrorCode::kPrecondition));  // and over
  }
  auto claim = claim_of(*task, 0);
  CHECK(claim.write(as_bytes(content + "x")).failed_with(ErrorCode::kInvalid));
  CHECK(claim.commit(1).failed_with(ErrorCode::kInvalid));
  must(claim.complete({}));
  CHECK(task->has(0));
}

STORE_TEST("rivals: every byte is written once, the first to end wins, the other learns it") {
  auto content = made_up(2_MiB);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 2_MiB, 2_MiB));
  auto slow = claim_of(*task, 0);
  must(slow.write(as_bytes(content.substr(0, 700'000))));
  CHECK(must(task->claim(0, Rivals::kNo)).state == ClaimState::kBusy);
  auto fast = claim_of(*task, 0, Rivals::kAllowed);
  CHECK(fast.rival());
  must(fast.write(as_bytes(content.substr(0, 300'000))));
  must(slow.write(as_bytes(content.substr(700'000, 100'000))));
  must(fast.write(as_bytes(content.substr(300'000))));
  CHECK_FALSE(slow.superseded());
  must(fast.complete(parent_says(content, "fast")));
  CHECK(slow.superseded());
  CHECK(slow.write(as_bytes("more")).failed_with(ErrorCode::kPrecondition));
  CHECK(slow.complete({}).failed_with(ErrorCode::kPrecondition));
  CHECK(store->stats().written == 2_MiB);
  CHECK(stored_piece(*task, 0) == content);
  CHECK(task->piece(0)->parent == "fast");
  CHECK(store->stats().in_flight == 0);
}

STORE_TEST("a rival that lies does not spoil the piece when it never got ahead") {
  auto content = made_up(1_MiB), lie = made_up(1_MiB, 9);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 1_MiB, 1_MiB));
  auto honest = claim_of(*task, 0);
  must(honest.write(as_bytes(content)));
  {
    auto liar = claim_of(*task, 0, Rivals::kAllowed);
    must(liar.write(as_bytes(lie)));
    CHECK(liar.complete(parent_says(content, "liar")).failed_with(ErrorCode::kCorrupt));
  }
  must(honest.complete(parent_says(content)));
  CHECK(stored_piece(*task, 0) == content);
}

STORE_TEST("a rival that lies and got ahead costs the piece, but nothing wrong is kept") {
  auto content = made_up(1_MiB), lie = made_up(1_MiB, 9);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 1_MiB, 1_MiB));
  auto honest = claim_of(*task, 0);
  must(honest.write(as_bytes(content.substr(0, 300'000))));
  auto liar = claim_of(*task, 0, Rivals::kAllowed);
  must(liar.write(as_bytes(lie.substr(0, 900'000))));
  must(honest.write(as_bytes(content.substr(300'000))));
  CHECK(honest.complete(parent_says(content)).failed_with(ErrorCode::kCorrupt));
  CHECK(liar.superseded());
  CHECK_FALSE(task->has(0));
  must(put_piece(*task, 0, content));
  CHECK(stored_piece(*task, 0) == content);
}

STORE_TEST("claims use few buffers of one size") {
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 40_MiB, 4_MiB));
  {
    std::vector<PieceClaim> claims;
    for (std::uint32_t i = 0; i < 10; ++i) claims.push_back(claim_of(*task, i));
    CHECK(store->stats().buffers == 0);
    for (auto& claim : claims) CHECK(claim.buffer().size() == 256_KiB);
    CHECK(store->stats().buffers == 10);
    CHECK(store->stats().in_flight == 10);
  }
  CHECK(store->stats().buffers == 0);
}

STORE_TEST("a view hands on a piece while it arrives, and its digest at the end") {
  auto content = made_up(1_MiB);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 1_MiB, 1_MiB));
  CHECK(task->view(0).failed_with(ErrorCode::kNotFound));
  CHECK(task->view(1).failed_with(ErrorCode::kInvalid));
  auto claim = claim_of(*task, 0);
  auto view = must(task->view(0));
  CHECK(view.length() == 1_MiB);
  CHECK(view.available() == 0);
  must(claim.write(as_bytes(content.substr(0, 300'000))));
  CHECK(view.available() == 256_KiB);  // written when the buffer was full
  must(claim.publish());
  CHECK(view.available() == 256_KiB);  // nobody waits

  std::vector<std::uint64_t> seen;
  struct Follower {
    static Task<void> run(PieceView view, std::vector<std::uint64_t>& seen, std::uint32_t& crc,
                          Deadline deadline) {
      for (std::uint64_t at = 0; at < view.length();) {
        must(co_await view.more(at, deadline));
        at = view.available();
        seen.push_back(at);
      }
      crc = must(co_await view.digest(deadline));
    }
  };
  std::uint32_t crc = 0;
  Scope scope(world.loop());
  scope.spawn(Follower::run(std::move(view), seen, crc, soon(world)));
  co_await sleep_for(1ms);
  CHECK(seen == std::vector<std::uint64_t>{256_KiB});
  must(claim.publish());  // now somebody waits
  co_await sleep_for(1ms);
  CHECK(seen.back() == 300'000);
  must(claim.write(as_bytes(content.substr(300'000))));
  co_await sleep_for(1ms);
  CHECK(seen.back() == 1_MiB);
  CHECK(crc == 0);  // not before it is verified
  must(claim.complete({}));
  must(co_await scope.idle(soon(world)));
  CHECK(crc == crc32(as_bytes(content)));
  auto later = must(task->view(0));
  CHECK(later.complete());
  CHECK(later.available() == 1_MiB);
}

STORE_TEST("a view of a piece that fails verification ends with kCorrupt") {
  auto content = made_up(1_MiB);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 1_MiB, 1_MiB));
  auto claim = claim_of(*task, 0);
  must(claim.write(as_bytes(content)));
  auto view = must(task->view(0));
  CHECK(view.available() == 1_MiB);
  CHECK(claim.complete({.parent = "x", .expected_crc = 1}).failed_with(ErrorCode::kCorrupt));
  auto digest = co_await view.digest(soon(world));
  CHECK(digest.failed_with(ErrorCode::kCorrupt));
  auto more = co_await view.more(0, soon(world));
  CHECK(more.failed_with(ErrorCode::kCorrupt));
}
