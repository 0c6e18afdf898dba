// Calls and messages counted as Prometheus's libraries for gRPC count them.
#include <doctest/doctest.h>

#include "net/grpc/method_counters.h"
#include "two_hosts.h"

using namespace d7y;
using namespace d7y::grpc;
using namespace std::chrono_literals;
using test::EchoRequest;
using test::EchoResponse;
using test::request;
using test::TwoHosts;

namespace {

ServerOptions counting(Metrics& metrics) {
  ServerOptions options;
  options.counters = [&metrics](std::string_view path, MethodKind kind) {
    return count_method(metrics, path, kind);
  };
  options.admit = [](const ServerCall& call) -> Result<void> {
    if (call.metadata().get("x-too-many")) return error(ErrorCode::kExhausted, "too many");
    return {};
  };
  return options;
}

// The value that is printed for a method of Echo; `code` only where the metric has codes.
std::string shown(const Metrics& metrics, std::string_view name, std::string_view method,
                  std::string_view type, std::string_view code = "") {
  auto labels =
      fmt::format("grpc_method=\"{}\",grpc_service=\"d7y.test.Echo\",grpc_type=\"{}\"", method, type);
  if (!code.empty()) labels = fmt::format("grpc_code=\"{}\",{}", code, labels);
  const auto line = fmt::format("\ngrpc_server_{}_total{{{}}} ", name, labels);
  const auto text = metrics.expose();
  const auto at = text.find(line);
  if (at == std::string::npos) return "none";
  return text.substr(at + line.size(), text.find('\n', at + 1) - at - line.size());
}

}  // namespace

TEST_CASE("calls of each kind are counted with their messages and with the code they ended with") {
  Metrics metrics;
  TwoHosts hosts(counting(metrics));
  CHECK(shown(metrics, "started", "Unary", "unary") == "0");
  CHECK(shown(metrics, "handled", "Chat", "bidi_stream", "Canceled") == "0");

  REQUIRE(hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/Unary", request("a"))).ok());
  auto failing = request("b");
  failing.set_fail_with(5);
  CHECK_FALSE(hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/Unary", failing)).ok());
  CHECK(shown(metrics, "started", "Unary", "unary") == "2");
  CHECK(shown(metrics, "msg_received", "Unary", "unary") == "2");
  CHECK(shown(metrics, "msg_sent", "Unary", "unary") == "1");
  CHECK(shown(metrics, "handled", "Unary", "unary", "OK") == "1");
  CHECK(shown(metrics, "handled", "Unary", "unary", "NotFound") == "1");

  auto expand = [](Channel& channel) -> Task<Result<int>> {
    auto wanted = request("c");
    wanted.set_repeat(3);
    auto call = channel.server_stream<EchoResponse>("/d7y.test.Echo/Expand", wanted);
    int messages = 0;
    for (;;) {
      auto reading = call.read();
      CO_TRY(auto response, co_await reading);
      if (!response) co_return messages;
      ++messages;
    }
  };
  CHECK(hosts.run(expand(hosts.channel)).value() == 3);
  CHECK(shown(metrics, "msg_received", "Expand", "server_stream") == "1");
  CHECK(shown(metrics, "msg_sent", "Expand", "server_stream") == "3");
  CHECK(shown(metrics, "handled", "Expand", "server_stream", "OK") == "1");

  auto chat = [](Channel& channel) -> Task<Result<void>> {
    auto call = channel.bidi<EchoRequest, EchoResponse>("/d7y.test.Echo/Chat");
    for (const char* text : {"1", "2"}) {
      auto writing = call.write(request(text));
      CO_OK(co_await writing);
      auto reading = call.read();
      CO_TRY(auto response, co_await reading);
      CHECK(response);
    }
    co_return Result<void>{};  // and away
  };
  REQUIRE(hosts.run(chat(hosts.channel)).ok());
  CHECK(hosts.sim.run_until([&] { return hosts.service.chatting == 0; }, 10s));
  CHECK(shown(metrics, "started", "Chat", "bidi_stream") == "1");
  CHECK(shown(metrics, "msg_received", "Chat", "bidi_stream") == "2");
  CHECK(shown(metrics, "msg_sent", "Chat", "bidi_stream") == "2");
  CHECK(shown(metrics, "handled", "Chat", "bidi_stream", "Canceled") == "1");
  CHECK(shown(metrics, "handled", "Chat", "bidi_stream", "OK") == "0");
  hosts.server.reset();  // before what its handlers use
}

TEST_CASE("what never reached a method is not counted; a name of the server's own counts the same calls") {
  Metrics metrics;
  auto options = counting(metrics);
  options.counters = [&metrics](std::string_view path, MethodKind kind) {
    auto made = count_method(metrics, path, kind);
    made.calls = &metrics.counter("calls_total", "");
    made.failures = &metrics.counter("failures_total", "");
    return made;
  };
  TwoHosts hosts(std::move(options));
  CallOptions refused;
  refused.metadata = {{"x-too-many", "1"}};
  CHECK_FALSE(
      hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/Unary", request("a"), refused)).ok());
  CHECK_FALSE(hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/None", request("a"))).ok());
  CHECK(shown(metrics, "started", "Unary", "unary") == "0");
  CHECK(shown(metrics, "handled", "Unary", "unary", "ResourceExhausted") == "0");
  CHECK(shown(metrics, "started", "None", "unary") == "none");

  CHECK(hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/Unary", request("a"))).ok());
  auto failing = request("b");
  failing.set_fail_with(13);
  CHECK_FALSE(hosts.run(hosts.channel.unary<EchoResponse>("/d7y.test.Echo/Unary", failing)).ok());
  CHECK(metrics.counter("calls_total", "").value() == 2);
  CHECK(metrics.counter("failures_total", "").value() == 1);
  hosts.server.reset();
}
