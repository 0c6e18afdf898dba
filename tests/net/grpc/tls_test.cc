// gRPC over TLS, and over a port that takes both TLS and plaintext.
#include <doctest/doctest.h>

#include "net/tls/tls.h"
#include "support/certificates.h"
#include "two_hosts.h"

using namespace d7y;
using namespace d7y::grpc;
using namespace std::chrono_literals;
using test::EchoResponse;
using test::request;
using test::TwoHosts;

namespace {

using StreamPtr = std::unique_ptr<world::Stream>;
using ContextPtr = std::shared_ptr<net::TlsContext>;

Task<Result<StreamPtr>> accept_either(StreamPtr raw, ContextPtr context, WallTime now, Deadline deadline) {
  CO_TRY(net::Sniffed sniffed, co_await net::sniff_tls(std::move(raw), deadline));
  if (!sniffed.tls) co_return std::move(sniffed.stream);
  CO_TRY(auto secure, co_await net::tls_accept(std::move(sniffed.stream), std::move(context), now, deadline));
  co_return StreamPtr(std::move(secure));
}

Task<Result<StreamPtr>> connect_tls(sim::Host& host, Address to, ContextPtr context, Deadline deadline) {
  world::ConnectOptions plain;
  CO_TRY(auto raw, co_await host.network().connect(to, plain, deadline));
  net::TlsConnectOptions options;
  options.server_name = to.ip();
  options.now = host.wall_now();
  options.alpn.push_back("h2");
  CO_TRY(auto secure,
         co_await net::tls_connect(std::move(raw), std::move(context), std::move(options), deadline));
  co_return StreamPtr(std::move(secure));
}

struct SecureHosts : TwoHosts {
  explicit SecureHosts() {
    test::CertificateWish wish;
    wish.alternative_names = "IP:" + server_host.address(8003).ip();
    net::TlsServerOptions server_options;
    server_options.identity = authority.issue(wish);
    server_options.alpn.push_back("h2");
    server_context = net::TlsContext::server(std::move(server_options)).value();
    ListenerOptions listener;
    listener.wrap = [this](StreamPtr raw, Deadline deadline) {
      return accept_either(std::move(raw), server_context, server_host.wall_now(), deadline);
    };
    REQUIRE(server->listen(server_host.address(8003), listener).ok());
  }
  Channel secure_channel(const test::Authority& trusted) {
    net::TlsClientOptions client_options;
    client_options.trust_pem.push_back(trusted.pem());
    auto context = net::TlsContext::client(std::move(client_options)).value();
    ChannelOptions options;
    options.scheme = "https";
    Address to = server_host.address(8003);
    return Channel(
        client, to.to_string(),
        [this, to, context](Deadline deadline) { return connect_tls(client, to, context, deadline); },
        options);
  }

  test::Authority authority;
  ContextPtr server_context;
};

}  // namespace

TEST_CASE("one port takes gRPC with TLS and without") {
  SecureHosts hosts;
  auto secure = hosts.secure_channel(hosts.authority);
  Channel plain(hosts.client, hosts.server_host.address(8003));
  auto big = request("both");
  big.set_payload(sim::random_bytes(5'000'000, 1));
  for (Channel* channel : {&secure, &plain}) {
    auto response = hosts.run(channel->unary<EchoResponse>("/d7y.test.Echo/Unary", big));
    REQUIRE(response.ok());
    CHECK(response->payload() == big.payload());
  }
}

TEST_CASE("a server whose certificate nobody trusted gets no call, and the error says why") {
  SecureHosts hosts;
  auto channel = hosts.secure_channel(test::Authority("Somebody else"));
  auto failed = hosts.run(channel.unary<EchoResponse>("/d7y.test.Echo/Unary", request("x")));
  REQUIRE(!failed.ok());
  CHECK(failed.error().code() == ErrorCode::kUnauthenticated);
  CHECK(failed.error().status() == 14);
  CHECK(hosts.server->open_calls() == 0);
}
