// Spans as bytes of OpenTelemetry's protocol. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/trace.h"

namespace d7y::otlp {

using Attributes = std::vector<std::pair<std::string, SpanValue>>;

// An ExportTraceServiceRequest. `resource` says which process speaks, `scope` and `version` which part of it.
// Attributes that are no text (broken UTF-8) are mended, because a collector would refuse all of it.
std::string export_request(const Attributes& resource, std::string_view scope, std::string_view version,
                           const std::vector<Span>& spans);

// What a collector said to one: how many spans it did not want, and why. kProtocol: not an answer.
struct Rejected {
  std::uint64_t spans = 0;
  std::string why;
};
Result<Rejected> read_response(std::string_view bytes);

}  // namespace d7y::otlp
