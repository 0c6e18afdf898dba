#include "world/network.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "real_world.h"

using namespace d7y;
using namespace d7y::world;
using namespace std::chrono_literals;

namespace {

const Address kAnyPort = Address::ipv4({127, 0, 0, 1}, 0);

struct Pair {
  std::unique_ptr<Stream> client, server;
};

Task<void> connect_into(Network& network, Address to, Deadline deadline, std::unique_ptr<Stream>& out) {
  auto stream = co_await network.connect(to, {}, deadline);
  if (stream) out = std::move(*stream);
}

Task<Result<Pair>> make_pair(Network& network, Listener& listener, Deadline deadline) {
  Loop& loop = co_await this_loop();
  Pair pair;
  Scope scope(loop);
  scope.spawn(connect_into(network, listener.local(), deadline, pair.client));
  CO_TRY(pair.server, co_await listener.accept(deadline));
  CO_OK(co_await scope.idle(deadline));
  if (!pair.client) co_return error(ErrorCode::kInternal, "not connected");
  co_return std::move(pair);
}

// Connected streams over `at`.
Pair connected(RealWorld& real, const Address& at = kAnyPort) {
  auto listener = real->network().listen(at, {}).value();
  return real.wait(make_pair(real->network(), *listener, real.soon())).value();
}

Task<void> write_and_finish(Stream& stream, std::string text, Deadline deadline) {
  auto written = co_await write_all(stream, as_bytes(text), deadline);
  if (written) stream.finish_writing();
}

Task<Result<std::string>> read_to_end(Stream& stream, Deadline deadline) {
  std::string all;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    CO_TRY(auto count, co_await read_some(stream, buffer, deadline));
    if (count == 0) co_return std::move(all);
    all += as_text(Bytes(buffer).first(count));
  }
}

template <class T>
Task<void> keep(Task<Result<T>> task, std::optional<Result<T>>& out) {
  out.emplace(co_await task);
}

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 1;
  for (auto& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

void fill(Stream& stream) {
  std::array<std::byte, 64_KiB> block{};
  Bytes part = block;
  while (stream.try_write({&part, 1}, false).state == Transfer::State::kMoved) {
  }
}

void echo_text(const Address& at) {
  RealWorld real;
  auto pair = connected(real, at);
  auto text = pattern(3'000'000);
  Scope scope(real->loop());
  scope.spawn(write_and_finish(*pair.client, text, real.soon()));
  auto got = real.wait(read_to_end(*pair.server, real.soon()));
  REQUIRE(got.ok());
  CHECK((*got == text));
}

}  // namespace

TEST_CASE("bytes pass in order over IPv4, to the end of the stream") { echo_text(kAnyPort); }

TEST_CASE("bytes pass in order over IPv6, to the end of the stream") {
  echo_text(Address::parse("[::1]:0").value());
}

TEST_CASE("bytes pass in order over a Unix socket, to the end of the stream") {
  RealWorld real;
  echo_text(Address::unix_socket(real.path("echo.sock")));
}

TEST_CASE("bytes pass in order over an abstract Unix socket") {
  echo_text(Address::unix_socket("@d7y-world-test-" + std::to_string(::getpid())));
}

TEST_CASE("both ends know each other's address") {
  RealWorld real;
  auto pair = connected(real);
  CHECK(pair.client->remote() == pair.server->local());
  CHECK(pair.client->local() == pair.server->remote());
  CHECK(pair.client->local().port() != 0);
}

TEST_CASE("an empty stream would block, and a wait for it ends at its deadline") {
  RealWorld real;
  auto pair = connected(real);
  std::array<std::byte, 16> buffer;
  CHECK(pair.client->try_read(buffer).state == Transfer::State::kWouldBlock);
  auto got = real.wait(read_some(*pair.client, buffer, real.in(2ms)));
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == ErrorCode::kTimeout);
  CHECK(got.error().message().find("127.0.0.1") != std::string::npos);
}

TEST_CASE("messages that come one by one are each seen, though reads stop short") {
  RealWorld real;
  auto pair = connected(real);
  std::array<std::byte, 64> buffer;
  for (int i = 0; i < 50; ++i) {
    auto text = "message " + std::to_string(i);
    REQUIRE(real.wait(write_all(*pair.client, as_bytes(text), real.soon())).ok());
    auto got = real.wait(read_some(*pair.server, buffer, real.soon()));
    REQUIRE(got.ok());
    CHECK(as_text(Bytes(buffer).first(*got)) == text);
  }
  pair.client->finish_writing();
  auto end = real.wait(read_some(*pair.server, buffer, real.soon()));
  REQUIRE(end.ok());
  CHECK(*end == 0);
}

TEST_CASE("an end that arrives together with data is seen after a short read") {
  RealWorld real;
  auto pair = connected(real);
  REQUIRE(real.wait(write_all(*pair.client, as_bytes("last words"), real.soon())).ok());
  pair.client->finish_writing();
  auto got = real.wait(read_to_end(*pair.server, real.soon()));
  REQUIRE(got.ok());
  CHECK(*got == "last words");
}

TEST_CASE("a side that has finished writing can still read") {
  RealWorld real;
  auto pair = connected(real);
  pair.client->finish_writing();
  REQUIRE(real.wait(read_to_end(*pair.server, real.soon())).ok());
  REQUIRE(real.wait(write_all(*pair.server, as_bytes("answer"), real.soon())).ok());
  pair.server->finish_writing();
  CHECK(real.wait(read_to_end(*pair.client, real.soon())).value() == "answer");
}

TEST_CASE("many parts leave in one step and arrive in order") {
  RealWorld real;
  auto pair = connected(real);
  std::vector<std::string> texts;
  std::vector<Bytes> parts;
  std::string whole;
  for (int i = 0; i < 300; ++i) texts.push_back(i % 7 == 0 ? "" : "part " + std::to_string(i) + ";");
  for (auto& text : texts) {
    parts.push_back(as_bytes(text));
    whole += text;
  }
  auto step = pair.client->try_write(parts, false);
  CHECK(step.state == Transfer::State::kMoved);
  CHECK(step.bytes == whole.size());
  pair.client->finish_writing();
  CHECK(real.wait(read_to_end(*pair.server, real.soon())).value() == whole);
}

TEST_CASE("a full stream would block, and goes on once the other side reads") {
  RealWorld real;
  auto pair = connected(real);
  fill(*pair.client);
  std::optional<Result<void>> woken;
  auto wait = [](Stream& stream, Deadline deadline, std::optional<Result<void>>& out) -> Task<void> {
    out.emplace(co_await stream.writable().wait(deadline));
  };
  Scope scope(real->loop());
  scope.spawn(wait(*pair.client, real.soon(), woken));
  real->run_until([] { return false; }, real.in(2ms));
  CHECK_FALSE(woken.has_value());
  std::vector<std::byte> sink(1_MiB);
  CHECK(real->run_until(
      [&] {
        while (pair.server->try_read(sink).state == Transfer::State::kMoved) {
        }
        return woken.has_value();
      },
      real.soon()));
  CHECK(woken->ok());
}

TEST_CASE("a write to a stream that is never read ends at its deadline") {
  RealWorld real;
  auto pair = connected(real);
  auto text = pattern(32_MiB);
  auto written = real.wait(write_all(*pair.client, as_bytes(text), real.in(20ms)));
  CHECK(written.failed_with(ErrorCode::kTimeout));
}

TEST_CASE("abort shows the other side a reset and this side a broken stream") {
  RealWorld real;
  auto pair = connected(real);
  pair.client->abort();
  std::array<std::byte, 16> buffer;
  CHECK(pair.client->try_read(buffer).state == Transfer::State::kFailed);
  CHECK(pair.client->error().code() == ErrorCode::kReset);
  auto got = real.wait(read_some(*pair.server, buffer, real.soon()));
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == ErrorCode::kReset);
}

TEST_CASE("abort wakes whoever waits for the stream") {
  RealWorld real;
  auto pair = connected(real);
  std::array<std::byte, 16> buffer;
  std::optional<Result<std::size_t>> got;
  Scope scope(real->loop());
  scope.spawn(keep(read_some(*pair.client, buffer, real.soon()), got));
  real->run_until([] { return false; }, real.in(1ms));
  pair.client->abort();
  CHECK(real->run_until([&] { return got.has_value(); }, real.soon()));
  CHECK(got->failed_with(ErrorCode::kReset));
}

TEST_CASE("writing and sending to a closed connection fails without a signal") {
  RealWorld real;
  auto file = real->files().open(real.path("content"), OpenMode::kCreate).value();
  REQUIRE(file->write_at(0, as_bytes(pattern(1_MiB))).ok());
  auto until_broken = [](RealWorld& world, Stream& stream, File& source, bool sending) {
    auto task = [](Stream& to, File& from, bool send, Deadline deadline) -> Task<Result<void>> {
      std::string text(100'000, 'x');
      for (;;) {
        if (send) {
          CO_OK(co_await send_file(to, from, 0, 1_MiB, deadline));
        } else {
          CO_OK(co_await write_all(to, as_bytes(text), deadline));
        }
      }
    };
    return world.wait(task(stream, source, sending, world.soon()));
  };
  for (bool sending : {false, true}) {
    auto pair = connected(real);
    pair.server.reset();
    auto broken = until_broken(real, *pair.client, *file, sending);
    CHECK(broken.failed_with(ErrorCode::kReset));
  }
  // Also outside of a run, where nobody has blocked the signal yet.
  auto pair = connected(real);
  pair.server.reset();
  auto state = Transfer::State::kMoved;
  for (int i = 0; i < 1000 && state != Transfer::State::kFailed; ++i) {
    state = pair.client->try_send_file(*file, 0, 1_MiB).state;
    real->run_until([] { return true; });
  }
  CHECK(state == Transfer::State::kFailed);
}

TEST_CASE("what was said before the connection broke is there when writing finds out") {
  RealWorld real;
  auto pair = connected(real);
  Bytes unread = as_bytes(std::string_view("so much to say"));
  REQUIRE(pair.client->try_write({&unread, 1}, false).state == Transfer::State::kMoved);
  Bytes refusal = as_bytes(std::string_view("no"));
  REQUIRE(pair.server->try_write({&refusal, 1}, false).state == Transfer::State::kMoved);
  pair.server.reset();  // with bytes unread: a reset
  auto state = Transfer::State::kMoved;
  for (int i = 0; i < 1000 && state != Transfer::State::kFailed; ++i) {
    state = pair.client->try_write({&unread, 1}, false).state;
    real->run_until([] { return true; });
  }
  REQUIRE(state == Transfer::State::kFailed);
  std::array<std::byte, 16> buffer;
  auto got = pair.client->try_read(buffer);
  REQUIRE(got.state == Transfer::State::kMoved);
  CHECK(as_text(Bytes(buffer).first(got.bytes)) == "no");
  CHECK(pair.client->try_read(buffer).state == Transfer::State::kFailed);
  CHECK(pair.client->error().code() == ErrorCode::kReset);
}

TEST_CASE("a file is sent whole over TCP and over a Unix socket") {
  RealWorld real;
  auto text = pattern(5'000'001);
  auto file = real->files().open(real.path("content"), OpenMode::kCreate).value();
  REQUIRE(file->write_at(0, as_bytes(text)).ok());
  for (const auto& at : {kAnyPort, Address::unix_socket(real.path("sock"))}) {
    auto pair = connected(real, at);
    auto send = [](Stream& stream, File& source, std::uint64_t length, Deadline deadline) -> Task<void> {
      auto sent = co_await send_file(stream, source, 1000, length, deadline);
      if (sent) stream.finish_writing();
    };
    Scope scope(real->loop());
    scope.spawn(send(*pair.server, *file, text.size() - 1000, real.soon()));
    auto got = real.wait(read_to_end(*pair.client, real.soon()));
    REQUIRE(got.ok());
    CHECK((*got == text.substr(1000)));
  }
}

TEST_CASE("sending more of a file than there is says so") {
  RealWorld real;
  auto file = real->files().open(real.path("content"), OpenMode::kCreate).value();
  REQUIRE(file->write_at(0, as_bytes("short")).ok());
  auto pair = connected(real);
  auto sent = real.wait(send_file(*pair.client, *file, 0, 100, real.soon()));
  CHECK(sent.failed_with(ErrorCode::kCorrupt));
}

TEST_CASE("reading a fixed number of bytes fails when the stream ends before") {
  RealWorld real;
  auto pair = connected(real);
  REQUIRE(real.wait(write_all(*pair.client, as_bytes("abc"), real.soon())).ok());
  pair.client->finish_writing();
  std::array<std::byte, 4> buffer;
  CHECK(real.wait(read_exactly(*pair.server, buffer, real.soon())).failed_with(ErrorCode::kReset));
}

TEST_CASE("nobody listening is refused, with the address in the message") {
  RealWorld real;
  auto address = real->network().listen(kAnyPort, {}).value()->local();
  auto got = real.wait(real->network().connect(address, {}, real.soon()));
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == ErrorCode::kRefused);
  CHECK(got.error().message().find(address.to_string()) != std::string::npos);
}

TEST_CASE("a missing Unix socket is refused") {
  RealWorld real;
  auto got = real.wait(real->network().connect(Address::unix_socket(real.path("none")), {}, real.soon()));
  CHECK(got.failed_with(ErrorCode::kRefused));
}

TEST_CASE("a connection leaves from the address it is told to") {
  RealWorld real;
  auto listener = real->network().listen(kAnyPort, {}).value();
  ConnectOptions options;
  options.from = Address::ipv4({127, 0, 0, 9}, 0);
  options.keepalive = 30s;
  options.receive_buffer = options.send_buffer = 256 * 1024;
  auto client = real.wait(real->network().connect(listener->local(), options, real.soon())).value();
  auto server = real.wait(listener->accept(real.soon())).value();
  CHECK(server->remote().ip() == "127.0.0.9");
  options.from = Address::ipv4({203, 0, 113, 1}, 0);
  CHECK(real.wait(real->network().connect(listener->local(), options, real.soon()))
            .failed_with(ErrorCode::kInvalid));
  options.from = Address::parse("[::1]:0").value();
  CHECK(real.wait(real->network().connect(listener->local(), options, real.soon()))
            .failed_with(ErrorCode::kInvalid));
}

TEST_CASE("connecting to a Unix socket whose queue is full ends at the deadline") {
  RealWorld real;
  ListenOptions options;
  options.backlog = 1;
  auto at = Address::unix_socket(real.path("full"));
  auto listener = real->network().listen(at, options).value();
  std::vector<std::unique_ptr<Stream>> streams;
  ErrorCode code = ErrorCode::kInternal;
  for (int i = 0; i < 10 && code == ErrorCode::kInternal; ++i) {
    auto stream = real.wait(real->network().connect(at, {}, real.in(15ms)));
    if (stream) {
      streams.push_back(std::move(*stream));
    } else {
      code = stream.error().code();
    }
  }
  CHECK(code == ErrorCode::kTimeout);
}

TEST_CASE("an address in use is reported as such; reuse_port shares it") {
  RealWorld real;
  auto first = real->network().listen(kAnyPort, {}).value();
  CHECK(real->network().listen(first->local(), {}).failed_with(ErrorCode::kExists));
  ListenOptions shared;
  shared.reuse_port = true;
  auto one = real->network().listen(kAnyPort, shared).value();
  CHECK(real->network().listen(one->local(), shared).ok());
  CHECK(real->network().listen(Address::ipv4({203, 0, 113, 1}, 0), {}).failed_with(ErrorCode::kInvalid));
}

TEST_CASE("accept ends at its deadline when nobody comes") {
  RealWorld real;
  auto listener = real->network().listen(kAnyPort, {}).value();
  CHECK(real.wait(listener->accept(real.in(2ms))).failed_with(ErrorCode::kTimeout));
}

TEST_CASE("a queue of connections is accepted one after the other") {
  RealWorld real;
  auto listener = real->network().listen(kAnyPort, {}).value();
  std::vector<std::unique_ptr<Stream>> clients, servers;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(real.wait(real->network().connect(listener->local(), {}, real.soon())).value());
  }
  for (int i = 0; i < 20; ++i) servers.push_back(real.wait(listener->accept(real.soon())).value());
  CHECK(servers.back()->remote() == clients.back()->local());
}

TEST_CASE("without free descriptors accept waits instead of failing, and accepts when there are some again") {
  RealWorld real;
  auto listener = real->network().listen(kAnyPort, {}).value();
  auto client = real.wait(real->network().connect(listener->local(), {}, real.soon())).value();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  int highest = ::dup(0);
  ::close(highest);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(highest);
  setrlimit(RLIMIT_NOFILE, &tight);
  std::optional<Result<std::unique_ptr<Stream>>> accepted;
  auto at_deadline = real.wait(listener->accept(real.in(15ms)));
  CHECK(at_deadline.failed_with(ErrorCode::kExhausted));
  Scope scope(real->loop());
  scope.spawn(keep(listener->accept(real.soon()), accepted));
  real->run_until([] { return false; }, real.in(15ms));
  CHECK_FALSE(accepted.has_value());
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(real->run_until([&] { return accepted.has_value(); }, real.soon()));
  CHECK(accepted->ok());
}

TEST_CASE("a Unix socket has the mode asked for, tells its peer's identity and goes with its listener") {
  RealWorld real;
  ListenOptions options;
  options.mode = 0660;
  auto at = Address::unix_socket(real.path("sock"));
  auto listener = real->network().listen(at, options).value();
  struct stat status{};
  REQUIRE(::stat(at.path().c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0660);
  auto pair = real.wait(make_pair(real->network(), *listener, real.soon())).value();
  auto peer = pair.server->peer_credentials();
  REQUIRE(peer.has_value());
  CHECK(peer->pid == static_cast<std::uint32_t>(::getpid()));
  CHECK(peer->uid == ::getuid());
  CHECK(pair.client->remote() == at);
  listener.reset();
  CHECK(::stat(at.path().c_str(), &status) != 0);
}

TEST_CASE("a live Unix socket is not taken over, a stale one is") {
  RealWorld real;
  auto at = Address::unix_socket(real.path("sock"));
  auto live = real->network().listen(at, {}).value();
  CHECK(real->network().listen(at, {}).failed_with(ErrorCode::kExists));
  CHECK(real.wait(real->network().connect(at, {}, real.soon())).ok());
  live.reset();
  // A server that died leaves its file behind.
  int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un raw{};
  raw.sun_family = AF_UNIX;
  at.path().copy(raw.sun_path, sizeof raw.sun_path - 1);
  REQUIRE(::bind(dead, reinterpret_cast<sockaddr*>(&raw), sizeof raw) == 0);
  ::close(dead);
  auto taken = real->network().listen(at, {});
  REQUIRE(taken.ok());
  CHECK(real.wait(real->network().connect(at, {}, real.soon())).ok());
}

TEST_CASE("a file that is no socket is left alone") {
  RealWorld real;
  REQUIRE(real->files().open(real.path("precious"), OpenMode::kCreate).ok());
  CHECK(real->network()
            .listen(Address::unix_socket(real.path("precious")), {})
            .failed_with(ErrorCode::kExists));
  CHECK(real->files().status(real.path("precious")).ok());
}

TEST_CASE("a listener does not remove its successor's socket file") {
  RealWorld real;
  auto at = Address::unix_socket(real.path("sock"));
  auto old = real->network().listen(at, {}).value();
  REQUIRE(real->files().remove(at.path()).ok());
  auto young = real->network().listen(at, {}).value();
  old.reset();
  CHECK(real.wait(real->network().connect(at, {}, real.soon())).ok());
}

TEST_CASE("a socket path too long for the system is refused with its length") {
  RealWorld real;
  auto got = real->network().listen(Address::unix_socket("/tmp/" + std::string(200, 'x')), {});
  REQUIRE(got.failed_with(ErrorCode::kInvalid));
  CHECK(got.error().message().find("205") != std::string::npos);
}

TEST_CASE("a port below 1024 is a matter of rights") {
  if (::getuid() == 0) return;
  RealWorld real;
  CHECK(real->network().listen(Address::ipv4({127, 0, 0, 1}, 1), {}).failed_with(ErrorCode::kPermission));
}

TEST_CASE("literals and localhost are resolved without asking anybody") {
  RealWorld real;
  auto& network = real->network();
  auto passed = Deadline::at(real->now());
  CHECK(real.wait(network.resolve("192.0.2.7", 80, passed)).value().at(0).to_string() == "192.0.2.7:80");
  CHECK(real.wait(network.resolve("2001:db8::1", 80, passed)).value().at(0).to_string() ==
        "[2001:db8::1]:80");
  CHECK(real.wait(network.resolve("[2001:db8::1]", 80, passed)).value().at(0).to_string() ==
        "[2001:db8::1]:80");
  for (std::string name : {"localhost", "LocalHost.", "a.localhost"}) {
    auto got = real.wait(network.resolve(name, 81, passed)).value();
    REQUIRE(got.size() == 2);
    CHECK(got[0].to_string() == "127.0.0.1:81");
    CHECK(got[1].to_string() == "[::1]:81");
  }
}

TEST_CASE("names that can be none are refused") {
  RealWorld real;
  CHECK(real.wait(real->network().resolve("", 80, real.soon())).failed_with(ErrorCode::kInvalid));
  CHECK(real.wait(real->network().resolve(std::string(300, 'a'), 80, real.soon()))
            .failed_with(ErrorCode::kInvalid));
  CHECK(real.wait(real->network().resolve(std::string("a\0b", 3), 80, real.soon()))
            .failed_with(ErrorCode::kInvalid));
}

TEST_CASE("a lookup goes through the pool and may be cancelled at any moment") {
  RealWorld real;
  for (int i = 0; i < 8; ++i) {
    std::optional<Result<std::vector<Address>>> out;
    Scope scope(real->loop());
    scope.spawn(
        keep(real->network().resolve("name-" + std::to_string(i) + ".invalid", 80, real.soon()), out));
    real->run_until([] { return true; });
  }
  auto got = real.wait(real->network().resolve(real->machine().hostname, 80, real.soon()));
  if (got) {
    CHECK(got->at(0).port() == 80);
  } else {
    CHECK(got.error().message().find(real->machine().hostname) != std::string::npos);
  }
}

TEST_CASE("waits of every kind can be cancelled") {
  RealWorld real;
  auto listener = real->network().listen(kAnyPort, {}).value();
  auto pair = real.wait(make_pair(real->network(), *listener, real.soon())).value();
  fill(*pair.client);
  std::array<std::byte, 16> buffer;
  std::string text(1000, 'x');
  {
    std::optional<Result<std::unique_ptr<Stream>>> accepted, connecting;
    std::optional<Result<std::size_t>> read;
    std::optional<Result<void>> written;
    Scope scope(real->loop());
    scope.spawn(keep(listener->accept(Deadline::never()), accepted));
    scope.spawn(keep(read_some(*pair.client, buffer, Deadline::never()), read));
    scope.spawn(keep(write_all(*pair.client, as_bytes(text), Deadline::never()), written));
    // TEST-NET-1 answers nobody; where there is no route at all this is refused at once.
    scope.spawn(
        keep(real->network().connect(Address::ipv4({192, 0, 2, 1}, 9), {}, Deadline::never()), connecting));
    real->run_until([] { return false; }, real.in(3ms));
    CHECK_FALSE(accepted.has_value());
    CHECK_FALSE(read.has_value());
    CHECK_FALSE(written.has_value());
  }
  auto again = real.wait(make_pair(real->network(), *listener, real.soon()));
  CHECK(again.ok());
}

TEST_CASE("the first candidate that answers wins, refused ones are passed over at once") {
  RealWorld real;
  auto dead = real->network().listen(kAnyPort, {}).value()->local();
  auto listener = real->network().listen(kAnyPort, {}).value();
  auto before = real->now();
  auto stream = real.wait(connect_any(real->network(), {dead, dead, listener->local()}, {}, real.soon()));
  REQUIRE(stream.ok());
  CHECK((*stream)->remote() == listener->local());
  CHECK(real->now() - before < 200ms);
}

TEST_CASE("when no candidate answers the last failure is told") {
  RealWorld real;
  auto dead = real->network().listen(kAnyPort, {}).value()->local();
  auto got = real.wait(connect_any(real->network(), {dead, dead}, {}, real.soon()));
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == ErrorCode::kRefused);
  CHECK(real.wait(connect_any(real->network(), {}, {}, real.soon())).failed_with(ErrorCode::kNotFound));
}

TEST_CASE("the loopback interface is listed") {
  RealWorld real;
  bool found = false;
  for (const auto& interface : real->network().interfaces()) {
    if (interface.address.ip() == "127.0.0.1") found = interface.up && !interface.name.empty();
  }
  CHECK(found);
}

TEST_CASE("a world is torn down after connections it had in flight") {
  auto real = std::make_unique<RealWorld>();
  auto listener = (*real)->network().listen(kAnyPort, {}).value();
  auto pair =
      std::make_unique<Pair>(real->wait(make_pair((*real)->network(), *listener, real->soon())).value());
  fill(*pair->client);
  {
    std::optional<Result<std::vector<Address>>> out;
    Scope scope((*real)->loop());
    scope.spawn(keep((*real)->network().resolve("some.invalid", 80, Deadline::never()), out));
    (*real)->run_until([] { return true; });
  }
  pair.reset();
  listener.reset();
  real.reset();
}
