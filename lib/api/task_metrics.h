// What Dragonfly's metrics about tasks have in common (Dragonfly client 10.1, scheduler 6).
#pragma once

#include <cstdint>
#include <vector>

namespace d7y::api {

// The label task_size_level: 0 empty or unknown, 1 below 1 MiB, ... 20 from 1 TiB. `bytes`: below 0 is
// unknown.
int task_size_level(std::int64_t bytes);

// Bounds of its client's histograms of milliseconds: powers of two from 1 on, 24 of them.
const std::vector<double>& client_milliseconds();

}  // namespace d7y::api
