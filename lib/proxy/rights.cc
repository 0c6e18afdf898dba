#include "proxy/rights.h"

#include "base/hash.h"
#include "base/ids.h"
#include "proxy/registries.h"

namespace d7y::proxy {
namespace {

std::string pair_of(std::string_view a, std::string_view b) {
  std::string key(a);
  key += '\n';  // stands in neither
  key += b;
  return key;
}

}  // namespace

void Rights::Memory::put(std::string key, TimePoint when, std::size_t most) {
  if (young_.size() >= most && !young_.contains(key)) {
    old_ = std::move(young_);
    young_ = {};
  }
  young_[std::move(key)] = when;
}

void Rights::Memory::forget(const std::string& key) {
  young_.erase(key);
  old_.erase(key);
}

const TimePoint* Rights::Memory::find(const std::string& key) const {
  if (auto found = young_.find(key); found != young_.end()) return &found->second;
  auto found = old_.find(key);
  return found != old_.end() ? &found->second : nullptr;
}

std::string Rights::caller(const http::Headers& secret, const Url& url) {
  Hasher hasher(HashKind::kSha256);
  const auto add = [&hasher](std::string_view name, std::string_view value) {
    for (auto part : {name, std::string_view(":"), value, std::string_view("\n")})
      hasher.update(as_bytes(part));
  };
  for (const auto& header : secret) {
    std::string name = header.name;
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    add(name, header.value);
  }
  if (url.has_credentials()) add("@" + url.username(), url.password());  // "@" begins no header's name
  for (const auto& [name, value] : url.query_pairs()) {
    if (is_secret_query_param(name)) add("?" + name, value);
  }
  return hasher.hex();
}

std::string Rights::scope(const Url& url) {
  auto repository = repository_in(url.path());
  return url.origin() + (repository.empty() ? url.path() : "/v2/" + std::string(repository));
}

void Rights::accepted(const std::string& caller, const std::string& scope, std::string_view content,
                      TimePoint now) {
  callers_.put(pair_of(scope, caller), now, most_);
  if (!content.empty()) contents_.put(pair_of(scope, content), now, most_);
}

void Rights::refused(const std::string& caller, const std::string& scope) {
  callers_.forget(pair_of(scope, caller));
}

bool Rights::is_accepted(const std::string& caller, const std::string& scope, TimePoint now) const {
  const auto* when = callers_.find(pair_of(scope, caller));
  return when != nullptr && now - *when < lasts_;
}

bool Rights::may_have(const std::string& caller, const std::string& scope, std::string_view content,
                      TimePoint now) const {
  return is_accepted(caller, scope, now) && contents_.find(pair_of(scope, content)) != nullptr;
}

}  // namespace d7y::proxy
