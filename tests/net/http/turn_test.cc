#include "net/http/turn.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace std::chrono_literals;

TEST_CASE("others have their turn after a quarter of a MiB, however small its parts are") {
  http::detail::Turn turn;
  const TimePoint now(5s);
  constexpr std::uint64_t kPart = 16 << 10;
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t moved = kPart; moved < 256 << 10; moved += kPart) CHECK_FALSE(turn.spent(kPart, now));
    CHECK(turn.spent(kPart, now));
  }
  // What moved in earlier turns of the loop has not to be waited for again.
  CHECK_FALSE(turn.spent(200 << 10, now));
  CHECK_FALSE(turn.spent(200 << 10, now + 1ms));
  CHECK(turn.spent(200 << 10, now + 1ms));
}
