#include "world/files.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "sim/simulation.h"

using namespace d7y;
using namespace std::chrono_literals;
using world::OpenMode;

namespace {

struct Machine {
  explicit Machine(std::uint64_t seed, sim::DiskOptions disk = {})
      : sim(seed), host(sim.add_host({.disk = disk})), files(host.files()), disk(host.disk()) {}

  std::unique_ptr<world::File> open(const std::string& path, OpenMode mode = OpenMode::kCreate) {
    auto file = files.open(path, mode);
    REQUIRE(file.ok());
    return std::move(*file);
  }
  void sync(world::File& file) { REQUIRE(sim.run(file.sync(), 10s).ok()); }
  void sync_folder(const std::string& path) { REQUIRE(sim.run(files.sync_folder(path), 10s).ok()); }
  void crash() {
    host.power_off();
    host.start();
  }

  sim::Simulation sim;
  sim::Host& host;
  world::Files& files;
  sim::Disk& disk;
};

Result<void> write(world::File& file, std::uint64_t offset, std::string_view text) {
  return file.write_at(offset, as_bytes(text));
}

}  // namespace

TEST_CASE("files hold what was written, at any offset and length") {
  Machine machine(1);
  auto file = machine.open("/f");
  sim::Random random(99);
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    auto offset = random.below(400'000);
    if (random.chance(0.1)) {
      expected.resize(offset);
      REQUIRE(file->resize(offset).ok());
      continue;
    }
    auto bytes = sim::random_bytes(random.below(random.chance(0.1) ? 200'000 : 5'000), random.next());
    if (!bytes.empty() && expected.size() < offset + bytes.size()) expected.resize(offset + bytes.size());
    if (!bytes.empty()) expected.replace(offset, bytes.size(), bytes);
    REQUIRE(write(*file, offset, bytes).ok());
  }
  CHECK(machine.disk.content("/f") == expected);
  std::string part(1000, 'x');
  auto got = file->read_at(expected.size() - 500, as_mutable_bytes(part));
  REQUIRE(got.ok());
  CHECK(*got == 500);
  CHECK(part.substr(0, 500) == expected.substr(expected.size() - 500));
  CHECK(*file->read_at(expected.size() + 5, as_mutable_bytes(part)) == 0);
}

TEST_CASE("the tree: opening, folders, renames, links, removal") {
  Machine machine(1, {.reflink = true});
  auto& files = machine.files;
  CHECK(files.open("/a/b", OpenMode::kCreate).failed_with(ErrorCode::kNotFound));
  CHECK(files.make_folders("/a/b/c").ok());
  CHECK(files.make_folders("/a/b/c").ok());
  CHECK(files.open("/a/b/c/f", OpenMode::kRead).failed_with(ErrorCode::kNotFound));
  auto file = machine.open("/a/b/c/f", OpenMode::kCreateNew);
  CHECK(write(*file, 0, "hello").ok());
  CHECK(files.open("/a/b/c/f", OpenMode::kCreateNew).failed_with(ErrorCode::kExists));
  CHECK(files.make_folders("/a/b/c/f").failed_with(ErrorCode::kExists));
  CHECK(files.open("/a/b", OpenMode::kReadWrite).failed_with(ErrorCode::kPrecondition));
  CHECK(*files.list("/a/b/../b/c") == std::vector<std::string>{"f"});
  CHECK(files.remove("/a/b").failed_with(ErrorCode::kPrecondition));
  CHECK(files.hard_link("/a/b/c/f", "/a/g").ok());
  CHECK(files.status("/a/g")->links == 2);
  CHECK(files.hard_link("/a/b/c/f", "/a/g").failed_with(ErrorCode::kExists));
  CHECK(files.reflink("/a/g", "/a/h").ok());
  CHECK(files.reflink("/a/g", "/a/h").failed_with(ErrorCode::kExists));
  CHECK(write(*file, 0, "HE").ok());
  CHECK(machine.disk.content("/a/g") == "HEllo");
  CHECK(machine.disk.content("/a/h") == "hello");
  CHECK(files.rename_new("/a/g", "/a/h").failed_with(ErrorCode::kExists));
  CHECK(files.rename("/a/g", "/a/h").ok());
  CHECK(machine.disk.content("/a/h") == "HEllo");
  CHECK(files.status("/a/g").failed_with(ErrorCode::kNotFound));
  CHECK(files.remove("/a/h").ok());
  CHECK(files.remove("/a/b/c/f").ok());
  CHECK(write(*file, 5, "!").ok());  // open files outlive their names
  std::string text(6, ' ');
  CHECK(*file->read_at(0, as_mutable_bytes(text)) == 6);
  CHECK(text == "HEllo!");
  CHECK(machine.sim.run(files.remove_tree("/a"), 1s).ok());
  CHECK(machine.sim.run(files.remove_tree("/a"), 1s).ok());
  CHECK(files.list("/")->empty());
  machine.disk.put("/x/real", "real");
  machine.disk.put_symlink("/x/link", "real");
  machine.disk.put_symlink("/y", "/x");
  CHECK(machine.disk.content("/y/link") == "real");
  CHECK(files.link_status("/y")->kind == world::FileKind::kSymlink);
  CHECK(files.status("/y")->kind == world::FileKind::kFolder);
}

TEST_CASE("space is counted in blocks, shared by links and reflinks, and runs out") {
  Machine machine(1, {.capacity = 10_MiB, .reflink = true});
  auto file = machine.open("/f");
  auto free = [&] { return machine.files.space("/")->available; };
  CHECK(free() == 10_MiB);
  REQUIRE(write(*file, 0, std::string(5'000, 'x')).ok());
  CHECK(free() == 10_MiB - 8_KiB);
  CHECK(file->status()->allocated == 8_KiB);
  CHECK(write(*file, 9_MiB, "far away").ok());
  CHECK(free() == 10_MiB - 12_KiB);
  CHECK(file->reserve(0, 4_MiB).ok());
  CHECK(free() == 6_MiB - 4_KiB);
  CHECK(file->status()->size == 9_MiB + 8);
  CHECK(machine.files.reflink("/f", "/g").ok());
  CHECK(machine.files.hard_link("/f", "/h").ok());
  CHECK(free() == 6_MiB - 4_KiB);
  auto other = machine.open("/other");
  CHECK(other->reserve(0, 100_MiB).failed_with(ErrorCode::kDiskFull));
  CHECK(other->write_at(0, as_bytes(std::string(7_MiB, 'y'))).failed_with(ErrorCode::kDiskFull));
  CHECK(file->write_at(1_MiB, as_bytes(std::string(1_MiB, 'z')))
            .failed_with(ErrorCode::kDiskFull));  // shared now
  other.reset();
  CHECK(machine.files.remove("/other").ok());
  CHECK(machine.files.remove("/g").ok());
  CHECK(file->write_at(1_MiB, as_bytes(std::string(1_MiB, 'z'))).ok());
  CHECK(machine.files.remove("/f").ok());
  CHECK(machine.files.remove("/h").ok());
  file.reset();
  CHECK(free() == 10_MiB);
}

TEST_CASE("reserved space and equal content cost no memory to speak of") {
  sim::Simulation sim(1);
  auto piece = sim::random_bytes(4_MiB);
  std::vector<std::unique_ptr<world::File>> keep;
  for (int i = 0; i < 100; ++i) {
    auto& host = sim.add_host();
    auto file = host.files().open("/f", OpenMode::kCreate);
    REQUIRE((*file)->reserve(0, 1_GiB).ok());
    for (int k = 0; k < 8; ++k) REQUIRE((*file)->write_at(k * 4_MiB, as_bytes(piece)).ok());
    keep.push_back(std::move(*file));
  }
  // 3.2 GiB written, 100 GiB reserved: this would not fit if it were not shared.
  CHECK(sim.hosts()[99]->disk().content("/f").substr(28_MiB) == piece);
}

TEST_CASE("what was synced survives a power failure, the rest may be old, new or torn") {
  std::map<std::string, int> seen;
  for (auto seed : sim::seeds(200)) {
    CAPTURE(seed);
    Machine machine(seed);
    auto file = machine.open("/f");
    std::string old(300'000, 'o');
    REQUIRE(write(*file, 0, old).ok());
    machine.sync(*file);
    machine.sync_folder("/");
    std::string fresh(100'000, 'n');
    REQUIRE(write(*file, 250'000, fresh).ok());
    machine.crash();
    auto after = machine.disk.content("/f");
    REQUIRE(after.size() >= 300'000);
    CHECK(after.substr(0, 250'000) == old.substr(0, 250'000));
    bool has_old = false, has_new = false;
    int strange = 0;
    for (std::size_t i = 250'000; i < after.size(); ++i) {
      auto byte = after[i];
      strange += byte == 'o' || byte == 'n' || (i >= 300'000 && byte == '\0') ? 0 : 1;
      has_old = has_old || (i < 300'000 && byte == 'o');
      has_new = has_new || (i < 300'000 && byte == 'n');
    }
    CHECK(strange == 0);
    ++seen[has_old && has_new ? "torn" : has_old ? "old" : "new"];
    ++seen[after.size() == 300'000 ? "short" : after.size() == 350'000 ? "long" : "between"];
    CHECK(file->read_at(0, as_mutable_bytes(after)).failed_with(ErrorCode::kIo));  // its machine went down
  }
  for (auto what : {"torn", "old", "new", "short", "long", "between"}) CHECK_MESSAGE(seen[what] > 0, what);
}

TEST_CASE("names survive a power failure once their folder is synced, and in order before") {
  std::map<std::string, int> seen;
  for (auto seed : sim::seeds(200)) {
    CAPTURE(seed);
    Machine machine(seed);
    auto file = machine.open("/durable");
    REQUIRE(write(*file, 0, "x").ok());
    machine.sync(*file);
    machine.sync_folder("/");
    machine.open("/one");
    REQUIRE(machine.files.rename("/durable", "/renamed").ok());
    machine.open("/two");
    machine.crash();
    bool one = machine.disk.exists("/one"), renamed = machine.disk.exists("/renamed"),
         two = machine.disk.exists("/two");
    CHECK(machine.disk.exists("/durable") != renamed);  // never both, never neither
    CHECK(machine.disk.content(renamed ? "/renamed" : "/durable") == "x");
    CHECK((!two || renamed));
    CHECK((!renamed || one));
    ++seen[two ? "all" : renamed ? "most" : one ? "one" : "none"];
  }
  for (auto what : {"all", "most", "one", "none"}) CHECK_MESSAGE(seen[what] > 0, what);
}

TEST_CASE("a killed process loses nothing that it wrote") {
  for (auto seed : sim::seeds(20)) {
    Machine machine(seed);
    auto file = machine.open("/f");
    REQUIRE(write(*file, 0, "written, not synced").ok());
    machine.host.kill();
    machine.host.start();
    CHECK(machine.disk.content("/f") == "written, not synced");
  }
}

TEST_CASE("a failed sync loses the pages although the next sync says ok") {
  bool lost = false;
  for (auto seed : sim::seeds(20)) {
    Machine machine(seed);
    auto file = machine.open("/f");
    machine.sync_folder("/");
    machine.disk.inject({.op = sim::FileOp::kSync});
    REQUIRE(write(*file, 0, "doomed").ok());
    CHECK(machine.sim.run(file->sync(), 1s).failed_with(ErrorCode::kIo));
    CHECK(machine.sim.run(file->sync(), 1s).ok());
    machine.crash();
    lost = lost || machine.disk.content("/f") != "doomed";
  }
  CHECK(lost);
}

TEST_CASE("writes during a sync are not part of it") {
  bool lost = false;
  for (auto seed : sim::seeds(30)) {
    Machine machine(seed);
    auto file = machine.open("/f");
    REQUIRE(write(*file, 0, "before").ok());
    machine.sync_folder("/");
    auto during = [](world::File& f) -> Task<void> {
      co_await sleep_for(1ms);
      CHECK(write(f, 0, "during").ok());
    };
    Scope scope(machine.sim.loop());
    scope.spawn(during(*file));
    machine.sync(*file);
    CHECK(machine.disk.content("/f") == "during");
    machine.crash();
    lost = lost || machine.disk.content("/f") == "before";
    CHECK(machine.disk.content("/f").size() == 6);
  }
  CHECK(lost);
}

TEST_CASE("injected faults fail what they name, when and as often as told") {
  Machine machine(1);
  auto file = machine.open("/content");
  machine.disk.inject({.op = sim::FileOp::kWrite,
                       .path = "content",
                       .code = ErrorCode::kDiskFull,
                       .after = 1,
                       .count = 2,
                       .partly = false});
  CHECK(write(*file, 0, "1").ok());
  CHECK(write(*file, 1, "2").failed_with(ErrorCode::kDiskFull));
  CHECK(write(*file, 1, "2").failed_with(ErrorCode::kDiskFull));
  CHECK(write(*file, 1, "3").ok());
  CHECK(machine.disk.content("/content") == "13");
  machine.disk.inject({.op = sim::FileOp::kRead});
  std::string buffer(2, ' ');
  CHECK(file->read_at(0, as_mutable_bytes(buffer)).failed_with(ErrorCode::kIo));
  CHECK(file->read_at(0, as_mutable_bytes(buffer)).ok());
  auto stays = machine.open("/stays");
  CHECK(write(*stays, 0, "1").ok());
}

TEST_CASE("the power can fail at any single change") {
  for (std::uint64_t step = 1; step <= 6; ++step) {
    CAPTURE(step);
    Machine machine(step);
    machine.disk.power_off_at(step);
    auto work = [](sim::Host& host, int& done) -> Task<void> {
      for (int i = 0; i < 3; ++i) {
        auto file = host.files().open(fmt::format("/f{}", i), OpenMode::kCreate);
        if (!file) break;
        if (!write(**file, 0, "x").ok()) break;
        auto synced = co_await (*file)->sync();
        if (!synced) break;
        ++done;
      }
      co_await sleep_for(1h);
      CHECK(false);  // the machine is off
    };
    int done = 0;
    machine.host.spawn(work(machine.host, done));
    machine.sim.run_for(1s);
    CHECK(!machine.host.running());
    CHECK(done == static_cast<int>(step - 1) / 2);
  }
}

TEST_CASE("a lock is held once and ends with its process") {
  Machine machine(1);
  auto lock = machine.files.lock("/lock");
  REQUIRE(lock.ok());
  CHECK(machine.files.lock("/lock").failed_with(ErrorCode::kExists));
  lock->reset();
  lock = machine.files.lock("/lock");
  REQUIRE(lock.ok());
  machine.host.kill();
  machine.host.start();
  auto next = machine.files.lock("/lock");
  CHECK(next.ok());
  lock->reset();
  CHECK(machine.files.lock("/lock").failed_with(ErrorCode::kExists));
}

TEST_CASE("a slow disk makes syncs long and, when too much is dirty, writers wait") {
  Machine machine(1, {.write_rate = 10'000'000, .dirty_limit = 8_MiB});
  auto file = machine.open("/f");
  auto began = machine.sim.now();
  auto work = [](world::File& f) -> Task<Result<void>> {
    for (int i = 0; i < 10; ++i) {
      CO_OK(f.write_at(static_cast<std::uint64_t>(i) * 1_MiB, as_bytes(sim::random_bytes(1_MiB, i))));
      co_await sleep_for(1us);
    }
    co_return Result<void>{};
  };
  auto on_host = [&work](world::File& f, bool& done) -> Task<void> {
    auto written = co_await work(f);
    done = written.ok();
  };
  bool done = false;
  machine.host.spawn(on_host(*file, done));
  machine.sim.run_until([&] { return done; }, 100s);
  CHECK(done);
  CHECK(machine.sim.now() - began > 200ms);
  began = machine.sim.now();
  machine.sync(*file);
  CHECK(machine.sim.now() - began > 1s);
}
