// Tunnels that are opened: the client gets a certificate of our authority for the host it asked for, and what
// it asks inside is served like any other request.
#include "proxy/interception.h"

#include <algorithm>

namespace d7y::proxy {
namespace {

constexpr std::size_t kMostHosts = 1000;
// A certificate is made anew before the clients' clocks can find it old.
constexpr auto kCertificateLasts = std::chrono::hours(24 * 7);
constexpr auto kHandshake = std::chrono::seconds(30);

http2::ServerOptions options_of_http2() {
  http2::ServerOptions options;
  options.name = Proxy::server_options().name;
  options.max_body = Proxy::server_options().max_body;
  return options;
}

}  // namespace

Proxy::Intercepted::Intercepted(Proxy& proxy, std::string its_origin, std::shared_ptr<net::TlsContext> tls,
                                TimePoint now)
    : origin(std::move(its_origin)),
      made_at(now),
      proxy_(proxy),
      tls_(std::move(tls)),
      checked_(*this),
      server_(proxy.parts_.world, *this, server_options(), proxy.parts_.log),
      server2_(proxy.parts_.world, checked_, options_of_http2(), proxy.parts_.log),
      handshakes_(proxy.parts_.world.loop()) {}

bool Proxy::Intercepted::idle() const {
  return handshakes_.size() == 0 && server_.numbers().connections == 0 && server2_.numbers().connections == 0;
}

Task<void> Proxy::Intercepted::secure(std::unique_ptr<world::Stream> stream) {
  auto& world = proxy_.parts_.world;
  const auto until = Deadline::in(kHandshake, world.now());
  auto secured = co_await net::tls_accept(std::move(stream), tls_, world.wall_now(), until);
  if (!secured) {
    proxy_.parts_.log.debug("inside of a tunnel to {}: {}", origin, secured.error().message());
    co_return;
  }
  if ((*secured)->alpn() == "h2") {
    server2_.adopt(std::move(*secured));
  } else {
    server_.adopt(std::move(*secured));
  }
}

Task<Result<void>> Proxy::Intercepted::drain(Deadline deadline) {
  handshakes_.cancel();
  auto first = co_await server_.drain(deadline);
  auto second = co_await server2_.drain(deadline);
  if (!first) co_return first;
  co_return second;
}

Task<void> Proxy::Intercepted::Checked::handle(http::ServerRequest& request, http::Responder& responder) {
  auto named = Url::parse("https://" + std::string(request.headers().get("Host").value_or("")) + "/");
  if (!named || named->origin() != host_.origin) {
    auto why = "this tunnel leads to " + host_.origin + " and nowhere else; open another one\n";
    (void)co_await responder.send(421, "text/plain; charset=utf-8", std::move(why));
    co_return;
  }
  auto handled = host_.handle(request, responder);
  co_await handled;
}

Task<Result<void>> Proxy::drain(Deadline deadline) {
  prefetching_.cancel();
  Result<void> outcome;
  for (auto& each : opened_) {
    auto drained = co_await each->drain(deadline);
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
  tls.alpn = {"h2", "http/1.1"};
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
  (*host)->adopt(std::move(*stream));
}

}  // namespace d7y::proxy
