#include "base/digest.h"

#include <charconv>

#include "base/hex.h"

namespace d7y {

Result<Digest> Digest::parse(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) {
    return error(ErrorCode::kInvalid,
                 "digest has no algorithm; expected algorithm:value, e.g. sha256:<64 hex digits>");
  }
  const auto name = text.substr(0, colon);
  const auto value = text.substr(colon + 1);
  const auto kind = hash_kind(name);
  if (!kind) {
    if (name == "blake3")
      return error(ErrorCode::kUnsupported, "digest algorithm blake3 is not supported; use sha256");
    return error(ErrorCode::kInvalid,
                 "digest algorithm \"{}\" is not known; use sha256, sha512, sha1, md5 or crc32",
                 name.substr(0, 32));
  }
  if (*kind == HashKind::kCrc32) {
    std::uint32_t number = 0;
    const auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (value.empty() || value.size() > 10 || failure != std::errc() || end != value.data() + value.size()) {
      return error(ErrorCode::kInvalid,
                   "crc32 digest must be a decimal number below 2^32, e.g. crc32:0907060870");
    }
    return Digest::crc32(number);
  }
  const auto raw = from_hex(value);
  if (!raw || raw->size() != hash_size(*kind)) {
    return error(ErrorCode::kInvalid, "{} digest must have {} hexadecimal digits", name,
                 hash_size(*kind) * 2);
  }
  return Digest(*kind, to_hex(as_bytes(*raw)));
}

Digest Digest::crc32(std::uint32_t value) { return Digest(HashKind::kCrc32, std::to_string(value)); }

Digest Digest::of(const Hasher& hasher) {
  if (hasher.kind() != HashKind::kCrc32) return Digest(hasher.kind(), hasher.hex());
  std::uint32_t value = 0;
  for (const unsigned char byte : hasher.digest()) value = value << 8 | byte;
  return Digest::crc32(value);
}

std::string Digest::to_string() const {
  std::string text(name_of(kind_));
  text += ':';
  text += encoded_;
  return text;
}

}  // namespace d7y
