#include "net/grpc/status.h"

#include <array>

namespace d7y::grpc {

std::string_view name_of(Code code) {
  static constexpr std::array<std::string_view, 17> kNames = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  auto index = static_cast<std::size_t>(code);
  return index < kNames.size() ? kNames[index] : "UNKNOWN";
}

ErrorCode to_error_code(Code code) {
  switch (code) {
    case Code::kCancelled: return ErrorCode::kCancelled;
    case Code::kInvalidArgument:
    case Code::kOutOfRange: return ErrorCode::kInvalid;
    case Code::kDeadlineExceeded: return ErrorCode::kTimeout;
    case Code::kNotFound: return ErrorCode::kNotFound;
    case Code::kAlreadyExists: return ErrorCode::kExists;
    case Code::kPermissionDenied: return ErrorCode::kPermission;
    case Code::kResourceExhausted: return ErrorCode::kExhausted;
    case Code::kFailedPrecondition: return ErrorCode::kPrecondition;
    case Code::kAborted: return ErrorCode::kChanged;
    case Code::kUnimplemented: return ErrorCode::kUnsupported;
    case Code::kUnavailable: return ErrorCode::kUnavailable;
    case Code::kDataLoss: return ErrorCode::kCorrupt;
    case Code::kUnauthenticated: return ErrorCode::kUnauthenticated;
    case Code::kOk:
    case Code::kUnknown:
    case Code::kInternal: return ErrorCode::kInternal;
  }
  return ErrorCode::kInternal;
}

Code to_grpc_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid: return Code::kInvalidArgument;
    case ErrorCode::kNotFound: return Code::kNotFound;
    case ErrorCode::kExists: return Code::kAlreadyExists;
    case ErrorCode::kPermission: return Code::kPermissionDenied;
    case ErrorCode::kUnauthenticated: return Code::kUnauthenticated;
    case ErrorCode::kCancelled: return Code::kCancelled;
    case ErrorCode::kTimeout: return Code::kDeadlineExceeded;
    case ErrorCode::kRefused:
    case ErrorCode::kReset:
    case ErrorCode::kClosed:
    case ErrorCode::kUnavailable: return Code::kUnavailable;
    case ErrorCode::kTooLarge:
    case ErrorCode::kDiskFull:
    case ErrorCode::kExhausted: return Code::kResourceExhausted;
    case ErrorCode::kCorrupt: return Code::kDataLoss;
    case ErrorCode::kChanged: return Code::kAborted;
    case ErrorCode::kUnsupported: return Code::kUnimplemented;
    case ErrorCode::kPrecondition: return Code::kFailedPrecondition;
    case ErrorCode::kProtocol:
    case ErrorCode::kIo:
    case ErrorCode::kInternal: return Code::kInternal;
  }
  return Code::kInternal;
}

Code code_of(const Error& error) {
  if (error.status() >= 1 && error.status() <= 16) return static_cast<Code>(error.status());
  return to_grpc_code(error.code());
}

Error status_error(Code code, std::string message, std::string details) {
  return Error(to_error_code(code), std::move(message))
      .with_status(static_cast<int>(code))
      .with_details(std::move(details));
}

Code code_from_http_status(int status) {
  switch (status) {
    case 400: return Code::kInternal;
    case 401: return Code::kUnauthenticated;
    case 403: return Code::kPermissionDenied;
    case 404: return Code::kUnimplemented;
    case 429:
    case 502:
    case 503:
    case 504: return Code::kUnavailable;
    default: return Code::kUnknown;
  }
}

}  // namespace d7y::grpc
