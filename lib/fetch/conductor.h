// One task's conductor: who wants what of it, which pieces are here, who is asked next.
//
// All downloads of a task on this node share one conductor. It learns what the content is (from the
// store, or from the origin), then works in rounds until every wanted piece is here: asks the
// scheduler, fetches from parents (parent_phase.h), falls back to the origin where it may
// (source_phase.h), asks again. It ends when its last download leaves, or by failing.
//
// Whatever scheduler and parents do, a round ends: waits are bounded by stall_timeout and
// schedule_timeout, answers by max_verdicts, origin attempts by the retry policy; and each download
// has a deadline of its own above all that.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/hash.h"
#include "base/piece.h"
#include "base/scope.h"
#include "fetch/access.h"
#include "fetch/freshness.h"
#include "fetch/origin_lanes.h"
#include "fetch/pacer.h"
#include "fetch/piece_plan.h"
#include "fetch/shared_stat.h"
#include "fetch/suspects.h"
#include "fetch/wish.h"

namespace d7y::fetch {

class Conductor {
 public:
  // `wish` is the first one; its URL, headers and credentials are used for the origin.
  Conductor(const EngineParts& parts, const EngineOptions& options, Suspects& suspects,
            SharedStat& shared_stat, OriginReaders& readers, Freshness& freshness, std::string task_id,
            const Wish& wish);
  ~Conductor();
  Conductor(const Conductor&) = delete;
  Conductor& operator=(const Conductor&) = delete;

  const std::string& task_id() const { return task_id_; }
  // Ours in this conversation with the scheduler; a fresh one where there is none.
  const std::string& peer_id() const { return peer_id_; }

  // ---- What downloads see
  // The task, once its metadata is known (or known to be unknowable: content of unknown length).
  bool learned() const { return learned_; }
  const store::TaskHandle& task() const { return task_; }
  const Error* failure() const { return failure_ ? &*failure_ : nullptr; }
  // Notified at each change: learned, a piece more, failed.
  Signal& changed() { return changed_; }
  bool received_anything() const { return first_byte_at_.has_value(); }
  std::optional<TimePoint> first_byte_at() const { return first_byte_at_; }
  // What the origin said if it is not asked again before `when`, and nothing has come yet; else null.
  const Error* puts_off_beyond(TimePoint when) const;
  // The content was not what its digest says, or is not what the origin has by now, while it may well have
  // the right one: a conductor that begins now takes no bytes of those who gave these, and no word.
  bool misled() const { return misled_; }
  // The origin's answers were of several versions: it changed meanwhile, or is several that do not agree. One
  // of its answers alone is of one version.
  bool unsteady() const { return unsteady_; }

  // ---- What downloads say
  PiecePlan::WantId want(PiecePlan::Run run);
  void forget(PiecePlan::WantId id);
  void reading(PiecePlan::WantId id, std::uint32_t piece) { plan_.reading(id, piece); }
  void limit_rate(std::uint64_t bytes_per_second);
  void allow_source() { source_allowed_ = wish_.has_origin(); }
  // With this wish's credentials the origin may be asked as well, should it refuse those in use, until it
  // goes.
  Accesses::Id come(const Wish& wish);
  void go(Accesses::Id id) { accesses_.remove(id); }

  // Everything is here: marks the task finished, once for all who ask.
  Task<Result<void>> finish();
  // Compares the whole content with a digest that one caller expects. kCorrupt: it is another; the
  // content is then forgotten, so that the next wish fetches it anew, but for a replica that was complete
  // before or is kept: there may be no other, and what was imported is no less right for what a caller
  // expects of it. A digest is computed once.
  Task<Result<void>> verify(std::string digest, bool complete_before);

  // Nobody waits for anything and the scheduler has heard the end.
  bool settled() const { return !working_; }
  Signal& settled_signal() { return settled_; }

  // Tells the scheduler that this host has a complete copy; best effort.
  Task<void> announce_complete();

 private:
  friend class ParentPhase;
  friend class SourcePhase;

  Task<void> run();
  Task<Result<void>> work();
  // Finds out what the content is: task_ is set and the plan begun.
  Task<Result<void>> learn();
  Task<Result<void>> learn_from_store(store::TaskHandle found);
  // Complete, but so old that the origin may have something else.
  bool may_be_stale(const store::StoredTask& found) const;
  // The scheduler gives this host to others as one who has the content, and it has not.
  Task<void> withdraw();
  // `begun`: part of it is stored, so the first request asks for no bytes; `old`: all of it, so there is no
  // need to ask again if the origin is not able to answer.
  Task<Result<void>> learn_from_source(bool begun, bool old);
  // There is no origin: the scheduler knows what the task is.
  Task<Result<void>> learn_from_scheduler();
  // Without the origin: the scheduler's parents say how long it is.
  Task<Result<void>> learn_from_peers();
  // task_ is what `facts` say, and the plan begun.
  Task<Result<void>> begin_with(store::TaskFacts facts);
  // The origin may be asked now: has it what the parents have? kChanged if not.
  Task<Result<void>> compare_with_source();
  store::TaskFacts facts_of(const source::Info& info) const;
  // Whether a parent's content is ours, by its version tag. Where the origin was not asked the first parent
  // that knows its version decides.
  bool is_our_version(std::uint64_t tag);
  using Session = std::unique_ptr<swarm::AnnounceSession>;
  Task<Result<Session>> open_session(api::common::Download registration);
  // The same for the first round, while learning goes on.
  Task<void> register_ahead(api::common::Download registration);
  void begin_to_register(PieceGeometry pieces);
  // Nothing of that is of use.
  Task<void> take_back_registration(std::string why, Deadline deadline);
  // Before the origin has answered, by the word of who asked us to read it.
  Task<void> prepare_ahead();
  // That one, or a new one.
  Task<Result<Session>> session_for_round();
  void begin_plan();
  // One round: everything wanted now, by scheduler and parents or from the origin.
  Task<Result<void>> round();
  Task<Result<void>> round_with_scheduler();
  Task<Result<void>> from_source(swarm::AnnounceSession* session);
  // The scheduler is asked first, whoever the parents will be.
  bool asks_scheduler(std::optional<std::uint64_t> length) const;
  bool is_wary(std::optional<std::uint64_t> length) const;
  bool is_small(std::optional<std::uint64_t> length) const;
  api::common::Download registration(PieceGeometry pieces) const;

  // Which pieces came from peers; whether all came from the origin, in this conductor's time.
  std::vector<Suspects::Evidence> evidence() const;
  bool all_from_origin() const;
  // The content was wrong.
  void distrust(std::vector<Suspects::Evidence> evidence, bool all_from_origin);
  // It is right, so that those who gave other bytes before are known.
  void judge();
  bool distrusted() const { return suspects_.distrusted(task_id_, parts_.world.now()); }

  // A piece is here.
  void piece_done(const store::PieceInfo& piece);
  void bytes_arrived(std::size_t bytes);
  source::Request source_request() const;
  // What the origin has: by its own word, or another peer's who was told just now.
  Task<Result<source::Info>> ask_origin(source::Request request, Deadline deadline);
  // Anybody would be told the same.
  bool asks_as_anybody(const source::Request& request) const;
  // The origin said `why` and is asked again after `pause`.
  Task<void> rest(const Error& why, Duration pause);
  // The origin said `why` to who asked at `turn`: whether it can be asked as somebody else.
  bool other_access(const Error& why, std::uint64_t turn);
  bool done() const { return plan_.missing() == 0; }
  bool peers_possible() const;
  swarm::AnnounceOptions announcement() const;

  EngineParts parts_;
  const EngineOptions& options_;
  Suspects& suspects_;
  SharedStat& shared_stat_;
  OriginReaders& origin_readers_;
  Freshness& freshness_;
  std::string task_id_, peer_id_;
  Wish wish_;
  Accesses accesses_;
  Log log_;

  store::TaskHandle task_;
  PiecePlan plan_;
  bool learned_ = false, working_ = true, source_allowed_ = false;
  bool finishing_ = false;
  bool learned_from_peers_ = false, misled_ = false, unsteady_ = false;
  std::optional<api::origins::OriginStat> heard_;  // what the origin has, if another peer said so
  bool unannounced_ = false;       // fetched without a scheduler's knowing, though it would want to know
  std::uint32_t from_origin_ = 0;  // pieces fetched from there
  std::map<std::string, std::string> hosts_;   // of parents, by peer id
  std::optional<Suspects::Evidence> accused_;  // the only one who can have given wrong bytes
  std::map<HashKind, std::string> digests_;    // of the finished content
  bool ranges_ = true;                         // the origin can send parts
  source::Version version_;
  std::unique_ptr<source::Body> first_body_;  // of the first request, still to be read
  Duration first_wait_{};                     // for it
  OriginReaders::Place reading_;              // while the origin is read, or about to be
  struct Rest {
    Error why;
    TimePoint until{};
  };
  std::optional<Rest> rest_;  // the latest
  std::optional<Error> failure_;
  std::optional<TimePoint> first_byte_at_;
  TimePoint last_byte_at_{};

  TokenBucket own_limit_;
  Pacer download_pacer_, source_pacer_;
  swarm::AnnounceSession* session_ = nullptr;  // while a round talks to the scheduler
  std::optional<Result<Session>> opened_;      // by learning, for the first round
  bool registering_ = false;                   // it is being opened
  bool preparing_ = false;                     // prepare_ahead() runs

  Signal changed_, wanted_, settled_, registered_;
  Scope scope_;
};

}  // namespace d7y::fetch
