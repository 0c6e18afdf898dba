// The wires between simulated hosts: who reaches whom, how fast, and under which name.
//
//   sim.fabric().set_link(a, b, {.latency = 40ms, .jitter = 5ms, .loss = 0.001});
//   sim.fabric().partition({&a, &b}, {&c});     // packets vanish; connections stall
//   sim.fabric().heal();
//   sim.fabric().set_name("origin.test", {address}, 3ms);
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "sim/connection.h"
#include "sim/rng.h"
#include "sim/timeline.h"

namespace d7y::sim {

class Simulation;
class SimListener;

// One direction between two hosts.
struct LinkOptions {
  Duration latency = std::chrono::microseconds(250);  // one way
  Duration jitter = std::chrono::microseconds(50);    // up to this much more, at random
  double loss = 0;                                    // of single 1448-byte packets
};

struct FabricOptions {
  LinkOptions link;  // between hosts that have no link of their own
  std::size_t segment = 64_KiB;
  std::size_t send_buffer = 256_KiB, receive_buffer = 2_MiB;
  // Probability that a read or write moves fewer bytes than it could, or that a segment is split.
  double chop = 1.0 / 64;
};

// A line with a fixed rate, shared round robin by the pipes that have something to move.
class Link final : public Timer {
 public:
  enum class Stage : std::uint8_t { kSend, kReceive };
  // `rate` in bytes per second; 0: infinitely fast.
  Link(Fabric& fabric, Stage stage, std::uint64_t rate) : fabric_(fabric), stage_(stage), rate_(rate) {}

  // `side`'s pipe of `connection` has something to move.
  void add(Connection& connection, int side);
  void set_rate(std::uint64_t rate) { rate_ = rate; }
  std::uint64_t rate() const { return rate_; }
  std::uint64_t bytes() const { return bytes_; }  // payload that has passed

 private:
  struct Turn {
    std::shared_ptr<Connection> connection;
    int side = 0;
  };
  void fire() override;
  void serve();
  bool& member(Turn& turn) const;

  Fabric& fabric_;
  Stage stage_;
  std::uint64_t rate_;
  std::uint64_t bytes_ = 0;
  std::deque<Turn> round_;
  std::optional<Turn> serving_;
  Packet packet_;
};

class Fabric {
 public:
  Fabric(Simulation& simulation, Loop& loop, Timeline& timeline, std::uint64_t seed, FabricOptions options);
  ~Fabric();

  const FabricOptions& options() const { return options_; }
  FabricOptions& options() { return options_; }

  // Both directions between two hosts; set_way for one.
  void set_link(const Host& a, const Host& b, const LinkOptions& link);
  void set_way(const Host& from, const Host& to, const LinkOptions& link);

  // Packets vanish on these ways until they are opened again. Connections stall.
  void block(const Host& from, const Host& to);
  void unblock(const Host& from, const Host& to);
  void partition(const std::vector<Host*>& one, const std::vector<Host*>& other);
  void isolate(const Host& host);  // from everyone but itself
  void rejoin(const Host& host);
  void heal();  // undoes all of the above

  // What `host` resolves to, for everyone. Hosts' own names are known from the start.
  void set_name(const std::string& name, std::vector<Address> addresses,
                Duration delay = std::chrono::milliseconds(1));
  // From now on the name fails with `code` after its delay (kTimeout: never answers).
  void break_name(const std::string& name, ErrorCode code);

  // What `host` sends on connections that others made to its `port` goes through a rewriter of its own each,
  // from now on: a liar, or memory that forgets. Null: honest again, for new connections.
  using Rewrite = std::function<std::string(Bytes)>;
  void rewrite(const Host& host, std::uint16_t port, std::function<Rewrite()> make);

  Host* host_of(const Address& address) const;

  // ---- Used by hosts, streams and connections. ----
  struct Name {
    std::vector<Address> addresses;
    Duration delay{};
    std::optional<ErrorCode> fault;
  };
  const Name* find_name(const std::string& name) const;
  void add_host(Host& host);
  bool open(const Host& from, const Host& to) const;  // nothing blocks the way and `to` has power
  Duration flight_time(const Host& from, const Host& to, std::size_t bytes);
  Duration latency(const Host& from, const Host& to) const;
  Link& link(Connection& connection, int side, Link::Stage stage);

  // Runs `work` after `delay`, in the order of times. Dropped with the fabric.
  void after(Duration delay, std::function<void()> work);

  std::shared_ptr<Connection> connect(Endpoint client, Endpoint server);
  void forget(std::uint64_t connection) { connections_.erase(connection); }
  // Ends of connections on `host`, oldest first.
  std::vector<std::pair<std::shared_ptr<Connection>, int>> ends_on(const Host& host) const;
  std::size_t connections() const { return connections_.size(); }

  Loop& loop() { return loop_; }
  Random& random() { return random_; }
  Timeline& timeline() { return timeline_; }
  Simulation& simulation() { return simulation_; }

 private:
  class Later;
  const LinkOptions& way(const Host& from, const Host& to) const;

  Simulation& simulation_;
  Loop& loop_;
  Timeline& timeline_;
  Random random_;
  FabricOptions options_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, LinkOptions> ways_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> blocked_;
  std::set<std::uint32_t> isolated_;
  std::map<Address, Host*> hosts_;
  std::map<std::string, Name> names_;
  std::map<std::pair<std::uint32_t, std::uint16_t>, std::function<Rewrite()>> rewrites_;
  std::map<std::uint64_t, std::shared_ptr<Connection>> connections_;
  std::uint64_t next_connection_ = 1;
  std::unordered_map<std::uint64_t, std::unique_ptr<Later>> later_;
  std::uint64_t next_later_ = 0;
};

}  // namespace d7y::sim
