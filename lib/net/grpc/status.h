// gRPC's status codes and what they are as our errors.
//
// A failed call is an Error whose status() is the gRPC code, whose message() is grpc-message (percent-
// decoded) and whose details() are the raw bytes of grpc-status-details-bin. Those bytes need not be
// a google.rpc.Status: Dragonfly's daemons put plain JSON there (Dragonfly grpc 3g).
//
// Towards the wire a handler's Error keeps its gRPC code if it has one (status() in 1..16), else
// its ErrorCode is translated:
//
//   gRPC                    our code from the wire   our codes to the wire
//    1 CANCELLED            kCancelled               kCancelled
//    2 UNKNOWN              kInternal                -
//    3 INVALID_ARGUMENT     kInvalid                 kInvalid
//    4 DEADLINE_EXCEEDED    kTimeout                 kTimeout
//    5 NOT_FOUND            kNotFound                kNotFound
//    6 ALREADY_EXISTS       kExists                  kExists
//    7 PERMISSION_DENIED    kPermission              kPermission
//    8 RESOURCE_EXHAUSTED   kExhausted               kExhausted, kTooLarge, kDiskFull
//    9 FAILED_PRECONDITION  kPrecondition            kPrecondition
//   10 ABORTED              kChanged                 kChanged
//   11 OUT_OF_RANGE         kInvalid                 -
//   12 UNIMPLEMENTED        kUnsupported             kUnsupported
//   13 INTERNAL             kInternal                kInternal, kIo, kProtocol
//   14 UNAVAILABLE          kUnavailable             kUnavailable, kRefused, kReset, kClosed
//   15 DATA_LOSS            kCorrupt                 kCorrupt
//   16 UNAUTHENTICATED      kUnauthenticated         kUnauthenticated
//
// Failures found on this side (connection refused, deadline passed, broken frames) keep the ErrorCode
// that says what happened here, and status() is the code any gRPC client would report for it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace d7y::grpc {

enum class Code : std::uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "NOT_FOUND" for kNotFound.
std::string_view name_of(Code code);

ErrorCode to_error_code(Code code);
Code to_grpc_code(ErrorCode code);

// The code an error has on the wire.
Code code_of(const Error& error);

// An error with a chosen gRPC code; for handlers that need one which the table above does not give.
Error status_error(Code code, std::string message, std::string details = std::string());

// gRPC code for a response that is not gRPC at all, from its HTTP status (gRPC's http-grpc-status-mapping).
Code code_from_http_status(int status);

}  // namespace d7y::grpc
