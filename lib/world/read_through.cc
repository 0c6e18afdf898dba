#include "world/read_through.h"

#include <algorithm>
#include <string>

namespace d7y::world {
namespace {

constexpr std::size_t kBuffer = 1 << 20;
constexpr int kBuffersAtOnce = 16;

struct Reading {
  std::shared_ptr<File> file;
  std::function<void(Bytes)> take;
  std::uint64_t at = 0, end = 0;
  Result<void> outcome;

  bool goes_on() const { return at < end && outcome.ok(); }
  void read_some() {
    std::string buffer(kBuffer, '\0');
    for (int i = 0; i < kBuffersAtOnce && goes_on(); ++i) {
      auto part = as_mutable_bytes(buffer).first(std::min<std::uint64_t>(kBuffer, end - at));
      auto got = file->read_at(at, part);
      if (!got) {
        outcome = std::move(got).error();
      } else if (*got < part.size()) {
        outcome = error(ErrorCode::kCorrupt, "file {} ends at {}, {} bytes were expected", file->path(),
                        at + *got, end);
      } else {
        take(part);
        at += part.size();
      }
    }
  }
};

}  // namespace

Task<Result<void>> read_through(World& world, std::shared_ptr<File> file, std::uint64_t length,
                                std::function<void(Bytes)> take) {
  auto reading = std::make_shared<Reading>(Reading{std::move(file), std::move(take), 0, length, {}});
  while (reading->goes_on()) {
    // Named: g++ 12 destroys a lambda inside a co_await expression twice.
    std::function<void()> step = [reading] { reading->read_some(); };
    co_await world.offload(std::move(step));
  }
  co_return std::move(reading->outcome);
}

}  // namespace d7y::world
