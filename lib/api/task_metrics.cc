#include "api/task_metrics.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"

namespace d7y::api {

int task_size_level(std::int64_t bytes) {
  if (bytes <= 0) return 0;
  static constexpr std::array<std::uint64_t, 19> kBounds = {
      1_MiB, 4_MiB, 8_MiB,  16_MiB, 32_MiB, 64_MiB,  128_MiB, 256_MiB, 512_MiB, 1_GiB,
      4_GiB, 8_GiB, 16_GiB, 32_GiB, 64_GiB, 128_GiB, 256_GiB, 512_GiB, 1024_GiB};
  const auto above = std::upper_bound(kBounds.begin(), kBounds.end(), static_cast<std::uint64_t>(bytes));
  return 1 + static_cast<int>(above - kBounds.begin());
}

const std::vector<double>& client_milliseconds() {
  static const std::vector<double> kBounds = [] {
    std::vector<double> bounds;
    for (double bound = 1; bounds.size() < 24; bound *= 2) bounds.push_back(bound);
    return bounds;
  }();
  return kBounds;
}

}  // namespace d7y::api
