// Failures of system calls as our errors: errno's kind, its words, and what helps against it.
//
//   if (::unlink(path) != 0) return system_error(errno, "removing \"{}\"", path);
//   // "removing "/x": Permission denied; check the rights of this user there"
#pragma once

#include <fmt/core.h>

#include <string>

#include "base/result.h"

namespace d7y::world {

ErrorCode code_of(int system_error);

// "Connection refused", "No space left on device".
std::string words_of(int system_error);

// `attempt` says what was tried on what.
Error describe_system_error(int system_error, std::string attempt);
Error describe_system_error(int system_error, ErrorCode code, std::string attempt);

template <class... Args>
Error system_error(int number, fmt::format_string<Args...> attempt, Args&&... args) {
  return describe_system_error(number, fmt::format(attempt, std::forward<Args>(args)...));
}

}  // namespace d7y::world
