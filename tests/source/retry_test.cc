#include "source/retry.h"

#include <doctest/doctest.h>

#include "source/source.h"

using namespace d7y;
using namespace d7y::source;
using namespace std::chrono_literals;

namespace {
Error status(int code) { return error(ErrorCode::kUnavailable, "x").with_status(code); }
}  // namespace

TEST_CASE("what may be better next time is tried again, the rest is not") {
  for (int code : {408, 425, 429, 500, 502, 503, 504, 599}) CHECK(is_retryable(status(code)));
  for (int code : {400, 401, 403, 404, 410, 412, 416, 501, 505, 301}) CHECK(!is_retryable(status(code)));
  for (auto code : {ErrorCode::kReset, ErrorCode::kRefused, ErrorCode::kTimeout}) {
    CHECK(is_retryable(error(code, "x")));
  }
  for (auto code : {ErrorCode::kChanged, ErrorCode::kNotFound, ErrorCode::kUnauthenticated,
                    ErrorCode::kDiskFull, ErrorCode::kUnsupported, ErrorCode::kCancelled}) {
    CHECK(!is_retryable(error(code, "x")));
  }
}

TEST_CASE("waits double with jitter up to their cap, and the attempts end") {
  RetryPolicy policy;
  policy.attempts = 6;
  policy.first_pause = 100ms;
  policy.longest_pause = 500ms;
  Retry shortest(policy), longest(policy);
  for (auto [low, high] : {std::pair{50ms, 100ms}, std::pair{100ms, 200ms}, std::pair{200ms, 400ms},
                           std::pair{250ms, 500ms}, std::pair{250ms, 500ms}}) {
    auto a = shortest.after(status(503), 0), b = longest.after(status(503), ~0ULL);
    REQUIRE(a.has_value());
    REQUIRE(b.has_value());
    CHECK(*a == low);
    CHECK(*b <= high);
    CHECK(*b > high - 1ms);
  }
  CHECK(!shortest.after(status(503), 0).has_value());
  shortest.reset();
  CHECK(shortest.after(status(503), 0).has_value());
  CHECK(!Retry(policy).after(status(404), 0).has_value());
}

TEST_CASE("Retry-After is honoured up to a cap") {
  RetryPolicy policy;
  CHECK(Retry(policy).after(status(503), 0, 30s) == 30s);
  CHECK(Retry(policy).after(status(503), 0, 0s) == 100ms);
  CHECK(!Retry(policy).after(status(503), 0, 61s).has_value());

  const WallTime now(std::chrono::seconds(784111777));
  CHECK(parse_retry_after("120", now) == 120s);
  CHECK(parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now) == 60s);
  CHECK(parse_retry_after("Sun, 06 Nov 1994 08:40:37 GMT", now) == 0s);
  for (auto text : {"", "-1", "soon", "1.5", "99999999999"}) CHECK(!parse_retry_after(text, now).has_value());

  auto details = backend_error_json("m", {{"Retry-After", "7"}}, 503);
  CHECK(retry_after_of(status(503).with_details(details), now) == 7s);
  CHECK(!retry_after_of(status(503), now).has_value());
  for (auto text : {"nonsense", "[]", "{\"header\":1}", "{\"header\":{\"retry-after\":7}}"}) {
    CHECK(!retry_after_of(status(503).with_details(text), now).has_value());
  }
}

TEST_CASE("details of a failed origin are the JSON that Dragonfly's peers expect, without secrets") {
  CHECK(backend_error_json(
            "not \"there\"",
            {{"Content-Type", "text/x"}, {"Set-Cookie", "id=secret"}, {"VIA", "1"}, {"Via", "2"}}, 404) ==
        R"({"header":{"content-type":"text/x","via":"1, 2"},"message":"not \"there\"","status_code":404})");
  CHECK(backend_error_json("m", {}, 0) == R"({"header":{},"message":"m","status_code":null})");
  CHECK(backend_error_json("\xff", {{"X", "\xfe"}}, 0).find("\xef\xbf\xbd") != std::string::npos);
  http::Headers many;
  for (int i = 0; i < 1000; ++i) many.add(fmt::format("X-{}", i), std::string(100, 'x'));
  CHECK(backend_error_json("m", many, 500).size() < 12'000);
}
