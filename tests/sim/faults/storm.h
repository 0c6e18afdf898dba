// One simulated cluster of fifty real nodes in bad weather, all of it from one seed.
//
//   StormReport report = run_storm({.seed = 17});
//   for (auto& what : report.broken) std::puts(what.c_str());     // nothing, if all is well
//
// The seed chooses contents, who downloads what, when and how, which kinds of faults there are, and when they
// strike. Some seconds later the weather clears (most machines come back), and whoever asks then must get it.
// At the end the promises are looked at: see `broken`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace d7y::sim {

struct StormOptions {
  std::uint64_t seed = 1;
  std::size_t nodes = 52;  // schedulers, seeds and peers together
  bool timeline = false;   // fill StormReport::timeline
};

struct StormReport {
  std::uint64_t seed = 0;
  // Broken promises, one sentence each:
  //  - a download ended by its deadline, in the right bytes or with a clear error and nothing left behind;
  //  - no wrong bytes are in any store as a complete piece, in any output, or in a response that ended well;
  //  - pieces that were complete survive a killed process, those before a sync point a power failure;
  //  - nothing is held in the end: tasks, streams, files, pins, schedulers' slots;
  //  - the origin is read no more often than the faults explain, and never for those who may not ask it.
  std::vector<std::string> broken;
  std::string weather;  // kinds of faults
  std::size_t downloads = 0, right = 0, failed = 0, crashed = 0, cancelled = 0, faults = 0;
  double seconds = 0;  // of virtual time
  std::uint64_t origin_bytes = 0, moved_bytes = 0;
  double origin_use = 0;  // of the times that a content may be read from the origin, for the worst content
  std::uint64_t fingerprint = 0;
  std::string timeline;
};

StormReport run_storm(const StormOptions& options);

}  // namespace d7y::sim
