// Standard input, output and error.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>

namespace tools {

// Takes the places of those that are closed, so that no socket or file gets their numbers: what is printed
// would go there, and libuv ends a process that closes them. Output fails as before, what is said is lost.
inline void hold_standard_streams() {
  constexpr int kModes[] = {O_WRONLY, O_RDONLY, O_RDWR};
  for (int number = 0; number <= 2; ++number) {
    if (fcntl(number, F_GETFD) < 0) (void)open("/dev/null", kModes[number]);
  }
}

// Says it on standard error. Where that is full or gone nobody hears it, and that is all: fmt::print()
// throws.
template <class... Parts>
void say(fmt::format_string<Parts...> form, Parts&&... parts) {
  const auto text = fmt::format(form, std::forward<Parts>(parts)...);
  (void)std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace tools
