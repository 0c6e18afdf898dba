// Which proxy a request goes through: http_proxy, https_proxy, all_proxy and no_proxy as curl and
// most tools read them. Values come from the caller; this library never reads the environment.
//
//   TRY(auto settings, ProxySettings::from_variables(
//       {.http_proxy = "http://proxy:3128", .no_proxy = "localhost,.svc,10.0.0.0/8"}));
//   if (auto* proxy = settings.proxy_for("https", "example.org", 443)) ...
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace d7y::http {

// An HTTP proxy to connect to.
struct Proxy {
  std::string host;  // name or IP literal without brackets
  std::uint16_t port = 0;
  bool tls = false;           // https:// proxy
  std::string authorization;  // value of Proxy-Authorization, or empty. A secret.
  bool operator==(const Proxy&) const = default;
};

// "http://user:password@host:port"; the scheme may be missing, the port defaults to 1080 as with
// curl. SOCKS is kUnsupported. Errors never show the credentials.
Result<Proxy> parse_proxy(std::string_view text);

struct ProxyVariables {
  std::string http_proxy, https_proxy, all_proxy, no_proxy;
};

// The no_proxy list: "*", names ("example.org" and ".example.org" match the name and everything
// below it), "name:port", IP literals and CIDR blocks. Bad entries are ignored, as everywhere.
class NoProxy {
 public:
  NoProxy() = default;
  explicit NoProxy(std::string_view list);
  bool matches(std::string_view host, std::uint16_t port) const;

 private:
  struct Name {
    std::string suffix;  // lower case, without a leading dot
    std::uint16_t port;  // 0: any
  };
  struct Block {
    Address address;
    unsigned bits;
  };
  bool everything_ = false;
  std::vector<Name> names_;
  std::vector<Block> blocks_;
};

class ProxySettings {
 public:
  ProxySettings() = default;  // no proxy
  static Result<ProxySettings> from_variables(const ProxyVariables& variables);

  // The proxy for a URL of `scheme`, null: go directly.
  const Proxy* proxy_for(std::string_view scheme, std::string_view host, std::uint16_t port) const;
  bool empty() const { return !http_ && !https_; }
  // Leaves out the proxies that `unwanted` holds true of; whether there was one.
  bool remove_if(const std::function<bool(const Proxy&)>& unwanted);

 private:
  std::optional<Proxy> http_, https_;
  NoProxy except_;
};

}  // namespace d7y::http
