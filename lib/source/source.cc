#include "source/source.h"

#include <nlohmann/json.hpp>

#include "base/url.h"

namespace d7y::source {
namespace {

bool same_or_unknown(const std::string& a, const std::string& b) { return a.empty() || b.empty() || a == b; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

}  // namespace

bool is_secret_header(std::string_view name) {
  for (auto secret : {"Set-Cookie", "Set-Cookie2", "Cookie", "Authorization", "Proxy-Authorization",
                      "Proxy-Authenticate", "X-Amz-Security-Token"}) {
    if (http::same_name(name, secret)) return true;
  }
  return false;
}

bool Version::agrees_with(const Version& other) const {
  if (length && other.length && *length != *other.length) return false;
  return same_or_unknown(etag, other.etag) && same_or_unknown(last_modified, other.last_modified);
}

void Sources::add(std::string scheme, std::shared_ptr<Backend> backend) {
  backends_[std::move(scheme)] = std::move(backend);
}

std::vector<std::string> Sources::schemes() const {
  std::vector<std::string> all;
  for (const auto& [scheme, backend] : backends_) all.push_back(scheme);
  return all;
}

Result<Backend*> Sources::backend_for(std::string_view url) const {
  TRY(const auto parsed, Url::parse(url));
  if (const auto found = backends_.find(parsed.scheme()); found != backends_.end())
    return found->second.get();
  std::string known;
  for (const auto& [scheme, backend] : backends_) known += (known.empty() ? "" : ", ") + scheme;
  return error(ErrorCode::kUnsupported, "no source for URLs of scheme \"{}\"; known are {}", parsed.scheme(),
               known.empty() ? "none" : known);
}

Task<Result<Info>> Sources::stat(const Request& request, Deadline deadline) {
  auto backend = backend_for(request.url);
  if (!backend) co_return std::move(backend).error();
  auto info = co_await (*backend)->stat(request, deadline);
  co_return info;
}

Task<Result<std::unique_ptr<Body>>> Sources::read(const Request& request, Span span, const Version& pinned,
                                                  Deadline deadline) {
  auto backend = backend_for(request.url);
  if (!backend) co_return std::move(backend).error();
  auto body = co_await (*backend)->read(request, span, pinned, deadline);
  co_return body;
}

Task<Result<std::vector<Entry>>> Sources::list(const Request& request, Deadline deadline) {
  auto backend = backend_for(request.url);
  if (!backend) co_return std::move(backend).error();
  auto entries = co_await (*backend)->list(request, deadline);
  co_return entries;
}

std::string redacted(std::string_view url) {
  const auto parsed = Url::parse(url);
  return parsed ? parsed->redacted() : "(not a URL)";
}

std::string backend_error_json(std::string_view message, const http::Headers& headers, int status,
                               std::size_t limit) {
  nlohmann::json map = nlohmann::json::object();
  std::size_t used = 0;
  for (const auto& header : headers) {
    const auto name = lower(header.name);
    if (is_secret_header(name) || map.contains(name)) continue;
    const auto value = headers.joined(name);
    if (used + name.size() + value.size() > limit) continue;
    used += name.size() + value.size();
    map[name] = value;
  }
  nlohmann::json all = nlohmann::json::object();
  all["message"] = std::string(message);
  all["header"] = std::move(map);
  all["status_code"] = status > 0 ? nlohmann::json(status) : nlohmann::json(nullptr);
  // Bytes of other encodings in a header become U+FFFD.
  return all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace d7y::source
