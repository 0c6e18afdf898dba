// The four kinds of calls, our client against our server, in the simulated world.
#include <doctest/doctest.h>

#include <string>

#include "echo_service.h"
#include "net/grpc/channel.h"
#include "net/grpc/health.h"
#include "sim/simulation.h"
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
constexpr const char* kExpand = "/d7y.test.Echo/Expand";
constexpr const char* kCollect = "/d7y.test.Echo/Collect";
constexpr const char* kChat = "/d7y.test.Echo/Chat";
constexpr const char* kHang = "/d7y.test.Echo/Hang";

}  // namespace

TEST_CASE("a unary call brings its message, metadata both ways, and no deadline where none was set") {
  TwoHosts hosts;
  CallOptions options;
  options.metadata = {{"x-plain", "a b"}, {"X-Upper", "v"}, {"x-raw-bin", std::string("\0\xff\n", 3)}};
  auto reply = hosts.run(
      hosts.channel.unary_with_metadata(kUnary, grpc::detail::serialize(request("hello")), options));
  REQUIRE(reply.message.ok());
  auto response = grpc::detail::parse<EchoResponse>(*reply.message);
  REQUIRE(response.ok());
  CHECK(response->text() == "hello");
  CHECK(response->timeout_ms() == 0);
  CHECK(reply.headers.get("x-plain") == "a b");
  CHECK(reply.headers.get("x-upper") == "v");
  CHECK(reply.headers.get("x-raw-bin") == std::string_view("\0\xff\n", 3));
  CHECK(reply.trailers.get("t-plain") == "a b");
  CHECK(reply.trailers.get("t-raw-bin") == std::string_view("\0\xff\n", 3));
}

TEST_CASE("a failed call has the handler's code, its message in any script, and its details byte for byte") {
  TwoHosts hosts;
  auto wanted = request("größer als 100% \n 文");
  wanted.set_fail_with(13);
  // What Dragonfly's daemons send: JSON, not a google.rpc.Status (Dragonfly grpc 3g).
  wanted.set_payload(R"({"message":"x","header":{"k":"v"},"status_code":404})");
  for (const char* path : {kUnary, kExpand}) {
    CAPTURE(path);
    auto failed = hosts.run(hosts.channel.unary<EchoResponse>(path, wanted));
    REQUIRE(!failed.ok());
    CHECK(failed.error().code() == ErrorCode::kInternal);
    CHECK(failed.error().status() == 13);
    CHECK(failed.error().message() == wanted.text());
    CHECK(failed.error().details() == wanted.payload());
  }
}

TEST_CASE("every gRPC code arrives as itself") {
  TwoHosts hosts;
  for (int code = 1; code <= 16; ++code) {
    auto wanted = request("no");
    wanted.set_fail_with(code);
    auto failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, wanted));
    REQUIRE(!failed.ok());
    CHECK(failed.error().status() == code);
    CHECK(failed.error().code() == to_error_code(static_cast<Code>(code)));
  }
}

TEST_CASE("a prompt answer needs no task, and where there is none the other handler answers") {
  TwoHosts hosts;
  struct Later {
    static Task<Result<EchoResponse>> answer(EchoRequest request) {
      co_await sleep_for(1s);
      EchoResponse response;
      response.set_text("later " + request.text());
      co_return response;
    }
  };
  hosts.server->unary<EchoRequest, EchoResponse>(
      "/d7y.test.Echo/Prompt",
      [](ServerCall& call, EchoRequest& request) -> std::optional<Result<EchoResponse>> {
        if (request.text() == "wait") return std::nullopt;
        if (request.text() == "fail") return Error(ErrorCode::kNotFound, "nothing here");
        call.trailing_metadata().add("t-seen", "yes");
        EchoResponse response;
        response.set_text(request.text());
        response.set_payload(request.payload());
        return response;
      },
      [](ServerCall&, EchoRequest request) { return Later::answer(std::move(request)); });
  const auto ask = [&](std::string text, CallOptions options = {}) {
    return hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/Prompt", request(std::move(text)),
                                                       std::move(options)));
  };
  CHECK(ask("now")->text() == "now");
  CHECK(ask("fail").failed_with(ErrorCode::kNotFound));
  CHECK(ask("wait")->text() == "later wait");
  CallOptions impatient;
  impatient.deadline = Deadline::in(500ms, hosts.client.now());
  CHECK(ask("wait", impatient).failed_with(ErrorCode::kTimeout));
  auto big = request("big");
  big.set_payload(std::string(100'000, 'x'));  // more than lies on the stack
  auto reply =
      hosts.run(hosts.channel.unary_with_metadata("/d7y.test.Echo/Prompt", grpc::detail::serialize(big), {}));
  REQUIRE(reply.message.ok());
  CHECK(grpc::detail::parse<EchoResponse>(*reply.message)->payload() == big.payload());
  CHECK(reply.trailers.get("t-seen") == "yes");
  CHECK(hosts.run(hosts.channel.unary_bytes("/d7y.test.Echo/Prompt", std::string("\x0a\xff", 2)))
            .failed_with(ErrorCode::kInternal));
  CHECK(hosts.server->open_calls() == 0);
}

TEST_CASE("a server stream brings all messages in order and then its end") {
  TwoHosts hosts;
  auto wanted = request("m");
  wanted.set_repeat(1000);
  auto script = [](Channel& channel, EchoRequest wanted) -> Task<Result<std::uint32_t>> {
    auto call = channel.server_stream<EchoResponse>(kExpand, wanted);
    std::uint32_t count = 0;
    for (;;) {
      CO_TRY(auto response, co_await call.read());
      if (!response) break;
      CHECK(response->count() == count);
      ++count;
    }
    CO_OK(co_await call.finish());
    co_return count;
  };
  auto count = hosts.run(script(hosts.channel, wanted));
  REQUIRE(count.ok());
  CHECK(*count == 1000);
}

TEST_CASE("a server stream that fails in the middle brings what was sent before") {
  TwoHosts hosts;
  auto wanted = request("broken source");
  wanted.set_repeat(3);
  wanted.set_fail_with(13);
  auto script = [](Channel& channel, EchoRequest wanted) -> Task<Result<int>> {
    auto call = channel.server_stream<EchoResponse>(kExpand, wanted);
    int count = 0;
    for (;;) {
      auto response = co_await call.read();
      if (!response) {
        CHECK(response.error().message() == "broken source");
        co_return count;
      }
      REQUIRE(response->has_value());
      ++count;
    }
  };
  CHECK(hosts.run(script(hosts.channel, wanted)).value() == 3);
}

TEST_CASE("a client stream is read to its end and answered once") {
  TwoHosts hosts;
  auto script = [](Channel& channel) -> Task<Result<EchoResponse>> {
    auto call = channel.client_stream<EchoRequest, EchoResponse>(kCollect);
    for (int i = 0; i < 100; ++i) {
      auto message = request("ab");
      message.set_payload(std::string(10'000, 'x'));
      CO_OK(co_await call.write(message));
    }
    co_return co_await call.finish();
  };
  auto response = hosts.run(script(hosts.channel));
  REQUIRE(response.ok());
  CHECK(response->text().size() == 200);
  CHECK(response->count() == 1'000'000);
}

TEST_CASE(
    "a handler that takes what is here and waits for more gets every message once, whole and in order") {
  TwoHosts hosts;
  // Counts what is not as expected; fields of one message must not be found in the next.
  struct Takes {
    static Task<Result<EchoResponse>> all(grpc::Reader<EchoRequest>& in) {
      EchoResponse response;
      EchoRequest message;
      for (std::uint32_t next = 0;;) {
        CO_TRY(const bool taken, in.take(message));
        if (taken) {
          const bool right = message.repeat() == next && message.payload().empty() == (next % 2 == 1);
          response.set_count(response.count() + (right ? 1 : 0));
          ++next;
          continue;
        }
        Task<Result<bool>> waiting = in.wait();
        CO_TRY(const bool more, co_await waiting);
        if (!more) co_return response;
      }
    }
  };
  hosts.server->client_stream<EchoRequest, EchoResponse>(
      "/d7y.test.Echo/Takes", [](ServerCall&, grpc::Reader<EchoRequest>& in) { return Takes::all(in); });
  auto script = [](Channel& channel, sim::Host& host) -> Task<Result<EchoResponse>> {
    auto call = channel.client_stream<EchoRequest, EchoResponse>("/d7y.test.Echo/Takes");
    for (std::uint32_t i = 0; i < 200; ++i) {
      EchoRequest message;
      message.set_repeat(i);
      if (i % 2 == 0) message.set_payload(std::string(i == 100 ? 300'000 : 10, 'x'));
      CO_OK(co_await call.write(message));
      if (i % 10 == 0) co_await sleep_until(host.now() + 50ms);
    }
    co_return co_await call.finish();
  };
  auto response = hosts.run(script(hosts.channel, hosts.client));
  REQUIRE(response.ok());
  CHECK(response->count() == 200);

  auto broken = [](Channel& channel) -> Task<Result<void>> {
    auto call = channel.start("/d7y.test.Echo/Takes");
    CO_OK(co_await call.write(std::string("\x0a\xff", 2)));
    co_return co_await call.finish();
  };
  CHECK(hosts.run(broken(hosts.channel)).failed_with(ErrorCode::kInternal));
}

TEST_CASE("a server that refuses a client stream in its middle ends it with its status") {
  TwoHosts hosts;
  auto script = [](Channel& channel) -> Task<Result<EchoResponse>> {
    auto call = channel.client_stream<EchoRequest, EchoResponse>(kCollect);
    auto bad = request("enough");
    bad.set_fail_with(9);
    CO_OK(co_await call.write(bad));
    // The client goes on writing until it notices.
    for (;;) {
      auto message = request("ab");
      message.set_payload(std::string(100'000, 'x'));
      auto written = co_await call.write(message);
      if (!written) break;
    }
    co_return co_await call.finish();
  };
  auto response = hosts.run(script(hosts.channel));
  REQUIRE(!response.ok());
  CHECK(response.error().code() == ErrorCode::kPrecondition);
  CHECK(response.error().message() == "enough");
}

TEST_CASE("both directions of a bidi call go on independently") {
  TwoHosts hosts;
  auto script = [](Channel& channel) -> Task<Result<int>> {
    auto call = channel.bidi<EchoRequest, EchoResponse>(kChat);
    int answers = 0;
    for (int round = 0; round < 50; ++round) {
      for (int i = 0; i < 3; ++i) CO_OK(co_await call.write(request("x")));
      for (int i = 0; i < 3; ++i) {
        CO_TRY(auto response, co_await call.read());
        if (response) ++answers;
      }
    }
    call.finish_writing();
    CO_TRY(auto end, co_await call.read());
    CHECK(!end.has_value());
    co_return answers;
  };
  CHECK(hosts.run(script(hosts.channel)).value() == 150);
  CHECK(hosts.service.chatting == 0);
}

TEST_CASE("response headers of a stream come at once, long before the first message") {
  TwoHosts hosts;
  auto script = [](sim::Host& host, Channel& channel) -> Task<Result<Duration>> {
    CO_OK(co_await channel.connect(Deadline::in(5s, host.now())));
    auto begin = host.now();
    auto call = channel.bidi<EchoRequest, EchoResponse>(kChat);
    CO_OK(co_await call.wait_headers());
    co_return host.now() - begin;
  };
  auto took = hosts.run(script(hosts.client, hosts.channel));
  REQUIRE(took.ok());
  CHECK(*took < 1s);
}

TEST_CASE("a server may end a bidi call while the client has not half-closed") {
  TwoHosts hosts;
  auto script = [](Channel& channel) -> Task<Result<void>> {
    auto call = channel.bidi<EchoRequest, EchoResponse>(kChat);
    CO_OK(co_await call.write(request("bye")));
    CO_TRY(auto end, co_await call.read());
    CHECK(!end.has_value());
    auto late = co_await call.write(request("more"));
    CHECK(late.failed_with(ErrorCode::kClosed));
    co_return co_await call.finish();
  };
  CHECK(hosts.run(script(hosts.channel)).ok());
  CHECK(hosts.server->open_calls() == 0);
  CHECK(hosts.channel.open_calls() == 0);
}

TEST_CASE("a deadline ends a unary call on both sides") {
  TwoHosts hosts;
  CallOptions options;
  options.deadline = Deadline::in(2s, hosts.client.now());
  auto failed = hosts.run(hosts.channel.unary<EchoResponse>(kHang, request(""), options));
  CHECK(failed.failed_with(ErrorCode::kTimeout));
  CHECK(failed.error().status() == 4);
  CHECK(hosts.client.now() - TimePoint{} < 3s);
  hosts.sim.run_for(1s);
  CHECK(hosts.service.hanging == 0);
  CHECK(hosts.server->open_calls() == 0);
}

TEST_CASE("the server alone enforces grpc-timeout on unary calls") {
  TwoHosts hosts;
  auto script = [](sim::Host& host, Channel& channel) -> Task<Result<void>> {
    CO_OK(co_await channel.connect(Deadline::in(5s, host.now())));
    CallOptions options;
    options.deadline = Deadline::in(1s, host.now());
    auto call = channel.unary<EchoResponse>(kHang, request(""), options);
    auto failed = co_await call;
    CHECK(failed.failed_with(ErrorCode::kTimeout));
    co_return Result<void>{};
  };
  // The client stands still when its own deadline comes.
  hosts.client.spawn([](Task<Result<void>> task) -> Task<void> {
    (void)co_await task;
  }(script(hosts.client, hosts.channel)));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 10s));
  hosts.client.pause();
  hosts.sim.run_for(3s);
  CHECK(hosts.service.hanging == 0);
  hosts.client.resume();
  hosts.sim.run_for(1s);
}

TEST_CASE("grpc-timeout does not end a server stream: the handler sees it and decides") {
  TwoHosts hosts;
  // As Rust peers do on SyncHost and SyncPieces: 10 s, and a stream for ever (Dragonfly grpc 4.1). The
  // client enforces nothing, so the header is sent by hand.
  auto wanted = request("tick");
  wanted.set_repeat(60);
  wanted.set_wait_ms(1000);
  auto script = [](sim::Host& host, Channel& channel, EchoRequest wanted) -> Task<Result<int>> {
    CallOptions options;
    options.deadline = Deadline::in(100s, host.now());
    auto call = channel.server_stream<EchoResponse>(kExpand, wanted, options);
    int count = 0;
    for (;;) {
      CO_TRY(auto response, co_await call.read());
      if (!response) break;
      CHECK(response->timeout_ms() > 90'000);
      ++count;
    }
    co_return count;
  };
  CHECK(hosts.run(script(hosts.client, hosts.channel, wanted)).value() == 60);

  auto late = [](sim::Host& host, Channel& channel, EchoRequest wanted) -> Task<Result<bool>> {
    CallOptions options;
    options.deadline = Deadline::in(10s, host.now());
    auto call = channel.server_stream<EchoResponse>(kExpand, wanted, options);
    CO_OK(co_await call.wait_headers());
    // Frozen, this client's own alarm cannot end the call; the server must not either.
    co_await sleep_for(1s);
    co_return true;
  };
  hosts.client.spawn([](Task<Result<bool>> task) -> Task<void> {
    (void)co_await task;
    Signal never;
    (void)co_await never.wait(Deadline::never());
  }(late(hosts.client, hosts.channel, wanted)));
  CHECK(hosts.sim.run_until([&] { return hosts.service.expanding == 1; }, 10s));
  hosts.client.pause();
  hosts.sim.run_for(30s);
  CHECK(hosts.service.expanding == 1);
  hosts.client.resume();
  hosts.sim.run_for(1s);
}

TEST_CASE("headers_deadline ends only the wait for headers") {
  TwoHosts hosts;
  auto script = [](sim::Host& host, Channel& channel) -> Task<Result<void>> {
    CallOptions options;
    options.headers_deadline = Deadline::in(5s, host.now());
    auto call = channel.bidi<EchoRequest, EchoResponse>(kChat, options);
    CO_OK(co_await call.wait_headers());
    co_await sleep_for(20s);
    CO_OK(co_await call.write(request("still here")));
    CO_TRY(auto response, co_await call.read());
    CHECK(response.has_value());
    options.headers_deadline = Deadline::in(5s, host.now());
    auto hanging = channel.server_stream<EchoResponse>(kHang, request(""), options);
    auto failed = co_await hanging.wait_headers();
    CHECK(failed.failed_with(ErrorCode::kTimeout));
    co_return Result<void>{};
  };
  CHECK(hosts.run(script(hosts.client, hosts.channel)).ok());
}

TEST_CASE("destroying the call object destroys the handler's frame on the server") {
  TwoHosts hosts;
  auto script = [](sim::Host& host, Channel& channel, int& hanging) -> Task<Result<void>> {
    {
      auto call = channel.server_stream<EchoResponse>(kHang, request(""));
      co_await sleep_for(1s);
      CHECK(hanging == 1);
      auto nothing = co_await within(Deadline::in(1s, host.now()), call.read());
      CHECK(nothing.failed_with(ErrorCode::kTimeout));
      CHECK(hanging == 1);
    }
    co_await sleep_for(1s);
    CHECK(hanging == 0);
    co_return Result<void>{};
  };
  CHECK(hosts.run(script(hosts.client, hosts.channel, hosts.service.hanging)).ok());
  CHECK(hosts.channel.open_calls() == 0);
  CHECK(hosts.server->open_calls() == 0);
}

TEST_CASE("a client that dies takes its handlers with it") {
  TwoHosts hosts;
  hosts.client.spawn([](Channel& channel) -> Task<void> {
    auto call = channel.server_stream<EchoResponse>(kHang, request(""));
    (void)co_await call.read();
  }(hosts.channel));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 10s));
  hosts.client.kill();
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 0; }, 10s));
  CHECK(hosts.sim.run_until([&] { return hosts.server->connections() == 0; }, 10s));
}

TEST_CASE("messages of 64 MiB go both ways") {
  TwoHosts hosts;
  auto big = request("");
  big.set_payload(sim::random_bytes(64_MiB, 1));
  auto response = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, big));
  REQUIRE(response.ok());
  CHECK(response->payload() == big.payload());
}

TEST_CASE("gzip: compressed requests are read, compressed answers are asked for") {
  TwoHosts hosts;
  auto wanted = request("z");
  wanted.set_payload(std::string(1'000'000, 'a'));
  wanted.set_gzip(true);
  CallOptions options;
  options.gzip = true;
  auto before = hosts.client.sent_bytes() + hosts.client.received_bytes();
  auto response = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, wanted, options));
  REQUIRE(response.ok());
  CHECK(response->payload() == wanted.payload());
  CHECK(hosts.client.sent_bytes() + hosts.client.received_bytes() - before < 50'000);
}

TEST_CASE("health: known names answer, unknown ones are NOT_FOUND, Watch tells of changes") {
  TwoHosts hosts;
  Health health;
  health.attach(*hosts.server);
  auto script = [](sim::Host& host, Channel& channel, Health& health) -> Task<Result<void>> {
    auto soon = [&host] { return Deadline::in(2s, host.now()); };
    auto early = co_await check_health(channel, "", soon());
    CHECK(early.failed_with(ErrorCode::kUnavailable));
    health.set("", Health::Serving::kYes);
    CO_OK(co_await check_health(channel, "", soon()));
    auto unknown = co_await check_health(channel, "x.Y", soon());
    CHECK(unknown.failed_with(ErrorCode::kNotFound));
    auto watch = channel.server_stream_bytes("/grpc.health.v1.Health/Watch", std::string("\x0a\x03x.Y"));
    CO_TRY(auto first, co_await watch.read());
    CHECK(first == "\x08\x03");  // SERVICE_UNKNOWN
    health.set("x.Y", Health::Serving::kYes);
    CO_TRY(auto second, co_await watch.read());
    CHECK(second == "\x08\x01");
    health.shut_down();
    CO_TRY(auto third, co_await watch.read());
    CHECK(third == "\x08\x02");
    co_return Result<void>{};
  };
  CHECK(hosts.run(script(hosts.client, hosts.channel, health)).ok());
  hosts.server.reset();  // before what its handlers use
}
