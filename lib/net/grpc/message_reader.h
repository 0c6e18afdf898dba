// Cuts a stream's DATA into gRPC messages: a flag byte, four bytes of length, the message.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace d7y::grpc {

class MessageReader {
 public:
  // `max_message`: bytes of one message, before and after decompression.
  explicit MessageReader(std::uint64_t max_message) : max_message_(max_message) {}

  void set_max_message(std::uint64_t bytes) { max_message_ = bytes; }
  // The other side said grpc-encoding: gzip.
  void set_gzip(bool gzip) { gzip_ = gzip; }

  // kTooLarge, kProtocol (a compressed message without an encoding), kCorrupt. No use after an error.
  Result<void> receive(Bytes bytes);

  // The next whole message.
  std::optional<std::string> take();
  bool empty() const { return head_ == messages_.size(); }
  std::size_t waiting() const { return messages_.size() - head_; }
  // A message has begun and is not complete.
  bool in_message() const { return head_bytes_ > 0; }
  void clear();

 private:
  Result<void> begin();
  Result<void> complete(std::string message);

  std::uint64_t max_message_;
  bool gzip_ = false;
  std::array<std::uint8_t, 5> prefix_{};
  std::size_t head_bytes_ = 0;  // of prefix_
  std::uint64_t length_ = 0;
  std::string partial_;
  std::vector<std::string> messages_;
  std::size_t head_ = 0;
};

// The five bytes before a message.
std::array<std::byte, 5> message_prefix(std::size_t length, bool compressed);

}  // namespace d7y::grpc
