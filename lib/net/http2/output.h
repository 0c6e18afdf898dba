// Bytes on their way to a socket, in order: small ones copied together, big ones sent from where
// they lie. One vectored write takes frames of many streams at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace d7y::http2 {

class Output {
 public:
  // Copies.
  void append(Bytes bytes);
  // `bytes` lie inside *owner, which is kept until they are sent.
  void append(std::shared_ptr<const std::string> owner, Bytes bytes);

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  // Fills `parts` from the front; how many were filled.
  std::size_t gather(std::span<Bytes> parts) const;
  // The first `count` bytes are sent.
  void advance(std::size_t count);
  void clear();

 private:
  struct Segment {
    std::size_t begin = 0;  // in copied_, unless `owner` is set
    std::size_t length = 0;
    std::shared_ptr<const std::string> owner;
    const std::byte* at = nullptr;
  };

  std::string copied_;
  std::vector<Segment> segments_;
  std::size_t head_ = 0;    // first segment with unsent bytes
  std::size_t offset_ = 0;  // sent bytes of that one
  std::size_t size_ = 0;
};

}  // namespace d7y::http2
