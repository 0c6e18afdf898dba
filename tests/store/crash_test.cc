// What is left after the power fails, the process is killed, or the disk fails, at any single step.
#include <map>
#include <set>

#include "fixture.h"
#include "sim/simulation.h"

using namespace d7y;
using namespace d7y::store;

namespace {

constexpr std::uint64_t kPiece = 20'000;

// Content `version` of task `number`.
const std::string& content_of(int number, int version) {
  static std::map<int, std::string> all;
  auto& content = all[number * 10 + version];
  if (content.empty()) content = made_up(90'000, static_cast<std::uint64_t>(number * 10 + version));
  return content;
}

// What the outside knows: it survives every crash.
struct Truth {
  struct Known {
    std::set<std::uint32_t> complete, synced;
    int version = 1;
    bool uncertain = false;  // being reset or removed when the crash came: either is right
    bool gone = false;
  };
  std::map<int, Known> tasks;
  bool exported = false;
  bool ended = false;
};

class Life {
 public:
  Life(sim::Host& host, Truth& truth) : host_(host), truth_(truth) {}

  // Everything a store does, in some order, going on after failures.
  Task<void> run() {
    StoreOptions options;
    options.folder = "/store";
    options.buffer_size = 4 << 10;  // a piece is long then, and written behind
    options.idle_tasks = 1;
    auto opened = co_await Store::open(host_, options, host_.log());
    if (!opened) co_return;
    auto store = std::move(*opened);
    // With a digest, durable export in the end.
    auto first = facts(1, 1);
    first.digest = "sha256:" + sha256_hex(as_bytes(content_of(1, 1)));
    if (auto task = co_await make(*store, first)) {
      put(*task, 1, 0, 2);
      co_await sync(*store);
      put(*task, 1, 2, 5);
      auto finished = co_await task->finish();
      if (finished) {
        ExportOptions wish{.path = "/out", .durable = true};
        auto exported = co_await export_content(task, wish);
        if (exported && host_.running()) truth_.exported = true;
      }
    }
    // Of unknown length.
    auto second = facts(2, 1);
    second.content_length.reset();
    if (auto task = co_await make(*store, second)) {
      put(*task, 2, 0, 4);
      if (put_last(*task, 2)) {
        auto finished = co_await task->finish();
        (void)finished.ok();
      }
    }
    // Changed at the origin.
    if (auto task = co_await make(*store, facts(3, 1))) {
      put(*task, 3, 0, 5);
      co_await sync(*store);
      auto& known = truth_.tasks[3];
      known.uncertain = true;
      auto reset = task->reset(facts(3, 2));
      if (reset && host_.running()) known.complete.clear(), known.synced.clear(), known.version = 2;
      if (host_.running() && !reset) known.uncertain = false;
      if (reset) put(*task, 3, 0, 3);
    }
    // Deleted.
    if (auto task = co_await make(*store, facts(4, 1))) {
      put(*task, 4, 0, 2);
      truth_.tasks[4].uncertain = true;
      auto removed = store->remove(an_id(4));
      if (removed && host_.running()) truth_.tasks[4].gone = true;
      if (!removed && host_.running()) truth_.tasks[4].uncertain = false;
    }
    co_await sync(*store);
    auto closed = co_await store->close();
    (void)closed.ok();
    truth_.ended = host_.running();
  }

  // After the crash: nothing wrong, nothing durable lost; then all can be completed.
  Task<void> check(bool power_failed) {
    {
      auto store = co_await reopen();
      for (auto& [number, known] : truth_.tasks) {
        CAPTURE(number);
        auto found = co_await store->find(an_id(number));
        if (!found) {
          CHECK(found.failed_with(ErrorCode::kNotFound));
          bool lost = !known.uncertain && !known.gone &&
                      (power_failed ? !known.synced.empty() : !known.complete.empty());
          CHECK_FALSE(lost);
          continue;
        }
        TaskHandle task = *found;
        int version = task->facts().version.etag == "2" ? 2 : 1;
        if (!known.uncertain) CHECK(version == known.version);
        check_pieces(*task, number, version);
        if (!known.uncertain && version == known.version) {
          for (auto piece : power_failed ? known.synced : known.complete) CHECK(task->has(piece));
        }
      }
      if (truth_.exported) CHECK(file_bytes(host_, "/out") == content_of(1, 1));
      if (host_.files().link_status("/out").ok()) CHECK(file_bytes(host_, "/out") == content_of(1, 1));
      // What is missing can be fetched again.
      for (int number : {1, 2, 3, 4}) {
        int version = number == 3 ? 2 : 1;
        auto made = co_await store->create(facts(number, version));
        TaskHandle task = must(std::move(made));
        if (task->facts().version.etag != std::to_string(version)) must(task->reset(facts(number, version)));
        if (!task->content_length()) must(task->set_content_length(90'000));
        auto content = content_of(number, version);
        must(put_all(*task, content));
        must(co_await task->finish());
        CHECK(stored_bytes(*task, 0, 95'000) == content);
      }
      must(co_await store->close());
    }
    auto store = co_await reopen();
    CHECK(store->list().size() == 4);
    for (const auto& line : store->list()) {
      CHECK(line.finished);
      CHECK(line.stored == 90'000);
    }
    truth_.ended = true;
  }

 private:
  static TaskFacts facts(int number, int version) {
    auto facts = facts_of(an_id(number), 90'000, kPiece);
    facts.version.etag = std::to_string(version);
    return facts;
  }

  Task<std::unique_ptr<Store>> reopen() {
    StoreOptions options;
    options.folder = "/store";
    auto opened = co_await Store::open(host_, options, host_.log());
    co_return must(std::move(opened));
  }

  Task<TaskHandle> make(Store& store, TaskFacts facts) {
    auto made = co_await store.create(std::move(facts));
    co_return made ? std::move(*made) : TaskHandle();
  }

  void put(StoredTask& task, int number, std::uint32_t from, std::uint32_t to) {
    auto version = task.facts().version.etag == "2" ? 2 : 1;
    for (auto piece = from; piece < to; ++piece) {
      auto done = put_piece(task, piece, content_of(number, version));
      if (done && host_.running()) truth_.tasks[number].complete.insert(piece);
    }
  }

  bool put_last(StoredTask& task, int number) {
    auto claimed = task.claim(4);
    if (!claimed || claimed->state != ClaimState::kClaimed) return false;
    auto content = content_of(number, 1);
    if (!claimed->claim->write(as_bytes(std::string_view(content).substr(80'000)))) return false;
    if (!task.set_content_length(90'000)) return false;
    auto done = claimed->claim->complete({});
    if (done && host_.running()) truth_.tasks[number].complete.insert(4);
    return done.ok();
  }

  Task<void> sync(Store& store) {
    std::map<int, std::set<std::uint32_t>> before;
    for (auto& [number, known] : truth_.tasks) before[number] = known.complete;
    auto synced = co_await store.sync();
    if (!synced || !host_.running()) co_return;
    for (auto& [number, known] : truth_.tasks) {
      if (!known.gone) known.synced = before[number];
    }
  }

  void check_pieces(StoredTask& task, int number, int version) {
    auto content = content_of(number, version);
    for (std::uint32_t piece = 0; piece < 5; ++piece) {
      if (!task.has(piece)) continue;
      CAPTURE(piece);
      CHECK(stored_piece(task, piece) == part_of(content, task, piece));
    }
    if (task.finished()) CHECK(task.has_everything());
  }

  sim::Host& host_;
  Truth& truth_;
};

void live_and_die(std::uint64_t seed, std::uint64_t step, bool power, bool& reached_the_end) {
  CAPTURE(seed);
  CAPTURE(step);
  sim::Simulation sim(seed);
  auto& host = sim.add_host();
  Truth truth;
  Life life(host, truth);
  if (power) {
    host.disk().power_off_at(step);
    host.spawn(life.run());
    sim.run_until([&] { return truth.ended || !host.running(); }, 1h);
  } else {
    host.spawn(life.run());
    sim.run_until([&] { return truth.ended || host.disk().changes() >= step; }, 1h);
    if (!truth.ended) host.kill();
  }
  reached_the_end = truth.ended;
  if (reached_the_end && host.running()) host.power_off();
  host.disk().keep_power();
  sim.run_for(1s);
  host.start();
  truth.ended = false;
  host.spawn(life.check(power));
  CHECK(sim.run_until([&] { return truth.ended; }, 1h));
}

}  // namespace

TEST_CASE(
    "the power may fail at any change to the disk: nothing wrong is believed, nothing durable is lost") {
  for (auto seed : sim::seeds(3)) {
    bool ended = false;
    std::uint64_t step = 1;
    for (; !ended; ++step) live_and_die(seed, step, true, ended);
    CHECK(step > 50);
  }
}

TEST_CASE("the process may be killed at any moment: everything complete is there") {
  for (auto seed : sim::seeds(2)) {
    bool ended = false;
    for (std::uint64_t step = 1; !ended; ++step) live_and_die(seed, step, false, ended);
  }
}

TEST_CASE("any single operation of the disk may fail: the error is told, the store stays whole") {
  std::uint64_t failed = 0;
  for (auto op : {sim::FileOp::kOpen, sim::FileOp::kRead, sim::FileOp::kWrite, sim::FileOp::kResize,
                  sim::FileOp::kReserve, sim::FileOp::kSync, sim::FileOp::kSyncFolder, sim::FileOp::kRename,
                  sim::FileOp::kLink, sim::FileOp::kRemove, sim::FileOp::kMakeFolder, sim::FileOp::kList,
                  sim::FileOp::kStatus}) {
    for (auto code : {ErrorCode::kIo, ErrorCode::kDiskFull}) {
      for (std::uint64_t after = 0; after < 60; ++after) {
        CAPTURE(static_cast<int>(op));
        CAPTURE(after);
        sim::Simulation sim(after + 1);
        auto& host = sim.add_host();
        Truth truth;
        Life life(host, truth);
        host.disk().inject({.op = op, .code = code, .after = after});
        host.spawn(life.run());
        sim.run_until([&] { return truth.ended || host.tasks() == 0; }, 1h);
        host.disk().clear_faults();
        failed += truth.ended ? 0 : 1;
        // The process ends, in whatever state it is, and begins anew.
        host.kill();
        sim.run_for(1s);
        host.start();
        truth.ended = false;
        for (auto& [number, known] : truth.tasks)
          known.uncertain = true;  // a failed sync, a failed reset ...
        host.spawn(life.check(true));
        CHECK(sim.run_until([&] { return truth.ended; }, 1h));
      }
    }
  }
  CHECK(failed > 0);
}

namespace {

Task<void> fill_the_disk(sim::Host& host, bool& done) {
  StoreOptions options;
  options.folder = "/store";
  options.buffer_size = 16 << 10;
  auto opened = co_await Store::open(host, options, host.log());
  auto store = must(std::move(opened));
  auto put_task = [&](int number) { return facts_of(an_id(number), 1'000'000, 250'000); };
  // Three finished tasks, the first of them in use, fill most of 5 MB.
  std::vector<TaskHandle> kept;
  for (int number = 1; number <= 4; ++number) {
    auto made = co_await store->create(put_task(number));
    TaskHandle task = must(std::move(made));
    must(put_all(*task, made_up(1'000'000, static_cast<std::uint64_t>(number))));
    must(co_await task->finish());
    if (number == 1) kept.push_back(task);
    co_await sleep_for(1min);
  }
  // The next needs room: the least recently used one that nobody holds goes.
  auto made = co_await store->create(put_task(5));
  TaskHandle fifth = must(std::move(made));
  must(put_all(*fifth, made_up(1'000'000, 5)));
  must(co_await fifth->finish());
  CHECK(store->contains(an_id(1)));
  CHECK_FALSE(store->contains(an_id(2)));
  CHECK(store->stats().emergencies > 0);
  CHECK(stored_bytes(*fifth, 0, 1'000'000) == made_up(1'000'000, 5));
  CHECK(stored_bytes(*kept[0], 0, 1'000'000) == made_up(1'000'000, 1));

  // With everything held there is no room, and a clear error; what is there stays good.
  for (int number = 3; number <= 4; ++number) {
    auto found = co_await store->find(an_id(number));
    if (found) kept.push_back(*found);
  }
  kept.push_back(fifth);
  std::optional<Error> failure;
  for (int number = 10; number < 14 && !failure; ++number) {
    auto again = co_await store->create(put_task(number));
    if (!again) {
      failure = std::move(again).error();
      break;
    }
    kept.push_back(*again);
    auto put = put_all(**again, made_up(1'000'000, static_cast<std::uint64_t>(number)));
    if (!put) failure = std::move(put).error();
  }
  CHECK(failure.has_value());
  CHECK(failure->code() == ErrorCode::kDiskFull);
  CHECK(failure->message().find("/store") != std::string::npos);
  for (auto& task : kept) {
    auto bytes = made_up(1'000'000, std::stoull(task->id(), nullptr, 16) / 0x10001ull);
    for (std::uint32_t piece = 0; piece < 4; ++piece) {
      if (task->has(piece)) CHECK(crc32(as_bytes(stored_piece(*task, piece))) == task->piece(piece)->crc);
    }
  }
  // Space is given back: it goes on where it stopped.
  TaskHandle waiting = kept.back();
  kept.clear();
  must(put_all(*waiting, made_up(1'000'000, 13)));
  done = true;
}

}  // namespace

namespace {

// Content that can never fit, then some that was begun and left, then content that needs the latter's room.
Task<void> reserve_too_much(world::World& world, bool& done) {
  StoreOptions options;
  options.folder = "/store";
  auto opened = co_await Store::open(world, options, Log());
  auto store = must(std::move(opened));
  auto before = must(store->space()).available;
  {
    auto big_facts = facts_of(an_id(1), 9'000'000, 1'000'000);
    auto big_made = co_await store->create(std::move(big_facts));
    auto big = must(std::move(big_made));
    auto reserved = big->reserve(0, 9'000'000);
    CHECK(reserved.failed_with(ErrorCode::kDiskFull));
  }
  CHECK(must(store->space()).available + 100'000 > before);  // not taken and kept
  {
    auto left_facts = facts_of(an_id(2), 3'000'000, 1'000'000);
    auto left_made = co_await store->create(std::move(left_facts));
    auto left = must(std::move(left_made));
    must(left->reserve(0, 3'000'000));
    left->fail(error(ErrorCode::kReset, "the origin died"));
  }
  auto next_facts = facts_of(an_id(3), 3'000'000, 1'000'000);
  auto next_made = co_await store->create(std::move(next_facts));
  auto next = must(std::move(next_made));
  CHECK(next->reserve(0, 3'000'000).ok());
  CHECK(!store->contains(an_id(2)));
  done = true;
}

}  // namespace

TEST_CASE("room that was reserved in vain is free again") {
  sim::Simulation sim(1);
  auto& host = sim.add_host({.disk = {.capacity = 10'000'000}});
  host.disk().put("/ballast", std::string(5'000'000, 'x'));
  bool done = false;
  host.spawn(reserve_too_much(host, done));
  CHECK(sim.run_until([&] { return done; }, 1h));
}

TEST_CASE("a full disk evicts what nobody uses, else says so, and the store stays whole") {
  sim::Simulation sim(1);
  auto& host = sim.add_host({.disk = {.capacity = 5'000'000}});
  bool done = false;
  host.spawn(fill_the_disk(host, done));
  CHECK(sim.run_until([&] { return done; }, 1h));
}
