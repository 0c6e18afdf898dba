// What outlives a restart: the journal by itself, then a scheduler that comes back.
#include "scheduler/journal_ledger.h"

#include <map>

#include "cluster.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

using Contents = std::map<std::string, std::string>;  // "group/name" -> value

Task<Contents> contents(JournalLedger& ledger) {
  Contents out;
  std::string order;
  auto loading = ledger.load([&](LedgerEntry entry) {
    out[entry.group + "/" + entry.name] = entry.value;
    order += entry.group == kHostsGroup ? '0' : entry.name.empty() ? '1' : '2';
  });
  auto loaded = co_await loading;
  CHECK(loaded.ok());
  CHECK(std::is_sorted(order.begin(), order.end()));
  co_return out;
}

std::unique_ptr<JournalLedger> open(sim::Host& machine, Metrics& metrics) {
  auto opened = JournalLedger::open(machine, "/data", machine.log(), metrics);
  CHECK_MESSAGE(opened.ok(), (opened ? "" : opened.error().message()));
  return opened ? std::move(*opened) : nullptr;
}

Task<void> settle(JournalLedger& ledger) {
  auto settling = ledger.settle(Deadline::never());
  auto settled = co_await settling;
  CHECK(settled.ok());
}

std::string read_file(sim::Host& machine, const std::string& path) {
  auto file = machine.files().open(path, world::OpenMode::kRead);
  REQUIRE(file.ok());
  const auto status = (*file)->status();
  std::string text(status->size, '\0');
  CHECK((*file)->read_at(0, as_mutable_bytes(text)).ok());
  return text;
}
void write_file(sim::Host& machine, const std::string& path, const std::string& text) {
  auto file = machine.files().open(path, world::OpenMode::kCreate);
  REQUIRE(file.ok());
  CHECK((*file)->resize(0).ok());
  CHECK((*file)->write_at(0, as_bytes(text)).ok());
}

const std::string kTask = task_id_for('k');

}  // namespace

SCHEDULER_TEST("the journal gives back what was put, in the order that is needed, and forgets the rest") {
  auto& machine = sim.add_host({});
  Metrics metrics;
  auto ledger = open(machine, metrics);
  const auto hour = machine.wall_now() + 1h;
  ledger->put({"task/a", "h1", "copy", hour});
  ledger->put({"task/a", "", "about a", hour});
  ledger->put({"hosts", "h1", "old"});
  ledger->put({"hosts", "h1", "host"});
  ledger->put({"hosts", "h2", "host"});
  ledger->erase("hosts", "h2");
  ledger->put({"task/b", "h1", "copy", hour});
  ledger->erase_group("task/b");
  ledger->put({"task/b", "h3", "again", hour});
  ledger->put({"task/c", "h1", "short", machine.wall_now() + 1min});
  auto settling = settle(*ledger);
  co_await settling;
  ledger.reset();
  const Contents expected = {
      {"hosts/h1", "host"}, {"task/a/", "about a"}, {"task/a/h1", "copy"}, {"task/b/h3", "again"}};
  co_await sleep_for(2min);
  ledger = open(machine, metrics);
  auto loading = contents(*ledger);
  CHECK(co_await loading == expected);
  // Written anew it is smaller, and says the same.
  const auto before = ledger->size();
  auto compacting = ledger->compact();
  DONE(std::move(compacting));
  CHECK(ledger->size() < before);
  ledger->put({"task/d", "h1", "later", hour});
  auto again = settle(*ledger);
  co_await again;
  ledger.reset();
  ledger = open(machine, metrics);
  auto more = expected;
  more["task/d/h1"] = "later";
  auto reloading = contents(*ledger);
  CHECK(co_await reloading == more);
  // One process at a time.
  CHECK(JournalLedger::open(machine, "/data", machine.log(), metrics).failed_with(ErrorCode::kExists));
}

SCHEDULER_TEST("whoever goes through the journal lets others have their turn every few dozen records") {
  auto& machine = sim.add_host({});
  Metrics metrics;
  auto ledger = open(machine, metrics);
  constexpr std::size_t kRecords = 5000, kBytes = 400;
  for (std::size_t i = 0; i < kRecords; ++i)
    ledger->put({"g", "n" + std::to_string(i), std::string(kBytes, 'v')});
  auto settling = settle(*ledger);
  co_await settling;
  struct Others {
    static Task<void> count(std::size_t& turns) {
      for (;; ++turns) co_await next_turn();
    }
  };
  std::size_t turns = 0, seen_in = 0, burst = 0, longest = 0, seen = 0;
  Loop& loop = co_await this_loop();
  Scope others(loop);
  others.spawn(Others::count(turns));
  auto loading = ledger->load([&](const LedgerEntry&) {
    burst = std::exchange(seen_in, turns) == turns ? burst + 1 : 1;
    longest = std::max(longest, burst);
    ++seen;
  });
  DONE(std::move(loading));
  CHECK(seen == kRecords);
  CHECK(longest * kBytes < 64 << 10);
}

SCHEDULER_TEST("a journal torn or damaged anywhere gives what stands before, and is written on") {
  auto& machine = sim.add_host({});
  Metrics metrics;
  auto ledger = open(machine, metrics);
  for (int i = 0; i < 20; ++i) ledger->put({"g", "n" + std::to_string(i), std::string(50, 'v')});
  auto settling = settle(*ledger);
  co_await settling;
  ledger.reset();
  const auto whole = read_file(machine, "/data/scheduler.journal");
  const std::size_t record = (whole.size() - 24 - 10) / 20;
  for (std::size_t i = 0; i < 60; ++i) {
    auto bytes = whole;
    const std::size_t at = 24 + sim.random().next() % (whole.size() - 24);
    if (i % 2 == 0) {
      bytes.resize(at);
    } else {
      bytes[at] = static_cast<char>(bytes[at] ^ 0x40);
    }
    write_file(machine, "/data/scheduler.journal", bytes);
    ledger = open(machine, metrics);
    auto loading = contents(*ledger);
    auto found = co_await loading;
    CHECK(found.size() <= (at - 24) / record + 1);
    CHECK(found.size() + 2 >= (at - 24) / (record + 1));
    ledger->put({"g", "new", "value"});
    auto writing = settle(*ledger);
    co_await writing;
    ledger.reset();
    ledger = open(machine, metrics);
    auto reloading = contents(*ledger);
    auto both = co_await reloading;
    CHECK(both.size() == found.size() + 1);
    CHECK(both["g/new"] == "value");
    ledger.reset();
  }
  write_file(machine, "/data/scheduler.journal", "something else entirely, long enough to be one");
  CHECK(JournalLedger::open(machine, "/data", machine.log(), metrics).failed_with(ErrorCode::kCorrupt));
}

SCHEDULER_TEST("after a restart complete copies are found again and the origin is not read") {
  SchedulerConfig config;
  config.data_dir = "/data";
  TestCluster cluster(sim, config);
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_c = cluster.daemon("c");
  auto c = co_await making_c;
  {
    MUST(auto stream, a->open(kTask));
    MUST(auto told, stream->read());
    CHECK(told->has_need_back_to_source_response());
    DONE(stream->source_started());
    DONE(stream->piece(0, ""));
    DONE(stream->source_finished());
    MUST(auto end, stream->read());
    CHECK_FALSE(end);
  }
  {
    // Another task's copy, which its host gives up again.
    MUST(auto stream, c->open(task_id_for('x')));
    MUST(auto told, stream->read());
    CHECK(told->has_need_back_to_source_response());
    DONE(stream->source_started());
    DONE(stream->source_finished());
    MUST(auto end, stream->read());
    CHECK_FALSE(end);
    api::scheduler::DeleteTaskRequest forget;
    forget.set_host_id(c->host_id());
    forget.set_task_id(task_id_for('x'));
    DONE(c->channel().unary<api::Empty>(api::method::scheduler::kDeleteTask, forget));
  }
  co_await sleep_for(2s);
  const auto journal = read_file(cluster.machine(), "/data/scheduler.journal");
  CHECK(journal.find("secret") == std::string::npos);
  CHECK(journal.find("/tmp/out") == std::string::npos);
  config.port = cluster.node().address().port();
  cluster.start(config);

  // Its host does not have to say anything again, and one that never met the scheduler gets it as a parent.
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  MUST(auto stream, b->open(kTask));
  MUST(auto answer, stream->read());
  REQUIRE(answer->has_normal_task_response());
  const auto& parents = answer->normal_task_response().candidate_parents();
  REQUIRE(parents.size() == 1);
  CHECK(parents[0].host().id() == a->host_id());
  CHECK(parents[0].state() == "Succeeded");
  CHECK(parents[0].task().content_length() == 100 << 20);
  CHECK(parents[0].host().network().max_tx_bandwidth() == 10'000'000'000);
  const auto valid = api::validate(parents[0]);
  CHECK_MESSAGE(valid.ok(), (valid ? "" : valid.error().message()));
  DONE(stream->started());
  DONE(stream->finished());
  MUST(auto other, b->open(task_id_for('x')));
  MUST(auto nobody, other->read());
  CHECK(nobody->has_need_back_to_source_response());
  other.reset();

  // A host that left is gone for good.
  api::scheduler::DeleteHostRequest leave;
  leave.set_host_id(a->host_id());
  DONE(b->channel().unary<api::Empty>(api::method::scheduler::kDeleteHost, leave));
  co_await sleep_for(2s);
  cluster.start(config);
  CHECK_FALSE(cluster.brain().find_host(a->host_id()));
  MUST(auto third, c->open(kTask));
  MUST(auto from_b, third->read());
  REQUIRE(from_b->has_normal_task_response());
  CHECK(from_b->normal_task_response().candidate_parents(0).host().id() == b->host_id());
  CHECK(cluster.brain().check(cluster.machine().now()) == "");
}

SCHEDULER_TEST("a disk that is full costs memory of what happens, not the scheduler") {
  sim::HostOptions options;
  options.name = "small";
  auto& machine = sim.add_host(options);
  Metrics metrics;
  auto ledger = open(machine, metrics);
  Scope scope(machine.loop());
  scope.spawn(ledger->run());
  ledger->put({"g", "before", "value"});
  co_await sleep_for(3s);
  machine.disk().options().capacity = machine.disk().used();
  for (int i = 0; i < 100000; ++i) ledger->put({"g", "n" + std::to_string(i % 1000), std::string(1000, 'v')});
  co_await sleep_for(3s);
  CHECK(ledger->size() < (20 << 20));  // what waits is bounded
  machine.disk().options().capacity = std::uint64_t{1} << 40;
  co_await sleep_for(5s);
  ledger->put({"g", "after", "value"});
  co_await sleep_for(3s);
  scope.cancel();
  co_await sleep_for(1ms);
  ledger.reset();
  ledger = open(machine, metrics);
  auto loading = contents(*ledger);
  auto found = co_await loading;
  CHECK(found.contains("g/before"));
  CHECK(found.contains("g/after"));
}
