#include "source/stat_message.h"

#include <limits>

namespace d7y::source {
namespace {

constexpr std::size_t kLongest = 16 << 10;  // bytes of a message
constexpr int kMostHeaders = 64;

}  // namespace

std::optional<api::origins::OriginStat> shareable(const Info& info) {
  for (auto word : {"no-store", "no-cache", "private"}) {
    if (info.headers.has_token("Cache-Control", word)) return std::nullopt;
  }
  if (info.headers.has_token("Vary", "*") || info.is_folder) return std::nullopt;
  api::origins::OriginStat stat;
  if (info.length) stat.set_length(*info.length);
  stat.set_accepts_ranges(info.accepts_ranges);
  stat.set_etag(info.version.etag);
  stat.set_last_modified(info.version.last_modified);
  for (const auto& [name, value] : info.headers) {
    if (is_secret_header(name)) continue;
    auto& header = *stat.add_header();
    header.set_name(name);
    header.set_value(value);
  }
  if (!check(stat)) return std::nullopt;
  return stat;
}

Result<void> check(const api::origins::OriginStat& stat) {
  auto refuse = [](std::string_view why) {
    return error(ErrorCode::kInvalid, "invalid OriginStat: {}", why);
  };
  if (stat.ByteSizeLong() > kLongest) return refuse("longer than 16 KiB");
  if (stat.header_size() > kMostHeaders) return refuse("more than 64 headers");
  if (stat.length() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return refuse("no content is so long");
  const auto& etag = stat.etag();
  if (!etag.empty() && (etag.size() < 2 || etag.front() != '"' || etag.back() != '"'))
    return refuse("an ETag that is not a strong one");
  if (!http::is_header_value(etag) || !http::is_header_value(stat.last_modified()))
    return refuse("a validator that no header can hold");
  for (const auto& header : stat.header()) {
    if (!http::is_header_name(header.name()) || !http::is_header_value(header.value()))
      return refuse("a header that cannot be one");
  }
  return {};
}

Info info_of(const api::origins::OriginStat& stat, std::string_view url) {
  Info info;
  if (stat.has_length()) info.length = stat.length();
  info.accepts_ranges = stat.accepts_ranges();
  info.version = {.etag = stat.etag(), .last_modified = stat.last_modified(), .length = info.length};
  for (const auto& header : stat.header()) info.headers.add(header.name(), header.value());
  info.content_type = info.headers.get("Content-Type").value_or("");
  info.status = 200;
  info.url = redacted(url);
  return info;
}

}  // namespace d7y::source
