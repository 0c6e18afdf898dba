// grpc-echo: the echo service as a program, and a client that checks another implementation of it.
//
//   grpc-echo serve 127.0.0.1:0 unix:/tmp/x.sock    prints "listening ADDRESS" for each, serves until stdin
//   ends grpc-echo call 127.0.0.1:1234                   prints a line per check; exit code 1 if one fails
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "echo_service.h"
#include "net/grpc/channel.h"
#include "net/grpc/health.h"
#include "net/grpc/reflection.h"
#include "world/uv_world.h"

using namespace d7y;
using namespace d7y::grpc;
using namespace std::chrono_literals;
using test::EchoRequest;
using test::EchoResponse;

namespace {

constexpr const char* kUnary = "/d7y.test.Echo/Unary";
constexpr const char* kExpand = "/d7y.test.Echo/Expand";
constexpr const char* kCollect = "/d7y.test.Echo/Collect";
constexpr const char* kChat = "/d7y.test.Echo/Chat";
constexpr const char* kHang = "/d7y.test.Echo/Hang";

int serve(world::UvWorld& world, const std::vector<std::string>& addresses) {
  test::EchoService service;
  Health health;
  Reflection reflection;
  ServerOptions options;
  options.max_receive_message = 256_MiB;
  Server server(world, options);
  service.attach(server);
  health.attach(server);
  health.set("", Health::Serving::kYes);
  health.set("d7y.test.Echo", Health::Serving::kNo);
  reflection.attach(server);
  for (const auto& text : addresses) {
    auto address = Address::parse(text);
    if (!address) return std::fprintf(stderr, "%s\n", address.error().message().c_str()), 2;
    auto local = server.listen(*address);
    if (!local) return std::fprintf(stderr, "%s\n", local.error().message().c_str()), 2;
    std::printf("listening %s\n", local->to_string().c_str());
  }
  std::fflush(stdout);
  std::thread watcher([&world] {
    char byte;
    while (::read(0, &byte, 1) > 0) {
    }
    world.stop();
  });
  world.run();
  watcher.join();
  return 0;
}

struct Checks {
  int failed = 0;
  void operator()(const char* what, bool good, const std::string& detail = {}) {
    std::printf("%s %s%s%s\n", good ? "ok  " : "FAIL", what, detail.empty() ? "" : ": ", detail.c_str());
    failed += good ? 0 : 1;
  }
};

EchoRequest request(std::string text) {
  EchoRequest made;
  made.set_text(std::move(text));
  return made;
}

std::string text_of(const Error& error) { return fmt::format("{} {}", error.status(), error.message()); }

Task<int> call(world::World& world, Channel& channel) {
  Checks check;
  auto soon = [&world] {
    CallOptions options;
    options.deadline = Deadline::in(60s, world.now());
    return options;
  };

  auto options = soon();
  options.metadata = {{"x-plain", "a b"}, {"x-raw-bin", std::string("\0\xff", 2)}};
  auto reply =
      co_await channel.unary_with_metadata(kUnary, grpc::detail::serialize(request("hello")), options);
  check("unary", reply.message.ok() && reply.message->find("hello") != std::string::npos,
        reply.message ? "" : text_of(reply.message.error()));
  check("initial metadata", reply.headers.get("x-plain") == "a b");
  check("trailing metadata", reply.trailers.get("t-plain") == "a b");
  check("binary metadata", reply.trailers.get("t-raw-bin") == std::string_view("\0\xff", 2));

  auto failing = request(
      "gr\xc3\xb6\xc3\x9f"
      "er 100%\n");
  failing.set_fail_with(13);
  failing.set_payload("{\"message\":\"x\",\"status_code\":404}");
  auto failed = co_await channel.unary<EchoResponse>(kUnary, failing, soon());
  check("status", !failed.ok() && failed.error().status() == 13);
  check("message", !failed.ok() && failed.error().message() == failing.text());
  check("details", !failed.ok() && failed.error().details() == failing.payload());

  auto many = request("m");
  many.set_repeat(500);
  auto stream = channel.server_stream<EchoResponse>(kExpand, many, soon());
  std::uint32_t count = 0;
  for (;;) {
    auto response = co_await stream.read();
    if (!response) {
      check("server stream", false, text_of(response.error()));
      break;
    }
    if (!response->has_value()) break;
    if ((*response)->count() == count) ++count;
  }
  check("server stream", count == 500);

  auto collect = channel.client_stream<EchoRequest, EchoResponse>(kCollect, soon());
  for (int i = 0; i < 100; ++i) {
    auto message = request("ab");
    message.set_payload(std::string(10'000, 'x'));
    auto written = co_await collect.write(message);
    if (!written) check("client stream write", false, text_of(written.error()));
  }
  auto collected = co_await collect.finish();
  check("client stream", collected.ok() && collected->count() == 1'000'000);

  auto chat = channel.bidi<EchoRequest, EchoResponse>(kChat, soon());
  auto headers = co_await chat.wait_headers();
  bool good = headers.ok();
  for (int i = 0; i < 100; ++i) {
    auto written = co_await chat.write(request("x"));
    auto answer = co_await chat.read();
    good = good && written.ok() && answer.ok() && answer->has_value();
  }
  check("bidi", good);
  auto bye = co_await chat.write(request("bye"));
  auto end = co_await chat.read();
  check("bidi ended by the server", bye.ok() && end.ok() && !end->has_value());

  auto half = channel.bidi<EchoRequest, EchoResponse>(kChat, soon());
  half.finish_writing();
  auto half_end = co_await half.finish();
  check("bidi ended by the client", half_end.ok());

  auto big = request("");
  big.set_payload(std::string(64_MiB, 'b'));
  auto big_answer = co_await channel.unary<EchoResponse>(kUnary, big, soon());
  check("64 MiB both ways", big_answer.ok() && big_answer->payload() == big.payload(),
        big_answer ? "" : text_of(big_answer.error()));

  options = soon();
  options.gzip = true;
  auto zipped = request("");
  zipped.set_payload(std::string(1'000'000, 'z'));
  zipped.set_gzip(true);
  auto unzipped = co_await channel.unary<EchoResponse>(kUnary, zipped, options);
  check("gzip both ways", unzipped.ok() && unzipped->payload() == zipped.payload(),
        unzipped ? "" : text_of(unzipped.error()));

  options = soon();
  options.deadline = Deadline::in(300ms, world.now());
  auto late = co_await channel.unary<EchoResponse>(kHang, request(""), options);
  check("deadline", late.failed_with(ErrorCode::kTimeout));

  {
    auto hanging = channel.server_stream<EchoResponse>(kHang, request(""), soon());
    co_await sleep_for(50ms);
  }
  auto after = co_await channel.unary<EchoResponse>(kUnary, request("after a cancelled call"), soon());
  check("cancellation", after.ok());

  auto unknown = co_await channel.unary<EchoResponse>("/d7y.test.Echo/Nothing", request(""), soon());
  check("unknown method", unknown.failed_with(ErrorCode::kUnsupported));

  auto healthy = co_await check_health(channel, "", Deadline::in(30s, world.now()));
  check("health", healthy.ok(), healthy ? "" : text_of(healthy.error()));
  auto unhealthy = co_await check_health(channel, "no.such.Service", Deadline::in(30s, world.now()));
  check("health of an unknown service", unhealthy.failed_with(ErrorCode::kNotFound));
  co_return check.failed;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 2) return std::fprintf(stderr, "usage: grpc-echo serve|call ADDRESS...\n"), 2;
  auto world = world::make_uv_world();
  if (!world) return std::fprintf(stderr, "%s\n", world.error().message().c_str()), 2;
  if (arguments[0] == "serve") return serve(**world, {arguments.begin() + 1, arguments.end()});
  auto address = Address::parse(arguments[1]);
  if (!address) return std::fprintf(stderr, "%s\n", address.error().message().c_str()), 2;
  Channel channel(**world, *address);
  auto failed = (*world)->wait_for(call(**world, channel));
  return failed && *failed == 0 ? 0 : 1;
}
