// Who may write a packet to a connection now. Several answers share one stream; each takes a turn for
// one packet and gives it back. The lowest rank goes first, so that answers end one after another
// instead of all together.
//
//   CO_TRY(auto turn, co_await turns.take(rank, deadline));
//   ...write one whole packet...
//   // given back when `turn` goes
#pragma once

#include <cstdint>
#include <map>

#include "base/notify.h"

namespace d7y::swarm {

class WriteTurns {
 public:
  class Turn {
   public:
    explicit Turn(WriteTurns& turns) : turns_(&turns) {}
    Turn(Turn&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (turns_ != nullptr) turns_->give_back();
    }

   private:
    WriteTurns* turns_;
  };

  // kTimeout.
  Task<Result<Turn>> take(std::uint64_t rank, Deadline deadline);
  bool taken() const { return taken_; }

 private:
  struct Waiting {
    explicit Waiting(WriteTurns& owner, std::uint64_t rank)
        : turns(owner), place(owner.waiting_.emplace(std::pair(rank, owner.next_++), this).first) {}
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() {
      turns.waiting_.erase(place);
      // If the turn was offered to this one, it is the next one's now.
      if (!turns.taken_) turns.offer();
    }
    WriteTurns& turns;
    Signal offered;
    std::map<std::pair<std::uint64_t, std::uint64_t>, Waiting*>::iterator place;
  };

  void give_back() {
    taken_ = false;
    offer();
  }
  void offer() {
    if (!waiting_.empty()) waiting_.begin()->second->offered.notify_all();
  }

  bool taken_ = false;
  std::uint64_t next_ = 0;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Waiting*> waiting_;
};

inline Task<Result<WriteTurns::Turn>> WriteTurns::take(std::uint64_t rank, Deadline deadline) {
  if (!taken_ && (waiting_.empty() || rank < waiting_.begin()->first.first)) {
    taken_ = true;
    co_return Turn(*this);
  }
  {
    Waiting waiting(*this, rank);
    while (taken_ || waiting_.begin()->second != &waiting) CO_OK(co_await waiting.offered.wait(deadline));
    taken_ = true;
  }
  co_return Turn(*this);
}

}  // namespace d7y::swarm
