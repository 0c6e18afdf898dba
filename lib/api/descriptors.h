// The descriptors of our .proto files, for gRPC reflection. Serialised FileDescriptorProtos, read by hand:
// the lite runtime has no reflection of its own.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace d7y::api {

extern const unsigned char kDescriptorSet[];
extern const std::size_t kDescriptorSetSize;

// One .proto file.
struct FileDescriptor {
  std::string name;                       // "scheduler.proto", "google/protobuf/duration.proto"
  std::vector<std::string> dependencies;  // names of files it imports
  std::vector<std::string> symbols;       // full names: services, methods, top-level messages and enums
  std::string bytes;                      // the serialised FileDescriptorProto
};

// All files, a file after those it imports. Parsed once, on the first call; lives as long as the program.
const std::vector<FileDescriptor>& file_descriptors();

}  // namespace d7y::api
