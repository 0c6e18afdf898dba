#include "net/otlp/exporter.h"

#include <doctest/doctest.h>

#include "net/http/server.h"
#include "otlp_trace_service.pb.h"
#include "sim/simulation.h"

using namespace d7y;
using namespace std::chrono_literals;
namespace collector = opentelemetry::proto::collector::trace::v1;

namespace {

// Takes spans over HTTP, as long as `refusals` allow it.
struct Collector final : http::Handler {
  std::vector<int> refusals;  // statuses of the next answers
  bool silent = false;
  std::vector<std::size_t> batches;
  std::vector<std::string> names, authorizations;
  std::size_t asked = 0;

  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    ++asked;
    auto body = co_await request.read_all(16_MiB, Deadline::never());
    REQUIRE(body.ok());
    if (silent) co_await sleep_for(std::chrono::hours(1));
    if (!refusals.empty()) {
      const int status = refusals.front();
      refusals.erase(refusals.begin());
      (void)co_await responder.send(status, "text/plain", "no");
      co_return;
    }
    CHECK(request.path() == "/v1/traces");
    CHECK(request.headers().get("Content-Type") == "application/x-protobuf");
    authorizations.emplace_back(request.headers().get("Authorization").value_or(""));
    collector::ExportTraceServiceRequest message;
    REQUIRE(message.ParseFromString(*body));
    const auto& spans = message.resource_spans(0).scope_spans(0).spans();
    batches.push_back(static_cast<std::size_t>(spans.size()));
    for (const auto& span : spans) names.push_back(span.name());
    (void)co_await responder.send(200, "application/x-protobuf", "");
  }
};

struct Rig {
  explicit Rig(otlp::ExporterOptions options = {}) {
    listener = std::move(*far.network().listen(far.address(4318), {}));
    far.spawn(server.serve(*listener));
    options.protocol = otlp::ExporterOptions::Protocol::kHttp;
    options.endpoint = "http://" + far.address(4318).to_string() + "/v1/traces";
    options.headers.add("Authorization", "Bearer sesame");
    auto made = otlp::Exporter::make(near, std::move(options), client, &metrics, {});
    REQUIRE(made.ok());
    exporter = std::move(*made);
  }
  void take(int count) {
    for (int i = 0; i < count; ++i) {
      Span span;
      span.name = std::to_string(taken++);
      exporter->take(std::move(span));
    }
  }
  std::uint64_t sent() { return metrics.counter("d7y_trace_spans_sent", "").value(); }
  std::uint64_t dropped() { return metrics.counter("d7y_trace_spans_dropped", "").value(); }
  Duration flush(Duration limit) {
    auto run = [](Rig& rig, Deadline deadline) -> Task<void> {
      auto flushed = rig.exporter->flush(deadline);
      co_await flushed;
    };
    const auto began = near.now();
    REQUIRE(sim.run(run(*this, Deadline::in(limit, near.now())), limit + 60s));
    return near.now() - began;
  }

  sim::Simulation sim{1};
  sim::Host& far = sim.add_host({.name = "collector"});
  sim::Host& near = sim.add_host({.name = "node"});
  Collector collector;
  http::Server server{far, collector, {}};
  std::unique_ptr<world::Listener> listener;
  http::Client client{near, {}};
  Metrics metrics;
  std::unique_ptr<otlp::Exporter> exporter;
  int taken = 0;
};

}  // namespace

TEST_CASE("spans travel together, after a second, with the configured headers") {
  Rig rig;
  rig.take(3);
  rig.sim.run_for(500ms);
  rig.take(2);
  CHECK(rig.collector.asked == 0);
  rig.sim.run_for(5s);
  CHECK(rig.collector.batches == std::vector<std::size_t>{5});
  CHECK(rig.collector.names == std::vector<std::string>{"0", "1", "2", "3", "4"});
  CHECK(rig.collector.authorizations.front() == "Bearer sesame");
  CHECK(rig.sent() == 5);
  CHECK(rig.dropped() == 0);
}

TEST_CASE("many spans go at once, in batches of a bounded size") {
  Rig rig({.most_queued = 2000, .most_at_once = 300});
  rig.take(700);
  rig.sim.run_for(100ms);
  CHECK(rig.collector.batches == std::vector<std::size_t>{300, 300});
  rig.sim.run_for(5s);
  CHECK(rig.collector.batches == std::vector<std::size_t>{300, 300, 100});
}

TEST_CASE("a collector that is too busy gets the same spans again, once") {
  Rig rig;
  rig.collector.refusals = {503, 429};
  rig.take(4);
  rig.sim.run_for(60s);
  CHECK(rig.collector.asked == 3);
  CHECK(rig.collector.names.size() == 4);
  CHECK(rig.sent() == 4);
  CHECK(rig.dropped() == 0);
}

TEST_CASE("what a collector refuses is dropped, and counted") {
  Rig rig;
  rig.collector.refusals = {400};
  rig.take(4);
  rig.sim.run_for(60s);
  CHECK(rig.collector.asked == 1);
  CHECK(rig.dropped() == 4);
  rig.take(1);
  rig.sim.run_for(60s);
  CHECK(rig.sent() == 1);
}

TEST_CASE("a collector that is silent or away costs spans and nothing else") {
  Rig rig({.most_queued = 100, .most_at_once = 10});
  rig.collector.silent = true;
  rig.take(1000);
  CHECK(rig.dropped() == 900);
  rig.sim.run_for(600s);
  CHECK(rig.sent() == 0);
  CHECK(rig.dropped() > 900);
  // Nor does it hold up the end.
  rig.take(5);
  CHECK(rig.flush(3s) <= 3s);
}

TEST_CASE("at the end what waits is sent at once") {
  Rig rig;
  rig.take(7);
  CHECK(rig.flush(3s) < 500ms);
  CHECK(rig.collector.names.size() == 7);
  CHECK(rig.sent() == 7);
}

TEST_CASE("an endpoint that is none is refused, with a word") {
  sim::Simulation sim(1);
  auto& host = sim.add_host({.name = "node"});
  http::Client client(host, {});
  for (const std::string endpoint : {"", "http://collector", "a/b", "a:b", "a@b:1"}) {
    CAPTURE(endpoint);
    otlp::ExporterOptions options;
    options.endpoint = endpoint;
    CHECK(otlp::Exporter::make(host, options, client, nullptr, {}).failed_with(ErrorCode::kInvalid));
    options.protocol = otlp::ExporterOptions::Protocol::kHttp;
    options.endpoint = "ftp://" + endpoint;
    CHECK(otlp::Exporter::make(host, options, client, nullptr, {}).failed_with(ErrorCode::kInvalid));
  }
}
