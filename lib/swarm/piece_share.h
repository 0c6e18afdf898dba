// Which of a parent's pieces a child should take from that parent itself.
//
// When many children of one parent want the same task at once, and each takes from it whatever it lacks, the
// parent sends every piece many times while the children's own uplinks idle. So a parent that is the way of a
// task into the swarm (a seed) deals its pieces out: each child gets a share of them from it, and the rest
// from other children, who forward pieces while they receive them. A child that has taken its share goes on
// with what nobody was given yet, since others may be slower; one without anything to do may take any piece.
//
// Unmodified children understand no shares: they are told of different pieces instead (piece_handout.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "store/bitmap.h"

namespace d7y::swarm {

struct PieceShare {
  std::uint32_t index = 0, count = 1;  // this child is one of `count`

  // Every block of `count` pieces is dealt evenly, and so are pieces at equal distances (an origin is read in
  // several places at once).
  bool contains(std::uint32_t piece) const {
    if (count <= 1) return true;
    std::uint32_t sum = 0;
    for (auto rest = piece; rest > 0; rest /= count) sum += rest % count;
    return sum % count == index;
  }
  bool operator==(const PieceShare&) const = default;
};

// The children among whom a parent deals, by task. Lives on one loop.
class Dealing {
 public:
  // One child's place, for as long as it wants the task. `changed` is called when its share is another one,
  // or a piece was given to somebody.
  class Seat {
   public:
    Seat(Dealing& dealing, std::string task_id, std::function<void()> changed)
        : dealing_(dealing), task_id_(std::move(task_id)), changed_(std::move(changed)) {
      dealing_.tables_[task_id_].seats.push_back(this);
      dealing_.deal(task_id_);
    }
    ~Seat() {
      std::erase(dealing_.tables_[task_id_].seats, this);
      dealing_.deal(task_id_);
    }
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    PieceShare share() const { return share_; }
    // Pieces that somebody was given since the last call.
    std::vector<std::uint32_t> given() {
      const auto& all = dealing_.tables_[task_id_].order;
      std::vector<std::uint32_t> fresh(all.begin() + static_cast<std::ptrdiff_t>(told_), all.end());
      told_ = all.size();
      return fresh;
    }
    bool given_more() const { return dealing_.tables_[task_id_].order.size() > told_; }

   private:
    friend class Dealing;
    Dealing& dealing_;
    std::string task_id_;
    std::function<void()> changed_;
    PieceShare share_;
    std::size_t told_ = 0;
  };

  // A child takes this piece from us.
  void give(const std::string& task_id, std::uint32_t piece) {
    auto found = tables_.find(task_id);
    if (found == tables_.end() || !found->second.given.set(piece)) return;
    found->second.order.push_back(piece);
    for (auto* seat : found->second.seats) seat->changed_();
  }

 private:
  struct Table {
    std::vector<Seat*> seats;
    store::Bitmap given;
    std::vector<std::uint32_t> order;  // in which they were given
  };
  void deal(const std::string& task_id) {
    auto found = tables_.find(task_id);
    auto& seats = found->second.seats;
    if (seats.empty()) {
      tables_.erase(found);
      return;
    }
    auto count = static_cast<std::uint32_t>(seats.size());
    for (std::uint32_t index = 0; index < count; ++index) {
      auto* seat = seats[index];
      auto share = PieceShare{index, count};
      if (std::exchange(seat->share_, share) != share) seat->changed_();
    }
  }
  std::map<std::string, Table> tables_;
};

}  // namespace d7y::swarm
