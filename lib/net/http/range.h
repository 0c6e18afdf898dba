// Range and Content-Range (RFC 9110 14), bytes only, strictly parsed: numbers must fit 64 bits,
// nothing may surround them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace d7y::http {

// One part of a Range header: "a-b", "a-" or "-n" (the last n bytes).
struct RangePart {
  std::optional<std::uint64_t> first;
  std::optional<std::uint64_t> last;  // inclusive; with no `first`: how many bytes from the end
  bool operator==(const RangePart&) const = default;
};

// A range within content of known length.
struct ByteSpan {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // bytes, > 0
  bool operator==(const ByteSpan&) const = default;
};

// "bytes=0-99,200-". kInvalid for other units and anything malformed; at most `limit` parts.
Result<std::vector<RangePart>> parse_range(std::string_view header, std::size_t limit = 16);

// The single range of a header applied to content of `length` bytes. kInvalid: malformed or more
// than one part. kPrecondition (status 416): nothing of the content lies in it.
Result<ByteSpan> resolve_range(std::string_view header, std::uint64_t length);
Result<ByteSpan> resolve_range(const RangePart& part, std::uint64_t length);

// "bytes=offset-last", or "bytes=offset-" when `length` is missing. `length` must not be 0.
std::string to_range(std::uint64_t offset, std::optional<std::uint64_t> length);

// "bytes a-b/total", "bytes a-b/*", and "bytes */total" of a 416.
struct ContentRange {
  std::optional<ByteSpan> span;        // none in the 416 form
  std::optional<std::uint64_t> total;  // none: unknown
  bool operator==(const ContentRange&) const = default;
};
Result<ContentRange> parse_content_range(std::string_view header);
std::string to_string(const ContentRange& range);

}  // namespace d7y::http
