// The scheduler's spans at a collector.
#include <algorithm>

#include "cluster.h"
#include "net/http/server.h"
#include "otlp_trace_service.pb.h"

namespace d7y::scheduler {
namespace {

namespace method = api::method::scheduler;
namespace otel = opentelemetry::proto;

const std::string kTask = task_id_for('a');
constexpr std::string_view kSampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
constexpr std::string_view kUnsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

struct Collector final : http::Handler {
  explicit Collector(sim::Host& machine)
      : server(machine, *this, {}),
        listener(std::move(*machine.network().listen(machine.address(4318), {}))),
        scope(machine.loop()) {
    scope.spawn(server.serve(*listener));
  }
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    auto reading = request.read_all(16_MiB, Deadline::never());
    auto body = co_await reading;
    REQUIRE(body.ok());
    otel::collector::trace::v1::ExportTraceServiceRequest message;
    REQUIRE(message.ParseFromString(*body));
    raw += *body;
    const auto& of_process = message.resource_spans(0);
    for (const auto& attribute : of_process.resource().attributes()) {
      if (attribute.key() == "service.name") service = attribute.value().string_value();
    }
    for (const auto& span : of_process.scope_spans(0).spans()) spans.push_back(span);
    auto sending = responder.send(200, "application/x-protobuf", "");
    (void)co_await sending;
  }
  const otel::trace::v1::Span* find(std::string_view name) const {
    const auto found =
        std::find_if(spans.begin(), spans.end(), [&](const auto& span) { return span.name() == name; });
    return found == spans.end() ? nullptr : &*found;
  }

  std::vector<otel::trace::v1::Span> spans;
  std::string service, raw;
  http::Server server;
  std::unique_ptr<world::Listener> listener;
  Scope scope;
};

const otel::common::v1::AnyValue* value_of(const otel::trace::v1::Span& span, std::string_view name) {
  for (const auto& attribute : span.attributes()) {
    if (attribute.key() == name) return &attribute.value();
  }
  return nullptr;
}

SchedulerConfig traced(sim::Host& collector) {
  SchedulerConfig config;
  config.tracing.protocol = "http";
  config.tracing.endpoint = collector.address(4318).to_string();
  config.tracing_service_name = "our-scheduler";
  return config;
}

// A stream in a trace, registered.
Task<Result<std::unique_ptr<DownloadStream>>> open_in(Daemon& daemon, std::string_view trace,
                                                      std::string peer) {
  grpc::CallOptions options;
  options.metadata.add("traceparent", trace);
  const auto peer_id = daemon.host_id() + "-" + peer;
  auto call = daemon.channel().bidi<Announce, Answer>(method::kAnnouncePeer, std::move(options));
  auto stream =
      std::make_unique<DownloadStream>(daemon.machine(), std::move(call), daemon.host_id(), kTask, peer_id);
  auto request = stream->envelope();
  *request.mutable_register_peer_request()->mutable_download() = daemon.download();
  auto writing = stream->write(std::move(request));
  CO_OK(co_await writing);
  co_return stream;
}

}  // namespace

SCHEDULER_TEST("a peer's stream and the choice of its parents are spans in the trace of its daemon") {
  auto& watcher = sim.add_host({.name = "collector"});
  Collector collector(watcher);
  TestCluster cluster(sim, traced(watcher));
  auto making = cluster.daemon("a");
  auto a = co_await making;
  MUST(auto first, open_in(*a, kSampled, "first"));
  MUST(auto told, first->read());
  CHECK(told->has_need_back_to_source_response());
  DONE(first->source_started());
  DONE(first->source_finished());
  MUST(auto end, first->read());
  co_await sleep_for(5s);

  CHECK(collector.service == "our-scheduler");
  const auto* stream = collector.find("scheduler.v2.Scheduler/AnnouncePeer");
  const auto* schedule = collector.find("schedule");
  REQUIRE(stream != nullptr);
  REQUIRE(schedule != nullptr);
  CHECK(collector.find("scheduler.v2.Scheduler/AnnounceHost") != nullptr);
  CHECK(stream->parent_span_id() == "\xb7\xad\x6b\x71\x69\x20\x33\x31");
  CHECK(schedule->trace_id() == stream->trace_id());
  CHECK(schedule->parent_span_id() == stream->span_id());
  REQUIRE(value_of(*stream, "d7y.task.id") != nullptr);
  CHECK(value_of(*stream, "d7y.task.id")->string_value() == kTask);
  CHECK(value_of(*stream, "d7y.peer.id")->string_value() == first->peer_id());
  CHECK(value_of(*schedule, "d7y.back_to_source")->bool_value());
  CHECK(value_of(*schedule, "d7y.parents")->int_value() == 0);
  CHECK(schedule->end_time_unix_nano() >= schedule->start_time_unix_nano());
  CHECK(stream->start_time_unix_nano() <= schedule->start_time_unix_nano());
  CHECK(collector.raw.find("secret") == std::string::npos);  // the registration is full of them

  const auto before = collector.spans.size();
  MUST(auto second, open_in(*a, kUnsampled, "second"));
  MUST(auto more, second->read());
  second.reset();
  co_await sleep_for(5s);
  CHECK(collector.spans.size() == before);
}

SCHEDULER_TEST("a preheat is a span, and seeds are told its trace") {
  auto& watcher = sim.add_host({.name = "collector"});
  Collector collector(watcher);
  TestCluster cluster(sim, traced(watcher));
  auto making = cluster.daemon("seed", true);
  auto seed = co_await making;
  std::string told;
  grpc::Server uploads(seed->machine());
  uploads.server_stream<api::dfdaemon::DownloadTaskRequest, api::dfdaemon::DownloadTaskResponse>(
      std::string(api::method::upload::kDownloadTask),
      [&told](grpc::ServerCall& call, const api::dfdaemon::DownloadTaskRequest&,
              grpc::Writer<api::dfdaemon::DownloadTaskResponse>&) -> Task<Result<void>> {
        told = call.metadata().get("traceparent").value_or("");
        co_return Result<void>{};
      });
  REQUIRE(uploads.listen(seed->machine().address(4000)).ok());
  api::scheduler::PreheatFileRequest request;
  request.set_url("https://origin.example/model.bin?X-Amz-Signature=secret");
  request.set_scope("single_seed_peer");
  grpc::CallOptions options;
  options.metadata.add("traceparent", kSampled);
  DONE(seed->channel().unary<api::Empty>(method::kPreheatFile, request, std::move(options)));
  co_await sleep_for(5s);
  const auto* call = collector.find("scheduler.v2.Scheduler/PreheatFile");
  const auto* preheat = collector.find("preheat");
  REQUIRE(call != nullptr);
  REQUIRE(preheat != nullptr);
  CHECK(preheat->parent_span_id() == call->span_id());
  CHECK(value_of(*preheat, "d7y.preheat.scope")->string_value() == "single_seed_peer");
  CHECK(value_of(*preheat, "d7y.preheat.done")->int_value() == 1);
  const auto asked = TraceContext::parse(told);
  REQUIRE(asked);
  CHECK(std::string(asked->span.begin(), asked->span.end()) == preheat->span_id());
  CHECK(collector.raw.find("secret") == std::string::npos);
}

SCHEDULER_TEST("spans that wait are sent before the scheduler ends, and without tracing there are none") {
  auto& watcher = sim.add_host({.name = "collector"});
  Collector collector(watcher);
  TestCluster cluster(sim, traced(watcher));
  auto making = cluster.daemon("a");
  auto a = co_await making;
  DONE(cluster.node().drain(Deadline::in(5s, sim.now())));
  CHECK(collector.spans.size() == 1);
  cluster.start({});
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  co_await sleep_for(10s);
  CHECK(collector.spans.size() == 1);
}

}  // namespace d7y::scheduler
