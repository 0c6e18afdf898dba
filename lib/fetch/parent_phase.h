// Fetches what is wanted and missing from parents, as far as they have it.
//
// One dispatcher hands out pieces: it looks at every parent that may be asked for more, picks the
// rarest open piece that it has, and starts a fetch; when nothing is open any more it asks a second
// parent for pieces that are late (hedging). Everything is re-judged whenever something happens.
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "base/scope.h"
#include "fetch/conductor.h"
#include "swarm/parent_set.h"
#include "swarm/parent_watch.h"

namespace d7y::fetch {

class ParentPhase {
 public:
  explicit ParentPhase(Conductor& conductor);
  ~ParentPhase();

  enum class End : std::uint8_t {
    kDone,       // nothing wanted is missing
    kExhausted,  // no parent can bring anything more
    kSent,       // the scheduler sends us to the origin, unasked: nobody else reads it any more
    kStalled,    // parents are there, but nothing came for stall_timeout
  };

  // The parents of a scheduler's answer; those known already keep their history.
  void offer(const std::vector<swarm::Candidate>& parents);

  // Until one of the ends; an error is our own (disk full, content changed).
  Task<Result<End>> run(swarm::AnnounceSession& session);

 private:
  struct Parent {
    swarm::ParentSet::Id id = 0;
    std::unique_ptr<swarm::ParentWatch> watch;
    std::uint64_t seen_version = 0;
    std::vector<std::uint64_t> counted;  // its pieces as copies_ counts them, one bit each
  };
  enum class Why : std::uint8_t {
    kOpen,         // nobody fetches the piece
    kBeyondShare,  // likewise, but its parent deals it to another child
    kRival,        // somebody fetches it, and is late
  };
  struct Fetch {
    Parent* parent = nullptr;
    std::uint32_t piece = 0;
    swarm::ParentSet::Running running;
    Why why = Why::kOpen;
    bool urgent = false;  // beside another from that parent, because we are behind our neighbours
  };

  void assign(swarm::AnnounceSession& session);
  bool assign_open(Parent& parent, Why why, swarm::AnnounceSession& session);
  void assign_beyond_shares(swarm::AnnounceSession& session);
  void assign_hedges(swarm::AnnounceSession& session);
  void start(Parent& parent, std::uint32_t piece, Why why, swarm::AnnounceSession& session);
  Task<void> fetch(Fetch& fetch, store::PieceClaim claim, swarm::AnnounceSession& session);
  Task<void> follow(Parent& parent);
  Task<void> listen(swarm::AnnounceSession& session);
  // Whether we are behind our neighbours.
  void compare();
  // Brings copies_ up to what the watches say now; costs a look at each word of bits that may have changed.
  void count_copies();
  bool exhausted() const;
  bool may_bring_something(const Parent& parent) const;

  Conductor& conductor_;
  swarm::ParentSet set_;
  std::list<Parent> parents_;
  std::list<Fetch> fetches_;
  std::vector<std::string> refused_;  // peer ids that were offered and whose bytes we do not take
  std::vector<std::uint16_t> copies_;
  std::vector<std::uint32_t> busy_;      // pieces that somebody else had claimed at the last look
  std::optional<TimePoint> idle_since_;  // nothing is on its way, or a reader waits, though parents have more
  std::optional<Error> failure_;
  Signal work_;
  Scope watching_, fetching_;
};

}  // namespace d7y::fetch
