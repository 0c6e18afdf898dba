#include "net/http/client.h"

#include <doctest/doctest.h>

#include "net/http/scripted_server.h"

using namespace d7y;
using namespace d7y::http;
using namespace std::chrono_literals;
using After = Reply::After;

namespace {

struct Answer {
  int status = 0;
  std::string body;
  std::string url;
  Headers trailers;
};

// A client on one host, a scripted server on another.
struct Net {
  explicit Net(std::uint64_t seed = 1, ClientOptions options = {}, sim::SimulationOptions world = {})
      : sim(seed, world),
        server_host(sim.add_host({.name = "server"})),
        other_host(sim.add_host({.name = "other"})),
        client_host(sim.add_host({.name = "client"})),
        server(server_host, 80),
        other(other_host, 80),
        client(client_host, std::move(options)) {}

  Result<Answer> fetch(Request request, Duration within = 100s, std::size_t step = 1000) {
    return sim.run(fetch_task(std::move(request), Deadline::in(within, sim.now()), step), 1000s);
  }
  Result<Answer> get(std::string url, Duration within = 100s) {
    Request request;
    request.url = std::move(url);
    return fetch(std::move(request), within);
  }

  Task<Result<Answer>> fetch_task(Request request, Deadline deadline, std::size_t step = 1000) {
    auto response = co_await client.fetch(std::move(request), deadline);
    if (!response) co_return std::move(response).error();
    Answer answer;
    answer.status = response->status();
    answer.url = response->url();
    std::vector<std::byte> buffer(step);
    while (true) {
      auto got = co_await response->read(buffer, deadline);
      if (!got) co_return std::move(got).error();
      if (*got == 0) break;
      answer.body += as_text(Bytes(buffer).first(*got));
    }
    answer.trailers = response->trailers();
    co_return std::move(answer);
  }

  sim::Simulation sim;
  sim::Host &server_host, &other_host, &client_host;
  ScriptedServer server, other;
  Client client;
};

}  // namespace

TEST_CASE("requests to one origin share a kept connection") {
  Net net;
  for (int i = 0; i < 3; ++i) net.server.replies.push_back({ok("body " + std::to_string(i))});
  for (int i = 0; i < 3; ++i) {
    auto answer = net.get("http://server/x?y=" + std::to_string(i));
    REQUIRE(answer.ok());
    CHECK(answer->body == "body " + std::to_string(i));
    CHECK(answer->url == "http://server/x?y=" + std::to_string(i));
  }
  CHECK(net.server.connections == 1);
  CHECK(net.client.idle_connections() == 1);
  CHECK(net.server.requests[0].starts_with("GET /x?y=0 HTTP/1.1\r\nHost: server\r\n"));
}

TEST_CASE("a kept connection is closed when it idles for too long") {
  ClientOptions options;
  options.idle_timeout = 10s;
  Net net(1, options);
  net.server.replies.push_back({ok("x")});
  REQUIRE(net.get("http://server/").ok());
  CHECK(net.client.idle_connections() == 1);
  net.sim.run_for(9s);
  CHECK(net.client.idle_connections() == 1);
  net.sim.run_for(2s);
  CHECK(net.client.idle_connections() == 0);
  CHECK(net.client.open_connections() == 0);
}

TEST_CASE("all ways to end a body are read to the last byte, whatever the network does to the bytes") {
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    Net net(seed, {}, {.fabric = {.link = {.latency = 2ms, .jitter = 3ms, .loss = 0.01}, .chop = 0.5}});
    const auto content = sim::random_bytes(300'000, seed);
    std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (std::size_t at = 0, size = 1; at < content.size(); at += size, size = size * 3 + 1) {
      const auto part = content.substr(at, size);
      chunked += chunk_header(part.size()) + part + "\r\n";
    }
    chunked += "0\r\nX-Sum: 1\r\n\r\n";
    net.server.replies.push_back({ok(content)});
    net.server.replies.push_back({chunked});
    net.server.replies.push_back({"HTTP/1.1 200 OK\r\n\r\n" + content, After::kClose});
    net.server.replies.push_back({"HTTP/1.1 204 No Content\r\n\r\n", After::kClose});
    for (int i = 0; i < 3; ++i) {
      auto answer = net.get("http://server/");
      REQUIRE(answer.ok());
      CHECK((answer->body == content));
      if (i == 1) CHECK(answer->trailers.get("X-Sum") == "1");
    }
    CHECK(net.server.connections == 1);
    auto nothing = net.get("http://server/");
    REQUIRE(nothing.ok());
    CHECK(nothing->body.empty());
  }
}

TEST_CASE("a body that breaks off is an error, never a short body") {
  for (auto [bytes, code] : {
           std::pair{std::string("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), ErrorCode::kReset},
           std::pair{std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
                     ErrorCode::kReset},
           std::pair{std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf"),
                     ErrorCode::kReset},
           std::pair{std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf"),
                     ErrorCode::kProtocol},
           std::pair{std::string("HTTP/1.1 200 OK\r\nContent-Le"), ErrorCode::kReset},
           std::pair{std::string(), ErrorCode::kReset},
           std::pair{std::string("SSH-2.0-OpenSSH_9\r\n"), ErrorCode::kProtocol},
       }) {
    CAPTURE(bytes);
    Net net;
    net.server.replies.push_back({bytes, After::kClose});
    net.server.replies.push_back({bytes, After::kClose});
    auto answer = net.get("http://server/x");
    REQUIRE(!answer.ok());
    CHECK(answer.error().code() == code);
    CHECK(answer.error().message().find("http://server/x") != std::string::npos);
    CHECK(net.client.open_connections() == 0);
  }
}

TEST_CASE("a server that falls silent is given up after the stall timeout, or at the deadline") {
  ClientOptions options;
  options.stall_timeout = 20s;
  options.head_timeout = 30s;
  Net net(1, options);
  net.server.replies.push_back({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", After::kSilence});
  auto begun = net.sim.now();
  auto answer = net.get("http://server/");
  CHECK(answer.failed_with(ErrorCode::kTimeout));
  CHECK(net.sim.now() - begun < 21s);

  net.server.replies.push_back({"", After::kSilence});
  begun = net.sim.now();
  answer = net.get("http://server/");
  CHECK(answer.failed_with(ErrorCode::kTimeout));
  CHECK(net.sim.now() - begun > 29s);
  CHECK(net.sim.now() - begun < 31s);

  net.server.replies.push_back({"", After::kSilence});
  begun = net.sim.now();
  answer = net.get("http://server/", 5s);
  CHECK(answer.failed_with(ErrorCode::kTimeout));
  CHECK(net.sim.now() - begun < 6s);
}

TEST_CASE("a request that meets a connection just being closed is sent again, once") {
  Net net;
  net.server.replies.push_back({ok("first")});
  net.server.replies.push_back({"", After::kReset});
  net.server.replies.push_back({ok("second")});
  CHECK(net.get("http://server/").ok());
  auto answer = net.get("http://server/");
  REQUIRE(answer.ok());
  CHECK(answer->body == "second");
  CHECK(net.server.connections == 2);

  net.server.replies.push_back({"", After::kReset});
  net.server.replies.push_back({"", After::kReset});
  net.server.replies.push_back({ok("never")});
  CHECK(net.get("http://server/").failed_with(ErrorCode::kReset));

  // A POST may have had its effect.
  net.server.replies = {{ok("")}, {"", After::kReset}, {ok("never")}};
  CHECK(net.get("http://server/").ok());
  Request post;
  post.method = "POST";
  post.url = "http://server/";
  post.body = "order";
  CHECK(net.fetch(std::move(post)).failed_with(ErrorCode::kReset));
}

TEST_CASE("at most the allowed number of connections to an origin, others wait their turn") {
  ClientOptions options;
  options.connections_per_origin = 2;
  Net net(1, options);
  for (int i = 0; i < 6; ++i) net.server.replies.push_back({ok("x")});
  auto all = [](Net& n, int& done) -> Task<void> {
    auto one = [](Net& m, int& count) -> Task<void> {
      Request request;
      request.url = "http://server/";
      auto answer = co_await m.fetch_task(std::move(request), Deadline::in(50s, m.sim.now()));
      if (answer) ++count;
    };
    Loop& loop = co_await this_loop();
    Scope scope(loop);
    for (int i = 0; i < 6; ++i) scope.spawn(one(n, done));
    (void)co_await scope.idle(Deadline::never());
  };
  int done = 0;
  CHECK(net.sim.run(all(net, done), 100s));
  CHECK(done == 6);
  CHECK(net.server.connections == 2);

  net.server.replies = {{"", After::kSilence}, {"", After::kSilence}};
  auto stuck = [](Net& n, Result<Answer>& last) -> Task<void> {
    auto hold = [](Net& m) -> Task<void> {
      Request request;
      request.url = "http://server/";
      (void)co_await m.fetch_task(std::move(request), Deadline::in(50s, m.sim.now()));
    };
    Loop& loop = co_await this_loop();
    Scope scope(loop);
    scope.spawn(hold(n));
    scope.spawn(hold(n));
    co_await sleep_for(1s);
    Request request;
    request.url = "http://server/";
    last = co_await n.fetch_task(std::move(request), Deadline::in(5s, n.sim.now()));
  };
  Result<Answer> last = Answer{};
  CHECK(net.sim.run(stuck(net, last), 100s));
  CHECK(last.failed_with(ErrorCode::kExhausted));
}

namespace {

// Serves one connection at a time, each for as long as the client keeps it.
Task<void> serve_one_by_one(sim::Host& host) {
  auto listener = std::move(host.network().listen(host.address(81), {}).value());
  std::vector<std::byte> buffer(10'000);
  for (;;) {
    auto accepted = co_await listener->accept(Deadline::never());
    if (!accepted) co_return;
    auto stream = std::move(accepted).value();
    for (;;) {
      auto got = co_await world::read_some(*stream, buffer, Deadline::never());
      if (!got || *got == 0) break;
      const std::string reply = ok("x");
      (void)co_await world::write_all(*stream, as_bytes(reply), Deadline::never());
    }
  }
}

}  // namespace

TEST_CASE("a server that serves one connection at a time gets no more kept ones than it can serve") {
  Net net;
  net.server_host.spawn(serve_one_by_one(net.server_host));
  auto all = [](Net& n, int& done) -> Task<void> {
    auto one = [](Net& m, int& count) -> Task<void> {
      Request request;
      request.url = "http://server:81/";
      auto answer = co_await m.fetch_task(std::move(request), Deadline::in(50s, m.sim.now()));
      if (answer && answer->body == "x") ++count;
    };
    Loop& loop = co_await this_loop();
    Scope scope(loop);
    for (int i = 0; i < 5; ++i) scope.spawn(one(n, done));
    (void)co_await scope.idle(Deadline::never());
  };
  int done = 0;
  CHECK(net.sim.run(all(net, done), 5s));
  CHECK(done == 5);
  CHECK(net.client.idle_connections() == 1);  // the last one: nobody waits
}

TEST_CASE("redirects are followed; credentials stay with their origin") {
  Net net;
  Request request;
  request.url = "http://user:pw@server/a";
  request.headers = {{"Authorization", "Bearer secret"}, {"Cookie", "c=1"}, {"X-Other", "2"}};
  net.server.replies.push_back({"HTTP/1.1 302 Found\r\nLocation: b?c\r\nContent-Length: 3\r\n\r\nxyz"});
  net.server.replies.push_back(
      {"HTTP/1.1 307 Go\r\nLocation: http://other/d#frag\r\nContent-Length: 0\r\n\r\n"});
  net.other.replies.push_back({ok("there")});
  auto answer = net.fetch(std::move(request));
  REQUIRE(answer.ok());
  CHECK(answer->body == "there");
  CHECK(answer->url == "http://other/d");
  CHECK(net.server.connections == 1);
  REQUIRE(net.server.requests.size() == 2);
  CHECK(net.server.requests[1].starts_with("GET /b?c "));
  CHECK(net.server.requests[1].find("Bearer secret") != std::string::npos);
  REQUIRE(net.other.requests.size() == 1);
  CHECK(net.other.requests[0].find("secret") == std::string::npos);
  CHECK(net.other.requests[0].find("Authorization") == std::string::npos);
  CHECK(net.other.requests[0].find("Cookie") == std::string::npos);
  CHECK(net.other.requests[0].find("X-Other: 2") != std::string::npos);
}

TEST_CASE("a Host of the request's own is for its URL's origin alone") {
  Net net;
  Request request;
  request.url = "http://server/a";
  request.host = "virtual:8080";
  net.server.replies.push_back({"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"});
  net.server.replies.push_back(
      {"HTTP/1.1 302 Found\r\nLocation: http://other/c\r\nContent-Length: 0\r\n\r\n"});
  net.other.replies.push_back({ok("there")});
  REQUIRE(net.fetch(request).ok());
  REQUIRE(net.server.requests.size() == 2);
  CHECK(net.server.requests[0].starts_with("GET /a HTTP/1.1\r\nHost: virtual:8080\r\n"));
  CHECK(net.server.requests[1].starts_with("GET /b HTTP/1.1\r\nHost: virtual:8080\r\n"));
  CHECK(net.other.requests[0].starts_with("GET /c HTTP/1.1\r\nHost: other\r\n"));
  for (auto wrong : {"a b", "a/b", "x@y", "a\r\nX: y"}) {
    CAPTURE(wrong);
    request.host = wrong;
    CHECK(net.fetch(request).failed_with(ErrorCode::kInvalid));
  }
  CHECK(net.server.requests.size() == 2);
}

TEST_CASE("redirects change the method as they should, and end") {
  Net net;
  Request post;
  post.method = "POST";
  post.url = "http://server/a";
  post.body = "data";
  post.headers = {{"Content-Type", "text/x"}};
  net.server.replies.push_back({"HTTP/1.1 303 See\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"});
  net.server.replies.push_back({ok("")});
  REQUIRE(net.fetch(post).ok());
  CHECK(net.server.requests[1].starts_with("GET /b "));
  CHECK(net.server.requests[1].find("Content-") == std::string::npos);

  net.server.replies.push_back({"HTTP/1.1 308 Moved\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"});
  net.server.replies.push_back({ok("")});
  REQUIRE(net.fetch(post).ok());
  CHECK(net.server.requests[3].starts_with("POST /b "));
  CHECK(net.server.requests[3].ends_with("\r\n\r\ndata"));

  for (int i = 0; i < 12; ++i) {
    net.server.replies.push_back({"HTTP/1.1 301 M\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"});
  }
  const auto before = net.server.requests.size();
  CHECK(net.get("http://server/").failed_with(ErrorCode::kProtocol));
  CHECK(net.server.requests.size() == before + 11);

  net.server.replies = {{"HTTP/1.1 301 M\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n"}};
  CHECK(net.get("http://server/").failed_with(ErrorCode::kUnsupported));

  Request once;
  once.url = "http://server/";
  once.redirects.limit = 0;
  net.server.replies = {{"HTTP/1.1 301 M\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"}};
  CHECK(net.fetch(std::move(once))->status == 301);
}

namespace {

class Counting : public BodyProducer {
 public:
  Counting(std::string content, bool announce) : content_(std::move(content)), announce_(announce) {}
  std::optional<std::uint64_t> length() const override {
    return announce_ ? std::optional<std::uint64_t>(content_.size()) : std::nullopt;
  }
  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline) override {
    const auto count = std::min({buffer.size(), content_.size() - at, std::size_t{1000}});
    std::memcpy(buffer.data(), content_.data() + at, count);
    at += count;
    co_return count;
  }
  std::size_t at = 0;

 private:
  std::string content_;
  bool announce_;
};

}  // namespace

TEST_CASE("bodies are sent whole, in chunks when their length is unknown") {
  Net net;
  const auto content = sim::random_bytes(5000, 3);
  Request request;
  request.method = "PUT";
  request.url = "http://server/";
  Counting counted(content, true);
  request.producer = &counted;
  net.server.replies.push_back({ok("1")});
  REQUIRE(net.fetch(request).ok());
  CHECK(net.server.requests[0].find("Content-Length: 5000\r\n") != std::string::npos);
  CHECK(net.server.requests[0].ends_with("\r\n\r\n" + content));

  Counting chunked(std::string(2500, 'x'), false);
  request.producer = &chunked;
  net.server.replies.push_back({ok("2")});
  REQUIRE(net.fetch(request).ok());
  CHECK(net.server.requests[1].find("Transfer-Encoding: chunked\r\n") != std::string::npos);
  CHECK(net.server.requests[1].ends_with("\r\n\r\n3e8\r\n" + std::string(1000, 'x') + "\r\n3e8\r\n" +
                                         std::string(1000, 'x') + "\r\n1f4\r\n" + std::string(500, 'x') +
                                         "\r\n0\r\n\r\n"));
  CHECK(net.server.connections == 1);
}

TEST_CASE("with 100-continue a refused body is not sent, and a silent server gets it after a second") {
  Net net;
  Request request;
  request.method = "PUT";
  request.url = "http://server/";
  request.expect_continue = true;
  request.body = "the body";
  net.server.replies.push_back({ok("taken")});
  auto taken = net.fetch(request);
  REQUIRE(taken.ok());
  CHECK(taken->body == "taken");
  CHECK(net.server.requests[0].ends_with("\r\n\r\nthe body"));

  net.server.replies.push_back({"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", After::kClose, true});
  auto refused = net.fetch(request);
  REQUIRE(refused.ok());
  CHECK(refused->status == 413);
  CHECK(net.server.requests[1].ends_with("\r\n\r\n"));
}

TEST_CASE("an answer that comes before the body is sent ends the sending") {
  Net net;
  Request request;
  request.method = "PUT";
  request.url = "http://server/";
  Counting endless(std::string(50'000'000, 'x'), true);
  request.producer = &endless;
  net.server.replies.push_back({"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", After::kReset, true});
  auto refused = net.fetch(request);
  CHECK(endless.at < 10'000'000);
  // The reset may overtake the answer; both tell the truth.
  if (refused) {
    CHECK(refused->status == 403);
  } else {
    CHECK(refused.failed_with(ErrorCode::kReset));
  }
}

TEST_CASE("interim answers are skipped, switching protocols hands the stream over") {
  Net net;
  net.server.replies.push_back(
      {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + ok("final")});
  CHECK(net.get("http://server/")->body == "final");

  net.server.replies.push_back(
      {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw bytes", After::kClose});
  auto upgrade = [](Net& n) -> Task<Result<std::string>> {
    Request request;
    request.url = "http://server/";
    request.headers = {{"Upgrade", "x"}, {"Connection", "upgrade"}};
    CO_TRY(auto response, co_await n.client.fetch(std::move(request), Deadline::never()));
    if (response.status() != 101) co_return error(ErrorCode::kProtocol, "status {}", response.status());
    auto stream = response.take_stream();
    std::string got(9, '\0');
    CO_OK(co_await world::read_exactly(*stream, as_mutable_bytes(got), Deadline::never()));
    co_return got;
  };
  CHECK(net.sim.run(upgrade(net), 10s).value() == "raw bytes");
  CHECK(net.client.open_connections() == 0);
}

TEST_CASE("plain http goes through a proxy in absolute form, https through CONNECT, both with credentials") {
  ClientOptions options;
  options.proxies =
      ProxySettings::from_variables(
          {.http_proxy = "http://u:p@other", .https_proxy = "http://u:p@other:80", .no_proxy = "server"})
          .value();
  options.proxies = ProxySettings::from_variables({.http_proxy = "http://u:p@other:80",
                                                   .https_proxy = "http://u:p@other:80",
                                                   .all_proxy = "",
                                                   .no_proxy = "server"})
                        .value();
  Net net(1, options);
  net.other.replies.push_back({ok("via proxy")});
  auto answer = net.get("http://elsewhere:8080/x?y");
  REQUIRE(answer.ok());
  CHECK(answer->body == "via proxy");
  CHECK(net.other.requests[0].starts_with(
      "GET http://elsewhere:8080/x?y HTTP/1.1\r\nHost: elsewhere:8080\r\n"));
  CHECK(net.other.requests[0].find("Proxy-Authorization: Basic dTpw\r\n") != std::string::npos);

  net.server.replies.push_back({ok("direct")});
  CHECK(net.get("http://server/")->body == "direct");
  CHECK(net.server.requests[0].find("Proxy-Auth") == std::string::npos);

  net.other.replies.push_back({"HTTP/1.1 200 Connected\r\n\r\nhello"});
  auto tunnel = [](Net& n) -> Task<Result<std::string>> {
    CO_TRY(auto stream,
           co_await n.client.tunnel("https", "secret.example", 443, Deadline::in(20s, n.sim.now())));
    std::string got(5, '\0');
    CO_OK(co_await world::read_exactly(*stream, as_mutable_bytes(got), Deadline::never()));
    co_return got;
  };
  CHECK(net.sim.run(tunnel(net), 100s).value() == "hello");
  CHECK(net.other.requests[1].starts_with(
      "CONNECT secret.example:443 HTTP/1.1\r\nHost: secret.example:443\r\n"));
  CHECK(net.other.requests[1].find("Proxy-Authorization: Basic dTpw\r\n") != std::string::npos);

  net.other.replies.push_back({"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n"});
  auto refused = net.sim.run(tunnel(net), 100s);
  CHECK(refused.failed_with(ErrorCode::kUnauthenticated));
  CHECK(refused.error().status() == 407);
  CHECK(refused.error().message().find("dTpw") == std::string::npos);
}

TEST_CASE("what cannot work is refused with a reason") {
  Net net;
  CHECK(net.get("nonsense").failed_with(ErrorCode::kInvalid));
  CHECK(net.get("ftp://server/").failed_with(ErrorCode::kUnsupported));
  CHECK(net.get("https://server/").failed_with(ErrorCode::kUnsupported));
  CHECK(net.get("http://nobody.invalid/").failed_with(ErrorCode::kRefused));
  CHECK(net.get("http://server:81/").failed_with(ErrorCode::kRefused));
  Request bad;
  bad.url = "http://server/";
  bad.headers = {{"X", "a\r\nb"}};
  CHECK(net.fetch(std::move(bad)).failed_with(ErrorCode::kInvalid));
  auto refused = net.get("http://me:hidden@server:81/x?token=hidden");
  REQUIRE(!refused.ok());
  CHECK(refused.error().message().find("hidden") == std::string::npos);
}

TEST_CASE("giving up a request leaves nothing behind") {
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    Net net(seed);
    for (int i = 0; i < 10; ++i) net.server.replies.push_back({ok(sim::random_bytes(1'000'000, seed))});
    auto abandoned = [](Net& n) -> Task<void> {
      Request request;
      request.url = "http://server/";
      (void)co_await n.fetch_task(std::move(request), Deadline::never());
    };
    (void)net.sim.run(abandoned(net), Duration(1ms) * static_cast<long>(seed % 17));
    CHECK(net.client.open_connections() == net.client.idle_connections());
    CHECK(net.get("http://server/").ok());
  }
}
