// A parent that hands its pieces out to unmodified children whom a scheduler has named.
#include "api/methods.h"
#include "fixture.h"
#include "net/grpc/channel.h"
#include "net/grpc/server.h"
#include "swarm/handouts.h"
#include "swarm/sync_service.h"

using namespace d7y;
using namespace d7y::swarm;
using api::dealing::DealRequest;
using api::dealing::DealResponse;
using api::dfdaemon::SyncPiecesRequest;
using api::dfdaemon::SyncPiecesResponse;

namespace {

constexpr std::uint64_t kPiece = 256 * 1024;
constexpr std::uint64_t kUplink = 20'000'000;  // bytes per second
const std::string kTask = an_id(1);

// A parent with both of its servers.
struct Seed {
  explicit Seed(world::World& world) : handouts(world) {}
  Handouts handouts;
  std::unique_ptr<TestPeer> peer;
  std::unique_ptr<NetworkMeter> meter;
  std::unique_ptr<SyncService> sync;
  std::unique_ptr<grpc::Server> server;
  Address upload = Address::ipv4({}, 0);
  std::uint64_t piece_length = kPiece;
};

Task<std::unique_ptr<Seed>> make_seed(sim::Simulation& sim, std::uint64_t uplink = kUplink) {
  auto& host = sim.add_host({.uplink = uplink});
  auto seed = std::make_unique<Seed>(host);
  VortexServerOptions serving;
  serving.handouts = &seed->handouts;
  auto making = make_peer(host, host.address(4005), serving);
  seed->peer = co_await making;
  seed->meter = std::make_unique<NetworkMeter>(host, NetworkMeterOptions());
  SyncServiceOptions telling;
  telling.advertised_ip = host.address(0).ip();
  telling.handouts = &seed->handouts;
  seed->sync = std::make_unique<SyncService>(host, *seed->peer->store, *seed->meter, telling, Log());
  seed->server = std::make_unique<grpc::Server>(host);
  seed->sync->attach(*seed->server);
  seed->upload = must(seed->server->listen(host.address(4000)));
  co_return seed;
}

Task<Result<DealResponse>> deal(sim::Host& scheduler, const Seed& seed, std::string task_id,
                                std::string host_id, bool later = false) {
  grpc::Channel channel(scheduler, seed.upload);
  DealRequest request;
  request.set_task_id(std::move(task_id));
  request.set_host_id(std::move(host_id));
  request.set_later(later);
  auto calling = channel.unary<DealResponse>(api::method::dealing::kDeal, request);
  auto answer = co_await calling;
  co_return answer;
}

// Who was told of which piece, in the order in which it was heard.
using Heard = std::vector<std::pair<std::string, std::uint32_t>>;

// An unmodified child: asks for what it is told of a moment later, for eight pieces at once, each over a
// connection of its own.
class Child {
 public:
  Child(sim::Host& host, const Seed& seed, std::string host_id, std::uint32_t pieces, Heard& heard)
      : host_(host),
        seed_(seed),
        host_id_(std::move(host_id)),
        pieces_(pieces),
        heard_(heard),
        scope_(host.loop()) {
    scope_.spawn(follow());
  }

  std::vector<std::uint32_t> got;  // pieces, in the order in which they came
  bool ended = false;              // its stream
  bool takes = true;               // asks for what it is told of

 private:
  Task<void> follow() {
    grpc::Channel channel(host_, seed_.upload);
    SyncPiecesRequest request;
    request.set_host_id(host_id_);
    request.set_task_id(kTask);
    // The last first, so that it shows whose order it is.
    for (auto number = pieces_; number > 0; --number) request.add_interested_piece_numbers(number - 1);
    auto call = channel.server_stream<SyncPiecesResponse>(api::method::upload::kSyncPieces, request);
    for (;;) {
      auto reading = call.read();
      auto said = co_await reading;
      if (!said.ok()) co_return;
      if (!*said) break;
      heard_.emplace_back(host_id_, (*said)->number());
      CHECK((*said)->tcp_port() == 4005);
      if (takes) scope_.spawn(fetch((*said)->number()));
    }
    ended = true;
  }
  Task<void> fetch(std::uint32_t number) {
    co_await sleep_for(20ms);
    while (asking_ == 8) {
      auto woken = co_await answered_.wait(Deadline::never());
      must(std::move(woken));
    }
    ++asking_;
    auto fetching = rust_fetch(host_, seed_.peer->data, rust_request(kTask, number), seed_.piece_length,
                               Deadline::in(300s, host_.now()));
    auto answer = co_await fetching;
    --asking_;
    answered_.notify_one();
    if (answer.ok() && answer->body.size() == seed_.piece_length) got.push_back(number);
  }

  sim::Host& host_;
  const Seed& seed_;
  std::string host_id_;
  std::uint32_t pieces_;
  Heard& heard_;
  int asking_ = 0;
  Signal answered_;
  Scope scope_;
};

// Of how many pieces somebody heard before anybody heard of one that another had heard of. In the end the
// ways to two children are not equally long.
constexpr std::size_t kEnd = 4;
std::size_t told_apart(const Heard& heard) {
  std::set<std::uint32_t> pieces;
  for (const auto& [who, piece] : heard)
    if (!pieces.insert(piece).second) break;
  return pieces.size();
}

std::vector<std::uint32_t> of(const Heard& heard, const std::string& child) {
  std::vector<std::uint32_t> pieces;
  for (const auto& [who, piece] : heard)
    if (who == child) pieces.push_back(piece);
  return pieces;
}

Task<void> until(std::function<bool()> holds) {
  for (int i = 0; i < 30'000 && !holds(); ++i) co_await sleep_for(10ms);
  CHECK_MESSAGE(holds(), "what was waited for did not happen");
}

}  // namespace

SWARM_TEST(
    "two unmodified children that were promised get different pieces first, and everything in the end") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(60 * kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  Heard heard;
  Child first(one, *seed, "one", 60, heard);
  Child second(two, *seed, "two", 60, heard);
  auto all = until([&] { return first.got.size() == 60 && second.got.size() == 60; });
  co_await all;
  CHECK(told_apart(heard) >= 60 - kEnd);
  // Each got about half of them, from the first of the content on.
  Heard apart(heard.begin(), heard.begin() + 60 - kEnd);
  CHECK(of(apart, "one").size() >= 20);
  CHECK(of(apart, "two").size() >= 20);
  for (std::size_t i = 0; i < apart.size(); ++i) CHECK(apart[i].second <= i + 8);
  CHECK(first.ended);
  CHECK(second.ended);
}

SWARM_TEST(
    "one that stands in line is told of nothing while pieces are dealt, and of everything a while later") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(60 * kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  auto& three = sim.add_host();
  for (const char* name : {"one", "two", "last"}) {
    auto dealing = deal(scheduler, *seed, kTask, name, std::string(name) == "last");
    must(co_await dealing);
  }
  Heard heard;
  Child last(three, *seed, "last", 60, heard);
  co_await sleep_for(100ms);
  Child first(one, *seed, "one", 60, heard);
  Child second(two, *seed, "two", 60, heard);
  auto all = until([&] { return first.got.size() == 60 && second.got.size() == 60; });
  co_await all;
  co_await sleep_for(500ms);
  CHECK(of(heard, "last").empty());
  CHECK(!last.ended);
  auto rest = until([&] { return last.got.size() == 60; });
  co_await rest;
  CHECK(last.ended);
}

SWARM_TEST("pieces that still come from the origin are handed out as they come") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  const auto content = made_up(40 * kPiece);
  auto stocking = stock(*seed->peer, kTask, content, kPiece, {0, 1, 2});
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  Heard heard;
  Child first(one, *seed, "one", 40, heard);
  Child second(two, *seed, "two", 40, heard);
  for (std::uint32_t number = 3; number < 40; ++number) {
    co_await sleep_for(100ms);
    CHECK(heard.size() == number);
    must(store::put_piece(*task, number, content));
  }
  auto all = until([&] { return first.got.size() == 40 && second.got.size() == 40; });
  co_await all;
  CHECK(told_apart(heard) >= 40 - kEnd);
}

SWARM_TEST("when one of two children dies, the other gets what it did not take, and everything at once") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(100 * kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  Heard heard;
  Child first(one, *seed, "one", 100, heard);
  auto second = std::make_unique<Child>(two, *seed, "two", 100, heard);
  auto some = until([&] { return second->got.size() >= 10; });
  co_await some;
  CHECK(told_apart(heard) == heard.size());
  second.reset();
  co_await sleep_for(200ms);
  CHECK(of(heard, "one").size() == 100);
  CHECK(first.ended);
  auto all = until([&] { return first.got.size() == 100; });
  co_await all;
}

SWARM_TEST("that a child died is noticed although nothing else happens") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(100 * kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  Heard heard;
  Child first(one, *seed, "one", 100, heard);
  auto second = std::make_unique<Child>(two, *seed, "two", 100, heard);
  first.takes = second->takes = false;
  co_await sleep_for(1s);
  CHECK(heard.size() == 8);
  second.reset();
  co_await sleep_for(200ms);
  CHECK(of(heard, "one").size() == 100);
  CHECK(first.ended);
}

SWARM_TEST("a child that takes nothing more keeps nothing from the other") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(1000 * kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  Heard heard;
  Child first(one, *seed, "one", 1000, heard);
  Child second(two, *seed, "two", 1000, heard);
  auto some = until([&] { return second.got.size() >= 10; });
  co_await some;
  second.takes = false;
  co_await sleep_for(4s);
  CHECK(told_apart(heard) == heard.size());
  co_await sleep_for(4s);
  CHECK(of(heard, "one").size() == 1000);
  auto all = until([&] { return first.got.size() == 1000; });
  co_await all;
}

SWARM_TEST("children keep what they were told of while it comes slowly") {
  auto making = make_seed(sim, 400'000);
  auto seed = co_await making;
  seed->piece_length = 2_MiB;  // five seconds; shorter ones disappear in the buffers of connections
  auto stocking = stock(*seed->peer, kTask, made_up(20 * 2_MiB), 2_MiB);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  Heard heard;
  Child first(one, *seed, "one", 20, heard);
  Child second(two, *seed, "two", 20, heard);
  co_await sleep_for(60s);  // all of them came side by side, because they stood still in between
  CHECK(first.got.size() + second.got.size() >= 4);
  CHECK(heard.size() >= 12);
  CHECK(heard.size() < 20);
  CHECK(told_apart(heard) == heard.size());
}

SWARM_TEST("a child that comes alone is told of everything after two seconds") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(400 * kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  Heard heard;
  Child first(one, *seed, "one", 400, heard);
  first.takes = false;
  co_await sleep_for(1900ms);
  CHECK(heard.size() == 4);
  CHECK(!first.ended);
  co_await sleep_for(200ms);
  CHECK(heard.size() == 400);
  CHECK(first.ended);
}

SWARM_TEST("a child that was not promised is told of everything at once, in the order in which it asked") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(60 * kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto& one = sim.add_host();
  auto& two = sim.add_host();
  auto& three = sim.add_host();
  for (const char* name : {"one", "two"}) {
    auto dealing = deal(scheduler, *seed, kTask, name);
    must(co_await dealing);
  }
  auto of_another_task = deal(scheduler, *seed, kTask, "three of another task");
  must(co_await of_another_task);
  Heard heard, heard_by_three;
  Child first(one, *seed, "one", 60, heard);
  Child second(two, *seed, "two", 60, heard);
  co_await sleep_for(10ms);
  Child third(three, *seed, "three", 60, heard_by_three);
  co_await sleep_for(50ms);
  CHECK(third.ended);
  REQUIRE(heard_by_three.size() == 60);
  CHECK(heard_by_three.front().second == 59);
  CHECK(heard_by_three.back().second == 0);
  CHECK(!first.ended);
  auto all = until([&] { return first.got.size() == 60 && second.got.size() == 60; });
  co_await all;
  CHECK(told_apart(heard) >= 60 - kEnd);
}

SWARM_TEST("a promise is kept once, and forgotten after a minute") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  store::Bitmap wanted;
  wanted.set(0);
  must(seed->handouts.promise(kTask, "one", false));
  CHECK(seed->handouts.join(kTask, "two", wanted) == nullptr);
  CHECK(seed->handouts.join(an_id(2), "one", wanted) == nullptr);
  CHECK(seed->handouts.join(kTask, "one", wanted) != nullptr);
  CHECK(seed->handouts.join(kTask, "one", wanted) == nullptr);
  must(seed->handouts.promise(kTask, "one", false));
  co_await sleep_for(59s);
  must(seed->handouts.promise(kTask, "two", false));
  must(seed->handouts.promise(kTask, "three", false));
  co_await sleep_for(1s);
  CHECK(seed->handouts.join(kTask, "one", wanted) == nullptr);
  CHECK(seed->handouts.join(kTask, "two", wanted) != nullptr);
  co_await sleep_for(30s);
  must(seed->handouts.promise(kTask, "three", false));
  co_await sleep_for(40s);
  CHECK(seed->handouts.join(kTask, "three", wanted) != nullptr);
}

SWARM_TEST("more than 4096 promises a minute are refused, and so are more than 32 children of a task") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  store::Bitmap wanted;
  wanted.set(0);
  std::vector<std::unique_ptr<Handouts::Seat>> seats;
  for (int i = 0; i < 4096; ++i) {
    const auto name = std::to_string(i);
    must(seed->handouts.promise(kTask, name, false));
    if (i <= 32) seats.push_back(seed->handouts.join(kTask, name, wanted));
  }
  CHECK(seats[31] != nullptr);
  CHECK(seats[32] == nullptr);
  auto stocking = stock(*seed->peer, kTask, made_up(kPiece), kPiece);
  auto task = co_await stocking;
  auto& scheduler = sim.add_host();
  auto dealing = deal(scheduler, *seed, kTask, "one too many");
  auto refused = co_await dealing;
  REQUIRE(!refused.ok());
  CHECK(refused.error().status() == static_cast<int>(grpc::Code::kResourceExhausted));
  co_await sleep_for(60s);
  auto later = deal(scheduler, *seed, kTask, "after a minute");
  must(co_await later);
}

SWARM_TEST("what cannot be promised is refused with the reason") {
  auto making = make_seed(sim);
  auto seed = co_await making;
  auto stocking = stock(*seed->peer, kTask, made_up(kPiece), kPiece);
  auto task = co_await stocking;
  auto facts = facts_of(an_id(2), kPiece, kPiece);
  facts.kind = store::TaskKind::kPersistentCache;
  auto creating = store::make_task(*seed->peer->store, facts);
  auto persistent = co_await creating;
  auto& scheduler = sim.add_host();
  struct Case {
    std::string task_id, host_id;
    grpc::Code code;
  };
  const std::vector<Case> cases{{an_id(3), "one", grpc::Code::kNotFound},
                                {an_id(2), "one", grpc::Code::kNotFound},
                                {"../../x", "one", grpc::Code::kInvalidArgument},
                                {"", "one", grpc::Code::kInvalidArgument},
                                {kTask, "", grpc::Code::kInvalidArgument},
                                {kTask, std::string(1025, 'x'), grpc::Code::kInvalidArgument}};
  for (const auto& wrong : cases) {
    CAPTURE(wrong.task_id);
    CAPTURE(wrong.host_id.size());
    auto dealing = deal(scheduler, *seed, wrong.task_id, wrong.host_id);
    auto refused = co_await dealing;
    REQUIRE(!refused.ok());
    CHECK(refused.error().status() == static_cast<int>(wrong.code));
  }
  auto dealing = deal(scheduler, *seed, kTask, std::string(1024, 'x'));
  must(co_await dealing);
}
