#include "net/http/server.h"

#include <doctest/doctest.h>

#include "net/http/client.h"
#include "sim/simulation.h"

using namespace d7y;
using namespace d7y::http;
using namespace std::chrono_literals;

namespace {

const world::ConnectOptions kConnect;

// Answers by path.
class Example : public Handler {
 public:
  explicit Example(world::World& world) : world(world) {}

  Task<void> handle(ServerRequest& request, Responder& responder) override {
    requests.push_back(request.method() + " " + request.head().target);
    const auto path = request.path();
    if (path == "/echo") {
      auto body = co_await request.read_all(1'000'000, Deadline::never());
      if (!body) {
        last_error = body.error().message();
        const int status = body.error().status() != 0 ? body.error().status() : 400;
        (void)co_await responder.send(status, "text/plain", "no\n");
        co_return;
      }
      (void)co_await responder.send(200, "text/plain", std::move(*body));
    } else if (path == "/stream") {
      ResponseHead head;
      (void)co_await responder.begin(std::move(head), std::nullopt);
      for (int i = 0; i < 5; ++i) {
        const auto part = fmt::format("part {};", i);
        (void)co_await responder.write(as_bytes(part));
        co_await sleep_for(1ms);
      }
      (void)co_await responder.finish();
    } else if (path == "/file") {
      auto file = world.files().open("content", world::OpenMode::kRead);
      REQUIRE(file.ok());
      ResponseHead head;
      head.headers.add("Content-Type", "application/x-test");
      const auto size = (*file)->status()->size;
      (void)co_await responder.begin(std::move(head), size);
      sent = co_await responder.send_file(**file, 0, size);
      (void)co_await responder.finish();
    } else if (path == "/short") {
      ResponseHead head;
      (void)co_await responder.begin(std::move(head), 100);
      (void)co_await responder.write(as_bytes("too little"));
      finished = co_await responder.finish();
    } else if (path == "/cut") {
      ResponseHead head;
      const auto length =
          request.head().target == "/cut?length" ? std::optional<std::uint64_t>(100) : std::nullopt;
      (void)co_await responder.begin(std::move(head), length);
      (void)co_await responder.write(as_bytes("the beginning"));
      responder.cut_short();
    } else if (path == "/long") {
      ResponseHead head;
      (void)co_await responder.begin(std::move(head), 3);
      written = co_await responder.write(as_bytes("too much"));
    } else if (path == "/slow") {
      co_await sleep_for(5s);
      (void)co_await responder.send(200, "text/plain", "slow\n");
    } else if (path == "/none") {
      co_return;
    } else if (path == "/raw" || request.method() == "CONNECT") {
      ResponseHead head;
      head.status = request.method() == "CONNECT" ? 200 : 101;
      if (head.status == 101) head.headers = {{"Connection", "upgrade"}, {"Upgrade", "raw"}};
      auto stream = co_await responder.take_stream(std::move(head));
      if (!stream) co_return;
      std::string got(4, '\0');
      auto read = co_await world::read_exactly(**stream, as_mutable_bytes(got), Deadline::never());
      if (read) (void)co_await world::write_all(**stream, as_bytes("<" + got + ">"), Deadline::never());
    } else {
      (void)co_await responder.send(404, "text/plain", "not found\n");
    }
  }

  world::World& world;
  std::vector<std::string> requests;
  std::string last_error;
  Result<void> sent, finished, written;
};

struct Net {
  explicit Net(ServerOptions options = {}, std::uint64_t seed = 1, sim::SimulationOptions world = {})
      : sim(seed, world),
        host(sim.add_host({.name = "server"})),
        client_host(sim.add_host({.name = "client"})),
        handler(host),
        listener(std::move(host.network().listen(host.address(80), {}).value())),
        server(host, handler, std::move(options)) {
    host.spawn(server.serve(*listener));
  }
  // The server's connections live on the host's loop.
  ~Net() { host.kill(); }

  // Sends `request` as it is and reads to the end of the connection.
  Result<std::string> raw(std::string request, bool finish = true) {
    auto talk = [](Net& n, std::string bytes, bool end) -> Task<Result<std::string>> {
      const auto deadline = Deadline::in(500s, n.sim.now());
      CO_TRY(auto stream, co_await n.client_host.network().connect(n.host.address(80), kConnect, deadline));
      CO_OK(co_await world::write_all(*stream, as_bytes(bytes), deadline));
      if (end) stream->finish_writing();
      std::string all;
      std::vector<std::byte> buffer(10'000);
      while (true) {
        auto got = co_await world::read_some(*stream, buffer, deadline);
        if (!got) co_return all + "<" + std::string(name_of(got.error().code())) + ">";
        if (*got == 0) co_return all;
        all += as_text(Bytes(buffer).first(*got));
      }
    };
    return sim.run(talk(*this, std::move(request), finish), 1000s);
  }

  sim::Simulation sim;
  sim::Host &host, &client_host;
  Example handler;
  std::unique_ptr<world::Listener> listener;
  Server server;
};

std::size_t times(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("pipelined requests are answered in order, the connection is kept until told otherwise") {
  Net net;
  auto got = net.raw(
      "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nt\r\n2\r\nwo\r\n0\r\n\r\n"
      "HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n"
      "DELETE /metrics?x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
      "GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
      false);
  REQUIRE(got.ok());
  CHECK(times(*got, "HTTP/1.1 200 OK") == 3);
  CHECK(got->find("\r\n\r\none") < got->find("\r\n\r\ntwo"));
  CHECK(times(*got, "HTTP/1.1 404 Not Found") == 1);
  CHECK(times(*got, "Connection: close") == 1);
  CHECK(got->find("Date: ") != std::string::npos);
  CHECK(net.handler.requests ==
        std::vector<std::string>{"POST /echo", "POST /echo", "HEAD /echo", "DELETE /metrics?x"});
  CHECK(net.server.numbers().requests == 4);
}

TEST_CASE("answers of unknown length are chunked, for HTTP/1.0 they end with the connection") {
  Net net;
  auto got = net.raw("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(got->find("Transfer-Encoding: chunked\r\n") != std::string::npos);
  CHECK(got->ends_with("7\r\npart 4;\r\n0\r\n\r\n"));
  got = net.raw("GET /stream HTTP/1.0\r\n\r\n", false);
  CHECK(got->find("chunked") == std::string::npos);
  CHECK(got->find("Connection: close") != std::string::npos);
  CHECK(got->ends_with("\r\n\r\npart 0;part 1;part 2;part 3;part 4;"));
  got = net.raw("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(got->ends_with("\r\n\r\n"));
}

TEST_CASE("a file goes out whole, to HEAD its head alone") {
  Net net;
  const auto content = sim::random_bytes(3'000'000, 5);
  auto file = net.host.files().open("content", world::OpenMode::kCreate);
  REQUIRE((*file)->write_at(0, as_bytes(content)).ok());
  auto got = net.raw("GET /file HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(got->find("Content-Length: 3000000\r\n") != std::string::npos);
  CHECK((got->substr(got->find("\r\n\r\n") + 4) == content));
  got = net.raw("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(got->find("Content-Length: 3000000\r\n") != std::string::npos);
  CHECK(got->ends_with("\r\n\r\n"));
}

TEST_CASE("an answer that does not keep its promise breaks the connection") {
  Net net;
  auto got = net.raw("GET /short HTTP/1.1\r\nHost: a\r\n\r\n", false);
  CHECK(got->find("<") != std::string::npos);
  CHECK(net.handler.finished.failed_with(ErrorCode::kPrecondition));
  got = net.raw("GET /long HTTP/1.1\r\nHost: a\r\n\r\n", false);
  CHECK(net.handler.written.failed_with(ErrorCode::kInvalid));
  CHECK(got->find("too much") == std::string::npos);
  got = net.raw("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(got->starts_with("HTTP/1.1 500 "));
}

TEST_CASE(
    "an answer cut short arrives as far as it goes, and the connection ends in order where that shows") {
  Net net;
  auto got = net.raw("GET /cut?length HTTP/1.1\r\nHost: a\r\n\r\n", false);
  CHECK(got->ends_with("\r\n\r\nthe beginning"));
  got = net.raw("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n", false);
  CHECK(got->ends_with("\r\n\r\nd\r\nthe beginning\r\n"));
  // Up to its end is all that an HTTP/1.0 client knows of a body without length.
  got = net.raw("GET /cut HTTP/1.0\r\nHost: a\r\n\r\n", false);
  CHECK(got->find("<") != std::string::npos);
  // There is no second answer on such a connection.
  got = net.raw("GET /cut HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n", false);
  CHECK(times(*got, "HTTP/1.1 ") == 1);
}

TEST_CASE("what the parser refuses is answered and the connection closed") {
  ServerOptions options;
  options.max_body = 100;
  Net net(options);
  const auto status = [&](std::string request) {
    auto got = net.raw(std::move(request), false);
    REQUIRE(got.ok());
    CHECK(times(*got, "HTTP/1.1 ") == 1);
    CHECK(got->find("Connection: close") != std::string::npos);
    return got->substr(9, 3);
  };
  CHECK(status("GET / HTTP/1.1\r\n\r\n") == "400");
  CHECK(status("nonsense\r\n\r\n") == "400");
  CHECK(status("BREW / HTTP/1.1\r\nHost: a\r\n\r\n") == "501");
  CHECK(status("GET / HTTP/3.0\r\nHost: a\r\n\r\n") == "505");
  CHECK(status("GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n") == "414");
  CHECK(status("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n") == "431");
  CHECK(status("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n" + std::string(101, 'x')) ==
        "413");
  CHECK(status("GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n") == "417");
  CHECK(net.handler.requests.empty());
  auto got = net.raw("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" +
                     std::string(101, 'x') + "\r\n0\r\n\r\n");
  CHECK(got->starts_with("HTTP/1.1 413 "));
  CHECK(net.server.numbers().refused == 8);
}

TEST_CASE("slow requests are cut off: 408 inside a head, silence before one just ends") {
  ServerOptions options;
  options.head_timeout = 10s;
  options.idle_timeout = 20s;
  options.stall_timeout = 15s;
  Net net(options);
  auto begun = net.sim.now();
  auto got = net.raw("GET / HTTP/1.1\r\nHos", false);
  CHECK(got->starts_with("HTTP/1.1 408 "));
  CHECK(net.sim.now() - begun < 13s);
  begun = net.sim.now();
  got = net.raw("", false);
  CHECK(*got == "");
  CHECK(net.sim.now() - begun < 11s);
  begun = net.sim.now();
  got = net.raw("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", false);
  CHECK(got->starts_with("HTTP/1.1 404 "));
  CHECK(net.sim.now() - begun > 19s);
  begun = net.sim.now();
  got = net.raw("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf", false);
  CHECK(got->starts_with("HTTP/1.1 408 "));
  CHECK(net.sim.now() - begun < 20s);
  net.sim.run_for(1s);
  CHECK(net.server.numbers().connections == 0);
}

TEST_CASE("a client that does not read holds the server no longer than the stall timeout") {
  ServerOptions options;
  options.stall_timeout = 15s;
  Net net(options);
  auto file = net.host.files().open("content", world::OpenMode::kCreate);
  REQUIRE((*file)->resize(100'000'000).ok());
  auto ask = [](Net& n) -> Task<Result<void>> {
    CO_TRY(auto stream,
           co_await n.client_host.network().connect(n.host.address(80), kConnect, Deadline::never()));
    CO_OK(co_await world::write_all(*stream, as_bytes("GET /file HTTP/1.1\r\nHost: a\r\n\r\n"),
                                    Deadline::never()));
    while (n.server.numbers().connections > 0 || n.handler.requests.empty()) co_await sleep_for(1s);
    co_return Result<void>{};
  };
  CHECK(net.sim.run(ask(net), 60s).ok());
  CHECK(net.handler.sent.failed_with(ErrorCode::kTimeout));
}

TEST_CASE("100 Continue is sent when the handler wants the body, not otherwise") {
  Net net;
  auto got =
      net.raw("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", true);
  CHECK(got->starts_with("HTTP/1.1 100 Continue\r\n\r\n"));
  got =
      net.raw("POST /other HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", false);
  CHECK(got->starts_with("HTTP/1.1 404 "));
}

TEST_CASE("CONNECT and Upgrade hand the raw stream over with what came after the head") {
  Net net;
  auto got = net.raw("CONNECT far:443 HTTP/1.1\r\nHost: far:443\r\n\r\nping", false);
  CHECK(got->starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(got->ends_with("\r\n\r\n<ping>"));
  CHECK(got->find("Content-Length") == std::string::npos);
  got = net.raw("GET /raw HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\npong", false);
  CHECK(got->starts_with("HTTP/1.1 101 "));
  CHECK(got->ends_with("<pong>"));
}

TEST_CASE("draining lets running requests end, closes idle connections and takes no new ones") {
  Net net;
  auto drained = [](Net& n, Result<void>& outcome, std::string& answer) -> Task<void> {
    auto idle = co_await n.client_host.network().connect(n.host.address(80), kConnect, Deadline::never());
    auto busy = co_await n.client_host.network().connect(n.host.address(80), kConnect, Deadline::never());
    (void)co_await world::write_all(**busy, as_bytes("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"),
                                    Deadline::never());
    co_await sleep_for(1s);
    const auto begun = n.sim.now();
    outcome = co_await n.server.drain(Deadline::in(20s, n.sim.now()));
    CHECK(n.sim.now() - begun > 3s);
    CHECK(n.sim.now() - begun < 9s);
    std::vector<std::byte> buffer(1000);
    auto got = co_await world::read_some(**busy, buffer, Deadline::never());
    if (got) answer = as_text(Bytes(buffer).first(*got));
  };
  Result<void> outcome;
  std::string answer;
  CHECK(net.sim.run(drained(net, outcome, answer), 100s));
  CHECK(outcome.ok());
  CHECK(answer.starts_with("HTTP/1.1 200 OK"));
  CHECK(answer.find("Connection: close") != std::string::npos);
  CHECK(net.server.numbers().connections == 0);
}

TEST_CASE("connections beyond the limit wait until others end") {
  ServerOptions options;
  options.max_connections = 2;
  options.idle_timeout = 5s;
  Net net(options);
  auto many = [](Net& n, int& served) -> Task<void> {
    auto one = [](Net& m, int& count) -> Task<void> {
      auto stream = co_await m.client_host.network().connect(m.host.address(80), kConnect, Deadline::never());
      (void)co_await world::write_all(**stream, as_bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                                      Deadline::never());
      std::vector<std::byte> buffer(1000);
      auto got = co_await world::read_some(**stream, buffer, Deadline::never());
      CHECK(m.server.numbers().connections <= 2);
      if (got && *got > 0) ++count;
      co_await sleep_for(2s);
    };
    Loop& loop = co_await this_loop();
    Scope scope(loop);
    for (int i = 0; i < 6; ++i) scope.spawn(one(n, served));
    (void)co_await scope.idle(Deadline::never());
  };
  int served = 0;
  CHECK(net.sim.run(many(net, served), 100s));
  CHECK(served == 6);
}

TEST_CASE("our client and our server understand each other over a bad network") {
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    Net net({}, seed, {.fabric = {.link = {.latency = 2ms, .jitter = 3ms, .loss = 0.01}, .chop = 0.5}});
    Client client(net.client_host, {});
    auto talk = [](Net& n, Client& c) -> Task<Result<void>> {
      for (int i = 0; i < 5; ++i) {
        Request request;
        request.method = "POST";
        request.url =
            fmt::format("http://{}/{}", n.host.address(80).to_string(), i % 2 == 0 ? "echo" : "stream");
        request.body = sim::random_bytes(100'000 + i, n.sim.seed());
        request.expect_continue = i % 3 == 0;
        const auto sent = request.body;
        CO_TRY(auto response, co_await c.fetch(std::move(request), Deadline::never()));
        CO_TRY(auto body, co_await response.read_all(1'000'000, Deadline::never()));
        if (i % 2 == 0 && body != sent) co_return error(ErrorCode::kCorrupt, "another body came back");
        if (i % 2 == 1 && body.size() != 35) co_return error(ErrorCode::kCorrupt, "body {}", body);
      }
      co_return Result<void>{};
    };
    auto outcome = net.sim.run(talk(net, client), 1000s);
    CHECK_MESSAGE(outcome.ok(), (outcome.ok() ? "" : outcome.error().message()));
    // The fourth request asked before sending a body that nobody wanted: that ends its connection.
    CHECK(net.server.numbers().accepted == 2);
  }
}
