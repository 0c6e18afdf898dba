// Where a path of the host lies when the host's / is seen at `root`, as in an init container: symbolic links
// are followed as the host would, so that an absolute one stays below `root`.
#pragma once

#include <string>

namespace tools::runtime {

// `path` is absolute, `root` empty or without a slash at its end. What is not there yet stays as it is named.
// Throws Refusal (kNotEditable) if a link leads to something that is not there or cannot be seen from here:
// what is written in its place would not be what the host reads.
std::string host_path(const std::string& root, const std::string& path);

}  // namespace tools::runtime
