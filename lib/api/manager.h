// Package manager.v2; see api.h.
#pragma once

#include <manager.pb.h>

#include "api/common.h"

// Declared by the generated code as ::manager::v2.
namespace d7y::api {
namespace manager = ::manager::v2;
}  // namespace d7y::api
