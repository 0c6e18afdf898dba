// A host whose tunnels are opened.
#pragma once

#include "proxy/proxy.h"

namespace d7y::proxy {

// One host's certificate, and the server that shows it.
class Proxy::Intercepted final : public http::Handler {
 public:
  Intercepted(Proxy& proxy, std::string origin, std::shared_ptr<net::TlsContext> tls, TimePoint now)
      : origin(std::move(origin)),
        made_at(now),
        proxy_(proxy),
        server(proxy.parts_.world, *this, options(std::move(tls)), proxy.parts_.log) {}
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    return proxy_.handle_at(request, responder, {}, origin);
  }
  std::string refusal(std::string_view target, const Error& why, const Address& client,
                      http::Headers& headers) override {
    return proxy_.refusal(target, why, client, headers);
  }
  bool idle() const { return server.numbers().connections == 0; }

  const std::string origin;
  const TimePoint made_at;

 private:
  static http::ServerOptions options(std::shared_ptr<net::TlsContext> tls) {
    auto options = server_options();
    options.tls = std::move(tls);
    return options;
  }
  Proxy& proxy_;

 public:
  http::Server server;
};

}  // namespace d7y::proxy
