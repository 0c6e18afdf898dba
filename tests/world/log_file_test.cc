#include "world/log_file.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "real_world.h"

using namespace d7y;
using namespace d7y::world;

namespace {

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

LogFileOptions small(const RealWorld& real) {
  LogFileOptions options;
  options.folder = real.path("logs");
  options.name = "x.log";
  options.max_size = 64_KiB;
  options.max_files = 3;
  return options;
}

// While it lives, files of this process cannot grow beyond `bytes`.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallFiles() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("a line has time, level, room and message, and is always one line") {
  WallTime at{std::chrono::milliseconds(1'700'000'000'042)};
  CHECK(log_line(LogLines::kText, at, LogLevel::kInfo, "node", "up\nand \x1b[1mrunning") ==
        "2023-11-14T22:13:20.042Z INFO  node: up\\x0aand \\x1b[1mrunning");
  CHECK(log_line(LogLines::kJson, at, LogLevel::kWarn, "node", "say \"\xc3\xbc\" \xff\t\\") ==
        R"({"time":"2023-11-14T22:13:20.042Z","level":"WARN","room":"node","message":"say \")"
        "\xc3\xbc"
        R"(\" \u00ff\u0009\\"})");
}

TEST_CASE("files of a log stay below their size, and there are never more than asked for") {
  RealWorld real;
  auto log = LogFile::open(real->files(), small(real)).value();
  for (int i = 0; i < 5000; ++i) log->write("line " + std::to_string(i) + std::string(90, '.'));
  log->write(std::string(100'000, 'x'));
  log.reset();
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(real.path("logs"))) {
    if (entry.path().extension() == ".lock") continue;
    ++files;
    CHECK(entry.file_size() <= 64_KiB);
  }
  CHECK(files == 3);
  auto all = text_of(real.path("logs/x.log.1")) + text_of(real.path("logs/x.log"));
  CHECK(all.find("line 4999.") != std::string::npos);
  CHECK(all.ends_with("[cut]\n"));
}

TEST_CASE("a log goes on where it was, and two cannot write the same file") {
  RealWorld real;
  auto log = LogFile::open(real->files(), small(real)).value();
  log->write("one");
  CHECK(LogFile::open(real->files(), small(real)).failed_with(ErrorCode::kExists));
  log.reset();
  log = LogFile::open(real->files(), small(real)).value();
  log->write("two");
  CHECK(text_of(real.path("logs/x.log")) == "one\ntwo\n");
}

TEST_CASE("while nothing can be written lines wait, then are counted, and come when there is room") {
  RealWorld real;
  auto options = small(real);
  options.max_waiting = 100;
  auto log = LogFile::open(real->files(), std::move(options)).value();
  log->write("before");
  {
    SmallFiles none(10);
    log->write("waits 1");
    log->write("waits 2");
    for (int i = 0; i < 20; ++i) log->write("a line that finds no room after the first few of them");
  }
  log->write("after");
  auto text = text_of(real.path("logs/x.log"));
  CHECK(text.starts_with("before\nwaits 1\nwaits 2\n"));
  CHECK(log->lost() > 0);
  CHECK(text.ends_with(
      fmt::format("({} lines are missing here: the disk took none for a while)\nafter\n", log->lost())));
}

TEST_CASE("a file that somebody moves away, deletes or empties is noticed") {
  RealWorld real;
  auto log = LogFile::open(real->files(), small(real)).value();
  auto path = real.path("logs/x.log");
  log->write("one");
  std::filesystem::rename(path, path + ".moved");
  log->write("two");
  CHECK(text_of(path + ".moved") == "one\n");
  CHECK(text_of(path) == "two\n");
  std::filesystem::resize_file(path, 0);  // logrotate's copytruncate
  log->write("three");
  CHECK(text_of(path) == "three\n");
  std::filesystem::remove_all(real.path("logs"));
  log->write("four");
  CHECK(text_of(path) == "four\n");
}
