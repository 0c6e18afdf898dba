// In which order the pieces that unmodified children ask for are sent.
//
// A Dragonfly client asks its parent for eight pieces at once, over a connection each. Sent together they all
// end together, eight times later than the first of them could have, and before that the child has nothing to
// pass on: each hop of a row or tree would add the time of eight pieces. So each child gets its pieces one
// after the other, the first of the content first; more at once only where that is faster (upload_width.h),
// and beside children of ours: they have one connection each, among which it gets as many as there are of
// them.
//
//   UploadTurns::Turn turn(turns, {child, task_id}, number);  // in line from now on
//   Task<void> granted = turn.wait();
//   co_await granted;
//   ...send, and call turn.moved() after each write...  // given back when `turn` goes
//
// On one loop.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/notify.h"
#include "base/task.h"
#include "swarm/upload_width.h"
#include "world/world.h"

namespace d7y::swarm {

class UploadTurns {
 public:
  // A host, as its connections show it, and the task that it wants.
  using Child = std::pair<std::string, std::string>;

  explicit UploadTurns(world::World& world) : world_(world) {}
  UploadTurns(const UploadTurns&) = delete;
  UploadTurns& operator=(const UploadTurns&) = delete;

  // Bytes that were sent to any child.
  void sent(std::uint64_t bytes);

  class Turn;

 private:
  struct Line {
    std::map<std::pair<std::uint32_t, std::uint64_t>, Turn*> waiting;
    std::vector<Turn*> granted;
  };

 public:
  class Turn {
   public:
    Turn(UploadTurns& turns, Child child, std::uint32_t piece);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    // Until the piece may be sent. Ends at once if it may already.
    Task<void> wait();
    // Something was sent: one that stands still for a second keeps nobody waiting.
    void moved() { moved_at_ = turns_.world_.now(); }

   private:
    friend class UploadTurns;
    UploadTurns& turns_;
    std::map<Child, Line>::iterator line_;
    std::pair<std::uint32_t, std::uint64_t> place_;  // the piece, and when it was asked for
    TimePoint moved_at_{};
    Signal offered_;
  };

  // While a child of ours is being sent to over `connection`.
  class Beside {
   public:
    Beside(UploadTurns& turns, const void* connection) : turns_(turns), connection_(connection) {
      ++turns_.beside_[connection_];
    }
    ~Beside() {
      if (--turns_.beside_[connection_] == 0) turns_.beside_.erase(connection_);
    }
    Beside(const Beside&) = delete;
    Beside& operator=(const Beside&) = delete;

   private:
    UploadTurns& turns_;
    const void* connection_;
  };

 private:
  // Pieces that may be on their way to one child at the same time.
  std::size_t at_once() const;
  bool may_go(const Turn& turn) const;
  static void offer(Line& line);
  bool wanted() const;

  world::World& world_;
  UploadWidth width_;
  std::uint64_t next_ = 0;
  std::map<Child, Line> lines_;
  std::map<const void*, std::size_t> beside_;
};

}  // namespace d7y::swarm
