#include "net/http/message.h"

#include <doctest/doctest.h>

#include "net/http/http_url.h"

using namespace d7y;
using namespace d7y::http;

TEST_CASE("header fields keep order and repetition and are found without regard to case") {
  Headers headers{{"Accept", "a"}, {"Via", "1"}, {"via", "2"}};
  CHECK(headers.get("ACCEPT") == "a");
  CHECK(headers.count("Via") == 2);
  CHECK(headers.joined("VIA") == "1, 2");
  headers.set("vIa", "3");
  CHECK(headers.count("Via") == 1);
  CHECK(headers.get("via") == "3");
  headers.remove("accept");
  CHECK(!headers.has("Accept"));
  headers.add("Connection", "keep-alive, X-Secret ,close");
  headers.add("X-Secret", "1");
  CHECK(headers.has_token("connection", "Close"));
  CHECK(!headers.has_token("connection", "clos"));
  remove_hop_by_hop(headers);
  CHECK(!headers.has("X-Secret"));
  CHECK(!headers.has("Connection"));
  CHECK(headers.has("Via"));
}

TEST_CASE("a head that would smuggle another message is not written") {
  RequestHead request;
  CHECK(to_wire(request).value() == "GET / HTTP/1.1\r\n\r\n");
  request.headers.add("X", "a\r\nEvil: 1");
  CHECK(to_wire(request).failed_with(ErrorCode::kInvalid));
  request.headers.clear();
  request.headers.add("X: y\r\nEvil", "1");
  CHECK(to_wire(request).failed_with(ErrorCode::kInvalid));
  request.headers.clear();
  request.target = "/ HTTP/1.1\r\nEvil: 1";
  CHECK(to_wire(request).failed_with(ErrorCode::kInvalid));
  request.target = "/";
  request.method = "GET /x";
  CHECK(to_wire(request).failed_with(ErrorCode::kInvalid));
  ResponseHead response;
  response.reason = "OK\r\nX: y";
  CHECK(to_wire(response).failed_with(ErrorCode::kInvalid));
}

TEST_CASE("errors about headers never show their values") {
  RequestHead request;
  request.headers.add("Authorization", "secret\n");
  auto wire = to_wire(request);
  REQUIRE(!wire.ok());
  CHECK(wire.error().message().find("secret") == std::string::npos);
  CHECK(wire.error().message().find("Authorization") != std::string::npos);
}

TEST_CASE("all three forms of HTTP dates are read") {
  const WallTime time(std::chrono::seconds(784111777));
  CHECK(to_http_date(time) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").value() == time);
  CHECK(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT").value() == time);
  CHECK(parse_http_date("Sun Nov  6 08:49:37 1994").value() == time);
  for (auto text :
       {"", "yesterday", "Sun, 06 Nov 1994 08:49:37", "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMTx"}) {
    CAPTURE(text);
    CHECK(!parse_http_date(text).ok());
  }
}

TEST_CASE("basic credentials are as RFC 7617 has them") {
  CHECK(basic_credentials("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

TEST_CASE("an http URL is taken apart for a request, its credentials apart from the rest") {
  auto url = parse_http_url("HTTP://us%20er:pa%3Ass@Example.ORG:8080/a/../b c?x=1#frag").value();
  CHECK(url.host == "example.org");
  CHECK(url.port == 8080);
  CHECK(url.user == "us er");
  CHECK(url.password == "pa:ss");
  CHECK(url.target() == "/b%20c?x=1");
  CHECK(url.authority() == "example.org:8080");
  CHECK(url.to_string() == "http://example.org:8080/b%20c?x=1");
  CHECK(parse_http_url("https://[::1]/").value().host == "::1");
  CHECK(parse_http_url("https://[::1]/").value().port == 443);
  CHECK(parse_http_url("ftp://x/").failed_with(ErrorCode::kUnsupported));
  CHECK(!parse_http_url("nonsense").ok());
  CHECK(resolve_http_url(url, "c?d").value().to_string() == "http://example.org:8080/c?d");
  CHECK(resolve_http_url(url, "//other/").value().host == "other");
  CHECK(resolve_http_url(url, "javascript:alert(1)").failed_with(ErrorCode::kUnsupported));
}

TEST_CASE("what this proxy answers has a name") {
  for (int status : {200, 206, 304, 400, 401, 403, 404, 405, 407, 408, 413, 414,
                     416, 417, 431, 500, 501, 502, 503, 504, 505, 507, 508}) {
    CAPTURE(status);
    CHECK(reason_of(status) != "Unknown");
  }
}
