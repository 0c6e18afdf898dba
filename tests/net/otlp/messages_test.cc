#include "net/otlp/messages.h"

#include <doctest/doctest.h>

#include "otlp_trace_service.pb.h"

using namespace d7y;
namespace collector = opentelemetry::proto::collector::trace::v1;

namespace {

std::function<std::uint64_t()> counting() {
  return [number = std::uint64_t{0x1111111111111110}]() mutable { return number += 0x10; };
}

}  // namespace

TEST_CASE("a trace goes on where its caller left it, and begins where there was none") {
  const std::string text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  auto caller = TraceContext::parse(text);
  REQUIRE(caller.has_value());
  CHECK(caller->traceparent() == text);
  auto inside = TraceContext::inside(caller, counting());
  CHECK(inside.trace == caller->trace);
  CHECK(inside.parent == caller->span);
  CHECK(inside.span != caller->span);
  CHECK(inside.sampled);
  auto unwanted = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
  REQUIRE(unwanted.has_value());
  CHECK_FALSE(TraceContext::inside(unwanted, counting()).sampled);
  auto first = TraceContext::inside(std::nullopt, counting());
  CHECK_FALSE(first.has_parent());
  CHECK(first.sampled);
  CHECK(TraceContext::parse(first.traceparent()).has_value());
}

TEST_CASE("what is no traceparent begins a trace of its own") {
  for (const std::string text : {
           "",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
           "00-00000000000000000000000000000000-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
           "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
           "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
           "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
       }) {
    CAPTURE(text);
    CHECK_FALSE(TraceContext::parse(text).has_value());
  }
  // A later version may say more.
  CHECK(TraceContext::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").has_value());
}

TEST_CASE("spans are sent under the protocol's names and numbers") {
  Span span;
  span.name = "proxy";
  span.kind = Span::Kind::kServer;
  span.context = TraceContext::inside(
      TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), counting());
  span.began = WallTime(std::chrono::seconds(5));
  span.ended = WallTime(std::chrono::seconds(6));
  span.attributes = {{"http.url", std::string("/v2/a")},
                     {"http.status_code", std::int64_t{502}},
                     {"yes", true},
                     {"broken", std::string("a\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82\xac")}};
  span.failure = "it broke";
  auto bytes = otlp::export_request({{"service.name", std::string("x")}}, "d7y", "1", {span, Span{}});
  collector::ExportTraceServiceRequest request;
  REQUIRE(request.ParseFromString(bytes));
  REQUIRE(request.resource_spans_size() == 1);
  const auto& all = request.resource_spans(0);
  CHECK(all.resource().attributes(0).key() == "service.name");
  CHECK(all.resource().attributes(0).value().string_value() == "x");
  REQUIRE(all.scope_spans_size() == 1);
  CHECK(all.scope_spans(0).scope().name() == "d7y");
  REQUIRE(all.scope_spans(0).spans_size() == 2);
  const auto& out = all.scope_spans(0).spans(0);
  CHECK(out.name() == "proxy");
  CHECK(out.kind() == opentelemetry::proto::trace::v1::Span::SPAN_KIND_SERVER);
  CHECK(out.trace_id().size() == 16);
  CHECK(out.span_id().size() == 8);
  CHECK(out.parent_span_id() == "\xb7\xad\x6b\x71\x69\x20\x33\x31");
  CHECK(out.start_time_unix_nano() == 5'000'000'000);
  CHECK(out.end_time_unix_nano() == 6'000'000'000);
  CHECK(out.attributes(1).value().int_value() == 502);
  CHECK(out.attributes(2).value().bool_value());
  CHECK(out.attributes(3).value().string_value() == "a?\?\?\?\?\?\?\?\?\?\xe2\x82\xac");
  CHECK(out.status().code() == opentelemetry::proto::trace::v1::Status::STATUS_CODE_ERROR);
  CHECK(out.status().message() == "it broke");
  CHECK(all.scope_spans(0).spans(1).parent_span_id().empty());
  CHECK(all.scope_spans(0).spans(1).status().code() ==
        opentelemetry::proto::trace::v1::Status::STATUS_CODE_UNSET);
}

TEST_CASE("what a collector did not want is read from its answer") {
  collector::ExportTraceServiceResponse response;
  CHECK(otlp::read_response("")->spans == 0);
  response.mutable_partial_success()->set_rejected_spans(3);
  response.mutable_partial_success()->set_error_message("too old");
  auto read = otlp::read_response(response.SerializeAsString());
  REQUIRE(read.ok());
  CHECK(read->spans == 3);
  CHECK(read->why == "too old");
  CHECK(otlp::read_response("\xff\xff\xff").failed_with(ErrorCode::kProtocol));
}
