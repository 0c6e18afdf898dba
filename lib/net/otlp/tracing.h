// Where spans go, as Dragonfly's files say it below "tracing".
//
//   otlp::TracingConfig tracing;
//   otlp::read_tracing(reader, tracing);
//   if (tracing.on()) auto options = otlp::exporter_options(tracing);
#pragma once

#include <map>
#include <string>

#include "base/config_tree.h"
#include "net/otlp/exporter.h"

namespace d7y::otlp {

struct TracingConfig {
  // Spans go nowhere unless both are there: Dragonfly's chart names a protocol by default, and no collector.
  std::string protocol;  // grpc, http or https
  std::string endpoint;  // host:port of a collector
  std::string path = "/v1/traces";
  std::map<std::string, std::string> headers;  // secrets

  bool on() const { return !protocol.empty() && !endpoint.empty(); }
};

// Reads and checks all of them.
void read_tracing(ConfigReader& reader, TracingConfig& out);

// Of a configuration that is on; without the resource and the version.
ExporterOptions exporter_options(const TracingConfig& config);

}  // namespace d7y::otlp
