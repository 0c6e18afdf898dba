#include "swarm/network_meter.h"

#include <algorithm>

namespace d7y::swarm {

namespace {

std::uint64_t per_second(std::uint64_t before, std::uint64_t after, Duration took) {
  if (after <= before || took <= Duration::zero()) return 0;  // counters start over with their interface
  auto seconds = std::chrono::duration<double>(took).count();
  return static_cast<std::uint64_t>(static_cast<double>(after - before) * 8 / seconds);
}

}  // namespace

NetworkMeter::NetworkMeter(world::World& world, NetworkMeterOptions options)
    : world_(world), options_(std::move(options)), scope_(world.loop()) {
  measure(Duration::zero());
  scope_.spawn(run());
}

Task<void> NetworkMeter::run() {
  auto last = world_.now();
  for (;;) {
    co_await sleep_for(options_.interval);
    measure(world_.now() - last);
    last = world_.now();
    measured_.notify_all();
  }
}

void NetworkMeter::measure(Duration since_last) {
  std::uint64_t speed = 0, received = 0, sent = 0;
  bool found = false;
  for (const auto& interface : world_.network().interfaces()) {
    if (interface.address.ip() != options_.ip) continue;
    speed = interface.speed_bits_per_second;
    received = interface.received_bytes;
    sent = interface.sent_bytes;
    found = true;
    break;
  }
  auto most = [&](std::uint64_t limit) {
    auto bits = limit > UINT64_MAX / 8 ? UINT64_MAX : limit * 8;
    if (speed != 0 && bits != 0) return std::min(speed, bits);
    if (speed != 0 || bits != 0) return std::max(speed, bits);
    return options_.unknown_speed;
  };
  latest_.max_rx = most(options_.download_limit);
  latest_.max_tx = most(options_.upload_limit);
  latest_.rx = found && seen_ ? per_second(last_received_, received, since_last) : 0;
  latest_.tx = found && seen_ ? per_second(last_sent_, sent, since_last) : 0;
  last_received_ = received;
  last_sent_ = sent;
  seen_ = found;
}

void NetworkMeter::fill(api::common::Network& network) const {
  network.set_max_rx_bandwidth(latest_.max_rx);
  network.set_rx_bandwidth(latest_.rx);
  network.set_max_tx_bandwidth(latest_.max_tx);
  network.set_tx_bandwidth(latest_.tx);
}

}  // namespace d7y::swarm
