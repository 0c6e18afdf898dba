// Where messages go. The library never prints: a node hands every room a Log, and whoever opened
// the node decides what becomes of the lines (a file, JSON, the C API's callback, nothing).
//
//   log.info("task {} complete: {} bytes in {} pieces", id, bytes, pieces);
//
// Arguments are formatted only if the level is wanted. Never pass secrets.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string_view>

namespace d7y {

enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError };

std::string_view name_of(LogLevel level);

// Receives finished lines (without newline). Called on the thread of the loop that logs; an
// implementation shared by several loops must be thread-safe.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual bool wants(LogLevel level) const = 0;
  virtual void write(LogLevel level, std::string_view room, std::string_view message) = 0;
};

// A cheap handle: a sink and the name of the room that speaks. A default Log is silent.
class Log {
 public:
  Log() = default;
  Log(LogSink& sink, std::string_view room) : sink_(&sink), room_(room) {}

  // The same sink for another room. `room` must outlive the log (a literal).
  Log in(std::string_view room) const {
    Log other = *this;
    other.room_ = room;
    return other;
  }
  bool wants(LogLevel level) const { return sink_ != nullptr && sink_->wants(level); }

  template <class... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kTrace, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kDebug, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kInfo, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kWarn, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kError, format, std::forward<Args>(args)...);
  }

 private:
  template <class... Args>
  void write(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    if (wants(level)) sink_->write(level, room_, fmt::format(format, std::forward<Args>(args)...));
  }

  LogSink* sink_ = nullptr;
  std::string_view room_;
};

}  // namespace d7y
