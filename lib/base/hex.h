// Bytes as lower-case hexadecimal text, and back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace d7y {

std::string to_hex(Bytes bytes);
// Accepts both cases; none for an odd length or any other character.
std::optional<std::string> from_hex(std::string_view text);

// The value of one hexadecimal digit, or -1.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace d7y
