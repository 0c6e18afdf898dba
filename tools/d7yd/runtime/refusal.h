// How `d7yd runtime` and `d7yd doctor` fail: a message for people and the exit status that goes with it.
#pragma once

#include <stdexcept>
#include <string>

namespace tools {

enum ExitStatus {
  kDone = 0,
  kFailed = 1,        // a file could not be read or written, a restart failed; everything is as before
  kUsage = 2,         // wrong options or dfinit.yaml
  kNotEditable = 3,   // the runtime's own configuration is not one that can be edited safely
  kChangedByHand = 4  // undo: somebody has changed the same lines since
};

class Refusal : public std::runtime_error {
 public:
  Refusal(ExitStatus status, const std::string& message) : std::runtime_error(message), status(status) {}
  ExitStatus status;
};

}  // namespace tools
