// grpc.reflection.v1 and v1alpha: lets tools such as grpcurl list services and read their messages.
//
// The library uses protobuf's lite runtime, which knows no descriptors, so they come as bytes: what
// `protoc --include_imports --descriptor_set_out` wrote at build time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/grpc/server.h"

namespace d7y::grpc {

class DescriptorIndex;

class Reflection {
 public:
  // Knows health and reflection themselves.
  Reflection();
  ~Reflection();

  // Adds the files of a serialized google.protobuf.FileDescriptorSet; those already known by name are
  // left alone. kInvalid if it does not parse.
  Result<void> add(std::string_view file_descriptor_set);

  // Answers for `server`'s services from now on. Both must outlive the server's calls.
  void attach(Server& server);

 private:
  std::unique_ptr<DescriptorIndex> index_;
};

}  // namespace d7y::grpc
