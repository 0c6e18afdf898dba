// Asking the machine and the network, with deadlines.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tools::doctor {

// How a try ended: an empty `why` is success.
struct Outcome {
  std::string why;
  int number = 0;  // errno, if it was one
  explicit operator bool() const { return why.empty(); }
};

struct Resolved {
  std::vector<std::string> addresses;
  std::string why;  // empty if there are some
};

constexpr std::chrono::milliseconds kPatience{3000};

// A name server that is silent costs kPatience, not its own half minute.
Resolved resolve(const std::string& host);

Outcome connect_tcp(const std::string& address, std::uint16_t port);  // a numeric address
Outcome connect_unix(const std::string& path);
// Where a server that listens on `ip` is reached on this machine.
std::string local_address(const std::string& ip);
// Whether a server could listen there now.
Outcome can_listen(const std::string& ip, std::uint16_t port);
// The program that listens on this port, "nginx (pid 17)"; empty if it cannot be found out.
std::string listener_of(std::uint16_t port);

// Body of an HTTP answer with status 200, at most a MiB.
std::optional<std::string> http_get(const std::string& address, std::uint16_t port, const std::string& path);

// The value behind "Date:" in the answer of an HTTP server, in seconds since 1970.
std::optional<std::int64_t> http_date(const std::string& address, std::uint16_t port);

// "host:port" in its parts; port 0 if there is none.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
HostPort split(const std::string& address);

// Command lines of all processes, words separated by blanks.
std::vector<std::string> command_lines();

}  // namespace tools::doctor
