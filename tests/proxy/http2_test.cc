// HTTP/2 inside of tunnels that are opened.
#include "http2_client.h"
#include "support/certificates.h"

using namespace proxy_test;

namespace {

// An origin over TLS whose tunnels the proxy opens.
struct Site final : http::Handler {
  std::string blob = random_bytes(3_MiB);
  std::map<std::string, int> asked;
  std::string host, cookie, got;
  int waiting = 0;
  Signal release;

  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    ++asked[std::string(request.path())];
    host = request.headers().get("Host").value_or("");
    cookie = request.headers().joined("Cookie");
    if (request.path() == "/page") co_return co_await page(responder);
    if (request.path() == "/big") co_return co_await big(responder);
    if (request.path() == "/short") co_return co_await shorter(responder);
    if (request.path() == "/wait") {
      ++waiting;
      (void)co_await release.wait(Deadline::never());
      co_return co_await page(responder);
    }
    if (request.path() == "/upload") {
      auto body = co_await request.read_all(64_MiB, Deadline::never());
      got = body ? *body : body.error().message();
      (void)co_await responder.send(201, "", "");
      co_return;
    }
    http::ResponseHead head;
    (void)co_await responder.send(std::move(head), blob);
  }
  Task<void> page(http::Responder& responder) {
    http::ResponseHead head;
    head.headers.add("Content-Type", "text/plain");
    head.headers.add("Keep-Alive", "timeout=5");
    head.headers.add("X-Mixed-Case", "Yes");
    (void)co_await responder.send(std::move(head), "a page");
  }
  // Of no announced length.
  Task<void> big(http::Responder& responder) {
    http::ResponseHead head;
    auto begun = co_await responder.begin(std::move(head), std::nullopt);
    for (int i = 0; begun && i < 64; ++i) begun = co_await responder.write(as_bytes(blob).first(64 << 10));
    (void)co_await responder.finish();
  }
  Task<void> shorter(http::Responder& responder) {
    http::ResponseHead head;
    auto begun = co_await responder.begin(std::move(head), blob.size());
    if (begun) begun = co_await responder.write(as_bytes(blob).first(1_MiB));
    responder.cut_short();
  }
};

struct Tunnel {
  test::Authority ours{"Proxy Authority"}, theirs{"Origin Authority"};
  Site site;
  Rig rig;
  std::unique_ptr<http::Server> far;
  std::unique_ptr<world::Listener> listener;
  std::unique_ptr<Http2Client> client;

  Tunnel() : rig(1, options(), theirs.pem()) {
    http::ServerOptions tls;
    const auto now = rig.sim.wall_now();
    tls.tls = *net::TlsContext::server(
        {.identity =
             theirs.issue({.alternative_names = "DNS:origin", .from = now - 24h, .until = now + 24h})});
    far = std::make_unique<http::Server>(rig.origin_host, site, tls);
    listener = std::move(*rig.origin_host.network().listen(rig.origin_host.address(443), {}));
    rig.origin_host.spawn(far->serve(*listener));
    client = open();
  }
  proxy::ProxyOptions options() const {
    auto options = Rig::standard();
    options.intercept = {"//origin[:/]"};
    options.authority = ours.identity();
    return options;
  }
  std::unique_ptr<Http2Client> open() {
    auto opened = rig.sim.run(Http2Client::open(rig, ours.pem()), 60s);
    REQUIRE_MESSAGE(opened.ok(), opened.error().message());
    return std::move(*opened);
  }
  std::string blob_path() const { return "/v2/a/blobs/sha256:" + sha256_of(site.blob); }
  void wait(Http2Client::Exchange& exchange, Duration limit = 60s) {
    auto ended = rig.sim.run(client->end_of(exchange), limit);
    REQUIRE_MESSAGE(ended.ok(), ended.error().message());
  }
};

}  // namespace

TEST_CASE("inside of a tunnel HTTP/2 requests are served side by side, like any others") {
  Tunnel tunnel;
  auto& client = *tunnel.client;
  auto& blob = client.get(tunnel.blob_path());
  auto& page = client.get("/page", {{"cookie", "a=1"}, {"cookie", "b=2"}});
  auto& head = client.ask("HEAD", "/page");
  auto& big = client.get("/big");
  for (auto* each : {&blob, &page, &head, &big}) {
    tunnel.wait(*each);
    CHECK(each->status == 200);
    CHECK(each->whole);
    CHECK(each->closed == http2::H2Error::kNone);
  }
  CHECK(blob.body == tunnel.site.blob);
  CHECK(blob.headers.get("x-dragonfly-task-id") == sha256_of(tunnel.site.blob));
  CHECK(blob.headers.get("content-length") == std::to_string(tunnel.site.blob.size()));
  CHECK(page.body == "a page");
  CHECK(page.headers.get("x-mixed-case") == "Yes");
  for (auto name : {"connection", "keep-alive", "transfer-encoding"}) CHECK_FALSE(page.headers.has(name));
  CHECK(head.body.empty());
  CHECK(head.headers.get("content-length") == "6");
  CHECK(big.body.size() == 4_MiB);
  CHECK(tunnel.site.host == "origin");
  // Again, now from what is stored.
  auto& again = client.get(tunnel.blob_path());
  tunnel.wait(again);
  CHECK(again.body == tunnel.site.blob);
  CHECK(tunnel.site.asked[tunnel.blob_path()] == 1);
}

TEST_CASE("crumbs of a cookie, and a body of any length, reach the origin whole") {
  Tunnel tunnel;
  auto& client = *tunnel.client;
  auto& page = client.get("/page", {{"cookie", "a=1"}, {"cookie", "b=2"}});
  tunnel.wait(page);
  CHECK(tunnel.site.cookie == "a=1; b=2");
  auto& plain = client.ask("POST", "/upload", {}, true);
  auto content = random_bytes(2_MiB, 7);
  plain.send(content);
  plain.finish();
  tunnel.wait(plain);
  CHECK(plain.status == 201);
  CHECK(tunnel.site.got == content);
  auto& announced = client.ask("PUT", "/upload", {{"content-length", "5"}, {"expect", "100-continue"}}, true);
  tunnel.rig.sim.run_for(1s);
  CHECK(announced.informed == 100);
  announced.send(as_bytes("hello"));
  announced.finish();
  tunnel.wait(announced);
  CHECK(announced.status == 201);
  CHECK(tunnel.site.got == "hello");
}

TEST_CASE("a stream that nobody reads delays no other, and holds little") {
  Tunnel tunnel;
  auto& client = *tunnel.client;
  auto& slow = client.ask("GET", tunnel.blob_path(), {}, false, false);
  auto& slower = client.ask("GET", "/big", {}, false, false);
  REQUIRE(tunnel.rig.sim.run(client.bytes_of(slow, 128 << 10), 60s).ok());
  for (int i = 0; i < 20; ++i) {
    auto& page = client.get("/page");
    tunnel.wait(page, 5s);
    CHECK(page.body == "a page");
  }
  CHECK(slow.body.size() == 128 << 10);
  CHECK(slower.body.size() == 128 << 10);
  slow.go_on();
  tunnel.wait(slow);
  CHECK(slow.body == tunnel.site.blob);
  // Whoever never reads loses his stream, and nobody else anything.
  tunnel.wait(slower, 300s);
  CHECK_FALSE(slower.whole);
  auto& page = client.get("/page");
  tunnel.wait(page);
  CHECK(page.body == "a page");
}

TEST_CASE("what is missing at a body's end shows") {
  Tunnel tunnel;
  auto& cut = tunnel.client->get("/short");
  tunnel.wait(cut);
  CHECK(cut.status == 200);
  CHECK(cut.body.size() == 1_MiB);
  // An end in order, before the announced length.
  CHECK(cut.headers.get("content-length") == std::to_string(tunnel.site.blob.size()));
  CHECK(cut.body.size() < tunnel.site.blob.size());
}

TEST_CASE("requests that no proxy may take are refused on their own streams") {
  Tunnel tunnel;
  auto& client = *tunnel.client;
  auto& elsewhere = client.get("/page", {{":authority", "other"}});
  Http2Client::Fields heavy;
  for (int i = 0; i < 250; ++i) heavy.emplace_back("x-" + std::to_string(i), std::string(230, 'a'));
  auto& weight = client.get("/page", heavy);
  auto& target = client.get("/" + std::string(20 << 10, 'a'));
  Http2Client::Fields many;
  for (int i = 0; i < 300; ++i) many.emplace_back("x-" + std::to_string(i), "1");
  auto& fields = client.get("/page", many);
  auto& hop = client.get("/page", {{"connection", "close"}});
  auto& transfer = client.get("/page", {{"transfer-encoding", "chunked"}});
  auto& lie = client.ask("POST", "/upload", {{"content-length", "10"}}, true);
  lie.send(as_bytes("hello"));
  lie.finish();
  for (auto* each : {&elsewhere, &weight, &target, &fields, &hop, &transfer, &lie}) tunnel.wait(*each);
  CHECK(elsewhere.status == 421);
  CHECK(weight.status == 431);
  CHECK(target.status == 414);
  CHECK(fields.status == 431);
  for (auto* each : {&hop, &transfer}) {
    CHECK(each->status == 0);
    CHECK(each->closed == http2::H2Error::kProtocol);
  }
  CHECK(lie.status != 201);
  CHECK(tunnel.site.asked["/page"] == 0);
  auto& page = client.get("/page");
  tunnel.wait(page);
  CHECK(page.body == "a page");
}

TEST_CASE("a client that opens and gives up requests without end is sent away, and leaves nothing") {
  Tunnel tunnel;
  auto& client = *tunnel.client;
  int opened = 0;
  for (; opened < 10'000 && !client.over && !client.goaway; ++opened) {
    auto& given_up = client.get("/wait");
    tunnel.rig.sim.run_for(1ms);
    given_up.reset(http2::H2Error::kCancel);
  }
  tunnel.rig.sim.run_for(10s);
  CHECK(client.goaway == http2::H2Error::kEnhanceYourCalm);
  CHECK(opened < 1'000);
  CHECK(tunnel.site.waiting <= opened);
  // Others do not suffer.
  auto other = tunnel.open();
  auto& page = other->get("/page");
  REQUIRE(tunnel.rig.sim.run(other->end_of(page), 60s).ok());
  CHECK(page.body == "a page");
}

TEST_CASE("more requests at once than are taken wait, and all are served") {
  Tunnel tunnel;
  auto& client = *tunnel.client;
  tunnel.rig.sim.run_for(1s);  // until the client knows how many
  std::vector<Http2Client::Exchange*> all;
  for (int i = 0; i < 250; ++i) all.push_back(&client.get("/page"));
  for (auto* each : all) {
    tunnel.wait(*each);
    CHECK(each->body == "a page");
  }
}

TEST_CASE(
    "a connection over HTTP/2 that idles is closed in order, one at work is not cut when the proxy stops") {
  Tunnel tunnel;
  auto& client = *tunnel.client;
  auto& page = client.get("/page");
  tunnel.wait(page);
  tunnel.rig.sim.run_for(100s);
  CHECK(client.goaway == http2::H2Error::kNone);
  CHECK(client.over);
  tunnel.client = tunnel.open();
  auto& waiting = tunnel.client->get("/wait");
  tunnel.rig.sim.run_for(1s);
  CHECK(tunnel.site.waiting == 1);
  std::optional<Result<void>> drained;
  auto drain = [](Rig& rig, std::optional<Result<void>>& drained) -> Task<void> {
    drained = co_await rig.proxy->drain(Deadline::in(60s, rig.host.now()));
  };
  tunnel.rig.host.spawn(drain(tunnel.rig, drained));
  tunnel.rig.sim.run_for(1s);
  CHECK_FALSE(drained.has_value());
  tunnel.site.release.notify_all();
  tunnel.wait(waiting);
  CHECK(waiting.body == "a page");
  tunnel.rig.sim.run_for(10s);
  REQUIRE(drained.has_value());
  CHECK(drained->ok());
}
