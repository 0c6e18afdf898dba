#include "world/files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "real_world.h"

using namespace d7y;
using namespace d7y::world;
using namespace std::chrono_literals;

namespace {

void put(RealWorld& real, const std::string& path, std::string_view text) {
  auto file = real->files().open(path, OpenMode::kCreate).value();
  REQUIRE(file->resize(0).ok());
  REQUIRE(file->write_at(0, as_bytes(text)).ok());
}

std::string get(RealWorld& real, const std::string& path) {
  auto file = real->files().open(path, OpenMode::kRead).value();
  std::string text(file->status().value().size, '\0');
  CHECK(file->read_at(0, as_mutable_bytes(text)).value() == text.size());
  return text;
}

Task<void> run_void(Task<Result<void>> task, bool& done) {
  auto result = co_await task;
  done = result.ok();
}

}  // namespace

TEST_CASE("what is written at offsets is read back, and reads stop at the end") {
  RealWorld real;
  auto file = real->files().open(real.path("a"), OpenMode::kCreateNew).value();
  CHECK(file->path() == real.path("a"));
  CHECK(file->write_at(5, as_bytes("world")).ok());
  CHECK(file->write_at(0, as_bytes("hello")).ok());
  std::string text(100, '?');
  CHECK(file->read_at(0, as_mutable_bytes(text)).value() == 10);
  CHECK(text.substr(0, 10) == "helloworld");
  CHECK(file->read_at(8, as_mutable_bytes(text)).value() == 2);
  CHECK(file->read_at(10, as_mutable_bytes(text)).value() == 0);
  CHECK(file->read_at(1'000'000, as_mutable_bytes(text)).value() == 0);
}

TEST_CASE("many parts are written behind each other") {
  RealWorld real;
  auto file = real->files().open(real.path("a"), OpenMode::kCreate).value();
  std::vector<std::string> texts;
  std::vector<Bytes> parts;
  std::string whole = std::string(3, '\0');
  for (int i = 0; i < 200; ++i) texts.push_back(i % 5 == 0 ? "" : std::to_string(i));
  for (auto& text : texts) {
    parts.push_back(as_bytes(text));
    whole += text;
  }
  REQUIRE(file->write_at(3, parts).ok());
  CHECK(get(real, real.path("a")) == whole);
}

TEST_CASE("resizing grows with zeros and cuts") {
  RealWorld real;
  put(real, real.path("a"), "abcdef");
  auto file = real->files().open(real.path("a"), OpenMode::kReadWrite).value();
  CHECK(file->resize(3).ok());
  CHECK(file->resize(5).ok());
  CHECK((get(real, real.path("a")) == std::string("abc\0\0", 5)));
}

TEST_CASE("reserving keeps the length; advice and writeback are harmless") {
  RealWorld real;
  put(real, real.path("a"), "abc");
  auto file = real->files().open(real.path("a"), OpenMode::kReadWrite).value();
  CHECK(file->reserve(0, 1_MiB).ok());
  CHECK(file->reserve(0, 0).ok());
  CHECK(file->status().value().size == 3);
  file->will_need(0, 3);
  file->start_writeback(0, 3);
  CHECK(get(real, real.path("a")) == "abc");
}

TEST_CASE("open modes do what they say") {
  RealWorld real;
  auto& files = real->files();
  auto path = real.path("a");
  CHECK(files.open(path, OpenMode::kRead).failed_with(ErrorCode::kNotFound));
  CHECK(files.open(path, OpenMode::kReadWrite).failed_with(ErrorCode::kNotFound));
  CHECK(files.open(path, OpenMode::kCreateNew, 0600).ok());
  CHECK(files.status(path).value().mode == 0600);
  CHECK(files.open(path, OpenMode::kCreateNew).failed_with(ErrorCode::kExists));
  CHECK(files.open(path, OpenMode::kCreate).ok());
  CHECK(files.open(path, OpenMode::kRead).value()->write_at(0, as_bytes("x")).failed_with(ErrorCode::kIo));
  CHECK(files.open(path + "/b", OpenMode::kCreate).failed_with(ErrorCode::kNotFound));
}

TEST_CASE("errors name the path") {
  RealWorld real;
  auto got = real->files().open(real.path("missing"), OpenMode::kRead);
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().message().find(real.path("missing")) != std::string::npos);
}

TEST_CASE("a full disk is told apart from other failures") {
  RealWorld real;
  auto full = real->files().open("/dev/full", OpenMode::kReadWrite);
  if (!full) return;
  CHECK((*full)->write_at(0, as_bytes("x")).failed_with(ErrorCode::kDiskFull));
}

TEST_CASE("offsets beyond every file are refused") {
  RealWorld real;
  auto file = real->files().open(real.path("a"), OpenMode::kCreate).value();
  auto huge = ~std::uint64_t{0};
  std::string text(4, ' ');
  CHECK(file->write_at(huge, as_bytes("x")).failed_with(ErrorCode::kTooLarge));
  CHECK(file->read_at(huge, as_mutable_bytes(text)).failed_with(ErrorCode::kTooLarge));
  CHECK(file->resize(huge).failed_with(ErrorCode::kTooLarge));
  CHECK(file->reserve(1, huge).failed_with(ErrorCode::kTooLarge));
}

TEST_CASE("folders are made with their parents, and again without complaint") {
  RealWorld real;
  auto& files = real->files();
  CHECK(files.make_folders(real.path("x/y/z")).ok());
  CHECK(files.make_folders(real.path("x/y/z/")).ok());
  CHECK(files.status(real.path("x/y/z")).value().kind == FileKind::kFolder);
  put(real, real.path("x/file"), "");
  auto blocked = files.make_folders(real.path("x/file/deeper"));
  REQUIRE(blocked.failed_with(ErrorCode::kNotFound));
  CHECK(blocked.error().message().find("in the way") != std::string::npos);
}

TEST_CASE("listing gives sorted names") {
  RealWorld real;
  for (auto* name : {"b", "a", "c"}) put(real, real.path(name), "");
  CHECK(real->files().list(real.folder).value() == std::vector<std::string>{"a", "b", "c"});
  CHECK(real->files().list(real.path("none")).failed_with(ErrorCode::kNotFound));
}

TEST_CASE("status follows links, link_status does not") {
  RealWorld real;
  put(real, real.path("a"), "abc");
  REQUIRE(::symlink("a", real.path("link").c_str()) == 0);
  CHECK(real->files().status(real.path("link")).value().kind == FileKind::kRegular);
  CHECK(real->files().status(real.path("link")).value().size == 3);
  CHECK(real->files().link_status(real.path("link")).value().kind == FileKind::kSymlink);
  auto age = real->wall_now() - real->files().status(real.path("a")).value().modified;
  CHECK(age < 1h);
}

TEST_CASE("removing takes files, links and empty folders only") {
  RealWorld real;
  auto& files = real->files();
  put(real, real.path("a"), "");
  REQUIRE(files.make_folders(real.path("d/e")).ok());
  CHECK(files.remove(real.path("a")).ok());
  CHECK(files.remove(real.path("a")).failed_with(ErrorCode::kNotFound));
  CHECK(files.remove(real.path("d")).failed_with(ErrorCode::kPrecondition));
  CHECK(files.remove(real.path("d/e")).ok());
}

TEST_CASE("a tree is removed without following links out of it, and an absent one is fine") {
  RealWorld real;
  auto& files = real->files();
  put(real, real.path("outside"), "stays");
  REQUIRE(files.make_folders(real.path("tree/a/b")).ok());
  put(real, real.path("tree/a/file"), "x");
  REQUIRE(::symlink(real.folder.c_str(), real.path("tree/link").c_str()) == 0);
  CHECK(real.wait(files.remove_tree(real.path("tree"))).ok());
  CHECK(files.link_status(real.path("tree")).failed_with(ErrorCode::kNotFound));
  CHECK(get(real, real.path("outside")) == "stays");
  CHECK(real.wait(files.remove_tree(real.path("tree"))).ok());
}

TEST_CASE("rename replaces, rename_new does not") {
  RealWorld real;
  auto& files = real->files();
  put(real, real.path("a"), "a");
  put(real, real.path("b"), "b");
  put(real, real.path("c"), "c");
  CHECK(files.rename(real.path("a"), real.path("b")).ok());
  CHECK(get(real, real.path("b")) == "a");
  CHECK(files.rename_new(real.path("b"), real.path("c")).failed_with(ErrorCode::kExists));
  CHECK(get(real, real.path("c")) == "c");
  CHECK(files.rename_new(real.path("b"), real.path("d")).ok());
  CHECK(files.rename(real.path("none"), real.path("e")).failed_with(ErrorCode::kNotFound));
}

TEST_CASE("a hard link is another name for the same file") {
  RealWorld real;
  auto& files = real->files();
  put(real, real.path("a"), "a");
  CHECK(files.hard_link(real.path("a"), real.path("b")).ok());
  CHECK(files.status(real.path("a")).value().links == 2);
  CHECK(files.status(real.path("a")).value().inode == files.status(real.path("b")).value().inode);
  CHECK(files.hard_link(real.path("a"), real.path("b")).failed_with(ErrorCode::kExists));
  CHECK(files.hard_link(real.path("none"), real.path("c")).failed_with(ErrorCode::kNotFound));
  auto across = files.hard_link("/proc/self/stat", real.path("d"));
  CHECK(across.failed_with(ErrorCode::kUnsupported));
}

TEST_CASE("a reflink shares content or is unsupported and leaves nothing behind") {
  RealWorld real;
  auto& files = real->files();
  put(real, real.path("a"), "content");
  auto made = files.reflink(real.path("a"), real.path("b"));
  if (made) {
    CHECK(get(real, real.path("b")) == "content");
  } else {
    CHECK(made.error().code() == ErrorCode::kUnsupported);
    CHECK(files.status(real.path("b")).failed_with(ErrorCode::kNotFound));
  }
  put(real, real.path("c"), "there");
  CHECK(files.reflink(real.path("a"), real.path("c")).failed_with(ErrorCode::kExists));
  CHECK(get(real, real.path("c")) == "there");
}

TEST_CASE("files and folders are made durable") {
  RealWorld real;
  auto file = real->files().open(real.path("a"), OpenMode::kCreate).value();
  REQUIRE(file->write_at(0, as_bytes("x")).ok());
  CHECK(real.wait(file->sync()).ok());
  CHECK(real.wait(real->files().sync_folder(real.folder)).ok());
  CHECK(real.wait(real->files().sync_folder(real.path("none"))).failed_with(ErrorCode::kNotFound));
}

TEST_CASE("a sync survives the end of its waiter and of its file") {
  RealWorld real;
  bool done = false;
  for (int i = 0; i < 20; ++i) {
    auto file = real->files().open(real.path("a"), OpenMode::kCreate).value();
    REQUIRE(file->write_at(0, as_bytes("x")).ok());
    Scope scope(real->loop());
    scope.spawn(run_void(file->sync(), done));
    scope.spawn(run_void(real->files().remove_tree(real.path("tree")), done));
    real->run_until([] { return true; });
    scope.cancel();
    file.reset();
  }
}

TEST_CASE("a lock keeps out a second owner in the same process until it is released") {
  RealWorld real;
  auto first = real->files().lock(real.path("lock"));
  REQUIRE(first.ok());
  auto second = real->files().lock(real.path("lock"));
  REQUIRE(second.failed_with(ErrorCode::kExists));
  CHECK(second.error().message().find(real.path("lock")) != std::string::npos);
  first->reset();
  CHECK(real->files().lock(real.path("lock")).ok());
}

TEST_CASE("the disk has a size and free space") {
  RealWorld real;
  auto space = real->files().space(real.folder).value();
  CHECK(space.total > 0);
  CHECK(space.available <= space.total);
  CHECK(real->files().space(real.path("none")).failed_with(ErrorCode::kNotFound));
}
