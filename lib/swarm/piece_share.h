// Which of a parent's pieces a child should take from that parent itself.
//
// When many children of one parent want the same task at once, and each takes from it whatever it lacks, the
// parent sends every piece many times while the children's own uplinks idle. So a parent that is the way of a
// task into the swarm (a seed) deals its pieces out: each child gets a share of them from it, and the rest
// from other children, who forward pieces while they receive them. A child without anything to do may still
// take any piece.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

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
  // One child's place, for as long as it wants the task. `changed` is called when its share is another one.
  class Seat {
   public:
    Seat(Dealing& dealing, std::string task_id, std::function<void()> changed)
        : dealing_(dealing), task_id_(std::move(task_id)), changed_(std::move(changed)) {
      dealing_.seats_[task_id_].push_back(this);
      dealing_.deal(task_id_);
    }
    ~Seat() {
      std::erase(dealing_.seats_[task_id_], this);
      dealing_.deal(task_id_);
    }
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    PieceShare share() const { return share_; }

   private:
    friend class Dealing;
    Dealing& dealing_;
    std::string task_id_;
    std::function<void()> changed_;
    PieceShare share_;
  };

 private:
  void deal(const std::string& task_id) {
    auto found = seats_.find(task_id);
    if (found->second.empty()) {
      seats_.erase(found);
      return;
    }
    auto count = static_cast<std::uint32_t>(found->second.size());
    for (std::uint32_t index = 0; index < count; ++index) {
      auto* seat = found->second[index];
      auto share = PieceShare{index, count};
      if (std::exchange(seat->share_, share) != share) seat->changed_();
    }
  }
  std::map<std::string, std::vector<Seat*>> seats_;
};

}  // namespace d7y::swarm
