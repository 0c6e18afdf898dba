// Calls as spans of traces.
#include <doctest/doctest.h>

#include <vector>

#include "net/grpc/health.h"
#include "two_hosts.h"

using namespace d7y;
using namespace d7y::grpc;
using namespace std::chrono_literals;
using test::EchoRequest;
using test::EchoResponse;
using test::request;
using test::TwoHosts;

namespace {

struct Spans final : SpanSink {
  void take(Span span) override { all.push_back(std::move(span)); }
  std::vector<Span> all;
};

ServerOptions into(Spans& spans) {
  ServerOptions options;
  options.spans = &spans;
  return options;
}

std::string text(const Span& span, std::string_view name) {
  for (const auto& [key, value] : span.attributes) {
    if (key != name) continue;
    if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
    return std::get<std::string>(value);
  }
  return "none";
}

CallOptions in_trace(std::string_view traceparent) {
  CallOptions options;
  options.metadata.add("traceparent", traceparent);
  return options;
}

constexpr const char* kUnary = "/d7y.test.Echo/Unary";

}  // namespace

TEST_CASE("a call is a span in its caller's trace, or the beginning of one") {
  Spans spans;
  TwoHosts hosts(into(spans));
  const std::string caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  auto slow = request("a");
  slow.set_wait_ms(100);
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, slow, in_trace(caller))).ok());
  REQUIRE(spans.all.size() == 1);
  const auto& span = spans.all.front();
  const auto outer = TraceContext::parse(caller);
  CHECK(span.name == "d7y.test.Echo/Unary");
  CHECK(span.kind == Span::Kind::kServer);
  CHECK(span.context.trace == outer->trace);
  CHECK(span.context.parent == outer->span);
  CHECK(span.context.span != outer->span);
  CHECK(span.ended - span.began >= 100ms);
  CHECK(span.failure.empty());
  CHECK(text(span, "rpc.system") == "grpc");
  CHECK(text(span, "rpc.service") == "d7y.test.Echo");
  CHECK(text(span, "rpc.method") == "Unary");
  CHECK(text(span, "rpc.grpc.status_code") == "0");
  CHECK(text(span, "net.peer.ip") == hosts.client.addresses().front().ip());

  auto failing = request("not found");
  failing.set_fail_with(5);
  CHECK_FALSE(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, failing)).ok());
  REQUIRE(spans.all.size() == 2);
  CHECK_FALSE(spans.all.back().context.has_parent());
  CHECK(text(spans.all.back(), "rpc.grpc.status_code") == "5");
  CHECK(spans.all.back().failure == "not found");
  hosts.server.reset();
}

TEST_CASE("a call that nobody wants recorded is none, and neither is a health check") {
  Spans spans;
  TwoHosts hosts(into(spans));
  Health health;
  health.attach(*hosts.server);
  const auto unsampled = in_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("a"), unsampled)).ok());
  CHECK(hosts.run(hosts.channel.unary_with_metadata("/grpc.health.v1.Health/Check", std::string(), {}))
            .message.ok());
  CHECK(spans.all.empty());
  // What is no trace begins one.
  CHECK(hosts.run(hosts.channel.unary<EchoResponse>(kUnary, request("a"), in_trace("00-no"))).ok());
  REQUIRE(spans.all.size() == 1);
  CHECK_FALSE(spans.all.front().context.has_parent());
  hosts.server.reset();
}

TEST_CASE("the span of a stream ends when its client is gone") {
  Spans spans;
  TwoHosts hosts(into(spans));
  auto leave = [](Channel& channel) -> Task<Result<void>> {
    auto call = channel.bidi<EchoRequest, EchoResponse>("/d7y.test.Echo/Chat");
    auto writing = call.write(request("hello"));
    CO_OK(co_await writing);
    auto reading = call.read();
    CO_TRY(auto response, co_await reading);
    CHECK(response);
    co_return Result<void>{};
  };
  REQUIRE(hosts.run(leave(hosts.channel)).ok());
  CHECK(hosts.sim.run_until([&] { return !spans.all.empty(); }, 10s));
  CHECK(text(spans.all.front(), "rpc.grpc.status_code") == "1");
  CHECK_FALSE(spans.all.front().failure.empty());
  hosts.server.reset();
}
