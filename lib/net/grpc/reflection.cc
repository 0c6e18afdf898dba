#include "net/grpc/reflection.h"

#include <cstdlib>

#include "net/grpc/descriptor_index.h"
#include "net/grpc/own_descriptors.h"
#include "reflection_v1.pb.h"

namespace d7y::grpc {

namespace {

using ::grpc::reflection::v1::ServerReflectionRequest;
using ::grpc::reflection::v1::ServerReflectionResponse;

void refuse(ServerReflectionResponse& response, Code code, std::string message) {
  response.mutable_error_response()->set_error_code(static_cast<int>(code));
  response.mutable_error_response()->set_error_message(std::move(message));
}

void give_file(ServerReflectionResponse& response, const DescriptorIndex& index, const std::string* file,
               const std::string& wanted) {
  if (file == nullptr) return refuse(response, Code::kNotFound, fmt::format("{} is not known here", wanted));
  for (auto& bytes : index.with_imports(*file)) {
    response.mutable_file_descriptor_response()->add_file_descriptor_proto(std::move(bytes));
  }
}

ServerReflectionResponse answer(const Server& server, const DescriptorIndex& index,
                                const ServerReflectionRequest& request) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename: {
      const auto& name = request.file_by_filename();
      give_file(response, index, index.has_file(name) ? &name : nullptr, name);
      break;
    }
    case ServerReflectionRequest::kFileContainingSymbol: {
      const auto& symbol = request.file_containing_symbol();
      give_file(response, index, index.file_of_symbol(symbol), symbol);
      break;
    }
    case ServerReflectionRequest::kFileContainingExtension: {
      const auto& extension = request.file_containing_extension();
      give_file(response, index,
                index.file_of_extension(extension.containing_type(), extension.extension_number()),
                fmt::format("extension {} of {}", extension.extension_number(), extension.containing_type()));
      break;
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType: {
      const auto& type = request.all_extension_numbers_of_type();
      const auto* numbers = index.extensions_of(type);
      if (numbers == nullptr) {
        refuse(response, Code::kNotFound, fmt::format("{} is not known here", type));
        break;
      }
      auto& found = *response.mutable_all_extension_numbers_response();
      found.set_base_type_name(type);
      for (int number : *numbers) found.add_extension_number(number);
      break;
    }
    case ServerReflectionRequest::kListServices:
      response.mutable_list_services_response();
      for (auto& name : server.services()) {
        response.mutable_list_services_response()->add_service()->set_name(std::move(name));
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      refuse(response, Code::kInvalidArgument, "the request asks for nothing");
      break;
  }
  return response;
}

}  // namespace

Reflection::Reflection() : index_(std::make_unique<DescriptorIndex>()) {
  std::string_view own(reinterpret_cast<const char*>(kOwnDescriptors), kOwnDescriptorsSize);
  if (!index_->add(own)) std::abort();  // our own build made them
}

Reflection::~Reflection() = default;

Result<void> Reflection::add(std::string_view file_descriptor_set) {
  return index_->add(file_descriptor_set);
}

void Reflection::attach(Server& server) {
  // Both versions are the same on the wire.
  for (const char* version : {"v1", "v1alpha"}) {
    server.bidi<ServerReflectionRequest, ServerReflectionResponse>(
        fmt::format("/grpc.reflection.{}.ServerReflection/ServerReflectionInfo", version),
        [this, &server](ServerCall&, Reader<ServerReflectionRequest>& in,
                        Writer<ServerReflectionResponse>& out) -> Task<Result<void>> {
          for (;;) {
            CO_TRY(auto request, co_await in.read());
            if (!request) co_return Result<void>{};
            Task<Result<void>> written = out.write(answer(server, *index_, *request));
            CO_OK(co_await written);
          }
        });
  }
}

}  // namespace d7y::grpc
