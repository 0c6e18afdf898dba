// Dragonfly's scheduler as its facts describe it (Dragonfly scheduler 2 and 3), to compare with: a blind
// delay at registration, 15 peers sampled of all, filters, the default evaluator over assumed loads, 3
// parents, tries about 500 ms apart, the origin after 4 of them; a graph without circles; parents of a round
// are never given again; a broken stream changes nothing.
#include <algorithm>
#include <cmath>
#include <queue>
#include <unordered_set>

#include "sim/rng.h"
#include "sim/swarm/tracker.h"

namespace d7y::sim::swarm {
namespace {

constexpr std::size_t kSampled = 15, kGiven = 3;
constexpr int kTriesToSource = 4;
constexpr double kConcurrentPieces = 8;

class DragonflyTracker final : public Tracker {
 public:
  DragonflyTracker(Answers& answers, const TaskSpec& task, std::uint64_t seed)
      : answers_(answers), task_(task), random_(seed ^ 0xd7a60f1eULL) {}
  std::string name() const override { return "dragonfly"; }

  void add_host(HostNumber host, const HostSpec& spec, Seconds) override {
    if (host >= hosts_.size()) hosts_.resize(host + 1);
    hosts_[host].spec = spec;
    if (spec.seed && seed_ == kNobody) seed_ = host;
  }

  void register_peer(PeerNumber number, const PeerSpec& spec, Seconds now) override {
    if (number >= peers_.size()) peers_.resize(number + 1);
    auto& peer = peers_[number];
    peer.host = spec.host;
    peer.state = State::kReceived;
    peer.blocked.insert(number);
    vertices_.push_back(number);
    if (spec.need_back_to_source) {
      peer.to_source = true;
      return later(number, now);
    }
    if (!task_started_) {
      task_started_ = true;
      answers_.trigger(seed_, 1, false);
    }
    later(number, now + (hosts_[spec.host].spec.seed ? 0 : 0.03 + 0.06 * fraction()));
  }
  void started(PeerNumber number, Seconds) override {
    if (peers_[number].state == State::kReceived) peers_[number].state = State::kRunning;
  }
  void back_to_source_started(PeerNumber number, Seconds) override {
    auto& peer = peers_[number];
    task_started_ = true;
    if (peer.state != State::kReceived) return;  // it stays Running, without parents
    peer.state = State::kSource;
    drop_parents(number);
  }
  void reschedule(PeerNumber number, const std::vector<PeerNumber>& had, Seconds now) override {
    auto& peer = peers_[number];
    for (const auto parent : had) peer.blocked.insert(parent);
    peer.tries = 0;
    schedule(number, now);
  }
  void piece_finished(PeerNumber number, PeerNumber, std::uint32_t, double, Seconds cost, Seconds) override {
    auto& peer = peers_[number];
    ++peer.costs;
    peer.cost_sum += cost;
    peer.last_cost = cost;
  }
  void source_piece_finished(PeerNumber number, std::uint32_t, double, Seconds) override {
    ++peers_[number].costs;
  }
  void piece_failed(PeerNumber number, PeerNumber parent, std::uint32_t, Seconds) override {
    peers_[number].blocked.insert(parent);
  }
  void finished(PeerNumber number, bool, Seconds) override {
    peers_[number].state = State::kSucceeded;
    drop_parents(number);
  }
  void failed(PeerNumber number, Seconds) override {
    peers_[number].state = State::kFailed;
    drop_parents(number);
  }
  void lost(PeerNumber, Seconds) override {}

  void tick(Seconds now) override {
    while (!due_.empty() && due_.top().first <= now + 1e-9) {
      const auto number = due_.top().second;
      due_.pop();
      schedule(number, now);
    }
    if (!due_.empty()) answers_.wake_at(due_.top().first);
  }

 private:
  enum class State : std::uint8_t { kAbsent, kReceived, kRunning, kSource, kSucceeded, kFailed };
  static constexpr HostNumber kNobody = ~HostNumber{0};
  struct Host {
    HostSpec spec;
    double assumed_bits = 0, content_bits = 0, pieces = 0;  // of children
  };
  struct Vertex {
    HostNumber host = 0;
    State state = State::kAbsent;
    bool to_source = false;
    int tries = 0;
    std::vector<PeerNumber> parents, children;
    std::unordered_set<PeerNumber> blocked;
    std::uint32_t costs = 0;
    double cost_sum = 0, last_cost = 0;
  };

  double fraction() { return static_cast<double>(random_.below(1 << 30)) / (1 << 30); }
  void later(PeerNumber number, Seconds when) {
    due_.emplace(when, number);
    answers_.wake_at(due_.top().first);
  }

  void schedule(PeerNumber number, Seconds now) {
    auto& peer = peers_[number];
    if (peer.state != State::kReceived && peer.state != State::kRunning) return;
    if (peer.to_source || peer.tries >= kTriesToSource) return answers_.back_to_source(number);
    drop_parents(number);
    const auto parents = candidates(number);
    if (parents.empty()) {
      ++peer.tries;
      return later(number, now + 0.5 * (0.75 + 0.5 * fraction()));
    }
    for (const auto parent : parents) add_edge(parent, number);
    answers_.parents(number, parents);
  }

  std::vector<PeerNumber> candidates(PeerNumber number) {
    const auto& child = peers_[number];
    std::vector<std::pair<double, PeerNumber>> found;
    std::unordered_set<PeerNumber> below;
    bool walked = false;
    std::unordered_set<PeerNumber> seen;
    const auto sample = std::min(kSampled, vertices_.size());
    while (seen.size() < sample) {
      const auto other = vertices_[random_.below(vertices_.size())];
      if (!seen.insert(other).second) continue;
      const auto& parent = peers_[other];
      if (child.blocked.contains(other) || parent.host == child.host) continue;
      if (parent.state < State::kRunning || parent.state == State::kFailed) continue;
      if (!hosts_[parent.host].spec.seed && parent.parents.empty() && parent.state == State::kRunning)
        continue;
      if (parent.costs >= 2 &&
          parent.last_cost > 20 * (parent.cost_sum - parent.last_cost) / (parent.costs - 1))
        continue;
      if (!walked) {
        descend(number, below);
        walked = true;
      }
      if (below.contains(other)) continue;
      found.emplace_back(-score(child, parent), other);
    }
    std::sort(found.begin(), found.end());
    std::vector<PeerNumber> chosen;
    for (std::size_t i = 0; i < std::min(kGiven, found.size()); ++i) chosen.push_back(found[i].second);
    return chosen;
  }

  void descend(PeerNumber number, std::unordered_set<PeerNumber>& below) const {
    std::vector<PeerNumber> open{number};
    while (!open.empty()) {
      const auto at = open.back();
      open.pop_back();
      for (const auto child : peers_[at].children) {
        if (below.insert(child).second) open.push_back(child);
      }
    }
  }

  double score(const Vertex& child, const Vertex& parent) const {
    const auto& host = hosts_[parent.host];
    const double most = host.spec.up * 8;
    const double peak = host.assumed_bits >= most ? 0 : 1 - host.assumed_bits / most;
    const double duration = host.content_bits == 0 ? 1 : std::max(0.0, 1 - host.content_bits / most / 60);
    const double need = most / (16.0 * (1 << 20) * 8);
    const double concurrency = need <= 1 ? 0 : host.pieces <= need ? 1 : need / host.pieces;
    const double idc = host.spec.site == hosts_[child.host].spec.site ? 1 : 0;
    const double type = host.spec.seed ? (parent.state == State::kRunning ? 1 : 0) : 0.5;
    return 0.6 * (0.5 * peak + 0.3 * duration + 0.2 * concurrency) + 0.2 * idc + 0.1 * idc + 0.1 * type;
  }

  void count(PeerNumber parent, double sign) {
    auto& host = hosts_[peers_[parent].host];
    host.assumed_bits += sign * task_.piece * kConcurrentPieces * 8;
    host.content_bits += sign * task_.bytes * 8;
    host.pieces += sign * kConcurrentPieces;
  }
  void add_edge(PeerNumber parent, PeerNumber child) {
    peers_[parent].children.push_back(child);
    peers_[child].parents.push_back(parent);
    count(parent, 1);
  }
  void drop_parents(PeerNumber number) {
    for (const auto parent : peers_[number].parents) {
      std::erase(peers_[parent].children, number);
      count(parent, -1);
    }
    peers_[number].parents.clear();
  }

  Answers& answers_;
  TaskSpec task_;
  Random random_;
  HostNumber seed_ = kNobody;
  bool task_started_ = false;
  std::vector<Host> hosts_;
  std::vector<Vertex> peers_;
  std::vector<PeerNumber> vertices_;
  std::priority_queue<std::pair<Seconds, PeerNumber>, std::vector<std::pair<Seconds, PeerNumber>>,
                      std::greater<>>
      due_;
};

}  // namespace

std::unique_ptr<Tracker> dragonfly_tracker(Answers& answers, const TaskSpec& task, std::uint64_t seed) {
  return std::make_unique<DragonflyTracker>(answers, task, seed);
}

}  // namespace d7y::sim::swarm
