#include "source/stat_message.h"

#include <doctest/doctest.h>

using namespace d7y;

namespace {

source::Info some_info() {
  source::Info info;
  info.length = 12;
  info.accepts_ranges = true;
  info.version = {.etag = "\"v1\"", .last_modified = "Mon, 02 Jan 2023 10:00:00 GMT", .length = 12};
  info.headers = {{"Content-Type", "text/plain"}, {"ETag", "\"v1\""}, {"X-Made-By", "us"}};
  info.content_type = "text/plain";
  return info;
}

}  // namespace

TEST_CASE("what an origin says arrives as it was said") {
  const auto said = some_info();
  const auto stat = source::shareable(said);
  REQUIRE(stat);
  REQUIRE(source::check(*stat).ok());
  const auto heard = source::info_of(*stat, "http://host/x");
  CHECK(heard.length == said.length);
  CHECK(heard.accepts_ranges);
  CHECK(heard.version == said.version);
  CHECK(heard.headers == said.headers);
  CHECK(heard.content_type == "text/plain");
  CHECK(heard.url == "http://host/x");

  auto unknown = some_info();
  unknown.length.reset();
  CHECK_FALSE(source::info_of(*source::shareable(unknown), "http://host/x").length);
}

TEST_CASE("what is for one client only is not passed on") {
  for (const char* control : {"no-store", "max-age=60, private", "no-cache"}) {
    CAPTURE(control);
    auto info = some_info();
    info.headers.add("Cache-Control", control);
    CHECK_FALSE(source::shareable(info));
  }
  auto varies = some_info();
  varies.headers.add("Vary", "*");
  CHECK_FALSE(source::shareable(varies));
  auto cached = some_info();
  cached.headers.add("Cache-Control", "public, max-age=60");
  CHECK(source::shareable(cached));

  auto secret = some_info();
  secret.headers.add("Set-Cookie", "id=sesame");
  const auto stat = source::shareable(secret);
  REQUIRE(stat);
  CHECK(stat->SerializeAsString().find("sesame") == std::string::npos);
}

TEST_CASE("what could not have come from an origin is refused") {
  const auto good = *source::shareable(some_info());
  const auto refused = [](const api::origins::OriginStat& stat) {
    return source::check(stat).failed_with(ErrorCode::kInvalid);
  };
  auto split = good;
  split.add_header()->set_name("X");
  split.mutable_header()->rbegin()->set_value("a\r\nSet-Cookie: b");
  CHECK(refused(split));
  auto nameless = good;
  nameless.add_header()->set_value("a");
  CHECK(refused(nameless));
  auto weak = good;
  weak.set_etag("W/\"v1\"");
  CHECK(refused(weak));
  auto broken = good;
  broken.set_last_modified("a\nb");
  CHECK(refused(broken));
  auto long_content = good;
  long_content.set_length(std::uint64_t{1} << 63);
  CHECK(refused(long_content));
  auto big = good;
  big.add_header()->set_name("X");
  big.mutable_header()->rbegin()->set_value(std::string(16 << 10, 'x'));
  CHECK(refused(big));
  auto many = good;
  for (int i = 0; i < 64; ++i) many.add_header()->set_name("X");
  CHECK(refused(many));
}
