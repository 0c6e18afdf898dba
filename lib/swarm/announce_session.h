// One download's conversation with its scheduler: the AnnouncePeer stream, or that of its kind.
//
//   CO_TRY(auto session, co_await AnnounceSession::open(schedulers, who, download, deadline));
//   switch (session->verdict().kind) {
//     case Verdict::Kind::kParents:       session->started(); ... session->piece_finished(info); ...
//     case Verdict::Kind::kBackToSource:  session->back_to_source_started(); ...
//   }
//   CO_TRY(auto verdict, co_await session->reschedule("parents are gone", deadline));
//   co_await session->end(Outcome::kFinished, "", deadline);
//
// Reports never wait and never fail: they are queued and written together (32 of them, or after
// 50 ms), in order, before anything else that is said. If the stream breaks, broken() says so, reports
// are dropped, and the download goes on with what it has. Whatever a scheduler says is checked: its
// answers must fit the conversation, parents must be usable, and it may not talk for ever.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/scheduler.h"
#include "base/log.h"
#include "base/scope.h"
#include "net/grpc/channel.h"
#include "store/task_facts.h"
#include "swarm/candidate.h"
#include "swarm/peer_call.h"
#include "swarm/scheduler_set.h"

namespace d7y::swarm {

struct Verdict {
  enum class Kind : std::uint8_t {
    kEmpty,         // the content has no bytes
    kParents,       // fetch from these; none of them may be usable, then `parents` is empty
    kBackToSource,  // fetch from the origin
    kMetadataOnly,  // our complete copy was noted
  };
  Kind kind = Kind::kBackToSource;
  std::vector<Candidate> parents;
  std::string description;
};

enum class Outcome : std::uint8_t {
  kFinished,
  kFailed,
  kBackToSourceFinished,
  kBackToSourceFailed,
};

struct AnnounceOptions {
  Self self;
  std::string task_id;
  store::TaskKind kind = store::TaskKind::kStandard;
  bool persistent = false;  // as PeerCall takes it
  // Makes a fresh peer id; called once for each stream that is opened (Dragonfly grpc 5.16).
  std::function<std::string()> new_peer_id;
  // How often a scheduler is asked for one download (Dragonfly's scheduler.maxScheduleCount).
  std::uint32_t max_verdicts = 5;
  // Wait for the response headers; Rust clients give 10 s.
  std::chrono::nanoseconds headers_timeout = std::chrono::seconds(10);
  // Wait for one message to be taken.
  std::chrono::nanoseconds write_timeout = std::chrono::seconds(10);
  std::size_t batch = 32;
  std::chrono::nanoseconds batch_delay = std::chrono::milliseconds(50);
};

class AnnounceSession {
 public:
  // Registers the download and waits for the first verdict. `download` is completed by the caller:
  // actual_content_length, actual_piece_length, actual_piece_count. A scheduler that does not know our
  // host is told about it and asked once more. kUnavailable and the like: no scheduler; kProtocol: it
  // answered nonsense; kTimeout. `schedulers` must outlive the session.
  static Task<Result<std::unique_ptr<AnnounceSession>>> open(SchedulerSet& schedulers,
                                                             AnnounceOptions options,
                                                             api::common::Download download, Log log,
                                                             Deadline deadline);
  // Without end() the scheduler sees the stream cancelled.
  ~AnnounceSession();
  AnnounceSession(const AnnounceSession&) = delete;
  AnnounceSession& operator=(const AnnounceSession&) = delete;

  const std::string& peer_id() const { return peer_id_; }
  const Address& scheduler() const { return scheduler_.address; }
  // The latest answer.
  const Verdict& verdict() const { return verdict_; }

  // DownloadPeerStarted: after each answer with parents, and after kEmpty and kMetadataOnly.
  void started();
  void back_to_source_started(std::string description = {});
  // By piece.traffic: from a parent (`piece.parent` is its peer id) or from the origin.
  void piece_finished(const store::PieceInfo& piece);
  // Blocks the parent for us at the scheduler.
  void piece_failed(std::uint32_t number, std::string parent_id);
  // `why`: with the origin's HTTP status in status(), if it answered.
  void source_piece_failed(std::uint32_t number, const Error& why,
                           const std::vector<std::pair<std::string, std::string>>& headers = {});

  // Asks for other parents. kExhausted: asked often enough. `deadline` bounds the scheduler's thinking.
  Task<Result<Verdict>> reschedule(std::string description, Deadline deadline);

  // A verdict that came unasked (a scheduler that offers better parents while we download); none if
  // there is none. arrived() is notified when one comes or the stream breaks.
  std::optional<Verdict> unasked();
  Signal& arrived() { return arrived_; }

  // Why the stream is of no use any more; null while it is. Ending with OK counts as well.
  const Error* broken() const { return broken_ ? &*broken_ : nullptr; }

  // Says the last word and waits until the scheduler has closed the stream. Best effort: an error
  // means only that the scheduler may not know.
  Task<Result<void>> end(Outcome outcome, std::string description, Deadline deadline);

 private:
  AnnounceSession(world::World& world, SchedulerSet::Picked scheduler, AnnounceOptions options, Log log);
  using Request = PeerCall::Request;
  using Response = PeerCall::Response;

  Task<Result<Verdict>> register_peer(const api::common::Download& download, Deadline deadline);
  Request envelope() const;
  void queue(Request request);
  void say(Request request);
  void break_off(Error why);
  Result<Verdict> understand(const Response& response);
  Task<void> write_forever();
  Task<void> read_forever();
  Task<Result<Verdict>> next_verdict(Deadline deadline);

  world::World& world_;
  SchedulerSet::Picked scheduler_;
  AnnounceOptions options_;
  Log log_;
  std::string peer_id_;
  bool metadata_only_ = false;
  std::uint32_t asked_ = 0;     // registered and rescheduled
  std::uint32_t verdicts_ = 0;  // received
  Verdict verdict_;
  std::vector<api::common::Peer> offered_;  // of the latest list of parents, as received
  std::deque<Verdict> inbox_;
  bool closed_ = false;  // the scheduler ended the stream with OK
  std::optional<Error> broken_;
  std::deque<Request> outbox_;
  bool urgent_ = false;
  bool ending_ = false;  // the last word is said
  TimePoint oldest_{};
  Signal arrived_, queued_;
  PeerCall call_;
  Scope scope_;
};

}  // namespace d7y::swarm
