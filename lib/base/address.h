// Where something listens: an IP literal with a port, or a Unix socket's path. Parsing and printing
// only; names are resolved by the world.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace d7y {

class Address {
 public:
  enum class Family : std::uint8_t { kIpv4, kIpv6, kUnix };

  static Address ipv4(std::array<std::uint8_t, 4> octets, std::uint16_t port);
  static Address ipv6(std::array<std::uint8_t, 16> octets, std::uint16_t port, std::uint32_t scope_id = 0);
  // `path` of a Unix stream socket; a leading '@' means Linux's abstract namespace.
  static Address unix_socket(std::string path);

  // "127.0.0.1:8002", "[::1]:8002", "unix:/run/x.sock" or "/run/x.sock". Host names are kInvalid.
  static Result<Address> parse(std::string_view text);
  // An IP literal without brackets ("127.0.0.1", "::1", "fe80::1%2") and a port.
  static Result<Address> parse_ip(std::string_view ip, std::uint16_t port);

  Family family() const { return family_; }
  std::uint16_t port() const { return port_; }
  Address with_port(std::uint16_t port) const;
  // 4 or 16 octets in network order; empty for Unix sockets.
  std::string_view octets() const;
  std::uint32_t scope_id() const { return scope_id_; }
  const std::string& path() const { return path_; }

  bool is_loopback() const;
  bool is_unspecified() const;

  std::string ip() const;         // the literal without port or brackets; empty for Unix sockets
  std::string to_string() const;  // what parse() reads

  auto operator<=>(const Address&) const = default;

 private:
  Family family_ = Family::kIpv4;
  std::uint16_t port_ = 0;
  std::uint32_t scope_id_ = 0;
  std::array<std::uint8_t, 16> octets_{};
  std::string path_;
};

// "host:port" taken apart: a name, an IPv4 literal, or an IPv6 literal in brackets, which are left out.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;

  // kInvalid for anything else, port 0 and URLs included.
  static Result<HostPort> parse(std::string_view text);
};

}  // namespace d7y
