// Cryptographic digests over bytes as they come.
//
//   Hasher hasher(HashKind::kSha256);
//   hasher.update(chunk);
//   hasher.hex();
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace d7y::net {

enum class HashKind : std::uint8_t { kMd5, kSha1, kSha256, kSha512 };

std::string_view name_of(HashKind kind);  // "sha256"
std::optional<HashKind> hash_kind(std::string_view name);
std::size_t hash_size(HashKind kind);  // bytes of the digest

class Hasher {
 public:
  explicit Hasher(HashKind kind);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  HashKind kind() const;
  void update(Bytes bytes);
  // The digest of what came so far; more may follow.
  std::string digest() const;  // raw bytes
  std::string hex() const;     // lower case

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string hash_hex(HashKind kind, Bytes bytes);

}  // namespace d7y::net
