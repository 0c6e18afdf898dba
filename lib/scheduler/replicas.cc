#include "scheduler/replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/common.h"
#include "base/siphash.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kMostTasks = 200'000;
constexpr std::size_t kMostTasksOfHost = 20'000;
constexpr std::size_t kMostPeers = 20'000;  // of one task
constexpr std::size_t kMostBlocked = 64;
constexpr std::uint32_t kMostCopiesAtOnce = 64;        // being made of one task
constexpr std::size_t kShortAtOnce = 64;               // tasks without enough copies, looked at in one tick
constexpr Duration kAvoid = std::chrono::minutes(10);  // a host that failed to make a copy
constexpr Duration kMaking = std::chrono::hours(12);   // nobody says how a copy ended
constexpr Duration kKeepFailed = std::chrono::minutes(1);  // for those who ask

bool in_progress(ReplicaState state) {
  return state == ReplicaState::kReceivedEmpty || state == ReplicaState::kReceivedNormal ||
         state == ReplicaState::kRunning;
}

// Bytes free on a host's disk as it said last; none: it did not say.
std::optional<std::uint64_t> room_of(const HostRecord& host) {
  api::common::Host message;
  if (!message.ParseFromString(host.facts.announcement) || !message.has_disk()) return std::nullopt;
  return message.disk().free();
}

}  // namespace

std::string_view name_of(ReplicaState state) {
  switch (state) {
    case ReplicaState::kPending: return "Pending";
    case ReplicaState::kUploading: return "Uploading";
    case ReplicaState::kReceivedEmpty: return "ReceivedEmpty";
    case ReplicaState::kReceivedNormal: return "ReceivedNormal";
    case ReplicaState::kRunning: return "Running";
    case ReplicaState::kSucceeded: return "Succeeded";
    default: return "Failed";
  }
}

std::uint32_t ReplicaTask::persistent_copies() const {
  return static_cast<std::uint32_t>(std::count_if(peers.begin(), peers.end(), [](const auto& entry) {
    return entry.second.persistent && entry.second.state == ReplicaState::kSucceeded;
  }));
}
std::uint32_t ReplicaTask::copies() const {
  return static_cast<std::uint32_t>(std::count_if(peers.begin(), peers.end(), [](const auto& entry) {
    return entry.second.state == ReplicaState::kSucceeded;
  }));
}

Replicas::Replicas(const Brain& brain, std::uint64_t random_seed)
    : brain_(brain), random_state_(random_seed) {}

std::uint64_t Replicas::random() {
  random_state_ += 0x9e3779b97f4a7c15ULL;
  auto z = random_state_;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
  return z ^ z >> 31;
}

const ReplicaTask* Replicas::task(const ReplicaKey& key) const {
  const auto found = tasks_.find(key);
  return found == tasks_.end() ? nullptr : &found->second;
}
ReplicaTask* Replicas::find(const ReplicaKey& key) {
  const auto found = tasks_.find(key);
  return found == tasks_.end() ? nullptr : &found->second;
}
Replica* Replicas::find_peer(const ReplicaKey& key, const std::string& peer_id) {
  auto* task = find(key);
  if (task == nullptr) return nullptr;
  const auto found = task->peers.find(peer_id);
  return found == task->peers.end() ? nullptr : &found->second;
}

// The books.

void Replicas::changed(const ReplicaKey& key, const std::string& peer_id) {
  actions_.emplace_back(ReplicaChanged{key, peer_id});
}

void Replicas::add_peer(ReplicaTask& task, const std::string& peer_id, Replica replica) {
  erase_peer(task, peer_id);
  ++of_host_[replica.host_id][task.facts.key];
  task.peers[peer_id] = std::move(replica);
}

void Replicas::erase_peer(ReplicaTask& task, const std::string& peer_id) {
  const auto found = task.peers.find(peer_id);
  if (found == task.peers.end()) return;
  const auto host = of_host_.find(found->second.host_id);
  if (host != of_host_.end()) {
    const auto count = host->second.find(task.facts.key);
    if (count != host->second.end() && --count->second == 0) host->second.erase(count);
    if (host->second.empty()) of_host_.erase(host);
  }
  task.peers.erase(found);
}

void Replicas::erase_task(const ReplicaKey& key) {
  auto* task = find(key);
  if (task == nullptr) return;
  while (!task->peers.empty()) erase_peer(*task, std::string(task->peers.begin()->first));
  expiry_.erase({task->expires(), key});
  wanting_.erase(key);
  tasks_.erase(key);
}

// Uploads.

Result<void> Replicas::may_take(const ReplicaTask& task, const std::string& host_id,
                                const std::string& peer_id) const {
  const auto found = task.peers.find(peer_id);
  if (found != task.peers.end() &&
      (found->second.live || found->second.host_id != host_id ||
       found->second.state == ReplicaState::kSucceeded || found->second.state == ReplicaState::kUploading)) {
    return error(ErrorCode::kExists, "peer {} is known already; use a new id for each download", peer_id);
  }
  if (found == task.peers.end() && task.peers.size() >= kMostPeers) {
    return error(ErrorCode::kExhausted, "task {} has {} peers already", task.facts.key.task_id, kMostPeers);
  }
  return {};
}

// Nobody tells that a daemon died while it uploaded, or is at it still. So whoever else has the same content
// uploads it beside the others.
bool Replicas::uploads_alone(const ReplicaTask& task, const std::string& host_id) {
  return std::all_of(task.peers.begin(), task.peers.end(), [&](const auto& entry) {
    return entry.second.state != ReplicaState::kUploading || entry.second.host_id == host_id;
  });
}

// Who uploaded is gone.
void Replicas::upload_ended(ReplicaTask& task, WallTime now) {
  if (task.state != ReplicaState::kUploading) return;
  const bool others = std::any_of(task.peers.begin(), task.peers.end(), [](const auto& entry) {
    return entry.second.state == ReplicaState::kUploading;
  });
  if (others) return;
  task.state = ReplicaState::kFailed;
  task.updated = now;
  changed(task.facts.key, "");
}

Result<void> Replicas::upload_started(ReplicaFacts facts, const std::string& host_id,
                                      const std::string& peer_id, std::uint32_t concurrent_pieces,
                                      WallTime now) {
  if (!brain_.find_host(host_id)) {
    return error(ErrorCode::kNotFound, "host {} is not known here: announce it, then upload again", host_id);
  }
  const ReplicaKey key = facts.key;
  if (auto* known = find(key)) {
    const bool alive = known->expires() > now;
    const bool same = known->facts.content_length == facts.content_length &&
                      known->facts.piece_length == facts.piece_length;
    const bool uploading = alive && known->state == ReplicaState::kUploading;
    if (alive && known->state == ReplicaState::kSucceeded) {
      return error(ErrorCode::kExists, "task {} is there already", key.task_id);
    }
    if (uploading && !same && !uploads_alone(*known, host_id)) {
      return error(ErrorCode::kExists, "task {} is being uploaded with other contents", key.task_id);
    }
    TRY_OK(may_take(*known, host_id, peer_id));
    if (!uploading || !same) {
      actions_.emplace_back(ReplicaGone{key, ""});
      erase_task(key);
    }
  }
  const auto here = of_host_.find(host_id);
  if (here != of_host_.end() && here->second.size() >= kMostTasksOfHost) {
    return error(ErrorCode::kExhausted, "host {} has {} persistent tasks already", host_id, kMostTasksOfHost);
  }
  if (tasks_.size() >= kMostTasks) {
    return error(ErrorCode::kExhausted, "there are {} persistent tasks already", kMostTasks);
  }
  auto& task = tasks_[key];
  expiry_.erase({task.expires(), key});
  task.facts = std::move(facts);
  task.state = ReplicaState::kUploading;
  task.created = task.updated = now;
  expiry_.insert({task.expires(), key});
  Replica replica;
  replica.host_id = host_id;
  replica.persistent = true;
  replica.state = ReplicaState::kUploading;
  replica.concurrent_pieces = concurrent_pieces;
  replica.created = replica.updated = now;
  add_peer(task, peer_id, std::move(replica));
  changed(key, "");
  changed(key, peer_id);
  return {};
}

Result<void> Replicas::upload_finished(const ReplicaKey& key, const std::string& host_id,
                                       const std::string& peer_id, WallTime now) {
  auto* task = find(key);
  auto* peer = find_peer(key, peer_id);
  if (task == nullptr || peer == nullptr || peer->host_id != host_id) {
    return error(ErrorCode::kNotFound, "peer {} of task {} is not known here", peer_id, key.task_id);
  }
  if (peer->state == ReplicaState::kSucceeded) return {};  // said twice
  if (peer->state != ReplicaState::kUploading) {
    return error(ErrorCode::kPrecondition, "peer {} does not upload; it is {}", peer_id,
                 name_of(peer->state));
  }
  peer->state = task->state = ReplicaState::kSucceeded;
  peer->finished_pieces = task->facts.piece_count;
  peer->cost = now - peer->created;
  peer->updated = task->updated = now;
  changed(key, "");
  changed(key, peer_id);
  drop_older_copies(*task, peer_id);
  wanting_.insert(key);
  return {};
}

Result<void> Replicas::upload_failed(const ReplicaKey& key, const std::string& host_id,
                                     const std::string& peer_id, WallTime now) {
  auto* task = find(key);
  auto* peer = find_peer(key, peer_id);
  if (task == nullptr || peer == nullptr || peer->host_id != host_id) {
    return error(ErrorCode::kNotFound, "peer {} of task {} is not known here", peer_id, key.task_id);
  }
  if (peer->state != ReplicaState::kUploading) return {};
  peer->state = ReplicaState::kFailed;
  peer->updated = now;
  changed(key, peer_id);
  upload_ended(*task, now);
  return {};
}

// Downloads.

Result<ReplicaAnswer> Replicas::register_peer(const Registration& registration, WallTime now) {
  if (!brain_.find_host(registration.host_id)) {
    return error(ErrorCode::kNotFound, "host {} is not known here: announce it, then register again",
                 registration.host_id);
  }
  auto* task = find(registration.key);
  if (task == nullptr || task->expires() <= now) {
    return error(ErrorCode::kNotFound, "task {} is not known here", registration.key.task_id);
  }
  TRY_OK(may_take(*task, registration.host_id, registration.peer_id));
  Replica replica;
  replica.host_id = registration.host_id;
  replica.persistent = registration.persistent;
  replica.concurrent_pieces = registration.concurrent_pieces;
  replica.created = replica.updated = now;
  replica.live = true;
  add_peer(*task, registration.peer_id, std::move(replica));
  auto& peer = task->peers[registration.peer_id];
  if (task->facts.content_length == 0 && task->state == ReplicaState::kSucceeded) {
    peer.state = ReplicaState::kReceivedEmpty;
    return ReplicaAnswer{ReplicaAnswer::What::kEmpty, {}};
  }
  peer.state = ReplicaState::kReceivedNormal;
  const bool source = registration.key.kind == ReplicaKind::kPersistent;
  if (source && (registration.need_back_to_source || task->state != ReplicaState::kSucceeded)) {
    return ReplicaAnswer{ReplicaAnswer::What::kBackToSource, {}};
  }
  auto answer = choose(*task, registration.peer_id, peer, now);
  if (!answer) peer.live = false;
  return answer;
}

Result<ReplicaAnswer> Replicas::reschedule(const ReplicaKey& key, const std::string& peer_id, WallTime now) {
  auto* task = find(key);
  auto* peer = find_peer(key, peer_id);
  if (task == nullptr || peer == nullptr || !in_progress(peer->state)) {
    return error(ErrorCode::kNotFound, "peer {} of task {} is not known here", peer_id, key.task_id);
  }
  peer->updated = now;
  return choose(*task, peer_id, *peer, now);
}

// Near ones first, complete ones before those that download, those that were chosen less before others.
Result<ReplicaAnswer> Replicas::choose(ReplicaTask& task, const std::string& peer_id, Replica& child,
                                       WallTime now) {
  struct Candidate {
    double score;
    const std::string* id;
    Replica* replica;
  };
  const auto* own = brain_.host(brain_.find_host(child.host_id));
  std::vector<Candidate> candidates;
  for (auto& [id, replica] : task.peers) {
    const bool complete = replica.state == ReplicaState::kSucceeded;
    if (id == peer_id || replica.host_id == child.host_id) continue;
    if (!complete && !(replica.state == ReplicaState::kRunning && replica.live)) continue;
    if (std::find(child.blocked.begin(), child.blocked.end(), id) != child.blocked.end()) continue;
    const auto* host = brain_.host(brain_.find_host(replica.host_id));
    if (host == nullptr || host->facts.disable_shared) continue;
    double score = 0.25 * static_cast<double>(replica.chosen) + static_cast<double>(random() % 1000) / 4000;
    if (!complete) score += 1;
    if (own != nullptr && own->site != host->site) score += 3;
    candidates.push_back({score, &id, &replica});
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.score < b.score; });
  if (candidates.size() > brain_.options().candidate_parents)
    candidates.resize(brain_.options().candidate_parents);
  if (candidates.empty()) {
    if (task.facts.key.kind == ReplicaKind::kPersistent)
      return ReplicaAnswer{ReplicaAnswer::What::kBackToSource, {}};
    child.state = ReplicaState::kFailed;
    child.updated = now;
    return error(ErrorCode::kPrecondition, "nobody who can give task {} is here", task.facts.key.task_id);
  }
  ReplicaAnswer answer;
  for (const auto& candidate : candidates) {
    ++candidate.replica->chosen;
    answer.parents.push_back(*candidate.id);
  }
  return answer;
}

void Replicas::started(const ReplicaKey& key, const std::string& peer_id, WallTime now) {
  auto* peer = find_peer(key, peer_id);
  if (peer == nullptr || !in_progress(peer->state)) return;
  peer->state = ReplicaState::kRunning;
  peer->updated = now;
}

void Replicas::piece_finished(const ReplicaKey& key, const std::string& peer_id) {
  auto* task = find(key);
  auto* peer = find_peer(key, peer_id);
  if (peer == nullptr || !in_progress(peer->state)) return;
  if (peer->finished_pieces < task->facts.piece_count) ++peer->finished_pieces;
}

void Replicas::piece_failed(const ReplicaKey& key, const std::string& peer_id, const std::string& parent_id) {
  auto* peer = find_peer(key, peer_id);
  if (peer == nullptr || !in_progress(peer->state)) return;
  if (std::find(peer->blocked.begin(), peer->blocked.end(), parent_id) != peer->blocked.end()) return;
  if (peer->blocked.size() >= kMostBlocked) peer->blocked.erase(peer->blocked.begin());
  peer->blocked.push_back(parent_id);
}

void Replicas::finished(const ReplicaKey& key, const std::string& peer_id, WallTime now) {
  auto* task = find(key);
  auto* peer = find_peer(key, peer_id);
  if (peer == nullptr || !in_progress(peer->state)) return;
  peer->state = ReplicaState::kSucceeded;
  peer->finished_pieces = task->facts.piece_count;
  peer->cost = now - peer->created;
  peer->updated = now;
  peer->live = false;
  peer->blocked.clear();
  changed(key, peer_id);
  drop_older_copies(*task, peer_id);
}

// One copy a host: what it had before is the same files.
void Replicas::drop_older_copies(ReplicaTask& task, const std::string& peer_id) {
  auto& peer = task.peers.at(peer_id);
  std::vector<std::string> older;
  for (const auto& [id, other] : task.peers) {
    if (id != peer_id && other.host_id == peer.host_id && other.state == ReplicaState::kSucceeded) {
      peer.persistent |= other.persistent;
      older.push_back(id);
    }
  }
  for (const auto& id : older) {
    erase_peer(task, id);
    actions_.emplace_back(ReplicaGone{task.facts.key, id});
  }
}

void Replicas::failed(const ReplicaKey& key, const std::string& peer_id, WallTime now) {
  auto* task = find(key);
  auto* peer = find_peer(key, peer_id);
  if (peer == nullptr) return;
  peer->live = false;
  if (!in_progress(peer->state)) return;
  peer->state = ReplicaState::kFailed;
  peer->updated = now;
  if (peer->persistent && task->state == ReplicaState::kSucceeded) wanting_.insert(key);
}

void Replicas::lost(const ReplicaKey& key, const std::string& peer_id, WallTime now) {
  failed(key, peer_id, now);
}

// Removals.

bool Replicas::delete_task(const ReplicaKey& key, WallTime now) {
  auto* task = find(key);
  if (task == nullptr) return false;
  (void)now;
  std::set<std::string> hosts;
  for (const auto& [id, replica] : task->peers) hosts.insert(replica.host_id);
  for (const auto& host : hosts) actions_.emplace_back(DropReplica{key, host});
  actions_.emplace_back(ReplicaGone{key, ""});
  erase_task(key);
  return true;
}

bool Replicas::delete_peer(const ReplicaKey& key, const std::string& peer_id, WallTime now) {
  auto* task = find(key);
  const auto* peer = find_peer(key, peer_id);
  if (peer == nullptr) return false;
  const auto host = peer->host_id;
  erase_peer(*task, peer_id);
  actions_.emplace_back(ReplicaGone{key, peer_id});
  upload_ended(*task, now);
  task->avoiding[host] = now + kAvoid;  // whoever deletes a copy does not want it back at once
  if (task->state == ReplicaState::kSucceeded) wanting_.insert(key);
  return true;
}

void Replicas::host_left(const std::string& host_id, WallTime now) {
  const auto found = of_host_.find(host_id);
  if (found == of_host_.end()) return;
  std::vector<ReplicaKey> keys;
  for (const auto& [key, count] : found->second) keys.push_back(key);
  for (const auto& key : keys) {
    auto& task = *find(key);
    std::vector<std::string> gone;
    for (const auto& [id, replica] : task.peers) {
      if (replica.host_id == host_id) gone.push_back(id);
    }
    for (const auto& id : gone) {
      erase_peer(task, id);
      actions_.emplace_back(ReplicaGone{key, id});
    }
    upload_ended(task, now);
    task.making.erase(host_id);
    if (task.state == ReplicaState::kSucceeded) wanting_.insert(key);
  }
}

// Copies.

void Replicas::made(const ReplicaKey& key, const std::string& host_id, bool ok, WallTime now) {
  auto* task = find(key);
  if (task == nullptr) return;
  task->making.erase(host_id);
  bool there = false;
  for (auto& [id, replica] : task->peers) {
    if (replica.host_id != host_id || replica.state != ReplicaState::kSucceeded) continue;
    there = true;
    if (ok && !replica.persistent) {
      replica.persistent = true;
      replica.updated = now;
      changed(key, id);
    }
  }
  if (!ok || !there) task->avoiding[host_id] = now + kAvoid;
  wanting_.insert(key);
}

void Replicas::replicate(ReplicaTask& task, WallTime now) {
  const auto& key = task.facts.key;
  std::erase_if(task.making, [&](const auto& entry) { return entry.second <= now; });
  std::erase_if(task.avoiding, [&](const auto& entry) { return entry.second <= now; });
  // Hosts that count, and hosts that have it without having to.
  std::set<std::string> counted, holding;
  std::map<std::uint32_t, std::uint32_t> in_site;
  for (const auto& [host, until] : task.making) counted.insert(host);
  for (const auto& [id, replica] : task.peers) {
    if (replica.persistent && (replica.state == ReplicaState::kSucceeded || in_progress(replica.state))) {
      counted.insert(replica.host_id);
    } else if (replica.state == ReplicaState::kSucceeded) {
      holding.insert(replica.host_id);
    }
  }
  for (const auto& host : counted) {
    if (const auto* record = brain_.host(brain_.find_host(host))) ++in_site[record->site];
  }
  const auto ask = [&](const HostRecord& host, bool has_it) {
    counted.insert(host.facts.id);
    ++in_site[host.site];
    task.making[host.facts.id] = now + kMaking;
    actions_.emplace_back(MakeReplica{key, host.facts.id, has_it});
  };
  const auto enough = [&] {
    return counted.size() >= task.facts.wanted || task.making.size() >= kMostCopiesAtOnce;
  };
  for (const auto& id : holding) {
    if (enough()) return;
    const auto* host = brain_.host(brain_.find_host(id));
    if (host != nullptr && !host->facts.disable_shared && !counted.contains(id) &&
        !task.avoiding.contains(id))
      ask(*host, true);
  }
  if (enough()) return;
  // The others, those first that stand where few copies are.
  struct Place {
    std::uint64_t weight;
    const HostRecord* host;
  };
  std::map<std::uint32_t, std::vector<Place>> places;  // by site, best last
  const auto& hosts = brain_.hosts();
  for (std::uint32_t at = 0; at < hosts.end(); ++at) {
    if (!hosts.live(at)) continue;
    const auto& host = hosts.at(at);
    const auto& id = host.facts.id;
    if (host.facts.disable_shared || counted.contains(id) || task.avoiding.contains(id)) continue;
    if (!host.health.may_serve(host.updated)) continue;  // as of its last sign of life
    places[host.site].push_back({siphash24(as_bytes(key.task_id + "\n" + id)), &host});
  }
  for (auto& [site, list] : places) {
    std::sort(list.begin(), list.end(), [](const Place& a, const Place& b) { return a.weight < b.weight; });
  }
  while (!enough()) {
    auto best = places.end();
    for (auto at = places.begin(); at != places.end(); ++at) {
      if (at->second.empty()) continue;
      if (best == places.end() || in_site[at->first] < in_site[best->first]) best = at;
    }
    if (best == places.end()) return;
    const auto* host = best->second.back().host;
    best->second.pop_back();
    const auto room = room_of(*host);
    if (room && *room < task.facts.content_length) continue;
    ask(*host, false);
  }
}

std::vector<ReplicaAction> Replicas::take_actions(WallTime now) {
  // Those that stay short are looked at again by tick().
  for (const auto& key : std::exchange(wanting_, {})) {
    auto* task = find(key);
    if (task != nullptr && task->state == ReplicaState::kSucceeded) replicate(*task, now);
  }
  return std::exchange(actions_, {});
}

void Replicas::tick(WallTime now) {
  while (!expiry_.empty() && expiry_.begin()->first <= now) {
    const auto key = expiry_.begin()->second;
    actions_.emplace_back(ReplicaGone{key, ""});
    erase_task(key);
  }
  for (auto& [key, task] : tasks_) {
    std::erase_if(task.peers, [&](const auto& entry) {
      if (entry.second.state != ReplicaState::kFailed || entry.second.live ||
          now - entry.second.updated < kKeepFailed) {
        return false;
      }
      const auto host = of_host_.find(entry.second.host_id);
      if (host != of_host_.end()) {
        const auto count = host->second.find(key);
        if (count != host->second.end() && --count->second == 0) host->second.erase(count);
        if (host->second.empty()) of_host_.erase(host);
      }
      actions_.emplace_back(ReplicaGone{key, entry.first});
      return true;
    });
  }
  // Uploads that failed leave nothing behind.
  std::vector<ReplicaKey> empty;
  for (const auto& [key, task] : tasks_) {
    if (task.state == ReplicaState::kFailed && task.peers.empty() && now - task.updated > kKeepFailed)
      empty.push_back(key);
  }
  for (const auto& key : empty) {
    actions_.emplace_back(ReplicaGone{key, ""});
    erase_task(key);
  }
  // Those that are short, a few at a time: each looks at all hosts.
  std::size_t looked = 0;
  auto at = tasks_.upper_bound(looked_at_);
  for (std::size_t i = 0; i < tasks_.size() && looked < kShortAtOnce; ++i, ++at) {
    if (at == tasks_.end()) at = tasks_.begin();
    const auto& task = at->second;
    if (task.state != ReplicaState::kSucceeded ||
        task.persistent_copies() + task.making.size() >= task.facts.wanted) {
      continue;
    }
    wanting_.insert(at->first);
    looked_at_ = at->first;
    ++looked;
  }
}

// What was before.

void Replicas::restore_task(ReplicaTask task) {
  const auto key = task.facts.key;
  std::map<std::string, Replica> talking;
  std::map<std::string, WallTime> making, avoiding;
  if (auto* known = find(key)) {
    for (const auto& [id, replica] : known->peers) {
      if (replica.live) talking[id] = replica;
    }
    making = std::move(known->making);
    avoiding = std::move(known->avoiding);
    erase_task(key);
  }
  if (tasks_.size() >= kMostTasks) return;
  task.peers.clear();
  auto& made = tasks_[key] = std::move(task);
  made.making = std::move(making);
  made.avoiding = std::move(avoiding);
  expiry_.insert({made.expires(), key});
  for (auto& [id, replica] : talking) add_peer(made, id, std::move(replica));
  if (made.state == ReplicaState::kSucceeded) wanting_.insert(key);
}

void Replicas::restore_peer(const ReplicaKey& key, const std::string& peer_id, Replica replica) {
  auto* task = find(key);
  if (task == nullptr || task->peers.size() >= kMostPeers) return;
  if (const auto* known = find_peer(key, peer_id); known != nullptr && known->live) return;
  replica.live = false;
  add_peer(*task, peer_id, std::move(replica));
}

void Replicas::forget(const ReplicaKey& key) { erase_task(key); }

std::string Replicas::check() const {
  std::size_t there = 0;
  for (const auto& [key, task] : tasks_) {
    if (!expiry_.contains({task.expires(), key})) return "a task that never expires";
    std::map<std::string, std::uint32_t> hosts;
    for (const auto& [id, replica] : task.peers) ++hosts[replica.host_id];
    for (const auto& [host, count] : hosts) {
      const auto found = of_host_.find(host);
      if (found == of_host_.end()) return fmt::format("host {} is not filed", host);
      const auto counted = found->second.find(key);
      if (counted == found->second.end() || counted->second != count)
        return fmt::format("host {} is counted wrongly", host);
    }
    there += hosts.size();
  }
  if (expiry_.size() != tasks_.size()) return "a task that is gone expires";
  std::size_t filed = 0;
  for (const auto& [host, tasks] : of_host_) filed += tasks.size();
  if (filed != there) return "a host is filed that has nothing";
  return {};
}

}  // namespace d7y::scheduler
