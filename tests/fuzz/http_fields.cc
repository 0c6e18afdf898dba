// The small languages inside HTTP headers and URLs: what is understood can be written and read again.
#include <cstdint>
#include <cstdlib>

#include "base/digest.h"
#include "base/url.h"
#include "net/http/http_url.h"
#include "net/http/message.h"
#include "net/http/proxy_settings.h"
#include "net/http/range.h"
#include "source/listing.h"
#include "source/retry.h"
#include "source/source.h"

using namespace d7y;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

void ranges(std::string_view text) {
  if (auto parts = http::parse_range(text)) {
    must(!parts->empty() && parts->size() <= 16);
    for (const auto& part : *parts) {
      for (std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1000}, ~std::uint64_t{0}}) {
        auto span = http::resolve_range(part, length);
        if (span) must(span->length > 0 && span->offset < length && span->length <= length - span->offset);
      }
    }
  }
  if (auto range = http::parse_content_range(text)) {
    auto again = http::parse_content_range(http::to_string(*range));
    must(again.ok() && *again == *range);
    if (range->span && range->total) must(range->span->length <= *range->total - range->span->offset);
  }
}

void urls(std::string_view text) {
  const auto middle = text.find('\n');
  const auto first = text.substr(0, middle);
  (void)source::redacted(first);
  auto url = Url::parse(first);
  if (!url) return;
  auto again = Url::parse(url->to_string());
  must(again.ok() && again->to_string() == url->to_string());
  if (auto parts = http::parse_http_url(first)) {
    http::RequestHead head;
    head.target = parts->target();
    head.headers.add("Host", parts->authority());
    must(http::to_wire(head).ok());  // no URL can add a line to a request
    if (middle != std::string_view::npos) {
      auto next = http::resolve_http_url(*parts, text.substr(middle + 1));
      if (next) must(!next->host.empty() && next->port != 0);
      auto entries = source::parse_listing(*parts, "text/html", std::string("index of ") + std::string(text));
      if (entries) {
        for (const auto& entry : *entries) {
          must(entry.name.find('/') == std::string::npos && entry.name != ".." && !entry.name.empty());
        }
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ranges(text);
  urls(text);
  if (auto date = http::parse_http_date(text)) {
    auto again = http::parse_http_date(http::to_http_date(*date));
    must(again.ok() && *again == *date);
  }
  if (auto digest = Digest::parse(text)) {
    auto again = Digest::parse(digest->to_string());
    must(again.ok() && again->to_string() == digest->to_string());
  }
  (void)source::parse_retry_after(text, WallTime{});
  (void)http::parse_proxy(text);
  (void)http::NoProxy(text).matches("a.example.org", 80);
  const auto page = http::parse_http_url("http://h/d/").value();
  for (auto type : {"application/json", "text/html"}) {
    if (auto entries = source::parse_listing(page, type, text)) {
      for (const auto& entry : *entries)
        must(entry.name.find('/') == std::string::npos && entry.name != "..");
    }
  }
  return 0;
}
