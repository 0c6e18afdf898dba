// Tunnels that are opened: the client gets a certificate of our authority for the host it asked for, and what
// it asks inside is served like any other request.
#include "proxy/interception.h"

#include <algorithm>

namespace d7y::proxy {
namespace {

constexpr std::size_t kMostHosts = 1000;
// A certificate is made anew before the clients' clocks can find it old.
constexpr auto kCertificateLasts = std::chrono::hours(24 * 7);

}  // namespace

Task<Result<void>> Proxy::drain(Deadline deadline) {
  prefetching_.cancel();
  Result<void> outcome;
  for (auto& each : opened_) {
    auto drained = co_await each->server.drain(deadline);
    if (!drained && outcome) outcome = std::move(drained);
  }
  co_return outcome;
}

Result<Proxy::Intercepted*> Proxy::intercepted(const Url& url) {
  const auto now = parts_.world.now();
  std::erase_if(opened_,
                [&](const auto& each) { return each->idle() && now - each->made_at > kCertificateLasts; });
  auto found = std::find_if(opened_.begin(), opened_.end(), [&](const auto& each) {
    return each->origin == url.origin() && now - each->made_at <= kCertificateLasts;
  });
  if (found != opened_.end()) {
    opened_.splice(opened_.end(), opened_, found);
    return opened_.back().get();
  }
  if (opened_.size() >= kMostHosts) {
    auto unused = std::find_if(opened_.begin(), opened_.end(), [](const auto& each) { return each->idle(); });
    if (unused != opened_.end()) opened_.erase(unused);
  }
  net::TlsServerOptions tls;
  TRY(tls.identity, issuer_->issue(url.hostname(), parts_.world.wall_now()));
  tls.alpn = {"http/1.1"};
  TRY(auto context, net::TlsContext::server(std::move(tls)));
  opened_.push_back(std::make_unique<Intercepted>(*this, url.origin(), std::move(context), now));
  return opened_.back().get();
}

Task<void> Proxy::serve_inside(Exchange& exchange, Url url) {
  auto host = intercepted(url);
  if (!host) {
    auto refused = refuse(exchange, 500, Fault::kDaemon, host.error());
    co_return co_await refused;
  }
  http::ResponseHead head;
  head.reason = "Connection established";
  exchange.status = head.status;
  auto stream = co_await exchange.responder.take_stream(std::move(head));
  if (!stream) {
    exchange.failure = stream.error().message();
    co_return;
  }
  (*host)->server.adopt(std::move(*stream));
}

}  // namespace d7y::proxy
