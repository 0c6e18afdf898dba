// A server among clients that misbehave on the HTTP/2 level.
#include <doctest/doctest.h>

#include "net/http2/connection.h"
#include "two_hosts.h"

using namespace d7y;
using namespace d7y::grpc;
using namespace std::chrono_literals;
using test::TwoHosts;

namespace {

struct AnyStream final : http2::Stream {
  void on_field(std::string_view name, std::string_view value) override {
    if (name == ":status") status = value;
    if (name == "grpc-status") grpc_status = value;
  }
  void on_fields_end(http2::FieldsKind) override {}
  void on_data(Bytes bytes) override { consume(bytes.size()); }
  void on_end() override { ended = true; }
  void on_close(http2::H2Error why, bool) override {
    closed = true;
    code = why;
  }
  std::string status, grpc_status;
  bool ended = false, closed = false;
  http2::H2Error code = http2::H2Error::kNone;
};

// A client that speaks frames, not gRPC.
struct RawClient final : http2::Connection::Owner {
  explicit RawClient(TwoHosts& hosts) : hosts(hosts) {
    hosts.client.spawn(work(*this));
    CHECK(
        hosts.sim.run_until([&] { return connection && connection->session().remote_settings_seen(); }, 5s));
  }
  static Task<void> work(RawClient& self) {
    auto stream = co_await self.hosts.client.network().connect(self.hosts.server_host.address(8002), {},
                                                               Deadline::never());
    REQUIRE(stream.ok());
    self.connection.emplace(self.hosts.client.loop(), std::move(*stream), http2::ConnectionOptions{}, self,
                            self.buffer);
    Error why = co_await self.connection->run();
    self.ended = true;
  }
  void on_goaway(std::int32_t, http2::H2Error code, std::string_view debug) override {
    goaway = std::string(http2::name_of(code)) + " " + std::string(debug) + "|" + goaway;
  }
  void request(AnyStream& stream, std::vector<http2::Field> extra, bool body) {
    std::vector<http2::Field> fields = {{":method", "POST"},
                                        {":scheme", "http"},
                                        {":path", "/d7y.test.Echo/Unary"},
                                        {":authority", "[::]:50051"}};
    for (auto& field : extra) {
      bool pseudo = field.name.starts_with(':');
      bool replaced = false;
      for (auto& known : fields) {
        if (pseudo && known.name == field.name) known = field, replaced = true;
      }
      if (!replaced) fields.push_back(field);
    }
    connection->session().request(stream, fields, body);
  }

  TwoHosts& hosts;
  http2::ReadBuffer buffer;
  std::optional<http2::Connection> connection;
  std::string goaway;
  bool ended = false;
};

const http2::Field kGrpc{"content-type", "application/grpc"};

void open_and_reset(TwoHosts& hosts, RawClient& client, int count) {
  std::vector<std::unique_ptr<AnyStream>> streams;
  for (int i = 0; i < count; ++i) {
    streams.push_back(std::make_unique<AnyStream>());
    client.request(*streams.back(), {kGrpc, {":path", "/d7y.test.Echo/Hang"}}, true);
  }
  hosts.sim.run_for(1ms);  // the requests go out
}

}  // namespace

TEST_CASE("PINGs in quick succession are struck, the fourth ends the connection with too_many_pings") {
  TwoHosts hosts;
  RawClient client(hosts);
  for (int i = 0; i < 4; ++i) {
    CHECK(client.goaway.empty());
    client.connection->session().ping();
    hosts.sim.run_for(10s);
  }
  CHECK(client.goaway.find("ENHANCE_YOUR_CALM too_many_pings") != std::string::npos);
  CHECK(client.ended);
}

TEST_CASE("a PING every five minutes is welcome for ever, with some slack and without calls") {
  ServerOptions options = test::big_messages();
  options.idle_timeout = Duration{0};
  options.max_age = Duration{0};
  TwoHosts hosts(options);
  RawClient client(hosts);
  for (int i = 0; i < 50; ++i) {
    client.connection->session().ping();
    hosts.sim.run_for(i % 2 == 0 ? 290s : 310s);
  }
  CHECK(client.goaway.empty());
  CHECK(!client.ended);
}

TEST_CASE("PINGs that measure a busy connection are no strikes") {
  TwoHosts hosts;
  RawClient client(hosts);
  for (int i = 0; i < 20; ++i) {
    AnyStream stream;
    client.request(stream, {kGrpc}, false);
    client.connection->session().ping();
    hosts.sim.run_for(1s);
    CHECK(stream.closed);
  }
  CHECK(client.goaway.empty());
}

TEST_CASE("resets by the thousand end the connection, and the handlers with it") {
  TwoHosts hosts;
  RawClient client(hosts);
  int sent = 0;
  for (int turn = 0; turn < 200 && client.goaway.empty(); ++turn) {
    sent += 100;
    open_and_reset(hosts, client, 100);
    hosts.sim.run_for(1ms);
  }
  hosts.sim.run_for(1s);
  CHECK(client.goaway.find("ENHANCE_YOUR_CALM") != std::string::npos);
  CHECK(sent < 20'000);
  CHECK(client.ended);
  CHECK(hosts.server->open_calls() == 0);
}

TEST_CASE("a client that cancels often but not madly is served") {
  TwoHosts hosts;
  RawClient client(hosts);
  for (int turn = 0; turn < 100; ++turn) {
    open_and_reset(hosts, client, 100);
    hosts.sim.run_for(1s);
  }
  CHECK(client.goaway.empty());
}

TEST_CASE("what is not gRPC is told so in HTTP") {
  TwoHosts hosts;
  RawClient client(hosts);
  AnyStream get, form;
  client.request(get, {{":method", "GET"}}, false);
  client.request(form, {{"content-type", "text/html"}}, false);
  hosts.sim.run_for(1s);
  CHECK(get.status == "405");
  CHECK(form.status == "415");
  CHECK(client.goaway.empty());
}

TEST_CASE("broken gRPC fields are refused with a status") {
  TwoHosts hosts;
  RawClient client(hosts);
  AnyStream timeout, encoding, plus;
  client.request(timeout, {kGrpc, {"grpc-timeout", "soon"}}, false);
  client.request(encoding, {kGrpc, {"grpc-encoding", "snappy"}}, false);
  client.request(plus, {{"content-type", "application/grpc+proto"}}, false);
  hosts.sim.run_for(1s);
  CHECK(timeout.grpc_status == "3");
  CHECK(encoding.grpc_status == "12");
  CHECK(plus.grpc_status == "12");  // accepted; but no message came
}

TEST_CASE("a message cut off by the end of the request is INTERNAL") {
  TwoHosts hosts;
  RawClient client(hosts);
  AnyStream stream;
  client.request(stream, {kGrpc}, true);
  stream.send(
      as_bytes(std::string_view("\0\0\0\0\x09"
                                "abc",
                                8)));
  stream.finish();
  hosts.sim.run_for(1s);
  CHECK(stream.grpc_status == "13");
}

TEST_CASE("a connection that says nothing is dropped after the handshake timeout") {
  TwoHosts hosts;
  auto script = [](sim::Host& host, Address to) -> Task<Result<Duration>> {
    CO_TRY(auto stream, co_await host.network().connect(to, {}, Deadline::never()));
    auto begin = host.now();
    std::byte buffer[1000];
    for (;;) {
      CO_TRY(auto got, co_await world::read_some(*stream, buffer, Deadline::in(100s, host.now())));
      if (got == 0) co_return host.now() - begin;
    }
  };
  auto took = hosts.run(script(hosts.client, hosts.server_host.address(8002)));
  REQUIRE(took.ok());
  CHECK(*took >= 19s);
  CHECK(*took <= 22s);
}

TEST_CASE("HTTP/1 and noise are dropped at once") {
  TwoHosts hosts;
  for (std::string text : {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), sim::random_bytes(1000, 7)}) {
    auto script = [](sim::Host& host, Address to, std::string text) -> Task<Result<void>> {
      CO_TRY(auto stream, co_await host.network().connect(to, {}, Deadline::never()));
      CO_OK(co_await world::write_all(*stream, as_bytes(text), Deadline::never()));
      std::byte buffer[1000];
      for (;;) {
        auto got = co_await world::read_some(*stream, buffer, Deadline::in(1s, host.now()));
        if (!got)
          co_return std::move(got).error().code() == ErrorCode::kReset ? Result<void>{}
                                                                       : Error(ErrorCode::kInternal, "?");
        if (*got == 0) co_return Result<void>{};
      }
    };
    CHECK(hosts.run(script(hosts.client, hosts.server_host.address(8002), text)).ok());
  }
  hosts.sim.run_for(1s);
  CHECK(hosts.server->connections() == 0);
}

TEST_CASE("a client that vanished without a word is noticed while its call is open") {
  TwoHosts hosts;
  RawClient client(hosts);
  AnyStream stream;
  client.request(stream, {kGrpc, {":path", "/d7y.test.Echo/Hang"}}, true);
  stream.send(as_bytes(std::string_view("\0\0\0\0\0", 5)));
  CHECK(hosts.sim.run_until([&] { return hosts.service.hanging == 1; }, 5s));
  hosts.sim.run_for(11min);
  CHECK(hosts.service.hanging == 1);  // it answers PINGs
  hosts.client.power_off();
  hosts.sim.run_for(6min);
  CHECK(hosts.service.hanging == 0);
  CHECK(hosts.server->connections() == 0);
}

TEST_CASE("a thousand connections that open and vanish leave nothing behind") {
  TwoHosts hosts;
  for (int i = 0; i < 1000; ++i) {
    auto touch = [](sim::Host& host, Address to) -> Task<Result<void>> {
      CO_TRY(auto stream, co_await host.network().connect(to, {}, Deadline::never()));
      co_return Result<void>{};
    };
    CHECK(hosts.run(touch(hosts.client, hosts.server_host.address(8002))).ok());
  }
  hosts.sim.run_for(1s);
  CHECK(hosts.server->connections() == 0);
}
