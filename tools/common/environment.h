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

// The proxies for origins, as other programs read them; null: none.
struct Proxies {
  const char *http, *https, *except;
};

inline Proxies proxies() {
  const char* all = environment("all_proxy", "ALL_PROXY");
  const char* http = environment("http_proxy", "http_proxy");  // upper case is what CGI sets from headers
  const char* https = environment("https_proxy", "HTTPS_PROXY");
  return {http != nullptr ? http : all, https != nullptr ? https : all, environment("no_proxy", "NO_PROXY")};
}

}  // namespace tools
