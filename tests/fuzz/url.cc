// URLs from strangers: configuration, requests, Location headers. What was read once reads the same again,
// and nothing secret is shown.
#include "base/url.h"

#include <cstdint>
#include <cstdlib>

#include "base/ids.h"

using namespace d7y;

namespace {
void must(bool holds) {
  if (!holds) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The first line is a URL, the second a reference from there.
  const auto end = std::min(text.find('\n'), text.size());
  const auto url = Url::parse(text.substr(0, end));
  (void)blob_digest_in(text);
  if (!url) return 0;
  const auto normal = url->to_string();
  const auto again = Url::parse(normal);
  must(again.ok());
  must(again->to_string() == normal);
  must(again->hostname() == url->hostname());
  must(again->port_or_default() == url->port_or_default());
  must(again->path() == url->path());
  const auto shown = Url::parse(url->redacted());
  must(shown.ok() && !shown->has_credentials());
  const auto hashed = task_url(normal, default_filtered_query_params());
  must(hashed.ok());
  if (end < text.size()) {
    if (const auto next = url->resolve(text.substr(end + 1))) {
      const auto same = Url::parse(next->to_string());
      must(same.ok() && same->to_string() == next->to_string());
    }
  }
  const auto pairs = url->query_pairs();
  must(form_decode(form_encode(pairs)) == pairs);
  return 0;
}
