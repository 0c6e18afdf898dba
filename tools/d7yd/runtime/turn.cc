#include "turn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <iostream>
#include <thread>

#include "refusal.h"

namespace tools::runtime {
namespace {

constexpr auto kPatience = std::chrono::minutes(2);  // restarts of runtimes included
constexpr auto kStep = std::chrono::milliseconds(50);

// A folder that every host has, and init containers see: nothing has to be made, or remains.
int open_place(const std::string& root) {
  for (const auto& path : {root + "/etc", root + "/"}) {
    const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) return folder;
  }
  return -1;
}

}  // namespace

Turn::Turn(const std::string& root) : folder_(open_place(root)) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (bool said = false; folder_ >= 0 && flock(folder_, LOCK_EX | LOCK_NB) != 0;) {
    if (errno != EWOULDBLOCK && errno != EINTR) return;  // no locks on this file system
    if (!said) std::cerr << "d7yd runtime: waits for another one that is at work\n" << std::flush;
    said = true;
    if (std::chrono::steady_clock::now() > until) {
      close(folder_);
      throw Refusal(kFailed, fmt::format("another one has been at work for two minutes (it locks {}/etc);"
                                         " nothing is changed",
                                         root));
    }
    std::this_thread::sleep_for(kStep);
  }
}

Turn::~Turn() {
  if (folder_ >= 0) close(folder_);
}

}  // namespace tools::runtime
