// Pieces of work as traces show them (W3C trace context, OpenTelemetry's span): who did what, when, for whom.
//
//   Span span;
//   span.name = "proxy";
//   span.context = TraceContext::inside(TraceContext::parse(header), random);
//   ...
//   sink.take(std::move(span));
//
// Plain values. Where finished spans go is a SpanSink's business (net/otlp/exporter.h). Secrets are left out
// by whoever fills a span in.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/deadline.h"

namespace d7y {

// Where in which trace a piece of work stands.
struct TraceContext {
  std::array<std::uint8_t, 16> trace{};
  std::array<std::uint8_t, 8> span{};
  std::array<std::uint8_t, 8> parent{};  // all zero: none
  bool sampled = true;                   // whoever began the trace wants it recorded

  bool has_parent() const { return parent != std::array<std::uint8_t, 8>{}; }

  // The one that the value of a "traceparent" header names, as `span`; none if it is malformed.
  static std::optional<TraceContext> parse(std::string_view traceparent);
  // Work inside of the work that `caller` did; without one, the beginning of a trace.
  static TraceContext inside(const std::optional<TraceContext>& caller,
                             const std::function<std::uint64_t()>& random);
  // What tells others to go on with this trace.
  std::string traceparent() const;
};

using SpanValue = std::variant<std::string, std::int64_t, bool>;

struct Span {
  enum class Kind : std::uint8_t { kInternal = 1, kServer = 2, kClient = 3 };  // OpenTelemetry's numbers

  std::string name;
  Kind kind = Kind::kInternal;
  TraceContext context;
  WallTime began{}, ended{};
  std::vector<std::pair<std::string, SpanValue>> attributes;
  std::string failure;  // empty: none
};

class SpanSink {
 public:
  virtual ~SpanSink() = default;
  // Never waits. What cannot be kept is dropped and counted.
  virtual void take(Span span) = 0;
};

}  // namespace d7y
