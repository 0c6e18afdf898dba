// The files of /proc and /sys: small, made on demand, read whole.
#pragma once

#include <optional>
#include <string>

namespace d7y::world {

// At most 256 KiB; nothing if it cannot be read.
std::optional<std::string> read_small_file(const std::string& path);

}  // namespace d7y::world
