// A whole cluster of the real code in one process: an origin, schedulers, seeds and peers, each on a
// simulated machine of its own.
//
//   sim::Cluster cluster(seed);
//   auto& file = cluster.origin().serve("/model.bin", sim::random_bytes(32_MiB));
//   cluster.add_scheduler();
//   cluster.add_seed();
//   auto peers = cluster.add_peers(10);
//   cluster.start();
//   auto fetches = cluster.fetch_everywhere(peers, "/model.bin");
//   REQUIRE(cluster.wait(fetches, 60s));
//   for (auto& fetch : fetches) CHECK(fetch->right());
//   CHECK(cluster.origin().body_bytes() <= 32_MiB * 1.02);
//
// Machines can be killed, cut off, slowed down and started again at any moment of it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "node/node.h"
#include "scheduler/node.h"
#include "sim/origin.h"
#include "sim/simulation.h"

namespace d7y::sim {

class Cluster;
class Peer;

struct FetchOptions {
  std::string output;  // empty: "/out/<number>"
  std::string digest;
  std::uint64_t piece_length = 0;                                // 0: by the length of the content
  std::optional<std::pair<std::uint64_t, std::uint64_t>> range;  // offset, length
  Duration timeout = std::chrono::seconds(120);
  bool overwrite = false;
  bool disable_back_to_source = false;
  std::string authorization;  // for the origin alone
  bool read = false;          // reads the bytes as they arrive, as a proxy's client does; no output then
  bool leave =
      false;  // with `read`: goes with the last byte, as a proxy's client does, not waiting for the end
  std::string task;  // a persistent-cache task, by its id; its content is what the origin has under the path
};

// One download on one peer, and what became of it. Outlives a crash of the peer.
struct Fetch {
  Peer* peer = nullptr;
  std::string path, output;
  bool begun = false, over = false;  // a crash leaves it not over
  std::optional<Error> failure;
  fetch::Progress progress;
  TimePoint began{}, ended{};
  std::shared_ptr<const std::string> expected;  // what the origin had when it began
  std::uint64_t boot = 0;                       // of the peer's machine
  bool equal = false;                           // the output held just that when it ended
  std::string bytes;                            // what was read, with FetchOptions::read
  bool read_to_end = false;                     // and its end was told

  bool ok() const { return over && !failure; }
  // It ended well and the output held exactly the origin's bytes.
  bool right() const { return ok() && equal; }
  // Its process is gone, so it will never be over.
  bool crashed() const;
  // How it ended, in a word, for messages.
  std::string verdict() const;
};
using FetchPtr = std::shared_ptr<Fetch>;

// One file made into a persistent-cache task by one peer. Outlives a crash of the peer.
struct Import {
  Peer* peer = nullptr;
  std::string task;  // its id, when it is over and has not failed
  bool over = false;
  std::optional<Error> failure;
  TimePoint began{}, ended{};
  std::uint64_t boot = 0;

  bool ok() const { return over && !failure; }
  bool crashed() const;
};
using ImportPtr = std::shared_ptr<Import>;

// A real node on a simulated host.
class Peer {
 public:
  Peer(Cluster& cluster, Host& host, node::DaemonConfig config);

  Host& host() { return host_; }
  node::Node* node() { return node_; }     // null while it is not open
  Metrics* metrics() { return metrics_; }  // its node's; likewise
  node::DaemonConfig& config() { return config_; }
  fetch::EngineOptions& engine() { return engine_; }                // for the next start
  const std::optional<Error>& failure() const { return failure_; }  // why it could not open

  void start();  // on a running host
  // Drains and closes the node, as SIGTERM does; run the simulation until stopped().
  void stop() {
    stopping_.notify_all();
    stop_ = true;
  }
  bool stopping() const { return stop_ && !stopped_; }
  bool stopped() const { return stopped_; }
  void kill();       // host().kill()
  void power_off();  // host().power_off()
  void restart();    // host().start() and start()

  FetchPtr fetch(const std::string& path, FetchOptions options = {});
  // Of a file on this machine; the cluster keeps so many copies of it.
  ImportPtr import(const std::string& path, std::uint32_t copies,
                   Duration timeout = std::chrono::seconds(120));
  // Gives up the fetch, as a caller who hangs up does.
  void cancel(const FetchPtr& fetch);

 private:
  Task<void> live();
  void give_up(Fetch* fetch, ErrorCode code, std::string_view why);
  Task<void> run_fetch(FetchPtr fetch, FetchOptions options);
  Task<void> run_import(ImportPtr import, api::dfdaemon::UploadPersistentCacheTaskRequest request);
  Task<Result<void>> work(Fetch& fetch, FetchOptions options);

  Cluster& cluster_;
  Host& host_;
  node::DaemonConfig config_;
  fetch::EngineOptions engine_;
  node::Node* node_ = nullptr;
  Metrics* metrics_ = nullptr;
  std::optional<Error> failure_;
  bool stop_ = false, stopped_ = false;
  Signal opened_, stopping_;
  std::map<Fetch*, std::shared_ptr<Scope>> scopes_;
  int outputs_ = 0;
};

class Cluster {
 public:
  explicit Cluster(std::uint64_t seed, SimulationOptions options = {});
  ~Cluster();

  Simulation& sim() { return sim_; }
  Origin& origin() { return *origin_; }

  Host& add_scheduler(scheduler::SchedulerConfig config = {});
  Peer& add_seed(HostOptions host = {});
  Peer& add_peer(HostOptions host = {});
  std::vector<Peer*> add_peers(std::size_t count, HostOptions host = {});
  std::vector<Host*> schedulers() { return schedulers_; }
  // Null while it does not run.
  scheduler::SchedulerNode* scheduler(Host& host) { return running_schedulers_[&host]; }
  const std::vector<std::unique_ptr<Peer>>& peers() const { return peers_; }
  void start_scheduler(Host& host);
  // Starts everything; peers know the schedulers added so far. Seeds come first, as in life.
  void start(Duration settle = std::chrono::seconds(2));

  std::vector<FetchPtr> fetch_everywhere(const std::vector<Peer*>& peers, const std::string& path,
                                         const FetchOptions& options = {});
  // Runs until all are over or cannot become so (their machines are down); false at the limit.
  bool wait(const std::vector<FetchPtr>& fetches, Duration limit);
  void run_for(Duration time) { sim_.run_for(time); }

  // Stops all peers properly and says what they left behind; empty when nothing.
  std::string shut_down();

 private:
  friend class Peer;
  Peer& add(HostOptions host, bool seed);
  Task<void> run_scheduler(Host& host, scheduler::SchedulerConfig config);

  Simulation sim_;
  std::unique_ptr<Origin> origin_;
  std::vector<Host*> schedulers_;
  std::map<Host*, scheduler::SchedulerConfig> scheduler_configs_;
  std::map<Host*, scheduler::SchedulerNode*> running_schedulers_;
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace d7y::sim
