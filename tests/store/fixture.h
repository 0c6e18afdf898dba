// What tests of the store share: worlds to run in, made-up content, pieces put in by hand.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../world/real_world.h"
#include "base/crc32.h"
#include "store/claim.h"
#include "store/exporter.h"
#include "store/piece_view.h"
#include "store/reader.h"
#include "store/store.h"

namespace d7y::store {

using namespace d7y::literals;
using namespace std::chrono_literals;

// The value, or the end of the test program with the reason: a test cannot go on without it.
template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "unexpected: %s\n", result.error().message().c_str());
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// Bytes that look like nothing, the same for the same seed.
inline std::string made_up(std::size_t length, std::uint64_t seed = 1) {
  std::string text(length, '\0');
  std::uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
  for (char& c : text) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    c = static_cast<char>(x >> 32);
  }
  return text;
}

inline std::string an_id(int number) { return fmt::format("{:064x}", number * 0x10001ull + 0xabc); }

inline TaskFacts facts_of(std::string id, std::optional<std::uint64_t> length, std::uint64_t piece_length) {
  TaskFacts facts;
  facts.id = std::move(id);
  facts.url = "http://origin/file";
  facts.piece_length = piece_length;
  facts.content_length = length;
  return facts;
}

inline std::string_view part_of(std::string_view content, const StoredTask& task, std::uint32_t number) {
  return content.substr(number * task.piece_length(), task.piece_length());
}

inline PieceClaim claim_of(StoredTask& task, std::uint32_t number, Rivals rivals = Rivals::kNo) {
  auto claimed = must(task.claim(number, rivals));
  if (claimed.state != ClaimState::kClaimed) {
    std::fprintf(stderr, "piece %u could not be claimed\n", number);
    std::abort();
  }
  return std::move(*claimed.claim);
}

// Fetches piece `number` out of `content`.
inline Result<PieceInfo> put_piece(StoredTask& task, std::uint32_t number, std::string_view content) {
  TRY(auto claimed, task.claim(number));
  if (claimed.state != ClaimState::kClaimed)
    return error(ErrorCode::kPrecondition, "piece {} is taken", number);
  auto bytes = part_of(content, task, number);
  TRY_OK(claimed.claim->write(as_bytes(bytes)));
  return claimed.claim->complete(
      {.parent = "parent-1", .traffic = Traffic::kRemotePeer, .expected_crc = crc32(as_bytes(bytes))});
}

inline Result<void> put_all(StoredTask& task, std::string_view content) {
  auto count = task.piece_count().value();
  for (std::uint32_t number = 0; number < count; ++number) {
    if (!task.has(number)) TRY_OK(put_piece(task, number, content));
  }
  return {};
}

inline std::string stored_bytes(StoredTask& task, std::uint64_t offset, std::uint64_t length) {
  std::string text(length, '\0');
  auto got = must(task.file()->read_at(offset, as_mutable_bytes(text)));
  text.resize(got);
  return text;
}

inline std::string stored_piece(StoredTask& task, std::uint32_t number) {
  auto piece = task.piece(number).value();
  return stored_bytes(task, piece.offset, piece.length);
}

inline std::string file_bytes(world::World& world, const std::string& path) {
  auto file = must(world.files().open(path, world::OpenMode::kRead));
  std::string text(must(file->status()).size, '\0');
  text.resize(must(file->read_at(0, as_mutable_bytes(text))));
  return text;
}

inline Deadline soon(world::World& world) { return Deadline::in(20s, world.now()); }

inline Task<std::unique_ptr<Store>> open_store(world::World& world, std::string folder) {
  StoreOptions options;
  options.folder = std::move(folder);
  auto opened = co_await Store::open(world, std::move(options), Log());
  co_return must(std::move(opened));
}

inline Task<TaskHandle> make_task(Store& store, TaskFacts facts) {
  auto made = co_await store.create(std::move(facts));
  co_return must(std::move(made));
}

inline Task<std::string> read_all(Reader& reader, Deadline deadline) {
  std::string all, part(10000, '\0');
  for (;;) {
    auto got = co_await reader.read(as_mutable_bytes(part), deadline);
    auto n = must(std::move(got));
    if (n == 0) co_return all;
    all.append(part, 0, n);
  }
}

// A test that runs in a production world on a real folder.
inline void run_real(Task<void> (*test)(world::World&, std::string)) {
  world::RealWorld real;
  bool done = false;
  Scope scope(real->loop());
  struct Keep {
    static Task<void> run(Task<void> task, bool& done) {
      co_await task;
      done = true;
    }
  };
  scope.spawn(Keep::run(test(*real, real.path("store")), done));
  real->run_until([&] { return done; }, real.in(60s));
  CHECK_MESSAGE(done, "the test did not come to its end");
}

}  // namespace d7y::store

// STORE_TEST(name) { ... `world`, `folder` ... co_return; }
#define STORE_TEST_(function, name)                                              \
  static d7y::Task<void> function(d7y::world::World& world, std::string folder); \
  TEST_CASE(name) { d7y::store::run_real(function); }                            \
  static d7y::Task<void> function([[maybe_unused]] d7y::world::World& world,     \
                                  [[maybe_unused]] std::string folder)
#define STORE_TEST(name) STORE_TEST_(D7Y_CONCAT(store_test_, __LINE__), name)
