#include "node/pages.h"

namespace d7y::node {
namespace {

Task<void> refuse(http::Responder& responder, int status, std::string_view why) {
  std::string body(why);
  body += '\n';
  (void)co_await responder.send(status, "text/plain; charset=utf-8", std::move(body));
}

}  // namespace

Task<void> MetricsPage::handle(http::ServerRequest& request, http::Responder& responder) {
  if (request.path() != "/metrics") co_return co_await refuse(responder, 404, "only /metrics is here");
  if (request.method() == "DELETE") {
    metrics_.reset();
    (void)co_await responder.send(200, "text/plain; charset=utf-8", "");
    co_return;
  }
  if (request.method() != "GET" && request.method() != "HEAD") {
    co_return co_await refuse(responder, 405, "use GET to read, DELETE to reset");
  }
  refresh_();
  auto text = metrics_.expose();
  (void)co_await responder.send(200, "text/plain; version=0.0.4; charset=utf-8", std::move(text));
}

Task<void> HealthPage::handle(http::ServerRequest& request, http::Responder& responder) {
  if (request.path() != "/healthy") co_return co_await refuse(responder, 404, "only /healthy is here");
  if (!serving_()) co_return co_await refuse(responder, 503, "draining");
  (void)co_await responder.send(200, "text/plain; charset=utf-8", "");
}

}  // namespace d7y::node
