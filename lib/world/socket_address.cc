#include "world/socket_address.h"

#include <arpa/inet.h>

#include <cstddef>
#include <cstring>

namespace d7y::world {

Address SocketAddress::address() const {
  if (size < sizeof(sa_family_t)) return Address::unix_socket("");
  switch (family()) {
    case AF_INET: {
      std::array<std::uint8_t, 4> octets;
      std::memcpy(octets.data(), &v4.sin_addr, octets.size());
      return Address::ipv4(octets, ntohs(v4.sin_port));
    }
    case AF_INET6: {
      std::array<std::uint8_t, 16> octets;
      std::memcpy(octets.data(), &v6.sin6_addr, octets.size());
      return Address::ipv6(octets, ntohs(v6.sin6_port), v6.sin6_scope_id);
    }
    case AF_UNIX: {
      auto length = size - offsetof(sockaddr_un, sun_path);
      if (length == 0 || length > sizeof local.sun_path) return Address::unix_socket("");
      if (local.sun_path[0] == '\0') {
        return Address::unix_socket("@" + std::string(local.sun_path + 1, length - 1));
      }
      return Address::unix_socket(std::string(local.sun_path, ::strnlen(local.sun_path, length)));
    }
    default: return Address::ipv4({}, 0);
  }
}

Result<SocketAddress> socket_address(const Address& address) {
  SocketAddress result;
  switch (address.family()) {
    case Address::Family::kIpv4:
      result.v4.sin_family = AF_INET;
      result.v4.sin_port = htons(address.port());
      std::memcpy(&result.v4.sin_addr, address.octets().data(), 4);
      result.size = sizeof result.v4;
      break;
    case Address::Family::kIpv6:
      result.v6.sin6_family = AF_INET6;
      result.v6.sin6_port = htons(address.port());
      result.v6.sin6_scope_id = address.scope_id();
      std::memcpy(&result.v6.sin6_addr, address.octets().data(), 16);
      result.size = sizeof result.v6;
      break;
    case Address::Family::kUnix: {
      const auto& path = address.path();
      auto longest = sizeof result.local.sun_path - 1;
      if (path.empty() || path == "@" || path.size() > longest || path.find('\0') != std::string::npos) {
        return error(ErrorCode::kInvalid,
                     "socket path \"{}\" has {} bytes; the system takes 1 to {}, choose a shorter folder",
                     path, path.size(), longest);
      }
      result.local.sun_family = AF_UNIX;
      std::memcpy(result.local.sun_path, path.data(), path.size());
      auto length = path.size() + 1;  // with its final zero
      if (path.starts_with('@')) {
        result.local.sun_path[0] = '\0';
        length = path.size();
      }
      result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
      break;
    }
  }
  return result;
}

}  // namespace d7y::world
