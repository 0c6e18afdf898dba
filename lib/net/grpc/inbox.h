// A call's received messages, and the window that is given back as they are read.
#pragma once

#include <optional>
#include <string>

#include "net/grpc/message_reader.h"
#include "net/http2/session.h"

namespace d7y::grpc {

class Inbox {
 public:
  explicit Inbox(std::uint64_t max_message) : reader_(max_message) {}

  void set_gzip(bool gzip) { reader_.set_gzip(gzip); }

  // DATA for `stream`. While no whole message waits to be read, the window is given back at once, so
  // that a message may be larger than it; else as messages are taken.
  Result<void> receive(http2::Stream& stream, Bytes bytes) {
    bool hungry = reader_.empty();
    TRY_OK(reader_.receive(bytes));
    if (hungry) {
      stream.consume(bytes.size());
    } else {
      held_ += bytes.size();
    }
    return {};
  }

  std::optional<std::string> take(http2::Stream& stream) {
    auto message = reader_.take();
    if (message && held_ > 0) {
      auto count = reader_.empty() ? held_ : std::min(held_, message->size() + 5);
      held_ -= count;
      stream.consume(count);
    }
    return message;
  }

  bool empty() const { return reader_.empty(); }
  bool in_message() const { return reader_.in_message(); }
  // Drops everything.
  void clear(http2::Stream& stream) {
    reader_.clear();
    stream.consume(std::exchange(held_, 0));
  }

 private:
  MessageReader reader_;
  std::size_t held_ = 0;  // received bytes whose window was not given back
};

}  // namespace d7y::grpc
