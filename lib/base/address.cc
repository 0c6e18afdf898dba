#include "base/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

namespace d7y {

Address Address::ipv4(std::array<std::uint8_t, 4> octets, std::uint16_t port) {
  Address address;
  std::memcpy(address.octets_.data(), octets.data(), octets.size());
  address.port_ = port;
  return address;
}

Address Address::ipv6(std::array<std::uint8_t, 16> octets, std::uint16_t port, std::uint32_t scope_id) {
  Address address;
  address.family_ = Family::kIpv6;
  address.octets_ = octets;
  address.port_ = port;
  address.scope_id_ = scope_id;
  return address;
}

Address Address::unix_socket(std::string path) {
  Address address;
  address.family_ = Family::kUnix;
  address.path_ = std::move(path);
  return address;
}

Result<Address> Address::parse_ip(std::string_view ip, std::uint16_t port) {
  std::uint32_t scope_id = 0;
  std::string literal(ip);
  if (auto percent = literal.find('%'); percent != std::string::npos) {
    auto scope = std::string_view(literal).substr(percent + 1);
    auto [end, failed] = std::from_chars(scope.data(), scope.data() + scope.size(), scope_id);
    if (failed != std::errc{} || end != scope.data() + scope.size()) {
      return error(ErrorCode::kInvalid, "\"{}\" has no numeric scope after '%'", ip);
    }
    literal.resize(percent);
  }
  std::array<std::uint8_t, 4> four{};
  if (scope_id == 0 && inet_pton(AF_INET, literal.c_str(), four.data()) == 1) return ipv4(four, port);
  std::array<std::uint8_t, 16> sixteen{};
  if (inet_pton(AF_INET6, literal.c_str(), sixteen.data()) == 1) return ipv6(sixteen, port, scope_id);
  return error(ErrorCode::kInvalid, "\"{}\" is not an IP address", ip);
}

Result<Address> Address::parse(std::string_view text) {
  if (text.starts_with("unix:")) {
    auto path = text.substr(5);
    if (path.starts_with("//")) path.remove_prefix(2);
    if (path.empty()) return error(ErrorCode::kInvalid, "\"{}\" names no socket path", text);
    return unix_socket(std::string(path));
  }
  if (text.starts_with('/') || text.starts_with('@')) return unix_socket(std::string(text));
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return error(ErrorCode::kInvalid, "\"{}\" is not an address; expected ip:port, [ip]:port or unix:/path",
                 text);
  }
  auto digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (failed != std::errc{} || end != digits.data() + digits.size() || digits.empty()) {
    return error(ErrorCode::kInvalid, "\"{}\" ends in no port between 0 and 65535", text);
  }
  auto host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return error(ErrorCode::kInvalid, "\"{}\": an IPv6 address with a port needs brackets, like [::1]:8002",
                 text);
  }
  return parse_ip(host, port);
}

Address Address::with_port(std::uint16_t port) const {
  Address copy = *this;
  copy.port_ = port;
  return copy;
}

std::string_view Address::octets() const {
  auto size = family_ == Family::kIpv4 ? 4U : family_ == Family::kIpv6 ? 16U : 0U;
  return {reinterpret_cast<const char*>(octets_.data()), size};
}

bool Address::is_loopback() const {
  if (family_ == Family::kUnix) return true;
  if (family_ == Family::kIpv4) return octets_[0] == 127;
  static constexpr std::array<std::uint8_t, 16> one{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return octets_ == one;
}

bool Address::is_unspecified() const {
  return family_ != Family::kUnix && octets_ == std::array<std::uint8_t, 16>{};
}

std::string Address::ip() const {
  if (family_ == Family::kUnix) return {};
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family_ == Family::kIpv4 ? AF_INET : AF_INET6, octets_.data(), text, sizeof text);
  return scope_id_ != 0 ? fmt::format("{}%{}", text, scope_id_) : std::string(text);
}

std::string Address::to_string() const {
  switch (family_) {
    case Family::kIpv4: return fmt::format("{}:{}", ip(), port_);
    case Family::kIpv6: return fmt::format("[{}]:{}", ip(), port_);
    case Family::kUnix: return "unix:" + path_;
  }
  return {};
}

Result<HostPort> HostPort::parse(std::string_view text) {
  HostPort out;
  auto colon = text.rfind(':');
  bool fits = colon != std::string_view::npos && colon > 0;
  if (fits) {
    auto digits = text.substr(colon + 1);
    auto end = digits.data() + digits.size();
    auto read = std::from_chars(digits.data(), end, out.port);
    fits = read.ec == std::errc() && read.ptr == end && out.port != 0;
    out.host = text.substr(0, colon);
    if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']')
      out.host = out.host.substr(1, out.host.size() - 2);
    fits = fits && out.host.find_first_of("/@[] \t") == std::string::npos;
  }
  if (!fits) return error(ErrorCode::kInvalid, "\"{}\" is not host:port", text);
  return out;
}

}  // namespace d7y
