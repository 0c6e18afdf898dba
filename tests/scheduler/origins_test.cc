// Peers that tell each other what an origin has.
#include <memory>

#include "api/methods.h"
#include "cluster.h"
#include "scheduler/origin_stats.h"

namespace d7y::scheduler {
namespace {

using What = OriginStats::What;
using Request = api::origins::StatOriginRequest;
using Response = api::origins::StatOriginResponse;

constexpr TimePoint kStart{1h};
const std::string kTask = task_id_for('a');

}  // namespace

TEST_CASE("one peer looks, the others wait, and then all know for a while") {
  OriginStats stats;
  const auto first = stats.ask(kTask, kStart);
  CHECK(first.what == What::kLook);
  const auto second = stats.ask(kTask, kStart + 1s);
  CHECK(second.what == What::kWait);
  CHECK(second.until == kStart + 5s);
  CHECK(stats.ask(task_id_for('b'), kStart + 1s).what == What::kLook);  // another task

  stats.found(kTask, first.turn, "what it has", kStart + 2s);
  const auto third = stats.ask(kTask, kStart + 3s);
  REQUIRE(third.what == What::kKnown);
  CHECK(third.entry->stat == "what it has");
  CHECK(stats.ask(kTask, kStart + 2s + 10s - 1ns).what == What::kKnown);
  CHECK(stats.ask(kTask, kStart + 2s + 10s).what == What::kLook);
  CHECK(stats.ask(kTask, kStart + 2s + 10s).what == What::kWait);
}

TEST_CASE("one who looks for too long or is gone is followed by another, and may still be right") {
  OriginStats stats;
  const auto slow = stats.ask(kTask, kStart);
  const auto next = stats.ask(kTask, kStart + 5s);
  CHECK(next.what == What::kLook);
  stats.lost(kTask, slow.turn);  // it is not his turn any more
  CHECK(stats.ask(kTask, kStart + 6s).what == What::kWait);
  stats.lost(kTask, next.turn);
  CHECK(stats.ask(kTask, kStart + 6s).what == What::kLook);
  stats.found(kTask, slow.turn, "late", kStart + 7s);
  CHECK(stats.ask(kTask, kStart + 7s).what == What::kKnown);
}

TEST_CASE("who looked later knows better, whoever says it last") {
  OriginStats stats;
  const auto slow = stats.ask(kTask, kStart);
  const auto next = stats.ask(kTask, kStart + 5s);
  stats.found(kTask, next.turn, "new", kStart + 6s);
  stats.found(kTask, slow.turn, "old", kStart + 7s);
  const auto told = stats.ask(kTask, kStart + 7s);
  REQUIRE(told.what == What::kKnown);
  CHECK(told.entry->stat == "new");
}

TEST_CASE(
    "what turned out to be wrong is looked at again by one of those who say so, and still told to the "
    "others") {
  OriginStats stats;
  const auto first = stats.ask(kTask, kStart);
  stats.found(kTask, first.turn, "v1", kStart);
  CHECK(stats.ask(kTask, kStart + 1s, "v0").what == What::kKnown);  // not what is known here
  const auto doubting = stats.ask(kTask, kStart + 1s, "v1");
  CHECK(doubting.what == What::kLook);
  CHECK(stats.ask(kTask, kStart + 2s, "v1").what == What::kWait);
  CHECK(stats.ask(kTask, kStart + 2s).what == What::kKnown);
  stats.found(kTask, doubting.turn, "v2", kStart + 3s);
  const auto told = stats.ask(kTask, kStart + 3s, "v1");
  REQUIRE(told.what == What::kKnown);
  CHECK(told.entry->stat == "v2");
}

TEST_CASE("an origin that refuses is asked by everybody for a second") {
  OriginStats stats;
  const auto first = stats.ask(kTask, kStart);
  stats.gave_up(kTask, first.turn, kStart);
  CHECK(stats.ask(kTask, kStart).what == What::kLook);
  const auto open = stats.ask(kTask, kStart + 1s - 1ns);
  CHECK(open.what == What::kLook);
  CHECK(stats.ask(kTask, kStart + 1s).what == What::kLook);
  CHECK(stats.ask(kTask, kStart + 1s).what == What::kWait);
}

TEST_CASE("however many tasks are asked for, what is kept of them is bounded, and forgotten in time") {
  OriginStatsLimits limits;
  limits.most = 100;
  limits.most_bytes = 1000;
  OriginStats stats(limits);
  for (int i = 0; i < 1000; ++i) {
    const auto task = std::to_string(i);
    const auto look = stats.ask(task, kStart);
    CHECK(look.what == What::kLook);
    stats.found(task, look.turn, std::string(100, 'x'), kStart);
    CHECK(stats.size() <= 100);
    CHECK(stats.bytes() <= 1000);
  }
  CHECK(stats.ask("0", kStart).what == What::kKnown);
  CHECK(stats.ask("999", kStart).what == What::kLook);
  CHECK(stats.ask("999", kStart).what == What::kLook);  // nobody is waited for without a place
  (void)stats.ask("new", kStart + 60s);
  CHECK(stats.size() == 1);
  CHECK(stats.bytes() == 0);
}

namespace {

// A peer's question.
struct Asker {
  Asker(Daemon& daemon, const std::string& task)
      : call(daemon.channel().bidi<Request, Response>(api::method::origins::kStatOrigin)), task_id(task) {}
  Task<Result<void>> ask() {
    Request request;
    request.set_task_id(task_id);
    auto writing = call.write(request);
    co_return co_await writing;
  }
  Task<Result<void>> doubt(api::origins::OriginStat heard) {
    Request request;
    request.set_task_id(task_id);
    *request.mutable_doubted() = std::move(heard);
    auto writing = call.write(request);
    co_return co_await writing;
  }
  Task<Result<void>> tell(std::string etag) {
    Request request;
    request.set_task_id(task_id);
    request.mutable_found()->set_length(12);
    request.mutable_found()->set_etag(std::move(etag));
    auto writing = call.write(request);
    co_return co_await writing;
  }
  grpc::BidiCall<Request, Response> call;
  std::string task_id;
};

}  // namespace

SCHEDULER_TEST(
    "a peer that looks at an origin tells those who wait, and who goes without a word is replaced") {
  TestCluster cluster(sim);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  auto lost = std::make_unique<Asker>(*a, kTask);
  DONE(lost->ask());
  MUST(auto look, lost->call.read());
  REQUIRE(look);
  CHECK_FALSE(look->has_known());

  Asker second(*a, kTask), third(*a, kTask);
  DONE(second.ask());
  DONE(third.ask());
  const auto before = sim.now();
  lost.reset();
  MUST(auto now_you, second.call.read());
  REQUIRE(now_you);
  CHECK_FALSE(now_you->has_known());
  CHECK(sim.now() - before < 1s);
  DONE(second.tell("\"v1\""));
  MUST(auto end, second.call.read());
  CHECK_FALSE(end);
  MUST(auto known, third.call.read());
  REQUIRE(known);
  CHECK(known->known().length() == 12);
  CHECK(known->known().etag() == "\"v1\"");

  Asker fourth(*a, kTask);
  DONE(fourth.ask());
  MUST(auto at_once, fourth.call.read());
  REQUIRE(at_once);
  CHECK(at_once->has_known());
}

SCHEDULER_TEST("who was not told to look is not believed, and counted") {
  TestCluster cluster(sim);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  const auto unasked = [&] {
    return cluster.metrics().counter("d7y_scheduler_origin_unasked_total", "").value();
  };
  Asker forger(*a, kTask);
  DONE(forger.tell("\"forged\""));
  MUST(auto nothing, forger.call.read());
  CHECK_FALSE(nothing);
  CHECK(unasked() == 1);

  Asker honest(*a, kTask);
  DONE(honest.ask());
  MUST(auto look, honest.call.read());
  REQUIRE(look);
  CHECK_FALSE(look->has_known());
  // Nor while somebody looks, nor instead of what was found.
  Asker second(*a, kTask);
  DONE(second.tell("\"forged\""));
  MUST(auto again, second.call.read());
  CHECK_FALSE(again);
  DONE(honest.tell("\"v1\""));
  MUST(auto end, honest.call.read());
  CHECK_FALSE(end);
  Asker third(*a, kTask);
  DONE(third.tell("\"forged\""));
  MUST(auto last, third.call.read());
  CHECK_FALSE(last);
  CHECK(unasked() == 3);
  Asker fourth(*a, kTask);
  DONE(fourth.ask());
  MUST(auto known, fourth.call.read());
  REQUIRE(known);
  CHECK(known->known().etag() == "\"v1\"");

  // Who was told so and found it wrong looks again.
  Asker doubting(*a, kTask);
  DONE(doubting.doubt(known->known()));
  MUST(auto your_turn, doubting.call.read());
  REQUIRE(your_turn);
  CHECK_FALSE(your_turn->has_known());
  DONE(doubting.tell("\"v2\""));
  MUST(auto over, doubting.call.read());
  CHECK_FALSE(over);
  Asker fifth(*a, kTask);
  DONE(fifth.ask());
  MUST(auto corrected, fifth.call.read());
  REQUIRE(corrected);
  CHECK(corrected->known().etag() == "\"v2\"");
  CHECK(unasked() == 3);
}

SCHEDULER_TEST("what a peer says of an origin is checked, and its turn is over either way") {
  TestCluster cluster(sim);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  Asker nameless(*a, "");
  DONE(nameless.ask());
  auto reading = nameless.call.read();
  auto refused = co_await reading;
  CHECK(refused.failed_with(ErrorCode::kInvalid));

  Asker liar(*a, kTask);
  DONE(liar.ask());
  MUST(auto look, liar.call.read());
  CHECK(look);
  Asker second(*a, kTask);
  DONE(second.ask());
  DONE(liar.tell("no quotes"));
  reading = liar.call.read();
  auto caught = co_await reading;
  CHECK(caught.failed_with(ErrorCode::kInvalid));
  MUST(auto next, second.call.read());
  REQUIRE(next);
  CHECK_FALSE(next->has_known());
}

}  // namespace d7y::scheduler
