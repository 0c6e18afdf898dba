// An unmodified Dragonfly dfdaemon with its parents (Dragonfly client 3.4, 5.3, 5.4; scheduler 0).
//
// Modelled: every parent is followed at once; a piece leaves the collector when all parents have announced it
// or 100 ms after the first one did, in the order of announcements; 8 pieces at a time; each from a parent
// drawn with weight max(max - used, max / 10) of its uplink, which it hears of once a second divided by how
// many listen; parents that announce a piece later are not used for it; a failed piece is tried with the
// other announcers and then left to the next round of parents; nothing of the scheduler is read before all
// parents are used up, or silent for 360 s; five rounds, then the origin. Whole pieces only: nothing is
// passed on before it is complete. Not modelled: connection set-up, the disk, processors.
#include <algorithm>

#include "sim/swarm/client.h"

namespace d7y::sim::swarm {
namespace {

constexpr std::size_t kAtOnce = 8;
constexpr Seconds kCollect = 0.1;
constexpr Seconds kSilence = 360;  // collectedPieceTimeout

class RustClient final : public ClientModel {
 public:
  explicit RustClient(Engine& engine) : engine_(engine) {}

  void offered(PeerNumber self, const std::vector<PeerNumber>& parents) override {
    auto& peer = engine_.peer(self);
    peer.parents.clear();
    peer.announced.assign(engine_.pieces(), 0);
    peer.dispatched.assign(engine_.pieces(), 0);
    peer.collecting.clear();
    peer.queue.clear();
    for (const auto parent : parents) {
      if (peer.parents.size() == 8) break;  // as many as the mask has bits
      ParentSlot slot;
      slot.peer = parent;
      slot.gone = !engine_.peer(parent).live();
      peer.parents.push_back(slot);
      engine_.follow(self, parent);
    }
    for (std::size_t i = 0; i < peer.parents.size(); ++i) {
      if (peer.parents[i].gone) continue;
      if (engine_.deals(peer.parents[i].peer, self)) {
        engine_.deal_out(peer.parents[i].peer);
        continue;
      }
      const auto& have = engine_.peer(peer.parents[i].peer).have;
      for (std::uint32_t piece = 0; piece < engine_.pieces(); ++piece) {
        if (bit(have, piece)) announce(self, i, piece);
      }
    }
    go_on(self);
  }

  void parent_has(PeerNumber self, PeerNumber parent, std::uint32_t piece, bool complete) override {
    if (!complete) return;
    auto& peer = engine_.peer(self);
    for (std::size_t i = 0; i < peer.parents.size(); ++i) {
      if (peer.parents[i].peer == parent && !peer.parents[i].gone) announce(self, i, piece);
    }
    go_on(self);
  }

  void parent_gone(PeerNumber self, PeerNumber parent) override {
    auto& peer = engine_.peer(self);
    for (auto& slot : peer.parents) slot.gone |= slot.peer == parent;
    go_on(self);
  }
  void parent_done(PeerNumber self, PeerNumber) override { go_on(self); }
  void fetched(PeerNumber self, const Fetch&) override { go_on(self); }

  void broken(PeerNumber self, const Fetch& fetch, bool) override {
    auto& peer = engine_.peer(self);
    for (std::size_t i = 0; i < peer.parents.size(); ++i) {
      if (peer.parents[i].peer == fetch.parent) {
        peer.announced[fetch.piece] &= static_cast<std::uint8_t>(~(1U << i));
      }
    }
    if (const auto other = draw(self, fetch.piece); other != kOrigin) {
      engine_.fetch(self, other, fetch.piece, false);
    } else {
      go_on(self);
    }
  }

  void collect(PeerNumber self) override {
    auto& peer = engine_.peer(self);
    while (!peer.collecting.empty() && peer.collecting.front().first <= engine_.now() + 1e-9) {
      dispatch(peer, peer.collecting.front().second);
      peer.collecting.pop_front();
    }
    if (!peer.collecting.empty()) engine_.collect_at(self, peer.collecting.front().first);
    go_on(self);
  }
  // No parent told of anything for so long: their streams are given up.
  void wake(PeerNumber self) override {
    auto& peer = engine_.peer(self);
    if (!peer.fetches.empty() || !peer.queue.empty() || !peer.collecting.empty()) return go_on(self);
    if (engine_.now() - peer.idle_since < kSilence - 1e-6)
      return engine_.wake(self, peer.idle_since + kSilence - engine_.now());
    for (auto& slot : peer.parents) slot.gone = true;
    go_on(self);
  }
  Seconds notices_silence() const override { return kSilence; }

 private:
  static void dispatch(Peer& peer, std::uint32_t piece) {
    if (peer.dispatched[piece] != 0) return;
    peer.dispatched[piece] = 1;
    peer.queue.push_back(piece);
  }

  void announce(PeerNumber self, std::size_t slot, std::uint32_t piece) {
    auto& peer = engine_.peer(self);
    if (bit(peer.have, piece) || bit(peer.taken, piece) || peer.dispatched[piece] != 0) return;
    const bool first = peer.announced[piece] == 0;
    peer.announced[piece] |= static_cast<std::uint8_t>(1U << slot);
    if (peer.announced[piece] == (1U << peer.parents.size()) - 1) {
      dispatch(peer, piece);
    } else if (first) {
      if (peer.collecting.empty()) engine_.collect_at(self, engine_.now() + kCollect);
      peer.collecting.emplace_back(engine_.now() + kCollect, piece);
    }
  }

  PeerNumber draw(PeerNumber self, std::uint32_t piece) {
    auto& peer = engine_.peer(self);
    double weights[8] = {}, sum = 0;
    for (std::size_t i = 0; i < peer.parents.size(); ++i) {
      auto& slot = peer.parents[i];
      if (slot.gone || (peer.announced[piece] >> i & 1) == 0) continue;
      const double listeners =
          static_cast<double>(std::max<std::size_t>(1, engine_.peer(slot.peer).children.size()));
      if (engine_.now() - slot.use_seen_at >= listeners) {
        slot.use_seen_at = engine_.now();
        slot.use_seen = engine_.links().uplink_use(slot.peer + 1);
      }
      const double most = engine_.links().uplink(slot.peer + 1);
      weights[i] = most * std::max(1 - slot.use_seen, 0.1);
      sum += weights[i];
    }
    if (sum == 0) return kOrigin;
    double place = static_cast<double>(engine_.random().below(1 << 30)) / (1 << 30) * sum;
    PeerNumber last = kOrigin;
    for (std::size_t i = 0; i < peer.parents.size(); ++i) {
      if (weights[i] == 0) continue;
      last = peer.parents[i].peer;
      if ((place -= weights[i]) < 0) break;
    }
    return last;
  }

  void go_on(PeerNumber self) {
    auto& peer = engine_.peer(self);
    if (!peer.downloading()) return;
    while (peer.fetches.size() < kAtOnce && !peer.queue.empty()) {
      const auto piece = peer.queue.front();
      peer.queue.pop_front();
      if (bit(peer.have, piece) || bit(peer.taken, piece)) continue;
      if (const auto parent = draw(self, piece); parent != kOrigin) engine_.fetch(self, parent, piece, false);
    }
    if (!peer.fetches.empty() || !peer.queue.empty() || !peer.collecting.empty()) return;
    // The streams of parents end when they have sent all, or with the parent.
    const bool over = std::all_of(peer.parents.begin(), peer.parents.end(), [&](const ParentSlot& slot) {
      return slot.gone || engine_.peer(slot.peer).status == PeerStatus::kDone;
    });
    if (over) return engine_.reschedule(self);
    peer.idle_since = engine_.now();
    engine_.wake(self, kSilence);
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<ClientModel> rust_client(Engine& engine) { return std::make_unique<RustClient>(engine); }

}  // namespace d7y::sim::swarm
