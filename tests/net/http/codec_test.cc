#include "net/http/codec.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::http;

namespace {

using Kind = MessageReader::Kind;

struct Parsed {
  Result<void> outcome;
  std::string body;
  std::string rest;  // beyond the message
};

// Feeds `wire` in pieces of `step` bytes.
Parsed parse(MessageReader& reader, std::string wire, std::size_t step, std::string_view answers = "GET") {
  Parsed parsed;
  reader.begin(answers);
  std::size_t at = 0;
  while (!reader.head_complete()) {
    if (at == wire.size()) {
      parsed.outcome = error(ErrorCode::kReset, "the head is incomplete");
      return parsed;
    }
    auto piece = as_bytes(std::string_view(wire).substr(at, step));
    auto used = reader.feed_head(piece);
    if (!used) {
      parsed.outcome = std::move(used).error();
      return parsed;
    }
    at += *used;
  }
  if (reader.framing() == Framing::kChunked) {
    while (!reader.body_complete()) {
      if (at == wire.size()) {
        parsed.outcome = error(ErrorCode::kReset, "the body is incomplete");
        return parsed;
      }
      auto piece = wire.substr(at, step);
      auto got = reader.decode(as_bytes(piece), as_mutable_bytes(piece));
      if (!got) {
        parsed.outcome = std::move(got).error();
        return parsed;
      }
      REQUIRE(got->consumed > 0);
      at += got->consumed;
      parsed.body += piece.substr(0, got->produced);
    }
  }
  parsed.rest = wire.substr(at);
  return parsed;
}

int status_of(const std::string& wire, Limits limits = {}) {
  int status = -1;
  for (std::size_t step : {std::size_t{1}, std::size_t{7}, wire.size()}) {
    MessageReader reader(Kind::kRequest, limits);
    auto parsed = parse(reader, wire, step);
    const int now = parsed.outcome.ok() ? 0 : parsed.outcome.error().status();
    if (status != -1) CHECK(status == now);  // however the bytes were cut
    status = now;
  }
  return status;
}

}  // namespace

TEST_CASE("a chunked response comes out the same however its bytes are cut") {
  const std::string wire =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-One:  a b \r\nEmpty:\r\n\r\n"
      "5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\nEXTRA";
  for (std::size_t step = 1; step <= wire.size(); ++step) {
    CAPTURE(step);
    MessageReader reader(Kind::kResponse, {});
    auto parsed = parse(reader, wire, step);
    REQUIRE(parsed.outcome.ok());
    CHECK(parsed.body == "hello world");
    CHECK(parsed.rest == "EXTRA");
    CHECK(reader.response().status == 200);
    CHECK(reader.response().reason == "OK");
    CHECK(reader.response().headers.get("x-one") == "a b");
    CHECK(reader.response().headers.get("empty") == "");
    CHECK(reader.trailers().get("x-sum") == "42");
    CHECK(reader.keep_alive());
  }
}

TEST_CASE("the body's framing follows the status, the headers and the request's method") {
  struct Case {
    const char* wire;
    const char* answers;
    Framing framing;
    std::uint64_t length;
    bool keep;
    bool switches;
  };
  for (const auto& c : {
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", Framing::kLength, 5, true, false},
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", Framing::kNone, 0, true, false},
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", Framing::kNone, 5, true, false},
           Case{"HTTP/1.1 200 OK\r\n\r\n", "GET", Framing::kUntilClose, 0, false, false},
           Case{"HTTP/1.1 204 No Content\r\n\r\n", "GET", Framing::kNone, 0, true, false},
           Case{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET", Framing::kNone, 9, true,
                false},
           Case{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "GET", Framing::kNone, 0, false,
                true},
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "CONNECT", Framing::kNone, 5, false, true},
           Case{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", Framing::kLength, 5, false, false},
           Case{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", "GET",
                Framing::kLength, 5, true, false},
           Case{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", "GET", Framing::kLength,
                5, false, false},
           Case{"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "GET", Framing::kLength, 5, true, false},
       }) {
    CAPTURE(c.wire);
    MessageReader reader(Kind::kResponse, {});
    auto parsed = parse(reader, c.wire, 3, c.answers);
    REQUIRE(parsed.outcome.ok());
    CHECK(reader.framing() == c.framing);
    CHECK(reader.content_length() == c.length);
    CHECK(reader.keep_alive() == c.keep);
    CHECK(reader.switches_protocol() == c.switches);
  }
}

TEST_CASE("responses of servers that take it less strictly are read as others read them") {
  for (const std::string& wire : {
           std::string("HTTP/1.1 200 OK\nETag: \"a\"\nContent-Length: 5\n\nhello"),
           std::string("HTTP/1.0 200 OK\r\nETag: \"a\"\nContent-Length: 5\r\n\nhello"),
           std::string("HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\nETag: "
                       "\"a\"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
           std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"a\"\r\nContent-Length: "
                       "2\r\n\r\n5  \r\nhello\r\n0 \r\n\r\n"),
       }) {
    CAPTURE(wire);
    for (std::size_t step : {1U, 7U, 1000U}) {
      MessageReader reader(Kind::kResponse, {});
      auto parsed = parse(reader, wire, step);
      REQUIRE(parsed.outcome.ok());
      CHECK(parsed.body + parsed.rest == "hello");
      CHECK(reader.response().headers.get("ETag") == "\"a\"");
    }
  }
  MessageReader reader(Kind::kResponse, {});
  auto parsed = parse(reader,
                      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello"
                      "\r\n0\r\n\r\n",
                      1000);
  REQUIRE(parsed.outcome.ok());
  CHECK(reader.framing() == Framing::kChunked);
  CHECK(!reader.response().headers.has("Content-Length"));  // whoever passes it on would mislead others
  CHECK(!reader.keep_alive());
  for (const char* wrong : {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                            "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "HTTP/1.1 200 OK\r\nX\r\n\r\n"}) {
    CAPTURE(wrong);
    MessageReader strict(Kind::kResponse, {});
    CHECK(!parse(strict, wrong, 1000).outcome.ok());
  }
}

TEST_CASE("requests that could be read in two ways are refused") {
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\r\n\r\n") == 0);
  CHECK(status_of("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") == 0);
  CHECK(status_of("GET / HTTP/1.0\r\n\r\n") == 0);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n") ==
        400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n") ==
        400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n") == 501);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n") != 0);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n") != 0);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\nHost: a\n\n") == 400);
  CHECK(status_of("GET / HTTP/1.0\n\n") == 400);
  CHECK(status_of("GET / HTTP/1.1 \r\nHost: a\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.x\r\nHost: a\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n") == 400);
  CHECK(status_of(std::string("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 35)) == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n") == 400);
  CHECK(status_of("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n") != 0);
  CHECK(status_of("BREW / HTTP/1.1\r\nHost: a\r\n\r\n") == 501);
  CHECK(status_of("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505);
  CHECK(status_of("GET / HTTP/1.2\r\nHost: a\r\n\r\n") == 505);
  CHECK(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 505);
  CHECK(status_of("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n") ==
        400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n") ==
        400);
  CHECK(status_of(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n") ==
        400);
  CHECK(
      status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n") ==
      400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "fffffffffffffffff\r\nhello\r\n0\r\n\r\n") == 400);
}

TEST_CASE("what a stranger can make us hold is bounded") {
  Limits limits;
  limits.head_bytes = 2000;
  limits.header_count = 10;
  limits.target_bytes = 100;
  limits.overhead_bytes = 500;
  const std::string host = "Host: a\r\n";
  CHECK(status_of("GET /" + std::string(99, 'x') + " HTTP/1.1\r\n" + host + "\r\n", limits) == 0);
  CHECK(status_of("GET /" + std::string(100, 'x') + " HTTP/1.1\r\n" + host + "\r\n", limits) == 414);
  CHECK(status_of("GET / HTTP/1.1\r\n" + host + "X: " + std::string(3000, 'x') + "\r\n\r\n", limits) == 431);
  CHECK(status_of("GET / HTTP/1.1\r\n" + host + std::string(3000, 'x') + ": 1\r\n\r\n", limits) == 431);
  std::string many = "GET / HTTP/1.1\r\n" + host;
  for (int i = 0; i < 9; ++i) many += "X: 1\r\n";
  CHECK(status_of(many + "\r\n", limits) == 0);
  CHECK(status_of(many + "X: 1\r\n\r\n", limits) == 431);
  CHECK(status_of(std::string(3000, '\n'), limits) == 431);

  const std::string chunked = "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n";
  CHECK(status_of(chunked + "1;" + std::string(1000, 'x') + "\r\na\r\n0\r\n\r\n", limits) == 400);
  CHECK(status_of(chunked + std::string(1000, '0') + "1\r\na\r\n0\r\n\r\n", limits) == 400);
  std::string trailers = chunked + "1\r\na\r\n0\r\n";
  for (int i = 0; i < 11; ++i) trailers += "X: 1\r\n";
  CHECK(status_of(trailers + "\r\n", limits) == 431);
  std::string tiny = chunked;  // honest, if silly
  for (int i = 0; i < 1000; ++i) tiny += "1\r\na\r\n";
  CHECK(status_of(tiny + "0\r\n\r\n", limits) == 0);
}

TEST_CASE("requests give method, target and the bytes after them") {
  MessageReader reader(Kind::kRequest, {});
  auto parsed = parse(reader, "DELETE /a?b=c HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n", 64);
  REQUIRE(parsed.outcome.ok());
  CHECK(reader.request().method == "DELETE");
  CHECK(reader.request().target == "/a?b=c");
  CHECK(reader.framing() == Framing::kNone);
  CHECK(parsed.rest == "GET / HTTP/1.1\r\n");

  parsed = parse(reader, "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n\x16\x03", 64);
  REQUIRE(parsed.outcome.ok());
  CHECK(reader.request().method == "CONNECT");
  CHECK(reader.request().target == "h:443");
  CHECK(reader.switches_protocol());
  CHECK(parsed.rest == "\x16\x03");

  parsed = parse(reader, "GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n", 64);
  REQUIRE(parsed.outcome.ok());
  CHECK(reader.request().target == "http://h/x");
}
