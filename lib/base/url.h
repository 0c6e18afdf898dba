// Absolute URLs as the WHATWG URL standard reads and writes them, because task ids hash the normalised
// text and must come out the same as in Dragonfly's Rust client (Dragonfly client 1.1).
//
//   TRY(Url url, Url::parse("HTTP://Example.com:80/a/../b c?x=1"));
//   url.to_string();   // "http://example.com/b%20c?x=1"
//   TRY(Url next, url.resolve("/login"));
//
// Non-ASCII host names are lower-cased (Latin, Greek, Cyrillic, Armenian) and punycoded; full Unicode
// mapping and normalisation are not done, so write other scripts' names in composed form. Windows drive
// letters get no special treatment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace d7y {

// Names and values of a query, decoded.
using QueryPairs = std::vector<std::pair<std::string, std::string>>;

class Url {
 public:
  // kInvalid with the reason; the text itself is not quoted, it may hold secrets. kTooLarge beyond 64 KiB.
  static Result<Url> parse(std::string_view text);
  // A reference ("../x", "//host/y", "?q", or absolute) seen from this URL, e.g. a Location header.
  Result<Url> resolve(std::string_view reference) const;

  const std::string& scheme() const { return scheme_; }  // lower case, "https"
  // Percent-encoded, as it stands in the URL; empty where there is none.
  const std::string& username() const { return username_; }
  const std::string& password() const { return password_; }
  bool has_credentials() const { return !username_.empty() || !password_.empty(); }
  // Lower case; IPv6 in brackets; none for "data:x".
  const std::optional<std::string>& host() const { return host_; }
  // The host for connecting: without brackets, empty where there is none.
  std::string hostname() const;
  // None where it is the scheme's default.
  std::optional<std::uint16_t> port() const { return port_; }
  // The port to connect to; 0 where the scheme has no default.
  std::uint16_t port_or_default() const;
  const std::string& path() const { return path_; }  // "/a/b"
  const std::optional<std::string>& query() const { return query_; }
  const std::optional<std::string>& fragment() const { return fragment_; }
  bool is_http() const { return scheme_ == "http" || scheme_ == "https"; }

  // The whole URL, normalised.
  std::string to_string() const;
  // "https://example.com:8443", no credentials; "null" for schemes without a host.
  std::string origin() const;
  // host[:port] for a Host header.
  std::string authority() const;
  // "/a/b?x=1" for a request line.
  std::string request_target() const;
  // For logs and errors: no credentials, no fragment, and no values of query parameters that sign or
  // authorise.
  std::string redacted() const;

  // The query's parameters in order, decoded as a form ('+' is a space); broken UTF-8 becomes U+FFFD.
  QueryPairs query_pairs() const;
  // Replaces the query; no pairs remove it.
  void set_query_pairs(const QueryPairs& pairs);
  void clear_credentials();
  void clear_fragment() { fragment_.reset(); }
  void set_path(std::string_view path);  // percent-encoded as needed; a leading '/' is added

  bool operator==(const Url&) const = default;

 private:
  friend class UrlParser;
  bool is_special() const;

  std::string scheme_, username_, password_;
  std::optional<std::string> host_;
  std::optional<std::uint16_t> port_;
  std::string path_;
  bool opaque_path_ = false;
  std::optional<std::string> query_, fragment_;
};

// %XX decoded; other '%' stay.
std::string percent_decode(std::string_view text);
// One name or value for a path segment or query: everything but unreserved characters is %XX.
std::string percent_encode(std::string_view text);
// "a=1&b=x+y".
std::string form_encode(const QueryPairs& pairs);
QueryPairs form_decode(std::string_view text);

}  // namespace d7y
