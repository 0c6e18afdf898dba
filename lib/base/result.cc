#include "base/result.h"

namespace d7y {

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid: return "invalid";
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kExists: return "exists";
    case ErrorCode::kPermission: return "permission denied";
    case ErrorCode::kUnauthenticated: return "unauthenticated";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kTimeout: return "timed out";
    case ErrorCode::kRefused: return "refused";
    case ErrorCode::kReset: return "connection reset";
    case ErrorCode::kProtocol: return "protocol violation";
    case ErrorCode::kTooLarge: return "too large";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kChanged: return "changed";
    case ErrorCode::kDiskFull: return "disk full";
    case ErrorCode::kIo: return "input/output error";
    case ErrorCode::kExhausted: return "exhausted";
    case ErrorCode::kUnavailable: return "unavailable";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kPrecondition: return "failed precondition";
    case ErrorCode::kClosed: return "closed";
    case ErrorCode::kInternal: return "internal";
  }
  return "internal";
}

Error::Error(ErrorCode code, std::string message)
    : box_(std::make_unique<Box>(Box{code, 0, std::move(message), {}})) {}

Error Error::clone() const { return Error(code(), message()).with_status(status()).with_details(details()); }

Error Error::with_status(int status) && {
  box_->status = status;
  return std::move(*this);
}

Error Error::with_details(std::string details) && {
  box_->details = std::move(details);
  return std::move(*this);
}

Error Error::in(std::string_view prefix) && {
  box_->message = fmt::format("{}: {}", prefix, box_->message);
  return std::move(*this);
}

}  // namespace d7y
