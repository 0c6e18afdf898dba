// The unmodified children to whom pieces are handed out (piece_handout.h): who was promised to come, who is
// here, and what uploads tell about them. Names are believed, as in SyncPieces: a stranger who promises
// others, or comes in their name, can at most delay them.
//
//   Handouts handouts(world);
//   TRY_OK(handouts.promise(task_id, host_id, false));  // the scheduler said so
//   auto seat = handouts.join(task_id, host_id, wanted);
//   if (seat) for (auto piece : seat->told()) ...       // null: it was not promised
//   Handouts::Upload upload(&handouts, task_id, piece);  // whoever asks for a piece
//
// On one loop.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/notify.h"
#include "base/result.h"
#include "store/bitmap.h"
#include "swarm/piece_handout.h"
#include "world/world.h"

namespace d7y::swarm {

class Handouts {
 public:
  // Promises that are remembered, and for how long.
  static constexpr std::size_t kMostPromises = 4096;
  static constexpr Duration kPromise = std::chrono::seconds(60);
  // Children of one task; more of them are told of everything at once.
  static constexpr std::size_t kMostChildren = 32, kLongestLine = 1024;

  explicit Handouts(world::World& world) : world_(world) {}
  Handouts(const Handouts&) = delete;
  Handouts& operator=(const Handouts&) = delete;

  // The host will come for the task; `later`: and stand in line. kExhausted: too many have not come yet.
  Result<void> promise(const std::string& task_id, const std::string& host_id, bool later);

 private:
  struct Table;

 public:
  // One child's place, for as long as its stream lasts.
  class Seat {
   public:
    Seat(Handouts& handouts, const std::string& task_id, store::Bitmap wanted, bool later);
    ~Seat();
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;

    // Pieces that are here, any of them again; and whether these are all.
    void here(std::span<const std::uint32_t> pieces, bool complete);
    // What the child is to be told of now, each piece once.
    std::vector<std::uint32_t> told();
    // One of those is not here after all.
    void gone(std::uint32_t piece);
    // The stream may end.
    bool done() const;
    // Notified, or passed, when there may be more to tell, or the stream may end.
    Signal& changed() { return changed_; }
    Deadline next() const;

   private:
    friend class Handouts;
    Handouts& handouts_;
    std::string task_id_;
    bool later_;
    std::shared_ptr<Table> table_;
    PieceHandout::Child child_;
    std::vector<std::uint32_t> telling_;
    Signal changed_;
  };

  // The place of a child that was promised, whose promise is kept by that; null for anybody else.
  std::unique_ptr<Seat> join(const std::string& task_id, const std::string& host_id, store::Bitmap wanted);

  // An unmodified child asks for a piece, from now on until this goes.
  class Upload {
   public:
    // `handouts` may be null.
    Upload(Handouts* handouts, const std::string& task_id, std::uint32_t piece);
    ~Upload();
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;

    void moved();
    // All of it was sent.
    void done() { done_ = true; }

   private:
    std::shared_ptr<Table> table_;
    std::uint32_t piece_;
    bool done_ = false;
  };

 private:
  using Promised = std::pair<std::string, std::string>;  // task, host

  void forget_old();

  world::World& world_;
  struct Promise {
    TimePoint until;
    bool later = false;
  };
  std::map<Promised, Promise> promises_;
  std::deque<std::pair<TimePoint, Promised>> promised_;   // in that order; kept and renewed ones, too
  std::map<std::string, std::shared_ptr<Table>> tables_;  // by task
};

}  // namespace d7y::swarm
