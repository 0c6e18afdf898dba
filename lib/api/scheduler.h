// Package scheduler.v2; see api.h.
#pragma once

#include <scheduler.pb.h>

#include "api/common.h"
#include "api/errordetails.h"

// Declared by the generated code as ::scheduler::v2.
namespace d7y::api {
namespace scheduler = ::scheduler::v2;
}  // namespace d7y::api
