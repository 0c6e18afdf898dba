// The world: time, randomness, network, files. Everything a node gets from outside itself comes
// through these interfaces, so that the same code runs on libuv and on a seeded simulator.
//
// One World serves one loop and is used on its thread only, except post(). Production: make_uv_world
// in uv_world.h. Simulation: tests/sim.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/loop.h"
#include "base/task.h"
#include "world/files.h"
#include "world/network.h"
#include "world/receiver.h"

namespace d7y::world {

// What the machine looks like, for announcements and for sizing things. Unknown numbers are 0.
struct MachineFacts {
  std::string hostname;
  std::string os, platform, platform_family, platform_version, kernel_version;
  std::uint32_t logical_cpus = 0, physical_cpus = 0;
};

// How busy the machine (or the cgroup that limits us) and this process are, since the previous call.
struct MachineLoad {
  double cpu_percent = 0;          // 0..100 of all processors together
  double process_cpu_percent = 0;  // 100 is one processor
  std::uint64_t memory_total = 0, memory_available = 0, memory_used = 0, memory_free = 0;  // bytes
  double process_memory_percent = 0;
  std::uint64_t process_resident = 0;  // bytes
};

class World {
 public:
  virtual ~World() = default;

  virtual Loop& loop() = 0;
  TimePoint now() { return loop().now(); }
  // Time of day; may jump.
  virtual WallTime wall_now() = 0;

  // Uniform random bits, good enough for ids, jitter and shuffling. Cryptographic keys come from
  // BoringSSL, not from here.
  virtual std::uint64_t random() = 0;

  virtual Network& network() = 0;
  virtual Files& files() = 0;

  // Receives fast streams on other threads; null where there is none to be had.
  virtual Receiver* receiver() { return nullptr; }

  virtual MachineFacts machine() = 0;
  virtual MachineLoad load() = 0;

  // Runs `work` where it may block or burn a core for long (fsync, hashing of whole files,
  // unlinking of big ones), and comes back when it is done. `work` must own all it touches: when the
  // awaiting task is cancelled, the work still runs to its end.
  virtual Task<void> offload(std::function<void()> work) = 0;

  // Runs `work` on this world's loop soon. The only member that other threads may call.
  virtual void post(std::function<void()> work) = 0;
};

}  // namespace d7y::world
