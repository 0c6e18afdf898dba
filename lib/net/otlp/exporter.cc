#include "net/otlp/exporter.h"

#include <algorithm>

#include "base/backoff.h"
#include "base/url.h"

namespace d7y::otlp {
namespace {

constexpr std::string_view kExport = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
constexpr std::size_t kLongestAnswer = 64 << 10;
constexpr std::uint16_t kGrpcPort = 4317;

Task<Result<std::unique_ptr<world::Stream>>> connect(world::World& world, std::string host,
                                                     std::uint16_t port, Deadline deadline) {
  CO_TRY(auto addresses, co_await world.network().resolve(host, port, deadline));
  world::ConnectOptions options;
  co_return co_await world::connect_any(world.network(), std::move(addresses), options, deadline);
}

// The collector, or the way to it, may be better later.
bool may_pass(const Error& why) {
  switch (why.status()) {
    case 0: break;
    case 429:
    case 502:
    case 503:
    case 504: return true;
    default: return false;
  }
  switch (why.code()) {
    case ErrorCode::kTimeout:
    case ErrorCode::kRefused:
    case ErrorCode::kReset:
    case ErrorCode::kClosed:
    case ErrorCode::kUnavailable:
    case ErrorCode::kExhausted: return true;
    default: return false;
  }
}

}  // namespace

Result<std::unique_ptr<Exporter>> Exporter::make(world::World& world, ExporterOptions options,
                                                 http::Client& client, Metrics* metrics, Log log) {
  std::string host;
  std::uint16_t port = kGrpcPort;
  if (options.protocol == ExporterOptions::Protocol::kGrpc) {
    auto url = Url::parse("http://" + options.endpoint + "/");
    const bool more = options.endpoint.find_first_of("/@?#") != std::string::npos;
    if (!url || more || url->hostname().empty())
      return error(ErrorCode::kInvalid, "{} is no host:port of a collector", options.endpoint);
    host = url->hostname();
    if (url->port()) port = *url->port();
  } else {
    auto url = Url::parse(options.endpoint);
    if (!url || !url->is_http()) return error(ErrorCode::kInvalid, "{} is no http URL", options.endpoint);
  }
  TRY_OK(http::check_headers(options.headers));
  std::unique_ptr<Exporter> exporter(new Exporter(world, std::move(options), client, metrics, log));
  if (!host.empty()) {
    grpc::Channel::Connect way = [&world, host, port](Deadline deadline) {
      return connect(world, host, port, deadline);
    };
    exporter->channel_ = std::make_unique<grpc::Channel>(world, exporter->options_.endpoint, std::move(way),
                                                         grpc::ChannelOptions{}, log);
  }
  return exporter;
}

Exporter::Exporter(world::World& world, ExporterOptions options, http::Client& client, Metrics* metrics,
                   Log log)
    : world_(world), options_(std::move(options)), client_(client), log_(log), scope_(world.loop()) {
  if (metrics != nullptr) {
    sent_ = &metrics->counter("d7y_trace_spans_sent", "Spans that a collector has taken.");
    dropped_ = &metrics->counter("d7y_trace_spans_dropped",
                                 "Spans that were lost: the queue was full, or the collector took them not.");
  }
  scope_.spawn(run());
}

Exporter::~Exporter() = default;

void Exporter::drop(std::size_t spans) {
  if (dropped_ != nullptr) dropped_->add(spans);
}

void Exporter::take(Span span) {
  if (queue_.size() >= options_.most_queued) return drop(1);
  queue_.push_back(std::move(span));
  if (queue_.size() == 1 || queue_.size() == options_.most_at_once) queued_.notify_all();
}

Task<void> Exporter::run() {
  for (;;) {
    while (queue_.empty()) (void)co_await queued_.wait(Deadline::never());
    const auto until = Deadline::in(options_.delay, world_.now());
    while (queue_.size() < options_.most_at_once && !flushing_ && !until.passed(world_.now()))
      (void)co_await queued_.wait(until);
    std::vector<Span> batch;
    while (!queue_.empty() && batch.size() < options_.most_at_once) {
      batch.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    busy_ = true;
    auto sending = send(std::move(batch));
    co_await sending;
    busy_ = false;
    quiet_.notify_all();
  }
}

Task<void> Exporter::send(std::vector<Span> batch) {
  const auto message = export_request(options_.resource, options_.scope, options_.version, batch);
  Backoff backoff(std::chrono::milliseconds(500), options_.pause_max);
  for (int attempt = 1;; ++attempt) {
    auto sending = send_once(message);
    auto answer = co_await within(Deadline::in(options_.timeout, world_.now()), std::move(sending));
    if (answer) {
      auto rejected = read_response(*answer);
      const auto lost = rejected ? std::min<std::uint64_t>(rejected->spans, batch.size()) : 0;
      if (sent_ != nullptr) sent_->add(batch.size() - lost);
      drop(lost);
      if (lost > 0) log_.warn("{} spans were rejected by {}: {}", lost, options_.endpoint, rejected->why);
      if (failing_) log_.info("spans go to {} again", options_.endpoint);
      failing_ = false;
      co_return;
    }
    const bool again = may_pass(answer.error()) && attempt < options_.attempts && !flushing_;
    if (!failing_) {
      log_.warn("spans could not be sent to {} (tracing.endpoint): {}", options_.endpoint,
                answer.error().message());
    }
    failing_ = true;
    if (!again) {
      drop(batch.size());
      co_return;
    }
    const auto pause = Deadline::in(backoff.next(world_.random()), world_.now());
    while (!flushing_ && !pause.passed(world_.now())) (void)co_await queued_.wait(pause);
  }
}

Task<Result<std::string>> Exporter::send_once(std::string message) {
  if (!channel_) {
    auto posted = post(std::move(message));
    co_return co_await posted;
  }
  grpc::CallOptions call;
  call.deadline = Deadline::in(options_.timeout, world_.now());
  for (const auto& header : options_.headers) call.metadata.add(header.name, header.value);
  auto calling = channel_->unary_bytes(kExport, std::move(message), std::move(call));
  co_return co_await calling;
}

Task<Result<std::string>> Exporter::post(std::string message) {
  http::Request request;
  request.method = "POST";
  request.url = options_.endpoint;
  request.headers = options_.headers;
  request.headers.set("Content-Type", "application/x-protobuf");
  request.body = std::move(message);
  request.redirects.limit = 0;
  const auto deadline = Deadline::in(options_.timeout, world_.now());
  CO_TRY(auto response, co_await client_.fetch(std::move(request), deadline));
  auto body = co_await response.read_all(kLongestAnswer, deadline);
  if (response.status() / 100 != 2) {
    co_return error(ErrorCode::kUnavailable, "the collector answers {} {}", response.status(),
                    http::reason_of(response.status()))
        .with_status(response.status());
  }
  const bool ours = response.headers().get("Content-Type").value_or("").starts_with("application/x-protobuf");
  if (!ours) co_return std::string();
  co_return body;
}

Task<void> Exporter::flush(Deadline deadline) {
  flushing_ = true;
  while (busy_ || !queue_.empty()) {
    queued_.notify_all();
    auto quiet = co_await quiet_.wait(deadline);
    if (!quiet) break;
  }
  drop(queue_.size());
  queue_.clear();
  flushing_ = false;
}

}  // namespace d7y::otlp
