// Who tells the peers of a simulated swarm where to get their pieces: d7y's brain, Dragonfly's policy, or a
// graph that is fixed beforehand. The engine tells it what a scheduler would hear, and hears its answers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/swarm/links.h"

namespace d7y::sim::swarm {

using PeerNumber = std::uint32_t;
using HostNumber = std::uint32_t;

struct HostSpec {
  bool seed = false;
  std::uint32_t site = 0;
  double up = 0, down = 0;  // bytes per second
};

struct PeerSpec {
  HostNumber host = 0;
  bool need_back_to_source = false, takes_offers = false;  // the latter: it is d7y's
};

struct TaskSpec {
  double bytes = 0, piece = 0;
  std::uint32_t pieces = 0;
};

// What a tracker may say; the engine delivers it with the network's delay.
class Answers {
 public:
  virtual ~Answers() = default;
  virtual void parents(PeerNumber peer, const std::vector<PeerNumber>& parents) = 0;
  // The seed deals its pieces out to this peer, which will hear of it as a parent, and others.
  virtual void deal(PeerNumber seed, PeerNumber peer, bool later) = 0;
  virtual void back_to_source(PeerNumber peer) = 0;
  virtual void refused(PeerNumber peer) = 0;  // the stream ended with an error
  // The seed shall download the task, from the origin or from other peers.
  virtual void trigger(HostNumber seed, std::uint32_t attempt, bool from_peers) = 0;
  virtual void wake_at(Seconds when) = 0;  // calls tick() then
};

class Tracker {
 public:
  virtual ~Tracker() = default;
  virtual std::string name() const = 0;
  virtual void add_host(HostNumber host, const HostSpec& spec, Seconds now) = 0;
  virtual void register_peer(PeerNumber peer, const PeerSpec& spec, Seconds now) = 0;
  virtual void started(PeerNumber peer, Seconds now) = 0;
  virtual void back_to_source_started(PeerNumber peer, Seconds now) = 0;
  virtual void reschedule(PeerNumber peer, const std::vector<PeerNumber>& had, Seconds now) = 0;
  virtual void piece_finished(PeerNumber peer, PeerNumber parent, std::uint32_t piece, double bytes,
                              Seconds cost, Seconds now) = 0;
  virtual void source_piece_finished(PeerNumber peer, std::uint32_t piece, double bytes, Seconds now) = 0;
  virtual void piece_failed(PeerNumber peer, PeerNumber parent, std::uint32_t piece, Seconds now) = 0;
  virtual void finished(PeerNumber peer, bool from_source, Seconds now) = 0;
  virtual void failed(PeerNumber peer, Seconds now) = 0;
  virtual void lost(PeerNumber peer, Seconds now) = 0;
  virtual void tick(Seconds now) = 0;
  // Empty, or what does not hold.
  virtual std::string check(Seconds) const { return {}; }
  virtual double cpu_seconds() const { return 0; }
};

// lib/scheduler's brain; `check_each`: count all books after each event.
std::unique_ptr<Tracker> brain_tracker(Answers& answers, const TaskSpec& task, std::uint64_t seed,
                                       bool check_each);
// The Go scheduler's rules (default evaluator, 4 and 5 tries 500 ms apart, 15 sampled, 3 given).
std::unique_ptr<Tracker> dragonfly_tracker(Answers& answers, const TaskSpec& task, std::uint64_t seed);
// A random regular graph of `degree`, both directions; the seed is one of its vertices.
std::unique_ptr<Tracker> regular_tracker(Answers& answers, std::uint32_t peers, std::uint32_t degree,
                                         std::uint64_t seed);
// Each peer has one parent and `arity` children.
std::unique_ptr<Tracker> tree_tracker(Answers& answers, std::uint32_t arity);

}  // namespace d7y::sim::swarm
