// Follows which pieces of one task a parent has.
//
//   ParentWatch watch(pool, candidate, {.host_id = own_host, .task_id = id, .wanted = numbers}, log);
//   while (watch.state() != ParentWatch::State::kOver) {
//     if (watch.has(7) == Availability::kComplete) co_await pool.fetch(watch.data(), ...);
//     CO_OK(co_await watch.changed().wait(deadline));
//   }
//
// Asks by SyncPieces. A d7y parent answers at once with a hint where its data port is; then the
// watch moves over to bitmaps on a data connection, and further downloads go there directly. The
// watch belongs to one download and works from its construction to its destruction.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/notify.h"
#include "base/scope.h"
#include "store/bitmap.h"
#include "swarm/candidate.h"
#include "swarm/parent_pool.h"
#include "swarm/piece_share.h"

namespace d7y::swarm {

enum class Availability : std::uint8_t {
  kNone,
  kArriving,  // it receives the piece itself and forwards what it has (d7y only)
  kComplete,
};

struct WatchOptions {
  std::string host_id;  // ours
  std::string task_id;
  vortex::Kind kind = vortex::Kind::kStandard;
  std::vector<std::uint32_t> wanted;  // piece numbers, in the order in which they are liked best
  // Geometry as we know it; a d7y parent that sees it otherwise is not used (kProtocol).
  std::uint64_t piece_length = 0;
  std::optional<std::uint64_t> content_length;
  // Whether the content with this version_tag() is ours (content_version.h); a d7y parent that holds another
  // version is not used. None: all are taken.
  std::function<bool(std::uint64_t tag)> same_version;
  // Wait for the answer's beginning; a stream that says nothing for `silence` has failed.
  std::chrono::nanoseconds answer_timeout = std::chrono::seconds(10);
  std::chrono::nanoseconds silence = std::chrono::seconds(360);
  // Do not use extensions even if the parent offers them.
  bool plain = false;
};

class ParentWatch {
 public:
  enum class State : std::uint8_t {
    kAsking,     // nothing known yet
    kFollowing,  // pieces are announced as they come
    kEnded,      // the parent has said all; what it announced can be fetched
    kFailed,     // see failure(); nothing new will come, what was announced may still be there
  };

  // `pool` must outlive the watch.
  ParentWatch(ParentPool& pool, Candidate parent, WatchOptions options, Log log);
  ~ParentWatch();
  ParentWatch(const ParentWatch&) = delete;
  ParentWatch& operator=(const ParentWatch&) = delete;

  const Candidate& parent() const { return parent_; }
  State state() const { return state_; }
  const Error* failure() const { return error_ ? &*error_ : nullptr; }  // with kFailed

  Availability has(std::uint32_t number) const;
  const store::Bitmap& complete() const { return complete_; }
  const store::Bitmap& arriving() const { return arriving_; }
  // Which of its pieces the parent would like us to take from it rather than from its other children.
  PieceShare share() const { return share_; }
  // Pieces that it was asked for by any child; known only of one that deals them out.
  const store::Bitmap& given() const { return given_; }
  // Grows with each change of the above, so that a follower can tell cheaply whether to look again.
  std::uint64_t version() const { return version_; }

  // Where to fetch; valid as soon as anything was announced.
  const DataAddress& data() const { return data_; }
  bool d7y() const { return data_.abilities != 0; }
  // What a d7y parent says about the task; none before or from Rust parents. Lets a download start
  // before the origin was asked for the length.
  std::optional<std::uint64_t> content_length() const { return content_length_; }

  // What the parent could send now in bits/s as Dragonfly's peers reckon it, from SyncHost or else the
  // scheduler's word; 0: nobody says. d7y parents are not asked: their pieces tell.
  std::uint64_t idle_tx() const;
  // And its whole uplink.
  std::uint64_t max_tx() const { return parent_.max_tx; }

  // Notified when state, availability or facts changed.
  Signal& changed() { return changed_; }

  // Takes an announcement back because a fetch found it wrong.
  void retract(std::uint32_t number);
  // The same when the parent says that it has no such piece. Tasks are dropped whole: one that announced
  // everything, and says so of two pieces, has nothing any more.
  void lost(std::uint32_t number);

 private:
  friend class ParentLink;
  Task<void> run();
  Task<Result<void>> follow_sync_pieces(bool& moved);
  Task<Result<void>> follow_bitmaps();
  Task<void> follow_host();
  Result<void> apply(const vortex::Have& have);
  void note();

  ParentPool& pool_;
  Candidate parent_;
  WatchOptions options_;
  Log log_;
  State state_ = State::kAsking;
  std::optional<Error> error_;
  store::Bitmap complete_, arriving_, given_;
  PieceShare share_;
  std::uint64_t version_ = 0;
  DataAddress data_;
  std::optional<std::uint64_t> content_length_;
  bool host_followed_ = false;
  bool all_ = false;  // the parent said that its task is complete
  std::uint32_t piece_limit_ = 0;
  std::uint32_t lost_ = 0;  // pieces that it announced and has not
  Signal changed_;
  Scope scope_;
};

}  // namespace d7y::swarm
