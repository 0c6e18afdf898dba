// The same hop as floor.cc through the production world: what streams, files, coroutines and the
// event loop cost on top of the system calls.
#include <array>
#include <thread>
#include <vector>

#include "base/crc32.h"
#include "hop.h"
#include "world/uv_world.h"

namespace {

using namespace d7y;
using namespace d7y::bench;
using namespace d7y::world;

template <class T>
T need(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::_Exit(1);
  }
  return std::move(result).value();
}
void need(Result<void> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::_Exit(1);
  }
}

Task<Result<void>> send_range(Listener& listener, File& file) {
  auto never = Deadline::never();
  CO_TRY(auto stream, co_await listener.accept(never));
  Request request;
  auto raw = std::as_writable_bytes(std::span(&request, 1));
  CO_OK(co_await read_exactly(*stream, raw, never));
  co_return co_await send_file(*stream, file, request.offset, request.length, never);
}

Task<Result<void>> receive_range(Network& network, File& file, Request request, std::uint16_t port) {
  auto never = Deadline::never();
  ConnectOptions options;
  options.receive_buffer = kReceiveBuffer;
  auto to = Address::ipv4({127, 0, 0, 1}, port);
  CO_TRY(auto stream, co_await network.connect(to, options, never));
  CO_OK(co_await write_all(*stream, std::as_bytes(std::span(&request, 1)), never));
  std::vector<std::byte> buffer(kBuffer);
  Crc32 crc;
  while (request.length > 0) {
    auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(request.length, buffer.size()));
    auto piece = MutableBytes(buffer).first(wanted);
    CO_OK(co_await read_exactly(*stream, piece, never));
    crc.update(piece);
    CO_OK(file.write_at(request.offset, Bytes(piece)));
    request.offset += wanted;
    request.length -= wanted;
  }
  co_return Result<void>{};
}

[[noreturn]] void send_all(const HopOptions& options, int ports) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.connections; ++i) {
    threads.emplace_back([&, i] {
      auto world = need(make_uv_world());
      auto listener = need(world->network().listen(Address::ipv4({127, 0, 0, 1}, 0), {}));
      auto file = need(world->files().open(options.source, OpenMode::kRead));
      std::array<std::uint16_t, 2> message{static_cast<std::uint16_t>(i), listener->local().port()};
      if (::write(ports, message.data(), sizeof message) != sizeof message) std::_Exit(1);
      need(*world->wait_for(send_range(*listener, *file)));
    });
  }
  for (auto& thread : threads) thread.join();
  std::_Exit(0);
}

}  // namespace

int main(int count, char** arguments) {
  auto options = parse(count, arguments);
  std::array<int, 2> pipe{};
  if (::pipe(pipe.data()) != 0) return 1;
  pid_t sender = ::fork();
  if (sender == 0) send_all(options, pipe[1]);
  std::vector<std::uint16_t> ports(options.connections);
  for (unsigned i = 0; i < options.connections; ++i) {
    std::array<std::uint16_t, 2> message{};
    if (::read(pipe[0], message.data(), sizeof message) != sizeof message) return 1;
    ports.at(message[0]) = message[1];
  }
  ::unlink(options.target.c_str());
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  auto began = Clock::now();
  {
    auto world = need(make_uv_world());
    auto file = need(world->files().open(options.target, OpenMode::kCreateNew));
    need(file->resize(options.size));
    need(file->reserve(0, options.size));
  }
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.connections; ++i) {
    threads.emplace_back([&, i] {
      auto world = need(make_uv_world());
      auto file = need(world->files().open(options.target, OpenMode::kReadWrite));
      need(*world->wait_for(receive_range(world->network(), *file, options.part(i), ports[i])));
    });
  }
  for (auto& thread : threads) thread.join();
  return report(options, began, before, sender);
}
