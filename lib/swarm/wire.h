// Big-endian integers in byte strings: what both vortex and our extensions to it are made of.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace d7y::swarm::wire {

template <std::unsigned_integral T>
void put(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T) - 1) * 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(static_cast<std::uint8_t>(value >> shift)));
  }
}

// Reads fields from the front of a byte string. After a read past the end every further read gives
// zero or nothing and ok() is false, so that a parser checks once, after its last field.
class Reader {
 public:
  explicit Reader(Bytes bytes) : left_(bytes) {}

  template <std::unsigned_integral T>
  T take() {
    if (left_.size() < sizeof(T)) {
      ok_ = false;
      return 0;
    }
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      value = static_cast<T>(static_cast<T>(value << 8) |
                             static_cast<T>(std::to_integer<std::uint8_t>(left_[i])));
    }
    left_ = left_.subspan(sizeof(T));
    return value;
  }

  // The next `length` bytes; borrowed from the input.
  std::string_view take_text(std::size_t length) {
    if (left_.size() < length) {
      ok_ = false;
      return {};
    }
    auto text = as_text(left_.first(length));
    left_ = left_.subspan(length);
    return text;
  }
  std::string_view take_rest() { return take_text(left_.size()); }

  std::size_t left() const { return left_.size(); }
  bool ok() const { return ok_; }

 private:
  Bytes left_;
  bool ok_ = true;
};

}  // namespace d7y::swarm::wire
