// Addresses as the system's socket calls want them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/address.h"

namespace d7y::world {

struct SocketAddress {
  union {
    sockaddr_storage storage;
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
  };
  socklen_t size = sizeof storage;

  SocketAddress() : storage{} {}

  int family() const { return any.sa_family; }
  // Other families than IP and Unix give the unspecified IPv4 address.
  Address address() const;
};

// kInvalid: a socket path that is empty or too long for the system (107 bytes).
Result<SocketAddress> socket_address(const Address& address);

}  // namespace d7y::world
