// Descriptors of the .proto files beside this one; made by the build (embed.py).
#pragma once

#include <cstddef>

namespace d7y::grpc {

extern const unsigned char kOwnDescriptors[];
extern const std::size_t kOwnDescriptorsSize;

}  // namespace d7y::grpc
