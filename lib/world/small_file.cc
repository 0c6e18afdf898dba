#include "world/small_file.h"

#include <fcntl.h>

#include <cerrno>

#include "world/descriptor.h"

namespace d7y::world {

std::optional<std::string> read_small_file(const std::string& path) {
  constexpr std::size_t kMost = 256 << 10;
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  char chunk[4096];
  while (text.size() < kMost) {
    auto count = ::read(file.get(), chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::nullopt;
    if (count == 0) break;
    text.append(chunk, static_cast<std::size_t>(count));
  }
  return text;
}

}  // namespace d7y::world
