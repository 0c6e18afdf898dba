// Reading a long file from its beginning to an end, where it keeps no loop waiting.
#pragma once

#include <functional>
#include <memory>

#include "world/world.h"

namespace d7y::world {

// Gives the first `length` bytes of `file` to `take`, in order, both where offload() works. `take` must own
// what it uses; who gives up waiting sees the end of at most 16 MiB more. kCorrupt: the file ends before.
Task<Result<void>> read_through(World& world, std::shared_ptr<File> file, std::uint64_t length,
                                std::function<void(Bytes)> take);

}  // namespace d7y::world
