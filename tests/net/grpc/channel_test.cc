// How a channel connects, loses, waits and leaves.
#include <doctest/doctest.h>

#include "two_hosts.h"

using namespace d7y;
using namespace d7y::grpc;
using namespace std::chrono_literals;
using test::EchoRequest;
using test::EchoResponse;
using test::request;
using test::TwoHosts;

namespace {

constexpr const char* kUnary = "/d7y.test.Echo/Unary";
constexpr const char* kChat = "/d7y.test.Echo/Chat";
constexpr const char* kHang = "/d7y.test.Echo/Hang";

Task<void> keep_result(Task<Result<EchoResponse>> task, std::optional<Result<EchoResponse>>& out) {
  out.emplace(co_await task);
}

}  // namespace

TEST_CASE("no connection is made before the first call, one serves all that follow") {
  TwoHosts hosts;
  hosts.sim.run_for(10s);
  CHECK(hosts.server->connections() == 0);
  for (int i = 0; i < 10; ++i) CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
  CHECK(hosts.server->connections() == 1);
}

TEST_CASE("a server that is not there: the error says who and why, and comes at once") {
  TwoHosts hosts;
  Channel channel(hosts.client, hosts.server_host.address(9));
  auto failed = hosts.run(channel.unary<EchoResponse>(kUnary, request("x")));
  REQUIRE(!failed.ok());
  CHECK(failed.error().code() == ErrorCode::kRefused);
  CHECK(failed.error().status() == 14);
  CHECK(failed.error().message().find(hosts.server_host.address(9).to_string()) != std::string::npos);
  CHECK(hosts.client.now() - TimePoint{} < 1s);
}

TEST_CASE("a silent address ends in the connect timeout, not in the call's deadline") {
  TwoHosts hosts;
  hosts.server_host.power_off();
  auto failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x")));
  CHECK(!failed.ok());
  CHECK(failed.error().status() == 14);
  auto took = hosts.client.now() - TimePoint{};
  CHECK(took >= 3s);
  CHECK(took < 4s);
}

TEST_CASE("a channel comes back by itself after its server was away") {
  TwoHosts hosts;
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
  hosts.server.reset();
  hosts.sim.run_for(1s);
  CHECK(!hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
  hosts.server.emplace(hosts.server_host);
  hosts.service.attach(*hosts.server);
  REQUIRE(hosts.server->listen(hosts.server_host.address(8002)).ok());
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
}

TEST_CASE("wait_for_ready keeps trying until its deadline, with back-off") {
  TwoHosts hosts;
  hosts.server.reset();
  CallOptions options;
  options.wait_for_ready = true;
  options.deadline = Deadline::in(60s, hosts.client.now());
  std::optional<Result<EchoResponse>> result;
  hosts.client.spawn(keep_result(hosts.channel.unary<EchoResponse>(kUnary, request("x"), options), result));
  hosts.sim.run_for(30s);
  CHECK(!result);
  hosts.server.emplace(hosts.server_host);
  hosts.service.attach(*hosts.server);
  REQUIRE(hosts.server->listen(hosts.server_host.address(8002)).ok());
  CHECK(hosts.sim.run_until([&] { return result.has_value(); }, 10s));
  CHECK(result->ok());

  hosts.server.reset();
  hosts.sim.run_for(1s);
  options.deadline = Deadline::in(20s, hosts.client.now());
  auto late = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"), options));
  CHECK(late.failed_with(ErrorCode::kTimeout));
}

TEST_CASE("calls of a connection that breaks are UNAVAILABLE and say so") {
  TwoHosts hosts;
  std::optional<Result<EchoResponse>> result;
  hosts.client.spawn(keep_result(hosts.channel.unary<EchoResponse>(kHang, request("x")), result));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 10s));
  hosts.server.reset();
  CHECK(hosts.sim.run_until([&] { return result.has_value(); }, 10s));
  CHECK(result->failed_with(ErrorCode::kReset));
  CHECK(result->error().status() == 14);
}

TEST_CASE("a machine that vanished is noticed by TCP within a minute") {
  TwoHosts hosts;
  std::optional<Result<EchoResponse>> result;
  hosts.client.spawn(keep_result(hosts.channel.unary<EchoResponse>(kHang, request("x")), result));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 10s));
  hosts.sim.run_for(3min);
  CHECK(!result);
  hosts.server_host.power_off();
  hosts.sim.run_for(1min);
  REQUIRE(result.has_value());
  CHECK(result->failed_with(ErrorCode::kReset));
  CHECK(result->error().status() == 14);
}

TEST_CASE("a dead connection is noticed by keepalive pings, which go out only while calls are open") {
  TwoHosts hosts;
  const auto connect = [&](Deadline deadline) {
    return hosts.client.network().connect(hosts.server_host.address(8002), {}, deadline);
  };
  hosts.channel = Channel(hosts.client, "server", connect);
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
  auto sent = hosts.client.sent_bytes();
  hosts.sim.run_for(9min);
  CHECK(hosts.client.sent_bytes() == sent);  // idle: silent
  std::optional<Result<EchoResponse>> result;
  hosts.client.spawn(keep_result(hosts.channel.unary<EchoResponse>(kHang, request("x")), result));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 10s));
  sent = hosts.client.sent_bytes();
  hosts.sim.run_for(11min);
  CHECK(hosts.client.sent_bytes() > sent);  // pings
  CHECK(!result);                           // and answers
  hosts.server_host.power_off();
  hosts.sim.run_for(4min);
  CHECK(!result);
  hosts.sim.run_for(2min);
  REQUIRE(result.has_value());
  CHECK(result->failed_with(ErrorCode::kReset));
}

TEST_CASE("closing a channel ends its calls") {
  TwoHosts hosts;
  auto channel = std::make_unique<Channel>(hosts.client, hosts.server_host.address(8002));
  std::optional<Result<EchoResponse>> result;
  hosts.client.spawn(keep_result(channel->unary<EchoResponse>(kHang, request("x")), result));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 10s));
  channel.reset();
  CHECK(hosts.sim.run_until([&] { return result.has_value(); }, 1s));
  CHECK(result->failed_with(ErrorCode::kClosed));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 0; }, 1s));
}

TEST_CASE("a draining server lets running calls end, refuses none on the way, and takes no new ones") {
  TwoHosts hosts;
  std::optional<Result<EchoResponse>> slow;
  auto wanted = request("slow");
  wanted.set_wait_ms(5000);
  hosts.client.spawn(keep_result(hosts.channel.unary<EchoResponse>(kUnary, wanted), slow));
  hosts.sim.run_for(1s);
  std::optional<Result<void>> drained;
  hosts.server_host.spawn(
      [](Server& server, Deadline deadline, std::optional<Result<void>>& out) -> Task<void> {
        Task<Result<void>> draining = server.drain(deadline);
        out.emplace(co_await draining);
      }(*hosts.server, Deadline::in(30s, hosts.server_host.now()), drained));
  hosts.sim.run_for(1s);
  CHECK(!drained);
  auto refused = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("new")));
  CHECK(!refused.ok());
  CHECK(hosts.sim.run_until([&] { return slow.has_value(); }, 10s));
  CHECK(slow->ok());
  CHECK(hosts.sim.run_until([&] { return drained.has_value(); }, 10s));
  CHECK(drained->ok());
  CHECK(hosts.server->connections() == 0);
}

TEST_CASE("a drain that takes too long cancels what is left") {
  TwoHosts hosts;
  std::optional<Result<EchoResponse>> hanging;
  hosts.client.spawn(keep_result(hosts.channel.unary<EchoResponse>(kHang, request("x")), hanging));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 10s));
  std::optional<Result<void>> drained;
  hosts.server_host.spawn(
      [](Server& server, Deadline deadline, std::optional<Result<void>>& out) -> Task<void> {
        Task<Result<void>> draining = server.drain(deadline);
        out.emplace(co_await draining);
      }(*hosts.server, Deadline::in(5s, hosts.server_host.now()), drained));
  CHECK(hosts.sim.run_until([&] { return drained.has_value(); }, 10s));
  CHECK(drained->failed_with(ErrorCode::kTimeout));
  CHECK(hosts.sim.run_until([&] { return hanging.has_value(); }, 10s));
  CHECK(hosts.service.hanging == 0);
}

TEST_CASE("a connection that comes of age is left for a new one without a failed call") {
  ServerOptions options;
  options.max_age = 60s;
  options.age_grace = 10s;
  TwoHosts hosts(options);
  auto script = [](Channel& channel) -> Task<Result<int>> {
    for (int i = 0; i < 3000; ++i) {
      CO_OK(co_await channel.unary<EchoResponse>(kUnary, request("x")));
      co_await sleep_for(100ms);
    }
    co_return 3000;
  };
  auto done = hosts.run(script(hosts.channel));
  if (!done) MESSAGE(done.error().message());
  CHECK(done.ok());
  // A stream that does not want to end is ended after the grace.
  auto stubborn = [](Channel& channel) -> Task<Result<void>> {
    auto call = channel.bidi<EchoRequest, EchoResponse>(kChat);
    co_return co_await call.finish();
  };
  auto held = [](Channel& channel) -> Task<Result<void>> {
    auto call = channel.bidi<EchoRequest, EchoResponse>(kChat);
    CO_TRY(auto message, co_await call.read());
    CHECK(!message.has_value());
    co_return Result<void>{};
  };
  CHECK(hosts.run(stubborn(hosts.channel)).ok());
  auto begin = hosts.client.now();
  CHECK(!hosts.run(held(hosts.channel)).ok());
  CHECK(hosts.client.now() - begin < 80s);
}

TEST_CASE("an idle connection is closed by the server and the next call makes a new one") {
  TwoHosts hosts;
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
  hosts.sim.run_for(9min);
  CHECK(hosts.server->connections() == 1);
  hosts.sim.run_for(2min);
  CHECK(hosts.server->connections() == 0);
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
}

TEST_CASE("an idle channel closes its connection when it is told to") {
  ChannelOptions options;
  options.idle_timeout = 30s;
  TwoHosts hosts({}, options);
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
  CHECK(hosts.server->connections() == 1);
  hosts.sim.run_for(40s);
  CHECK(hosts.server->connections() == 0);
  CHECK(!hosts.channel.connected());
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
}

TEST_CASE("a channel may spread calls over several connections") {
  ChannelOptions options;
  options.connections = 3;
  TwoHosts hosts({}, options);
  std::array<std::optional<Result<EchoResponse>>, 9> results;
  for (auto& result : results) {
    auto wanted = request("x");
    wanted.set_wait_ms(1000);
    hosts.client.spawn(keep_result(hosts.channel.unary<EchoResponse>(kUnary, wanted), result));
    hosts.sim.run_for(10ms);
  }
  CHECK(hosts.server->connections() == 3);
  hosts.sim.run_for(5s);
  for (auto& result : results) CHECK((result && result->ok()));
}
