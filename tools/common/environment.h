// Variables of the environment.
#pragma once

#include <cstdlib>

namespace tools {

// The first of the two that is set and not empty; null: none.
inline const char* environment(const char* name, const char* other) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == 0) value = std::getenv(other);
  return value != nullptr && *value != 0 ? value : nullptr;
}

}  // namespace tools
