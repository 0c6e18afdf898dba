// Standard output of a program whose user relies on it: what cannot be written there, as on a full disk, is
// an error, not a success.
//
//   int failure = tools::print("{\"ok\":true}\n");
//   return tools::status_once_printed("d7yget", 0, 9, failure);
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string_view>

#include "standard_streams.h"

namespace tools {

// Prints at once. 0, or the errno of what failed.
inline int print(std::string_view text) {
  errno = 0;
  const bool done =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return done ? 0 : errno != 0 ? errno : EIO;
}

// How a program ends: with `status`, or where all went well but not all could be printed, with `unprinted`.
// Says why: `failure` is what print() returned, or 0; what std::cout holds is written here.
inline int status_once_printed(const char* program, int status, int unprinted, int failure = 0) {
  const bool failed_before = failure != 0 || std::ferror(stdout) != 0;
  const int last = print({});
  if (!failed_before && last == 0) return status;
  say("{}: write to stdout: {}\n", program, std::strerror(failure != 0 ? failure : last != 0 ? last : EIO));
  return status == 0 ? unprinted : status;
}

// The exit status of --help and --version, which are printed here. `app` is a CLI::App.
template <class App, class Success>
int print_help(const App& app, const Success& asked, const char* program, int unprinted) {
  std::ostringstream text;
  const int status = app.exit(asked, text);
  return status_once_printed(program, status, unprinted, print(text.str()));
}

}  // namespace tools
