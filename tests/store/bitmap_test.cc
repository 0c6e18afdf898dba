#include "store/bitmap.h"

#include <doctest/doctest.h>

using d7y::store::Bitmap;

TEST_CASE("a bitmap finds gaps and runs across words") {
  Bitmap bits;
  CHECK(bits.first_clear(0, 10) == 0u);
  CHECK_FALSE(bits.first_set(0, 1000));
  CHECK(bits.all(5, 5));
  for (std::uint32_t bit = 0; bit < 200; ++bit) CHECK(bits.set(bit));
  CHECK_FALSE(bits.set(100));
  CHECK(bits.count() == 200);
  CHECK(bits.all(0, 200));
  CHECK_FALSE(bits.first_clear(0, 200));
  CHECK(bits.first_clear(0, 201) == 200u);
  CHECK(bits.first_clear(1000, 2000) == 1000u);
  CHECK(bits.clear(127));
  CHECK_FALSE(bits.clear(127));
  CHECK_FALSE(bits.clear(100'000));
  CHECK(bits.first_clear(0, 200) == 127u);
  CHECK_FALSE(bits.first_clear(128, 200));
  CHECK(bits.first_set(127, 200) == 128u);
  CHECK_FALSE(bits.first_set(200, 300));
  bits.clear_all();
  CHECK(bits.count() == 0);
  CHECK_FALSE(bits.test(5));
}

TEST_CASE("a bitmap of the largest task works at its edges") {
  Bitmap bits;
  const std::uint32_t last = (1u << 24) - 1;
  CHECK(bits.set(last));
  CHECK(bits.first_set(0, 1u << 24) == last);
  CHECK(bits.first_clear(last, 1u << 24) == std::nullopt);
  CHECK(bits.first_clear(last, 0xffffffffu) == last + 1);
}
