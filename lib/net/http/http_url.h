// An http or https URL taken apart into what a request needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/url.h"

namespace d7y::http {

struct HttpUrl {
  Url url;             // without credentials and fragment
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case, IPv6 without brackets
  std::uint16_t port = 0;
  std::string user, password;  // decoded; secrets

  bool tls() const { return scheme == "https"; }
  std::string authority() const { return url.authority(); }    // "host" or "host:port", as in a Host header
  std::string target() const { return url.request_target(); }  // path and query
  std::string to_string() const { return url.to_string(); }    // without credentials
  std::string shown() const { return url.redacted(); }         // for messages
  bool same_origin(const HttpUrl& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }
};

// kInvalid says which part is wrong; kUnsupported: another scheme.
Result<HttpUrl> parse_http_url(std::string_view text);

// Where a Location header or a link on the page at `base` leads.
Result<HttpUrl> resolve_http_url(const HttpUrl& base, std::string_view reference);

}  // namespace d7y::http
