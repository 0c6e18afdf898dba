// What d7yd and d7ysched share: signals, sd_notify, log lines on the console.
#pragma once

#include <d7y/log.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace tools {

// Blocks the signals that end a daemon, before any thread starts; wait_for_stop() then takes them. Those that
// other daemons take for "read your files again" must not end this one.
inline sigset_t block_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGINT, SIGTERM, SIGQUIT}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  for (int number : {SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2}) signal(number, SIG_IGN);
  return set;
}

// As many open files as the system lets us have: each connection is one, and each task in use two.
inline void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Memory goes up and down with every download. What the allocator would give back at once, and ask for again
// with the next one, costs a tenth of a small file; so up to some MiB are kept. Before the first thread.
inline void keep_some_memory() {
#ifdef __GLIBC__
  mallopt(M_TRIM_THRESHOLD, 4 << 20);
  mallopt(M_TOP_PAD, 1 << 20);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

// The signal that asked to stop.
inline int wait_for_stop(const sigset_t& set) {
  int number = 0;
  while (sigwait(&set, &number) != 0) {
  }
  return number;
}

// Who asks again does not want to wait for what we still let end.
inline void stop_at_once_when_asked_again(const sigset_t& set) {
  for (int number : {SIGINT, SIGTERM, SIGQUIT}) signal(number, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

// Whether it is asked to stop once more within the next 20 ms.
inline bool asked_again(const sigset_t& set) {
  const timespec moment{.tv_sec = 0, .tv_nsec = 20'000'000};
  return sigtimedwait(&set, nullptr, &moment) > 0;
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

// What print_line() has printed, if it is the callback's user.
struct Printed {
  bool cannot_start = false;  // and why: nobody needs to be told again
};

// A d7y_log_callback that prints whole lines on stderr.
inline void print_line(void* user, d7y_log_level level, const char*, const char* line) {
  if (level == D7Y_LOG_ERROR && std::strstr(line, "cannot start: ") != nullptr)
    static_cast<Printed*>(user)->cannot_start = true;
  std::string whole = line;
  whole += '\n';  // one write, so that lines of several threads do not mix
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

// Of an option that was left out: as the configuration says.
inline d7y_log_level level_named(const std::string& name) {
  if (name == "trace") return D7Y_LOG_TRACE;
  if (name == "debug") return D7Y_LOG_DEBUG;
  if (name == "info") return D7Y_LOG_INFO;
  if (name == "warn") return D7Y_LOG_WARN;
  if (name == "error") return D7Y_LOG_ERROR;
  return D7Y_LOG_AS_CONFIGURED;
}

inline d7y_log_format format_named(const std::string& name) {
  if (name == "text") return D7Y_LOG_TEXT;
  if (name == "json") return D7Y_LOG_JSON;
  return D7Y_LOG_FORMAT_AS_CONFIGURED;
}

}  // namespace tools
