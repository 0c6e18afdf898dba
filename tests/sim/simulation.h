// A world of many machines in one thread, with a clock that jumps from event to event. The same
// seed gives the same run, bit for bit; fingerprint() proves it.
//
//   for (auto seed : sim::seeds(100)) {
//     CAPTURE(seed);
//     sim::Simulation sim(seed);
//     auto& server = sim.add_host({.name = "server"});
//     auto& client = sim.add_host({.name = "client"});
//     server.spawn(serve(server));
//     auto result = sim.run(fetch(client, server.address(80)), 60s);
//     CHECK(result.ok());
//     CHECK(sim.leaks() == "");
//   }
//
// A failing seed is replayed with D7Y_SIM_SEED=<seed> and, to see it, D7Y_SIM_TRACE=1.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/loop.h"
#include "base/scope.h"
#include "sim/disk.h"
#include "sim/fabric.h"
#include "sim/host.h"
#include "sim/rng.h"
#include "sim/timeline.h"

namespace d7y::sim {

struct SimulationOptions {
  FabricOptions fabric;
  WallTime start = WallTime(std::chrono::seconds(1'800'000'000));
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed, SimulationOptions options = {});
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  std::uint64_t seed() const { return seed_; }
  Host& add_host(HostOptions options = {});
  std::vector<std::unique_ptr<Host>>& hosts() { return hosts_; }
  Fabric& fabric() { return fabric_; }
  Timeline& timeline() { return timeline_; }
  Random& random() { return random_; }

  // The conductor's loop: tasks given to run() live here, outside all hosts, and never crash.
  Loop& loop() { return loop_; }
  TimePoint now() const { return loop_.now(); }
  WallTime wall_now() const { return options_.start + loop_.now().time_since_epoch(); }

  // Runs until `task` has ended (true); or `limit` of virtual time has passed, or nothing is left
  // that could ever happen (false: the task is cancelled).
  bool run(Task<void> task, Duration limit);
  // The same with a result: kTimeout where the above is false.
  template <class T>
  Result<T> run(Task<Result<T>> task, Duration limit) {
    std::optional<Result<T>> result;
    if (!run(keep(std::move(task), result), limit)) {
      return error(ErrorCode::kTimeout, "the simulated task did not end: {}", stuck_);
    }
    return std::move(*result);
  }
  // Runs everything for `time`.
  void run_for(Duration time);
  // Runs until `done` holds after some event (true), or `limit` has passed (false).
  bool run_until(const std::function<bool()>& done, Duration limit);

  // Changes with everything that happens: equal after equal runs.
  std::uint64_t fingerprint() const { return timeline_.fingerprint(); }
  // What hosts still hold, one line each; empty when nothing.
  std::string leaks() const;

  // ---- Used by the simulator. ----
  PageStore& pages() { return pages_; }
  void check_thread() const;  // ends the program when called from another thread

 private:
  template <class T>
  static Task<void> keep(Task<Result<T>> task, std::optional<Result<T>>& result) {
    result.emplace(co_await task);
  }
  bool turn(const std::function<bool()>& done);  // all that is ready now; true once done
  TimePoint next() const;

  std::uint64_t seed_;
  SimulationOptions options_;
  Loop loop_;
  Timeline timeline_{loop_};
  Random random_;
  PageStore pages_;
  Fabric fabric_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::string stuck_;
  std::thread::id thread_ = std::this_thread::get_id();
};

}  // namespace d7y::sim
