#include "source/gate.h"

#include <doctest/doctest.h>

#include "sim/simulation.h"

using namespace d7y;
using namespace d7y::source;
using namespace std::chrono_literals;

namespace {

Task<void> visit(Gate& gate, int name, Duration stay, std::vector<int>& order, std::size_t& most) {
  auto place = co_await gate.enter(Deadline::never());
  order.push_back(name);
  most = std::max(most, gate.inside());
  co_await sleep_for(stay);
}

Task<void> visit_all(Gate& gate, std::vector<int>& order, std::size_t& most) {
  Loop& loop = co_await this_loop();
  Scope scope(loop);
  for (int i = 0; i < 10; ++i) {
    scope.spawn(visit(gate, i, 1s, order, most));
    co_await sleep_for(1ms);
  }
  (void)co_await scope.idle(Deadline::never());
}

}  // namespace

TEST_CASE("a gate lets in as many as it has places, in the order in which they came") {
  sim::Simulation sim(1);
  Gate gate(3);
  std::vector<int> order;
  std::size_t most = 0;
  CHECK(sim.run(visit_all(gate, order, most), 100s));
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(most == 3);
  CHECK(gate.unused());
}

TEST_CASE("whoever gives up leaves the queue, and a place granted at that moment goes on") {
  sim::Simulation sim(1);
  Gate gate(1);
  auto story = [](Gate& g, sim::Simulation& s) -> Task<void> {
    Loop& loop = co_await this_loop();
    std::vector<int> order;
    std::size_t most = 0;
    {
      auto holder = co_await g.enter(Deadline::never());
      auto late = co_await g.enter(Deadline::in(1s, s.now()));
      CHECK(late.failed_with(ErrorCode::kExhausted));
      CHECK(g.waiting() == 0);
      Scope scope(loop);
      scope.spawn(visit(g, 1, 1s, order, most));
      co_await sleep_for(1ms);
      CHECK(g.waiting() == 1);
      holder->leave();  // granted to 1, which is cancelled before it runs
    }
    CHECK(order.empty());
    CHECK(g.unused());
    auto again = co_await g.enter(Deadline::in(1s, s.now()));
    CHECK(again.ok());
  };
  CHECK(sim.run(story(gate, sim), 100s));
}

TEST_CASE("each origin has its gate and all together one; unused gates vanish") {
  sim::Simulation sim(1);
  Gates gates(2, 3);
  auto story = [](Gates& g, sim::Simulation& s) -> Task<void> {
    const auto soon = Deadline::in(1s, s.now());
    auto a1 = co_await g.enter("a", soon);
    auto a2 = co_await g.enter("a", soon);
    auto b1 = co_await g.enter("b", soon);
    CHECK(a1.ok());
    CHECK(a2.ok());
    CHECK(b1.ok());
    CHECK(g.keys() == 2);
    auto a3 = co_await g.enter("a", Deadline::in(2s, s.now()));
    CHECK(a3.failed_with(ErrorCode::kExhausted));
    auto b2 = co_await g.enter("b", Deadline::in(2s, s.now()));
    CHECK(b2.failed_with(ErrorCode::kExhausted));
    a1->leave();
    auto b3 = co_await g.enter("b", Deadline::in(2s, s.now()));
    CHECK(b3.ok());
    a2->leave();
    CHECK(g.keys() == 1);
  };
  CHECK(sim.run(story(gates, sim), 100s));
  CHECK(gates.keys() == 0);
}
