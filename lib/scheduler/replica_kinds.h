// What differs between persistent and persistent-cache tasks on the wire; everything else is the same code.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "api/dfdaemon.h"
#include "api/methods.h"
#include "api/scheduler.h"
#include "scheduler/dynamic.h"
#include "scheduler/replicas.h"

namespace d7y::scheduler {

// What a message on a stream says.
enum class ReplicaSays : std::uint8_t {
  kRegister,
  kStarted,
  kReschedule,
  kFinished,
  kFailed,
  kPieceFinished,
  kPieceFailed,
  kNothing,
  kUnknown,
};

struct PersistentKind {
  static constexpr ReplicaKind kKind = ReplicaKind::kPersistent;
  static constexpr std::string_view kName = "persistent";
  static constexpr Use kUpload = Use::kPersistentUpload, kDownload = Use::kPersistentDownload;

  using Announce = api::scheduler::AnnouncePersistentPeerRequest;
  using Answer = api::scheduler::AnnouncePersistentPeerResponse;
  using UploadStarted = api::scheduler::UploadPersistentTaskStartedRequest;
  using UploadFinished = api::scheduler::UploadPersistentTaskFinishedRequest;
  using UploadFailed = api::scheduler::UploadPersistentTaskFailedRequest;
  using StatTask = api::scheduler::StatPersistentTaskRequest;
  using StatPeer = api::scheduler::StatPersistentPeerRequest;
  using DeleteTask = api::scheduler::DeletePersistentTaskRequest;
  using DeletePeer = api::scheduler::DeletePersistentPeerRequest;
  using TaskMessage = api::common::PersistentTask;
  using PeerMessage = api::common::PersistentPeer;
  static constexpr auto kAnnouncePath = api::method::scheduler::kAnnouncePersistentPeer;
  static constexpr auto kUploadStartedPath = api::method::scheduler::kUploadPersistentTaskStarted;
  static constexpr auto kUploadFinishedPath = api::method::scheduler::kUploadPersistentTaskFinished;
  static constexpr auto kUploadFailedPath = api::method::scheduler::kUploadPersistentTaskFailed;
  static constexpr auto kStatTaskPath = api::method::scheduler::kStatPersistentTask;
  static constexpr auto kStatPeerPath = api::method::scheduler::kStatPersistentPeer;
  static constexpr auto kDeleteTaskPath = api::method::scheduler::kDeletePersistentTask;
  static constexpr auto kDeletePeerPath = api::method::scheduler::kDeletePersistentPeer;

  // At hosts.
  using DownloadAtHost = api::dfdaemon::DownloadPersistentTaskRequest;
  using DownloadAnswer = api::dfdaemon::DownloadPersistentTaskResponse;
  using UpdateAtHost = api::dfdaemon::UpdatePersistentTaskRequest;
  using DeleteAtHost = api::dfdaemon::DeletePersistentTaskRequest;
  static constexpr auto kDownloadAtHost = api::method::upload::kDownloadPersistentTask;
  static constexpr auto kUpdateAtHost = api::method::upload::kUpdatePersistentTask;
  static constexpr auto kDeleteAtHost = api::method::upload::kDeletePersistentTask;

  static ReplicaFacts facts(const UploadStarted& request) {
    ReplicaFacts facts;
    facts.key = {kKind, request.task_id()};
    facts.url = request.url();
    facts.region = request.object_storage().region();
    facts.endpoint = request.object_storage().endpoint();
    facts.content_length = request.content_length();
    facts.piece_count = request.piece_count();
    facts.wanted = count(request.persistent_replica_count());
    facts.ttl = api::duration_of(request.ttl());
    return facts;
  }
  // Without keys: the content comes from peers, and hosts that need the store have their own.
  static DownloadAtHost download_request(const ReplicaFacts& facts) {
    DownloadAtHost request;
    request.set_url(facts.url);
    request.mutable_object_storage()->set_region(facts.region);
    request.mutable_object_storage()->set_endpoint(facts.endpoint);
    request.set_persistent(true);
    return request;
  }
  static void fill(const ReplicaFacts&, TaskMessage&) {}

  static Replicas::Registration registration(const Announce& message) {
    const auto& request = message.register_persistent_peer_request();
    Replicas::Registration out;
    out.key = {kKind, message.task_id()};
    out.host_id = message.host_id();
    out.peer_id = message.peer_id();
    out.persistent = request.persistent();
    out.need_back_to_source = request.need_back_to_source();
    if (request.has_concurrent_piece_count()) out.concurrent_pieces = request.concurrent_piece_count();
    return out;
  }
  using Says = ReplicaSays;
  static Says says(const Announce& message) {
    switch (message.request_case()) {
      case Announce::kRegisterPersistentPeerRequest: return Says::kRegister;
      case Announce::kDownloadPersistentPeerStartedRequest: return Says::kStarted;
      case Announce::kReschedulePersistentPeerRequest: return Says::kReschedule;
      case Announce::kDownloadPersistentPeerFinishedRequest: return Says::kFinished;
      case Announce::kDownloadPersistentPeerFailedRequest: return Says::kFailed;
      case Announce::kDownloadPieceFinishedRequest: return Says::kPieceFinished;
      case Announce::kDownloadPieceFailedRequest: return Says::kPieceFailed;
      case Announce::kDownloadPersistentPeerBackToSourceStartedRequest: return Says::kStarted;
      case Announce::kDownloadPersistentPeerBackToSourceFinishedRequest: return Says::kFinished;
      case Announce::kDownloadPersistentPeerBackToSourceFailedRequest: return Says::kFailed;
      case Announce::kDownloadPieceBackToSourceFinishedRequest: return Says::kPieceFinished;
      case Announce::kDownloadPieceBackToSourceFailedRequest: return Says::kNothing;
      default: return Says::kUnknown;
    }
  }
  template <class Block>
  static void block_given(const Announce& message, Block block) {
    for (const auto& parent : message.reschedule_persistent_peer_request().candidate_parents())
      block(parent.id());
  }

  static void set_empty(Answer& answer) { answer.mutable_empty_persistent_task_response(); }
  static Result<void> set_back_to_source(Answer& answer) {
    answer.mutable_need_back_to_source_response()->set_description("no peer has it");
    return {};
  }
  static PeerMessage* add_parent(Answer& answer) {
    return answer.mutable_normal_persistent_task_response()->add_candidate_parents();
  }

 private:
  static std::uint32_t count(std::uint64_t wished) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(wished, 1'000'000));
  }
};

struct PersistentCacheKind {
  static constexpr ReplicaKind kKind = ReplicaKind::kPersistentCache;
  static constexpr std::string_view kName = "persistent_cache";
  static constexpr Use kUpload = Use::kPersistentCacheUpload, kDownload = Use::kPersistentCacheDownload;

  using Announce = api::scheduler::AnnouncePersistentCachePeerRequest;
  using Answer = api::scheduler::AnnouncePersistentCachePeerResponse;
  using UploadStarted = api::scheduler::UploadPersistentCacheTaskStartedRequest;
  using UploadFinished = api::scheduler::UploadPersistentCacheTaskFinishedRequest;
  using UploadFailed = api::scheduler::UploadPersistentCacheTaskFailedRequest;
  using StatTask = api::scheduler::StatPersistentCacheTaskRequest;
  using StatPeer = api::scheduler::StatPersistentCachePeerRequest;
  using DeleteTask = api::scheduler::DeletePersistentCacheTaskRequest;
  using DeletePeer = api::scheduler::DeletePersistentCachePeerRequest;
  using TaskMessage = api::common::PersistentCacheTask;
  using PeerMessage = api::common::PersistentCachePeer;
  static constexpr auto kAnnouncePath = api::method::scheduler::kAnnouncePersistentCachePeer;
  static constexpr auto kUploadStartedPath = api::method::scheduler::kUploadPersistentCacheTaskStarted;
  static constexpr auto kUploadFinishedPath = api::method::scheduler::kUploadPersistentCacheTaskFinished;
  static constexpr auto kUploadFailedPath = api::method::scheduler::kUploadPersistentCacheTaskFailed;
  static constexpr auto kStatTaskPath = api::method::scheduler::kStatPersistentCacheTask;
  static constexpr auto kStatPeerPath = api::method::scheduler::kStatPersistentCachePeer;
  static constexpr auto kDeleteTaskPath = api::method::scheduler::kDeletePersistentCacheTask;
  static constexpr auto kDeletePeerPath = api::method::scheduler::kDeletePersistentCachePeer;

  // At hosts.
  using DownloadAtHost = api::dfdaemon::DownloadPersistentCacheTaskRequest;
  using DownloadAnswer = api::dfdaemon::DownloadPersistentCacheTaskResponse;
  using UpdateAtHost = api::dfdaemon::UpdatePersistentCacheTaskRequest;
  using DeleteAtHost = api::dfdaemon::DeletePersistentCacheTaskRequest;
  static constexpr auto kDownloadAtHost = api::method::upload::kDownloadPersistentCacheTask;
  static constexpr auto kUpdateAtHost = api::method::upload::kUpdatePersistentCacheTask;
  static constexpr auto kDeleteAtHost = api::method::upload::kDeletePersistentCacheTask;

  static ReplicaFacts facts(const UploadStarted& request) {
    ReplicaFacts facts;
    facts.key = {kKind, request.task_id()};
    facts.tag = request.tag();
    facts.application = request.application();
    facts.piece_length = request.piece_length();
    facts.content_length = request.content_length();
    facts.piece_count = request.piece_count();
    facts.wanted = count(request.persistent_replica_count());
    facts.ttl = api::duration_of(request.ttl());
    return facts;
  }
  static DownloadAtHost download_request(const ReplicaFacts& facts) {
    DownloadAtHost request;
    request.set_task_id(facts.key.task_id);
    request.set_persistent(true);
    if (!facts.tag.empty()) request.set_tag(facts.tag);
    if (!facts.application.empty()) request.set_application(facts.application);
    return request;
  }
  static void fill(const ReplicaFacts& facts, TaskMessage& message) {
    if (!facts.tag.empty()) message.set_tag(facts.tag);
    if (!facts.application.empty()) message.set_application(facts.application);
    message.set_piece_length(facts.piece_length);
  }

  static Replicas::Registration registration(const Announce& message) {
    const auto& request = message.register_persistent_cache_peer_request();
    Replicas::Registration out;
    out.key = {kKind, message.task_id()};
    out.host_id = message.host_id();
    out.peer_id = message.peer_id();
    out.persistent = request.persistent();
    if (request.has_concurrent_piece_count()) out.concurrent_pieces = request.concurrent_piece_count();
    return out;
  }
  using Says = ReplicaSays;
  static Says says(const Announce& message) {
    switch (message.request_case()) {
      case Announce::kRegisterPersistentCachePeerRequest: return Says::kRegister;
      case Announce::kDownloadPersistentCachePeerStartedRequest: return Says::kStarted;
      case Announce::kReschedulePersistentCachePeerRequest: return Says::kReschedule;
      case Announce::kDownloadPersistentCachePeerFinishedRequest: return Says::kFinished;
      case Announce::kDownloadPersistentCachePeerFailedRequest: return Says::kFailed;
      case Announce::kDownloadPieceFinishedRequest: return Says::kPieceFinished;
      case Announce::kDownloadPieceFailedRequest: return Says::kPieceFailed;
      default: return Says::kUnknown;
    }
  }
  template <class Block>
  static void block_given(const Announce& message, Block block) {
    for (const auto& parent : message.reschedule_persistent_cache_peer_request().candidate_parents())
      block(parent.id());
  }

  static void set_empty(Answer& answer) { answer.mutable_empty_persistent_cache_task_response(); }
  static Result<void> set_back_to_source(Answer&) {
    return error(ErrorCode::kPrecondition, "nobody who can give the task is here");
  }
  static PeerMessage* add_parent(Answer& answer) {
    return answer.mutable_normal_persistent_cache_task_response()->add_candidate_parents();
  }

 private:
  static std::uint32_t count(std::uint64_t wished) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(wished, 1'000'000));
  }
};

}  // namespace d7y::scheduler
