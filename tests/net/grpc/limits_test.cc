// What a server refuses, and what it puts up with.
#include <doctest/doctest.h>

#include "net/grpc/reflection.h"
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

}  // namespace

TEST_CASE("an unknown method is UNIMPLEMENTED and named") {
  TwoHosts hosts;
  auto failed = hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/Nothing", request("x")));
  CHECK(failed.failed_with(ErrorCode::kUnsupported));
  CHECK(failed.error().message().find("/d7y.test.Echo/Nothing") != std::string::npos);
}

TEST_CASE("a request over the limit is RESOURCE_EXHAUSTED, the connection lives on") {
  ServerOptions options;
  options.max_receive_message = 1000;
  TwoHosts hosts(options);
  auto big = request("");
  big.set_payload(std::string(10'000'000, 'x'));
  for (const char* path : {kUnary, kExpand}) {
    auto failed = hosts.run(hosts.channel.unary<EchoResponse>(path, big));
    CHECK(failed.failed_with(ErrorCode::kExhausted));
  }
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
  CHECK(hosts.server->connections() == 1);
}

TEST_CASE("a response over the client's limit is refused by the client") {
  TwoHosts hosts;
  CallOptions options;
  options.max_receive_message = 1000;
  auto wanted = request("");
  wanted.set_payload(std::string(2000, 'x'));
  auto failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, wanted, options));
  CHECK(failed.failed_with(ErrorCode::kTooLarge));
  CHECK(failed.error().status() == 8);
}

TEST_CASE("bytes that do not parse are INTERNAL") {
  TwoHosts hosts;
  auto failed = hosts.run(hosts.channel.unary_bytes(kUnary, std::string("\x0a\xff\xff")));
  REQUIRE(!failed.ok());
  CHECK(failed.error().status() == 13);
}

TEST_CASE("a unary call without a message is UNIMPLEMENTED") {
  TwoHosts hosts;
  auto script = [](Channel& channel) -> Task<Result<void>> {
    auto call = channel.start(kUnary);
    co_return co_await call.finish();
  };
  auto failed = hosts.run(script(hosts.channel));
  REQUIRE(!failed.ok());
  CHECK(failed.error().status() == 12);
}

TEST_CASE("the admission hook refuses calls, but not health checks") {
  ServerOptions options;
  int asked = 0;
  options.admit = [&asked](const ServerCall& call) -> Result<void> {
    ++asked;
    CHECK(call.path() == kUnary);
    return Error(ErrorCode::kExhausted, "too many requests");
  };
  TwoHosts hosts(options);
  MethodOptions always;
  always.always_admit = true;
  hosts.server->method(
      "/x/Always", MethodKind::kUnary,
      [](ServerCall& call) -> Task<Result<void>> {
        Task<Result<void>> written = call.write_bytes("yes");
        co_return co_await written;
      },
      always);
  auto failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x")));
  CHECK(failed.failed_with(ErrorCode::kExhausted));
  CHECK(failed.error().message() == "too many requests");
  CHECK(hosts.run(hosts.channel.unary_bytes("/x/Always", std::string())).value() == "yes");
  CHECK(asked == 1);
}

TEST_CASE("status details too long for a header list are left out, then the message is cut") {
  TwoHosts hosts;
  auto wanted = request("origin said no");
  wanted.set_fail_with(13);
  wanted.set_payload(std::string(20'000, 'd'));
  auto failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, wanted));
  CHECK(failed.error().message() == "origin said no");
  CHECK(failed.error().details().empty());
  wanted.set_payload(std::string(9'000, 'd'));
  failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, wanted));
  CHECK(failed.error().details().size() == 9'000);
  wanted.set_text(std::string(100'000, '\n'));
  failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, wanted));
  CHECK(failed.error().status() == 13);
  CHECK(failed.error().message().size() > 1000);
  CHECK(failed.error().message().find_first_not_of('\n') == std::string::npos);
}

TEST_CASE("a request with too many header fields is refused, not served") {
  ServerOptions options;
  options.max_header_list = 4096;
  TwoHosts hosts(options);
  CallOptions call;
  call.metadata.add("x-long", std::string(5000, 'v'));
  auto failed = hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"), call));
  REQUIRE(!failed.ok());
  CHECK(failed.error().status() == 8);
  call.metadata = {};
  call.metadata.add("x-long", std::string(60'000, 'v'));
  CHECK(!hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"), call)).ok());
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
}

TEST_CASE("a slow reader holds the writer back instead of filling memory") {
  TwoHosts hosts;
  auto wanted = request("");
  wanted.set_repeat(10'000);
  wanted.set_payload(std::string(100'000, 'x'));
  auto script = [](Channel& channel, EchoRequest wanted) -> Task<Result<void>> {
    auto call = channel.server_stream<EchoResponse>(kExpand, wanted);
    CO_TRY(auto first, co_await call.read());
    CHECK(first.has_value());
    co_await sleep_for(60s);
    // Meanwhile other calls of the connection go on.
    CO_OK(co_await channel.unary<EchoResponse>(kUnary, request("x")));
    co_return Result<void>{};
  };
  auto before = hosts.client.received_bytes();
  CHECK(hosts.run(script(hosts.channel, wanted)).ok());
  CHECK(hosts.client.received_bytes() - before < 40'000'000);
}

TEST_CASE("a slow handler holds the client back") {
  TwoHosts hosts;
  hosts.server->method("/x/Sleepy", MethodKind::kClientStream, [](ServerCall& call) -> Task<Result<void>> {
    co_await sleep_for(100s);
    Task<Result<void>> written = call.write_bytes("ok");
    co_return co_await written;
  });
  auto script = [](sim::Host& host, Channel& channel) -> Task<Result<int>> {
    auto call = channel.start("/x/Sleepy");
    int written = 0;
    for (;;) {
      auto done = co_await within(Deadline::in(10s, host.now()), call.write(std::string(100'000, 'x')));
      if (!done) break;
      ++written;
    }
    co_return written;
  };
  auto written = hosts.run(script(hosts.client, hosts.channel));
  REQUIRE(written.ok());
  CHECK(*written < 30);
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("x"))).ok());
}

TEST_CASE("small calls do not wait for big messages on the same connection, either way") {
  TwoHosts hosts;
  auto load = [](Channel& channel, int& done) -> Task<void> {
    auto big = request("");
    big.set_payload(std::string(60_MiB, 'x'));
    auto response = co_await channel.unary<EchoResponse>(kUnary, big);
    CHECK(response.ok());
    ++done;
  };
  int done = 0;
  hosts.client.spawn(load(hosts.channel, done));
  hosts.client.spawn(load(hosts.channel, done));
  auto script = [](sim::Host& host, Channel& channel, int& done) -> Task<Result<Duration>> {
    Duration longest{0};
    while (done < 2) {
      co_await sleep_for(10ms);
      auto begin = host.now();
      CO_OK(co_await channel.unary<EchoResponse>(kUnary, request("small")));
      longest = std::max(longest, host.now() - begin);
    }
    co_return longest;
  };
  auto longest = hosts.run(script(hosts.client, hosts.channel, done));
  REQUIRE(longest.ok());
  CAPTURE(*longest / 1ms);
  CHECK(*longest < 200ms);
}

TEST_CASE("a hundred calls at a time share one connection") {
  TwoHosts hosts;
  int done = 0;
  for (int i = 0; i < 100; ++i) {
    hosts.client.spawn([](Channel& channel, int& done) -> Task<void> {
      auto call = channel.client_stream<EchoRequest, EchoResponse>(kCollect);
      for (int k = 0; k < 20; ++k) {
        auto message = request("a");
        message.set_payload(std::string(5000, 'x'));
        (void)co_await call.write(message);
      }
      auto response = co_await call.finish();
      if (response && response->count() == 100'000) ++done;
    }(hosts.channel, done));
  }
  CHECK(hosts.sim.run_until([&] { return done == 100; }, 60s));
  CHECK(hosts.server->connections() == 1);
}

TEST_CASE("a server does not serve more connections than it may") {
  ServerOptions options;
  options.max_connections = 2;
  TwoHosts hosts(options);
  std::vector<std::unique_ptr<Channel>> channels;
  int good = 0;
  for (int i = 0; i < 3; ++i) {
    channels.push_back(std::make_unique<Channel>(hosts.client, hosts.server_host.address(8002)));
    good += hosts.run(channels.back()->unary<EchoResponse>(kUnary, request("x"))).ok() ? 1 : 0;
  }
  CHECK(good == 2);
}

TEST_CASE("reflection lists services and gives the files that declare them") {
  TwoHosts hosts;
  Reflection reflection;
  reflection.attach(*hosts.server);
  CHECK(reflection.add("\x0a\xff").failed_with(ErrorCode::kInvalid));
  for (const char* version : {"v1", "v1alpha"}) {
    auto script = [](Channel& channel, std::string path) -> Task<Result<void>> {
      auto call = channel.start(path);
      CO_OK(co_await call.write("\x3a\x01*"));  // list_services
      CO_TRY(auto list, co_await call.read());
      REQUIRE(list.has_value());
      CHECK(list->find("d7y.test.Echo") != std::string::npos);
      CHECK(list->find("grpc.reflection.v1alpha.ServerReflection") != std::string::npos);
      std::string symbol = "grpc.reflection.v1.ServerReflection.ServerReflectionInfo";
      CO_OK(co_await call.write(std::string("\x22") + static_cast<char>(symbol.size()) + symbol));
      CO_TRY(auto file, co_await call.read());
      REQUIRE(file.has_value());
      CHECK(file->find("reflection_v1.proto") != std::string::npos);
      CO_OK(co_await call.write("\x1a\x07no.file"));
      CO_TRY(auto unknown, co_await call.read());
      REQUIRE(unknown.has_value());
      CHECK(unknown->find("not known") != std::string::npos);
      co_return co_await call.finish();
    };
    CHECK(hosts
              .run(script(hosts.channel,
                          fmt::format("/grpc.reflection.{}.ServerReflection/ServerReflectionInfo", version)))
              .ok());
  }
  hosts.server.reset();
}
