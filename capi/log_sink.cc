#include "log_sink.h"

#include <algorithm>

namespace d7y::capi {

HostSink::HostSink(LogWish wish)
    : wish_(wish),
      level_(wish.level == D7Y_LOG_AS_CONFIGURED ? D7Y_LOG_INFO : wish.level),
      lines_(wish.format == D7Y_LOG_JSON ? world::LogLines::kJson : world::LogLines::kText) {}

Result<void> HostSink::configure(LogConfig config) {
  if (wish_.level == D7Y_LOG_AS_CONFIGURED) level_ = static_cast<int>(config.level);
  if (wish_.format == D7Y_LOG_FORMAT_AS_CONFIGURED) lines_ = config.lines;
  file_lines_ = config.lines;
  if (wish_.no_files || config.file.folder.empty()) return {};
  TRY(file_, world::LogFile::open(world_->files(), std::move(config.file)));
  return {};
}

void HostSink::close() {
  std::lock_guard guard(mutex_);
  closed_ = true;
  file_.reset();
}

bool HostSink::wants(LogLevel level) const {
  return !closed_ && (wish_.callback != nullptr || file_) && static_cast<int>(level) >= level_;
}

void HostSink::write(LogLevel level, std::string_view room, std::string_view message) {
  std::lock_guard guard(mutex_);
  if (closed_) return;
  if (file_) {
    file_->write(world::log_line(file_lines_, world_->wall_now(), level, room, message));
    return;
  }
  room_.assign(room);
  if (wish_.format == D7Y_LOG_MESSAGE || world_ == nullptr) {
    message_.assign(message);
    std::replace_if(
        message_.begin(), message_.end(), [](char c) { return c == '\n' || c == '\r' || c == '\0'; }, ' ');
  } else {
    message_ = world::log_line(lines_, world_->wall_now(), level, room, message);
  }
  wish_.callback(wish_.user, static_cast<d7y_log_level>(level), room_.c_str(), message_.c_str());
}

LogLevel level_named(std::string_view name) {
  for (auto level : {LogLevel::kTrace, LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn}) {
    if (name == name_of(level)) return level;
  }
  return LogLevel::kError;
}

}  // namespace d7y::capi
