// `d7yd runtime`: points containerd, Docker, CRI-O or Podman at d7yd's proxy, and takes it back.
#pragma once

namespace tools::runtime {

// `argv[0]` is the word "runtime". Returns the exit status.
int run(int argc, char** argv);

}  // namespace tools::runtime
