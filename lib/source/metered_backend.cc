#include "source/metered_backend.h"

namespace d7y::source {

MeteredBackend::MeteredBackend(std::shared_ptr<Backend> inner, Loop& loop, Metrics& metrics,
                               std::string_view scheme)
    : inner_(std::move(inner)),
      loop_(loop),
      stat_(meter(metrics, scheme, "HEAD")),
      read_(meter(metrics, scheme, "GET")),
      list_(meter(metrics, scheme, "LIST")) {}

MeteredBackend::Meter MeteredBackend::meter(Metrics& metrics, std::string_view scheme,
                                            std::string_view method) {
  Labels labels{{"scheme", std::string(scheme)}, {"method", std::string(method)}};
  std::vector<double> bounds;
  for (double bound = 1; bounds.size() < 24; bound *= 2) bounds.push_back(bound);
  return Meter{metrics.counter("dragonfly_client_backend_request_total", "Requests to origins.", labels),
               metrics.counter("dragonfly_client_backend_request_failure_total",
                               "Requests to origins that failed.", labels),
               metrics.histogram("dragonfly_client_backend_request_duration_milliseconds",
                                 "How long origins took to answer.", bounds, labels)};
}

void MeteredBackend::note(Meter& meter, TimePoint began, bool good) {
  meter.requests.add();
  if (!good) meter.failures.add();
  meter.duration.observe(std::chrono::duration<double, std::milli>(loop_.now() - began).count());
}

Task<Result<Info>> MeteredBackend::stat(const Request& request, Deadline deadline) {
  auto began = loop_.now();
  auto got = co_await inner_->stat(request, deadline);
  note(stat_, began, got.ok());
  co_return got;
}

Task<Result<std::unique_ptr<Body>>> MeteredBackend::read(const Request& request, Span span,
                                                         const Version& pinned, Deadline deadline) {
  auto began = loop_.now();
  auto got = co_await inner_->read(request, span, pinned, deadline);
  note(read_, began, got.ok());
  co_return got;
}

Task<Result<std::vector<Entry>>> MeteredBackend::list(const Request& request, Deadline deadline) {
  auto began = loop_.now();
  auto got = co_await inner_->list(request, deadline);
  note(list_, began, got.ok());
  co_return got;
}

}  // namespace d7y::source
