#include "base/hash.h"

#include <openssl/digest.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "base/crc32.h"
#include "base/hex.h"
#include "base/sha256_lanes.h"

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
  SHA256_CTX sha256;
  bssl::ScopedEVP_MD_CTX context;  // of other kinds
};

Hasher::Hasher(HashKind kind) : state_(std::make_unique<State>()) {
  state_->kind = kind;
  switch (kind) {
    case HashKind::kCrc32: break;
    case HashKind::kSha256: SHA256_Init(&state_->sha256); break;
    default: EVP_DigestInit_ex(state_->context.get(), method(kind), nullptr);
  }
}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

HashKind Hasher::kind() const { return state_->kind; }

void Hasher::update(Bytes bytes) {
  if (bytes.empty()) return;
  switch (state_->kind) {
    case HashKind::kCrc32: state_->crc.update(bytes); break;
    case HashKind::kSha256: SHA256_Update(&state_->sha256, bytes.data(), bytes.size()); break;
    default: EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size());
  }
}

std::string Hasher::digest() const {
  if (state_->kind == HashKind::kCrc32) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8)
      out += static_cast<char>(state_->crc.value() >> shift & 0xff);
    return out;
  }
  if (state_->kind == HashKind::kSha256) {
    SHA256_CTX copy = state_->sha256;
    std::uint8_t out[SHA256_DIGEST_LENGTH];
    SHA256_Final(out, &copy);
    return std::string(reinterpret_cast<const char*>(out), sizeof out);
  }
  bssl::ScopedEVP_MD_CTX copy;
  EVP_MD_CTX_copy_ex(copy.get(), state_->context.get());
  std::uint8_t out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(copy.get(), out, &length);
  return std::string(reinterpret_cast<const char*>(out), length);
}

std::string Hasher::hex() const { return to_hex(as_bytes(digest())); }

namespace {

// What else a SHA-256 in work has to know of blocks that it has got.
void count_blocks(SHA256_CTX& context, std::size_t blocks) {
  auto bits = (std::uint64_t{context.Nh} << 32 | context.Nl) + blocks * kSha256Block * 8;
  context.Nl = static_cast<std::uint32_t>(bits);
  context.Nh = static_cast<std::uint32_t>(bits >> 32);
}

}  // namespace

void update_together(std::span<HashPart> parts) {
  std::array<HashPart*, kSha256Lanes> lanes{};
  std::array<Sha256Lane, kSha256Lanes> work{};
  auto next = parts.begin();
  for (std::size_t filled = 0;;) {
    // Lanes with whole blocks to take, at the beginning of one.
    for (; filled < lanes.size() && next != parts.end(); ++next) {
      auto& state = *next->hasher->state_;
      if (!has_sha256_lanes() || state.kind != HashKind::kSha256) {
        next->hasher->update(next->bytes);
        continue;
      }
      auto head = std::min<std::size_t>((kSha256Block - state.sha256.num) % kSha256Block, next->bytes.size());
      next->hasher->update(next->bytes.first(head));
      next->bytes = next->bytes.subspan(head);
      if (next->bytes.size() < kSha256Block) {
        next->hasher->update(next->bytes);
      } else {
        lanes[filled++] = &*next;
      }
    }
    if (filled < 2) {
      if (filled == 1) lanes[0]->hasher->update(lanes[0]->bytes);
      return;
    }
    auto shortest = lanes[0]->bytes.size();
    for (std::size_t i = 0; i < filled; ++i) {
      shortest = std::min(shortest, lanes[i]->bytes.size());
      work[i] = {lanes[i]->hasher->state_->sha256.h, lanes[i]->bytes.data()};
    }
    const auto blocks = shortest / kSha256Block;
    sha256_blocks(std::span(work).first(filled), blocks);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < filled; ++i) {
      count_blocks(lanes[i]->hasher->state_->sha256, blocks);
      lanes[i]->bytes = lanes[i]->bytes.subspan(blocks * kSha256Block);
      if (lanes[i]->bytes.size() < kSha256Block) {
        lanes[i]->hasher->update(lanes[i]->bytes);
      } else {
        lanes[kept++] = lanes[i];
      }
    }
    filled = kept;
  }
}

std::string hash_hex(HashKind kind, Bytes bytes) {
  Hasher hasher(kind);
  hasher.update(bytes);
  return hasher.hex();
}

}  // namespace d7y
