#include "net/crypto/hash.h"

#include <openssl/digest.h>

namespace d7y::net {
namespace {

const EVP_MD* method(HashKind kind) {
  switch (kind) {
    case HashKind::kMd5: return EVP_md5();
    case HashKind::kSha1: return EVP_sha1();
    case HashKind::kSha256: return EVP_sha256();
    default: return EVP_sha512();
  }
}

}  // namespace

std::string_view name_of(HashKind kind) {
  switch (kind) {
    case HashKind::kMd5: return "md5";
    case HashKind::kSha1: return "sha1";
    case HashKind::kSha256: return "sha256";
    default: return "sha512";
  }
}

std::optional<HashKind> hash_kind(std::string_view name) {
  for (auto kind : {HashKind::kMd5, HashKind::kSha1, HashKind::kSha256, HashKind::kSha512}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

std::size_t hash_size(HashKind kind) { return EVP_MD_size(method(kind)); }

struct Hasher::State {
  HashKind kind;
  bssl::ScopedEVP_MD_CTX context;
};

Hasher::Hasher(HashKind kind) : state_(std::make_unique<State>()) {
  state_->kind = kind;
  EVP_DigestInit_ex(state_->context.get(), method(kind), nullptr);
}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

HashKind Hasher::kind() const { return state_->kind; }

void Hasher::update(Bytes bytes) {
  if (!bytes.empty()) EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size());
}

std::string Hasher::digest() const {
  bssl::ScopedEVP_MD_CTX copy;
  EVP_MD_CTX_copy_ex(copy.get(), state_->context.get());
  std::uint8_t out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(copy.get(), out, &length);
  return std::string(reinterpret_cast<const char*>(out), length);
}

std::string Hasher::hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (unsigned char byte : digest()) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string hash_hex(HashKind kind, Bytes bytes) {
  Hasher hasher(kind);
  hasher.update(bytes);
  return hasher.hex();
}

}  // namespace d7y::net
