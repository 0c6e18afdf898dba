#include "swarm/piece_handout.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace d7y::swarm {
namespace {

// The first bit that is set in both.
std::optional<std::uint32_t> first_of_both(const store::Bitmap& one, const store::Bitmap& other) {
  if (one.count() == 0 || other.count() == 0) return std::nullopt;
  const auto words = std::min(one.words().size(), other.words().size());
  for (std::size_t i = 0; i < words; ++i) {
    const auto both = one.words()[i] & other.words()[i];
    if (both != 0) return static_cast<std::uint32_t>(i * 64) + static_cast<unsigned>(std::countr_zero(both));
  }
  return std::nullopt;
}

std::vector<std::uint32_t> all_of_both(const store::Bitmap& one, const store::Bitmap& other) {
  std::vector<std::uint32_t> bits;
  const auto words = std::min(one.words().size(), other.words().size());
  for (std::size_t i = 0; i < words; ++i) {
    for (auto both = one.words()[i] & other.words()[i]; both != 0; both &= both - 1)
      bits.push_back(static_cast<std::uint32_t>(i * 64) + static_cast<unsigned>(std::countr_zero(both)));
  }
  return bits;
}

}  // namespace

PieceHandout::Child PieceHandout::join(store::Bitmap wanted, TimePoint now) {
  if (active() == 0) alone_from_ = now + kAlone;
  if (children_.empty()) began_ = now;
  line_from_.reset();
  const auto name = next_child_++;
  children_[name].wanted = std::move(wanted);
  return name;
}

PieceHandout::Child PieceHandout::queue(store::Bitmap wanted, TimePoint now) {
  if (children_.empty() && line_.empty()) began_ = now;
  const auto name = next_child_++;
  line_[name].wanted = std::move(wanted);
  return name;
}

void PieceHandout::leave(Child child, TimePoint now) {
  line_.erase(child);
  const auto found = children_.find(child);
  if (found == children_.end()) return;
  if (!found->second.standing && active() <= 2) alone_from_ = now;
  for (const auto piece : found->second.dealt) {
    owners_.erase(piece);
    back_.set(piece);
  }
  children_.erase(found);
}

void PieceHandout::gone(Child child, std::uint32_t piece) {
  here_.clear(piece);
  pool_.clear(piece);
  back_.clear(piece);
  if (auto* owner = owner_of(piece)) owner->dealt.erase(piece);
  owners_.erase(piece);
  const auto found = children_.find(child);
  if (found != children_.end()) found->second.wanted.set(piece);
  const auto queued = line_.find(child);
  if (queued != line_.end()) queued->second.wanted.set(piece);
}

void PieceHandout::moved(std::uint32_t piece, TimePoint now) {
  auto* child = owner_of(piece);
  if (child == nullptr) return;
  rouse(*child, now);
  child->moved_at = now;
}

void PieceHandout::ended(std::uint32_t piece, bool uploaded, TimePoint now) {
  busy_at_ = now;
  const auto asked = under_way_.find(piece);
  if (asked != under_way_.end() && --asked->second == 0) under_way_.erase(asked);
  auto* child = uploaded ? owner_of(piece) : nullptr;
  if (child == nullptr) return;
  moved(piece, now);
  child->dealt.erase(piece);
  owners_.erase(piece);
  const bool idle = std::none_of(child->dealt.begin(), child->dealt.end(),
                                 [&](auto other) { return under_way_.contains(other); });
  if (idle && next_for(*child)) child->ahead = std::min(child->ahead + 1, kMostAhead);
}

std::vector<PieceHandout::Telling> PieceHandout::deal(TimePoint now) {
  look_who_stands(now);
  std::vector<Telling> told;
  const auto tell = [&](Child name, State& child, std::uint32_t piece) {
    give(name, child, piece, now);
    told.push_back({name, piece});
  };
  const bool alone = this->alone(now);
  for (bool more = true; more;) {
    more = false;
    for (auto& [name, child] : children_) {
      if (child.standing) continue;
      if (alone) {
        for (const auto* some : {&back_, &pool_})
          for (const auto piece : all_of_both(*some, child.wanted)) tell(name, child, piece);
      } else if (child.dealt.size() < child.ahead) {
        const auto piece = next_for(child);
        if (piece) tell(name, child, *piece);
        more = more || piece;
      }
    }
  }
  open_ = alone || all_dealt();
  if (open_) {
    for (auto& [name, child] : children_) {
      for (const auto piece : all_of_both(here_, child.wanted)) {
        child.wanted.clear(piece);
        told.push_back({name, piece});
      }
    }
  }
  serve_line(told, now);
  return told;
}

TimePoint PieceHandout::next_turn() const {
  const auto busy_until = under_way_.empty() ? busy_at_ + kQuiet : TimePoint::max();
  return std::max(*line_from_, std::min(busy_until, served_at_ + kLongestTurn));
}

void PieceHandout::serve_line(std::vector<Telling>& told, TimePoint now) {
  if (line_.empty() || !dealing_is_over()) return;
  if (!line_from_) {
    line_from_ = now + kLine + (now - began_) / 4;
    served_at_ = *line_from_;
  }
  std::size_t more = now >= next_turn() ? kLineAtOnce : 0;
  for (auto& [name, child] : line_) {
    if (!child.served && more > 0) {
      --more;
      child.served = true;
      served_at_ = busy_at_ = now;
    }
    if (!child.served) continue;
    for (const auto piece : all_of_both(here_, child.wanted)) {
      child.wanted.clear(piece);
      told.push_back({name, piece});
    }
  }
}

Deadline PieceHandout::next() const {
  auto when = Deadline::never();
  if (!open_ && active() < 2) when = Deadline::at(alone_from_);
  for (const auto& [name, child] : children_) {
    if (child.standing || child.dealt.empty()) continue;
    when = when.or_earlier(Deadline::in(kStandstill, child.moved_at));
  }
  const bool waits =
      std::any_of(line_.begin(), line_.end(), [](const auto& entry) { return !entry.second.served; });
  if (waits && line_from_ && dealing_is_over()) when = when.or_earlier(Deadline::at(next_turn()));
  return when;
}

bool PieceHandout::done(Child child) const {
  const auto queued = line_.find(child);
  if (queued != line_.end()) {
    const auto& wanted = queued->second.wanted;
    return complete_ ? !first_of_both(here_, wanted) : wanted.count() == 0;
  }
  const auto found = children_.find(child);
  if (found == children_.end()) return true;
  const auto& state = found->second;
  const bool told = complete_ ? !first_of_both(here_, state.wanted) : state.wanted.count() == 0;
  return told && (open_ || state.standing || state.dealt.empty());
}

PieceHandout::State* PieceHandout::owner_of(std::uint32_t piece) {
  const auto found = owners_.find(piece);
  return found == owners_.end() ? nullptr : &children_.at(found->second);
}

std::optional<std::uint32_t> PieceHandout::next_for(const State& child) const {
  const auto returned = first_of_both(back_, child.wanted);
  return returned ? returned : first_of_both(pool_, child.wanted);
}

void PieceHandout::give(Child name, State& child, std::uint32_t piece, TimePoint now) {
  back_.clear(piece);
  pool_.clear(piece);
  child.wanted.clear(piece);
  if (auto* before = owner_of(piece)) before->dealt.erase(piece);
  if (child.dealt.empty()) child.moved_at = now;
  child.dealt.insert(piece);
  owners_[piece] = name;
}

void PieceHandout::look_who_stands(TimePoint now) {
  const auto before = active();
  for (auto& [name, child] : children_) {
    if (child.standing || child.dealt.empty() || now - child.moved_at < kStandstill) continue;
    child.standing = true;
    for (const auto piece : child.dealt) back_.set(piece);
  }
  // What stopped all of them may be over at once.
  if (before != active() && active() < 2) alone_from_ = now + kAlone;
}

// A child that stood still takes pieces again: those that nobody else was told of are still its own.
void PieceHandout::rouse(State& child, TimePoint now) {
  if (!child.standing) return;
  if (active() == 0) alone_from_ = now + kAlone;
  child.standing = false;
  for (const auto piece : child.dealt) back_.clear(piece);
}

std::size_t PieceHandout::active() const {
  return static_cast<std::size_t>(std::count_if(children_.begin(), children_.end(),
                                                [](const auto& entry) { return !entry.second.standing; }));
}

bool PieceHandout::all_dealt() const {
  return complete_ && active() > 0 &&
         std::none_of(children_.begin(), children_.end(),
                      [&](const auto& entry) { return !entry.second.standing && next_for(entry.second); });
}

}  // namespace d7y::swarm
