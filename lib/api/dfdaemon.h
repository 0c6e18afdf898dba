// Package dfdaemon.v2; see api.h.
#pragma once

#include <dfdaemon.pb.h>

#include "api/common.h"

// Declared by the generated code as ::dfdaemon::v2.
namespace d7y::api {
namespace dfdaemon = ::dfdaemon::v2;
}  // namespace d7y::api
