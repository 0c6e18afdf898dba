// The small HTTP pages of a daemon: metrics and health.
#pragma once

#include <functional>

#include "base/metrics.h"
#include "net/http/server.h"

namespace d7y::node {

// GET /metrics in Prometheus's text format, DELETE /metrics to start counting anew (Dragonfly's benchmark
// tools do). `refresh` brings gauges up to date before they are shown.
class MetricsPage final : public http::Handler {
 public:
  MetricsPage(Metrics& metrics, std::function<void()> refresh)
      : metrics_(metrics), refresh_(std::move(refresh)) {}
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override;

 private:
  Metrics& metrics_;
  std::function<void()> refresh_;
};

// GET /healthy: 200 while the daemon runs, 503 once it drains. `status` adds a line per problem.
class HealthPage final : public http::Handler {
 public:
  explicit HealthPage(std::function<bool()> serving) : serving_(std::move(serving)) {}
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override;

 private:
  std::function<bool()> serving_;
};

}  // namespace d7y::node
