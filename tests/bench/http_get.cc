// One URL to one file with our HTTP client and the production world, to be put beside `curl -o`.
//
//   http-get URL FILE [LANES]        prints seconds and MiB/s; LANES > 1 asks for ranges in parallel
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "net/http/client.h"
#include "net/http/range.h"
#include "world/uv_world.h"

using namespace d7y;

namespace {

constexpr std::size_t kBufferBytes = 512 << 10;

Task<Result<void>> fetch_range(http::Client& client, std::string url, world::File& file, std::uint64_t offset,
                               std::optional<std::uint64_t> length, std::uint64_t& total) {
  http::Request request;
  request.url = std::move(url);
  if (length) request.headers.set("Range", http::to_range(offset, length));
  CO_TRY(auto response, co_await client.fetch(std::move(request), Deadline::never()));
  if (response.status() / 100 != 2) co_return error(ErrorCode::kInvalid, "status {}", response.status());
  if (response.length()) (void)file.reserve(offset, *response.length());
  std::vector<std::byte> buffer(kBufferBytes);
  while (true) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
      CO_TRY(auto got, co_await response.read(MutableBytes(buffer).subspan(filled), Deadline::never()));
      if (got == 0) break;
      filled += got;
    }
    if (filled == 0) co_return Result<void>{};
    CO_OK(file.write_at(offset, Bytes(buffer).first(filled)));
    offset += filled;
    total += filled;
  }
}

Task<void> lane(http::Client& client, std::string url, world::File& file, std::uint64_t offset,
                std::uint64_t length, std::uint64_t& total, Result<void>& outcome) {
  auto done = co_await fetch_range(client, std::move(url), file, offset, length, total);
  if (!done) outcome = std::move(done);
}

Task<Result<std::uint64_t>> fetch(world::World& world, std::string url, std::string path, unsigned lanes) {
  http::ClientOptions options;
  options.tls = [] {
    net::TlsClientOptions tls;
    tls.verify = false;
    return net::TlsContext::client(tls);
  };
  http::Client client(world, options);
  CO_TRY(auto file, world.files().open(path, world::OpenMode::kCreate));
  CO_OK(file->resize(0));
  std::uint64_t total = 0;
  if (lanes == 1) {
    CO_OK(co_await fetch_range(client, url, *file, 0, std::nullopt, total));
    co_return total;
  }
  http::Request head;
  head.method = "HEAD";
  head.url = url;
  CO_TRY(auto answer, co_await client.fetch(std::move(head), Deadline::never()));
  const auto size =
      std::strtoull(std::string(answer.headers().get("Content-Length").value_or("0")).c_str(), nullptr, 10);
  Scope scope(world.loop());
  Result<void> outcome;
  for (unsigned i = 0; i < lanes; ++i) {
    const auto begin = size * i / lanes, end = size * (i + 1) / lanes;
    if (end > begin) scope.spawn(lane(client, url, *file, begin, end - begin, total, outcome));
  }
  CO_OK(co_await scope.idle(Deadline::never()));
  if (!outcome) co_return std::move(outcome).error();
  co_return total;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: http-get URL FILE [LANES]\n", stderr);
    return 2;
  }
  auto world = world::make_uv_world().value();
  const auto begun = world->now();
  auto done = world->wait_for(
      fetch(*world, argv[1], argv[2], argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 1));
  if (!done || !*done) {
    std::fprintf(stderr, "http-get: %s\n", done ? done->error().message().c_str() : "stopped");
    return 1;
  }
  const double seconds = std::chrono::duration<double>(world->now() - begun).count();
  std::printf("%.3f s %.0f MiB/s\n", seconds, static_cast<double>(**done) / 1048576 / seconds);
}
