// One simulated machine: a World for the code that runs on it, and the levers that tests pull.
//
//   Host& host = sim.add_host({.name = "peer-1", .uplink = 125'000'000});
//   host.spawn(serve(host));               // owned by the host: ends when the host crashes
//   host.power_off();                      // unsynced bytes are gone, nobody answers
//   host.start();                          // up again, with the disk as it survived
//   host.spawn(serve(host));
//
// Each host has its own loop on the simulation's one clock, so it can be paused alone, and what it
// leaves behind (timers, tasks, files, streams) can be counted alone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/scope.h"
#include "sim/disk.h"
#include "sim/fabric.h"
#include "sim/host_network.h"
#include "sim/host_receiver.h"
#include "sim/rng.h"
#include "world/world.h"

namespace d7y::sim {

class Simulation;

struct HostOptions {
  std::string name;                    // empty: "h<number>"
  std::vector<Address> addresses;      // port 0; empty: one of 10.0.0.0/8
  std::uint64_t uplink = 125'000'000;  // bytes per second (1 Gbit/s); 0: infinitely fast
  std::uint64_t downlink = 125'000'000;
  DiskOptions disk;
  std::uint32_t cpus = 4;
  std::size_t descriptors = 65536;  // open files, streams and listeners together
  bool receives = false;            // has a Receiver for fast streams
  world::Receiver::Terms terms;     // of that
};

class Host final : public world::World {
 public:
  Host(Simulation& simulation, std::uint32_t id, HostOptions options, std::uint64_t seed);
  ~Host() override;

  // ---- The world, as the code on this host sees it. ----
  Loop& loop() override { return loop_; }
  WallTime wall_now() override;
  std::uint64_t random() override { return random_.next(); }
  world::Network& network() override { return network_; }
  world::Files& files() override { return disk_.files(); }
  world::Receiver* receiver() override { return options_.receives ? &receiver_ : nullptr; }
  world::MachineFacts machine() override;
  world::MachineLoad load() override;
  Task<void> offload(std::function<void()> work) override;
  void post(std::function<void()> work) override;

  // ---- What tests use. ----
  const std::string& name() const { return options_.name; }
  std::uint32_t id() const { return id_; }  // from 1
  const std::vector<Address>& addresses() const { return options_.addresses; }
  Address address(std::uint16_t port) const { return options_.addresses.front().with_port(port); }
  Disk& disk() { return disk_; }
  Simulation& simulation() { return simulation_; }
  Log log() { return Log(log_, "host"); }
  LogSink& log_sink() { return log_; }

  // Runs a task that belongs to this host: a crash destroys it.
  void spawn(Task<void> task);
  std::size_t tasks() const { return scope_ ? scope_->size() : 0; }

  // kill -9: the kernel stays. It closes the sockets (FIN, or RST over unread bytes) and keeps all
  // files as they were. The host's tasks are destroyed; whatever their destructors do to files and
  // streams has no effect.
  void kill();
  // The plug is pulled: others hear nothing, and the disk keeps what was synced plus some of the rest.
  void power_off();
  // The machine is ready again after kill() or power_off(). The test spawns what runs on it.
  void start();
  bool running() const { return running_; }
  bool has_power() const { return powered_; }

  // SIGSTOP: its tasks stand still, the kernel still takes what arrives. resume() undoes it.
  void pause();
  void resume();
  // Keeps the loop busy for so long (a blocking call, a slow computation).
  void burn(Duration time);
  void shift_clock(Duration by) { wall_shift_ += by; }  // jumps the time of day
  void set_load(const world::MachineLoad& load) { load_ = load; }
  void set_bandwidth(std::uint64_t uplink, std::uint64_t downlink);
  void limit_descriptors(std::size_t most) { options_.descriptors = most; }

  // What is still held: open files, streams, listeners, timers, tasks. Empty when nothing is.
  std::string leaks() const;

  std::uint64_t sent_bytes() const { return uplink_.bytes(); }
  std::uint64_t received_bytes() const { return downlink_.bytes(); }

  // ---- Used by the simulator. ----
  bool runnable() const;
  Link& uplink() { return uplink_; }
  Link& downlink() { return downlink_; }
  Link& loopback() { return loopback_; }
  Fabric& fabric();
  bool owns(const Address& ip) const;
  std::set<SimStream*>& streams() { return streams_; }
  std::multimap<Address, SimListener*>& listeners() { return listeners_; }
  SimListener* listener_for(const Address& to);
  bool take_port(const Address& local) { return ports_.insert(local).second; }
  void release_port(const Address& local) { ports_.erase(local); }
  std::uint16_t free_port(const Address& ip);
  bool has_descriptors() const;
  std::uint64_t boot() const { return boot_; }
  void in_turn(bool yes) { in_turn_ = yes; }

 private:
  class Sink final : public LogSink {
   public:
    explicit Sink(Host& host) : host_(host) {}
    bool wants(LogLevel) const override;
    void write(LogLevel level, std::string_view room, std::string_view message) override;

   private:
    Host& host_;
  };
  class Posted final : public Event {
   public:
    explicit Posted(Host& host) : host_(host) {}
    void make_ready() { host_.loop_.make_ready(*this); }

   private:
    void fire() override;
    Host& host_;
  };
  class Offloaded;

  void stop_running(bool power);
  void finish_crash();
  bool inside() const;  // called from one of this host's own events

  Simulation& simulation_;
  std::uint32_t id_;
  HostOptions options_;
  Random random_;
  Loop loop_;
  Sink log_{*this};
  Disk disk_;
  HostNetwork network_{*this};
  HostReceiver receiver_{*this, options_.terms};
  Link uplink_, downlink_, loopback_;
  std::set<SimStream*> streams_;
  std::multimap<Address, SimListener*> listeners_;
  std::set<Address> ports_;
  std::uint16_t next_port_;
  Duration wall_shift_{};
  world::MachineLoad load_;
  TimePoint busy_until_{};
  std::uint64_t boot_ = 1;
  bool in_turn_ = false;
  bool running_ = true, powered_ = true, paused_ = false, crashing_ = false, lost_power_ = false;
  Posted posted_{*this};
  std::vector<std::function<void()>> posts_;
  std::map<std::uint64_t, std::shared_ptr<Offloaded>> offloaded_;
  std::uint64_t next_offloaded_ = 0;
  std::unique_ptr<Scope> scope_;
};

}  // namespace d7y::sim
