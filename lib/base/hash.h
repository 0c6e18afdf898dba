// Digests over bytes as they come: the cryptographic ones (BoringSSL) and CRC-32 (ISA-L) behind one face.
//
//   Hasher hasher(HashKind::kSha256);
//   hasher.update(chunk);
//   hasher.hex();
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace d7y {

enum class HashKind : std::uint8_t { kMd5, kSha1, kSha256, kSha512, kCrc32 };

std::string_view name_of(HashKind kind);                   // "sha256"
std::optional<HashKind> hash_kind(std::string_view name);  // by those names
std::size_t hash_size(HashKind kind);                      // bytes of the digest

struct HashPart;

class Hasher {
 public:
  explicit Hasher(HashKind kind);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  HashKind kind() const;
  void update(Bytes bytes);
  // The digest of what came so far; more may follow.
  std::string digest() const;  // raw bytes; CRC-32 with its highest byte first
  std::string hex() const;     // lower case

 private:
  friend void update_together(std::span<HashPart> parts);
  struct State;
  std::unique_ptr<State> state_;
};

// The next bytes of one content.
struct HashPart {
  Hasher* hasher = nullptr;
  Bytes bytes;
};
// Feeds each part to its hasher; these are different ones. Several of SHA-256 at once take as little as 0.58
// of the time that they take one after the other (sha256_lanes.h). Uses up `parts`.
void update_together(std::span<HashPart> parts);

std::string hash_hex(HashKind kind, Bytes bytes);
inline std::string sha256_hex(Bytes bytes) { return hash_hex(HashKind::kSha256, bytes); }

}  // namespace d7y
