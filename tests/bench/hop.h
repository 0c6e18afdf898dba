// What both hop programs share: the command line, the request a receiver sends, and the report.
//
// Both move SOURCE from a sending process to a receiving one over 127.0.0.1 into a new file TARGET,
// computing CRC-32 on the way, over N connections of equal ranges, each with a thread on both sides.
#pragma once

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace d7y::bench {

constexpr std::size_t kBuffer = 256 << 10;  // stays in L2 between socket, CRC and file
constexpr std::uint32_t kReceiveBuffer = 512 << 10;

struct Request {
  std::uint64_t offset = 0, length = 0;
};

struct HopOptions {
  std::string source, target;
  unsigned connections = 1;
  std::uint64_t size = 0;

  Request part(unsigned index) const {
    auto step = size / connections;
    auto begin = step * index;
    return {begin, index + 1 == connections ? size - begin : step};
  }
};

inline HopOptions parse(int count, char** arguments) {
  HopOptions options;
  if (count != 4) {
    fmt::print(stderr, "usage: {} SOURCE TARGET CONNECTIONS\n", arguments[0]);
    std::exit(2);
  }
  options.source = arguments[1];
  options.target = arguments[2];
  options.connections = static_cast<unsigned>(std::max(1, std::atoi(arguments[3])));
  struct stat status{};
  if (::stat(arguments[1], &status) != 0 || status.st_size == 0) {
    fmt::print(stderr, "{}: cannot be read, or empty\n", arguments[1]);
    std::exit(2);
  }
  options.size = static_cast<std::uint64_t>(status.st_size);
  return options;
}

inline double cpu_seconds(const rusage& usage) {
  auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

using Clock = std::chrono::steady_clock;

// Waits for the sender to end and prints one line that hop.py reads.
// `apart`: what the sender spent on preparing itself.
inline int report(const HopOptions& options, Clock::time_point began, const rusage& before, pid_t sender,
                  double apart = 0) {
  double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  rusage mine{}, its{};
  ::getrusage(RUSAGE_SELF, &mine);
  int status = 0;
  ::wait4(sender, &status, 0, &its);
  double gib = static_cast<double>(options.size) / (1 << 30);
  fmt::print(
      "{{\"seconds\": {:.6f}, \"gib\": {:.6f}, \"sender_cpu\": {:.6f}, \"receiver_cpu\": {:.6f}, "
      "\"switches\": {}}}\n",
      seconds, gib, cpu_seconds(its) - apart, cpu_seconds(mine) - cpu_seconds(before),
      mine.ru_nvcsw - before.ru_nvcsw + its.ru_nvcsw);
  return status == 0 ? 0 : 1;
}

}  // namespace d7y::bench
