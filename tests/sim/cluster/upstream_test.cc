// How a node comes to its origins: with certificates of its own, and through others' proxies.
#include <doctest/doctest.h>

#include "base/hash.h"
#include "net/http/client.h"
#include "sim/cluster/cluster.h"
#include "support/certificates.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

void put(sim::Host& host, const std::string& path, const std::string& text) {
  auto file = host.files().open(path, world::OpenMode::kCreateNew);
  REQUIRE_MESSAGE(file.ok(), file.error().message());
  REQUIRE((*file)->write_at(0, as_bytes(text)).ok());
}

// Answers with what it was asked for, or with a blob.
struct Site final : http::Handler {
  std::string blob = sim::random_bytes(1_MiB, 1);
  std::vector<std::string> targets;
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    targets.push_back(request.head().target);
    const bool is_blob = request.path().find("/blobs/") != std::string_view::npos ||
                         request.path().find("/model.bin") != std::string_view::npos;
    auto body = is_blob ? blob : "page " + request.head().target;
    (void)co_await responder.send(200, "text/plain", std::move(body));
  }
};

// Thinks for minutes, then answers.
struct Thinker final : http::Handler {
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    (void)co_await request.read_all(1_MiB, Deadline::never());
    co_await sleep_for(200s);
    const int status = request.head().method == "PUT" ? 201 : 200;
    (void)co_await responder.send(status, "text/plain", "at last");
  }
};

struct Served {
  Served(sim::Host& host, std::uint16_t port, http::ServerOptions options)
      : server(host, site, std::move(options)),
        listener(std::move(*host.network().listen(host.address(port), {}))) {
    host.spawn(server.serve(*listener));
  }
  Site site;
  http::Server server;
  std::unique_ptr<world::Listener> listener;
};

struct Got {
  int status = 0;
  std::string body;
};

Task<Result<Got>> get_page(http::Client& client, std::string url) {
  http::Request request;
  request.url = std::move(url);
  CO_TRY(auto response, co_await client.fetch(std::move(request), Deadline::never()));
  CO_TRY(auto body, co_await response.read_all(8_MiB, Deadline::never()));
  co_return Got{response.status(), std::move(body)};
}

}  // namespace

TEST_CASE("a registry that wants a client's certificate sees ours, for blobs and for the rest") {
  sim::Cluster cluster(1);
  auto& far = cluster.sim().add_host({.name = "registry"});
  auto& runtime = cluster.sim().add_host({.name = "runtime"});
  test::Authority theirs("Registry Authority"), ours("Client Authority");
  const auto now = cluster.sim().wall_now();
  net::TlsServerOptions tls{
      .identity = theirs.issue(
          {.alternative_names = "IP:" + far.address(1).ip(), .from = now - 24h, .until = now + 24h})};
  tls.clients = net::ClientCertificates::kRequired;
  tls.client_trust_pem = {ours.pem()};
  http::ServerOptions options;
  options.tls = *net::TlsContext::server(std::move(tls));
  Served registry(far, 8443, options);
  const auto address = "https://" + far.address(8443).to_string();

  auto mine = ours.issue({.common_name = "node", .from = now - 24h, .until = now + 24h});
  auto peers = cluster.add_peers(2);
  for (auto* peer : peers) {
    put(peer->host(), "/ca.pem", theirs.pem());
    put(peer->host(), "/cert.pem", mine.certificate_pem);
    put(peer->host(), "/key.pem", mine.key_pem);
    peer->config().proxy.registries = {{.name = "reg.test", .addr = address, .cert = "/ca.pem"}};
  }
  peers[0]->config().proxy.registries[0].client_cert = "/cert.pem";
  peers[0]->config().proxy.registries[0].client_key = "/key.pem";
  cluster.start();
  http::Client client(runtime, {});
  auto get = [&](std::size_t peer, const std::string& target) {
    auto url = "http://" + peers[peer]->host().address(4001).to_string() + target + "?ns=reg.test";
    auto got = cluster.sim().run(get_page(client, url), 100s);
    REQUIRE_MESSAGE(got.ok(), got.error().message());
    return *got;
  };
  Hasher hasher(HashKind::kSha256);
  hasher.update(as_bytes(registry.site.blob));
  const auto blob = "/v2/app/blobs/sha256:" + hasher.hex();
  auto manifest = get(0, "/v2/app/manifests/1");
  CHECK(manifest.status == 200);
  CHECK(manifest.body == "page /v2/app/manifests/1");
  auto layer = get(0, blob);
  CHECK(layer.status == 200);
  CHECK(layer.body == registry.site.blob);
  CHECK(get(1, "/v2/app/manifests/1").status == 502);
  CHECK(get(1, blob).status == 502);
}

TEST_CASE("origins are asked through the proxy that is configured, and directly where that says so") {
  for (bool direct : {false, true}) {
    CAPTURE(direct);
    sim::Cluster cluster(1);
    auto& middle = cluster.sim().add_host({.name = "middle"});
    Served proxy(middle, 3128, {});
    cluster.origin().serve("/model.bin", proxy.site.blob);
    auto& peer = cluster.add_peer();
    peer.config().backend.http_proxy = "http://user:secret@" + middle.address(3128).to_string();
    if (direct) peer.config().backend.no_proxy = "10.0.0.0/8";
    cluster.start();
    auto fetch = peer.fetch("/model.bin");
    REQUIRE(cluster.wait({fetch}, 60s));
    CHECK_MESSAGE(fetch->right(), fetch->verdict());
    CHECK(proxy.site.targets.empty() == direct);
    for (const auto& target : proxy.site.targets)
      CHECK_MESSAGE((target.starts_with("http://") && target.ends_with("/model.bin")), target);
    CHECK(cluster.origin().body_bytes() == (direct ? 1_MiB : 0));
  }
}

TEST_CASE("a daemon whose environment names its own proxy does not ask itself") {
  for (auto* own : {"http://127.0.0.1:4001", "localhost:4001"}) {
    sim::Cluster cluster(1);
    cluster.origin().serve("/model.bin", sim::random_bytes(1_MiB, 1));
    auto& peer = cluster.add_peer();
    peer.config().backend.http_proxy = own;
    cluster.start();
    auto fetch = peer.fetch("/model.bin");
    REQUIRE(cluster.wait({fetch}, 60s));
    CHECK_MESSAGE(fetch->right(), fetch->verdict());
    CHECK(cluster.origin().body_bytes() == 1_MiB);
  }
}

TEST_CASE("a proxy that is none keeps the node from starting, without telling its password") {
  sim::Cluster cluster(1);
  auto& peer = cluster.add_peer();
  peer.config().backend.http_proxy = "ftp://user:secret@x:1";
  cluster.start();
  REQUIRE(peer.failure());
  CHECK(peer.failure()->message().find("backend.httpProxy") != std::string::npos);
  CHECK(peer.failure()->message().find("secret") == std::string::npos);
}

TEST_CASE("an origin may think for minutes, before content and before it has stored what was pushed") {
  sim::Cluster cluster(1);
  auto& far = cluster.sim().add_host({.name = "far"});
  auto& runtime = cluster.sim().add_host({.name = "runtime"});
  Thinker thinker;
  http::Server server(far, thinker, {});
  auto listener = std::move(*far.network().listen(far.address(80), {}));
  far.spawn(server.serve(*listener));
  auto* peer = cluster.add_peers(1)[0];
  cluster.start();
  http::Client client(runtime, {.head_timeout = 3600s});
  for (const auto* what :
       {"GET /v2/app/blobs/sha256:", "PUT /v2/app/blobs/uploads/1", "GET /v2/app/manifests/1"}) {
    CAPTURE(what);
    http::Request request;
    request.method = std::string(what).substr(0, 3);
    request.url = "http://" + peer->host().address(4001).to_string() + (what + 4);
    if (request.url.ends_with(':')) {
      Hasher hasher(HashKind::kSha256);
      hasher.update(as_bytes(std::string_view("at last")));
      request.url += hasher.hex();
    }
    request.url += "?ns=http://" + far.address(80).to_string();
    if (request.method == "PUT") request.body = "layer";
    auto answer = cluster.sim().run(client.fetch(std::move(request), Deadline::never()), 3600s);
    REQUIRE_MESSAGE(answer.ok(), answer.error().message());
    CHECK(answer->status() == (std::string_view(what).starts_with("PUT") ? 201 : 200));
  }
}
