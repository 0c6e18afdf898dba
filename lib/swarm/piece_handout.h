// Which unmodified child is told first of which piece.
//
// A Dragonfly client takes each piece from whoever told it first, and its parent tells every child of every
// piece at once: a seed with two such children sends everything twice. If each of the two passes on what it
// gets to other hosts, it is enough to send each piece once, to one of them, and the other gets it from those
// hosts. So each piece is told to one child first, and each child of the next piece when one that it was told
// of was uploaded to it: it is a few ahead of what was sent, a fast child gets more pieces than a slow one,
// and the first of the content comes first. When all was told to somebody, everybody is told of everything.
//
// Others may stand in line: they have other parents, and are told of everything a while after that, two at a
// time, if they are still there. For where hosts crash and those behind them wait for each other.
//
// Not to be confused with piece_share.h: there children of ours know of every piece and are asked to take a
// share of them; these understand nothing of that, and take what they are told of.
//
//   PieceHandout handout;
//   auto child = handout.join(wanted, now);
//   handout.here(0);                             // and everything else that happens
//   for (auto told : handout.deal(now)) ...      // tell told.child of told.piece
//   ...and call deal() again after the next event, or at handout.next()...
//
// Which child an upload goes to is not asked: whoever was told of the piece. A value; no clock, no thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/deadline.h"
#include "store/bitmap.h"

namespace d7y::swarm {

class PieceHandout {
 public:
  using Child = std::uint32_t;
  struct Telling {
    Child child;
    std::uint32_t piece;
    bool operator==(const Telling&) const = default;
  };

  // How many pieces a child is ahead of its uploads: at first, and at most. The Rust client waits up to 100
  // ms after it was told before it asks, so on fast ways more are needed.
  static constexpr std::size_t kFirstAhead = 4, kMostAhead = 64;
  // So long a child is dealt to although it is the only one: others may be about to come.
  static constexpr Duration kAlone = std::chrono::seconds(2);
  // A child that takes nothing of what it was told for so long stands still.
  static constexpr Duration kStandstill = std::chrono::seconds(5);

  // Those who stand in line come when dealing is over and so long has passed, and a quarter of the time that
  // it took; so many at once, the next when nothing was uploaded for a second, or after ten.
  static constexpr Duration kLine = std::chrono::seconds(2);
  static constexpr std::size_t kLineAtOnce = 2;
  static constexpr Duration kQuiet = std::chrono::seconds(1), kLongestTurn = std::chrono::seconds(10);

  // A child that wants these pieces, and was told of none of them.
  Child join(store::Bitmap wanted, TimePoint now);
  // One that stands in line.
  Child queue(store::Bitmap wanted, TimePoint now);
  // Its stream ended.
  void leave(Child child, TimePoint now);

  // A piece is here. Again is no harm.
  void here(std::uint32_t piece) {
    if (here_.set(piece)) pool_.set(piece);
  }
  // A child could not be told, because the piece is not here after all.
  void gone(Child child, std::uint32_t piece);
  // No other piece will come.
  void complete(bool complete) { complete_ = complete; }

  // An upload of the piece was asked for, made way, and ended, with all of it or not.
  void asked(std::uint32_t piece, TimePoint now) {
    ++under_way_[piece];
    busy_at_ = now;
  }
  void moved(std::uint32_t piece, TimePoint now);
  void ended(std::uint32_t piece, bool uploaded, TimePoint now);

  // Whom to tell of what, after all that has happened. Each child is told of a piece once.
  std::vector<Telling> deal(TimePoint now);
  // When deal() may have something to say even if nothing happens.
  Deadline next() const;

  // Nothing is left to tell the child, and whether it takes what it was told of makes no difference to
  // others. As of the last deal().
  bool done(Child child) const;

 private:
  struct State {
    store::Bitmap wanted;           // and not told of
    std::set<std::uint32_t> dealt;  // told of before anybody else, and not yet uploaded
    std::size_t ahead = kFirstAhead;
    TimePoint moved_at{};
    bool standing = false;
  };

  struct Queued {
    store::Bitmap wanted;  // and not told of
    bool served = false;
  };

  bool dealing_is_over() const { return children_.empty() || (complete_ && open_); }
  // When the next in the line are told.
  TimePoint next_turn() const;
  void serve_line(std::vector<Telling>& told, TimePoint now);
  State* owner_of(std::uint32_t piece);
  // The next piece for this child, those that came back first.
  std::optional<std::uint32_t> next_for(const State& child) const;
  void give(Child name, State& child, std::uint32_t piece, TimePoint now);
  void look_who_stands(TimePoint now);
  void rouse(State& child, TimePoint now);
  std::size_t active() const;
  // One child is not dealt to others.
  bool alone(TimePoint now) const { return active() < 2 && now >= alone_from_; }
  bool all_dealt() const;

  std::map<Child, State> children_;
  std::map<Child, Queued> line_;
  std::optional<TimePoint> line_from_;  // once dealing is over
  TimePoint began_{}, busy_at_{}, served_at_{};
  Child next_child_ = 0;
  store::Bitmap here_;
  store::Bitmap pool_;                           // here, and nobody was told
  store::Bitmap back_;                           // of these somebody was told, who did not take them
  std::map<std::uint32_t, Child> owners_;        // of pieces that are somebody's `dealt`
  std::map<std::uint32_t, unsigned> under_way_;  // uploads that were asked for and have not ended
  TimePoint alone_from_{};
  bool complete_ = false;
  bool open_ = false;  // everybody was told of all that is here
};

}  // namespace d7y::swarm
