#include "base/ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/digest.h"
#include "base/url.h"

namespace d7y {
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return lower(x) == lower(y); });
}

void feed(Hasher& hasher, std::string_view text) { hasher.update(as_bytes(text)); }

}  // namespace

Result<std::string> task_id(const StandardTaskId& recipe) {
  if (recipe.content_for_calculating_task_id)
    return sha256_hex(as_bytes(*recipe.content_for_calculating_task_id));
  if (recipe.based_on_blob_digest) {
    if (auto digest = blob_digest_in(recipe.url)) return std::move(*digest);
  }
  TRY(const std::string url, task_url(recipe.url, recipe.filtered_query_params));
  Hasher hasher(HashKind::kSha256);
  feed(hasher, url);
  feed(hasher, recipe.tag);
  feed(hasher, recipe.application);
  feed(hasher, recipe.revision);
  if (recipe.piece_length) feed(hasher, std::to_string(*recipe.piece_length));
  feed(hasher, "STANDARD");
  return hasher.hex();
}

Result<std::string> task_url(std::string_view text, std::span<const std::string> filtered_query_params) {
  TRY(Url url, Url::parse(text));
  if (url.query()) {
    auto pairs = url.query_pairs();
    std::erase_if(pairs, [&](const auto& pair) {
      return std::find(filtered_query_params.begin(), filtered_query_params.end(), pair.first) !=
             filtered_query_params.end();
    });
    url.set_query_pairs(pairs);
  }
  std::string normal = url.to_string();
  if (url.path() == "/") {
    while (normal.ends_with('/')) normal.pop_back();
  }
  return normal;
}

namespace {

// The text of the digest in a blob's URL and what it means.
std::optional<std::pair<std::string_view, Digest>> find_blob_digest(std::string_view url) {
  const auto scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos || scheme_end == 0) return std::nullopt;
  auto rest = url.substr(scheme_end + 3);
  rest = rest.substr(0, rest.find('?'));
  const auto host_end = rest.find("/v2/");
  if (host_end == std::string_view::npos || host_end == 0) return std::nullopt;
  rest.remove_prefix(host_end + 4);
  const auto blobs = rest.rfind("/blobs/");
  if (blobs == std::string_view::npos || blobs == 0) return std::nullopt;
  const auto text = rest.substr(blobs + 7);
  auto digest = Digest::parse(text);
  if (!digest) return std::nullopt;
  const auto encoded = text.substr(text.find(':') + 1);
  const bool usable = digest->kind() == HashKind::kSha256 || digest->kind() == HashKind::kSha512 ||
                      (digest->kind() == HashKind::kCrc32 && encoded.size() == 10);
  if (!usable) return std::nullopt;
  return std::pair(encoded, std::move(*digest));
}

}  // namespace

std::optional<std::string> blob_digest_in(std::string_view url) {
  const auto found = find_blob_digest(url);
  if (!found) return std::nullopt;
  return std::string(found->first);
}

std::optional<Digest> blob_digest_of(std::string_view url) {
  auto found = find_blob_digest(url);
  if (!found) return std::nullopt;
  return std::move(found->second);
}

std::string persistent_task_id(std::string_view url, std::string_view region, std::string_view endpoint) {
  Hasher hasher(HashKind::kSha256);
  feed(hasher, url);
  feed(hasher, region);
  feed(hasher, endpoint);
  feed(hasher, "PERSISTENT");
  return hasher.hex();
}

std::string PersistentCacheTaskId::finish(std::string_view tag, std::string_view application,
                                          std::optional<std::uint64_t> piece_length) {
  feed(hasher_, tag);
  feed(hasher_, application);
  if (piece_length) feed(hasher_, std::to_string(*piece_length));
  feed(hasher_, "PERSISTENT_CACHE");
  return hasher_.hex();
}

const std::vector<std::string>& default_filtered_query_params() {
  static const std::vector<std::string> names = {
      // Amazon S3
      "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
      "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-User-Agent",
      // Google Cloud Storage
      "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires", "X-Goog-SignedHeaders",
      "X-Goog-Signature",
      // Alibaba OSS
      "OSSAccessKeyId", "Expires", "Signature", "SecurityToken",
      // Huawei OBS
      "AccessKeyId", "X-Obs-Date", "X-Obs-Security-Token",
      // Tencent COS
      "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list", "q-url-param-list",
      "q-signature", "x-cos-security-token",
      // containerd
      "ns"};
  return names;
}

bool is_secret_query_param(std::string_view name) {
  static constexpr std::array<std::string_view, 12> kOthers = {
      "token",  "access_token",  "auth",    "authorization", "password", "passwd",
      "secret", "client_secret", "api_key", "apikey",        "sig",      "key"};
  const auto is = [&](std::string_view other) { return equal_ignoring_case(name, other); };
  const auto& filtered = default_filtered_query_params();
  return name != "ns" && (std::any_of(filtered.begin(), filtered.end(), is) ||
                          std::any_of(kOthers.begin(), kOthers.end(), is));
}

std::string host_id(std::string_view ip, std::string_view hostname, bool seed) {
  return fmt::format("{}-{}{}", ip, hostname, seed ? "-seed" : "");
}

std::string peer_id(std::string_view ip, std::string_view hostname, std::string_view uuid, bool seed) {
  return fmt::format("{}-{}-{}{}", ip, hostname, uuid, seed ? "-seed" : "");
}

std::string uuid_v4(std::uint64_t high, std::uint64_t low) {
  high = (high & 0xffffffffffff0fffULL) | 0x4000;
  low = (low & 0x3fffffffffffffffULL) | 0x8000000000000000ULL;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, high >> 16 & 0xffff, high & 0xffff,
                     low >> 48, low & 0xffffffffffffULL);
}

std::string piece_id(std::string_view task_id, std::uint32_t number) {
  return fmt::format("{}-{}", task_id, number);
}

bool is_task_id(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace d7y
