// What d7yd and d7ysched share: signals, sd_notify, log lines on the console.
#pragma once

#include <d7y/log.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace tools {

// Blocks the signals that end a daemon, before any thread starts; wait_for_stop() then takes them.
inline sigset_t block_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGINT, SIGTERM, SIGQUIT}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return set;
}

// The signal that asked to stop.
inline int wait_for_stop(const sigset_t& set) {
  int number = 0;
  while (sigwait(&set, &number) != 0) {
  }
  return number;
}

// Tells a service manager how we are (sd_notify(3)): a datagram to the socket it named, if any.
inline void notify_service_manager(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || (path[0] != '/' && path[0] != '@') || std::strlen(path) >= sizeof address.sun_path)
    return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (address.sun_path[0] == '@') address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  (void)!sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), size);
  close(fd);
}

enum class LineFormat { kText, kJson };

// A d7y_log_callback that prints one line per message on stderr; `user` points to the LineFormat.
inline void print_line(void* user, d7y_log_level level, const char* room, const char* message) {
  static constexpr const char* kNames[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF"};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char stamp[40];
  auto length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(stamp + length, sizeof stamp - length, ".%03ldZ", now.tv_nsec / 1000000);
  if (*static_cast<LineFormat*>(user) == LineFormat::kText) {
    fmt::print(stderr, "{} {:5} {}: {}\n", stamp, kNames[level], room, message);
    return;
  }
  std::string escaped;
  for (const char* c = message; *c != 0; ++c) {
    auto byte = static_cast<unsigned char>(*c);
    if (*c == '"' || *c == '\\')
      escaped += {'\\', *c};
    else if (byte < 0x20)
      escaped += fmt::format("\\u{:04x}", byte);
    else
      escaped += *c;
  }
  fmt::print(stderr, "{{\"time\":\"{}\",\"level\":\"{}\",\"room\":\"{}\",\"message\":\"{}\"}}\n", stamp,
             kNames[level], room, escaped);
}

inline d7y_log_level level_named(const std::string& name) {
  if (name == "trace") return D7Y_LOG_TRACE;
  if (name == "debug") return D7Y_LOG_DEBUG;
  if (name == "warn") return D7Y_LOG_WARN;
  if (name == "error") return D7Y_LOG_ERROR;
  return D7Y_LOG_INFO;
}

}  // namespace tools
