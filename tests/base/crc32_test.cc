#include "base/crc32.h"

#include <doctest/doctest.h>

#include <string>

using namespace d7y;

TEST_CASE("crc32 agrees with zlib's and Dragonfly's known values") {
  CHECK(crc32({}) == 0);
  CHECK(crc32(as_bytes("123456789")) == 0xcbf43926);
  CHECK(crc32(as_bytes("test content")) == 1475635037);
}

TEST_CASE("crc32 in parts and combined equals crc32 at once") {
  std::string text;
  for (int i = 0; i < 10000; ++i) text += static_cast<char>(i * 7 + i / 251);
  for (std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, text.size()}) {
    auto first = as_bytes(text).first(cut), second = as_bytes(text).subspan(cut);
    CHECK(crc32(second, crc32(first)) == crc32(as_bytes(text)));
    CHECK(crc32_combine(crc32(first), crc32(second), second.size()) == crc32(as_bytes(text)));
  }
}
