// A log that lives in files: "d7yd.log", and when that is full "d7yd.log.1", "d7yd.log.2", ...
//
//   LogFileOptions options{.folder = "/var/log/dragonfly", .name = "d7yd.log"};
//   TRY(auto file, LogFile::open(world.files(), std::move(options)));
//   file->write(log_line(LogLines::kText, world.wall_now(), LogLevel::kInfo, "node", "ready"));
//
// Limits hold: no file grows beyond its size, there are never more files than asked for. While the
// disk takes nothing, lines wait in memory, and those for which there is no room there are counted;
// the first line that can be written again is preceded by that count. Nothing ever blocks or fails.
// A file that others move away, delete or empty (logrotate) is noticed with the next line.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"
#include "world/files.h"

namespace d7y::world {

enum class LogLines : std::uint8_t { kText, kJson };

// One message as a line, without newline. Control characters are escaped, so that a message is always
// one line; JSON is always valid UTF-8.
std::string log_line(LogLines form, WallTime now, LogLevel level, std::string_view room,
                     std::string_view message);

struct LogFileOptions {
  std::string folder;  // made if missing
  std::string name;
  std::uint64_t max_size = 1ULL << 30;  // bytes; 0: never full
  std::uint32_t max_files = 6;          // with the one that is written
  std::size_t max_waiting = 256 << 10;  // bytes kept in memory while the disk is full
};

class LogFile {
 public:
  // kExists if another process writes there; kPermission, kIo, ...
  static Result<std::unique_ptr<LogFile>> open(Files& files, LogFileOptions options);
  ~LogFile();

  // Longest line that is written whole; the rest of a longer one is cut.
  static constexpr std::size_t kLongestLine = 16 << 10;

  // Adds a line (without newline).
  void write(std::string_view line);
  // Lines that were lost so far because the disk was full for too long.
  std::uint64_t lost() const { return lost_; }

 private:
  LogFile(Files& files, LogFileOptions options);
  Result<void> begin();
  Result<void> rotate();
  Result<void> open_fresh();
  Result<void> look_after();
  Result<void> append(std::string_view bytes);
  bool write_waiting();
  std::string suffixed(std::uint32_t number) const;

  Files& files_;
  LogFileOptions options_;
  std::string path_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;
  std::string waiting_;  // whole lines with their newlines
  std::uint64_t lost_ = 0, untold_ = 0;
};

}  // namespace d7y::world
