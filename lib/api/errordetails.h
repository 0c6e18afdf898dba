// Package errordetails.v2; see api.h.
#pragma once

#include <errordetails.pb.h>

// Declared by the generated code as ::errordetails::v2.
namespace d7y::api {
namespace errordetails = ::errordetails::v2;
}  // namespace d7y::api
