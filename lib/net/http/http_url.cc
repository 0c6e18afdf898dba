#include "net/http/http_url.h"

namespace d7y::http {
namespace {

Result<HttpUrl> taken_apart(Url url) {
  if (!url.is_http()) {
    return error(ErrorCode::kUnsupported, "URL scheme \"{}\" is not http or https", url.scheme());
  }
  HttpUrl parts;
  parts.scheme = url.scheme();
  parts.host = url.hostname();
  parts.port = url.port_or_default();
  if (parts.host.empty() || parts.port == 0)
    return error(ErrorCode::kInvalid, "the URL names no host and port");
  parts.user = percent_decode(url.username());
  parts.password = percent_decode(url.password());
  url.clear_credentials();
  url.clear_fragment();
  parts.url = std::move(url);
  return parts;
}

}  // namespace

Result<HttpUrl> parse_http_url(std::string_view text) {
  TRY(auto url, Url::parse(text));
  return taken_apart(std::move(url));
}

Result<HttpUrl> resolve_http_url(const HttpUrl& base, std::string_view reference) {
  TRY(auto url, base.url.resolve(reference));
  return taken_apart(std::move(url));
}

}  // namespace d7y::http
