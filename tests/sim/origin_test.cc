#include "sim/origin.h"

#include <doctest/doctest.h>

#include <string>

#include "sim/simulation.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

// Sends `request` and reads whatever comes until the end, a break, or a minute has passed.
Task<Result<std::string>> ask(sim::Host& host, Address to, std::string request) {
  auto deadline = Deadline::in(60s, host.now());
  CO_TRY(auto stream, co_await host.network().connect(to, {}, deadline));
  CO_OK(co_await world::write_all(*stream, as_bytes(request), deadline));
  std::string all;
  std::vector<std::byte> buffer(50'000);
  for (;;) {
    auto got = co_await world::read_some(*stream, buffer, deadline);
    if (!got) co_return all + fmt::format("<{}>", name_of(got.error().code()));
    if (*got == 0) co_return all;
    all += as_text(Bytes(buffer).first(*got));
  }
}

struct Web {
  explicit Web(std::uint64_t seed)
      : sim(seed), origin(sim.add_host({.name = "origin"})), client(sim.add_host()) {}
  std::string get(const std::string& headers = "", const std::string& method = "GET",
                  const std::string& path = "/f") {
    auto request =
        fmt::format("{} {} HTTP/1.1\r\nHost: origin\r\n{}Connection: close\r\n\r\n", method, path, headers);
    auto answer = sim.run(ask(client, origin.host().address(80), request), 100s);
    return answer ? *answer : answer.error().message();
  }
  sim::Simulation sim;
  sim::Origin origin;
  sim::Host& client;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::string body(const std::string& answer) {
  return answer.substr(std::min(answer.size(), answer.find("\r\n\r\n") + 4));
}

}  // namespace

TEST_CASE("the origin serves whole files, ranges and heads, and counts them") {
  Web web(1);
  auto content = sim::random_bytes(300'000);
  web.origin.serve("/f", content);
  auto whole = web.get();
  CHECK(has(whole, "HTTP/1.1 200 OK\r\n"));
  CHECK(has(whole, "Content-Length: 300000\r\n"));
  CHECK(body(whole) == content);
  CHECK(web.origin.body_bytes() == 300'000);
  auto part = web.get("Range: bytes=100-199\r\n");
  CHECK(has(part, "206 Partial Content"));
  CHECK(has(part, "Content-Range: bytes 100-199/300000\r\n"));
  CHECK(body(part) == content.substr(100, 100));
  CHECK(body(web.get("Range: bytes=299990-\r\n")) == content.substr(299'990));
  CHECK(body(web.get("Range: bytes=-5\r\n")) == content.substr(299'995));
  CHECK(has(web.get("Range: bytes=300000-\r\n"), "416"));
  CHECK(has(web.get("Range: bytes=0-9\r\nIf-Range: \"v1\"\r\n"), "206"));
  CHECK(has(web.get("Range: bytes=0-9\r\nIf-Range: \"v0\"\r\n"), "200 OK"));
  auto head = web.get("", "HEAD");
  CHECK(has(head, "Content-Length: 300000\r\n"));
  CHECK(body(head).empty());
  CHECK(has(web.get("", "GET", "/missing"), "404"));
  CHECK(web.origin.requests("HEAD") == 1);
  CHECK(web.origin.requests() == 9);
  CHECK(web.origin.log()[1].range == "bytes=100-199");
  CHECK(web.origin.log()[1].status == 206);
}

TEST_CASE("the origin frames bodies in every way, keeps connections and redirects") {
  Web web(1);
  auto& file = web.origin.serve("/f", "0123456789");
  file.framing = sim::OriginFile::Framing::kChunked;
  CHECK(body(web.get()) == "a\r\n0123456789\r\n0\r\n\r\n");
  file.framing = sim::OriginFile::Framing::kUntilClose;
  CHECK(body(web.get()) == "0123456789");
  file.framing = sim::OriginFile::Framing::kLength;
  std::string two = "GET /f HTTP/1.1\r\n\r\nGET /f HTTP/1.1\r\nConnection: close\r\n\r\n";
  auto connections = web.origin.connections();
  auto both = web.sim.run(ask(web.client, web.origin.host().address(80), two), 10s);
  REQUIRE(both.ok());
  CHECK(body(*both).starts_with("0123456789HTTP/1.1 200"));
  CHECK(web.origin.connections() == connections + 1);
  file.location = "/elsewhere";
  CHECK(has(web.get(), "Location: /elsewhere\r\n"));
  file.location.clear();
  file.authorization = "Bearer x";
  CHECK(has(web.get(), "401"));
  CHECK(has(web.get("Authorization: Bearer x\r\n"), "200"));
}

TEST_CASE("the origin misbehaves as told") {
  Web web(1);
  auto content = sim::random_bytes(200'000);
  auto& file = web.origin.serve("/f", content);
  auto with = [&](sim::OriginFault fault) {
    file.faults = {fault};
    return web.get("Range: bytes=0-99999\r\n");
  };
  CHECK(has(with({.status = 503, .retry_after = 7}), "Retry-After: 7\r\n"));
  auto reset = with({.reset_after = 70'000});
  CHECK(reset.ends_with("<connection reset>"));
  CHECK(body(reset).size() < 100'000);
  CHECK(body(with({.close_after = 50'000})).size() == 50'000);
  CHECK(with({.stall_after = 10}).ends_with("<timed out>"));
  CHECK(has(with({.ignore_range = true}), "200 OK"));
  CHECK(has(with({.wrong_length = 5}), "Content-Length: 100005\r\n"));
  CHECK(has(with({.wrong_range = 10}), "Content-Range: bytes 10-99999/200000\r\n"));
  auto flipped = body(with({.flip_at = 77}));
  CHECK(flipped != content.substr(0, 100'000));
  CHECK(flipped.substr(78) == content.substr(78, 100'000 - 78));
  CHECK(!has(with({.garbage = true}), "HTTP/1.1"));
  auto began = web.sim.now();
  CHECK(has(with({.delay = 3s}), "206"));
  CHECK(web.sim.now() - began > 3s);
  file.faults = {{.status = 500, .after = 1, .count = 2}};
  CHECK(has(web.get(), "200"));
  CHECK(has(web.get(), "500"));
  CHECK(has(web.get(), "500"));
  CHECK(has(web.get(), "200"));
  file.rate = 100'000;
  began = web.sim.now();
  CHECK(body(web.get()) == content);
  CHECK(web.sim.now() - began > 1900ms);
  file.change("new", "\"v2\"");
  CHECK(has(web.get(), "ETag: \"v2\"\r\n"));
  CHECK(web.origin.open_connections() == 0);
}
