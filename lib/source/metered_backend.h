// A backend that counts what another one does: requests, failures and how long an answer took, under
// Dragonfly's names (Dragonfly client 10.1).
//
//   sources.add("http", std::make_shared<MeteredBackend>(http, world.loop(), metrics, "http"));
#pragma once

#include <memory>
#include <string_view>

#include "base/loop.h"
#include "base/metrics.h"
#include "source/source.h"

namespace d7y::source {

class MeteredBackend final : public Backend {
 public:
  // `loop` and `metrics` must outlive the backend.
  MeteredBackend(std::shared_ptr<Backend> inner, Loop& loop, Metrics& metrics, std::string_view scheme);

  // "HEAD": only what Dragonfly calls so; the origin may have been asked otherwise.
  Task<Result<Info>> stat(const Request& request, Deadline deadline) override;
  // "GET": until the answer's head.
  Task<Result<std::unique_ptr<Body>>> read(const Request& request, Span span, const Version& pinned,
                                           Deadline deadline) override;
  // "LIST", which Dragonfly does not know.
  Task<Result<std::vector<Entry>>> list(const Request& request, Deadline deadline) override;

 private:
  struct Meter {
    Counter& requests;
    Counter& failures;
    Histogram& duration;
  };
  static Meter meter(Metrics& metrics, std::string_view scheme, std::string_view method);
  void note(Meter& meter, TimePoint began, bool good);

  std::shared_ptr<Backend> inner_;
  Loop& loop_;
  Meter stat_, read_, list_;
};

}  // namespace d7y::source
