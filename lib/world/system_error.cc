#include "world/system_error.h"

#include <cerrno>
#include <string_view>
#include <system_error>

namespace d7y::world {
namespace {

std::string_view remedy(int number) {
  switch (number) {
    case EMFILE: return "; this process has too many files open, raise its limit (ulimit -n)";
    case ENFILE: return "; the system has too many files open, raise fs.file-max";
    case ENOSPC: return "; free some space";
    case EDQUOT: return "; the quota of this user is used up";
    case EACCES:
    case EPERM: return "; check the rights of this user there";
    case EROFS: return "; the file system is mounted read-only";
    case EADDRINUSE: return "; stop the program that uses it or choose another one";
    case EADDRNOTAVAIL: return "; no interface of this machine has that address";
    case ECONNREFUSED: return "; nobody listens there";
    default: return "";
  }
}

}  // namespace

ErrorCode code_of(int number) {
  switch (number) {
    case ENOENT:
    case ENOTDIR: return ErrorCode::kNotFound;
    case EEXIST:
    case EADDRINUSE: return ErrorCode::kExists;
    case ENOTEMPTY:
    case EISDIR:
    case EBUSY: return ErrorCode::kPrecondition;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorCode::kPermission;
    case ENOSPC:
    case EDQUOT: return ErrorCode::kDiskFull;
    case EFBIG: return ErrorCode::kTooLarge;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT: return ErrorCode::kInvalid;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN: return ErrorCode::kRefused;
    case ECONNRESET:
    case ECONNABORTED:
    case ENETRESET:
    case ENOTCONN:
    case ESHUTDOWN:
    case EPIPE: return ErrorCode::kReset;
    case ETIMEDOUT: return ErrorCode::kTimeout;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EAGAIN: return ErrorCode::kExhausted;
    case EOPNOTSUPP:
    case ENOSYS:
    case EXDEV:
    case EPROTONOSUPPORT: return ErrorCode::kUnsupported;
    default: return ErrorCode::kIo;
  }
}

std::string words_of(int number) { return std::generic_category().message(number); }

Error describe_system_error(int number, std::string attempt) {
  return describe_system_error(number, code_of(number), std::move(attempt));
}

Error describe_system_error(int number, ErrorCode code, std::string attempt) {
  return error(code, "{}: {}{}", attempt, words_of(number), remedy(number));
}

}  // namespace d7y::world
