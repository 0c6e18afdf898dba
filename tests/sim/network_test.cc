#include "world/network.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "sim/simulation.h"

using namespace d7y;
using namespace std::chrono_literals;
using StreamPtr = std::unique_ptr<world::Stream>;

namespace {

// Two hosts and, after connect(), a stream between them.
struct Pair {
  explicit Pair(std::uint64_t seed, sim::SimulationOptions options = {})
      : sim(seed, options), a(sim.add_host({.name = "a"})), b(sim.add_host({.name = "b"})) {}

  void connect(world::ConnectOptions options = {}, world::ListenOptions listen = {}) {
    auto listener = b.network().listen(b.address(80), listen);
    REQUIRE(listener.ok());
    auto both = [](Pair& p, world::Listener& l, world::ConnectOptions o) -> Task<Result<void>> {
      auto deadline = Deadline::in(100s, p.sim.now());
      CO_TRY(p.client, co_await p.a.network().connect(p.b.address(80), o, deadline));
      CO_TRY(p.server, co_await l.accept(deadline));
      co_return Result<void>{};
    };
    auto result = sim.run(both(*this, **listener, options), 100s);
    REQUIRE(result.ok());
  }

  sim::Simulation sim;
  sim::Host &a, &b;
  StreamPtr client, server;
};

Deadline soon(sim::Simulation& sim, Duration how_long = 1000s) { return Deadline::in(how_long, sim.now()); }

Task<void> send_all(world::Stream& stream, std::string content, Deadline deadline, Result<void>& result) {
  result = co_await world::write_all(stream, as_bytes(content), deadline);
  stream.finish_writing();
}

Task<Result<std::string>> read_to_end(world::Stream& stream, Deadline deadline) {
  std::string all;
  std::vector<std::byte> buffer(50'000);
  for (;;) {
    CO_TRY(auto count, co_await world::read_some(stream, buffer, deadline));
    if (count == 0) co_return all;
    all += as_text(Bytes(buffer).first(count));
  }
}

Task<Result<std::string>> transfer(world::Stream& from, world::Stream& to, std::string content,
                                   Deadline deadline) {
  Loop& loop = co_await this_loop();
  Scope scope(loop);
  Result<void> sent;
  scope.spawn(send_all(from, content, deadline, sent));
  co_return co_await read_to_end(to, deadline);
}

Task<Result<StreamPtr>> dial(sim::Host& from, Address to, Deadline deadline,
                             world::ConnectOptions options = world::ConnectOptions()) {
  co_return co_await from.network().connect(to, options, deadline);
}

}  // namespace

TEST_CASE("bytes arrive in order and complete, however links jitter, lose and split") {
  for (auto seed : sim::seeds(50)) {
    CAPTURE(seed);
    Pair pair(seed, {.fabric = {.link = {.latency = 3ms, .jitter = 10ms, .loss = 0.02}, .chop = 0.3}});
    pair.connect();
    auto content = sim::random_bytes(3'000'000, seed);
    auto got = pair.sim.run(transfer(*pair.client, *pair.server, content, soon(pair.sim)), 1000s);
    REQUIRE(got.ok());
    CHECK(*got == content);
    auto back = pair.sim.run(transfer(*pair.server, *pair.client, content, soon(pair.sim)), 1000s);
    REQUIRE(back.ok());
    CHECK(*back == content);
    pair.client.reset();
    pair.server.reset();
    pair.sim.run_for(1s);
    CHECK(pair.sim.leaks() == "");
    CHECK(pair.sim.fabric().connections() == 0);
  }
}

TEST_CASE("a link's bandwidth bounds a transfer, its latency a round trip") {
  Pair pair(1, {.fabric = {.link = {.latency = 20ms, .jitter = 0ms}, .chop = 0}});
  auto began = pair.sim.now();
  pair.connect();
  CHECK(pair.sim.now() - began == 60ms);  // SYN, SYN-ACK, and the ACK that shows it to the listener
  pair.a.set_bandwidth(10'000'000, 10'000'000);
  began = pair.sim.now();
  auto got = pair.sim.run(transfer(*pair.client, *pair.server, sim::random_bytes(10'000'000), soon(pair.sim)),
                          1000s);
  REQUIRE(got.ok());
  auto took = pair.sim.now() - began;
  CHECK(took > 1s);
  CHECK(took < 1200ms);
}

TEST_CASE("streams share a link about equally") {
  sim::Simulation sim(4);
  auto& server = sim.add_host({.uplink = 50'000'000});
  auto listener = server.network().listen(server.address(80), {});
  constexpr int kClients = 5;
  std::vector<StreamPtr> clients(kClients), servers(kClients);
  auto setup = [](sim::Simulation& s, sim::Host& to, world::Listener& l, std::vector<StreamPtr>& cs,
                  std::vector<StreamPtr>& ss) -> Task<Result<void>> {
    for (int i = 0; i < kClients; ++i) {
      auto& host = s.add_host();
      CO_TRY(cs[i], co_await host.network().connect(to.address(80), {}, soon(s)));
      CO_TRY(ss[i], co_await l.accept(soon(s)));
    }
    co_return Result<void>{};
  };
  REQUIRE(sim.run(setup(sim, server, **listener, clients, servers), 100s).ok());
  std::vector<std::size_t> got(kClients);
  std::vector<Result<void>> sent(kClients);
  auto count = [](world::Stream& stream, std::size_t& bytes) -> Task<void> {
    std::vector<std::byte> buffer(100'000);
    for (;;) {
      auto read = co_await world::read_some(stream, buffer, Deadline::never());
      if (!read || *read == 0) co_return;
      bytes += *read;
    }
  };
  Scope scope(sim.loop());
  for (int i = 0; i < kClients; ++i) {
    scope.spawn(send_all(*servers[i], sim::random_bytes(40'000'000), Deadline::never(), sent[i]));
    scope.spawn(count(*clients[i], got[i]));
  }
  sim.run_for(2s);
  std::size_t total = 0;
  for (auto bytes : got) {
    CHECK(bytes > 17'000'000);
    CHECK(bytes < 22'000'000);
    total += bytes;
  }
  CHECK(total > 90'000'000);
  CHECK(total < 100'000'000);
}

TEST_CASE("a reader who does not read stops the writer: buffers are bounded") {
  Pair pair(2);
  pair.connect({.send_buffer = 100'000}, {.receive_buffer = 50'000});
  auto pump = [](world::Stream& stream, std::size_t& written) -> Task<void> {
    std::vector<std::byte> buffer(7'000);
    for (;;) {
      auto sent = co_await world::write_all(stream, buffer, Deadline::never());
      if (!sent) co_return;
      written += buffer.size();
    }
  };
  std::size_t written = 0;
  Scope scope(pair.sim.loop());
  scope.spawn(pump(*pair.client, written));
  pair.sim.run_for(100s);
  CHECK(written > 130'000);
  CHECK(written <= 150'000);
  // A read makes room again.
  std::vector<std::byte> buffer(50'000);
  auto before = written;
  auto read = pair.sim.run(world::read_some(*pair.server, buffer, soon(pair.sim)), 10s);
  REQUIRE(read.ok());
  pair.sim.run_for(1s);
  std::size_t drained = *read;
  while (drained < 30'000) {
    auto next = pair.sim.run(world::read_some(*pair.server, buffer, soon(pair.sim)), 10s);
    REQUIRE(next.ok());
    drained += *next;
  }
  pair.sim.run_for(1s);
  CHECK(written > before);
}

TEST_CASE("after finish_writing the other direction goes on") {
  Pair pair(3);
  pair.connect();
  pair.client->finish_writing();
  auto end = pair.sim.run(read_to_end(*pair.server, soon(pair.sim)), 10s);
  REQUIRE(end.ok());
  CHECK(end->empty());
  auto got = pair.sim.run(transfer(*pair.server, *pair.client, "still here", soon(pair.sim)), 10s);
  REQUIRE(got.ok());
  CHECK(*got == "still here");
}

TEST_CASE("bytes in the buffers go out after the stream is closed") {
  Pair pair(3);
  pair.connect();
  auto content = sim::random_bytes(200'000);
  Bytes part = as_bytes(content);
  std::size_t written = 0;
  while (written < part.size()) {
    auto rest = part.subspan(written);
    auto step = pair.client->try_write(std::span(&rest, 1), false);
    REQUIRE(step.state == world::Transfer::State::kMoved);
    written += step.bytes;
  }
  pair.client.reset();
  auto got = pair.sim.run(read_to_end(*pair.server, soon(pair.sim)), 10s);
  REQUIRE(got.ok());
  CHECK(*got == content);
}

TEST_CASE("an abort, or a close over unread bytes, resets the connection") {
  for (bool abort : {true, false}) {
    CAPTURE(abort);
    Pair pair(3);
    pair.connect();
    if (abort) {
      pair.server->abort();
    } else {
      Result<void> sent;
      CHECK(pair.sim.run(send_all(*pair.client, "never read", soon(pair.sim), sent), 1s));
      pair.sim.run_for(1s);
    }
    pair.server.reset();
    std::vector<std::byte> buffer(10);
    auto got = pair.sim.run(world::read_some(*pair.client, buffer, soon(pair.sim)), 10s);
    REQUIRE(!got.ok());
    CHECK(got.error().code() == ErrorCode::kReset);
    auto sent = pair.sim.run(world::write_all(*pair.client, as_bytes("x"), soon(pair.sim)), 10s);
    CHECK(sent.failed_with(ErrorCode::kReset));
  }
}

TEST_CASE("writing to a closed stream succeeds at first and then breaks") {
  Pair pair(3);
  pair.connect();
  pair.server.reset();
  pair.sim.run_for(1s);
  CHECK(pair.sim.run(world::write_all(*pair.client, as_bytes("x"), soon(pair.sim)), 10s).ok());
  pair.sim.run_for(1s);
  CHECK(pair.sim.run(world::write_all(*pair.client, as_bytes("x"), soon(pair.sim)), 10s)
            .failed_with(ErrorCode::kReset));
}

TEST_CASE("connecting: refused, no such host, silence, and a caller who gives up") {
  sim::Simulation sim(6);
  auto& a = sim.add_host();
  auto& b = sim.add_host();
  auto refused = sim.run(dial(a, b.address(1), soon(sim)), 10s);
  REQUIRE(!refused.ok());
  CHECK(refused.error().code() == ErrorCode::kRefused);
  auto nowhere = sim.run(dial(a, Address::ipv4({192, 168, 7, 7}, 80), soon(sim)), 10s);
  REQUIRE(!nowhere.ok());
  CHECK(nowhere.error().code() == ErrorCode::kRefused);
  b.power_off();
  auto began = sim.now();
  auto late = sim.run(dial(a, b.address(1), soon(sim, 5s)), 10s);
  REQUIRE(!late.ok());
  CHECK(late.error().code() == ErrorCode::kTimeout);
  CHECK(sim.now() - began == 5s);
  auto silent = sim.run(dial(a, b.address(1), soon(sim)), 1000s);
  REQUIRE(!silent.ok());
  CHECK(silent.error().code() == ErrorCode::kTimeout);
  b.start();
  auto listener = b.network().listen(b.address(1), {});
  {
    Scope scope(sim.loop());
    auto give_up = [](sim::Host& from, Address to) -> Task<void> {
      auto stream = co_await from.network().connect(to, {}, Deadline::never());
      CHECK(false);
    };
    scope.spawn(give_up(a, b.address(1)));
    sim.run_for(100us);
  }
  sim.run_for(10s);
  CHECK(sim.fabric().connections() == 0);
  CHECK(a.leaks() == "");
}

TEST_CASE("a full backlog makes clients wait, not fail") {
  sim::Simulation sim(6);
  auto& server = sim.add_host();
  auto& client = sim.add_host();
  auto listener = server.network().listen(server.address(80), {.backlog = 2});
  int connected = 0;
  std::vector<StreamPtr> streams;
  auto one = [](sim::Host& from, Address to, int& count, std::vector<StreamPtr>& keep) -> Task<void> {
    auto stream = co_await from.network().connect(to, {}, Deadline::in(60s, from.now()));
    REQUIRE(stream.ok());
    keep.push_back(std::move(*stream));
    ++count;
  };
  Scope scope(sim.loop());
  for (int i = 0; i < 5; ++i) scope.spawn(one(client, server.address(80), connected, streams));
  sim.run_for(500ms);
  CHECK(connected >= 2);
  CHECK(connected < 5);
  auto accept_all = [](world::Listener& l, std::vector<StreamPtr>& keep) -> Task<void> {
    for (int i = 0; i < 5; ++i) {
      auto stream = co_await l.accept(Deadline::never());
      REQUIRE(stream.ok());
      keep.push_back(std::move(*stream));
    }
  };
  CHECK(sim.run(accept_all(**listener, streams), 60s));
  CHECK(connected == 5);
}

TEST_CASE("a partition stalls connections; they go on when it heals, or die at last") {
  for (auto seed : sim::seeds(20)) {
    CAPTURE(seed);
    Pair pair(seed);
    pair.connect();
    auto content = sim::random_bytes(20'000'000, seed);
    Result<void> sent;
    Scope scope(pair.sim.loop());
    scope.spawn(send_all(*pair.client, content, Deadline::never(), sent));
    auto read = [](world::Stream& s, std::optional<Result<std::string>>& out) -> Task<void> {
      out.emplace(co_await read_to_end(s, Deadline::never()));
    };
    std::optional<Result<std::string>> got;
    scope.spawn(read(*pair.server, got));
    pair.sim.run_for(20ms);
    pair.sim.fabric().partition({&pair.a}, {&pair.b});
    pair.sim.run_for(30s);
    CHECK(!got.has_value());
    pair.sim.fabric().heal();
    pair.sim.run_for(60s);
    REQUIRE(got.has_value());
    REQUIRE(got->ok());
    CHECK(**got == content);
  }
  Pair pair(1);
  pair.connect();
  pair.sim.fabric().isolate(pair.b);
  Result<void> sent;
  CHECK(pair.sim.run(send_all(*pair.client, "into the void", soon(pair.sim), sent), 1s));
  std::vector<std::byte> buffer(10);
  auto dead = pair.sim.run(world::read_some(*pair.client, buffer, Deadline::never()), 3h);
  REQUIRE(!dead.ok());
  CHECK(dead.error().code() == ErrorCode::kTimeout);
}

TEST_CASE("a killed process closes its connections, a dead machine says nothing") {
  Pair pair(7);
  pair.connect();
  auto hold = [](StreamPtr stream) -> Task<void> {
    co_await sleep_for(1000h);
    (void)stream->local();
  };
  pair.b.spawn(hold(std::move(pair.server)));
  pair.sim.run_for(1ms);
  pair.b.kill();
  auto end = pair.sim.run(read_to_end(*pair.client, soon(pair.sim)), 10s);
  CHECK(end.ok());
  pair.b.start();

  pair.connect({.keepalive = 30s});
  pair.b.spawn(hold(std::move(pair.server)));
  pair.sim.run_for(1ms);
  pair.b.power_off();
  auto began = pair.sim.now();
  std::vector<std::byte> buffer(10);
  auto silent = pair.sim.run(world::read_some(*pair.client, buffer, soon(pair.sim, 20s)), 100s);
  CHECK(silent.failed_with(ErrorCode::kTimeout));
  auto noticed = pair.sim.run(world::read_some(*pair.client, buffer, Deadline::never()), 100s);
  REQUIRE(!noticed.ok());
  CHECK(pair.sim.now() - began > 30s);
  CHECK(pair.sim.now() - began < 50s);
}

TEST_CASE("a machine that comes back resets connections it no longer knows") {
  Pair pair(7);
  pair.connect();
  pair.b.power_off();
  pair.sim.run_for(5s);
  pair.b.start();
  Result<void> sent;
  CHECK(pair.sim.run(send_all(*pair.client, "hello?", soon(pair.sim), sent), 1s));
  std::vector<std::byte> buffer(10);
  auto got = pair.sim.run(world::read_some(*pair.client, buffer, soon(pair.sim)), 10s);
  CHECK(got.failed_with(ErrorCode::kReset));
}

TEST_CASE("addresses: in use, wildcard, loopback, reuse_port, ephemeral, IPv6") {
  sim::Simulation sim(8);
  auto v6 = *Address::parse_ip("fd00::1", 0);
  auto& host = sim.add_host({.addresses = {Address::ipv4({10, 1, 1, 1}, 0), v6}});
  auto& other = sim.add_host();
  auto& net = host.network();
  auto first = net.listen(*Address::parse("0.0.0.0:80"), {});
  REQUIRE(first.ok());
  CHECK(!net.listen(host.address(80), {}).ok());
  CHECK(net.listen(host.address(80), {}).failed_with(ErrorCode::kExists));
  CHECK(net.listen(*Address::parse("10.9.9.9:80"), {}).failed_with(ErrorCode::kInvalid));
  auto any = net.listen(*Address::parse("127.0.0.1:0"), {});
  REQUIRE(any.ok());
  CHECK((*any)->local().port() >= 32768);
  CHECK(sim.run(dial(host, (*any)->local(), soon(sim)), 1s).ok());
  CHECK(!sim.run(dial(other, (*any)->local(), soon(sim)), 1s).ok());
  CHECK(sim.run(dial(other, host.address(80), soon(sim)), 1s).ok());
  first->reset();
  CHECK(net.listen(host.address(80), {}).ok());
  auto one = net.listen(host.address(81), {.reuse_port = true});
  auto two = net.listen(host.address(81), {.reuse_port = true});
  CHECK(one.ok());
  CHECK(two.ok());
  CHECK(!net.listen(host.address(81), {}).ok());
  auto both = net.listen(*Address::parse("[::]:90"), {});
  REQUIRE(both.ok());
  CHECK(sim.run(dial(other, host.address(90), soon(sim)), 1s).ok());
  auto six = sim.run(dial(host, v6.with_port(90), soon(sim)), 1s);
  REQUIRE(six.ok());
  CHECK((*six)->local().family() == Address::Family::kIpv6);
  auto unreachable = sim.run(dial(other, v6.with_port(90), soon(sim)), 1s);
  REQUIRE(!unreachable.ok());
  CHECK(unreachable.error().code() == ErrorCode::kRefused);
  auto bound = sim.run(dial(other, host.address(90), soon(sim), {.from = other.address(0)}), 1s);
  REQUIRE(bound.ok());
  CHECK((*bound)->local().ip() == other.address(0).ip());
}

TEST_CASE("Unix sockets live in the host's files") {
  sim::Simulation sim(8);
  auto& host = sim.add_host();
  auto& other = sim.add_host();
  auto path = Address::unix_socket("/run/d7y.sock");
  CHECK(host.network().listen(path, {}).failed_with(ErrorCode::kNotFound));
  REQUIRE(host.files().make_folders("/run").ok());
  auto listener = host.network().listen(path, {.mode = 0600});
  REQUIRE(listener.ok());
  auto status = host.files().status("/run/d7y.sock");
  REQUIRE(status.ok());
  CHECK(status->kind == world::FileKind::kOther);
  CHECK(status->mode == 0600);
  CHECK(host.network().listen(path, {}).failed_with(ErrorCode::kExists));
  auto stream = sim.run(dial(host, path, soon(sim)), 1s);
  REQUIRE(stream.ok());
  CHECK((*stream)->peer_credentials().has_value());
  auto far = sim.run(dial(other, path, soon(sim)), 1s);
  REQUIRE(!far.ok());
  CHECK(far.error().code() == ErrorCode::kRefused);
  host.kill();
  host.start();
  CHECK(host.disk().exists("/run/d7y.sock"));
  CHECK(!sim.run(dial(host, path, soon(sim)), 1s).ok());
  CHECK(host.network().listen(path, {}).ok());  // the stale file does not hinder
}

TEST_CASE("names resolve after a delay, or fail as told") {
  sim::Simulation sim(9);
  auto& host = sim.add_host({.name = "one"});
  auto look = [](sim::Host& from, std::string name, Duration how_long) -> Task<Result<std::vector<Address>>> {
    co_return co_await from.network().resolve(name, 8080, Deadline::in(how_long, from.now()));
  };
  auto own = sim.run(look(host, "one", 1s), 2s);
  REQUIRE(own.ok());
  CHECK(own->front() == host.address(8080));
  CHECK(sim.run(look(host, "nobody", 1s), 2s).failed_with(ErrorCode::kRefused));
  auto literal = sim.run(look(host, "[fd00::2]", 1s), 2s);
  REQUIRE(literal.ok());
  CHECK(literal->front().to_string() == "[fd00::2]:8080");
  sim.fabric().set_name("slow", {host.address(0)}, 5s);
  CHECK(sim.run(look(host, "slow", 1s), 10s).failed_with(ErrorCode::kTimeout));
  CHECK(sim.run(look(host, "slow", 10s), 10s).ok());
  sim.fabric().break_name("one", ErrorCode::kUnavailable);
  CHECK(sim.run(look(host, "one", 1s), 2s).failed_with(ErrorCode::kUnavailable));
}

TEST_CASE("descriptors run out") {
  Pair pair(10);
  auto listener = pair.b.network().listen(pair.b.address(80), {});
  pair.a.limit_descriptors(1);
  auto first = pair.sim.run(dial(pair.a, pair.b.address(80), soon(pair.sim)), 1s);
  CHECK(first.ok());
  CHECK(
      pair.sim.run(dial(pair.a, pair.b.address(80), soon(pair.sim)), 1s).failed_with(ErrorCode::kExhausted));
  pair.b.limit_descriptors(1);
  auto accept = [](world::Listener& l, Deadline d) -> Task<Result<StreamPtr>> {
    co_return co_await l.accept(d);
  };
  CHECK(pair.sim.run(accept(**listener, soon(pair.sim, 1s)), 2s).failed_with(ErrorCode::kExhausted));
  pair.b.limit_descriptors(10);
  CHECK(pair.sim.run(accept(**listener, soon(pair.sim, 1s)), 2s).ok());
}

TEST_CASE("files go out without the sender's buffers") {
  Pair pair(11);
  pair.connect();
  auto content = sim::random_bytes(1'000'000);
  pair.a.disk().put("/data", content);
  auto file = pair.a.files().open("/data", world::OpenMode::kRead);
  REQUIRE(file.ok());
  auto send = [](world::Stream& s, world::File& f, Deadline d, Result<void>& out) -> Task<void> {
    out = co_await world::send_file(s, f, 1000, 900'000, d);
    s.finish_writing();
  };
  Result<void> sent;
  Scope scope(pair.sim.loop());
  scope.spawn(send(*pair.client, **file, soon(pair.sim), sent));
  auto got = pair.sim.run(read_to_end(*pair.server, soon(pair.sim)), 10s);
  REQUIRE(got.ok());
  CHECK(sent.ok());
  CHECK(*got == content.substr(1000, 900'000));
}

TEST_CASE("a corked rest waits for more, or for 200 ms") {
  Pair pair(12, {.fabric = {.chop = 0}});
  pair.connect();
  auto write = [](world::Stream& s, std::string text, bool more) -> Task<Result<void>> {
    co_return co_await world::write_all(s, as_bytes(text), Deadline::never(), more);
  };
  auto began = pair.sim.now();
  CHECK(pair.sim.run(write(*pair.client, "part", true), 1s).ok());
  std::vector<std::byte> buffer(100);
  CHECK(pair.sim.run(world::read_some(*pair.server, buffer, soon(pair.sim, 100ms)), 1s)
            .failed_with(ErrorCode::kTimeout));
  auto got = pair.sim.run(world::read_some(*pair.server, buffer, soon(pair.sim)), 1s);
  CHECK(got.ok());
  CHECK(pair.sim.now() - began >= 200ms);
  began = pair.sim.now();
  CHECK(pair.sim.run(write(*pair.client, "a", true), 1s).ok());
  CHECK(pair.sim.run(write(*pair.client, "b", false), 1s).ok());
  got = pair.sim.run(world::read_some(*pair.server, buffer, soon(pair.sim)), 1s);
  REQUIRE(got.ok());
  CHECK(*got == 2);
  CHECK(pair.sim.now() - began < 10ms);
}

TEST_CASE("two hundred hosts with thousands of streams run in seconds") {
  sim::Simulation sim(13);
  constexpr int kHosts = 200, kStreams = 10;
  std::vector<sim::Host*> hosts;
  for (int i = 0; i < kHosts; ++i) hosts.push_back(&sim.add_host());
  std::uint64_t received = 0;
  auto source = [](StreamPtr stream) -> Task<void> {
    std::vector<std::byte> buffer(100'000);
    for (int i = 0; i < 10; ++i) {
      auto sent = co_await world::write_all(*stream, buffer, Deadline::never());
      if (!sent) co_return;
    }
  };
  auto serve = [&source](sim::Host& host) -> Task<void> {
    auto listener = host.network().listen(host.address(80), {});
    REQUIRE(listener.ok());
    Scope scope(host.loop());
    for (;;) {
      auto stream = co_await (*listener)->accept(Deadline::never());
      if (!stream) co_return;
      scope.spawn(source(std::move(*stream)));
    }
  };
  auto fetch = [](sim::Host& host, Address from, std::uint64_t& count) -> Task<void> {
    auto stream = co_await host.network().connect(from, {}, Deadline::never());
    REQUIRE(stream.ok());
    std::vector<std::byte> buffer(100'000);
    for (;;) {
      auto got = co_await world::read_some(**stream, buffer, Deadline::never());
      if (!got || *got == 0) co_return;
      count += *got;
    }
  };
  for (auto* host : hosts) host->spawn(serve(*host));
  sim.run_for(1ms);
  for (int i = 0; i < kHosts; ++i) {
    for (int k = 1; k <= kStreams; ++k) {
      hosts[i]->spawn(fetch(*hosts[i], hosts[(i * 7 + k * 13) % kHosts]->address(80), received));
    }
  }
  sim.run_for(60s);
  CHECK(received == 1'000'000ULL * kHosts * kStreams);
}
