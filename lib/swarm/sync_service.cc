#include "swarm/sync_service.h"

#include <algorithm>
#include <vector>

#include "api/methods.h"
#include "swarm/vortex.h"

namespace d7y::swarm {

namespace {

using api::dfdaemon::SyncPersistentCachePiecesRequest;
using api::dfdaemon::SyncPersistentCachePiecesResponse;
using api::dfdaemon::SyncPersistentPiecesRequest;
using api::dfdaemon::SyncPersistentPiecesResponse;
using api::dfdaemon::SyncPiecesRequest;
using api::dfdaemon::SyncPiecesResponse;

// A child that takes no message for this long loses the stream.
constexpr std::chrono::nanoseconds kWriteTimeout = std::chrono::seconds(10);

}  // namespace

SyncService::SyncService(world::World& world, store::Store& store, NetworkMeter& meter,
                         SyncServiceOptions options, Log log)
    : world_(world), store_(store), meter_(meter), options_(std::move(options)), log_(log.in("sync")) {}

void SyncService::attach(grpc::Server& server) {
  namespace method = api::method::upload;
  server.server_stream<SyncPiecesRequest, SyncPiecesResponse>(
      std::string(method::kSyncPieces),
      [this](grpc::ServerCall& call, SyncPiecesRequest request, grpc::Writer<SyncPiecesResponse>& out) {
        return sync_pieces(call, std::move(request), out, store::TaskKind::kStandard);
      });
  server.server_stream<SyncPersistentPiecesRequest, SyncPersistentPiecesResponse>(
      std::string(method::kSyncPersistentPieces),
      [this](grpc::ServerCall& call, SyncPersistentPiecesRequest request,
             grpc::Writer<SyncPersistentPiecesResponse>& out) {
        return sync_pieces(call, std::move(request), out, store::TaskKind::kPersistent);
      });
  server.server_stream<SyncPersistentCachePiecesRequest, SyncPersistentCachePiecesResponse>(
      std::string(method::kSyncPersistentCachePieces),
      [this](grpc::ServerCall& call, SyncPersistentCachePiecesRequest request,
             grpc::Writer<SyncPersistentCachePiecesResponse>& out) {
        return sync_pieces(call, std::move(request), out, store::TaskKind::kPersistentCache);
      });
  server.server_stream<api::dfdaemon::SyncHostRequest, api::common::Host>(
      std::string(method::kSyncHost),
      [this](grpc::ServerCall& call, api::dfdaemon::SyncHostRequest request,
             grpc::Writer<api::common::Host>& out) { return sync_host(call, std::move(request), out); });
}

template <class Request, class Response>
Task<Result<void>> SyncService::sync_pieces(grpc::ServerCall& call, Request request,
                                            grpc::Writer<Response>& out, store::TaskKind kind) {
  if (options_.extensions) {
    auto ip = Address::parse_ip(options_.advertised_ip, options_.tcp_port);
    if (ip)
      call.initial_metadata().add(kVortexHeader,
                                  fmt::format("{} {}", ip->to_string(), vortex::kOurAbilities));
  }
  call.send_headers();

  // Rust children expect INTERNAL for a task that is not here or has failed.
  auto not_found = [&] {
    return grpc::status_error(grpc::Code::kInternal, fmt::format("task {} not found", request.task_id()));
  };
  if (!store::check_task_id(request.task_id())) {
    co_return grpc::status_error(grpc::Code::kInternal, "no task can have the id that was asked for");
  }
  Task<Result<store::TaskHandle>> finding = store_.find(request.task_id());
  auto found = co_await finding;
  if (!found || (*found)->facts().kind != kind) co_return not_found();
  store::TaskHandle task = std::move(*found);
  if (task->failure() != nullptr) {
    co_return grpc::status_error(grpc::Code::kInternal, fmt::format("task {} failed", request.task_id()));
  }
  if (!task->intact()) {
    Task<Result<void>> checking = task->revalidate();
    CO_OK(co_await checking);
  }

  // Complete when the call began: what is not here by then will not come.
  bool was_complete = task->has_everything();
  store::Bitmap wanted;
  std::size_t left = 0;
  for (auto number : request.interested_piece_numbers()) {
    if (number < store::kMaxPieces && wanted.set(number)) ++left;
  }

  auto tell = [&](std::uint32_t number, Response& response) {
    auto extent = task->extent(number);
    if (!extent) return false;
    response.set_number(number);
    response.set_offset(extent->offset);
    response.set_length(extent->length);
    response.set_ip(options_.advertised_ip);
    response.set_tcp_port(options_.tcp_port);
    return true;
  };

  store::PieceCursor cursor;
  bool first_pass = true;
  for (;;) {
    // The first pass in the order of the request, then what is new, each piece once.
    std::vector<std::uint32_t> ready;
    auto fresh = task->news(cursor);
    if (first_pass) {
      for (auto number : request.interested_piece_numbers()) {
        if (task->has(number) && wanted.clear(number)) ready.push_back(number);
      }
      first_pass = false;
    } else {
      for (auto number : fresh) {
        if (task->has(number) && wanted.clear(number)) ready.push_back(number);
      }
      std::sort(ready.begin(), ready.end());
    }
    for (auto number : ready) {
      --left;
      Response response;
      if (!tell(number, response)) continue;
      Task<Result<void>> writing = out.write(response);
      auto wrote = co_await within(Deadline::in(kWriteTimeout, world_.now()), std::move(writing));
      CO_OK(wrote);
    }
    if (left == 0 || was_complete) co_return Result<void>{};
    if (!ready.empty()) continue;
    if (task->removed()) co_return not_found();
    if (const Error* why = task->failure()) {
      co_return grpc::status_error(grpc::Code::kInternal,
                                   fmt::format("task {} failed: {}", task->id(), why->message()));
    }
    if (task->has_everything()) co_return Result<void>{};
    CO_OK(co_await task->changed().wait(Deadline::never()));
  }
}

Task<Result<void>> SyncService::sync_host(grpc::ServerCall& call, api::dfdaemon::SyncHostRequest,
                                          grpc::Writer<api::common::Host>& out) {
  call.send_headers();
  for (;;) {
    api::common::Host host;
    meter_.fill(*host.mutable_network());
    Task<Result<void>> writing = out.write(host);
    auto wrote = co_await within(Deadline::in(kWriteTimeout, world_.now()), std::move(writing));
    CO_OK(wrote);
    CO_OK(co_await meter_.measured().wait(Deadline::never()));
  }
}

}  // namespace d7y::swarm
