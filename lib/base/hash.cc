#include "base/hash.h"

#include <openssl/digest.h>

#include "base/crc32.h"
#include "base/hex.h"

namespace d7y {
namespace {

constexpr HashKind kAll[] = {HashKind::kMd5, HashKind::kSha1, HashKind::kSha256, HashKind::kSha512,
                             HashKind::kCrc32};

const EVP_MD* method(HashKind kind) {
  switch (kind) {
    case HashKind::kMd5: return EVP_md5();
    case HashKind::kSha1: return EVP_sha1();
    case HashKind::kSha512: return EVP_sha512();
    default: return EVP_sha256();
  }
}

}  // namespace

std::string_view name_of(HashKind kind) {
  switch (kind) {
    case HashKind::kMd5: return "md5";
    case HashKind::kSha1: return "sha1";
    case HashKind::kSha256: return "sha256";
    case HashKind::kSha512: return "sha512";
    default: return "crc32";
  }
}

std::optional<HashKind> hash_kind(std::string_view name) {
  for (const auto kind : kAll) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

std::size_t hash_size(HashKind kind) { return kind == HashKind::kCrc32 ? 4 : EVP_MD_size(method(kind)); }

struct Hasher::State {
  HashKind kind;
  Crc32 crc;
  bssl::ScopedEVP_MD_CTX context;
};

Hasher::Hasher(HashKind kind) : state_(std::make_unique<State>()) {
  state_->kind = kind;
  if (kind != HashKind::kCrc32) EVP_DigestInit_ex(state_->context.get(), method(kind), nullptr);
}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

HashKind Hasher::kind() const { return state_->kind; }

void Hasher::update(Bytes bytes) {
  if (bytes.empty()) return;
  if (state_->kind == HashKind::kCrc32) {
    state_->crc.update(bytes);
  } else {
    EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size());
  }
}

std::string Hasher::digest() const {
  if (state_->kind == HashKind::kCrc32) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8)
      out += static_cast<char>(state_->crc.value() >> shift & 0xff);
    return out;
  }
  bssl::ScopedEVP_MD_CTX copy;
  EVP_MD_CTX_copy_ex(copy.get(), state_->context.get());
  std::uint8_t out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(copy.get(), out, &length);
  return std::string(reinterpret_cast<const char*>(out), length);
}

std::string Hasher::hex() const { return to_hex(as_bytes(digest())); }

std::string hash_hex(HashKind kind, Bytes bytes) {
  Hasher hasher(kind);
  hasher.update(bytes);
  return hasher.hex();
}

}  // namespace d7y
