#include "source/http_backend.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "http/scripted_server.h"
#include "source/retry.h"

using namespace d7y;
using namespace d7y::source;
using namespace std::chrono_literals;
using After = http::Reply::After;

namespace {

std::string part(std::string body, std::string range, std::string headers = {}) {
  return "HTTP/1.1 206 Partial\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nContent-Range: bytes " + range + "\r\n" + headers + "\r\n" + body;
}

struct Got {
  std::string bytes;
  Info info;
};

struct Net {
  explicit Net(HttpBackendOptions options = {})
      : server_host(sim.add_host({.name = "server"})),
        client_host(sim.add_host({.name = "client"})),
        server(server_host, 80),
        mirror(sim.add_host({.name = "mirror"}), 80),
        client(client_host, {}) {
    auto http = std::make_shared<HttpBackend>(client, std::move(options));
    sources.add("http", http);
  }

  Result<Got> read(Span span, Version pinned = {}, std::string url = "http://server/x?sig=1") {
    return sim.run(read_task(span, std::move(pinned), std::move(url)), 1000s);
  }
  Task<Result<Got>> read_task(Span span, Version pinned, std::string url) {
    Request request;
    request.url = std::move(url);
    request.headers = {{"X-Own", "1"}, {"Range", "bytes=7-8"}, {"Authorization", authorization}};
    const auto deadline = Deadline::in(100s, sim.now());
    CO_TRY(auto body, co_await sources.read(request, span, pinned, deadline));
    Got got;
    got.info = body->info();
    std::vector<std::byte> buffer(100);
    while (true) {
      auto count = co_await body->read(buffer, deadline);
      if (!count) co_return std::move(count).error();
      if (*count == 0) break;
      got.bytes += as_text(Bytes(buffer).first(*count));
    }
    co_return std::move(got);
  }
  Result<Info> stat(std::string url = "http://server/x") {
    Request request;
    request.url = std::move(url);
    return sim.run(sources.stat(request, Deadline::in(100s, sim.now())), 1000s);
  }
  bool asked(std::size_t i, std::string_view part) const {
    return i < server.requests.size() && server.requests[i].find(part) != std::string::npos;
  }

  std::string authorization = "Bearer mine";
  sim::Simulation sim{1};
  sim::Host &server_host, &client_host;
  http::ScriptedServer server, mirror;
  http::Client client;
  Sources sources;
};

}  // namespace

TEST_CASE("one HEAD is enough where the origin says length and ranges") {
  Net net;
  net.server.replies.push_back(
      {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nAccept-Ranges: bytes\r\nETag: \"v1\"\r\nLast-Modified: "
       "yesterday\r\n"
       "Content-Type: text/x\r\n\r\n"});
  auto info = net.stat();
  REQUIRE(info.ok());
  CHECK(info->length == 1000);
  CHECK(info->accepts_ranges);
  CHECK(info->version == Version{"\"v1\"", "yesterday", 1000});
  CHECK(info->content_type == "text/x");
  CHECK(info->status == 200);
  CHECK(net.asked(0, "HEAD /x HTTP/1.1\r\n"));
  CHECK(net.asked(0, "User-Agent: d7y/"));
  CHECK(net.asked(0, "Accept-Encoding: identity\r\n"));
  CHECK(net.server.requests.size() == 1);
}

TEST_CASE("an origin that refuses HEAD or says too little is asked for its first byte") {
  for (auto refusal : {"400 No", "403 Forbidden", "404 Not Found", "405 No", "406 No", "500 No", "501 No",
                       "502 No", "204 Nothing", "302 Found"}) {
    Net net;
    net.server.replies.push_back({std::string("HTTP/1.1 ") + refusal + "\r\nContent-Length: 0\r\n\r\n"});
    net.server.replies.push_back({part("x", "0-0/5000", "ETag: \"v\"\r\n")});
    auto info = net.stat();
    REQUIRE(info.ok());
    CHECK(info->length == 5000);
    CHECK(info->accepts_ranges);
    CHECK(info->headers.get("Content-Length") == "5000");
    CHECK(!info->headers.has("Content-Range"));
    CHECK(net.asked(1, "Range: bytes=0-0\r\n"));
  }
  for (auto after : {After::kClose, After::kReset}) {
    Net net;
    net.server.replies.push_back({"", after});
    net.server.replies.push_back({part("x", "0-0/5000")});
    auto info = net.stat();
    REQUIRE(info.ok());
    CHECK(info->length == 5000);
  }
  for (auto sure : {401, 410, 429, 503}) {
    Net net;
    net.server.replies.push_back({fmt::format("HTTP/1.1 {} No\r\nContent-Length: 0\r\n\r\n", sure)});
    CHECK(net.stat().error().status() == sure);
    CHECK(net.server.requests.size() == 1);
  }
  {
    Net net;  // HEAD has no body, but GET has
    net.server.replies.push_back({"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccept-Ranges: bytes\r\n\r\n"});
    net.server.replies.push_back({part("x", "0-0/5000")});
    CHECK(net.stat()->length == 5000);
  }
  Net net;  // HEAD without Accept-Ranges; the origin sends no ranges
  net.server.replies.push_back({"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"});
  net.server.replies.push_back({http::ok("full")});
  auto info = net.stat();
  REQUIRE(info.ok());
  CHECK(info->length == 4);
  CHECK(!info->accepts_ranges);

  // Empty objects have no first byte.
  net.server.replies.push_back({"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"});
  net.server.replies.push_back(
      {"HTTP/1.1 416 No\r\nContent-Range: bytes */0\r\nContent-Length: 3\r\n\r\nno."});
  info = net.stat();
  REQUIRE(info.ok());
  CHECK(info->length == 0);
  CHECK(info->status == 200);

  // Chunked: the length is not known.
  net.server.replies.push_back({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"});
  net.server.replies.push_back(
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n"});
  info = net.stat();
  REQUIRE(info.ok());
  CHECK(!info->length.has_value());
}

TEST_CASE("a span is read as it was asked for") {
  Net net;
  net.server.replies.push_back({part("0123456789", "100-109/1000", "ETag: \"v1\"\r\n")});
  auto got = net.read(Span{100, 10}, Version{"\"v1\"", "", 1000});
  REQUIRE(got.ok());
  CHECK(got->bytes == "0123456789");
  CHECK(got->info.length == 1000);
  CHECK(got->info.version.etag == "\"v1\"");
  CHECK(net.asked(0, "Range: bytes=100-109\r\n"));
  CHECK(!net.asked(0, "bytes=7-8"));
  CHECK(net.asked(0, "If-Match: \"v1\"\r\n"));
  CHECK(net.asked(0, "X-Own: 1\r\n"));

  net.server.replies.push_back({part("789", "997-999/1000")});  // the object ends inside the span
  CHECK(net.read(Span{997, 10})->bytes == "789");
  net.server.replies.push_back({part("789", "997-999/1000")});
  CHECK(net.read(Span{997, std::nullopt})->bytes == "789");
  CHECK(net.asked(2, "Range: bytes=997-\r\n"));
  net.server.replies.push_back({http::ok("everything")});
  CHECK(net.read(Span{})->bytes == "everything");
  CHECK(!net.asked(3, "Range"));
  net.server.replies.push_back({http::ok("everything")});  // no ranges there, but from the start that is fine
  auto whole = net.read(Span{0, 4});
  CHECK(whole->bytes == "everything");
  CHECK(!whole->info.accepts_ranges);
  net.server.replies.push_back({"HTTP/1.1 416 No\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n\r\n"});
  auto empty = net.read(Span{0, 4});
  REQUIRE(empty.ok());
  CHECK(empty->bytes.empty());
  CHECK(empty->info.length == 0);
}

TEST_CASE("an answer that is not what was asked for is refused") {
  struct Case {
    std::string reply;
    Span span;
    ErrorCode code;
  };
  const Span ten{100, 10};
  for (const auto& c : {
           Case{part("0123456789", "101-110/1000"), ten, ErrorCode::kProtocol},
           Case{part("012345678", "100-108/1000"), ten, ErrorCode::kProtocol},
           Case{part("0123456789a", "100-110/1000"), ten, ErrorCode::kProtocol},
           Case{part("01234", "100-109/1000"), ten, ErrorCode::kProtocol},
           Case{part("0123456789", "items"), ten, ErrorCode::kProtocol},
           Case{part("0123456789", "*/1000"), ten, ErrorCode::kProtocol},
           Case{part("0123456789", "100-109/1000", "Content-Range: bytes 100-109/1000\r\n"), ten,
                ErrorCode::kProtocol},
           Case{"HTTP/1.1 206 P\r\nContent-Length: 10\r\n\r\n0123456789", ten, ErrorCode::kProtocol},
           Case{"HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes "
                "100-109/1000\r\n\r\n4\r\nhalf\r\n0\r\n\r\n",
                ten, ErrorCode::kReset},
           Case{"HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 100-109/1000\r\n\r\n"
                "b\r\n0123456789X\r\n0\r\n\r\n",
                ten, ErrorCode::kProtocol},
           Case{http::ok("everything"), ten, ErrorCode::kUnsupported},
           Case{part("0123456789", "0-9/1000"), Span{}, ErrorCode::kProtocol},
           Case{"HTTP/1.1 416 No\r\nContent-Range: bytes */50\r\nContent-Length: 0\r\n\r\n", ten,
                ErrorCode::kPrecondition},
           Case{"HTTP/1.1 204 No\r\n\r\n", Span{}, ErrorCode::kProtocol},
       }) {
    CAPTURE(c.reply);
    Net net;
    net.server.replies.push_back({c.reply});
    auto got = net.read(c.span);
    REQUIRE(!got.ok());
    CHECK(got.error().code() == c.code);
  }
}

TEST_CASE("another version than the pinned one is never mixed in") {
  const Version pinned{"\"v1\"", "monday", 1000};
  for (const auto& reply : {
           part("0123456789", "100-109/1001", "ETag: \"v1\"\r\n"),
           part("0123456789", "100-109/1000", "ETag: \"v2\"\r\n"),
           part("0123456789", "100-109/1000", "Last-Modified: tuesday\r\n"),
           std::string("HTTP/1.1 412 Changed\r\nContent-Length: 0\r\n\r\n"),
           std::string("HTTP/1.1 416 No\r\nContent-Range: bytes */50\r\nContent-Length: 0\r\n\r\n"),
       }) {
    CAPTURE(reply);
    Net net;
    net.server.replies.push_back({reply});
    auto got = net.read(Span{100, 10}, pinned);
    REQUIRE(!got.ok());
    CHECK(got.error().code() == ErrorCode::kChanged);
    CHECK(!is_retryable(got.error()));
  }
  Net net;
  net.server.replies.push_back({http::ok("other content")});
  CHECK(net.read(Span{}, pinned).failed_with(ErrorCode::kChanged));
  // What the origin does not say cannot disagree.
  net.server.replies.push_back({part("0123456789", "100-109/*", "ETag: W/\"v9\"\r\n")});
  CHECK(net.read(Span{100, 10}, pinned).ok());
  net.server.replies.push_back({part("0123456789", "100-109/1000")});
  CHECK(net.read(Span{100, 10}, Version{"", "monday", {}}).ok());
  CHECK(net.asked(2, "If-Unmodified-Since: monday\r\n"));
}

TEST_CASE("requests for more of a version go where a redirect led, as long as that is of use") {
  Net net;
  const std::string away = "HTTP/1.1 302 Found\r\nLocation: http://mirror/m\r\nContent-Length: 0\r\n\r\n";
  const auto at_server = [&] { return net.server.requests.size(); };
  const auto at_mirror = [&] { return net.mirror.requests.size(); };
  for (int i = 0; i < 20; ++i) net.server.replies.push_back({away});
  const auto mirror_says = [&](std::string reply) { net.mirror.replies.push_back({std::move(reply)}); };
  const std::string tag = "ETag: \"a\"\r\n";
  mirror_says(part("0123", "0-3/8", tag));
  const auto first = net.read(Span{0, 4});
  REQUIRE(first.ok());
  const auto version = first->info.version;

  mirror_says(part("45", "4-5/8", tag));
  CHECK(net.read(Span{4, 2}, version)->bytes == "45");
  CHECK(at_server() == 1);
  REQUIRE(at_mirror() == 2);
  CHECK(net.mirror.requests[1].starts_with("GET /m HTTP/1.1\r\nHost: mirror\r\n"));
  CHECK(net.mirror.requests[1].find("If-Match: \"a\"\r\n") != std::string::npos);
  CHECK(net.mirror.requests[1].find("X-Own: 1\r\n") != std::string::npos);
  CHECK(net.mirror.requests[1].find("mine") == std::string::npos);

  SUBCASE("others are led for themselves") {
    net.authorization = "Bearer another";
    mirror_says(part("45", "4-5/8", tag));
    CHECK(net.read(Span{4, 2}, version).ok());
    CHECK(at_server() == 2);
  }
  SUBCASE("so is who wants another version, or any") {
    mirror_says(part("45", "4-5/8", tag));
    CHECK(net.read(Span{4, 2}).ok());
    CHECK(at_server() == 2);
    mirror_says("HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n");
    CHECK(net.read(Span{4, 2}, Version{"\"b\"", "", 8}).failed_with(ErrorCode::kChanged));
    CHECK(at_server() == 3);
  }
  SUBCASE("a link that has ended is asked for again") {
    mirror_says("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    mirror_says(part("67", "6-7/8", tag));
    CHECK(net.read(Span{6, 2}, version)->bytes == "67");
    CHECK(at_server() == 2);
  }
  SUBCASE("what is remembered is forgotten") {
    net.sim.run_for(11min);
    mirror_says(part("67", "6-7/8", tag));
    CHECK(net.read(Span{6, 2}, version)->bytes == "67");
    CHECK(at_server() == 2);
  }
}

TEST_CASE("where redirects led is not remembered if that is not wished") {
  HttpBackendOptions options;
  options.redirects_kept = {};
  Net net(options);
  for (int i = 0; i < 2; ++i) {
    net.server.replies.push_back(
        {"HTTP/1.1 302 Found\r\nLocation: http://mirror/m\r\nContent-Length: 0\r\n\r\n"});
    net.mirror.replies.push_back({part("0", "0-0/8", "ETag: \"a\"\r\n")});
    CHECK(net.read(Span{0, 1}, Version{"\"a\"", "", 8})->bytes == "0");
  }
  CHECK(net.server.requests.size() == 2);
}

TEST_CASE("failures of the origin keep their status and say what Dragonfly's peers expect") {
  struct Case {
    int status;
    ErrorCode code;
    bool again;
  };
  for (auto c : {Case{401, ErrorCode::kUnauthenticated, false}, Case{403, ErrorCode::kPermission, false},
                 Case{404, ErrorCode::kNotFound, false}, Case{410, ErrorCode::kNotFound, false},
                 Case{416, ErrorCode::kPrecondition, false}, Case{429, ErrorCode::kExhausted, true},
                 Case{500, ErrorCode::kUnavailable, true}, Case{503, ErrorCode::kUnavailable, true},
                 Case{418, ErrorCode::kInvalid, false}}) {
    CAPTURE(c.status);
    Net net;
    net.server.replies.push_back({fmt::format(
        "HTTP/1.1 {} X\r\nContent-Length: 3\r\nX-Reason: r\r\nSet-Cookie: s\r\n\r\nno.", c.status)});
    auto got = net.read(Span{}, {}, "http://me:hidden@server/x?token=hidden");
    REQUIRE(!got.ok());
    CHECK(got.error().code() == c.code);
    CHECK(got.error().status() == c.status);
    CHECK(is_retryable(got.error()) == c.again);
    CHECK(got.error().message().find("hidden") == std::string::npos);
    auto details = nlohmann::json::parse(got.error().details());
    CHECK(details["status_code"] == c.status);
    CHECK(details["header"]["x-reason"] == "r");
    CHECK(!details["header"].contains("set-cookie"));
    CHECK(details["message"] == got.error().message());
    CHECK(got.error().details().find("hidden") == std::string::npos);
    CHECK(net.client.idle_connections() == 1);
  }
  Net net;
  auto refused = net.read(Span{}, {}, "http://server:81/");
  CHECK(refused.failed_with(ErrorCode::kRefused));
  CHECK(nlohmann::json::parse(refused.error().details())["status_code"].is_null());
  CHECK(net.read(Span{}, {}, "s3://bucket/key").failed_with(ErrorCode::kUnsupported));
  CHECK(net.read(Span{}, {}, "nothing").failed_with(ErrorCode::kInvalid));
}

TEST_CASE("what an origin wants is said in words that help") {
  for (auto [challenge, advice] :
       {std::pair{"Basic realm=x", "user and a password"}, std::pair{"Digest realm=x", "not supported"},
        std::pair{"digest realm=x\r\nWWW-Authenticate: basic", "user and a password"},
        std::pair{"Bearer realm=x", "Authorization header"}}) {
    Net net;
    net.server.replies.push_back(
        {fmt::format("HTTP/1.1 401 No\r\nWWW-Authenticate: {}\r\nContent-Length: 0\r\n\r\n", challenge)});
    CHECK(net.read(Span{}).error().message().find(advice) != std::string::npos);
  }
}

TEST_CASE("no more requests run at once than the origin may get") {
  HttpBackendOptions options;
  options.max_per_origin = 2;
  Net net(options);
  for (int i = 0; i < 6; ++i) net.server.replies.push_back({http::ok("x")});
  auto all = [](Net& n, int& good) -> Task<void> {
    auto one = [](Net& m, int& count) -> Task<void> {
      Version any;
      auto got = co_await m.read_task(Span(), any, "http://server/");
      if (got) ++count;
    };
    Loop& loop = co_await this_loop();
    Scope scope(loop);
    for (int i = 0; i < 6; ++i) scope.spawn(one(n, good));
    (void)co_await scope.idle(Deadline::never());
  };
  int good = 0;
  CHECK(net.sim.run(all(net, good), 100s));
  CHECK(good == 6);
  CHECK(net.server.connections == 2);
}
