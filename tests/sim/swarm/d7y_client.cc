// d7y's own client with its parents, as lib/fetch/parent_phase.cc does it, with the real
// lib/swarm/parent_set.cc deciding who may be asked: in turns over the parents, the rarest piece that the
// parent has and nobody fetches, first of the complete ones, then of those that it receives itself; of what a
// seed deals out, its own share, then what no child was given yet (told at once here, within a round trip
// there), and more only when it has nothing else to do; late pieces are asked for twice at the end; it
// listens for more parents while it downloads. Not modelled: connection set-up, the disk, processors, readers
// that want pieces in order.
//
// The same with other settings is the agent of a rarest-first mesh, and of a plain tree.
#include <algorithm>
#include <bit>

#include "sim/swarm/client.h"
#include "swarm/piece_share.h"

namespace d7y::sim::swarm {
namespace {

using d7y::swarm::ParentPolicy;
using d7y::swarm::ParentSet;
using d7y::swarm::PieceShare;

constexpr Seconds kShareIdle = 0.02;
constexpr std::size_t kBeyondShares = 2;
constexpr std::uint32_t kManyChildren = 4;

TimePoint time_point(Seconds seconds) {
  return TimePoint(Duration(static_cast<std::int64_t>(seconds * 1e9)));
}

struct Manner {
  bool cut_through = true, in_order = false, hedges = true, offers = true, deals = true;
  std::uint32_t window = 0;  // 0: the ParentSet's
  std::uint32_t responses = 5;
  Seconds announce = 0.0005;  // until a follower has heard of a piece
};

class OwnClient final : public ClientModel {
 public:
  OwnClient(Engine& engine, Manner manner) : engine_(engine), manner_(manner) {
    if (manner.window == 0) return;
    policy_.window_min = policy_.window_max = policy_.window_arriving = manner.window;
    policy_.spread = ~std::uint32_t{0};
  }

  void offered(PeerNumber self, const std::vector<PeerNumber>& parents) override {
    auto& peer = engine_.peer(self);
    if (!peer.set) peer.set = std::make_unique<ParentSet>(policy_);
    for (const auto number : parents) {
      auto known = std::find_if(peer.parents.begin(), peer.parents.end(),
                                [&](const ParentSlot& slot) { return slot.peer == number; });
      if (known != peer.parents.end()) continue;
      ParentSlot slot;
      slot.peer = number;
      slot.gone = engine_.peer(number).status >= PeerStatus::kFailed;
      const auto name = std::to_string(number);
      slot.id = peer.set->add(name, name, time_point(engine_.now()));
      if (engine_.scenario().says_uplink) peer.set->capacity(slot.id, engine_.uplink(number));
      peer.parents.push_back(slot);
      engine_.follow(self, number);
    }
    engine_.wake(self, 2 * engine_.scenario().delay);  // its parents' answers
  }

  void parent_has(PeerNumber self, PeerNumber, std::uint32_t, bool) override {
    if (engine_.peer(self).hungry) engine_.wake(self, manner_.announce);
  }
  void parent_gone(PeerNumber self, PeerNumber parent) override {
    for (auto& slot : engine_.peer(self).parents) slot.gone |= slot.peer == parent;
    engine_.wake(self, 0);
  }
  void parent_done(PeerNumber self, PeerNumber) override { engine_.wake(self, manner_.announce); }

  void fetched(PeerNumber self, const Fetch& fetch) override {
    auto& peer = engine_.peer(self);
    if (auto* slot = slot_of(peer, fetch.parent)) {
      const auto now = time_point(engine_.now());
      peer.set->received(slot->id,
                         static_cast<std::uint64_t>(engine_.piece_bytes(fetch.piece) - fetch.counted), now);
      peer.set->finished(slot->id, now);
    }
    assign(self);
  }

  void broken(PeerNumber self, const Fetch& fetch, bool wrong_bytes) override {
    auto& peer = engine_.peer(self);
    if (auto* slot = slot_of(peer, fetch.parent)) {
      const auto left = engine_.piece_bytes(fetch.piece) - fetch.counted;
      peer.set->failed(slot->id, static_cast<std::uint64_t>(left),
                       wrong_bytes ? ErrorCode::kCorrupt : ErrorCode::kClosed, time_point(engine_.now()));
    }
    engine_.wake(self, 0);
  }

  void wake(PeerNumber self) override { assign(self); }
  bool cut_through() const override { return manner_.cut_through; }
  bool takes_offers() const override { return manner_.offers; }
  std::uint32_t most_responses() const override { return manner_.responses; }
  Seconds notices_silence() const override { return 30; }

 private:
  static ParentSlot* slot_of(Peer& peer, PeerNumber parent) {
    for (auto& slot : peer.parents) {
      if (slot.peer == parent) return &slot;
    }
    return nullptr;
  }

  // How many parents have each piece, as three binary digits, at most 7.
  void count_copies(const Peer& peer) {
    const auto words = peer.have.size();
    ones_.assign(words, 0);
    twos_.assign(words, 0);
    fours_.assign(words, 0);
    for (const auto& slot : peer.parents) {
      if (slot.gone || peer.set->given_up(slot.id)) continue;
      const auto& parent = engine_.peer(slot.peer);
      for (std::size_t i = 0; i < words; ++i) {
        auto carry = parent.have[i] | (manner_.cut_through && !parent.rust ? parent.taken[i] : 0);
        const auto full = ones_[i] & twos_[i] & fours_[i];
        carry &= ~full;
        const auto second = ones_[i] & carry;
        ones_[i] ^= carry;
        const auto third = twos_[i] & second;
        twos_[i] ^= second;
        fours_[i] ^= third;
      }
    }
  }

  // What the seed `parent` deals to this child; everything if it does not deal.
  PieceShare share_of(PeerNumber self, PeerNumber parent) {
    if (!manner_.deals || !engine_.scenario().deals || !engine_.peer(parent).seed) return {};
    PieceShare share{0, 0};
    for (const auto child : engine_.peer(parent).children) {
      if (child == self) share.index = share.count;
      if (engine_.peer(child).downloading()) ++share.count;
    }
    return share;
  }

  // An open piece of `there`, of those that the fewest parents have.
  std::uint32_t pick(const Peer& peer, const Bits& there, PieceShare share, const Bits* given = nullptr) {
    const auto words = peer.have.size();
    const auto start = manner_.in_order ? 0 : engine_.random().below(engine_.pieces());
    for (std::uint32_t copies = manner_.in_order ? 8 : 1; copies <= 8; ++copies) {
      for (std::size_t step = 0; step <= words; ++step) {
        const auto i = (start / 64 + step) % words;
        auto open = there[i] & ~peer.have[i] & ~peer.taken[i];
        if (given != nullptr) open &= ~(*given)[i];
        if (share.count > 1) {
          for (auto rest = open; rest != 0; rest &= rest - 1) {
            const auto piece = i * 64 + static_cast<std::size_t>(std::countr_zero(rest));
            if (!share.contains(static_cast<std::uint32_t>(piece))) open &= ~(rest & -rest);
          }
        }
        if (copies < 8) {
          open &= (copies & 1) != 0 ? ones_[i] : ~ones_[i];
          open &= (copies & 2) != 0 ? twos_[i] : ~twos_[i];
          open &= (copies & 4) != 0 ? fours_[i] : ~fours_[i];
        }
        const auto behind = ~std::uint64_t{0} << (start % 64);
        if (step == 0) open &= behind;
        if (step == words) open &= ~behind;
        if (open != 0)
          return static_cast<std::uint32_t>(i * 64) + static_cast<std::uint32_t>(std::countr_zero(open));
      }
    }
    return kNone;
  }

  bool all_given(const Peer& parent) const {
    std::uint32_t given = 0;
    for (const auto word : parent.given) given += static_cast<std::uint32_t>(std::popcount(word));
    return given >= engine_.pieces();
  }

  // Whether `parent` gets the piece from `self`, by however many hops.
  bool circular(PeerNumber self, PeerNumber parent, std::uint32_t piece) {
    for (int hops = 0; hops < 64; ++hops) {
      if (parent == self) return true;
      PeerNumber next = kOrigin;
      for (const auto& fetch : engine_.peer(parent).fetches) {
        if (fetch.piece == piece) next = fetch.parent;
      }
      if (next == kOrigin) return false;
      parent = next;
    }
    return true;
  }

  // As real peers tell each other with each piece.
  void compare(Peer& peer) {
    const auto all = engine_.pieces();
    for (const auto& slot : peer.parents) {
      if (!slot.gone) peer.set->parent_has(slot.id, engine_.peer(slot.peer).have_count, all);
    }
    peer.set->we_have(peer.have_count, all);
  }

  std::uint32_t open_pieces(const Peer& peer) const {
    std::uint32_t open = engine_.pieces() - peer.have_count;
    for (const auto word : peer.taken) open -= static_cast<std::uint32_t>(std::popcount(word));
    return open;
  }

  void assign(PeerNumber self) {
    auto& peer = engine_.peer(self);
    if (!peer.downloading() || !peer.set) return;
    const auto now = time_point(engine_.now());
    const auto length = static_cast<std::uint64_t>(engine_.piece_bytes(0));
    auto open = open_pieces(peer);
    peer.hungry = false;
    if (open > 0) count_copies(peer);
    compare(peer);
    bool dealt = false;
    const auto try_parent = [&](const ParentSlot& slot, bool beyond) {
      auto& parent = engine_.peer(slot.peer);
      auto share = share_of(self, slot.peer);
      dealt |= share.count > 1;
      if (beyond) share = {};
      if (slot.gone || peer.set->given_up(slot.id) ||
          !peer.set->usable(slot.id, length, now, true, share.count > 1))
        return false;
      std::uint32_t piece = kNone;
      const bool ready = peer.set->usable(slot.id, length, now);
      const bool one_by_one = share.count >= kManyChildren && peer.set->in_flight(slot.id) > 0;
      if (ready && !one_by_one) piece = pick(peer, parent.have, share);
      if (piece == kNone && share.count > 1 && parent.have_count == engine_.pieces() &&
          peer.set->in_flight(slot.id) == 0) {
        piece = pick(peer, parent.have, {}, &parent.given);
        if (piece == kNone && all_given(parent)) piece = pick(peer, parent.have, {});
      }
      if (piece == kNone && manner_.cut_through && !parent.rust) {
        piece = pick(peer, parent.taken, share);
        if (piece != kNone && circular(self, slot.peer, piece)) piece = kNone;
      }
      if (piece == kNone) {
        if (ready || manner_.cut_through) peer.hungry = true;
        return false;
      }
      peer.set->asked(slot.id, static_cast<std::uint64_t>(engine_.piece_bytes(piece)), now);
      engine_.fetch(self, slot.peer, piece, false);
      peer.fetches.back().beyond = beyond;
      --open;
      return true;
    };
    for (bool any = open > 0; any;) {
      any = false;
      for (std::size_t at = 0; at < peer.parents.size() && open > 0; ++at)
        any |= try_parent(peer.parents[at], false);
    }
    // What a seed deals to others, when there is nothing else to do.
    const auto beyond = [&] {
      return static_cast<std::size_t>(
          std::count_if(peer.fetches.begin(), peer.fetches.end(), [](const Fetch& f) { return f.beyond; }));
    };
    if (open == 0 || !dealt || beyond() < peer.fetches.size()) {
      peer.idle_since = -1;
    } else {
      if (peer.idle_since < 0) peer.idle_since = engine_.now();
      if (engine_.now() - peer.idle_since < kShareIdle - 1e-9) {
        engine_.wake(self, kShareIdle - (engine_.now() - peer.idle_since));
      } else {
        for (std::size_t at = 0; at < peer.parents.size() && open > 0 && beyond() < kBeyondShares; ++at)
          try_parent(peer.parents[at], true);
      }
    }
    if (open == 0 && manner_.hedges) hedge(self);
    if (!peer.downloading()) return;
    if (open > 0 && peer.fetches.empty()) {
      const auto rested = peer.set->next_return(now);
      if (rested != TimePoint::max()) {
        engine_.wake(self, std::chrono::duration<double>(rested - now).count() + 1e-6);
      }
      const bool exhausted =
          std::none_of(peer.parents.begin(), peer.parents.end(), [&](const ParentSlot& slot) {
            if (slot.gone || peer.set->given_up(slot.id)) return false;
            const auto status = engine_.peer(slot.peer).status;
            return status != PeerStatus::kFailed && status != PeerStatus::kCrashed;
          });
      if (exhausted) engine_.reschedule(self);
    }
  }

  void hedge(PeerNumber self) {
    auto& peer = engine_.peer(self);
    if (peer.fetches.empty()) return;
    const auto now = time_point(engine_.now());
    struct Start {
      std::size_t slot;
      std::uint32_t piece;
    };
    std::vector<Start> starts;
    for (auto& late : peer.fetches) {
      auto* from = slot_of(peer, late.parent);
      if (from == nullptr) continue;
      const double left = late.flow == kNoFlow ? 1 : engine_.links().left(late.flow, engine_.now());
      const double came = engine_.piece_bytes(late.piece) - left - late.counted;
      if (came > 0) {
        peer.set->received(from->id, static_cast<std::uint64_t>(came), now);
        late.counted += came;
      }
      if (late.rival) continue;
      const bool has_rival = std::any_of(peer.fetches.begin(), peer.fetches.end(),
                                         [&](const Fetch& f) { return f.rival && f.piece == late.piece; });
      if (has_rival) continue;
      std::vector<ParentSet::Id> having;
      bool dealt_only = true;
      for (const auto& slot : peer.parents) {
        if (slot.gone || slot.peer == late.parent || !bit(engine_.peer(slot.peer).have, late.piece)) continue;
        having.push_back(slot.id);
        dealt_only = dealt_only && share_of(self, slot.peer).count > 1;
      }
      // (Where it does not stall the real one waits for 2 s; flows do not stall here unless their parent is
      // lost.)
      if (having.empty() || (dealt_only && late.flow != kNoFlow)) continue;
      const auto helper =
          peer.set->hedge({.parent = from->id,
                           .length = static_cast<std::uint64_t>(engine_.piece_bytes(late.piece)),
                           .left = static_cast<std::uint64_t>(left),
                           .asked = time_point(late.started),
                           .last_byte = late.flow == kNoFlow ? time_point(late.started) : now},
                          having, now);
      if (!helper) continue;
      for (std::size_t i = 0; i < peer.parents.size(); ++i) {
        if (peer.parents[i].id == *helper) starts.push_back({i, late.piece});
      }
    }
    for (const auto& start : starts) {
      peer.set->asked(peer.parents[start.slot].id,
                      static_cast<std::uint64_t>(engine_.piece_bytes(start.piece)), now);
      engine_.fetch(self, peer.parents[start.slot].peer, start.piece, true);
    }
    engine_.wake(self, 0.1);
  }

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  Engine& engine_;
  Manner manner_;
  ParentPolicy policy_;
  Bits ones_, twos_, fours_;
};

}  // namespace

std::unique_ptr<ClientModel> d7y_client(Engine& engine) {
  return std::make_unique<OwnClient>(engine, Manner{});
}

std::unique_ptr<ClientModel> mesh_client(Engine& engine) {
  Manner manner;
  manner.cut_through = manner.hedges = manner.offers = manner.deals = false;
  manner.window = 3;
  return std::make_unique<OwnClient>(engine, manner);
}

std::unique_ptr<ClientModel> tree_client(Engine& engine) {
  Manner manner;
  manner.cut_through = manner.hedges = manner.offers = manner.deals = false;
  manner.in_order = true;
  manner.window = 4;
  return std::make_unique<OwnClient>(engine, manner);
}

}  // namespace d7y::sim::swarm
