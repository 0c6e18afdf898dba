#include "net/tls/tls.h"

#include <doctest/doctest.h>

#include "net/http/client.h"
#include "net/http/server.h"
#include "sim/simulation.h"
#include "support/certificates.h"

using namespace d7y;
using namespace d7y::net;
using namespace std::chrono_literals;

namespace {

using StreamPtr = std::unique_ptr<world::Stream>;
using TlsPtr = std::unique_ptr<TlsStream>;

struct Ends {
  TlsPtr client, server;
};

Task<void> accept_into(StreamPtr stream, std::shared_ptr<TlsContext> context, WallTime now, Deadline deadline,
                       Result<TlsPtr>& out) {
  out = co_await tls_accept(std::move(stream), std::move(context), now, deadline);
}

struct Net {
  explicit Net(std::uint64_t seed = 1, sim::SimulationOptions options = {})
      : sim(seed, options),
        a(sim.add_host({.name = "client"})),
        b(sim.add_host({.name = "server", .addresses = {Address::ipv4({10, 9, 9, 9}, 0)}})),
        listener(std::move(b.network().listen(b.address(443), {}).value())) {}

  static Task<Result<std::pair<StreamPtr, StreamPtr>>> plain(Net& n) {
    const auto deadline = Deadline::in(100s, n.sim.now());
    const world::ConnectOptions options;
    auto client = co_await n.a.network().connect(n.b.address(443), options, deadline);
    if (!client) co_return std::move(client).error();
    auto server = co_await n.listener->accept(deadline);
    if (!server) co_return std::move(server).error();
    co_return std::pair(std::move(client).value(), std::move(server).value());
  }

  // Handshakes on a new connection; the server's failure, if any, goes to `server_error`.
  static Task<Result<Ends>> handshake(Net& n, std::shared_ptr<TlsContext> client,
                                      std::shared_ptr<TlsContext> server, TlsConnectOptions options) {
    Loop& loop = co_await this_loop();
    CO_TRY(auto both, co_await plain(n));
    const auto deadline = Deadline::in(100s, n.sim.now());
    Result<TlsPtr> accepted = TlsPtr();
    Scope scope(loop);
    scope.spawn(accept_into(std::move(both.second), std::move(server), n.sim.wall_now(), deadline, accepted));
    auto connected =
        co_await tls_connect(std::move(both.first), std::move(client), std::move(options), deadline);
    (void)co_await scope.idle(deadline);
    n.server_error = accepted ? "" : accepted.error().message();
    if (!connected) co_return std::move(connected).error();
    Ends ends;
    ends.client = std::move(connected).value();
    if (accepted) ends.server = std::move(accepted).value();
    co_return std::move(ends);
  }
  Result<Ends> shake(std::shared_ptr<TlsContext> client, std::shared_ptr<TlsContext> server,
                     TlsConnectOptions options) {
    if (options.now == WallTime{}) options.now = sim.wall_now();
    return sim.run(handshake(*this, std::move(client), std::move(server), std::move(options)), 1000s);
  }

  sim::Simulation sim;
  sim::Host &a, &b;
  std::unique_ptr<world::Listener> listener;
  std::string server_error;
};

std::shared_ptr<TlsContext> trusting(const std::string& pem, TlsVersion min = TlsVersion::k12) {
  TlsClientOptions options;
  options.trust_pem = {pem};
  options.min_version = min;
  return TlsContext::client(options).value();
}

std::shared_ptr<TlsContext> serving(TlsIdentity identity) {
  TlsServerOptions options;
  options.identity = std::move(identity);
  return TlsContext::server(options).value();
}

TlsConnectOptions to(std::string name) {
  TlsConnectOptions options;
  options.server_name = std::move(name);
  return options;
}

Task<void> send(world::Stream& stream, std::string content, bool finish) {
  (void)co_await world::write_all(stream, as_bytes(content), Deadline::never());
  if (finish) stream.finish_writing();
}

Task<Result<std::string>> receive(world::Stream& stream) {
  std::string all;
  std::vector<std::byte> buffer(30'000);
  while (true) {
    auto got = co_await world::read_some(stream, buffer, Deadline::never());
    if (!got) co_return std::move(got).error();
    if (*got == 0) co_return all;
    all += as_text(Bytes(buffer).first(*got));
  }
}

Task<Result<std::string>> transfer(world::Stream& from, world::Stream& into, std::string content) {
  Loop& loop = co_await this_loop();
  Scope scope(loop);
  scope.spawn(send(from, std::move(content), true));
  auto got = co_await receive(into);
  (void)co_await scope.idle(Deadline::never());
  co_return got;
}

test::CertificateWish names(std::string list) {
  test::CertificateWish wish;
  wish.alternative_names = std::move(list);
  return wish;
}

}  // namespace

TEST_CASE("bytes come through TLS unchanged, both ways, whatever the network does to them") {
  const test::Authority authority;
  const auto server = serving(authority.issue(names("DNS:server.test")));
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    Net net(seed, {.fabric = {.link = {.latency = 2ms, .jitter = 3ms, .loss = 0.01}, .chop = 0.5}});
    auto ends = net.shake(trusting(authority.pem()), server, to("server.test"));
    REQUIRE(ends.ok());
    CHECK(ends->client->version() == TlsVersion::k13);
    CHECK(!ends->client->resumed());
    const auto content = sim::random_bytes(500'000, seed);
    auto there = net.sim.run(transfer(*ends->client, *ends->server, content), 1000s);
    REQUIRE(there.ok());
    CHECK((*there == content));
    auto back = net.sim.run(transfer(*ends->server, *ends->client, content), 1000s);
    REQUIRE(back.ok());
    CHECK((*back == content));
  }
}

TEST_CASE("TLS 1.2 where the other side has nothing better, refused where 1.3 is the least") {
  const test::Authority authority;
  TlsServerOptions options;
  options.identity = authority.issue(names("DNS:server.test"));
  options.min_version = TlsVersion::k13;
  Net net;
  auto ends = net.shake(trusting(authority.pem(), TlsVersion::k13), TlsContext::server(options).value(),
                        to("server.test"));
  REQUIRE(ends.ok());
  CHECK(ends->server->version() == TlsVersion::k13);
  CHECK(ends->server->cipher().starts_with("TLS_"));
}

TEST_CASE("a certificate is refused with its reason: name, time, authority") {
  const test::Authority authority, stranger("Stranger");
  Net net;
  const auto trust = trusting(authority.pem());
  const auto refused = [&](const TlsIdentity& identity, TlsConnectOptions options, std::string_view because) {
    CAPTURE(because);
    auto ends = net.shake(trust, serving(identity), std::move(options));
    REQUIRE(!ends.ok());
    CHECK(ends.error().code() == ErrorCode::kUnauthenticated);
    CHECK_MESSAGE(ends.error().message().find(because) != std::string::npos, ends.error().message());
  };
  const auto good = authority.issue(names("DNS:server.test,DNS:*.wild.test,IP:10.9.9.9,IP:fd00::1"));
  refused(good, to("other.test"),
          "it is for server.test, *.wild.test, 10.9.9.9, fd00::1, not for other.test");
  refused(good, to("10.9.9.8"), "not for 10.9.9.8");
  refused(good, to("a.b.wild.test"), "not for a.b.wild.test");
  refused(authority.issue(names("")), to("server.test"), "no name at all");
  test::CertificateWish common;  // a common name alone is no name
  common.common_name = "server.test";
  refused(authority.issue(common), to("server.test"), "not for server.test");

  for (auto fine : {"server.test", "SERVER.test", "server.test.", "x.wild.test", "10.9.9.9", "fd00::1"}) {
    CAPTURE(fine);
    CHECK(net.shake(trust, serving(good), to(fine)).ok());
  }
  auto late = to("server.test");
  late.now = WallTime(std::chrono::seconds(2'600'000'000));
  refused(good, late, "expired on");
  auto early = to("server.test");
  early.now = WallTime(std::chrono::seconds(1'600'000'000));
  refused(good, early, "valid only from");
  refused(stranger.issue(names("DNS:server.test")), to("server.test"), "unknown authority, /CN=Stranger");
  CHECK(net.shake(trust, serving(good), to("")).failed_with(ErrorCode::kInvalid));

  TlsClientOptions careless;
  careless.verify = false;
  CHECK(net.shake(TlsContext::client(careless).value(), serving(stranger.issue(names(""))), to("server.test"))
            .ok());
  // A certificate trusted by itself needs no authority.
  const auto own = stranger.issue(names("DNS:server.test"));
  CHECK(net.shake(trusting(own.certificate_pem), serving(own), to("server.test")).ok());
}

TEST_CASE("with mutual TLS the server takes only clients of its authority") {
  const test::Authority authority, stranger("Stranger");
  Net net;
  const auto connect = [&](ClientCertificates clients, const test::Authority* signer) -> Result<std::string> {
    TlsServerOptions server;
    server.identity = authority.issue(names("DNS:server.test"));
    server.clients = clients;
    server.client_trust_pem = {authority.pem()};
    TlsClientOptions client;
    client.trust_pem = {authority.pem()};
    test::CertificateWish wish;
    wish.common_name = "the client";
    if (signer != nullptr) client.identity = signer->issue(wish);
    TRY(auto ends,
        net.shake(TlsContext::client(client).value(), TlsContext::server(server).value(), to("server.test")));
    if (!ends.server) {
      // With TLS 1.3 the client learns of the refusal when it reads.
      TRY(auto got, net.sim.run(receive(*ends.client), 100s));
      return error(ErrorCode::kInternal, "read {}", got);
    }
    return ends.server->peer_subject();
  };
  CHECK(connect(ClientCertificates::kRequired, &authority).value() == "/CN=the client");
  CHECK(connect(ClientCertificates::kOptional, nullptr).value() == "");
  CHECK(connect(ClientCertificates::kIgnored, &stranger).value() == "");
  auto none = connect(ClientCertificates::kRequired, nullptr);
  CHECK(none.failed_with(ErrorCode::kUnauthenticated));
  CHECK(net.server_error.find("the client sent no certificate") != std::string::npos);
  auto wrong = connect(ClientCertificates::kRequired, &stranger);
  CHECK(wrong.failed_with(ErrorCode::kUnauthenticated));
  CHECK(net.server_error.find("unknown authority") != std::string::npos);
  CHECK(connect(ClientCertificates::kOptional, &stranger).failed_with(ErrorCode::kUnauthenticated));
}

TEST_CASE("sessions are resumed with the same server and group, not with another") {
  const test::Authority authority;
  const auto server = serving(authority.issue(names("DNS:server.test,DNS:other.test")));
  const auto client = trusting(authority.pem());
  Net net;
  const auto resumed = [&](const std::shared_ptr<TlsContext>& from, TlsConnectOptions options) {
    auto ends = net.shake(from, server, std::move(options));
    REQUIRE(ends.ok());
    // Tickets of TLS 1.3 come with the first bytes.
    CHECK(net.sim.run(transfer(*ends->server, *ends->client, "x"), 100s).value() == "x");
    CHECK(ends->client->resumed() == ends->server->resumed());
    return ends->client->resumed();
  };
  CHECK(!resumed(client, to("server.test")));
  CHECK(resumed(client, to("server.test")));
  CHECK(resumed(client, to("server.test")));
  CHECK(!resumed(client, to("other.test")));
  auto grouped = to("server.test");
  grouped.session_group = "b";
  CHECK(!resumed(client, grouped));
  CHECK(!resumed(trusting(authority.pem()), to("server.test")));
}

TEST_CASE("the server's order decides the protocol; none in common is no protocol") {
  const test::Authority authority;
  TlsServerOptions options;
  options.identity = authority.issue(names("DNS:server.test"));
  options.alpn = {"h2", "http/1.1"};
  const auto server = TlsContext::server(options).value();
  Net net;
  const auto chosen = [&](std::vector<std::string> offered) {
    auto to_server = to("server.test");
    to_server.alpn = std::move(offered);
    auto ends = net.shake(trusting(authority.pem()), server, to_server);
    REQUIRE(ends.ok());
    CHECK(ends->client->alpn() == ends->server->alpn());
    return ends->client->alpn();
  };
  CHECK(chosen({"http/1.1", "h2"}) == "h2");
  CHECK(chosen({"http/1.1"}) == "http/1.1");
  CHECK(chosen({"spdy/1"}) == "");
  CHECK(chosen({}) == "");
}

TEST_CASE("an end without close_notify is a truncation, not an end") {
  const test::Authority authority;
  const auto server = serving(authority.issue(names("DNS:server.test")));
  Net net;
  auto ends = net.shake(trusting(authority.pem()), server, to("server.test"));
  REQUIRE(ends.ok());
  CHECK(net.sim.run(transfer(*ends->server, *ends->client, "proper end"), 100s).value() == "proper end");

  ends = net.shake(trusting(authority.pem()), server, to("server.test"));
  auto cut = [](Ends& e) -> Task<Result<std::string>> {
    co_await send(*e.server, "half of it", false);
    e.server.reset();  // the connection ends below TLS
    auto got = co_await receive(*e.client);
    co_return got;
  };
  auto got = net.sim.run(cut(*ends), 100s);
  CHECK(got.failed_with(ErrorCode::kReset));
}

TEST_CASE("something else than TLS on the port is said so; silence ends at the deadline") {
  const test::Authority authority;
  Net net;
  auto talk = [](Net& n, std::shared_ptr<TlsContext> context, std::string answer) -> Task<Result<void>> {
    Loop& loop = co_await this_loop();
    CO_TRY(auto both, co_await Net::plain(n));
    Scope scope(loop);
    scope.spawn(send(*both.second, std::move(answer), false));
    auto options = to("server.test");
    options.now = n.sim.wall_now();
    CO_TRY(auto stream,
           co_await tls_connect(std::move(both.first), context, options, Deadline::in(5s, n.sim.now())));
    co_return Result<void>{};
  };
  const auto trust = trusting(authority.pem());
  auto http = net.sim.run(talk(net, trust, "HTTP/1.1 400 Bad Request\r\n\r\n"), 100s);
  CHECK(http.failed_with(ErrorCode::kProtocol));
  CHECK(http.error().message().find("does not speak TLS") != std::string::npos);
  CHECK(net.sim.run(talk(net, trust, ""), 100s).failed_with(ErrorCode::kTimeout));
}

TEST_CASE("contexts that cannot work are refused when they are made") {
  const test::Authority authority;
  const auto identity = authority.issue(names("DNS:a"));
  const auto other = authority.issue(names("DNS:a"));
  CHECK(TlsContext::client({}).failed_with(ErrorCode::kInvalid));
  TlsClientOptions client;
  client.trust_pem = {"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n"};
  CHECK(TlsContext::client(client).failed_with(ErrorCode::kInvalid));
  client.trust_pem = {"nothing"};
  CHECK(TlsContext::client(client).failed_with(ErrorCode::kInvalid));
  CHECK(TlsContext::server({}).failed_with(ErrorCode::kInvalid));
  TlsServerOptions server;
  server.identity = {identity.certificate_pem, other.key_pem};
  auto mismatch = TlsContext::server(server);
  CHECK(mismatch.failed_with(ErrorCode::kInvalid));
  CHECK(mismatch.error().message().find("do not belong together") != std::string::npos);
  server.identity = {identity.certificate_pem, "no key"};
  CHECK(TlsContext::server(server).failed_with(ErrorCode::kInvalid));
  server.identity = identity;
  server.clients = ClientCertificates::kRequired;
  CHECK(TlsContext::server(server).failed_with(ErrorCode::kInvalid));
}

namespace {
class Hello : public http::Handler {
 public:
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    const std::string kind = request.over_tls() ? "tls" : "plain";
    if (request.path() == "/until-close") {
      responder.close_after();
      http::ResponseHead head;
      (void)co_await responder.begin(head, std::nullopt);
      (void)co_await responder.write(as_bytes(content));
      (void)co_await responder.finish();
    } else {
      (void)co_await responder.send(200, "text/plain", kind);
    }
  }
  std::string content;
};
}  // namespace

TEST_CASE("one port serves https and http; the https client checks what it gets") {
  const test::Authority authority;
  for (auto seed : sim::seeds(10)) {
    CAPTURE(seed);
    Net net(seed, {.fabric = {.chop = 0.5}});
    Hello hello;
    hello.content = sim::random_bytes(400'000, seed);
    http::ServerOptions server_options;
    server_options.tls = serving(authority.issue(names("DNS:server")));
    server_options.plaintext_too = true;
    http::Server server(net.b, hello, server_options);
    net.b.spawn(server.serve(*net.listener));
    http::ClientOptions client_options;
    client_options.tls = [&] { return Result<std::shared_ptr<TlsContext>>(trusting(authority.pem())); };
    http::Client client(net.a, client_options);
    auto get = [](http::Client& c, std::string url) -> Task<Result<std::string>> {
      http::Request request;
      request.url = std::move(url);
      CO_TRY(auto response, co_await c.fetch(std::move(request), Deadline::never()));
      auto body = co_await response.read_all(1'000'000, Deadline::never());
      co_return body;
    };
    CHECK(net.sim.run(get(client, "https://server/"), 100s).value() == "tls");
    CHECK(net.sim.run(get(client, "http://server:443/"), 100s).value() == "plain");
    CHECK((net.sim.run(get(client, "https://server/until-close"), 100s).value() == hello.content));
    CHECK(net.sim.run(get(client, "https://10.9.9.9/"), 100s).failed_with(ErrorCode::kUnauthenticated));
    net.b.kill();
  }
}
