// The engine against an origin that behaves, and against one that does not.
#include "fetch/engine.h"

#include <doctest/doctest.h>

#include "base/crc32.h"
#include "base/hash.h"
#include "rig.h"

using namespace fetch_test;

TEST_CASE("content arrives whole at its output, and every byte crosses the origin once") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    Rig rig(seed);
    auto content = sim::random_bytes(30_MiB + 12345, seed);
    rig.origin.serve("/a.bin", content);
    auto wish = rig.wish("/a.bin");
    wish.output_path = "/out.bin";
    auto done = rig.download(std::move(wish));
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/out.bin") == content);
    CHECK(rig.origin.body_bytes() == content.size());
    CHECK(rig.last->progress().from_source == content.size());
  }
}

namespace {
// A loop that has much else to do finds much when it looks.
Task<void> be_busy(sim::Host& host) {
  for (;;) {
    host.burn(5ms);
    co_await sleep_for(6ms);
  }
}
}  // namespace

TEST_CASE("what an origin sends fast is received beside the loop") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    Rig rig(seed, {}, {.name = "peer", .receives = true});
    auto content = sim::random_bytes(40_MiB + 12345, seed);
    auto& file = rig.origin.serve("/a.bin", content);
    if (seed % 2 == 1) file.faults.push_back({.reset_after = 3'500'000, .count = 2});
    rig.host.spawn(be_busy(rig.host));
    auto wish = rig.wish("/a.bin");
    wish.output_path = "/out.bin";
    auto done = rig.download(std::move(wish));
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/out.bin") == content);
    CHECK(rig.last->progress().from_source == content.size());
    CHECK(rig.store->stats().written == content.size());
    CHECK(dynamic_cast<sim::HostReceiver&>(*rig.host.receiver()).started() > 0);
  }
}

TEST_CASE("what is no file is not replaced by one") {
  Rig rig(1);
  rig.origin.serve("/a", "x");
  auto socket = rig.host.network().listen(Address::unix_socket("/socket"), {});
  REQUIRE(socket.ok());
  auto wish = rig.wish("/a");
  wish.output_path = "/socket";
  wish.overwrite = true;
  CHECK(rig.download(std::move(wish)).failed_with(ErrorCode::kInvalid));
  CHECK(rig.origin.requests() == 0);
}

TEST_CASE("small and empty content cost one request") {
  Rig rig(1);
  rig.origin.serve("/one", "x");
  rig.origin.serve("/none", "");
  auto one = rig.wish("/one");
  one.output_path = "/one";
  REQUIRE(rig.download(std::move(one)).ok());
  CHECK(rig.file("/one") == "x");
  CHECK(rig.origin.requests() == 1);
  auto none = rig.wish("/none");
  none.output_path = "/none";
  auto empty = rig.download(std::move(none));
  REQUIRE_MESSAGE(empty.ok(), empty.error().message());
  CHECK(rig.file("/none").empty());
  CHECK(rig.exists("/none"));
}

TEST_CASE("origins without ranges, without HEAD, and without a length are read as one stream") {
  auto content = sim::random_bytes(17_MiB + 1, 7);
  for (int kind = 0; kind < 4; ++kind) {
    CAPTURE(kind);
    Rig rig(7);
    auto& file = rig.origin.serve("/a", content);
    if (kind == 0) file.ranges = false;
    if (kind == 1) file.head = false;
    if (kind == 2) file.framing = sim::OriginFile::Framing::kChunked;
    if (kind == 3) file.framing = sim::OriginFile::Framing::kUntilClose;
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto done = rig.download(std::move(wish));
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/a") == content);
  }
}

TEST_CASE("content shorter than the first request is got from an origin that refuses such ranges") {
  for (auto size : {0_MiB, 1_MiB, 9_MiB}) {
    CAPTURE(size);
    Rig rig(8);
    auto content = sim::random_bytes(size, 8);
    rig.origin.serve("/a", content).faults.push_back({.refuse_range = true, .count = sim::kAlways});
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto done = rig.download(std::move(wish));
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/a") == content);
  }
}

TEST_CASE("an origin that breaks off, stalls or is busy is asked again for what is missing only") {
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    Rig rig(seed);
    auto content = sim::random_bytes(40_MiB, seed);
    auto& file = rig.origin.serve("/a", content);
    file.faults.push_back({.status = 503, .retry_after = 1, .count = 2});
    file.faults.push_back({.reset_after = 1_MiB, .after = 2, .probability = 0.5, .count = 3});
    file.faults.push_back({.stall_after = 300'000, .after = 3, .probability = 0.3, .count = 1});
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto done = rig.download(std::move(wish), 300s);
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/a") == content);
    CHECK(rig.origin.body_bytes() <= content.size() + 8_MiB);
  }
}

TEST_CASE("an origin that takes one connection of a client, or two, is read over as many") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    Rig rig(seed);
    auto content = sim::random_bytes(40_MiB, seed);
    auto& file = rig.origin.serve("/a", content);
    file.rate = 4'000'000;
    file.most_answers = 1 + seed % 2;
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto done = rig.download(std::move(wish));
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/a") == content);
    CHECK(rig.origin.requests() < 30);
  }
}

TEST_CASE("what an origin refuses is told with its status, and nothing is left at the output") {
  for (int status : {403, 404, 500}) {
    CAPTURE(status);
    Rig rig(3);
    rig.origin.serve("/a", "secret").faults.push_back({.status = status, .count = sim::kAlways});
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto done = rig.download(std::move(wish));
    REQUIRE(!done.ok());
    CHECK(done.error().status() == status);
    CHECK(done.error().message().find("/a") != std::string::npos);
    CHECK(!rig.exists("/a"));
  }
}

TEST_CASE("content that changes during the download is fetched anew, never mixed") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    Rig rig(seed);
    auto& file = rig.origin.serve("/a", sim::random_bytes(64_MiB, seed));
    file.rate = 10'000'000;
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto started = rig.engine->start(std::move(wish), Deadline::in(120s, rig.host.now()));
    REQUIRE(started.ok());
    rig.last = std::move(*started);
    rig.sim.run_for(1s);
    const auto fresh = sim::random_bytes(64_MiB, seed + 1000);
    file.change(fresh, "\"v2\"");
    auto done = rig.sim.run(rig.last->ended(), 130s);
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/a") == fresh);
  }
}

TEST_CASE("an origin that is several machines which do not agree on a version is read in one answer") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    Rig rig(seed);
    auto content = sim::random_bytes(40_MiB, seed);
    auto& file = rig.origin.serve("/a", content);
    file.rate = 10'000'000;
    file.other_etag = "\"another\"";
    if (seed % 2 == 1) file.ranges = false;
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto done = rig.download(std::move(wish));
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/a") == content);
    CHECK(rig.origin.requests() < 20);
    if (!file.ranges) continue;
    auto part = rig.wish("/a");
    part.message.set_tag("part");
    part.message.mutable_range()->set_start(3_MiB);
    part.message.mutable_range()->set_length(20_MiB);
    part.output_path = "/part";
    done = rig.download(std::move(part));
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/part") == content.substr(3_MiB, 20_MiB));
  }
}

TEST_CASE("who reads content that changes meanwhile gets an error, never a mix") {
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    Rig rig(seed);
    auto& file = rig.origin.serve("/a", sim::random_bytes(64_MiB, seed));
    file.rate = 10'000'000;
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    wish.in_order = true;
    auto started = rig.engine->start(std::move(wish), Deadline::in(120s, rig.host.now()));
    REQUIRE(started.ok());
    rig.last = std::move(*started);
    rig.sim.run_for(1s);
    file.change(sim::random_bytes(64_MiB, seed + 1000), "\"v2\"");
    auto done = rig.sim.run(rig.last->ended(), 130s);
    REQUIRE(!done.ok());
    CHECK(done.error().code() == ErrorCode::kChanged);
    CHECK(!rig.exists("/a"));
  }
}

TEST_CASE("several wishes for one task share one download") {
  Rig rig(11);
  auto content = sim::random_bytes(20_MiB, 11);
  rig.origin.serve("/a", content).rate = 20'000'000;
  std::vector<std::unique_ptr<fetch::Download>> downloads;
  for (int i = 0; i < 5; ++i) {
    auto wish = rig.wish("/a");
    wish.output_path = "/out" + std::to_string(i);
    auto started = rig.engine->start(std::move(wish), Deadline::in(60s, rig.host.now()));
    REQUIRE(started.ok());
    downloads.push_back(std::move(*started));
    rig.sim.run_for(100ms);
  }
  for (auto& download : downloads) CHECK(rig.sim.run(download->ended(), 60s).ok());
  for (int i = 0; i < 5; ++i) CHECK(rig.file("/out" + std::to_string(i)) == content);
  CHECK(rig.origin.body_bytes() == content.size());
}

TEST_CASE("a range is fetched by its pieces and put out exactly") {
  Rig rig(13);
  auto content = sim::random_bytes(40_MiB, 13);
  rig.origin.serve("/a", content);
  auto wish = rig.wish("/a");
  wish.message.mutable_range()->set_start(9_MiB);
  wish.message.mutable_range()->set_length(1000);
  wish.output_path = "/a";
  auto done = rig.download(std::move(wish));
  REQUIRE_MESSAGE(done.ok(), done.error().message());
  CHECK(rig.file("/a") == content.substr(9_MiB, 1000));
  CHECK(rig.origin.body_bytes() == 4_MiB);
  auto beyond = rig.wish("/a");
  beyond.message.mutable_range()->set_start(41_MiB);
  beyond.message.mutable_range()->set_length(1);
  auto refused = rig.download(std::move(beyond));
  CHECK(refused.failed_with(ErrorCode::kPrecondition));
}

TEST_CASE("a wrong digest is found, and nothing of it is kept") {
  Rig rig(17);
  rig.origin.serve("/a", sim::random_bytes(9_MiB, 17));
  auto wish = rig.wish("/a");
  wish.output_path = "/a";
  wish.message.set_digest("sha256:" + std::string(64, '0'));
  auto done = rig.download(std::move(wish));
  CHECK(done.failed_with(ErrorCode::kCorrupt));
  CHECK(!rig.exists("/a"));
  rig.last.reset();
  auto right = rig.wish("/a");
  right.output_path = "/a";
  CHECK(rig.download(std::move(right)).ok());
}

TEST_CASE("content that is not what its URL calls it is not kept, whoever asked for it") {
  // As a seed is told: the URL alone, without a digest.
  Rig rig(18);
  auto path = "/v2/app/blobs/sha256:" + std::string(64, '0');
  rig.origin.serve(path, sim::random_bytes(9_MiB, 18));
  auto done = rig.download(rig.wish(path));
  CHECK(done.failed_with(ErrorCode::kCorrupt));
  rig.last.reset();
  CHECK(!rig.download(rig.wish(path)).ok());
  CHECK(rig.origin.body_bytes() > 9_MiB);  // asked for again, not taken from the store
}

TEST_CASE("bytes can be read in order while they arrive, and a slow reader slows nobody") {
  Rig rig(19);
  auto content = sim::random_bytes(24_MiB, 19);
  rig.origin.serve("/a", content);
  auto slow = rig.wish("/a");
  slow.in_order = true;
  auto reader = rig.engine->start(std::move(slow), Deadline::in(600s, rig.host.now()));
  REQUIRE(reader.ok());
  auto read_slowly = [](fetch::Download& download, std::string& out) -> Task<Result<void>> {
    std::string buffer(100'000, '\0');
    for (;;) {
      CO_TRY(auto got, co_await download.read(as_mutable_bytes(buffer), Deadline::never()));
      if (got == 0) co_return Result<void>{};
      out.append(buffer, 0, got);
      co_await sleep_for(100ms);
    }
  };
  std::string seen;
  auto quick = rig.wish("/a");
  quick.output_path = "/a";
  auto began = rig.sim.now();
  REQUIRE(rig.download(std::move(quick)).ok());
  CHECK(rig.sim.now() - began < 10s);
  auto done = rig.sim.run(read_slowly(**reader, seen), 600s);
  REQUIRE_MESSAGE(done.ok(), done.error().message());
  CHECK(seen == content);
}

TEST_CASE("an engine and its store may go while a download that nobody waits for is being finished") {
  const auto content = sim::random_bytes(9_MiB, 20);
  const auto path = "/v2/app/blobs/sha256:" + sha256_hex(as_bytes(content));
  for (int turns = 0; turns < 4; ++turns) {
    CAPTURE(turns);
    Rig rig(20);
    rig.origin.serve(path, content);
    auto started = rig.engine->start(rig.wish(path), Deadline::in(60s, rig.host.now()));
    REQUIRE(started.ok());
    rig.last = std::move(*started);
    // Its digest is being computed, or what says that it is finished is being written.
    REQUIRE(rig.sim.run_until([&] { return rig.last->task() && rig.last->task()->has_everything(); }, 60s));
    // On the engine's own loop, where cancelled tasks are destroyed only when the running one pauses.
    auto leave = [](Rig& all, int wait, bool& gone) -> Task<void> {
      all.last.reset();
      for (int turn = 0; turn < wait; ++turn) co_await yield();
      all.engine.reset();
      all.store.reset();
      gone = true;
    };
    bool gone = false;
    rig.host.spawn(leave(rig, turns, gone));
    CHECK(rig.sim.run_until([&] { return gone; }, 60s));
  }
}

TEST_CASE("a download ends at its deadline, whatever the origin does") {
  Rig rig(23);
  rig.origin.serve("/a", sim::random_bytes(8_MiB, 23))
      .faults.push_back({.delay = 3600s, .count = sim::kAlways});
  auto began = rig.sim.now();
  auto done = rig.download(rig.wish("/a"), 7s);
  CHECK(done.failed_with(ErrorCode::kTimeout));
  CHECK(rig.sim.now() - began < 8s);
}

TEST_CASE("what has come of a piece shows before the piece is whole") {
  Rig rig(28);
  rig.origin.serve("/a", sim::random_bytes(12_MiB, 28)).rate = 1'000'000;
  auto wish = rig.wish("/a");
  wish.range_header = "bytes=8388608-";  // one piece
  auto started = rig.engine->start(std::move(wish), Deadline::in(60s, rig.host.now()));
  REQUIRE(started.ok());
  rig.sim.run_for(2s);
  auto progress = (*started)->progress();
  CHECK(progress.done > 1'000'000);
  CHECK(progress.done < 3'000'000);
  CHECK(progress.pieces_done == 0);
  REQUIRE(rig.sim.run((*started)->ended(), 60s).ok());
  CHECK((*started)->progress().done == 4_MiB);
}

TEST_CASE("what a cancelled download left is not fetched again") {
  Rig rig(29);
  auto content = sim::random_bytes(40_MiB, 29);
  rig.origin.serve("/a", content).rate = 10'000'000;
  {
    auto started = rig.engine->start(rig.wish("/a"), Deadline::in(60s, rig.host.now()));
    REQUIRE(started.ok());
    rig.sim.run_for(1s);
  }
  rig.sim.run_for(1s);
  auto wish = rig.wish("/a");
  wish.output_path = "/a";
  auto done = rig.download(std::move(wish));
  REQUIRE_MESSAGE(done.ok(), done.error().message());
  CHECK(rig.file("/a") == content);
  CHECK(rig.last->progress().from_local > 0);
}

TEST_CASE("a download that was begun starts anew when the origin has another version by now") {
  Rig rig(31);
  auto& file = rig.origin.serve("/a", sim::random_bytes(40_MiB, 31));
  file.rate = 10'000'000;
  {
    auto started = rig.engine->start(rig.wish("/a"), Deadline::in(60s, rig.host.now()));
    REQUIRE(started.ok());
    rig.sim.run_for(1s);
  }
  rig.sim.run_for(1s);
  auto fresh = sim::random_bytes(30_MiB, 32);
  file.change(fresh, "\"v2\"");
  auto wish = rig.wish("/a");
  wish.output_path = "/a";
  auto done = rig.download(std::move(wish));
  REQUIRE_MESSAGE(done.ok(), done.error().message());
  CHECK(rig.file("/a") == fresh);
}

TEST_CASE("after content changed during a download the next one gets the new content") {
  Rig rig(37);
  auto& file = rig.origin.serve("/a", sim::random_bytes(64_MiB, 37));
  file.rate = 10'000'000;
  auto reading = rig.wish("/a");
  reading.in_order = true;
  auto started = rig.engine->start(std::move(reading), Deadline::in(120s, rig.host.now()));
  REQUIRE(started.ok());
  rig.last = std::move(*started);
  rig.sim.run_for(1s);
  auto fresh = sim::random_bytes(64_MiB, 38);
  file.change(fresh, "\"v2\"");
  CHECK(rig.sim.run(rig.last->ended(), 130s).failed_with(ErrorCode::kChanged));
  auto wish = rig.wish("/a");
  wish.output_path = "/a";
  auto done = rig.download(std::move(wish));
  REQUIRE_MESSAGE(done.ok(), done.error().message());
  CHECK(rig.file("/a") == fresh);
}

TEST_CASE("complete content is served without asking the origin again") {
  Rig rig(41);
  auto content = sim::random_bytes(9_MiB, 41);
  rig.origin.serve("/a", content);
  REQUIRE(rig.download(rig.wish("/a")).ok());
  auto requests = rig.origin.requests();
  auto wish = rig.wish("/a");
  wish.output_path = "/a";
  REQUIRE(rig.download(std::move(wish)).ok());
  CHECK(rig.file("/a") == content);
  CHECK(rig.origin.requests() == requests);
}

TEST_CASE("old content is compared with its origin, if that is wished") {
  fetch::EngineOptions options;
  options.revalidate_after = 1min;
  Rig rig(43, options);
  const auto content = sim::random_bytes(9_MiB, 43), fresh = sim::random_bytes(9_MiB, 44);
  auto& file = rig.origin.serve("/a", content);
  REQUIRE(rig.download(rig.wish("/a")).ok());
  int outputs = 0;
  const auto again = [&](bool named = false) {
    rig.last.reset();  // who joins a download gets what that has
    rig.sim.run_for(1ms);
    auto wish = rig.wish("/a");
    wish.output_path = "/out" + std::to_string(++outputs);
    if (named) wish.message.set_digest("crc32:" + std::to_string(crc32(as_bytes(content))));
    auto done = rig.download(wish);
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    return rig.file(wish.output_path);
  };
  auto asked = [&, before = std::uint64_t{0}]() mutable {
    return rig.origin.requests() - std::exchange(before, rig.origin.requests());
  };
  (void)asked();
  rig.sim.run_for(30s);
  CHECK(again() == content);
  CHECK(asked() == 0);  // it is young
  rig.sim.run_for(31s);
  CHECK(again() == content);
  CHECK(asked() == 1);  // HEAD
  CHECK(again() == content);
  CHECK(asked() == 0);  // just compared

  file.change(fresh, "\"v2\"");
  CHECK(again() == content);
  rig.sim.run_for(61s);
  SUBCASE("what is new is fetched") {
    CHECK(again() == fresh);
    (void)asked();
    CHECK(again() == fresh);
    CHECK(asked() == 0);
  }
  SUBCASE("what has a digest is what it is") { CHECK(again(true) == content); }
  SUBCASE("an origin that is away leaves things as they are, and is not asked each time") {
    file.faults.push_back({.status = 503, .count = sim::kAlways});
    CHECK(again() == content);
    (void)asked();
    CHECK(again() == content);
    CHECK(asked() == 0);
    file.faults.clear();
    rig.sim.run_for(61s);
    CHECK(again() == fresh);
  }
  SUBCASE("content that is gone is gone") {
    file.faults.push_back({.status = 404, .count = sim::kAlways});
    rig.last.reset();
    rig.sim.run_for(1ms);
    CHECK(rig.download(rig.wish("/a")).failed_with(ErrorCode::kNotFound));
  }
}

TEST_CASE("an origin that turns out to send no ranges while several lanes ask is read as one stream") {
  for (auto seed : sim::seeds(5)) {
    CAPTURE(seed);
    Rig rig(seed);
    auto content = sim::random_bytes(40_MiB, seed);
    auto& file = rig.origin.serve("/a", content);
    file.faults.push_back({.ignore_range = true, .after = 1, .count = sim::kAlways});
    auto wish = rig.wish("/a");
    wish.output_path = "/a";
    auto done = rig.download(std::move(wish), 120s);
    REQUIRE_MESSAGE(done.ok(), done.error().message());
    CHECK(rig.file("/a") == content);
  }
}
