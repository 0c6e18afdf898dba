// What simulated swarms have to say: a table, plots in text, plots in SVG.
#pragma once

#include <string>
#include <vector>

#include "sim/swarm/swarm.h"

namespace d7y::sim::swarm {

// One scenario and what came of it, with one or more random seeds.
struct Case {
  std::string name;
  Scenario scenario;
  std::vector<Result> results;

  // That with the median makespan.
  const Result& median() const;
};

// What is simulated, and the time that nobody can beat; of a case with results.
std::string headline(const Case& one);
// A line for each case: medians, and the range of the makespan where there are several random seeds.
std::string table(const std::vector<Case>& cases);
// How many peers have everything and how much of all uplinks is in use, over time.
std::string plot(const Case& one);
// The same for all cases, as a picture.
std::string svg(const std::vector<Case>& cases);

}  // namespace d7y::sim::swarm
