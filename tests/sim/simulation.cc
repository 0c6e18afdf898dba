#include "sim/simulation.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace d7y::sim {

namespace {
// Rounds of ready work at one moment before we say that the code under test never waits.
constexpr std::uint64_t kLivelock = 200'000;
constexpr std::size_t kBatch = 64;
}  // namespace

Simulation::Simulation(std::uint64_t seed, SimulationOptions options)
    : seed_(seed),
      options_(options),
      random_(mix(seed)),
      fabric_(*this, loop_, timeline_, mix(seed ^ 0xfab), options.fabric) {}

Simulation::~Simulation() {
  // Whoever runs goes first, while everything he may touch is still there.
  for (auto& host : hosts_) host->kill();
}

Host& Simulation::add_host(HostOptions options) {
  auto id = static_cast<std::uint32_t>(hosts_.size() + 1);
  hosts_.push_back(std::make_unique<Host>(*this, id, std::move(options), mix(seed_ ^ (0x405700ULL + id))));
  fabric_.add_host(*hosts_.back());
  return *hosts_.back();
}

void Simulation::check_thread() const {
  if (std::this_thread::get_id() == thread_) return;
  std::fputs("sim: a simulated world was used from another thread\n", stderr);
  std::abort();
}

bool Simulation::turn(const std::function<bool()>& done) {
  for (std::uint64_t round = 0; round < kLivelock; ++round) {
    if (done()) return true;
    bool any = loop_.has_ready();
    if (any) loop_.run_ready(kBatch);
    auto count = hosts_.size();
    // Who comes first is luck, as between real machines.
    auto first = count > 1 ? random_.below(count) : 0;
    for (std::size_t i = 0; i < count; ++i) {
      auto& host = *hosts_[(first + i) % count];
      if (!host.loop().has_ready() || !host.runnable()) continue;
      any = true;
      if (round + 3 > kLivelock) std::fprintf(stderr, "sim: %s is still busy\n", host.name().c_str());
      host.in_turn(true);
      host.loop().run_ready(kBatch);
      host.in_turn(false);
    }
    if (!any) return done();
  }
  std::fprintf(stderr, "sim: the clock stands still at %.9f s while work goes on for ever (seed %llu)\n",
               static_cast<double>(now().time_since_epoch().count()) / 1e9,
               static_cast<unsigned long long>(seed_));
  std::abort();
}

TimePoint Simulation::next() const {
  auto when = loop_.next_timer();
  for (auto& host : hosts_) {
    if (host->runnable()) when = std::min(when, host->loop().next_timer());
  }
  return when;
}

bool Simulation::run_until(const std::function<bool()>& done, Duration limit) {
  auto end = Deadline::in(limit, now()).when();
  stuck_ = fmt::format("{} s of virtual time passed", limit.count() / 1'000'000'000);
  for (;;) {
    if (turn(done)) return true;
    auto when = next();
    if (when == TimePoint::max()) stuck_ = "nothing is left that could happen";
    if (when > end || when == TimePoint::max()) {
      if (end == TimePoint::max()) return false;
      loop_.set_now(end);
      for (auto& host : hosts_) host->loop().set_now(end);
      return false;
    }
    when = std::max(when, now());
    loop_.set_now(when);
    for (auto& host : hosts_) host->loop().set_now(when);
    loop_.fire_timers();
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
      auto& host = *hosts_[i];
      if (host.loop().next_timer() > when || !host.runnable()) continue;
      host.in_turn(true);
      host.loop().fire_timers();
      host.in_turn(false);
    }
  }
}

bool Simulation::run(Task<void> task, Duration limit) {
  Scope scope(loop_);
  scope.spawn(std::move(task));
  return run_until([&] { return scope.size() == 0; }, limit);
}

void Simulation::run_for(Duration time) {
  run_until([] { return false; }, time);
}

std::string Simulation::leaks() const {
  std::string all;
  for (auto& host : hosts_) all += host->leaks();
  return all;
}

}  // namespace d7y::sim
