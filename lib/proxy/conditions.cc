#include "proxy/conditions.h"

#include <algorithm>

#include "net/http/message.h"

namespace d7y::proxy {

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
    std::string_view rest = list;
    while (!rest.empty()) {
      auto part = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), part.size() + 1));
      while (part.starts_with(' ')) part.remove_prefix(1);
      while (part.ends_with(' ')) part.remove_suffix(1);
      if (strip(part) == strip(*etag)) return true;
    }
    return false;
  }
  auto since = request.get("If-Modified-Since");
  auto modified = content.get("Last-Modified");
  if (!since || !modified) return false;
  auto a = http::parse_http_date(*since);
  auto b = http::parse_http_date(*modified);
  return a && b && *b <= *a;
}

}  // namespace d7y::proxy
