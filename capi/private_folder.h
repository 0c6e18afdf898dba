// Where a node without a folder keeps what it has: of its own, below /tmp, gone with it.
#pragma once

#include <string>

#include "world/world.h"

namespace d7y::capi {

// The name of a new one, which nobody has.
std::string private_folder(world::World& world);

// Removes those that programs of this user have left behind: killed or crashed, they could not.
Task<void> sweep_private_folders(world::World& world);

}  // namespace d7y::capi
