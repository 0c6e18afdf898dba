// What /proc, /sys and uname tell about the machine and this process.
#pragma once

#include <cstdint>
#include <string>

#include "base/deadline.h"
#include "world/world.h"

namespace d7y::world {

MachineFacts read_machine_facts();

// Measures load between two calls. Inside a cgroup v2 with limits, memory and processors mean its
// share, not the whole machine.
class LoadMeter {
 public:
  LoadMeter();
  MachineLoad measure();

 private:
  struct Sample {
    std::uint64_t busy = 0, total = 0;  // clock ticks of all processors
    Duration process{};                 // processor time of this process
    Duration cgroup{};                  // and of its cgroup
    TimePoint when{};
  };
  Sample sample() const;

  std::string cgroup_;  // folder of our cgroup; empty where there is none
  Sample last_;
};

}  // namespace d7y::world
