#include "net/http/range.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::http;

TEST_CASE("a range is resolved against the content's length") {
  CHECK(resolve_range("bytes=0-99", 1000).value() == ByteSpan{0, 100});
  CHECK(resolve_range("BYTES=0-0", 1000).value() == ByteSpan{0, 1});
  CHECK(resolve_range("bytes=990-", 1000).value() == ByteSpan{990, 10});
  CHECK(resolve_range("bytes=990-5000", 1000).value() == ByteSpan{990, 10});
  CHECK(resolve_range("bytes=-10", 1000).value() == ByteSpan{990, 10});
  CHECK(resolve_range("bytes=-5000", 1000).value() == ByteSpan{0, 1000});
  CHECK(resolve_range(" bytes= 1-2 ", 1000).value() == ByteSpan{1, 2});
  CHECK(resolve_range("bytes=18446744073709551614-18446744073709551615", ~0ULL).value().length == 1);
  // However far.
  CHECK(resolve_range("bytes=990-18446744073709551616", 1000).value() == ByteSpan{990, 10});
  CHECK(resolve_range("bytes=-99999999999999999999999", 1000).value() == ByteSpan{0, 1000});
  CHECK(resolve_range("bytes=000000000000000000000990-", 1000).value() == ByteSpan{990, 10});
  for (auto outside : {"bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=18446744073709551616-",
                       "bytes=99999999999999999999999-99999999999999999999999"}) {
    auto refused = resolve_range(outside, 1000);
    CHECK(refused.failed_with(ErrorCode::kPrecondition));
    CHECK(refused.error().status() == 416);
  }
  CHECK(resolve_range("bytes=0-", 0).failed_with(ErrorCode::kPrecondition));
  CHECK(resolve_range("bytes=-1", 0).failed_with(ErrorCode::kPrecondition));
}

TEST_CASE("a malformed range is invalid") {
  for (auto text : {"", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=2-1", "items=0-1",
                    "bytes=0-1,", "bytes=+1-2", "bytes=0x1-2", "bytes=1 -2", "bytes=1--2",
                    "bytes=18446744073709551616x-", "0-1", "bytes 0-1"}) {
    CAPTURE(text);
    CHECK(parse_range(text).failed_with(ErrorCode::kInvalid));
  }
  CHECK(parse_range("bytes=0-1,5-6, -3").value().size() == 3);
  CHECK(resolve_range("bytes=0-1,5-6", 100).failed_with(ErrorCode::kInvalid));
  CHECK(parse_range("bytes=0-,0-,0-", 2).failed_with(ErrorCode::kInvalid));
}

TEST_CASE("Content-Range is believed only in its exact form") {
  auto range = parse_content_range("bytes 0-99/1000").value();
  CHECK(range.span == ByteSpan{0, 100});
  CHECK(range.total == 1000);
  CHECK(parse_content_range("bytes 5-5/*").value().total == std::nullopt);
  CHECK(parse_content_range("bytes */1000").value() == ContentRange{std::nullopt, 1000});
  for (auto text : {"", "bytes", "bytes 0-99", "bytes 99-0/1000", "bytes 0-1000/1000", "bytes */*",
                    "bytes 0-/1000", "bytes=0-99/1000", "bytes -5/1000", "items 0-9/10", "bytes 0-99/1000x",
                    "bytes 0-99/ 1000", "bytes 0-18446744073709551615/*", "bytes 0-18446744073709551616/*"}) {
    CAPTURE(text);
    CHECK(parse_content_range(text).failed_with(ErrorCode::kInvalid));
  }
  CHECK(to_string(ContentRange{ByteSpan{0, 100}, 1000}) == "bytes 0-99/1000");
  CHECK(to_range(10, 5) == "bytes=10-14");
  CHECK(to_range(10, std::nullopt) == "bytes=10-");
}
