#include "proxy/registries.h"

#include <algorithm>

#include "base/address.h"
#include "net/http/http_url.h"

namespace d7y::proxy {
namespace {

constexpr std::string_view kApi = "/v2/";

bool is_own_machine(const http::HttpUrl& url) {
  if (url.host == "localhost" || url.host.ends_with(".localhost")) return true;
  auto address = Address::parse_ip(url.host, 0);
  return address && address->is_loopback();
}

// The query without parameters called `ns`, and the first one's decoded value.
struct Query {
  std::string rest;
  std::optional<std::string> ns;
};
Query take_ns(std::string_view query) {
  Query out;
  while (!query.empty()) {
    auto part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    if (part == "ns" || part.starts_with("ns=")) {
      auto pairs = form_decode(part);
      if (!out.ns && !pairs.empty()) out.ns = pairs.front().second;
      continue;
    }
    if (!out.rest.empty()) out.rest += '&';
    out.rest += part;
  }
  return out;
}

}  // namespace

Result<std::string> registry_address(std::string_view text) {
  const bool has_scheme = text.find("://") != std::string_view::npos;
  auto parsed = http::parse_http_url(has_scheme ? std::string(text) : "https://" + std::string(text));
  if (!parsed) return std::move(parsed).error();
  auto& url = *parsed;
  const bool more = url.url.query() || !url.user.empty() || !url.password.empty() ||
                    text.find_first_of("#?\\ ") != std::string_view::npos;
  if (more || (!has_scheme && text.find('/') != std::string_view::npos)) {
    return error(ErrorCode::kInvalid,
                 "a registry is named by host, host:port or an http(s) URL without credentials and query");
  }
  std::string authority = url.authority();
  // Docker's hub is called one thing and listens at another.
  if (authority == "docker.io" || authority == "index.docker.io") authority = "registry-1.docker.io";
  const bool plain = !has_scheme && is_own_machine(url) && !text.ends_with(":443");
  const std::string scheme = plain ? "http" : url.scheme;
  std::string path = url.url.path();
  while (path.ends_with('/')) path.pop_back();
  return scheme + "://" + authority + path;
}

bool is_registry_path(std::string_view target) {
  if (auto scheme = target.find("://"); scheme != std::string_view::npos && !target.starts_with('/'))
    target.remove_prefix(std::min(target.size(), target.find('/', scheme + 3)));
  return target.starts_with(kApi);
}

std::string_view repository_in(std::string_view path) {
  if (!path.starts_with(kApi)) return {};
  path.remove_prefix(kApi.size());
  for (auto part : {"/blobs/", "/manifests/", "/tags/", "/referrers/"}) {
    if (auto at = path.rfind(part); at != std::string_view::npos) return path.substr(0, at);
  }
  return {};
}

Result<Registries> Registries::make(std::string default_address, std::vector<RegistryOptions> known) {
  Registries registries;
  if (!default_address.empty()) {
    auto address = registry_address(default_address);
    if (!address) return std::move(address).error().in("proxy.registryMirror.addr " + default_address);
    registries.default_ = std::move(*address);
  }
  for (auto& each : known) {
    if (each.name.empty() || each.name.find_first_of(" /?#") != std::string::npos) {
      return error(ErrorCode::kInvalid, "registry \"{}\": a name is a host or host:port", each.name);
    }
    auto address = registry_address(each.address.empty() ? each.name : each.address);
    if (!address) return std::move(address).error().in("registry " + each.name);
    each.address = std::move(*address);
  }
  registries.known_ = std::move(known);
  return registries;
}

const RegistryOptions* Registries::known_as(std::string_view name) const {
  for (const auto& each : known_) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

Result<Registries::Target> Registries::find(std::string_view target, std::string_view header,
                                            std::string_view port_name) const {
  // Else it could go on where the registry's name ends.
  if (!target.starts_with('/'))
    return error(ErrorCode::kInvalid, "the target of a request to a mirror begins with a slash");
  auto mark = target.find('?');
  auto path = target.substr(0, mark);
  auto query = take_ns(mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1));
  std::string rest(path);
  std::string base = default_;
  const RegistryOptions* known = nullptr;
  if (!header.empty()) {
    auto address = registry_address(header);
    if (!address) return std::move(address).error().in("header X-Dragonfly-Registry");
    base = std::move(*address);
    for (const auto& each : known_) {
      if (each.address == base) known = &each;
    }
  } else if (query.ns) {
    known = known_as(*query.ns);
    if (known == nullptr) {
      auto address = registry_address(*query.ns);
      if (!address) return std::move(address).error().in("parameter ns");
      base = std::move(*address);
    }
  } else if (!port_name.empty()) {
    known = known_as(port_name);
  } else {
    for (const auto& each : known_) {
      auto prefix = std::string(kApi) + each.name + '/';
      if (!path.starts_with(prefix)) continue;
      known = &each;
      rest = std::string(kApi) + std::string(path.substr(prefix.size()));
      break;
    }
  }
  if (known != nullptr) base = known->address;
  if (base.empty()) {
    return error(ErrorCode::kInvalid,
                 "which registry is meant? Say it by X-Dragonfly-Registry or ns, or set "
                 "proxy.registryMirror.addr");
  }
  auto url = Url::parse(base + rest + (query.rest.empty() ? "" : "?" + query.rest));
  if (!url) return std::move(url).error().in("request target");
  url->clear_fragment();
  return Target{std::move(*url), known};
}

}  // namespace d7y::proxy
