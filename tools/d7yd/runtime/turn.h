// One `d7yd runtime` at a time on a host: what each has written is known to the next one.
#pragma once

#include <string>

namespace tools::runtime {

class Turn {
 public:
  // Waits for others, and says so. Throws Refusal (kFailed) after two minutes. `root` stands before the
  // host's paths (host_path.h).
  explicit Turn(const std::string& root);
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  int folder_;
};

}  // namespace tools::runtime
