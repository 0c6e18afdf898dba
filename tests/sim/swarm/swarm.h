// A swarm in fast motion: peers that download one task piece by piece, over fluid links, told by a tracker.
//
//   auto result = run({.peers = 10000, .bytes = 10 * kGiB, .client = Client::kRust, .policy =
//   Policy::kBrain}, seed); result.makespan, result.bound, result.origin_bytes ...
//
// The clients are models of two programs: an unmodified Dragonfly dfdaemon, and d7y's own. What is modelled
// of them, and what is not, stands at the top of rust_client.cc and d7y_client.cc. Same scenario and seed,
// same run.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/swarm/links.h"

namespace d7y::sim::swarm {

inline constexpr double kMiB = 1 << 20, kGiB = 1 << 30;

enum class Client : std::uint8_t { kRust, kD7y, kMesh, kTree };
enum class Policy : std::uint8_t { kBrain, kDragonfly, kRegular, kTree };
std::string_view name_of(Client client);
std::string_view name_of(Policy policy);

struct Scenario {
  std::string name;
  std::uint32_t peers = 1000;
  double bytes = kGiB;
  double piece = 0;  // bytes; 0: as clients reckon it, a power of two of 4 to 64 MiB
  Client client = Client::kD7y;
  Policy policy = Policy::kBrain;
  double rust_share = 0;  // of the peers that are unmodified Dragonfly clients, whatever `client` says
  std::uint32_t seeds = 1;
  bool deals = true;     // seeds are d7y's: they deal their pieces out among their children
  bool warm = true;      // the first seed has everything before anyone asks
  double rate = 1.25e9;  // bytes per second, up and down, of hosts
  double seed_rate = 0;  // of seeds; 0: as all hosts
  double origin_rate = 12.5e9;
  Seconds origin_delay = 0.05;  // of each answer of the origin
  Seconds arrival = 1;          // peers come evenly within this time
  Seconds delay = 0.001;        // of a message, one way, within a site
  std::uint32_t sites = 1;
  Seconds site_delay = 0.02;  // between sites
  double slow_share = 0;      // of hosts that are `slow_factor` times slower
  double slow_factor = 10;
  bool says_uplink = true;  // hosts announce how fast their uplink is
  double lying_share = 0;   // of hosts whose pieces are wrong
  double crash_share = 0;   // of hosts that vanish, evenly within [crash_from, crash_to] x bound
  double crash_from = 0.3, crash_to = 0.7;
  bool silent_crash = false;  // nobody is told; else connections break
  std::uint32_t degree = 10;  // of the regular graph
  std::uint32_t arity = 2;    // of the tree
  Seconds give_up = 0;        // 0: 20 x bound + 600 s
  double pauses = 0;          // a minute in which a host stands still, for up to a second each time
  bool check = false;         // the brain's books after each event
};

struct Result {
  Seconds bound = 0;     // nobody can do it faster
  Seconds makespan = 0;  // until the last of those who live
  Seconds median = 0, p99 = 0;
  Seconds rust_makespan = 0;                                // of unmodified clients among others
  Seconds fast_makespan = 0;                                // of hosts that are not slow
  Seconds first_parents_median = 0, first_parents_p99 = 0;  // from registration to the first answer
  double origin_bytes = 0, cross_site_bytes = 0, peer_bytes = 0;
  std::uint32_t done = 0, crashed = 0, failed = 0, unfinished = 0;
  std::uint32_t to_source = 0;  // peers that were sent or fell back to the origin
  std::uint32_t most_children = 0;
  std::uint32_t responses = 0, reschedules = 0, piece_failures = 0, offers = 0;
  Seconds injected = 0;             // when the last piece first reached a peer
  double seed_bytes = 0;            // sent by seeds
  std::vector<float> use;           // share of all uplinks in use, sampled each twentieth of the bound
  double brain_cpu = 0;             // seconds in the tracker
  double cpu = 0;                   // of the whole run
  std::string broken;               // an invariant that did not hold
  std::vector<float> finish_times;  // sorted
};

Result run(const Scenario& scenario, std::uint64_t seed);

}  // namespace d7y::sim::swarm
