// gRPC's own encodings: timeouts, messages, metadata, status codes.
#include <doctest/doctest.h>

#include "base/base64.h"
#include "net/grpc/gzip.h"
#include "net/grpc/message_reader.h"
#include "net/grpc/status.h"
#include "net/grpc/wire.h"

using namespace d7y;
using namespace d7y::grpc;
using namespace std::chrono_literals;

TEST_CASE("grpc-timeout is read in all its units") {
  CHECK(parse_timeout("10000000u") == Duration(10s));  // what Rust sends
  CHECK(parse_timeout("1H") == Duration(1h));
  CHECK(parse_timeout("2M") == Duration(2min));
  CHECK(parse_timeout("3S") == Duration(3s));
  CHECK(parse_timeout("4m") == Duration(4ms));
  CHECK(parse_timeout("5n") == Duration(5ns));
  CHECK(parse_timeout("99999999H") == Duration::max());
  for (const char* bad : {"", "1", "S", "-1S", "1x", "123456789S", "1.5S", " 1S"}) {
    CAPTURE(bad);
    CHECK(!parse_timeout(bad));
  }
}

TEST_CASE("grpc-timeout is written in at most eight digits and never shorter than it is") {
  CHECK(format_timeout(10s) == "10000000u");
  CHECK(format_timeout(1ns) == "1n");
  CHECK(format_timeout(-1s) == "1n");
  for (Duration time : {Duration(99'999'999ns), Duration(100'000'001ns), Duration(2min), Duration(1h),
                        Duration(50h), Duration(5000h), Duration(1'000'000h)}) {
    auto text = format_timeout(time);
    CAPTURE(text);
    CHECK(text.size() <= 9);
    auto back = parse_timeout(text);
    REQUIRE(back.has_value());
    CHECK(*back >= time);
    CHECK(*back - time <= time / 10'000);
  }
}

TEST_CASE("grpc-message survives any bytes") {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  auto encoded = percent_encode(all);
  for (char c : encoded) CHECK((c >= ' ' && c <= '~'));
  CHECK(percent_decode(encoded) == all);
  CHECK(percent_decode("100%") == "100%");
  CHECK(percent_decode("%4") == "%4");
  CHECK(percent_decode("%zz%41") == "%zzA");
}

TEST_CASE("base64 with and without padding") {
  for (std::string text : {"", "a", "ab", "abc", "abcd"}) {
    CHECK(base64_decode(base64_encode(text)) == text);
    CHECK(base64_decode(base64_encode(text, Base64Padding::kNone)) == text);
  }
  CHECK(base64_encode("ab") == "YWI=");
  CHECK(base64_encode("ab", Base64Padding::kNone) == "YWI");
  for (const char* bad : {"a", "YW I", "====", "YWI=x", "Y===", "YW=I"}) {
    CAPTURE(bad);
    CHECK(!base64_decode(bad).has_value());
  }
}

namespace {
std::string framed(std::string_view message, bool compressed = false) {
  auto prefix = message_prefix(message.size(), compressed);
  return std::string(as_text(prefix)) + std::string(message);
}
}  // namespace

TEST_CASE("messages are cut out of the stream wherever it is split") {
  std::string stream = framed("one") + framed("") + framed(std::string(1000, 'x')) + framed("");
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    MessageReader reader(1000);
    for (std::size_t at = 0; at < stream.size(); at += step) {
      REQUIRE(reader.receive(as_bytes(std::string_view(stream).substr(at, step))).ok());
    }
    CHECK(reader.take() == "one");
    CHECK(reader.take() == "");
    CHECK(reader.take() == std::string(1000, 'x'));
    CHECK(reader.take() == "");
    CHECK(!reader.take().has_value());
    CHECK(!reader.in_message());
  }
}

TEST_CASE("a message over the limit is refused by its length alone") {
  MessageReader reader(10);
  CHECK(
      reader.receive(as_bytes(framed(std::string(11, 'x')).substr(0, 5))).failed_with(ErrorCode::kTooLarge));
}

TEST_CASE("unknown flags and compression nobody announced are protocol errors") {
  MessageReader reader(10);
  CHECK(reader.receive(as_bytes(framed("x", true))).failed_with(ErrorCode::kProtocol));
  MessageReader other(10);
  CHECK(other.receive(as_bytes(std::string_view("\x02\0\0\0\0", 5))).failed_with(ErrorCode::kProtocol));
}

TEST_CASE("a gzip bomb stops at the limit, broken gzip is corrupt") {
  auto bomb = gzip_compress(std::string(50'000'000, '\0'));
  CHECK(bomb.size() < 300'000);
  CHECK(gzip_decompress(bomb, 1'000'000).failed_with(ErrorCode::kTooLarge));
  auto fine = gzip_compress("hello");
  CHECK(gzip_decompress(fine, 5).value() == "hello");
  CHECK(gzip_decompress(fine, 4).failed_with(ErrorCode::kTooLarge));
  CHECK(gzip_decompress(fine.substr(0, fine.size() - 1), 100).failed_with(ErrorCode::kCorrupt));
  CHECK(gzip_decompress(fine + "x", 100).failed_with(ErrorCode::kCorrupt));
  CHECK(gzip_decompress("plain", 100).failed_with(ErrorCode::kCorrupt));
  CHECK(gzip_decompress("", 100).failed_with(ErrorCode::kCorrupt));
  MessageReader reader(1'000'000);
  reader.set_gzip(true);
  CHECK(reader.receive(as_bytes(framed(bomb, true))).failed_with(ErrorCode::kTooLarge));
}

TEST_CASE("metadata: reserved and unprintable entries are not sent, -bin values are base64") {
  Metadata metadata{{"Ok", "v"},          {"raw-bin", std::string("\0\1", 2)},
                    {"grpc-status", "0"}, {":path", "/"},
                    {"te", "x"},          {"bad key", "v"},
                    {"nl", "a\nb"},       {"content-type", "x"},
                    {"connection", "x"}};
  std::vector<http2::Field> fields;
  std::vector<std::string> storage;
  add_metadata(metadata, fields, storage);
  REQUIRE(fields.size() == 2);
  CHECK(fields[0].name == "ok");
  CHECK(fields[1].value == "AAE");
  Metadata back;
  receive_metadata("raw-bin", "AAE=, AAE", back);
  CHECK(back.get_all("raw-bin").size() == 2);
  CHECK(back.get("raw-bin") == std::string_view("\0\1", 2));
}

TEST_CASE("our error codes and gRPC's translate into each other") {
  for (int i = 1; i <= 16; ++i) {
    auto code = static_cast<Code>(i);
    auto error = status_error(code, "x");
    CHECK(code_of(error) == code);
    CHECK(error.status() == i);
  }
  CHECK(to_grpc_code(ErrorCode::kTooLarge) == Code::kResourceExhausted);
  CHECK(to_grpc_code(ErrorCode::kRefused) == Code::kUnavailable);
  // An origin's HTTP status is not a gRPC code.
  CHECK(code_of(Error(ErrorCode::kNotFound, "x").with_status(404)) == Code::kNotFound);
}
