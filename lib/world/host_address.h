// The address that others may reach this machine at.
#pragma once

#include <string>

#include "world/network.h"

namespace d7y::world {

// The address of the first interface that is up and not loopback: of the wanted family if there is one, else
// of the other; link-local ones do not count. Loopback where there is no other.
std::string host_address(Network& network, bool ipv6);

}  // namespace d7y::world
