// The hand of garbage collection, in virtual time.
#include "fixture.h"
#include "sim/simulation.h"

using namespace d7y;
using namespace d7y::store;

namespace {

Task<std::unique_ptr<Store>> open_with(world::World& world, GcOptions gc) {
  StoreOptions options;
  options.gc = gc;
  options.folder = "/store";
  auto opened = co_await Store::open(world, std::move(options), Log());
  co_return must(std::move(opened));
}

Task<void> put_finished(Store& store, int number, std::size_t bytes) {
  auto made = co_await store.create(facts_of(an_id(number), bytes, 100'000));
  TaskHandle task = must(std::move(made));
  must(put_all(*task, made_up(bytes, static_cast<std::uint64_t>(number))));
  must(co_await task->finish());
}

using Ids = std::vector<std::string>;

Ids ids_of(const Collected& collected) {
  std::vector<std::string> ids;
  for (const auto& item : collected.evicted) ids.push_back(item.id);
  return ids;
}

Task<Ids> collect(Store& store) {
  auto collected = co_await store.collect();
  co_return ids_of(must(std::move(collected)));
}

void run_simulated(sim::DiskOptions disk, Task<void> (*test)(sim::Host&, bool&)) {
  sim::Simulation sim(1);
  auto& host = sim.add_host({.disk = disk});
  bool done = false;
  host.spawn(test(host, done));
  CHECK(sim.run_until([&] { return done; }, 2000h));
}

Task<void> ages(sim::Host& host, bool& done) {
  GcOptions aging;
  aging.standard_ttl = 10h;
  auto store = co_await open_with(host, aging);
  co_await put_finished(*store, 1, 1000);
  co_await put_finished(*store, 2, 1000);
  co_await put_finished(*store, 3, 1000);
  auto held = must(co_await store->find(an_id(3)));
  co_await sleep_for(6h);
  must(co_await store->find(an_id(2)));  // a use
  co_await sleep_for(5h);
  auto first = must(co_await store->collect());
  CHECK(ids_of(first) == Ids{an_id(1)});
  CHECK(first.evicted[0].reason == GcReason::kExpired);
  CHECK(first.evicted[0].bytes == 1000);
  CHECK_FALSE(store->contains(an_id(1)));
  held = {};
  auto second = must(co_await store->collect());
  CHECK(ids_of(second) == Ids{an_id(3)});
  CHECK(store->stats().evictions == 2);
  CHECK(store->stats().evicted_bytes == 2000);
  // Uses survive a restart.
  must(co_await store->close());
  store.reset();
  store = co_await open_with(host, aging);
  co_await sleep_for(4h);
  auto gone = co_await collect(*store);
  CHECK(gone.empty());
  co_await sleep_for(2h);
  gone = co_await collect(*store);
  CHECK(gone == Ids{an_id(2)});
  done = true;
}

Task<void> disk_marks(sim::Host& host, bool& done) {
  auto store = co_await open_with(host, GcOptions());
  for (int number = 1; number <= 7; ++number) {
    co_await put_finished(*store, number, 1'000'000);
    co_await sleep_for(1min);
  }
  auto gone = co_await collect(*store);
  CHECK(gone.empty());
  must(co_await store->find(an_id(1)));
  for (int number = 8; number <= 9; ++number) {
    co_await put_finished(*store, number, 1'000'000);
    co_await sleep_for(1min);
  }
  auto collected = must(co_await store->collect());
  // 9 MB and what the file system adds, to 6 MB.
  CHECK(ids_of(collected) == Ids{an_id(2), an_id(3), an_id(4), an_id(5)});
  CHECK(collected.evicted[0].reason == GcReason::kDiskUse);
  co_await sleep_for(1min);  // removal in the background
  CHECK(host.disk().used() < 6'500'000);
  gone = co_await collect(*store);
  CHECK(gone.empty());
  done = true;
}

Task<void> own_share(sim::Host& host, bool& done) {
  GcOptions share;
  share.disk_threshold = 4'000'000;
  auto store = co_await open_with(host, share);
  for (int number = 1; number <= 4; ++number) {
    co_await put_finished(*store, number, 1'000'000);
    co_await sleep_for(1min);
  }
  auto gone = co_await collect(*store);
  CHECK(gone == Ids{an_id(1), an_id(2)});
  done = true;
}

Task<void> linked_out(sim::Host& host, bool& done) {
  auto store = co_await open_with(host, GcOptions());
  for (int number = 1; number <= 9; ++number) {
    co_await put_finished(*store, number, 1'000'000);
    co_await sleep_for(1min);
  }
  {
    auto task = must(co_await store->find(an_id(1)));
    ExportOptions output;
    output.path = "/out";
    must(co_await export_content(task, output));
    co_await sleep_for(1min);
  }
  for (int number = 2; number <= 9; ++number) {
    must(co_await store->find(an_id(number)));
    co_await sleep_for(1min);
  }
  // Deleting 1 would give nothing back: it is the user's as well.
  auto gone = co_await collect(*store);
  CHECK(gone == Ids{an_id(2), an_id(3), an_id(4)});
  must(host.files().remove("/out"));
  co_await put_finished(*store, 10, 1'000'000);
  co_await put_finished(*store, 11, 1'000'000);
  co_await put_finished(*store, 12, 1'000'000);
  gone = co_await collect(*store);
  CHECK(gone == Ids{an_id(1), an_id(5), an_id(6)});
  done = true;
}

Task<void> short_content(sim::Host& host, bool& done) {
  auto store = co_await open_with(host, GcOptions());
  std::vector<TaskHandle> tasks;
  for (int number = 1; number <= 20; ++number) {
    auto made = co_await store->create(facts_of(an_id(number), std::nullopt, 100'000));
    tasks.push_back(must(std::move(made)));
    must(put_piece(*tasks.back(), 0, made_up(100'000)));
  }
  CHECK(host.disk().used() < 3'000'000);
  done = true;
}

struct Finding {
  static Task<void> run(Store& store, std::string id, bool& found) {
    auto task = co_await store.find(std::move(id));
    found = task.ok() && (*task)->pieces().count() == 10;
  }
};

Task<void> doubted(sim::Host& host, bool& done) {
  {
    auto store = co_await open_with(host, GcOptions());
    co_await put_finished(*store, 1, 1'000'000);
  }
  auto store = co_await open_with(host, GcOptions());
  bool first = false, second = false;
  Scope cancelled(host.loop()), patient(host.loop());
  cancelled.spawn(Finding::run(*store, an_id(1), first));
  patient.spawn(Finding::run(*store, an_id(1), second));
  co_await sleep_for(300us);  // some of the pieces were read
  CHECK_FALSE(first);
  cancelled.cancel();
  must(co_await patient.idle(soon(host)));
  CHECK(second);
  CHECK_FALSE(first);
  done = true;
}

// What one who left was computing goes on beside us; ours must be another.
Task<void> finishes_after_one_left(sim::Host& host, bool& done) {
  auto store = co_await open_with(host, GcOptions());
  auto content = made_up(5'500'000);
  auto facts = facts_of(an_id(1), content.size(), 2'500'000);
  facts.digest = "sha256:" + sha256_hex(as_bytes(content));
  auto made = co_await store->create(facts);
  auto task = must(std::move(made));
  for (std::uint32_t number : {0, 1}) must(put_piece(*task, number, content));
  co_await sleep_for(1s);  // the digest is computed up to here
  must(put_piece(*task, 2, content));
  struct Finish {
    static Task<void> run(TaskHandle task) { (void)co_await task->finish(); }
  };
  {
    Scope leaving(host.loop());
    leaving.spawn(Finish::run(task));
    co_await yield();
  }
  must(co_await task->finish());
  CHECK(task->finished());
  done = true;
}

// What works in the background begins in the loop's next turn; the task may be deleted before.
Task<void> goes_at_once(sim::Host& host, bool& done) {
  StoreOptions options;
  options.folder = "/store";
  options.write_behind = false;  // which would hold the task for a while
  auto opened = co_await Store::open(host, std::move(options), Log());
  auto store = must(std::move(opened));
  auto content = made_up(20'000'000);
  auto facts = facts_of(an_id(1), content.size(), 5'000'000);
  facts.digest = "sha256:" + sha256_hex(as_bytes(content));
  auto made = co_await store->create(facts);
  auto task = must(std::move(made));
  must(put_piece(*task, 0, content));
  task = {};
  CHECK(store->stats().pinned == 1);
  must(store->remove(an_id(1)));
  co_await sleep_for(1s);
  CHECK(store->stats().pinned == 0);
  CHECK(store->stats().tasks == 0);
  done = true;
}

Task<void> ends_busy(sim::Host& host, bool& done) {
  for (bool closes : {true, false}) {
    auto store = co_await open_with(host, GcOptions());
    {
      auto facts = facts_of(an_id(1), 20'000'000, 5'000'000);
      facts.digest = "sha256:" + sha256_hex(as_bytes(made_up(20'000'000)));
      auto made = co_await store->create(facts);
      auto task = must(std::move(made));
      for (std::uint32_t piece = 0; piece < 3; ++piece) {
        if (!task->has(piece)) must(put_piece(*task, piece, made_up(20'000'000)));
      }
      co_await sleep_for(60us);  // the digest is being computed
      must(store->remove(an_id(1)));
    }
    if (closes) must(co_await store->close());
    store.reset();
    co_await sleep_for(1s);
  }
  done = true;
}

}  // namespace

TEST_CASE("a store may end, with or without close(), while it works in the background") {
  run_simulated({}, ends_busy);
}

TEST_CASE("a task that is deleted at once is not touched by what was to work on it in the background") {
  run_simulated({}, goes_at_once);
}

TEST_CASE("a digest is computed anew where one who was computing it left") {
  run_simulated({}, finishes_after_one_left);
}

TEST_CASE("content of unknown length takes no more room ahead than it has") {
  run_simulated({.capacity = 10'000'000}, short_content);
}

TEST_CASE("several may want a task whose pieces are in doubt; one reads them, and may be cancelled") {
  run_simulated({}, doubted);
}

TEST_CASE("tasks go when their time is over, never while they are held, and uses count") {
  run_simulated({}, ages);
}

TEST_CASE("a disk above its high mark is brought below the low one, least recently used first") {
  run_simulated({.capacity = 10'000'000}, disk_marks);
}

TEST_CASE("with a threshold of its own the store keeps to its share") { run_simulated({}, own_share); }

TEST_CASE("deleting what a user has a hard link to would free nothing, so it stays") {
  run_simulated({.capacity = 11'000'000}, linked_out);
}
