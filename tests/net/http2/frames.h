// HTTP/2 frames for tests: cut apart what a session wrote, put together what it should read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/http2/session.h"

namespace d7y::test {

enum FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
constexpr std::uint8_t kEndStream = 1, kAck = 1, kEndHeaders = 4;
constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct Frame {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;
  std::string payload;
  bool ends() const { return (flags & kEndStream) != 0; }
  // Of RST_STREAM; the second number of GOAWAY.
  std::uint32_t code() const { return number(type == kGoaway ? 4 : 0); }
  std::uint32_t number(std::size_t at) const {
    std::uint32_t value = 0;
    for (std::size_t i = at; i < at + 4 && i < payload.size(); ++i) {
      value = value << 8 | static_cast<unsigned char>(payload[i]);
    }
    return value;
  }
};

inline std::string be(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

inline std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                         std::string_view payload) {
  return be(static_cast<std::uint32_t>(payload.size()), 3) + static_cast<char>(type) +
         static_cast<char>(flags) + be(stream, 4) + std::string(payload);
}

// Whole frames at the front of `bytes`, which they are taken off.
inline std::vector<Frame> take_frames(std::string& bytes) {
  std::vector<Frame> frames;
  std::string_view rest = bytes;
  if (rest.starts_with(kPreface)) rest.remove_prefix(kPreface.size());
  auto number = [&](std::size_t at, int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i)
      value = value << 8 | static_cast<unsigned char>(rest[at + static_cast<std::size_t>(i)]);
    return value;
  };
  while (rest.size() >= 9) {
    std::size_t length = number(0, 3);
    if (rest.size() < 9 + length) break;
    frames.push_back({static_cast<std::uint8_t>(rest[3]), static_cast<std::uint8_t>(rest[4]),
                      number(5, 4) & 0x7fffffff, std::string(rest.substr(9, length))});
    rest.remove_prefix(9 + length);
  }
  bytes.erase(0, bytes.size() - rest.size());
  return frames;
}

// All that `session` wants to write now.
inline std::string pull_all(http2::Session& session) {
  std::string bytes;
  for (;;) {
    http2::Output output;
    if (!session.pull(output, 1u << 20)) return bytes;
    if (output.empty()) return bytes;
    while (!output.empty()) {
      Bytes parts[8];
      auto count = output.gather(parts);
      std::size_t taken = 0;
      for (std::size_t i = 0; i < count; ++i) {
        bytes.append(as_text(parts[i]));
        taken += parts[i].size();
      }
      output.advance(taken);
    }
  }
}

}  // namespace d7y::test
