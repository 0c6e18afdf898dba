#include "net/otlp/tracing.h"

namespace d7y::otlp {

void read_tracing(ConfigReader& reader, TracingConfig& out) {
  reader.read("tracing.protocol", out.protocol);
  reader.read("tracing.endpoint", out.endpoint);
  reader.read("tracing.path", out.path);
  reader.read("tracing.headers", out.headers);
  if (out.protocol.empty() && out.endpoint.empty()) return;
  if (out.protocol != "grpc" && out.protocol != "http" && out.protocol != "https")
    reader.complain("tracing.protocol", "must be grpc, http or https");
  if (!out.path.starts_with('/')) reader.complain("tracing.path", "must begin with /");
}

ExporterOptions exporter_options(const TracingConfig& config) {
  ExporterOptions options;
  if (config.protocol == "grpc") {
    options.endpoint = config.endpoint;
  } else {
    options.protocol = ExporterOptions::Protocol::kHttp;
    options.endpoint = config.protocol + "://" + config.endpoint + config.path;
  }
  for (const auto& [name, value] : config.headers) options.headers.add(name, value);
  return options;
}

}  // namespace d7y::otlp
