#include "source/image.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/base64.h"
#include "base/hash.h"
#include "base/url.h"

namespace d7y::source {
namespace {

constexpr std::size_t kBiggestManifest = 4 << 20;  // bytes; what registries accept
constexpr std::size_t kBiggestToken = 1 << 20;     // bytes of a token service's answer
constexpr std::size_t kMostManifests = 64;         // fetched for one image
constexpr std::size_t kMostBlobs = 10000;
constexpr int kDeepestIndex = 3;

constexpr std::string_view kAccept =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v1+prettyjws, "
    "application/vnd.docker.distribution.manifest.v1+json";

std::string own_architecture() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#elif defined(__arm__)
  return "arm";
#elif defined(__i386__)
  return "386";
#else
  return "unknown";
#endif
}

struct Platform {
  std::string os, architecture, variant;
  std::string text() const { return os + "/" + architecture + (variant.empty() ? "" : "/" + variant); }
};

Result<Platform> parse_platform(std::string_view text) {
  if (text.empty()) return Platform{"linux", own_architecture(), ""};
  Platform out;
  const auto first = text.find('/');
  if (first == std::string_view::npos || first == 0) {
    return error(ErrorCode::kInvalid, "platform \"{}\" is not os/architecture[/variant]", text);
  }
  out.os = text.substr(0, first);
  const auto second = text.find('/', first + 1);
  out.architecture = text.substr(first + 1, second == std::string_view::npos ? second : second - first - 1);
  if (second != std::string_view::npos) out.variant = text.substr(second + 1);
  return out;
}

// Variants that are the same thing, or that a machine runs unless told otherwise.
bool fits(const Platform& wanted, const Platform& offered) {
  if (wanted.os != offered.os || wanted.architecture != offered.architecture) return false;
  if (wanted.variant.empty() || wanted.variant == offered.variant) return true;
  return wanted.architecture == "arm64" && wanted.variant == "v8" && offered.variant.empty();
}

// "algorithm:hex" of a kind that registries use.
bool is_digest(std::string_view text) {
  const auto digits = text.starts_with("sha256:") && text.size() == 7 + 64    ? text.substr(7)
                      : text.starts_with("sha512:") && text.size() == 7 + 128 ? text.substr(7)
                                                                              : std::string_view();
  return !digits.empty() && std::all_of(digits.begin(), digits.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

Result<void> check_digest(const std::string& digest, std::string_view body) {
  const auto kind = digest.starts_with("sha512:") ? HashKind::kSha512 : HashKind::kSha256;
  if (hash_hex(kind, as_bytes(body)) == digest.substr(7)) return {};
  return error(ErrorCode::kCorrupt, "the manifest {} does not have that digest", digest);
}

std::string text_at(const nlohmann::json& object, const char* name) {
  if (!object.is_object()) return {};
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// One challenge of a WWW-Authenticate header: scheme name="value", name=value ...
struct Challenge {
  std::string scheme, realm, service;
};
Challenge parse_challenge(std::string_view text) {
  Challenge out;
  const auto space = text.find(' ');
  out.scheme = text.substr(0, space);
  if (space == std::string_view::npos) return out;
  text.remove_prefix(space);
  while (!text.empty()) {
    const auto start = text.find_first_not_of(" ,\t");
    if (start == std::string_view::npos) break;
    text.remove_prefix(start);
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) break;
    const auto name = text.substr(0, equals);
    text.remove_prefix(equals + 1);
    std::string value;
    if (text.starts_with('"')) {
      std::size_t at = 1;
      for (; at < text.size() && text[at] != '"'; ++at) {
        if (text[at] == '\\' && at + 1 < text.size()) ++at;
        value += text[at];
      }
      text.remove_prefix(std::min(text.size(), at + 1));
    } else {
      const auto end = text.find_first_of(", \t");
      value = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end);
    }
    if (http::same_name(name, "realm")) out.realm = value;
    if (http::same_name(name, "service")) out.service = value;
  }
  return out;
}

std::string percent_encoded(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

Error status_error(int status, const std::string& what) {
  const auto code = status == 401                   ? ErrorCode::kUnauthenticated
                    : status == 403                 ? ErrorCode::kPermission
                    : status == 404                 ? ErrorCode::kNotFound
                    : status == 429                 ? ErrorCode::kExhausted
                    : status >= 400 && status < 500 ? ErrorCode::kInvalid
                                                    : ErrorCode::kUnavailable;
  return error(code, "the registry answers {} for {}", status, what).with_status(status);
}

// The work on one image.
class Resolution {
 public:
  Resolution(http::Client& client, ImageRequest request, Deadline deadline)
      : client_(client), request_(std::move(request)), deadline_(deadline) {}

  Task<Result<ImageBlobs>> run() {
    CO_TRY(Url url, Url::parse(request_.url));
    const auto marker = url.path().rfind("/manifests/");
    if (!url.is_http() || !url.path().starts_with("/v2/") || marker == std::string::npos || marker <= 4 ||
        marker + 11 >= url.path().size()) {
      co_return error(ErrorCode::kInvalid,
                      "{} is not the URL of a manifest: .../v2/<repository>/manifests/<tag>", url.redacted());
    }
    repository_ = url.path().substr(4, marker - 4);
    origin_ = url.origin();
    secure_ = url.scheme() == "https";
    query_ = url.query() ? "?" + *url.query() : "";  // containerd's ns
    CO_TRY(platform_, parse_platform(request_.platform));
    auto collecting = collect(url.path().substr(marker + 11), 0);
    CO_OK(co_await collecting);
    if (blobs_.urls.empty()) {
      std::string there;
      for (const auto& platform : offered_) there += (there.empty() ? "" : ", ") + platform;
      co_return error(ErrorCode::kNotFound, "the image has nothing for {}; there is: {}", platform_.text(),
                      there.empty() ? "nothing" : there);
    }
    blobs_.headers = request_.headers;
    if (!authorization_.empty()) blobs_.headers.set("Authorization", authorization_);
    co_return std::move(blobs_);
  }

 private:
  Task<Result<void>> collect(std::string reference, int depth) {
    if (depth > kDeepestIndex || ++manifests_ > kMostManifests) {
      co_return error(ErrorCode::kTooLarge,
                      "the image's index nests too deep or leads to more than {} manifests", kMostManifests);
    }
    auto fetching = manifest(reference);
    CO_TRY(std::string body, co_await fetching);
    if (is_digest(reference)) CO_OK(check_digest(reference, body));
    const auto json = nlohmann::json::parse(body, nullptr, false);
    if (!json.is_object()) co_return error(ErrorCode::kInvalid, "the manifest {} is not JSON", reference);

    if (const auto list = json.find("manifests"); list != json.end() && list->is_array()) {
      for (const auto& entry : *list) {
        const auto digest = text_at(entry, "digest");
        if (!is_digest(digest)) continue;
        const auto where = entry.find("platform");
        if (where != entry.end() && where->is_object()) {
          const Platform offered{text_at(*where, "os"), text_at(*where, "architecture"),
                                 text_at(*where, "variant")};
          if (offered_.size() < kMostManifests) offered_.insert(offered.text());
          if (!fits(platform_, offered)) continue;
        }
        auto nested = collect(digest, depth + 1);
        CO_OK(co_await nested);
      }
      co_return Result<void>{};
    }
    if (const auto config = json.find("config"); config != json.end()) add(*config, "digest");
    if (const auto layers = json.find("layers"); layers != json.end() && layers->is_array()) {
      for (const auto& layer : *layers) {
        // Those are not in the registry.
        const auto type = text_at(layer, "mediaType");
        if (type.find("foreign") == std::string::npos && type.find("nondistributable") == std::string::npos)
          add(layer, "digest");
      }
    }
    if (const auto layers = json.find("fsLayers"); layers != json.end() && layers->is_array()) {
      for (const auto& layer : *layers) add(layer, "blobSum");  // schema 1
    }
    if (blobs_.urls.size() > kMostBlobs) {
      co_return error(ErrorCode::kTooLarge, "the image has more than {} blobs", kMostBlobs);
    }
    co_return Result<void>{};
  }

  void add(const nlohmann::json& descriptor, const char* name) {
    const auto digest = text_at(descriptor, name);
    if (!is_digest(digest) || !seen_.insert(digest).second) return;
    blobs_.urls.push_back(origin_ + "/v2/" + repository_ + "/blobs/" + digest + query_);
  }

  Task<Result<std::string>> manifest(std::string reference) {
    const auto url = origin_ + "/v2/" + repository_ + "/manifests/" + reference + query_;
    for (bool again = false;; again = true) {
      http::Request ask;
      ask.url = url;
      ask.headers = request_.headers;
      ask.tls = request_.tls;
      ask.headers.set("Accept", std::string(kAccept));
      if (!authorization_.empty()) ask.headers.set("Authorization", authorization_);
      auto fetching = client_.fetch(std::move(ask), deadline_);
      CO_TRY(http::Response response, co_await fetching);
      const bool may_log_in = !again && !request_.headers.has("Authorization");
      if (response.status() == 401 && may_log_in) {
        const auto challenge = parse_challenge(response.headers().get("WWW-Authenticate").value_or(""));
        auto logging_in = log_in(challenge);
        CO_OK(co_await logging_in);
        continue;
      }
      if (response.status() != 200) co_return status_error(response.status(), "manifest " + reference);
      auto reading = response.read_all(kBiggestManifest, deadline_);
      co_return co_await reading;
    }
  }

  Task<Result<void>> log_in(Challenge challenge) {
    const auto basic = "Basic " + base64_encode(request_.username + ":" + request_.password);
    if (http::same_name(challenge.scheme, "Basic")) {
      if (request_.username.empty()) {
        co_return error(ErrorCode::kUnauthenticated, "the registry {} wants a user name and password",
                        origin_);
      }
      authorization_ = basic;
      co_return Result<void>{};
    }
    auto realm = Url::parse(challenge.realm);
    if (!http::same_name(challenge.scheme, "Bearer") || !realm || !realm->is_http()) {
      co_return error(ErrorCode::kUnauthenticated,
                      "the registry {} asks for credentials in a way unknown here", origin_);
    }
    if (secure_ && realm->scheme() != "https") {
      co_return error(ErrorCode::kPermission, "the registry {} names a token service without TLS; not asked",
                      origin_);
    }
    http::Request ask;
    ask.url = challenge.realm + (realm->query() ? "&" : "?") +
              "scope=" + percent_encoded("repository:" + repository_ + ":pull");
    if (!challenge.service.empty()) ask.url += "&service=" + percent_encoded(challenge.service);
    if (!request_.username.empty()) ask.headers.set("Authorization", basic);
    ask.tls = request_.tls;
    auto fetching = client_.fetch(std::move(ask), deadline_);
    CO_TRY(http::Response response, co_await fetching);
    if (response.status() != 200) {
      co_return status_error(response.status(), "a token of " + realm->origin());
    }
    auto reading = response.read_all(kBiggestToken, deadline_);
    CO_TRY(std::string body, co_await reading);
    const auto json = nlohmann::json::parse(body, nullptr, false);
    auto token = text_at(json, "token");
    if (token.empty()) token = text_at(json, "access_token");
    const bool clean = !token.empty() &&
                       std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
    if (!clean) {
      co_return error(ErrorCode::kUnauthenticated, "the token service {} gives no token", realm->origin());
    }
    authorization_ = "Bearer " + token;
    co_return Result<void>{};
  }

  http::Client& client_;
  ImageRequest request_;
  Deadline deadline_;
  Platform platform_;
  std::string repository_, origin_, query_, authorization_;
  bool secure_ = false;
  std::size_t manifests_ = 0;
  std::set<std::string> seen_, offered_;
  ImageBlobs blobs_;
};

}  // namespace

Task<Result<ImageBlobs>> resolve_image(http::Client& client, ImageRequest request, Deadline deadline) {
  Resolution resolution(client, std::move(request), deadline);
  auto running = resolution.run();
  co_return co_await running;
}

}  // namespace d7y::source
