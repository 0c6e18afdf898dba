// AnnouncePeer messages from strangers, through the checks and into the brain, and the same bytes as messages
// about persistent tasks, and as replies of a Redis. Each byte string is a list of messages, each behind one
// byte of length; whatever they say, all books stay right.
#include <cstdint>
#include <cstdlib>
#include <map>

#include "api/validate.h"
#include "scheduler/brain.h"
#include "scheduler/messages.h"
#include "scheduler/replica_kinds.h"
#include "scheduler/replicas.h"
#include "scheduler/resp.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

void settle(Brain& brain, TimePoint now) {
  do {
    for (const auto& action : brain.take_actions(now)) {
      const auto* parents = std::get_if<SendParents>(&action);
      if (parents == nullptr || brain.peer(parents->peer) == nullptr) continue;
      const Clocks clocks{now, WallTime{} + std::chrono::hours(24 * 365 * 50)};
      const auto message = parents_message(brain, *parents, clocks);
      for (const auto& parent : message.normal_task_response().candidate_parents())
        must(api::validate(parent).ok());
    }
  } while (brain.pending());
}

template <class Kind>
void take(Replicas& replicas, const std::uint8_t* bytes, std::size_t length, WallTime now) {
  typename Kind::Announce message;
  if (!message.ParseFromArray(bytes, static_cast<int>(length)) || !api::validate(message)) return;
  const ReplicaKey key{Kind::kKind, message.task_id()};
  const auto& peer = message.peer_id();
  if (replicas.task(key) == nullptr) {
    ReplicaFacts facts;
    facts.key = key;
    facts.wanted = 2;
    facts.content_length = length;
    facts.ttl = std::chrono::minutes(10);
    (void)replicas.upload_started(std::move(facts), "a", "up", 8, now);
    if (length % 3 != 0) (void)replicas.upload_finished(key, "a", "up", now);
  }
  switch (Kind::says(message)) {
    case ReplicaSays::kRegister: (void)replicas.register_peer(Kind::registration(message), now); break;
    case ReplicaSays::kStarted: replicas.started(key, peer, now); break;
    case ReplicaSays::kReschedule:
      Kind::block_given(message, [&](const std::string& id) { replicas.piece_failed(key, peer, id); });
      (void)replicas.reschedule(key, peer, now);
      break;
    case ReplicaSays::kFinished: replicas.finished(key, peer, now); break;
    case ReplicaSays::kFailed: replicas.failed(key, peer, now); break;
    case ReplicaSays::kPieceFinished: replicas.piece_finished(key, peer); break;
    case ReplicaSays::kPieceFailed: replicas.piece_failed(key, peer, message.host_id()); break;
    default: replicas.lost(key, peer, now); break;
  }
  if (length % 7 == 0) replicas.host_left(message.host_id(), now);
  if (length % 11 == 0) replicas.made(key, message.host_id(), length % 2 == 0, now);
  for (const auto& action : replicas.take_actions(now)) {
    if (const auto* make = std::get_if<MakeReplica>(&action))
      replicas.made(make->key, make->host_id, false, now);
  }
  must(replicas.check().empty());
}

void read_replies(const std::uint8_t* data, std::size_t size) {
  RespReader reader;
  for (std::size_t at = 0; at < size; at += 7) {
    reader.feed(
        std::string_view(reinterpret_cast<const char*>(data) + at, std::min<std::size_t>(7, size - at)));
    for (;;) {
      const auto next = reader.next();
      if (!next) return;
      if (!*next) break;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Brain brain(BrainOptions{}, 1);
  TimePoint now{std::chrono::hours(1)};
  for (const char* name : {"a", "b", "c"}) {
    api::scheduler::AnnounceHostRequest request;
    auto& host = *request.mutable_host();
    host.set_id(name);
    host.set_hostname(name);
    host.set_ip("10.0.0.1");
    host.set_port(4000);
    host.set_download_port(4000);
    host.set_type(*name == 'c' ? 1 : 0);
    brain.announce_host(host_facts(request), now);
  }
  read_replies(data, size);
  Replicas replicas(brain, 1);
  WallTime wall{std::chrono::hours(24 * 365 * 50)};
  for (std::size_t at = 0; at < size;) {
    const std::size_t length = std::min<std::size_t>(data[at], size - at - 1);
    const auto* bytes = data + at + 1;
    at += 1 + length;
    now += std::chrono::milliseconds(100);
    wall += std::chrono::seconds(1);
    take<PersistentKind>(replicas, bytes, length, wall);
    take<PersistentCacheKind>(replicas, bytes, length, wall);
    api::scheduler::AnnouncePeerRequest request;
    if (!request.ParseFromArray(bytes, static_cast<int>(length)) || !api::validate(request)) {
      brain.tick(now);
      continue;
    }
    const auto peer = brain.find_peer(request.peer_id());
    if (request.has_register_peer_request()) {
      RegistrationParts parts;
      const auto priority = static_cast<std::uint8_t>(request.register_peer_request().download().priority());
      fill_registration(request, priority, length % 2 == 0, parts);
      (void)brain.register_peer(parts.registration, now);
    } else if (request.has_download_peer_started_request()) {
      brain.started(peer, now);
    } else if (request.has_download_peer_back_to_source_started_request()) {
      brain.back_to_source_started(peer, now);
    } else if (request.has_reschedule_peer_request()) {
      brain.reschedule(peer, now);
    } else if (request.has_download_piece_finished_request()) {
      const auto& piece = request.download_piece_finished_request().piece();
      brain.piece_finished(peer, piece.parent_id(), piece_report(piece), now);
    } else if (request.has_download_piece_back_to_source_finished_request()) {
      const auto& piece = request.download_piece_back_to_source_finished_request().piece();
      brain.back_to_source_piece_finished(peer, piece_report(piece), now);
    } else if (request.has_download_piece_failed_request()) {
      const auto& failed = request.download_piece_failed_request();
      brain.piece_failed(peer, failed.parent_id(), failed.temporary(), now);
    } else if (request.has_download_peer_finished_request()) {
      brain.finished(peer, now);
    } else if (request.has_download_peer_back_to_source_finished_request()) {
      brain.back_to_source_finished(peer, now);
    } else if (request.has_download_peer_failed_request()) {
      brain.failed(peer, now);
    } else {
      brain.stream_lost(peer, now);
    }
    settle(brain, now);
    must(brain.check(now).empty());
  }
  replicas.tick(wall + std::chrono::hours(1));
  replicas.take_actions(wall);
  must(replicas.check().empty() && replicas.size() == 0);
  // Who waits is answered when his patience ends, or after the last resort.
  for (int i = 0; i < 2; ++i) {
    now += std::chrono::hours(1);
    brain.tick(now);
    settle(brain, now);
  }
  must(brain.waiting() == 0);
  return 0;
}
