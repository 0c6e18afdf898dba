// d7y's scheduler in the simulated swarm: the real brain.
#include <fmt/format.h>
#include <time.h>

#include "scheduler/brain.h"
#include "sim/swarm/tracker.h"

namespace d7y::sim::swarm {
namespace {

using namespace d7y::scheduler;

class Stopwatch {
 public:
  explicit Stopwatch(double& sum) : sum_(sum), from_(now()) {}
  ~Stopwatch() { sum_ += now() - from_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  static double now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  }
  double& sum_;
  double from_;
};

class BrainTracker final : public Tracker {
 public:
  BrainTracker(Answers& answers, const TaskSpec& task, std::uint64_t seed, bool check_each)
      : answers_(answers), task_(task), check_(check_each), brain_(BrainOptions{}, seed) {}

  std::string name() const override { return "d7y"; }

  void add_host(HostNumber host, const HostSpec& spec, Seconds now) override {
    HostFacts facts;
    facts.hostname = fmt::format("h{}", host);
    facts.ip = "10.0.0.1";
    facts.id = fmt::format("10.0.0.1-h{}", host);
    facts.port = 4000;
    facts.seed = spec.seed;
    facts.max_tx_bandwidth = static_cast<std::uint64_t>(spec.up * 8);
    facts.idc = fmt::format("site-{}", spec.site);
    facts.interval = std::chrono::hours(10000);
    const auto handle = brain_.announce_host(facts, at(now));
    if (handle.index >= hosts_.size()) hosts_.resize(handle.index + 1);
    hosts_[handle.index] = host;
    if (host >= host_ids_.size()) host_ids_.resize(host + 1);
    host_ids_[host] = facts.id;
  }

  void register_peer(PeerNumber peer, const PeerSpec& spec, Seconds now) override {
    if (peer >= peers_.size()) {
      peers_.resize(peer + 1);
      ids_.resize(peer + 1);
    }
    ids_[peer] = fmt::format("{}-{:08x}-0000-4000-8000-000000000000", host_ids_[spec.host], peer);
    Registration made;
    made.host_id = host_ids_[spec.host];
    made.task_id = "task";
    made.peer_id = ids_[peer];
    made.origin = "https://origin";
    made.content_length = static_cast<std::int64_t>(task_.bytes);
    made.piece_length = static_cast<std::uint64_t>(task_.piece);
    made.piece_count = task_.pieces;
    made.need_back_to_source = spec.need_back_to_source;
    made.takes_offers = spec.takes_offers;
    made.download = "download";
    {
      const Stopwatch watch(cpu_);
      auto handle = brain_.register_peer(made, at(now));
      if (!handle) return answers_.refused(peer);
      peers_[peer] = *handle;
      if (handle->index >= numbers_.size()) numbers_.resize(handle->index + 1);
      numbers_[handle->index] = peer;
    }
    settle(now);
  }
  void started(PeerNumber peer, Seconds now) override {
    tell(now, [&](TimePoint t) { brain_.started(peers_[peer], t); });
  }
  void back_to_source_started(PeerNumber peer, Seconds now) override {
    tell(now, [&](TimePoint t) { brain_.back_to_source_started(peers_[peer], t); });
  }
  void reschedule(PeerNumber peer, const std::vector<PeerNumber>&, Seconds now) override {
    tell(now, [&](TimePoint t) { brain_.reschedule(peers_[peer], t); });
  }
  void piece_finished(PeerNumber peer, PeerNumber parent, std::uint32_t piece, double bytes, Seconds cost,
                      Seconds now) override {
    PieceReport report;
    report.number = piece;
    report.length = static_cast<std::uint64_t>(bytes);
    report.cost = Duration(static_cast<std::int64_t>(cost * 1e9) + 1);
    tell(now, [&](TimePoint t) { brain_.piece_finished(peers_[peer], ids_[parent], report, t); });
  }
  void source_piece_finished(PeerNumber peer, std::uint32_t piece, double bytes, Seconds now) override {
    PieceReport report;
    report.number = piece;
    report.length = static_cast<std::uint64_t>(bytes);
    tell(now, [&](TimePoint t) { brain_.back_to_source_piece_finished(peers_[peer], report, t); });
  }
  void piece_failed(PeerNumber peer, PeerNumber parent, std::uint32_t, Seconds now) override {
    tell(now, [&](TimePoint t) { brain_.piece_failed(peers_[peer], ids_[parent], true, t); });
  }
  void finished(PeerNumber peer, bool from_source, Seconds now) override {
    tell(now, [&](TimePoint t) {
      from_source ? brain_.back_to_source_finished(peers_[peer], t) : brain_.finished(peers_[peer], t);
    });
  }
  void failed(PeerNumber peer, Seconds now) override {
    tell(now, [&](TimePoint t) { brain_.failed(peers_[peer], t); });
  }
  void lost(PeerNumber peer, Seconds now) override {
    if (peer >= peers_.size()) return;
    tell(now, [&](TimePoint t) { brain_.stream_lost(peers_[peer], t); });
  }
  void tick(Seconds now) override {
    tell(now, [&](TimePoint t) { brain_.tick(t); });
  }
  std::string check(Seconds now) const override { return check_ ? brain_.check(at(now)) : std::string(); }
  double cpu_seconds() const override { return cpu_; }

 private:
  static TimePoint at(Seconds seconds) {
    return TimePoint(std::chrono::hours(1) + Duration(static_cast<std::int64_t>(seconds * 1e9)));
  }
  template <class Event>
  void tell(Seconds now, Event event) {
    {
      const Stopwatch watch(cpu_);
      event(at(now));
    }
    settle(now);
  }
  void settle(Seconds now) {
    do {
      std::vector<Action> actions;
      {
        const Stopwatch watch(cpu_);
        actions = brain_.take_actions(at(now));
      }
      for (auto& action : actions) carry_out(action);
    } while (brain_.pending());
    const auto wake = brain_.next_wakeup();
    answers_.wake_at(std::chrono::duration<double>(wake - at(0)).count() + 1e-6);  // not before, by rounding
  }
  void carry_out(const Action& action) {
    if (const auto* a = std::get_if<SendParents>(&action)) {
      if (a->dealer) answers_.deal(numbers_[a->dealer.index], numbers_[a->peer.index], a->later);
      parents_.clear();
      for (const auto parent : a->parents) parents_.push_back(numbers_[parent.index]);
      answers_.parents(numbers_[a->peer.index], parents_);
    } else if (const auto* b = std::get_if<SendBackToSource>(&action)) {
      answers_.back_to_source(numbers_[b->peer.index]);
    } else if (const auto* c = std::get_if<EndStream>(&action)) {
      if (c->code) answers_.refused(numbers_[c->peer.index]);
    } else if (const auto* d = std::get_if<TriggerSeed>(&action)) {
      answers_.trigger(hosts_[d->host.index], d->attempt, d->from_peers);
    }
  }

  Answers& answers_;
  TaskSpec task_;
  bool check_;
  Brain brain_;
  double cpu_ = 0;
  std::vector<HostNumber> hosts_;  // by the handle's position
  std::vector<std::string> host_ids_, ids_;
  std::vector<PeerHandle> peers_;
  std::vector<PeerNumber> numbers_;  // by the handle's position
  std::vector<PeerNumber> parents_;
};

}  // namespace

std::unique_ptr<Tracker> brain_tracker(Answers& answers, const TaskSpec& task, std::uint64_t seed,
                                       bool check_each) {
  return std::make_unique<BrainTracker>(answers, task, seed, check_each);
}

}  // namespace d7y::sim::swarm
