// What the proxy reads out of a request: which registry it is for, what it says to us, what of it goes on.
// First line: the target; further lines: header fields.
#include <cstdint>
#include <cstdlib>

#include "net/http/message.h"
#include "proxy/exchange.h"
#include "proxy/instructions.h"
#include "proxy/registries.h"
#include "proxy/rights.h"
#include "proxy/rules.h"

using namespace d7y;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

std::string_view line_of(std::string_view& text) {
  auto line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto registries = proxy::Registries::make(
      "https://index.docker.io", {{.name = "reg.test:5000", .address = "http://10.0.0.1:5000/sub"}});
  static const auto rules = proxy::Rules::make(
      {{.regex = "blobs/sha256.*", .use_tls = true, .redirect = "other.test:8443"}, {.regex = "(a|b)*c"}});
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto target = line_of(text);
  http::Headers headers;
  while (!text.empty() && headers.size() < 64) {
    auto line = line_of(text);
    auto colon = line.find(':');
    if (colon == std::string_view::npos || !http::is_header_name(line.substr(0, colon)) ||
        !http::is_header_value(line.substr(colon + 1))) {
      continue;
    }
    headers.add(std::string(line.substr(0, colon)), std::string(line.substr(colon + 1)));
  }
  (void)proxy::shown_target(target);

  auto said = proxy::Instructions::read(headers);
  auto found =
      registries->find(target, said ? said->registry : "", headers.has("X-Port") ? "reg.test:5000" : "");
  if (found) {
    must(found->url.is_http() && !found->url.hostname().empty() && !found->url.has_credentials());
    const auto* rule = rules->match(found->url);
    auto url = rule != nullptr ? rule->applied_to(found->url) : found->url;
    if (rule != nullptr && rule->options().use_tls) must(url.scheme() == "https");
    (void)proxy::Rights::scope(url);
    http::RequestHead head;
    head.target = url.request_target();
    head.headers = proxy::forwarded(headers, "Basic x");
    must(http::to_wire(head).ok());  // nothing can add a line to what goes on
    for (const auto& header : head.headers) must(header.value != "Basic x");
    auto shared = proxy::divide(head.headers);
    for (const auto& [name, value] : shared.open) {
      must(!http::same_name(name, "Authorization") && !http::same_name(name, "Cookie"));
    }
  }
  return 0;
}
