#include "swarm/peer_call.h"

#include <algorithm>

#include "api/methods.h"

namespace d7y::swarm {
namespace {

// More parents than anybody takes are not kept for an echo.
constexpr int kMostEchoed = 64;

api::common::Peer as_peer(const api::common::PersistentCachePeer& from) {
  api::common::Peer peer;
  peer.set_id(from.id());
  peer.set_state(from.state());
  *peer.mutable_host() = from.host();
  auto& task = *peer.mutable_task();
  task.set_id(from.task().id());
  task.set_type(api::common::PERSISTENT_CACHE);
  task.set_content_length(from.task().content_length());
  task.set_piece_count(from.task().piece_count());
  task.set_state(from.task().state());
  peer.set_concurrent_piece_count(from.concurrent_piece_count());
  return peer;
}

Error no_origin() {
  return error(ErrorCode::kInvalid, "a persistent-cache task has no origin that could be spoken of");
}

}  // namespace

PeerCall::PeerCall(grpc::Channel& channel, store::TaskKind kind, bool persistent, grpc::CallOptions options)
    : persistent_(persistent) {
  namespace method = api::method::scheduler;
  if (kind == store::TaskKind::kPersistentCache) {
    call_ =
        channel.bidi<CacheRequest, CacheResponse>(method::kAnnouncePersistentCachePeer, std::move(options));
  } else {
    call_ = channel.bidi<Request, Response>(method::kAnnouncePeer, std::move(options));
  }
}

Task<Result<void>> PeerCall::write(const Request& request) {
  if (auto* standard = std::get_if<Standard>(&call_)) return standard->write(request);
  auto message = translated(request);
  if (!message) return grpc::detail::fail(std::move(message).error());
  return std::get<Cache>(call_).write(*message);
}

Task<Result<std::optional<PeerCall::Response>>> PeerCall::read() {
  if (auto* standard = std::get_if<Standard>(&call_)) {
    Task<Result<std::optional<Response>>> reading = standard->read();
    co_return co_await reading;
  }
  Task<Result<std::optional<CacheResponse>>> reading = std::get<Cache>(call_).read();
  CO_TRY(auto response, co_await reading);
  if (!response) co_return std::optional<Response>();
  co_return std::optional<Response>(translated(*response));
}

void PeerCall::cancel() {
  std::visit([](auto& call) { call.cancel(); }, call_);
}

Result<PeerCall::CacheRequest> PeerCall::translated(const Request& request) const {
  CacheRequest out;
  out.set_host_id(request.host_id());
  out.set_task_id(request.task_id());
  out.set_peer_id(request.peer_id());
  switch (request.request_case()) {
    case Request::kRegisterPeerRequest: {
      const auto& download = request.register_peer_request().download();
      auto& registration = *out.mutable_register_persistent_cache_peer_request();
      registration.set_persistent(persistent_);
      if (download.has_tag()) registration.set_tag(download.tag());
      if (download.has_application()) registration.set_application(download.application());
      registration.set_piece_length(download.actual_piece_length());
      registration.set_piece_count(download.actual_piece_count());
      registration.set_concurrent_piece_count(download.concurrent_piece_count());
      return out;
    }
    case Request::kDownloadPeerStartedRequest:
      out.mutable_download_persistent_cache_peer_started_request();
      return out;
    case Request::kReschedulePeerRequest: {
      const auto& from = request.reschedule_peer_request();
      auto& reschedule = *out.mutable_reschedule_persistent_cache_peer_request();
      for (const auto& parent : offered_) {
        const auto& echoed = from.candidate_parents();
        const bool has = std::any_of(echoed.begin(), echoed.end(),
                                     [&](const auto& candidate) { return candidate.id() == parent.id(); });
        if (has) *reschedule.add_candidate_parents() = parent;
      }
      if (from.has_description()) reschedule.set_description(from.description());
      return out;
    }
    case Request::kDownloadPeerFinishedRequest:
      out.mutable_download_persistent_cache_peer_finished_request();
      return out;
    case Request::kDownloadPeerFailedRequest: {
      auto& failed = *out.mutable_download_persistent_cache_peer_failed_request();
      const auto& from = request.download_peer_failed_request();
      if (from.has_description()) failed.set_description(from.description());
      return out;
    }
    case Request::kDownloadPieceFinishedRequest:
      *out.mutable_download_piece_finished_request() = request.download_piece_finished_request();
      return out;
    case Request::kDownloadPieceFailedRequest:
      *out.mutable_download_piece_failed_request() = request.download_piece_failed_request();
      return out;
    default: return no_origin();
  }
}

PeerCall::Response PeerCall::translated(const CacheResponse& response) {
  Response out;
  switch (response.response_case()) {
    case CacheResponse::kEmptyPersistentCacheTaskResponse: out.mutable_empty_task_response(); break;
    case CacheResponse::kNormalPersistentCacheTaskResponse: {
      const auto& from = response.normal_persistent_cache_task_response().candidate_parents();
      auto& normal = *out.mutable_normal_task_response();
      for (const auto& parent : from) *normal.add_candidate_parents() = as_peer(parent);
      offered_.Clear();
      for (int i = 0; i < std::min(from.size(), kMostEchoed); ++i) *offered_.Add() = from[i];
      break;
    }
    case CacheResponse::RESPONSE_NOT_SET: break;
  }
  return out;
}

}  // namespace d7y::swarm
