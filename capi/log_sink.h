// Where a handle's messages go: to a C callback, or to files once a configuration has named a folder.
#pragma once

#include <d7y/log.h>

#include <memory>
#include <mutex>
#include <string>

#include "base/log.h"
#include "world/log_file.h"
#include "world/world.h"

namespace d7y::capi {

// What the host of the library asked for.
struct LogWish {
  d7y_log_callback callback = nullptr;
  void* user = nullptr;
  d7y_log_level level = D7Y_LOG_INFO;
  d7y_log_format format = D7Y_LOG_MESSAGE;
  bool no_files = false;
};

// What the configuration asks for.
struct LogConfig {
  LogLevel level = LogLevel::kInfo;
  world::LogLines lines = world::LogLines::kText;
  world::LogFileOptions file;  // no folder: no files
};

class HostSink final : public LogSink {
 public:
  explicit HostSink(LogWish wish);

  // Before anything is logged and on the thread that will log: lines need the time of day.
  void attach(world::World& world) { world_ = &world; }
  // Settles what the host left to the configuration. An error is the log file's.
  Result<void> configure(LogConfig config);

  // Lets go of the log file, before the world ends; messages go nowhere from then on.
  void close();

  bool wants(LogLevel level) const override;
  void write(LogLevel level, std::string_view room, std::string_view message) override;

 private:
  LogWish wish_;
  int level_;
  world::LogLines lines_, file_lines_ = world::LogLines::kText;
  world::World* world_ = nullptr;
  bool closed_ = false;
  std::mutex mutex_;
  std::unique_ptr<world::LogFile> file_;
  std::string room_, message_;
};

// "trace", "debug", "info", "warn" or "error".
LogLevel level_named(std::string_view name);

}  // namespace d7y::capi
