// What the store costs.
//
//   store-bench fill FOLDER TASKS       makes TASKS tasks of 4 KiB
//   store-bench restart FOLDER TASKS    the same, then starts with and without the index
//   store-bench receive FOLDER MIB      claims, writes and completes pieces of 4 MiB, beside the same bytes
//                                       written by crc32 and write_at alone
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/crc32.h"
#include "store/claim.h"
#include "store/store.h"
#include "world/uv_world.h"

namespace {

using namespace d7y;
using namespace d7y::store;
using namespace d7y::literals;

template <class T>
T need(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::_Exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TaskFacts facts_of(std::uint64_t number, std::uint64_t length) {
  TaskFacts facts;
  facts.id = fmt::format("{:016x}{:048x}", number * 0x9e3779b97f4a7c15, number);
  facts.url = fmt::format("https://registry.example.com/v2/library/image/blobs/{}", number);
  facts.response_headers = {{"Content-Type", "application/octet-stream"}, {"Content-Length", "4096"}};
  facts.version = {"\"5f3a-1234567890\"", "Thu, 01 Jan 2026 00:00:00 GMT"};
  facts.piece_length = 4_MiB;
  facts.content_length = length;
  return facts;
}

Task<std::unique_ptr<Store>> open_store(world::World& world, std::string folder) {
  StoreOptions options;
  options.folder = std::move(folder);
  options.sync = SyncPolicy::kNever;
  auto opened = co_await Store::open(world, std::move(options), Log());
  co_return need(std::move(opened));
}

Task<int> fill(world::World& world, std::string folder, std::uint64_t count) {
  auto store = co_await open_store(world, folder);
  auto start = std::chrono::steady_clock::now();
  std::string bytes(4096, 'x');
  for (std::uint64_t number = 0; number < count; ++number) {
    auto made = co_await store->create(facts_of(number, bytes.size()));
    TaskHandle task = need(std::move(made));
    if (task->has(0)) continue;
    auto claimed = need(task->claim(0));
    need(claimed.claim->write(as_bytes(bytes)));
    need(claimed.claim->complete({.parent = "10.0.0.1-host-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"}));
    need(co_await task->finish());
  }
  fmt::print("made     {} tasks: {:.2f} s, {:.1f} us each\n", count, seconds_since(start),
             seconds_since(start) / static_cast<double>(count) * 1e6);
  need(co_await store->close());
  co_return 0;
}

Task<int> restart(world::World& world, std::string folder, std::uint64_t count) {
  (void)co_await fill(world, folder, count);
  for (bool clean : {true, false, true, false}) {
    if (!clean) need(world.files().remove(folder + "/index"));
    auto start = std::chrono::steady_clock::now();
    auto store = co_await open_store(world, folder);
    fmt::print("restart  {} of {} tasks: {:.3f} s\n", clean ? "index" : "journals", store->stats().tasks,
               seconds_since(start));
    start = std::chrono::steady_clock::now();
    need(co_await store->close());
    fmt::print("close    {:.3f} s\n", seconds_since(start));
  }
  co_return 0;
}

Task<int> receive(world::World& world, std::string folder, std::uint64_t mebibytes) {
  auto store = co_await open_store(world, folder);
  std::string bytes(256_KiB, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  std::uint64_t length = mebibytes << 20;
  for (std::uint64_t round = 0; round < 6; ++round) {
    auto path = folder + "/floor";
    auto start = std::chrono::steady_clock::now();
    {
      auto file = need(world.files().open(path, world::OpenMode::kCreateNew));
      need(file->reserve(0, length));
      Crc32 crc;
      std::string buffer(256_KiB, '\0');
      for (std::uint64_t at = 0; at < length; at += buffer.size()) {
        std::memcpy(buffer.data(), bytes.data(), bytes.size());
        crc.update(as_bytes(buffer));
        need(file->write_at(at, as_bytes(buffer)));
      }
    }
    auto floor = seconds_since(start);
    need(world.files().remove(path));

    auto made = co_await store->create(facts_of(round, length));
    TaskHandle task = need(std::move(made));
    start = std::chrono::steady_clock::now();
    need(task->reserve(0, length));
    for (std::uint32_t piece = 0; piece < *task->piece_count(); ++piece) {
      auto claimed = need(task->claim(piece));
      auto& claim = *claimed.claim;
      while (claim.remaining() > 0) {
        auto room = claim.buffer();
        std::memcpy(room.data(), bytes.data(), room.size());
        need(claim.commit(room.size()));
      }
      need(claim.complete({.parent = "parent"}));
    }
    need(co_await task->finish());
    auto taken = seconds_since(start);
    fmt::print("receive  {} MiB: floor {:.3f} s, store {:.3f} s, ratio {:.3f}\n", mebibytes, floor, taken,
               taken / floor);
    need(store->remove(task->id()));
  }
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string what = argc == 4 ? argv[1] : "";
  if (what != "fill" && what != "restart" && what != "receive") {
    fmt::print(stderr, "usage: store-bench fill|restart FOLDER TASKS | receive FOLDER MIB\n");
    return 2;
  }
  auto world = need(world::make_uv_world());
  auto number = std::strtoull(argv[3], nullptr, 10);
  auto code = world->wait_for(what == "fill"      ? fill(*world, argv[2], number)
                              : what == "restart" ? restart(*world, argv[2], number)
                                                  : receive(*world, argv[2], number));
  return code.value_or(1);
}
