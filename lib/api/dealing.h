// Package d7y.v1; see api.h.
#pragma once

#include <dealing.pb.h>

// Declared by the generated code as ::d7y::v1.
namespace d7y::api {
namespace dealing = ::d7y::v1;
}  // namespace d7y::api
