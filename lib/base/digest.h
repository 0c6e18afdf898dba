// A digest as text: "sha256:<hex>", and Dragonfly's "crc32:<decimal>" (Dragonfly client 2.3).
//
//   TRY(Digest wanted, Digest::parse("sha256:9f86d0..."));
//   Hasher hasher(wanted.kind()); ...
//   if (Digest::of(hasher) != wanted) ...
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "base/result.h"

namespace d7y {

class Digest {
 public:
  // md5, sha1, sha256 and sha512 with hexadecimal digits of the right number, in either case; crc32 with a
  // decimal number below 2^32, leading zeros allowed (tools pad it to ten digits). kInvalid otherwise;
  // kUnsupported for blake3, which Dragonfly's API allows and nobody computes.
  static Result<Digest> parse(std::string_view text);
  static Digest crc32(std::uint32_t value);
  static Digest of(const Hasher& hasher);

  HashKind kind() const { return kind_; }
  // Lower-case hexadecimal; decimal for crc32.
  const std::string& encoded() const { return encoded_; }
  std::string to_string() const;  // "sha256:9f86d0...", "crc32:907060870"

  bool operator==(const Digest&) const = default;

 private:
  Digest(HashKind kind, std::string encoded) : kind_(kind), encoded_(std::move(encoded)) {}
  HashKind kind_;
  std::string encoded_;
};

}  // namespace d7y
