#include "last_error.h"

#include <exception>
#include <new>
#include <string>

namespace d7y::capi {
namespace {

struct LastError {
  std::string message;
  d7y_error shown{D7Y_OK, "", 0};
};

LastError& last() {
  thread_local LastError error;
  return error;
}

}  // namespace

d7y_code to_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid: return D7Y_EINVAL;
    case ErrorCode::kNotFound: return D7Y_ENOTFOUND;
    case ErrorCode::kExists: return D7Y_EEXIST;
    case ErrorCode::kPermission: return D7Y_EPERM;
    case ErrorCode::kUnauthenticated: return D7Y_EAUTH;
    case ErrorCode::kCancelled: return D7Y_ECANCELLED;
    case ErrorCode::kTimeout: return D7Y_ETIMEOUT;
    case ErrorCode::kRefused: return D7Y_EREFUSED;
    case ErrorCode::kReset: return D7Y_ERESET;
    case ErrorCode::kProtocol: return D7Y_EPROTOCOL;
    case ErrorCode::kTooLarge: return D7Y_ETOOLARGE;
    case ErrorCode::kCorrupt: return D7Y_ECORRUPT;
    case ErrorCode::kChanged: return D7Y_ECHANGED;
    case ErrorCode::kDiskFull: return D7Y_EDISKFULL;
    case ErrorCode::kIo: return D7Y_EIO;
    case ErrorCode::kExhausted: return D7Y_EEXHAUSTED;
    case ErrorCode::kUnavailable: return D7Y_EUNAVAILABLE;
    case ErrorCode::kUnsupported: return D7Y_EUNSUPPORTED;
    case ErrorCode::kPrecondition: return D7Y_EPRECONDITION;
    case ErrorCode::kClosed: return D7Y_ECLOSED;
    case ErrorCode::kInternal: return D7Y_EINTERNAL;
  }
  return D7Y_EINTERNAL;
}

d7y_code fail(d7y_code code, std::string message, int status) {
  auto& error = last();
  error.message = std::move(message);
  error.shown = {code, error.message.c_str(), status};
  return code;
}

d7y_code fail(const Error& error) { return fail(to_code(error.code()), error.message(), error.status()); }

d7y_code thrown() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    // Short enough for a string to need no memory.
    return fail(D7Y_EEXHAUSTED, "out of memory");
  } catch (const std::exception& failure) {
    return fail(D7Y_EINTERNAL, failure.what());
  } catch (...) {
    return fail(D7Y_EINTERNAL, "unknown");
  }
}

}  // namespace d7y::capi

extern "C" {

const d7y_error* d7y_error_last(void) { return &d7y::capi::last().shown; }

const char* d7y_code_name(d7y_code code) {
  switch (code) {
    case D7Y_OK: return "ok";
    case D7Y_EINVAL: return "invalid";
    case D7Y_ENOTFOUND: return "not found";
    case D7Y_EEXIST: return "exists";
    case D7Y_EPERM: return "permission denied";
    case D7Y_EAUTH: return "unauthenticated";
    case D7Y_ECANCELLED: return "cancelled";
    case D7Y_ETIMEOUT: return "timed out";
    case D7Y_EREFUSED: return "refused";
    case D7Y_ERESET: return "connection reset";
    case D7Y_EPROTOCOL: return "protocol violation";
    case D7Y_ETOOLARGE: return "too large";
    case D7Y_ECORRUPT: return "corrupt";
    case D7Y_ECHANGED: return "changed";
    case D7Y_EDISKFULL: return "disk full";
    case D7Y_EIO: return "input/output error";
    case D7Y_EEXHAUSTED: return "exhausted";
    case D7Y_EUNAVAILABLE: return "unavailable";
    case D7Y_EUNSUPPORTED: return "unsupported";
    case D7Y_EPRECONDITION: return "failed precondition";
    case D7Y_ECLOSED: return "closed";
    case D7Y_EINTERNAL: return "internal";
  }
  return "unknown";
}

}  // extern "C"
