#include "store/hash_queue.h"

#include "base/scope.h"
#include "fixture.h"

using namespace d7y;
using namespace d7y::store;

namespace {

struct Content {
  std::string bytes;
  std::shared_ptr<world::File> file;
  std::shared_ptr<HashProgress> progress;
  std::optional<Result<bool>> outcome;
};

Content content_in(world::World& world, const std::string& path, std::size_t length, HashKind kind) {
  Content content;
  content.bytes = made_up(length, length + 1);
  content.file = must(world.files().open(path, world::OpenMode::kCreateNew));
  must(content.file->write_at(0, as_bytes(content.bytes)));
  content.progress = std::make_shared<HashProgress>(kind);
  return content;
}

Task<void> feed(HashQueue& queue, Content& content, std::uint64_t length) {
  Task<Result<bool>> feeding = queue.feed(content.progress, content.file, length);
  content.outcome = co_await feeding;
}

}  // namespace

STORE_TEST("contents that are hashed at once have their own digests, whatever their lengths and kinds") {
  must(world.files().make_folders(folder));
  HashQueue queue(world);
  Scope scope(world.loop());
  std::deque<Content> contents;
  // More than one thread takes at once; empty ones, odd ones, ones with several steps.
  for (std::size_t length : {0, 1, 63, 64, 65, 100'000, 262'144, 262'145, 700'001, 1'000'000, 64'000, 3}) {
    auto kind = contents.size() % 4 == 3 ? HashKind::kSha512 : HashKind::kSha256;
    contents.push_back(content_in(world, fmt::format("{}/{}", folder, contents.size()), length, kind));
  }
  for (int half : {0, 1}) {
    for (auto& content : contents) {
      content.outcome.reset();
      auto length = half == 0 ? content.bytes.size() / 2 : content.bytes.size() - content.bytes.size() / 2;
      scope.spawn(feed(queue, content, length));
    }
    while (std::any_of(contents.begin(), contents.end(), [](const auto& c) { return !c.outcome; }))
      co_await sleep_for(1ms);
    for (auto& content : contents) CHECK(must(std::move(*content.outcome)));
  }
  for (const auto& content : contents) {
    CAPTURE(content.bytes.size());
    auto kind = content.progress->hasher.kind();
    CHECK(content.progress->done == content.bytes.size());
    CHECK(content.progress->hasher.hex() == hash_hex(kind, as_bytes(content.bytes)));
  }
}

STORE_TEST("a file that is too short, and one who no longer waits, are no matter to the others") {
  must(world.files().make_folders(folder));
  HashQueue queue(world);
  Scope scope(world.loop());
  auto small = content_in(world, folder + "/short", 300'000, HashKind::kSha256);
  auto left = content_in(world, folder + "/left", 400'000, HashKind::kSha256);
  auto good = content_in(world, folder + "/good", 500'000, HashKind::kSha256);
  {
    Scope leaving(world.loop());
    leaving.spawn(feed(queue, left, 400'000));
    scope.spawn(feed(queue, small, 300'001));
    scope.spawn(feed(queue, good, 500'000));
    co_await yield();
  }
  while (!small.outcome || !good.outcome) co_await sleep_for(1ms);
  CHECK_FALSE(must(std::move(*small.outcome)));
  CHECK(must(std::move(*good.outcome)));
  CHECK_FALSE(left.outcome);
  CHECK(good.progress->hasher.hex() == sha256_hex(as_bytes(good.bytes)));
}
