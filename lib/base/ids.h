// Who is who on the wire. Task ids are computed by every daemon for itself and must agree to the letter;
// the recipes and their test vectors are Dragonfly's (Dragonfly client 1.1 to 1.4).
//
//   StandardTaskId recipe;
//   recipe.url = "https://example.com/model.bin";
//   recipe.filtered_query_params = default_filtered_query_params();
//   TRY(std::string id, task_id(recipe));
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/hash.h"
#include "base/result.h"

namespace d7y {

// What a standard task's id is made of. An empty text is the same as none.
struct StandardTaskId {
  std::string url;
  std::string tag, application;
  std::string revision;                       // of a model hub
  std::optional<std::uint64_t> piece_length;  // bytes, only if somebody wished for it
  std::vector<std::string> filtered_query_params;
  // Takes the place of all else.
  std::optional<std::string> content_for_calculating_task_id;
  // Use an OCI blob's own digest where the URL has one.
  bool based_on_blob_digest = false;
};

// 64 lower-case hexadecimal digits (128 for a sha512 blob). kInvalid if the URL is none.
Result<std::string> task_id(const StandardTaskId& recipe);

// The normalised URL that is hashed: without filtered parameters, the rest re-encoded as a form.
Result<std::string> task_url(std::string_view url, std::span<const std::string> filtered_query_params);

// The digits of the digest in ".../v2/<name>/blobs/<algorithm>:<digits>"; none for other URLs.
std::optional<std::string> blob_digest_in(std::string_view url);

// The same as a digest; none where digits or algorithm are of no digest.
std::optional<Digest> blob_digest_of(std::string_view url);

// A task whose content lives in an object store. `url` as given.
std::string persistent_task_id(std::string_view url, std::string_view region, std::string_view endpoint);

// A task made of a local file: fed with the file's bytes, then finished.
class PersistentCacheTaskId {
 public:
  PersistentCacheTaskId() : hasher_(HashKind::kSha256) {}
  void update(Bytes bytes) { hasher_.update(bytes); }
  // What came so far as "sha256:<hex>", to be asked before finish().
  std::string content_digest() const { return Digest::of(hasher_).to_string(); }
  std::string finish(std::string_view tag, std::string_view application,
                     std::optional<std::uint64_t> piece_length);

 private:
  Hasher hasher_;
};

// The query parameters that are left out unless a caller says otherwise: signatures, credentials and times
// that object stores and containerd add to URLs.
const std::vector<std::string>& default_filtered_query_params();

// True for those, and for other names whose values must not be shown (token, password ...).
bool is_secret_query_param(std::string_view name);

// "<ip>-<hostname>", with "-seed" for seeds.
std::string host_id(std::string_view ip, std::string_view hostname, bool seed);
// "<ip>-<hostname>-<uuid>", with "-seed" for seeds. A new one for every request.
std::string peer_id(std::string_view ip, std::string_view hostname, std::string_view uuid, bool seed);
// A version 4 UUID out of 128 random bits.
std::string uuid_v4(std::uint64_t random_high, std::uint64_t random_low);
// "<task id>-<number>".
std::string piece_id(std::string_view task_id, std::uint32_t number);

// Whether `text` can be a task id: 64 lower-case hexadecimal digits. Ids become folder names; check those
// that come from a network.
bool is_task_id(std::string_view text);

}  // namespace d7y
