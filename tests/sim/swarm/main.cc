#include <fmt/format.h>

#include "sim/swarm/swarm.h"

#include <cstdlib>
#include <cstring>
using namespace d7y::sim::swarm;
int main(int argc, char** argv) {
  Scenario s;
  s.rate = 1.25e8;
  std::uint64_t seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string k = argv[i];
    double v = std::atof(argv[i + 1]);
    if (k == "peers") s.peers = static_cast<std::uint32_t>(v);
    if (k == "gib") s.bytes = v * kGiB;
    if (k == "client") s.client = static_cast<Client>(v);
    if (k == "policy") s.policy = static_cast<Policy>(v);
    if (k == "rate") s.rate = v;
    if (k == "srate") s.seed_rate = v;
    if (k == "piece") s.piece = v * kMiB;
    if (k == "deals") s.deals = v != 0;
    if (k == "rust") s.rust_share = v;
    if (k == "warm") s.warm = v != 0;
    if (k == "seeds") s.seeds = static_cast<std::uint32_t>(v);
    if (k == "sites") s.sites = static_cast<std::uint32_t>(v);
    if (k == "slow") s.slow_share = v;
    if (k == "crash") s.crash_share = v;
    if (k == "lying") s.lying_share = v;
    if (k == "odelay") s.origin_delay = v;
    if (k == "check") s.check = v != 0;
    if (k == "degree") s.degree = static_cast<std::uint32_t>(v);
    if (k == "arity") s.arity = static_cast<std::uint32_t>(v);
    if (k == "arrival") s.arrival = v;
    if (k == "seed") seed = static_cast<std::uint64_t>(v);
  }
  auto r = run(s, seed);
  fmt::print("injected {:.2f} seed bytes {:.2f} use", r.injected / r.bound, r.seed_bytes / s.bytes);
  for (auto u : r.use) fmt::print(" {:.0f}", u * 100);
  if (s.rust_share > 0) fmt::print(" | unmodified ones {:.3f}x", r.rust_makespan / r.bound);
  fmt::print("\n");
  fmt::print(
      "{}/{}: bound {:.1f} makespan {:.1f} ({:.3f}x) median {:.1f} p99 {:.1f} fast {:.1f} ({:.3f})| done {} "
      "crashed {} unfinished {} to_source {} | origin {:.3f} cross {:.3f} | first parents {:.3f} {:.3f} | "
      "children {} responses {} resched {} offers {} failures {} | brain cpu {:.2f} cpu {:.2f} {}\n",
      name_of(s.policy), name_of(s.client), r.bound, r.makespan, r.makespan / r.bound, r.median, r.p99,
      r.fast_makespan, r.fast_makespan / r.bound, r.done, r.crashed, r.unfinished, r.to_source,
      r.origin_bytes / s.bytes, r.cross_site_bytes / s.bytes / s.sites, r.first_parents_median,
      r.first_parents_p99, r.most_children, r.responses, r.reschedules, r.offers, r.piece_failures,
      r.brain_cpu, r.cpu, r.broken);
}
