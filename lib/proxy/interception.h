// A host whose tunnels are opened.
#pragma once

#include "net/http2/server.h"
#include "proxy/proxy.h"

namespace d7y::proxy {

// One host's certificate, and the servers behind it: of HTTP/1.1 and of HTTP/2, as the client chooses.
class Proxy::Intercepted final : public http::Handler {
 public:
  Intercepted(Proxy& proxy, std::string origin, std::shared_ptr<net::TlsContext> tls, TimePoint now);
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    return proxy_.handle_at(request, responder, {}, origin);
  }
  std::string refusal(std::string_view target, const Error& why, const Address& client,
                      http::Headers& headers) override {
    return proxy_.refusal(target, why, client, headers);
  }

  // Serves what comes through one tunnel.
  void adopt(std::unique_ptr<world::Stream> stream) { handshakes_.spawn(secure(std::move(stream))); }
  bool idle() const;
  Task<Result<void>> drain(Deadline deadline);

  const std::string origin;
  const TimePoint made_at;

 private:
  // A connection over HTTP/2 may be used for whatever its certificate is good for; ours is good for one host.
  class Checked final : public http::Handler {
   public:
    explicit Checked(Intercepted& host) : host_(host) {}
    Task<void> handle(http::ServerRequest& request, http::Responder& responder) override;
    std::string refusal(std::string_view target, const Error& why, const Address& client,
                        http::Headers& headers) override {
      return host_.refusal(target, why, client, headers);
    }

   private:
    Intercepted& host_;
  };

  Task<void> secure(std::unique_ptr<world::Stream> stream);

  Proxy& proxy_;
  std::shared_ptr<net::TlsContext> tls_;
  Checked checked_;
  http::Server server_;
  http2::Server server2_;
  Scope handshakes_;
};

}  // namespace d7y::proxy
