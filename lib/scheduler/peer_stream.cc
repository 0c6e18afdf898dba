#include "scheduler/peer_stream.h"

#include "api/validate.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kLongestId = 512;              // bytes of a host, task or peer id
constexpr std::size_t kBiggestDownload = 256 << 10;  // bytes of a registration's Download

Result<void> check_ids(const api::scheduler::AnnouncePeerRequest& request) {
  if (request.host_id().size() <= kLongestId && request.task_id().size() <= kLongestId &&
      request.peer_id().size() <= kLongestId) {
    return {};
  }
  return error(ErrorCode::kInvalid, "invalid AnnouncePeerRequest: an id is longer than {} bytes", kLongestId);
}

}  // namespace

PeerStream::PeerStream(Service& service, grpc::ServerCall& call, bool takes_offers)
    : service_(service), call_(call), takes_offers_(takes_offers) {
  service_.metrics_.streams.add(1);
}

PeerStream::~PeerStream() {
  service_.metrics_.streams.add(-1);
  if (!peer_) return;
  const auto entry = service_.streams_.find(peer_.index);
  if (entry != service_.streams_.end() && entry->second == this) service_.streams_.erase(entry);
  service_.brain_.stream_lost(peer_, service_.world_.now());
  service_.pump();
}

void PeerStream::note(std::string_view event) {
  const auto* peer = service_.brain_.peer(peer_);
  if (peer != nullptr) service_.metrics_.peer_event(event, *peer, *service_.brain_.host(peer->host));
}

void PeerStream::note_piece(const HostRecord& host, std::string_view parent_id, std::uint64_t bytes) {
  service_.metrics_.piece(parent_id.empty(), bytes, host);
  auto& by_host = service_.metrics_.host_traffic;
  if (!by_host) return;
  by_host->add(host, false, bytes);
  const auto* parent = service_.brain_.peer(service_.brain_.find_peer(parent_id));
  if (parent != nullptr) by_host->add(*service_.brain_.host(parent->host), true, bytes);
}

Result<void> PeerStream::take(const Request& request) {
  TRY_OK(api::validate(request));
  TRY_OK(check_ids(request));
  if (over_) return {};  // too late to matter
  if (request.request_case() == Request::kRegisterPeerRequest) return take_register(request);
  if (!peer_) return error(ErrorCode::kNotFound, "peer {} is not registered", request.peer_id());
  if (request.peer_id() != peer_id_ || request.task_id() != task_id_ || request.host_id() != host_id_) {
    return error(ErrorCode::kInvalid, "the stream belongs to peer {}, the message names another", peer_id_);
  }
  auto& brain = service_.brain_;
  const auto now = service_.world_.now();
  const auto* record = brain.peer(peer_);
  if (record == nullptr) return error(ErrorCode::kNotFound, "peer {} is not registered any more", peer_id_);
  const auto& host = *brain.host(record->host);

  switch (request.request_case()) {
    case Request::kDownloadPeerStartedRequest:
      note("download_peer_started");
      brain.started(peer_, now);
      break;
    case Request::kDownloadPeerBackToSourceStartedRequest:
      note("download_peer_back_to_source_started");
      brain.back_to_source_started(peer_, now);
      break;
    case Request::kReschedulePeerRequest:
      asked_at_ = now;
      service_.log_.debug("peer {} asks for other parents", peer_id_);
      brain.reschedule(peer_, now);
      break;
    case Request::kDownloadPieceFinishedRequest: {
      const auto& piece = request.download_piece_finished_request().piece();
      note_piece(host, piece.parent_id(), piece.length());
      brain.piece_finished(peer_, piece.parent_id(), piece_report(piece), now);
      break;
    }
    case Request::kDownloadPieceBackToSourceFinishedRequest: {
      const auto& piece = request.download_piece_back_to_source_finished_request().piece();
      note_piece(host, "", piece.length());
      brain.back_to_source_piece_finished(peer_, source_piece_report(piece), now);
      break;
    }
    case Request::kDownloadPieceFailedRequest: {
      const auto& failed = request.download_piece_failed_request();
      service_.log_.debug("peer {} got no piece from {}", peer_id_, failed.parent_id());
      service_.metrics_.piece_failed(false, host);
      brain.piece_failed(peer_, failed.parent_id(), failed.temporary(), now);
      break;
    }
    case Request::kDownloadPieceBackToSourceFailedRequest: {
      const auto& failed = request.download_piece_back_to_source_failed_request();
      service_.metrics_.piece_failed(true, host);
      const int status = failed.has_backend() ? failed.backend().status_code() : 0;
      origin_refused_ = status >= 400 && status < 500 && status != 408 && status != 429;
      break;
    }
    case Request::kDownloadPeerFinishedRequest:
    case Request::kDownloadPeerBackToSourceFinishedRequest: {
      note("download_peer_finished");
      service_.metrics_.peer_duration(*brain.task(record->task), now - record->created);
      if (request.has_download_peer_finished_request()) {
        brain.finished(peer_, now);
      } else {
        brain.back_to_source_finished(peer_, now);
      }
      break;
    }
    case Request::kDownloadPeerFailedRequest:
      note("download_peer_finished");
      note("download_peer_finished_failure");
      brain.failed(peer_, now);
      break;
    case Request::kDownloadPeerBackToSourceFailedRequest:
      note("download_peer_finished");
      note("download_peer_back_to_source_finished_failure");
      service_.log_.info("peer {} could not read task {} from its source", peer_id_, task_id_);
      brain.back_to_source_failed(peer_, origin_refused_, now);
      break;
    default: return error(ErrorCode::kPrecondition, "the message holds a request that is not known here");
  }
  service_.pump();
  return {};
}

Result<void> PeerStream::take_register(const Request& request) {
  if (peer_) return error(ErrorCode::kPrecondition, "peer {} is registered already on this stream", peer_id_);
  const auto now = service_.world_.now();
  const auto& download = request.register_peer_request().download();
  if (download.ByteSizeLong() > kBiggestDownload) {
    return error(ErrorCode::kInvalid, "invalid RegisterPeerRequest.Download: longer than {} bytes",
                 kBiggestDownload);
  }
  const auto priority = service_.rules_.priority_of(static_cast<std::uint8_t>(download.priority()),
                                                    download.application(), download.url());
  const auto* host = service_.brain_.host(service_.brain_.find_host(request.host_id()));
  const bool seed = host != nullptr && host->facts.seed;
  const auto blocked = service_.rules_.blocked(
      Use::kDownload, seed, {download.url(), download.application(), download.tag(), priority});
  if (blocked) {
    return error(ErrorCode::kPermission, "the download is refused: its {} is on the block list", *blocked);
  }
  if (call_.trace()) {
    call_.describe("d7y.host.id", request.host_id());
    call_.describe("d7y.task.id", request.task_id());
    call_.describe("d7y.peer.id", request.peer_id());
  }
  RegistrationParts parts;
  fill_registration(request, priority, takes_offers_, parts);
  auto registered = service_.brain_.register_peer(parts.registration, now);
  if (!registered) return std::move(registered).error();
  peer_ = *registered;
  host_id_ = request.host_id();
  task_id_ = request.task_id();
  peer_id_ = request.peer_id();
  asked_at_ = now;
  service_.streams_[peer_.index] = this;
  note("register_peer");
  service_.log_.debug("peer {} registers for task {}", peer_id_, task_id_);
  service_.pump();
  return {};
}

Task<void> PeerStream::prepare() { return service_.ready(); }
Task<void> PeerStream::recall(std::string task_id) { return service_.recall(std::move(task_id)); }

void PeerStream::send(Response response) {
  if (asked_at_) trace_answer(response);
  outbox_.push_back(std::move(response));
  answered_ = true;
  if (asked_at_) service_.metrics_.schedule_duration(service_.world_.now() - *asked_at_);
  asked_at_.reset();
  changed_.notify_all();
}

void PeerStream::trace_answer(const Response& response) const {
  auto* sink = service_.options_.spans;
  const auto call = call_.trace();
  if (sink == nullptr || !call) return;
  auto& world = service_.world_;
  Span span;
  span.name = "schedule";
  span.context = TraceContext::inside(call, [&world] { return world.random(); });
  span.ended = world.wall_now();
  span.began = span.ended - (world.now() - *asked_at_);
  const std::int64_t parents = response.normal_task_response().candidate_parents_size();
  span.attributes = {{"d7y.peer.id", peer_id_},
                     {"d7y.parents", parents},
                     {"d7y.back_to_source", response.has_need_back_to_source_response()}};
  sink->take(std::move(span));
}

void PeerStream::end(std::optional<Error> error) {
  if (over_) return;
  over_ = true;
  error_ = std::move(error);
  if (error_ && !answered_) note("register_peer_failure");
  changed_.notify_all();
}

Task<std::optional<PeerStream::Response>> PeerStream::next() {
  while (outbox_.empty() && !over_) {
    auto woken = co_await changed_.wait(Deadline::never());
    if (!woken) co_return std::nullopt;
  }
  if (outbox_.empty()) co_return std::nullopt;
  std::optional<Response> response(std::move(outbox_.front()));
  outbox_.pop_front();
  co_return response;
}

Result<void> PeerStream::outcome() {
  if (error_) return std::move(*error_);
  return {};
}

namespace {

Task<void> read_messages(PeerStream& stream, grpc::Reader<PeerStream::Request>& in) {
  auto preparing = stream.prepare();
  co_await preparing;
  PeerStream::Request message;
  for (;;) {
    auto taken = in.take(message);
    if (taken && !*taken) {
      auto waiting = in.wait();
      taken = co_await waiting;
      if (taken && *taken) continue;
      if (taken) {  // half-closed: nothing more will be said
        stream.end(std::nullopt);
        co_return;
      }
    }
    if (!taken) {
      stream.end(std::move(taken).error());
      co_return;
    }
    if (message.has_register_peer_request()) {
      auto recalling = stream.recall(message.task_id());
      co_await recalling;
    }
    if (auto accepted = stream.take(message); !accepted) {
      stream.end(std::move(accepted).error());
      co_return;
    }
  }
}

}  // namespace

Task<Result<void>> Service::announce_peer(grpc::ServerCall& call, grpc::Reader<AnnounceRequest>& in,
                                          grpc::Writer<AnnounceResponse>& out) {
  auto entering = stream_limit_.enter(call, world_);
  CO_TRY(const StreamLimit::Place place, co_await entering);
  // Our own clients read while they download; an unmodified one would find an offer when it is out of date,
  // and count it as one of its five answers (Dragonfly scheduler 0.10).
  const bool takes_offers = call.metadata().get("user-agent").value_or("").starts_with("d7y");
  PeerStream stream(*this, call, takes_offers);
  Scope reading(call.loop());
  reading.spawn(read_messages(stream, in));
  for (;;) {
    auto waiting = stream.next();
    auto response = co_await waiting;
    if (!response) break;
    auto writing = out.write(*response);
    CO_OK(co_await writing);
  }
  co_return stream.outcome();
}

}  // namespace d7y::scheduler
