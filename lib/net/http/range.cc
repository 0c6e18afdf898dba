#include "net/http/range.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "net/http/headers.h"

namespace d7y::http {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Digits only, all of them, fitting 64 bits.
std::optional<std::uint64_t> number(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The same; what does not fit is as far as 64 bits go, which is behind every content.
std::optional<std::uint64_t> far_number(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  text.remove_prefix(std::min(text.find_first_not_of('0'), text.size() - 1));
  return number(text).value_or(std::numeric_limits<std::uint64_t>::max());
}

Error malformed(std::string_view what, std::string_view expected) {
  return error(ErrorCode::kInvalid, "malformed {} header; expected {}", what, expected);
}

constexpr std::string_view kRangeForm = "bytes=FIRST-LAST, bytes=FIRST- or bytes=-COUNT";

std::optional<RangePart> parse_part(std::string_view text) {
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto left = text.substr(0, dash), right = text.substr(dash + 1);
  RangePart part;
  if (!left.empty() && !(part.first = far_number(left))) return std::nullopt;
  if (!right.empty() && !(part.last = far_number(right))) return std::nullopt;
  if (!part.first && !part.last) return std::nullopt;
  if (part.first && part.last && *part.first > *part.last) return std::nullopt;
  return part;
}

}  // namespace

Result<std::vector<RangePart>> parse_range(std::string_view header, std::size_t limit) {
  header = trimmed(header);
  const auto equals = header.find('=');
  if (equals == std::string_view::npos || !same_name(header.substr(0, equals), "bytes")) {
    return malformed("Range", kRangeForm);
  }
  std::vector<RangePart> parts;
  auto list = header.substr(equals + 1);
  while (true) {
    const auto comma = list.find(',');
    auto part = parse_part(trimmed(list.substr(0, comma)));
    if (!part) return malformed("Range", kRangeForm);
    if (parts.size() == limit)
      return error(ErrorCode::kInvalid, "Range header with more than {} parts", limit);
    parts.push_back(*part);
    if (comma == std::string_view::npos) return parts;
    list.remove_prefix(comma + 1);
  }
}

Result<ByteSpan> resolve_range(const RangePart& part, std::uint64_t length) {
  ByteSpan span;
  if (part.first) {
    span.offset = *part.first;
    if (span.offset < length) {
      const auto last = part.last ? std::min(*part.last, length - 1) : length - 1;
      span.length = last - span.offset + 1;
    }
  } else {
    span.length = std::min(part.last.value_or(0), length);
    span.offset = length - span.length;
  }
  if (span.length > 0) return span;
  return error(ErrorCode::kPrecondition, "the range asked for lies outside the {} bytes there are", length)
      .with_status(416);
}

Result<ByteSpan> resolve_range(std::string_view header, std::uint64_t length) {
  TRY(auto parts, parse_range(header));
  if (parts.size() != 1) return error(ErrorCode::kInvalid, "Range header with more than one part");
  return resolve_range(parts.front(), length);
}

std::string to_range(std::uint64_t offset, std::optional<std::uint64_t> length) {
  if (!length) return fmt::format("bytes={}-", offset);
  return fmt::format("bytes={}-{}", offset, offset + *length - 1);
}

Result<ContentRange> parse_content_range(std::string_view header) {
  constexpr std::string_view kForm = "bytes FIRST-LAST/TOTAL";
  header = trimmed(header);
  if (header.size() < 6 || !same_name(header.substr(0, 6), "bytes "))
    return malformed("Content-Range", kForm);
  header = header.substr(6);
  const auto slash = header.find('/');
  if (slash == std::string_view::npos) return malformed("Content-Range", kForm);
  const auto where = header.substr(0, slash), total = header.substr(slash + 1);

  ContentRange range;
  if (total != "*" && !(range.total = number(total))) return malformed("Content-Range", kForm);
  if (where == "*") {
    if (!range.total) return malformed("Content-Range", kForm);
    return range;
  }
  const auto dash = where.find('-');
  if (dash == std::string_view::npos) return malformed("Content-Range", kForm);
  const auto first = number(where.substr(0, dash)), last = number(where.substr(dash + 1));
  // The last byte of all 2^64 has no place in a span whose length must fit 64 bits.
  if (!first || !last || *first > *last || *last - *first == ~std::uint64_t{0}) {
    return malformed("Content-Range", kForm);
  }
  if (range.total && *last >= *range.total) return malformed("Content-Range", kForm);
  range.span = ByteSpan{*first, *last - *first + 1};
  return range;
}

std::string to_string(const ContentRange& range) {
  const auto total = range.total ? fmt::format("{}", *range.total) : std::string("*");
  if (!range.span) return fmt::format("bytes */{}", total);
  return fmt::format("bytes {}-{}/{}", range.span->offset, range.span->offset + range.span->length - 1,
                     total);
}

}  // namespace d7y::http
