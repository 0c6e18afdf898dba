// Swarms in fast motion (swarm.h), as a command.
//
//   swarm --peers 1000 --size 10GiB                         d7ysched with d7y's clients
//   swarm --peers 400 --compare --svg swarm.svg             beside Dragonfly's rules, a regular graph and a
//   tree swarm --peers 400 --client dfdaemon --random-seeds 5    medians and ranges
//
// The exit code is 0 if everyone who lived had everything at the end.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/config_tree.h"
#include "sim/swarm/report.h"

using namespace d7y::sim::swarm;

namespace {

const std::map<std::string, Client> kClients = {
    {"d7y", Client::kD7y}, {"dfdaemon", Client::kRust}, {"mesh", Client::kMesh}, {"tree", Client::kTree}};
const std::map<std::string, Policy> kPolicies = {{"d7ysched", Policy::kBrain},
                                                 {"dragonfly", Policy::kDragonfly},
                                                 {"regular", Policy::kRegular},
                                                 {"tree", Policy::kTree}};

// Each policy with the client that it is made for.
constexpr struct {
  const char* name;
  Policy policy;
  Client client;
} kCompared[] = {
    {"d7ysched, d7y", Policy::kBrain, Client::kD7y},
    {"d7ysched, dfdaemon", Policy::kBrain, Client::kRust},
    {"Dragonfly's rules, dfdaemon", Policy::kDragonfly, Client::kRust},
    {"regular graph, rarest first", Policy::kRegular, Client::kMesh},
    {"tree", Policy::kTree, Client::kTree},
};

template <class Value>
std::vector<std::string> names_of(const std::map<std::string, Value>& all) {
  std::vector<std::string> names;
  for (const auto& [name, value] : all) names.push_back(name);
  return names;
}

struct Options {
  Scenario scenario;
  std::string size = "10GiB", piece = "0", svg;
  double gbit = 1, seed_gbit = 0;
  std::string client = "d7y", policy = "d7ysched";
  bool mute = false, compare = false, cold = false, rust_seeds = false;
  std::uint64_t first_seed = 1;
  std::uint32_t random_seeds = 1;
};

void declare(CLI::App& app, Options& options) {
  auto& s = options.scenario;
  const auto share = CLI::Range(0.0, 1.0);
  app.add_option("--peers", s.peers, "who want the content")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--size", options.size, "of the content")->capture_default_str();
  app.add_option("--piece", options.piece, "length of a piece; 0: as clients reckon it")
      ->capture_default_str();
  app.add_option("--client", options.client, "dfdaemon is unmodified, mesh rarest first, tree in order")
      ->capture_default_str()
      ->check(CLI::IsMember(names_of(kClients)));
  app.add_option("--policy", options.policy, "d7ysched is the real brain, dragonfly its rules")
      ->capture_default_str()
      ->check(CLI::IsMember(names_of(kPolicies)));
  app.add_flag("--compare", options.compare, "all policies, each with the client that it is made for");
  app.add_option("--unmodified", s.rust_share, "share of dfdaemons, whatever the client is")->check(share);
  app.add_option("--arrival", s.arrival, "seconds within which all peers come")->capture_default_str();
  app.add_option("--gbit", options.gbit, "of each link, up and down, in Gbit/s")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--seed-gbit", options.seed_gbit, "of seeds' links; 0: as all");
  app.add_option("--seeds", s.seeds, "seed peers")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_flag("--cold", options.cold, "no seed has the content yet");
  app.add_flag("--dfdaemon-seeds", options.rust_seeds, "seeds are unmodified: they deal nothing out");
  app.add_option("--origin-delay", s.origin_delay, "seconds until the origin answers")->capture_default_str();
  app.add_option("--sites", s.sites, "into which peers fall by chance")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--site-delay", s.site_delay, "seconds between sites, one way")->capture_default_str();
  app.add_option("--slow", s.slow_share, "share of peers with slow links")->check(share);
  app.add_option("--slow-factor", s.slow_factor, "how many times slower")->capture_default_str();
  app.add_flag("--mute", options.mute, "hosts do not say how fast their uplink is");
  app.add_option("--crash", s.crash_share, "share of peers that crash on the way")->check(share);
  app.add_flag("--silent", s.silent_crash, "nobody is told of a crash");
  app.add_option("--lying", s.lying_share, "share of peers that send wrong bytes")->check(share);
  app.add_option("--degree", s.degree, "of the regular graph")->capture_default_str();
  app.add_option("--arity", s.arity, "of the tree")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--pauses", s.pauses, "how often a minute each host stands still, up to a second each time");
  app.add_flag("--check", s.check, "count the brain's books after each event (slow)");
  app.add_option("--random-seeds", options.random_seeds, "runs of each; medians are told")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  app.add_option("--seed", options.first_seed, "the first random seed")->capture_default_str();
  app.add_option("--svg", options.svg, "draw a picture into this file");
}

double size_of(const std::string& option, const std::string& text) {
  const auto size = d7y::parse_size(text);
  if (!size) throw CLI::ValidationError(option, size.error().message());
  return static_cast<double>(*size);
}

// From what was said on the command line.
std::vector<Case> cases_of(const Options& options) {
  auto scenario = options.scenario;
  scenario.bytes = size_of("--size", options.size);
  if (scenario.bytes < 1) throw CLI::ValidationError("--size", "nothing to distribute");
  scenario.piece = size_of("--piece", options.piece);
  scenario.rate = options.gbit * 1e9 / 8;
  scenario.seed_rate = options.seed_gbit * 1e9 / 8;
  scenario.warm = !options.cold;
  scenario.says_uplink = !options.mute;
  scenario.deals = !options.rust_seeds;
  std::vector<Case> cases;
  if (options.compare) {
    for (const auto& one : kCompared) {
      auto& made = cases.emplace_back(Case{one.name, scenario, {}});
      made.scenario.policy = one.policy;
      made.scenario.client = one.client;
    }
  } else {
    scenario.client = kClients.at(options.client);
    scenario.policy = kPolicies.at(options.policy);
    cases.push_back({options.policy + ", " + options.client, scenario, {}});
  }
  return cases;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Simulated swarms: how long until everyone has everything, by whom, and what it costs.");
  declare(app, options);
  std::vector<Case> cases;
  try {
    app.parse(argc, argv);
    cases = cases_of(options);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }

  bool whole = true;
  double cpu = 0;
  for (auto& one : cases) {
    for (std::uint64_t i = 0; i < options.random_seeds; ++i) {
      const auto& result = one.results.emplace_back(run(one.scenario, options.first_seed + i));
      whole = whole && result.broken.empty() && result.unfinished == 0;
      cpu += result.cpu;
    }
  }
  std::fputs(headline(cases.front()).c_str(), stdout);
  std::fputs(("\n" + table(cases)).c_str(), stdout);
  if (cases.size() == 1) std::fputs(("\n" + plot(cases.front())).c_str(), stdout);
  std::printf("\nsimulated in %.1f s of CPU\n", cpu);
  if (!options.svg.empty()) {
    std::ofstream file(options.svg);
    file << svg(cases);
    file.close();
    if (!file) {
      std::fprintf(stderr, "swarm: cannot write %s\n", options.svg.c_str());
      return 2;
    }
    std::printf("drawn into %s\n", options.svg.c_str());
  }
  return whole ? 0 : 1;
}
