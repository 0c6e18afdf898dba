// Graphs that are fixed beforehand: what a swarm does without anybody who decides.
#include <algorithm>

#include "sim/rng.h"
#include "sim/swarm/tracker.h"

namespace d7y::sim::swarm {
namespace {

// Gives everyone the parents that a graph says, and nothing else ever.
class FixedTracker : public Tracker {
 public:
  FixedTracker(Answers& answers, std::string name) : answers_(answers), name_(std::move(name)) {}
  std::string name() const override { return name_; }
  void add_host(HostNumber host, const HostSpec& spec, Seconds) override {
    if (spec.seed) seeds_ = host + 1;
  }
  void register_peer(PeerNumber peer, const PeerSpec& spec, Seconds) override {
    if (spec.need_back_to_source) return answers_.back_to_source(peer);
    auto parents = parents_of(peer);
    answers_.parents(peer, parents);
  }
  void started(PeerNumber, Seconds) override {}
  void back_to_source_started(PeerNumber, Seconds) override {}
  void reschedule(PeerNumber peer, const std::vector<PeerNumber>&, Seconds) override {
    answers_.back_to_source(peer);
  }
  void piece_finished(PeerNumber, PeerNumber, std::uint32_t, double, Seconds, Seconds) override {}
  void source_piece_finished(PeerNumber, std::uint32_t, double, Seconds) override {}
  void piece_failed(PeerNumber, PeerNumber, std::uint32_t, Seconds) override {}
  void finished(PeerNumber, bool, Seconds) override {}
  void failed(PeerNumber, Seconds) override {}
  void lost(PeerNumber, Seconds) override {}
  void tick(Seconds) override {}

 protected:
  virtual std::vector<PeerNumber> parents_of(PeerNumber peer) const = 0;
  std::uint32_t seeds_ = 0;

 private:
  Answers& answers_;
  std::string name_;
};

class RegularTracker final : public FixedTracker {
 public:
  RegularTracker(Answers& answers, std::uint32_t peers, std::uint32_t degree, std::uint64_t seed)
      : FixedTracker(answers, "regular graph"), neighbours_(peers) {
    // Pairs of stubs at random; pairs that make no sense are left out, so a few vertices have less.
    std::vector<PeerNumber> stubs;
    for (PeerNumber peer = 0; peer < peers; ++peer) stubs.insert(stubs.end(), degree, peer);
    Random random(seed ^ 0x6b72616b656eULL);
    for (std::size_t i = stubs.size(); i > 1; --i) std::swap(stubs[i - 1], stubs[random.below(i)]);
    for (std::size_t i = 0; i + 1 < stubs.size(); i += 2) {
      const auto a = stubs[i], b = stubs[i + 1];
      if (a == b || std::find(neighbours_[a].begin(), neighbours_[a].end(), b) != neighbours_[a].end())
        continue;
      neighbours_[a].push_back(b);
      neighbours_[b].push_back(a);
    }
  }

 private:
  std::vector<PeerNumber> parents_of(PeerNumber peer) const override { return neighbours_[peer]; }
  std::vector<std::vector<PeerNumber>> neighbours_;
};

class TreeTracker final : public FixedTracker {
 public:
  TreeTracker(Answers& answers, std::uint32_t arity) : FixedTracker(answers, "tree"), arity_(arity) {}

 private:
  std::vector<PeerNumber> parents_of(PeerNumber peer) const override {
    const auto place = peer - seeds_ + 1;  // 0 is the seed
    return {place <= arity_ ? 0 : (place - 1) / arity_ + seeds_ - 1};
  }
  std::uint32_t arity_;
};

}  // namespace

std::unique_ptr<Tracker> regular_tracker(Answers& answers, std::uint32_t peers, std::uint32_t degree,
                                         std::uint64_t seed) {
  return std::make_unique<RegularTracker>(answers, peers, degree, seed);
}
std::unique_ptr<Tracker> tree_tracker(Answers& answers, std::uint32_t arity) {
  return std::make_unique<TreeTracker>(answers, arity);
}

}  // namespace d7y::sim::swarm
