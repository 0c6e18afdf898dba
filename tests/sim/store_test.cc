// The real store on simulated disks that lose power, fail and fill up at every step of its life.
#include "store/store.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

#include "base/crc32.h"
#include "sim/simulation.h"
#include "store/claim.h"
#include "store/exporter.h"
#include "store/reader.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

// What a task's content is, and what the store has promised about it.
struct Expected {
  std::string id;
  std::string content;
  std::uint64_t piece_length = 0;
  bool created = false;              // create() succeeded
  std::set<std::uint32_t> complete;  // complete() said ok and nothing has gone since
  std::set<std::uint32_t> durable;   // of these, complete before a sync() that said ok
  bool finished = false;
  bool removed = false;  // remove() was called, perhaps without effect on the disk yet
};

struct Life {
  explicit Life(std::uint64_t seed, sim::DiskOptions disk = {}, int tasks = 4)
      : sim(seed), host(sim.add_host({.name = "peer", .disk = disk})), random(sim::mix(seed ^ 0x570)) {
    for (int i = 0; i < tasks; ++i) add();
    host.disk().put("/out/.keep", "");
  }
  void add() {
    Expected task;
    auto number = tasks.size();
    task.id = fmt::format("{:064x}", sim::mix(number));
    task.piece_length = 16_KiB << random.below(4);
    task.content = sim::random_bytes(1 + random.below(6 * task.piece_length), number + 1);
    tasks.push_back(std::move(task));
  }
  std::uint32_t pieces(const Expected& task) const {
    return static_cast<std::uint32_t>((task.content.size() + task.piece_length - 1) / task.piece_length);
  }

  sim::Simulation sim;
  sim::Host& host;
  sim::Random random;
  std::vector<Expected> tasks;
  std::map<std::string, std::size_t> outputs;   // durable exports that succeeded: path, task
  std::map<std::string, std::size_t> attempts;  // exports that were tried
  int opened = 0, lives = 0;
  store::SyncPolicy sync = store::SyncPolicy::kClose;
};

Task<Result<std::unique_ptr<store::Store>>> open_store(Life& life) {
  store::StoreOptions options;
  options.folder = "/store";
  options.sync = life.sync;
  options.buffer_size = 16_KiB;
  options.idle_tasks = 2;
  co_return co_await store::Store::open(life.host, std::move(options), life.host.log());
}

store::TaskFacts facts_of(const Expected& task) {
  store::TaskFacts facts;
  facts.id = task.id;
  facts.url = "http://origin/file";
  facts.piece_length = task.piece_length;
  facts.content_length = task.content.size();
  return facts;
}

// Fetches a piece in random portions; sometimes gives up half way.
Result<void> fetch_piece(Life& life, Expected& task, store::StoredTask& stored, std::uint32_t number) {
  TRY(auto claimed, stored.claim(number));
  if (claimed.state != store::ClaimState::kClaimed) return {};
  auto& claim = *claimed.claim;
  if (life.random.chance(0.5)) claim.skip_already();
  auto piece = std::string_view(task.content).substr(number * task.piece_length, task.piece_length);
  auto give_up = life.random.chance(0.15);
  while (claim.remaining() > 0) {
    auto room = claim.buffer();
    auto count = 1 + life.random.below(room.size());
    std::memcpy(room.data(), piece.data() + claim.position(), count);
    TRY_OK(claim.commit(count));
    if (give_up && life.random.chance(0.3)) return {};
  }
  bool wrong = life.random.chance(0.05);
  auto crc = crc32(as_bytes(piece)) ^ (wrong ? 1U : 0U);
  auto done = claim.complete({.parent = "p", .traffic = store::Traffic::kRemotePeer, .expected_crc = crc});
  if (wrong) {
    // Unless the disk failed before anybody could see that.
    CHECK_FALSE(done);
    if (!done.failed_with(ErrorCode::kCorrupt)) return std::move(done).error();
    return {};
  }
  TRY_OK(done);
  task.complete.insert(number);
  return {};
}

// One random step. Errors of the disk come back; the store must stay whole over them.
Task<Result<void>> step(Life& life, store::Store& store) {
  auto index = life.random.below(life.tasks.size());
  auto& task = life.tasks[index];
  auto what = life.random.below(100);
  if (what < 4) {
    auto covered = life.tasks;  // what was complete when the sync began
    CO_OK(co_await store.sync());
    for (std::size_t i = 0; i < life.tasks.size(); ++i) {
      for (auto number : covered[i].complete) {
        if (life.tasks[i].complete.contains(number)) life.tasks[i].durable.insert(number);
      }
    }
    co_return Result<void>{};
  }
  if (what < 6) {
    if (!store.contains(task.id)) co_return Result<void>{};
    task.removed = true;
    task.complete.clear();
    task.durable.clear();
    task.finished = false;
    auto gone = store.remove(task.id);
    // The same id may come again, with the same content.
    co_return gone;
  }
  if (what < 8) {
    auto collected = co_await store.collect();
    if (!collected) co_return std::move(collected).error();
    co_return Result<void>{};
  }
  auto facts = facts_of(task);
  CO_TRY(auto stored, co_await store.create(std::move(facts)));
  task.created = true;
  if (what < 10) {
    // Enough of these make the journal worth writing anew.
    for (int i = 0; i < 150; ++i) stored->fail(error(ErrorCode::kUnavailable, "the origin is tired"));
    co_return Result<void>{};
  }
  if (what < 20 && stored->finished()) {
    store::ExportOptions options;
    options.path = fmt::format("/out/{}-{}", index, life.random.below(1'000'000));
    options.durable = life.random.chance(0.5);
    options.allow_hard_link = life.random.chance(0.5);
    life.attempts[options.path] = index;
    auto path = options.path;
    bool durable = options.durable;
    auto exported = co_await store::export_content(stored, std::move(options));
    if (!exported) co_return std::move(exported).error();
    if (durable) life.outputs[path] = index;
    co_return Result<void>{};
  }
  auto number = static_cast<std::uint32_t>(life.random.below(life.pieces(task)));
  CO_OK(fetch_piece(life, task, *stored, number));
  if (stored->has_everything() && !stored->finished()) {
    auto finished = co_await stored->finish();
    if (finished.ok()) task.finished = true;
    co_return finished;
  }
  co_return Result<void>{};
}

// Everything the store says it has is right, and everything it promised is there.
Task<Result<void>> inspect(Life& life, store::Store& store, bool all_of_it, bool faults) {
  for (auto& task : life.tasks) {
    CAPTURE(task.id);
    auto found = co_await store.find(task.id);
    if (!life.host.running()) co_return Result<void>{};
    if (!found && faults && !found.failed_with(ErrorCode::kNotFound)) continue;
    if (!found) {
      CHECK_MESSAGE(found.failed_with(ErrorCode::kNotFound), found.error().message());
      CHECK(task.durable.empty());
      if (all_of_it) CHECK(task.complete.empty());
      task.complete.clear();
      task.durable.clear();
      task.finished = false;
      continue;
    }
    auto& stored = **found;
    CHECK(stored.piece_length() == task.piece_length);
    CHECK(stored.content_length() == task.content.size());
    std::set<std::uint32_t> here;
    for (std::uint32_t number = 0; number < life.pieces(task); ++number) {
      if (!stored.has(number)) continue;
      here.insert(number);
      auto extent = stored.extent(number);
      CO_OK(extent);
      std::string bytes(extent->length, '\0');
      CO_TRY(auto got, stored.file()->read_at(extent->offset, as_mutable_bytes(bytes)));
      CHECK(got == extent->length);
      CHECK(bytes == task.content.substr(extent->offset, extent->length));
      CHECK(stored.piece(number)->crc == crc32(as_bytes(bytes)));
    }
    auto& must = all_of_it ? task.complete : task.durable;
    for (auto number : must) CHECK_MESSAGE(here.contains(number), fmt::format("piece {}", number));
    if (stored.finished()) CHECK(stored.has_everything());
    if (all_of_it && task.finished) CHECK(stored.finished());
    task.complete = here;
    task.finished = stored.finished();
  }
  co_return Result<void>{};
}

struct Plan {
  int steps = 60;
  bool after_power_loss = false;  // the previous life ended that way
  bool close = false;             // ends its life properly
  std::optional<Error> failure;   // what stopped it, were it not for a crash
  bool done = false;
};

Task<Result<void>> live(Life& life, Plan& plan, bool faults) {
  CO_TRY(auto store, co_await open_store(life));
  ++life.opened;
  CO_OK(co_await inspect(life, *store, !plan.after_power_loss && !faults, faults));
  for (int i = 0; i < plan.steps && life.host.running(); ++i) {
    auto result = co_await step(life, *store);
    if (!result && life.host.running()) {
      CHECK_MESSAGE(faults, result.error().message());
      life.host.log().info("step failed: {}", result.error().message());
    }
    if (life.random.chance(0.2)) co_await sleep_for(Duration(life.random.below(3'000'000)));
  }
  if (plan.close) {
    CO_OK(co_await store->close());
    for (auto& task : life.tasks) {
      if (life.sync != store::SyncPolicy::kNever) task.durable = task.complete;
    }
  }
  co_return Result<void>{};
}

Task<void> live_and_tell(Life& life, Plan& plan, bool faults) {
  auto result = co_await live(life, plan, faults);
  if (!result && life.host.running()) plan.failure = std::move(result).error();
  plan.done = true;
}

// One life of the process, up to its end or the crash that was prepared.
void run_life(Life& life, Plan& plan, bool faults = false) {
  ++life.lives;
  CAPTURE(life.lives);
  life.host.spawn(live_and_tell(life, plan, faults));
  life.sim.run_until([&] { return plan.done || !life.host.running(); }, 1000s);
  CHECK((plan.done || !life.host.running()));
  if (plan.failure && !faults) CHECK_MESSAGE(false, plan.failure->message());
  if (plan.done && life.host.running()) {
    life.sim.run_for(1s);
    CHECK(life.sim.leaks() == "");
  }
}

void check_outputs(Life& life) {
  for (auto& [path, index] : life.outputs) {
    CAPTURE(path);
    CHECK(life.host.disk().content(path) == life.tasks[index].content);
  }
}

}  // namespace

TEST_CASE("a store killed at any moment has lost nothing that was complete") {
  for (auto seed : sim::seeds(60)) {
    CAPTURE(seed);
    Life life(seed);
    for (int i = 0; i < 4; ++i) {
      Plan plan{.steps = static_cast<int>(20 + life.random.below(60))};
      plan.close = life.random.chance(0.3);
      run_life(life, plan);
      life.host.kill();
      life.host.start();
      for (auto& [path, index] : life.attempts) {
        auto content = life.host.disk().content(path);
        if (life.host.disk().exists(path)) CHECK(content == life.tasks[index].content);
      }
      check_outputs(life);
    }
    Plan last{.steps = 0, .close = true};
    run_life(life, last);
  }
}

TEST_CASE("a store whose machine loses power keeps what was synced and never shows a wrong byte") {
  for (auto seed : sim::seeds(150)) {
    CAPTURE(seed);
    Life life(seed);
    if (seed % 3 == 0) life.sync = store::SyncPolicy::kFinish;
    if (seed % 5 == 0) life.sync = store::SyncPolicy::kNever;
    bool power_lost = false;
    for (int i = 0; i < 5; ++i) {
      Plan plan{.steps = static_cast<int>(20 + life.random.below(60)), .after_power_loss = power_lost};
      plan.close = life.random.chance(0.3);
      if (life.random.chance(0.8)) life.host.disk().power_off_at(1 + life.random.below(300));
      run_life(life, plan);
      power_lost = !life.host.running();
      if (!power_lost && life.random.chance(0.5)) {
        life.host.power_off();
        power_lost = true;
      }
      if (life.host.running()) life.host.kill();
      life.host.start();
      life.host.disk().keep_power();
      check_outputs(life);
    }
    Plan last{.steps = 0, .after_power_loss = true, .close = true};
    run_life(life, last);
  }
}

TEST_CASE("the power may fail at every single change of a store's short life") {
  auto changes = [] {
    Life life(1, {}, 2);
    Plan plan{.steps = 40, .close = true};
    run_life(life, plan);
    return life.host.disk().changes();
  }();
  CHECK(changes > 40);
  for (std::uint64_t at = 1; at <= changes; ++at) {
    for (std::uint64_t luck = 0; luck < 3; ++luck) {
      CAPTURE(at);
      CAPTURE(luck);
      Life life(1, {}, 2);
      for (std::uint64_t i = 0; i < luck; ++i) life.host.disk().inject({.probability = 0});  // nothing
      life.host.disk().power_off_at(at);
      Plan plan{.steps = 40, .close = true};
      run_life(life, plan);
      CHECK(!life.host.running());
      life.host.start();
      Plan next{.steps = 20, .after_power_loss = true, .close = true};
      run_life(life, next);
      CHECK(life.host.running());
    }
  }
}

TEST_CASE("a store that holds nothing at its end has waited for no sync") {
  Life life(1, {.sync_latency = 1s});
  bool over = false;
  auto once = [](Life& one, bool& done) -> Task<void> {
    auto opened = co_await open_store(one);
    REQUIRE(opened.ok());
    auto store = std::move(*opened);
    auto closed = co_await store->close();
    REQUIRE(closed.ok());
    done = true;
  };
  life.host.spawn(once(life, over));
  life.sim.run_for(100ms);
  CHECK(over);
}

TEST_CASE("a store on a failing disk reports it and stays whole") {
  int opened = 0, seeds = 0;
  for (auto seed : sim::seeds(100)) {
    CAPTURE(seed);
    Life life(seed);
    auto& disk = life.host.disk();
    for (int i = 0; i < 3; ++i) {
      for (auto op : {sim::FileOp::kWrite, sim::FileOp::kSync, sim::FileOp::kRename, sim::FileOp::kOpen,
                      sim::FileOp::kResize, sim::FileOp::kReserve, sim::FileOp::kRemove,
                      sim::FileOp::kSyncFolder, sim::FileOp::kMakeFolder}) {
        disk.inject({.op = op, .path = "/store", .count = ~0ULL, .probability = 0.03});
      }
      Plan plan{.steps = 60, .close = true};
      run_life(life, plan, true);
      disk.clear_faults();
      life.host.kill();
      life.host.start();
      Plan check{.steps = 0, .after_power_loss = true, .close = true};
      run_life(life, check);
    }
    CHECK(life.opened >= 3);  // with a disk that works again
    opened += life.opened;
    ++seeds;
  }
  if (seeds >= 10) CHECK(opened > 4 * seeds);  // and mostly with one that fails
}

TEST_CASE("a store on a full disk makes room or says so, and goes on when there is room again") {
  for (auto seed : sim::seeds(60)) {
    CAPTURE(seed);
    Life life(seed, {.capacity = 400_KiB}, 8);
    Plan plan{.steps = 200, .close = true};
    run_life(life, plan, true);
    life.host.kill();
    life.host.disk().options().capacity = 100_MiB;
    life.host.start();
    Plan next{.steps = 100, .after_power_loss = true, .close = true};
    for (auto& task : life.tasks) task.durable.clear();  // what was evicted is gone by right
    run_life(life, next);
  }
}
