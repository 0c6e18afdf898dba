#include "store/reader.h"

#include "fixture.h"

using namespace d7y;
using namespace d7y::store;

namespace {

// Reads to the end or to the first error.
struct Reading {
  std::string bytes;
  std::optional<Error> failure;
  bool done = false;

  static Task<void> run(TaskHandle task, ReaderOptions options, Reading& out, Deadline deadline) {
    Reader reader(std::move(task), options);
    std::string part(10'000, '\0');
    for (;;) {
      auto got = co_await reader.read(as_mutable_bytes(part), deadline);
      if (!got) {
        out.failure = std::move(got).error();
        break;
      }
      if (*got == 0) break;
      out.bytes.append(part, 0, *got);
      out.grew.notify_all();
    }
    out.done = true;
    out.grew.notify_all();
  }
  Task<void> until(std::size_t size, Deadline deadline) {
    while (bytes.size() < size && !done) must(co_await grew.wait(deadline));
  }
  Signal grew;
};

// Piece 0 arrives; its first half is read while it does, and then all of it is found to be wrong.
Task<void> arrives_wrongly(world::World& world, StoredTask& task, Reading& reading, const std::string& lie,
                           const std::string& content) {
  auto claim = claim_of(task, 0);
  co_await sleep_for(1ms);  // until somebody waits for it: else nothing is published
  must(claim.write(as_bytes(lie.substr(0, lie.size() / 2))));
  must(claim.publish());
  Task<void> handing_out = reading.until(lie.size() / 2, soon(world));
  co_await handing_out;
  CHECK(reading.bytes.size() == lie.size() / 2);
  must(claim.write(as_bytes(lie.substr(lie.size() / 2))));
  CHECK(claim.complete({.expected_crc = crc32(as_bytes(content))}).failed_with(ErrorCode::kCorrupt));
}

}  // namespace

STORE_TEST("a reader gets bytes in order as they arrive, whatever order pieces come in") {
  auto content = made_up(30'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 10'000));
  Reading reading;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, reading, soon(world)));
  must(put_piece(*task, 2, content));
  co_await sleep_for(1ms);
  CHECK(reading.bytes.empty());
  must(put_piece(*task, 0, content));
  co_await sleep_for(1ms);
  CHECK(reading.bytes == content.substr(0, 10'000));
  must(put_piece(*task, 1, content));
  must(co_await scope.idle(soon(world)));
  CHECK(reading.bytes == content);
  CHECK_FALSE(reading.failure);
}

STORE_TEST("a reader follows a piece byte by byte, and holds its last bytes back until it is verified") {
  auto content = made_up(100'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 100'000));
  Reading following, waiting;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, following, soon(world)));
  scope.spawn(Reading::run(task, {.follow_in_flight = false}, waiting, soon(world)));
  auto claim = claim_of(*task, 0);
  co_await sleep_for(1ms);
  must(claim.write(as_bytes(content.substr(0, 40'000))));
  must(claim.publish());
  co_await sleep_for(1ms);
  CHECK(following.bytes.size() == 40'000);
  must(claim.write(as_bytes(content.substr(40'000))));
  co_await sleep_for(1ms);
  CHECK(following.bytes.size() == 40'000);
  must(claim.complete({.expected_crc = crc32(as_bytes(content))}));
  must(co_await scope.idle(soon(world)));
  CHECK(following.bytes == content);
  CHECK(waiting.bytes == content);
}

STORE_TEST("after a failed verification a reader goes on if what it handed out was right") {
  auto content = made_up(100'000);
  auto lie = content;
  lie[80'000] ^= 1;  // behind what was handed out
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 100'000));
  Reading reading;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, reading, soon(world)));
  Task<void> arriving = arrives_wrongly(world, *task, reading, lie, content);
  co_await arriving;
  co_await sleep_for(1ms);
  CHECK_FALSE(reading.done);
  must(put_piece(*task, 0, content));
  must(co_await scope.idle(soon(world)));
  CHECK_FALSE(reading.failure);
  CHECK(reading.bytes == content);
}

STORE_TEST("after a failed verification a reader ends with kCorrupt if what it handed out was wrong") {
  auto content = made_up(100'000);
  auto lie = content;
  lie[20'000] ^= 1;
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 100'000));
  Reading early, late;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, early, soon(world)));
  Task<void> arriving = arrives_wrongly(world, *task, early, lie, content);
  co_await arriving;
  scope.spawn(Reading::run(task, {}, late, soon(world)));
  must(put_piece(*task, 0, content));
  must(co_await scope.idle(soon(world)));
  CHECK(early.failure.has_value());
  CHECK(early.failure->code() == ErrorCode::kCorrupt);
  CHECK(early.bytes.size() < content.size());
  CHECK(late.bytes == content);  // it began afterwards and saw only right bytes
}

STORE_TEST("what was handed out is proven by what comes in the end, whatever failed in between") {
  auto content = made_up(100'000);
  auto first = content, second = content;
  first[20'000] ^= 1;
  second[80'000] ^= 1;  // right where the reader has been
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 100'000));
  Reading reading;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, reading, soon(world)));
  Task<void> arriving = arrives_wrongly(world, *task, reading, first, content);
  co_await arriving;
  {
    // Before the reader looks.
    auto claim = claim_of(*task, 0);
    must(claim.write(as_bytes(second)));
    CHECK(claim.complete({.expected_crc = crc32(as_bytes(content))}).failed_with(ErrorCode::kCorrupt));
  }
  must(put_piece(*task, 0, content));
  must(co_await scope.idle(soon(world)));
  REQUIRE(reading.failure.has_value());
  CHECK(reading.failure->code() == ErrorCode::kCorrupt);
}

STORE_TEST("the proof also works while the piece arrives anew") {
  auto content = made_up(100'000);
  auto lie = content;
  lie[20'000] ^= 1;
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 100'000));
  Reading reading;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, reading, soon(world)));
  {
    auto claim = claim_of(*task, 0);
    co_await sleep_for(1ms);
    must(claim.write(as_bytes(lie.substr(0, 50'000))));
    must(claim.publish());
    co_await sleep_for(1ms);
    claim.discard();
  }
  auto claim = claim_of(*task, 0);
  co_await sleep_for(1ms);
  must(claim.write(as_bytes(content.substr(0, 49'000))));
  must(claim.publish());
  co_await sleep_for(1ms);
  CHECK_FALSE(reading.done);  // not enough to compare
  must(claim.write(as_bytes(content.substr(49'000, 3'000))));
  must(claim.publish());
  co_await sleep_for(1ms);
  CHECK(reading.done);
  CHECK(reading.failure->code() == ErrorCode::kCorrupt);
}

STORE_TEST("a range ends within a piece only when that piece is verified") {
  auto content = made_up(100'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 100'000));
  Reading reading;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {.offset = 10'000, .length = 20'000}, reading, soon(world)));
  auto claim = claim_of(*task, 0);
  co_await sleep_for(1ms);
  must(claim.write(as_bytes(content.substr(0, 50'000))));
  must(claim.publish());
  co_await sleep_for(1ms);
  CHECK(reading.bytes.size() == 19'999);
  must(claim.write(as_bytes(content.substr(50'000))));
  must(claim.complete({}));
  must(co_await scope.idle(soon(world)));
  CHECK(reading.bytes == content.substr(10'000, 20'000));
}

STORE_TEST("ranges are cut at the content's end, and refused beyond it") {
  auto content = made_up(30'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 10'000));
  must(put_all(*task, content));
  {
    Reader reader(task, {.offset = 25'000, .length = 100'000});
    CHECK(co_await read_all(reader, soon(world)) == content.substr(25'000));
  }
  {
    Reader reader(task, {.offset = 30'000});
    CHECK((co_await read_all(reader, soon(world))).empty());
  }
  Reader reader(task, {.offset = 30'001});
  auto run = co_await reader.next(soon(world));
  CHECK(run.failed_with(ErrorCode::kInvalid));
}

STORE_TEST("with a digest to come the end is held back until finish() has verified it") {
  auto content = made_up(100'000);
  auto store = co_await open_store(world, folder);
  for (bool right : {true, false}) {
    auto facts = facts_of(an_id(right), content.size(), 10'000);
    facts.digest = "sha256:" + sha256_hex(as_bytes(right ? content : content + "!"));
    auto task = co_await make_task(*store, facts);
    Reading patient, hasty, ranged;
    Scope scope(world.loop());
    scope.spawn(Reading::run(task, {}, patient, soon(world)));
    scope.spawn(Reading::run(task, {.wait_for_content_digest = false}, hasty, soon(world)));
    scope.spawn(Reading::run(task, {.offset = 1}, ranged, soon(world)));
    must(put_all(*task, content));
    co_await sleep_for(1ms);
    CHECK(hasty.bytes == content);
    CHECK(ranged.bytes == content.substr(1));
    CHECK(patient.bytes.size() < content.size());
    CHECK(patient.bytes.size() > content.size() / 2);
    auto finished = co_await task->finish();
    CHECK(finished.ok() == right);
    must(co_await scope.idle(soon(world)));
    if (right) {
      CHECK(patient.bytes == content);
    } else {
      CHECK(patient.failure->code() == ErrorCode::kCorrupt);
      CHECK(patient.bytes.size() < content.size());
    }
  }
}

STORE_TEST("a reader of content of unknown length ends when the length becomes known") {
  auto content = made_up(25'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), std::nullopt, 10'000));
  Reading reading;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, reading, soon(world)));
  must(put_piece(*task, 0, content));
  must(put_piece(*task, 1, content));
  co_await sleep_for(1ms);
  CHECK(reading.bytes == content.substr(0, 20'000));
  auto claim = claim_of(*task, 2);
  must(claim.write(as_bytes(content.substr(20'000))));
  must(task->set_content_length(25'000));
  must(claim.complete({}));
  must(co_await scope.idle(soon(world)));
  CHECK(reading.bytes == content);
}

STORE_TEST("readers learn of the download's failure, but first get all that is there") {
  auto content = made_up(30'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 10'000));
  must(put_piece(*task, 0, content));
  Reading reading;
  Scope scope(world.loop());
  scope.spawn(Reading::run(task, {}, reading, soon(world)));
  co_await sleep_for(1ms);
  task->fail(error(ErrorCode::kRefused, "the origin is down"));
  must(co_await scope.idle(soon(world)));
  CHECK(reading.bytes == content.substr(0, 10'000));
  CHECK(reading.failure->code() == ErrorCode::kRefused);
  Reading again;
  scope.spawn(Reading::run(task, {}, again, soon(world)));
  must(co_await scope.idle(soon(world)));
  CHECK(again.bytes == content.substr(0, 10'000));
  CHECK(again.failure->code() == ErrorCode::kRefused);
}

STORE_TEST("a reader gives up at its deadline") {
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 100, 100));
  Reader reader(task, {});
  auto run = co_await reader.next(Deadline::in(1ms, world.now()));
  CHECK(run.failed_with(ErrorCode::kTimeout));
}

STORE_TEST("a task tells who reads it and from where") {
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 1000, 100));
  Reader a(task, {.offset = 200, .length = 300});
  {
    Reader b(task, {});
    int count = 0;
    task->each_reader([&](std::uint64_t, std::uint64_t) { ++count; });
    CHECK(count == 2);
  }
  task->each_reader([&](std::uint64_t position, std::uint64_t end) {
    CHECK(position == 200);
    CHECK(end == 500);
  });
}
