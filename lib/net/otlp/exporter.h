// Sends finished spans to a collector by OpenTelemetry's protocol, in batches, behind everybody's back.
//
//   otlp::Exporter exporter(world, options, client, &metrics, log);
//   exporter.take(std::move(span));          // never waits
//   co_await exporter.flush(deadline);       // before the end
//
// A collector that is away or slow delays nobody: spans wait in a bounded queue, and what does not fit is
// dropped and counted. A batch is sent again, after growing pauses, when the collector was away or too busy
// for it, and dropped when it was refused.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "base/log.h"
#include "base/metrics.h"
#include "base/notify.h"
#include "base/scope.h"
#include "base/trace.h"
#include "net/grpc/channel.h"
#include "net/http/client.h"
#include "net/otlp/messages.h"

namespace d7y::otlp {

struct ExporterOptions {
  enum class Protocol : std::uint8_t { kGrpc, kHttp };  // kHttp: protobuf in the body of a POST
  Protocol protocol = Protocol::kGrpc;
  std::string endpoint;   // kGrpc: "host:port", plain text; kHttp: the whole URL
  http::Headers headers;  // sent along, as metadata or header fields. Secrets
  Attributes resource;
  std::string scope = "d7y", version;
  std::size_t most_queued = 2048, most_at_once = 512;  // spans
  Duration delay = std::chrono::seconds(1);            // how long a span waits for others
  Duration timeout = std::chrono::seconds(10);         // of one export
  Duration pause_max = std::chrono::seconds(30);       // before the next attempt
  int attempts = 5;                                    // for one batch
};

class Exporter final : public SpanSink {
 public:
  // kInvalid: the endpoint is none. References must outlive it.
  static Result<std::unique_ptr<Exporter>> make(world::World& world, ExporterOptions options,
                                                http::Client& client, Metrics* metrics, Log log);
  ~Exporter() override;

  void take(Span span) override;
  // Sends what waits, without pauses; what cannot be sent by `deadline` is lost.
  Task<void> flush(Deadline deadline);

 private:
  Exporter(world::World& world, ExporterOptions options, http::Client& client, Metrics* metrics, Log log);
  Task<void> run();
  Task<void> send(std::vector<Span> batch);
  Task<Result<std::string>> send_once(std::string message);
  Task<Result<std::string>> post(std::string message);
  void drop(std::size_t spans);

  world::World& world_;
  ExporterOptions options_;
  http::Client& client_;
  Log log_;
  Counter* sent_ = nullptr;
  Counter* dropped_ = nullptr;
  std::unique_ptr<grpc::Channel> channel_;
  std::deque<Span> queue_;
  bool busy_ = false, flushing_ = false, failing_ = false;
  Signal queued_, quiet_;
  Scope scope_;
};

}  // namespace d7y::otlp
