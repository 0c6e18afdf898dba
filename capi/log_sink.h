// A log sink that hands lines to a C callback, one at a time.
#pragma once

#include <d7y/log.h>

#include <mutex>
#include <string>

#include "base/log.h"

namespace d7y::capi {

class CallbackSink final : public LogSink {
 public:
  CallbackSink(d7y_log_callback callback, void* user, d7y_log_level level)
      : callback_(callback), user_(user), level_(level) {}

  bool wants(LogLevel level) const override {
    return callback_ != nullptr && static_cast<int>(level) >= static_cast<int>(level_);
  }
  void write(LogLevel level, std::string_view room, std::string_view message) override {
    std::lock_guard guard(mutex_);
    room_.assign(room);
    message_.assign(message);
    for (auto& c : message_) {
      if (c == '\n' || c == '\r' || c == '\0') c = ' ';  // one message, one line
    }
    callback_(user_, static_cast<d7y_log_level>(level), room_.c_str(), message_.c_str());
  }

 private:
  d7y_log_callback callback_;
  void* user_;
  d7y_log_level level_;
  std::mutex mutex_;
  std::string room_, message_;
};

}  // namespace d7y::capi
