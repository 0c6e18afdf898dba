#include <nlohmann/json.hpp>

#include "rig.h"
#include "support/certificates.h"

using namespace proxy_test;

namespace {

// Talks to the proxy in bytes.
Task<Result<std::string>> converse(Rig& rig, std::string request, bool end_after, Duration patience = 5s) {
  world::ConnectOptions options;
  CO_TRY(auto stream,
         co_await rig.client_host.network().connect(rig.host.address(4001), options, Deadline::never()));
  CO_OK(co_await world::write_all(*stream, as_bytes(request), Deadline::never()));
  std::string answer;
  std::vector<std::byte> buffer(4096);
  for (;;) {
    auto got = co_await world::read_some(*stream, buffer, Deadline::in(patience, rig.client_host.now()));
    if (!got || *got == 0) co_return answer + (end_after && got ? "(end)" : "");
    answer.append(as_text(Bytes(buffer).first(*got)));
    if (end_after && answer.ends_with("THERE")) stream->finish_writing();
  }
}

std::string raw(Rig& rig, const std::string& request, Duration limit = 5s) {
  auto answer = rig.sim.run(converse(rig, request, false, limit), limit + 60s);
  REQUIRE(answer.ok());
  return *answer;
}

int status_in(const std::string& answer) {
  return answer.size() > 12 && answer.starts_with("HTTP/1.") ? std::stoi(answer.substr(9, 3)) : 0;
}

// Takes connections and sends back what comes, in upper case.
Task<void> shout(world::World& world, std::uint16_t port) {
  auto listener = world.network().listen(Address::ipv4({}, port), {});
  REQUIRE(listener.ok());
  for (;;) {
    auto stream = co_await (*listener)->accept(Deadline::never());
    if (!stream) co_return;
    std::vector<std::byte> buffer(100);
    for (;;) {
      auto got = co_await world::read_some(**stream, buffer, Deadline::never());
      if (!got || *got == 0) break;
      for (auto& byte : std::span(buffer).first(*got))
        byte = static_cast<std::byte>(std::toupper(static_cast<int>(byte)));
      (void)co_await world::write_all(**stream, Bytes(buffer).first(*got), Deadline::never());
    }
    (*stream)->finish_writing();
  }
}

}  // namespace

TEST_CASE("absolute URLs go where they say, whatever Host says") {
  Rig rig;
  rig.origin.serve("/x", "content");
  auto answer = raw(
      rig, "GET " + rig.origin.url("/x") + " HTTP/1.1\r\nHost: elsewhere.test\r\nConnection: close\r\n\r\n");
  CHECK(status_in(answer) == 200);
  CHECK(answer.ends_with("content"));
  CHECK(rig.origin.log().back().headers.at("host") == rig.origin_host.address(80).ip());
  CHECK(status_in(raw(rig, "GET ftp://x.test/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 400);
}

TEST_CASE("CONNECT is a tunnel for bytes, both ways, until both sides have ended") {
  Rig rig;
  rig.origin_host.spawn(shout(rig.origin_host, 700));
  auto target = rig.origin_host.address(700).to_string();
  auto request = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
  auto answer = rig.sim.run(converse(rig, request + "hello \x16\x03\x01 there", true), 60s);
  REQUIRE(answer.ok());
  CHECK(status_in(*answer) == 200);
  CHECK(answer->find("\r\n\r\nHELLO \x16\x03\x01 THERE(end)") != std::string::npos);
  for (auto bad : {"host", "http://x.test/", "u@x.test:1", "x.test:99999", "x.test:1/path"})
    CHECK_MESSAGE(status_in(raw(rig, std::string("CONNECT ") + bad +
                                         " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 400,
                  bad);
  auto nobody = rig.client_host.address(9).to_string();
  CHECK(status_in(raw(rig, "CONNECT " + nobody + " HTTP/1.1\r\nHost: x\r\n\r\n")) == 502);
}

TEST_CASE("a tunnel whose client leaves is closed towards its origin") {
  Rig rig;
  rig.origin_host.spawn(shout(rig.origin_host, 700));
  auto target = rig.origin_host.address(700).to_string();
  auto answer = raw(rig, "CONNECT " + target + " HTTP/1.1\r\nHost: x\r\n\r\nhello");
  CHECK(status_in(answer) == 200);
  rig.sim.run_for(5s);
  CHECK(rig.server->numbers().connections == 0);
}

TEST_CASE("an upgrade passes through, one that would hide requests does not") {
  struct Socket final : http::Handler {
    std::vector<std::string> asked;
    Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
      asked.emplace_back(request.headers().get("Upgrade").value_or("none"));
      if (asked.back() != "websocket") {
        (void)co_await responder.send(200, "text/plain", "no");
        co_return;
      }
      http::ResponseHead head;
      head.status = 101;
      head.headers = {{"Connection", "Upgrade"}, {"Upgrade", "websocket"}};
      auto stream = co_await responder.take_stream(std::move(head));
      std::vector<std::byte> buffer(100);
      auto got = co_await world::read_some(**stream, buffer, Deadline::never());
      (void)co_await world::write_all(**stream, Bytes(buffer).first(*got), Deadline::never());
    }
  } socket;
  Rig rig;
  http::Server far(rig.origin_host, socket, {});
  auto listener = std::move(*rig.origin_host.network().listen(rig.origin_host.address(800), {}));
  rig.origin_host.spawn(far.serve(*listener));
  auto url = "http://" + rig.origin_host.address(800).to_string() + "/chat";
  auto answer = raw(
      rig, "GET " + url + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes");
  CHECK(status_in(answer) == 101);
  CHECK(answer.ends_with("\r\n\r\nframes"));
  auto hidden = raw(rig, "GET " + url +
                             " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                             "HTTP2-Settings: x\r\n\r\n");
  CHECK(status_in(hidden) == 200);
  CHECK(socket.asked == std::vector<std::string>{"websocket", "none"});
}

TEST_CASE("a proxy with credentials wants them, and keeps them") {
  auto options = Rig::standard();
  options.credentials = http::basic_credentials("user", "secret");
  Rig rig(1, options);
  rig.origin.serve("/x", "content");
  CHECK(rig.get("/x").head.status == 401);
  CHECK(rig.get("/x").header("WWW-Authenticate") == "Basic realm=\"d7y\"");
  auto absolute = "GET " + rig.origin.url("/x") + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
  CHECK(status_in(raw(rig, absolute + "\r\n")) == 407);
  CHECK(status_in(raw(rig, absolute + "Proxy-Authorization: Basic d3Jvbmc=\r\n\r\n")) == 407);
  CHECK(status_in(raw(rig, "CONNECT x.test:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 407);
  CHECK(rig.origin.requests() == 0);
  for (auto name : {"Proxy-Authorization", "Authorization"}) {
    CHECK(status_in(raw(rig, absolute + name + ": " + options.credentials + "\r\n\r\n")) == 200);
    for (const auto& [header, value] : rig.origin.log().back().headers) CHECK(value != options.credentials);
  }
}

TEST_CASE("more requests than the limit are refused, and taken again later") {
  auto options = Rig::standard();
  options.requests_per_second = 5;
  Rig rig(1, options);
  rig.origin.serve("/x", "content");
  int refused = 0;
  for (int i = 0; i < 10; ++i) refused += rig.get("/x").head.status == 429;
  CHECK(refused > 0);
  CHECK(refused <= 5);
  rig.sim.run_for(2s);
  CHECK(rig.get("/x").head.status == 200);
}

TEST_CASE("what could be read in two ways is refused and reaches nobody") {
  Rig rig;
  rig.origin.serve("/x", "content");
  rig.origin.serve("/admin", "secret");
  const std::string line = "POST " + rig.origin.url("/x") + " HTTP/1.1\r\nHost: a\r\n";
  const std::string inner = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string cases[] = {
      line + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
      line + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + inner,
      line + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde" + inner,
      line + "Content-Length: 4, 5\r\n\r\nabcde" + inner,
      line + "Content-Length: +4\r\n\r\nabcd" + inner,
      line + "Content-Length: 4a\r\n\r\nabcd" + inner,
      line + "Content-Length: -1\r\n\r\n" + inner,
      line + "Content-Length: 99999999999999999999\r\n\r\n" + inner,
      line + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
      line + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
      line + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
      line + "Transfer-Encoding: identity\r\n\r\n" + inner,
      line + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + inner,
      line +
          "Transfer-Encoding:\x0b"
          "chunked\r\n\r\n0\r\n\r\n" +
          inner,
      line + "X: a\r\n Transfer-Encoding: chunked\r\n\r\n" + inner,
      line + "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
      line + "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
      line + "X: a" + std::string(1, '\0') + "b\r\n\r\n" + inner,
      line + "Transfer-Encoding: chunked\r\n\r\n4 \r\nabcd\r\n0\r\n\r\n",
      line + "Transfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n",
      line + "Transfer-Encoding: chunked\r\n\r\n4\nabcd\n0\n\n",
      line + "Transfer-Encoding: chunked\r\n\r\n4\r\nabcdX\r\n0\r\n\r\n",
      "POST " + rig.origin.url("/x") + " HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
          inner,
      "GET " + rig.origin.url("/x") + " HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET " + rig.origin.url("/x") + " HTTP/1.1\r\n\r\n",
      "GET " + rig.origin.url("/x") + " HTTP/1.1 \r\nHost: a\r\n\r\n",
      "GET " + rig.origin.url("/x") + "\r\nHost: a\r\n\r\n",
      "GET " + rig.origin.url("/x") + " HTTP/2.0\r\nHost: a\r\n\r\n",
      "GET\t" + rig.origin.url("/x") + " HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET " + rig.origin.url("/x\x01") + " HTTP/1.1\r\nHost: a\r\n\r\n",
  };
  for (const auto& request : cases) {
    CAPTURE(request);
    const auto before = rig.origin.log().size();
    auto answer = raw(rig, request);
    CHECK(status_in(answer) >= 400);
    CHECK(answer.find("secret") == std::string::npos);
    for (auto i = before; i < rig.origin.log().size(); ++i) CHECK(rig.origin.log()[i].target != "/admin");
  }
}

TEST_CASE("floods of headers and clients that dawdle get their status and lose their connection") {
  Rig rig;
  std::string many = "GET /x HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 500; ++i) many += "X-" + std::to_string(i) + ": y\r\n";
  CHECK(status_in(raw(rig, many + "\r\n")) == 431);
  CHECK(status_in(raw(rig, "GET /x HTTP/1.1\r\nHost: a\r\nX: " + std::string(80'000, 'y') + "\r\n\r\n")) ==
        431);
  CHECK(status_in(raw(rig, "GET /" + std::string(20'000, 'y') + " HTTP/1.1\r\nHost: a\r\n\r\n")) == 414);
  auto slow = [](Rig& rig) -> Task<Result<std::string>> {
    world::ConnectOptions options;
    CO_TRY(auto stream,
           co_await rig.client_host.network().connect(rig.host.address(4001), options, Deadline::never()));
    CO_OK(co_await world::write_all(*stream, as_bytes("GET /x HTTP/1.1\r\nX: "), Deadline::never()));
    std::string answer;
    std::vector<std::byte> buffer(4096);
    for (;;) {
      (void)co_await world::write_all(*stream, as_bytes("y"), Deadline::never());
      auto got = co_await world::read_some(*stream, buffer, Deadline::in(1s, rig.client_host.now()));
      if (got.failed_with(ErrorCode::kTimeout)) continue;
      if (!got || *got == 0) co_return answer;
      answer.append(as_text(Bytes(buffer).first(*got)));
    }
  };
  auto answer = rig.sim.run(slow(rig), 120s);
  REQUIRE(answer.ok());
  CHECK(status_in(*answer) == 408);
}

TEST_CASE("on the registry's API every refusal has the registry's form and says why") {
  Rig rig;
  auto body_of = [](const std::string& answer) {
    auto end = answer.find("\r\n\r\n");
    return end == std::string::npos ? std::string() : answer.substr(end + 4);
  };
  struct Case {
    std::string request;
    int status;
    const char* why;
  };
  const std::string path = "/v2/team/app/manifests/1";
  const Case cases[] = {
      {"GET " + path + " HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "2 Host headers"},
      {"GET " + path + " HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "malformed"},
      {"GET http://a" + path + " HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "malformed"},
      {"POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       400, ""},
      {"GET " + path + " HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP/1.1"},
      {"GET " + path + " HTTP/1.1\nHost: a\n\n", 400, "malformed"},
      {"BREW " + path + " HTTP/1.1\r\nHost: a\r\n\r\n", 501, "unknown method"},
      {"GET " + path + " HTTP/1.1\r\nHost: a\r\nX: " + std::string(80'000, 'y') + "\r\n\r\n", 431,
       "head over"},
      {"GET /v2/" + std::string(20'000, 'y') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target over"},
      {"PUT " + path + " HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417, "expectation"},
      {"GET " + path + " HTTP/1.1\r\nX: dawdling", 408, "too long"},
      {"PUT " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nslow", 408, "too long"},
      {"PUT " + path + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.request.substr(0, 120));
    auto answer = raw(rig, each.request, 100s);
    CHECK(status_in(answer) == each.status);
    CHECK(answer.find("Content-Type: application/json\r\n") != std::string::npos);
    CHECK(answer.find("X-Dragonfly-Error-Type: proxy\r\n") != std::string::npos);
    auto json = nlohmann::json::parse(body_of(answer), nullptr, false);
    REQUIRE(json.is_object());
    CHECK(json["errors"][0]["code"].is_string());
    CHECK(json["errors"][0]["message"].get<std::string>().find(each.why) != std::string::npos);
  }
  // Elsewhere it is text.
  auto text = raw(rig, "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
  CHECK(text.find("Content-Type: text/plain") != std::string::npos);
}

TEST_CASE("an origin that is silent, or does not speak HTTP, is what the answer says") {
  auto options = Rig::standard();
  Rig rig(1, options);
  struct Far {
    static Task<void> serve(world::World& world, std::uint16_t port, std::string answer) {
      auto listener = world.network().listen(Address::ipv4({}, port), {});
      REQUIRE(listener.ok());
      std::vector<std::unique_ptr<world::Stream>> kept;
      for (;;) {
        auto stream = co_await (*listener)->accept(Deadline::never());
        if (!stream) co_return;
        if (!answer.empty()) {
          std::vector<std::byte> buffer(1000);
          (void)co_await world::read_some(**stream, buffer, Deadline::never());
          (void)co_await world::write_all(**stream, as_bytes(answer), Deadline::never());
        }
        kept.push_back(std::move(*stream));
      }
    }
  };
  rig.origin_host.spawn(Far::serve(rig.origin_host, 701, ""));
  rig.origin_host.spawn(Far::serve(rig.origin_host, 702, "SSH-2.0-x\r\n\r\n"));
  rig.origin_host.spawn(Far::serve(rig.origin_host, 703, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"));
  const std::string manifest = "/v2/team/app/manifests/1",
                    blob = "/v2/team/app/blobs/sha256:" + sha256_of("x");
  for (const auto& path : {manifest, blob}) {
    for (std::uint16_t port : {701, 702, 703}) {
      CAPTURE(path);
      CAPTURE(port);
      auto answer = rig.get(path + "?ns=http://" + rig.origin_host.address(port).to_string(), {}, 600s);
      CHECK(answer.head.status == (port == 701 ? 504 : 502));
      CHECK(answer.header("X-Dragonfly-Error-Type") == "backend");
      auto json = nlohmann::json::parse(answer.body, nullptr, false);
      REQUIRE(json.is_object());
      CHECK(json["errors"][0]["message"].get<std::string>().size() > 10);
    }
  }
}

TEST_CASE("uploads pass through, of known and of unknown length") {
  struct Sink final : http::Handler {
    std::string got;
    Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
      auto body = co_await request.read_all(64_MiB, Deadline::never());
      got = body ? *body : body.error().message();
      (void)co_await responder.send(201, "", "");
    }
  } sink;
  Rig rig;
  http::ServerOptions options;
  options.max_body = 64_MiB;
  http::Server far(rig.origin_host, sink, options);
  auto listener = std::move(*rig.origin_host.network().listen(rig.origin_host.address(800), {}));
  rig.origin_host.spawn(far.serve(*listener));
  auto content = random_bytes(20_MiB);
  auto request =
      rig.request("/v2/a/blobs/uploads/1?ns=http://" + rig.origin_host.address(800).to_string(), {}, "PUT");
  request.body = content;
  CHECK(rig.send(std::move(request)).head.status == 201);
  CHECK(sink.got == content);
  auto answer =
      raw(rig, "PUT http://" + rig.origin_host.address(800).to_string() +
                   "/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                   "5\r\nhello\r\n0\r\n\r\n");
  CHECK(status_in(answer) == 201);
  CHECK(sink.got == "hello");
}

TEST_CASE("a client that asks before it sends a body is answered by the origin") {
  struct Doorkeeper final : http::Handler {
    Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
      const bool open = request.path() == "/open";
      if (open) (void)co_await request.read_all(1_MiB, Deadline::never());
      const int status = open ? 201 : 401;
      (void)co_await responder.send(status, "", "");
    }
  } doorkeeper;
  Rig rig;
  http::Server far(rig.origin_host, doorkeeper, {});
  auto listener = std::move(*rig.origin_host.network().listen(rig.origin_host.address(800), {}));
  rig.origin_host.spawn(far.serve(*listener));
  const auto ask = [&](const std::string& path) {
    return raw(rig, "PUT http://" + rig.origin_host.address(800).to_string() + path +
                        " HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  };
  CHECK(status_in(ask("/shut")) == 401);
  CHECK(status_in(ask("/open")) == 100);
}

TEST_CASE("behind a ranged request the whole is fetched, once, if that is wished") {
  auto options = Rig::standard();
  options.prefetch = true;
  Rig rig(1, options);
  auto content = random_bytes(24_MiB);
  auto path = rig.add_blob(content);
  CHECK(rig.get(path, {{"Range", "bytes=0-9"}, {"X-Dragonfly-Prefetch", "false"}}).head.status == 206);
  rig.sim.run_for(10s);
  CHECK_FALSE(rig.store->summary(sha256_of(content))->finished);
  CHECK(rig.get(path, {{"Range", "bytes=0-9"}}).head.status == 206);
  rig.sim.run_for(10s);
  CHECK(rig.store->summary(sha256_of(content))->finished);
  CHECK(rig.metrics.expose().find(
            "dragonfly_client_prefetch_task_total{type=\"0\",tag=\"\",app=\"\",priority=\"0\"} 1") !=
        std::string::npos);
}

TEST_CASE("a tunnel that is opened serves what is asked inside like any other request") {
  test::Authority ours("Proxy Authority"), theirs("Origin Authority");
  struct Site final : http::Handler {
    std::string blob = random_bytes(3_MiB);
    int requests = 0;
    Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
      ++requests;
      http::ResponseHead head;
      if (request.path().find("/blobs/") == std::string_view::npos) {
        (void)co_await responder.send(200, "text/plain",
                                      "page of " + std::string(*request.headers().get("Host")));
        co_return;
      }
      (void)co_await responder.send(std::move(head), blob);
    }
  } site;
  auto options = Rig::standard();
  options.intercept = {"//origin[:/]"};
  options.authority = ours.identity();
  Rig rig(1, options, theirs.pem());
  http::ServerOptions tls;
  const auto now = rig.sim.wall_now();
  tls.tls = *net::TlsContext::server(
      {.identity = theirs.issue({.alternative_names = "DNS:origin", .from = now - 24h, .until = now + 24h})});
  http::Server far(rig.origin_host, site, tls);
  auto listener = std::move(*rig.origin_host.network().listen(rig.origin_host.address(443), {}));
  rig.origin_host.spawn(far.serve(*listener));

  http::ClientOptions through;
  http::ProxyVariables variables;
  variables.https_proxy = "http://" + rig.host.address(4001).to_string();
  through.proxies = *http::ProxySettings::from_variables(variables);
  through.tls = [&] { return net::TlsContext::client({.trust_pem = {ours.pem()}}); };
  http::Client client(rig.client_host, through);
  auto get = [&](const std::string& url) {
    auto run = [](http::Client& client,
                  std::string url) -> Task<Result<std::pair<http::ResponseHead, std::string>>> {
      http::Request request;
      request.url = url;
      CO_TRY(auto response, co_await client.fetch(std::move(request), Deadline::never()));
      CO_TRY(auto body, co_await response.read_all(64_MiB, Deadline::never()));
      co_return std::pair(response.head(), std::move(body));
    };
    return rig.sim.run(run(client, url), 60s);
  };
  auto page = get("https://origin/page");
  REQUIRE_MESSAGE(page.ok(), page.error().message());
  CHECK(page->second == "page of origin");
  auto blob = "https://origin/v2/a/blobs/sha256:" + sha256_of(site.blob);
  auto first = get(blob);
  REQUIRE_MESSAGE(first.ok(), first.error().message());
  CHECK(first->second == site.blob);
  CHECK(first->first.headers.get("X-Dragonfly-Task-ID") == sha256_of(site.blob));
  const auto asked = site.requests;
  CHECK(get(blob)->second == site.blob);
  CHECK(site.requests == asked);
  // Other hosts' tunnels stay closed, so the origin's own certificate is seen, which this client does not
  // trust.
  auto other = get("https://" + rig.origin_host.address(443).to_string() + "/page");
  CHECK(other.failed_with(ErrorCode::kUnauthenticated));
  client.close_idle();
  CHECK(rig.sim.run(rig.proxy->drain(Deadline::in(5s, rig.host.now())), 10s).ok());
}
