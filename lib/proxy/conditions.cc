#include "proxy/conditions.h"

#include <algorithm>

#include "net/http/message.h"

namespace d7y::proxy {
namespace {

template <class Fits>
bool any_in(std::string_view list, Fits fits) {
  while (!list.empty()) {
    auto part = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), part.size() + 1));
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (fits(part)) return true;
  }
  return false;
}

}  // namespace

bool client_wants_another(const http::Headers& request, const http::Headers& content) {
  if (request.has("If-Match")) {
    auto list = request.joined("If-Match");
    if (list == "*") return false;
    auto etag = content.get("ETag").value_or("");
    const bool strong = etag.starts_with('"');
    return !any_in(list, [&](std::string_view tag) { return strong && tag == etag; });
  }
  auto since = request.get("If-Unmodified-Since");
  auto modified = content.get("Last-Modified");
  if (!since || !modified) return false;
  auto a = http::parse_http_date(*since);
  auto b = http::parse_http_date(*modified);
  return a && b && *b > *a;
}

bool client_has_it(const http::Headers& request, const http::Headers& content) {
  auto strip = [](std::string_view tag) {
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    return tag;
  };
  if (request.has("If-None-Match")) {
    auto etag = content.get("ETag");
    auto list = request.joined("If-None-Match");
    if (list == "*") return true;
    if (!etag) return false;
    return any_in(list, [&](std::string_view tag) { return strip(tag) == strip(*etag); });
  }
  auto since = request.get("If-Modified-Since");
  auto modified = content.get("Last-Modified");
  if (!since || !modified) return false;
  auto a = http::parse_http_date(*since);
  auto b = http::parse_http_date(*modified);
  return a && b && *b <= *a;
}

}  // namespace d7y::proxy
