#include "world/host_address.h"

namespace d7y::world {

std::string host_address(Network& network, bool ipv6) {
  std::string fallback;
  for (const auto& interface : network.interfaces()) {
    if (!interface.up || interface.address.is_loopback()) continue;
    const bool six = interface.address.family() == Address::Family::kIpv6;
    if (six && interface.address.scope_id() != 0) continue;  // link-local
    if (six == ipv6) return interface.address.ip();
    if (fallback.empty()) fallback = interface.address.ip();
  }
  if (!fallback.empty()) return fallback;
  return ipv6 ? "::1" : "127.0.0.1";
}

}  // namespace d7y::world
