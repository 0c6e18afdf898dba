// Persistent and persistent-cache tasks: content that has to be on so many hosts for so long. Pure: events
// and the time go in, actions come out.
//
//   Replicas replicas(brain, random_seed);           // looks hosts up in the brain
//   TRY_OK(replicas.upload_started(facts, "host", "peer", now));
//   TRY_OK(replicas.upload_finished(key, "host", "peer", now));
//   for (auto& action : replicas.take_actions(now)) ...
//
// A task is made by a host that uploads it, and counts from the moment the upload is finished. Then hosts are
// asked for copies until there are as many persistent ones as were wished for: first those that have the
// content anyway, then others, spread over sites, with room on their disks. When a host leaves, or fails, the
// next one is asked. After its time to live the task is forgotten.
//
// Times are those of the wall, because they outlive the process.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/result.h"
#include "scheduler/brain.h"

namespace d7y::scheduler {

enum class ReplicaKind : std::uint8_t { kPersistent, kPersistentCache };

struct ReplicaKey {
  ReplicaKind kind = ReplicaKind::kPersistent;
  std::string task_id;
  auto operator<=>(const ReplicaKey&) const = default;
};

enum class ReplicaState : std::uint8_t {
  kPending,
  kUploading,
  kReceivedEmpty,
  kReceivedNormal,
  kRunning,
  kSucceeded,
  kFailed,
};
std::string_view name_of(ReplicaState state);  // Dragonfly's names, of peers and tasks

// What the content is and what was wished for it.
struct ReplicaFacts {
  ReplicaKey key;
  std::string url, region, endpoint;  // persistent
  std::string tag, application;       // persistent cache
  std::uint64_t content_length = 0, piece_length = 0;
  std::uint32_t piece_count = 0;
  std::uint32_t wanted = 1;  // persistent replicas
  Duration ttl{};
};

struct Replica {
  std::string host_id;
  bool persistent = false;
  ReplicaState state = ReplicaState::kPending;
  std::uint32_t concurrent_pieces = 8, finished_pieces = 0;
  Duration cost{};
  WallTime created{}, updated{};
  bool live = false;                 // it is talking to us now
  std::vector<std::string> blocked;  // peers it does not want as parents
  std::uint32_t chosen = 0;          // how often it became a parent
};

struct ReplicaTask {
  ReplicaFacts facts;
  ReplicaState state = ReplicaState::kPending;  // Pending, Uploading, Succeeded, Failed
  WallTime created{}, updated{};
  std::map<std::string, Replica> peers;      // by peer id
  std::map<std::string, WallTime> making;    // hosts that were asked for a copy
  std::map<std::string, WallTime> avoiding;  // hosts that failed, until when

  WallTime expires() const { return created + facts.ttl; }
  std::uint32_t persistent_copies() const;
  std::uint32_t copies() const;
};

// Actions.
// Ask the host for a copy, or, if it has one, to keep it; tell the outcome with made().
struct MakeReplica {
  ReplicaKey key;
  std::string host_id;
  bool has_it = false;
};
// Ask the host to delete its copy.
struct DropReplica {
  ReplicaKey key;
  std::string host_id;
};
// Something worth remembering changed: the task (no peer id) or a peer; or is gone, a task with all peers.
struct ReplicaChanged {
  ReplicaKey key;
  std::string peer_id;
};
struct ReplicaGone {
  ReplicaKey key;
  std::string peer_id;
};
using ReplicaAction = std::variant<MakeReplica, DropReplica, ReplicaChanged, ReplicaGone>;

struct ReplicaAnswer {
  enum class What : std::uint8_t { kEmpty, kParents, kBackToSource } what = What::kParents;
  std::vector<std::string> parents;  // peer ids
};

class Replicas {
 public:
  Replicas(const Brain& brain, std::uint64_t random_seed);

  // Several hosts, or one that begins again, may upload the same content at once: the first that is done
  // makes the task. kNotFound: the host is unknown; kExists: the task is there, or another host uploads
  // something else under its name, or the peer id is taken.
  Result<void> upload_started(ReplicaFacts facts, const std::string& host_id, const std::string& peer_id,
                              std::uint32_t concurrent_pieces, WallTime now);
  // kNotFound: no such task or peer; kPrecondition: it does not upload.
  Result<void> upload_finished(const ReplicaKey& key, const std::string& host_id, const std::string& peer_id,
                               WallTime now);
  Result<void> upload_failed(const ReplicaKey& key, const std::string& host_id, const std::string& peer_id,
                             WallTime now);

  struct Registration {
    ReplicaKey key;
    std::string host_id, peer_id;
    bool persistent = false, need_back_to_source = false;
    std::uint32_t concurrent_pieces = 8;
  };
  // kNotFound: host or task; kExists: the peer id is taken; kPrecondition: nobody has it (persistent cache).
  Result<ReplicaAnswer> register_peer(const Registration& registration, WallTime now);
  // Its parents are used up.
  Result<ReplicaAnswer> reschedule(const ReplicaKey& key, const std::string& peer_id, WallTime now);
  void started(const ReplicaKey& key, const std::string& peer_id, WallTime now);
  void piece_finished(const ReplicaKey& key, const std::string& peer_id);
  void piece_failed(const ReplicaKey& key, const std::string& peer_id, const std::string& parent_id);
  void finished(const ReplicaKey& key, const std::string& peer_id, WallTime now);
  void failed(const ReplicaKey& key, const std::string& peer_id, WallTime now);
  // The stream ended without one of those.
  void lost(const ReplicaKey& key, const std::string& peer_id, WallTime now);

  // False if there was none. A task's copies are dropped at their hosts.
  bool delete_task(const ReplicaKey& key, WallTime now);
  bool delete_peer(const ReplicaKey& key, const std::string& peer_id, WallTime now);
  void host_left(const std::string& host_id, WallTime now);
  // How a MakeReplica ended.
  void made(const ReplicaKey& key, const std::string& host_id, bool ok, WallTime now);

  // From a ledger, in place of what is known; streams that are open here stay.
  void restore_task(ReplicaTask task);
  void restore_peer(const ReplicaKey& key, const std::string& peer_id, Replica replica);
  // The ledger does not have it any more.
  void forget(const ReplicaKey& key);

  std::vector<ReplicaAction> take_actions(WallTime now);
  // Expiry, and copies that could not be made before. Now and then.
  void tick(WallTime now);

  const ReplicaTask* task(const ReplicaKey& key) const;
  std::size_t size() const { return tasks_.size(); }
  // Empty if all books agree; for tests.
  std::string check() const;

 private:
  ReplicaTask* find(const ReplicaKey& key);
  Replica* find_peer(const ReplicaKey& key, const std::string& peer_id);
  void changed(const ReplicaKey& key, const std::string& peer_id);
  void add_peer(ReplicaTask& task, const std::string& peer_id, Replica replica);
  void erase_peer(ReplicaTask& task, const std::string& peer_id);
  void erase_task(const ReplicaKey& key);
  Result<void> may_take(const ReplicaTask& task, const std::string& host_id,
                        const std::string& peer_id) const;
  // Nobody but this host uploads it.
  static bool uploads_alone(const ReplicaTask& task, const std::string& host_id);
  void drop_older_copies(ReplicaTask& task, const std::string& peer_id);
  void upload_ended(ReplicaTask& task, WallTime now);
  Result<ReplicaAnswer> choose(ReplicaTask& task, const std::string& peer_id, Replica& child, WallTime now);
  void replicate(ReplicaTask& task, WallTime now);
  std::uint64_t random();

  const Brain& brain_;
  std::uint64_t random_state_;
  std::map<ReplicaKey, ReplicaTask> tasks_;
  std::set<std::pair<WallTime, ReplicaKey>> expiry_;
  std::unordered_map<std::string, std::map<ReplicaKey, std::uint32_t>> of_host_;  // peers there, by task
  std::set<ReplicaKey> wanting_;                                                  // may need more copies
  ReplicaKey looked_at_;                                                          // where tick() goes on
  std::vector<ReplicaAction> actions_;
};

}  // namespace d7y::scheduler
