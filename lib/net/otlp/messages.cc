#include "net/otlp/messages.h"

#include "otlp_trace_service.pb.h"

namespace d7y::otlp {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace collector = opentelemetry::proto::collector::trace::v1;

constexpr std::size_t kLongestValue = 4096;

// Valid UTF-8 of at most kLongestValue bytes: what is not is replaced by '?'.
std::string clean(std::string_view text) {
  std::string out(text.substr(0, kLongestValue));
  for (std::size_t i = 0; i < out.size();) {
    const auto lead = static_cast<unsigned char>(out[i]);
    std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    std::uint32_t code = length == 1 ? lead : lead & (0xffU >> (length + 1));
    bool right = length > 0 && i + length <= out.size();
    for (std::size_t j = 1; right && j < length; ++j) {
      const auto next = static_cast<unsigned char>(out[i + j]);
      right = next >> 6 == 2;
      code = code << 6 | (next & 0x3fU);
    }
    static constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    right = right && code >= kLeast[length] && code < 0x110000 && (code < 0xd800 || code > 0xdfff);
    if (!right) out[i] = '?';
    i += right ? length : 1;
  }
  return out;
}

void put(common::KeyValue& out, const std::string& key, const SpanValue& value) {
  out.set_key(clean(key));
  auto& any = *out.mutable_value();
  if (const auto* text = std::get_if<std::string>(&value)) any.set_string_value(clean(*text));
  if (const auto* number = std::get_if<std::int64_t>(&value)) any.set_int_value(*number);
  if (const auto* flag = std::get_if<bool>(&value)) any.set_bool_value(*flag);
}

template <std::size_t N>
std::string text_of(const std::array<std::uint8_t, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}

std::uint64_t nanoseconds(WallTime time) {
  return static_cast<std::uint64_t>(time.time_since_epoch().count());
}

}  // namespace

std::string export_request(const Attributes& resource, std::string_view scope, std::string_view version,
                           const std::vector<Span>& spans) {
  collector::ExportTraceServiceRequest request;
  auto& all = *request.add_resource_spans();
  for (const auto& [key, value] : resource) put(*all.mutable_resource()->add_attributes(), key, value);
  auto& ours = *all.add_scope_spans();
  ours.mutable_scope()->set_name(std::string(scope));
  ours.mutable_scope()->set_version(std::string(version));
  for (const auto& span : spans) {
    auto& out = *ours.add_spans();
    out.set_trace_id(text_of(span.context.trace));
    out.set_span_id(text_of(span.context.span));
    if (span.context.has_parent()) out.set_parent_span_id(text_of(span.context.parent));
    out.set_name(clean(span.name));
    out.set_kind(static_cast<opentelemetry::proto::trace::v1::Span::SpanKind>(span.kind));
    out.set_start_time_unix_nano(nanoseconds(span.began));
    out.set_end_time_unix_nano(nanoseconds(span.ended));
    for (const auto& [key, value] : span.attributes) put(*out.add_attributes(), key, value);
    if (span.failure.empty()) continue;
    out.mutable_status()->set_code(opentelemetry::proto::trace::v1::Status::STATUS_CODE_ERROR);
    out.mutable_status()->set_message(clean(span.failure));
  }
  return request.SerializeAsString();
}

Result<Rejected> read_response(std::string_view bytes) {
  collector::ExportTraceServiceResponse response;
  if (!response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return error(ErrorCode::kProtocol, "what the collector answers is no ExportTraceServiceResponse");
  Rejected rejected;
  const auto& partial = response.partial_success();
  if (partial.rejected_spans() > 0) rejected.spans = static_cast<std::uint64_t>(partial.rejected_spans());
  rejected.why = partial.error_message().substr(0, 1024);
  return rejected;
}

}  // namespace d7y::otlp
