#include "swarm/sync_service.h"

#include <algorithm>
#include <type_traits>
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
constexpr std::size_t kLongestHostId = 1024;  // bytes

// Rust children expect INTERNAL for a task that is not here or has failed.
Error not_found(std::string_view task_id) {
  return grpc::status_error(grpc::Code::kInternal, fmt::format("task {} not found", task_id));
}

// What keeps the task's pieces from coming, if it is anything.
Result<void> check_alive(const store::StoredTask& task) {
  if (task.removed()) return not_found(task.id());
  if (const Error* why = task.failure()) {
    return grpc::status_error(grpc::Code::kInternal,
                              fmt::format("task {} failed: {}", task.id(), why->message()));
  }
  return {};
}

// What happens to the task wakes those who wait for the signal, too.
Task<void> pass_on(store::TaskHandle task, Signal& signal) {
  for (;;) {
    // First of all: something may have happened before this task could wait for it.
    signal.notify_all();
    auto woken = co_await task->changed().wait(Deadline::never());
    if (!woken) co_return;
  }
}

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
  if (options_.handouts == nullptr) return;
  server.unary<api::dealing::DealRequest, api::dealing::DealResponse>(
      std::string(api::method::dealing::kDeal),
      [this](grpc::ServerCall&, api::dealing::DealRequest request) { return deal(std::move(request)); });
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

  if (!store::check_task_id(request.task_id())) {
    co_return grpc::status_error(grpc::Code::kInternal, "no task can have the id that was asked for");
  }
  Task<Result<store::TaskHandle>> finding = store_.find(request.task_id());
  auto found = co_await finding;
  if (!found || (*found)->facts().kind != kind) co_return not_found(request.task_id());
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

  if constexpr (std::is_same_v<Request, SyncPiecesRequest>) {
    std::unique_ptr<Handouts::Seat> seat;
    if (options_.handouts != nullptr)
      seat = options_.handouts->join(request.task_id(), request.host_id(), wanted);
    if (seat) {
      Task<Result<void>> handing = hand_out(task, *seat, out);
      auto handed = co_await handing;
      co_return handed;
    }
  }

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
      Task<Result<void>> telling = tell(task, number, out);
      CO_OK(co_await telling);
    }
    if (left == 0 || was_complete) co_return Result<void>{};
    if (!ready.empty()) continue;
    CO_OK(check_alive(*task));
    if (task->has_everything()) co_return Result<void>{};
    CO_OK(co_await task->changed().wait(Deadline::never()));
  }
}

template <class Response>
Task<Result<void>> SyncService::tell(store::TaskHandle task, std::uint32_t number,
                                     grpc::Writer<Response>& out) {
  auto extent = task->extent(number);
  if (!extent) co_return Result<void>{};
  Response response;
  response.set_number(number);
  response.set_offset(extent->offset);
  response.set_length(extent->length);
  response.set_ip(options_.advertised_ip);
  response.set_tcp_port(options_.tcp_port);
  Task<Result<void>> writing = out.write(response);
  auto wrote = co_await within(Deadline::in(kWriteTimeout, world_.now()), std::move(writing));
  co_return wrote;
}

Task<Result<void>> SyncService::hand_out(store::TaskHandle task, Handouts::Seat& seat,
                                         grpc::Writer<SyncPiecesResponse>& out) {
  Scope watching(world_.loop());
  watching.spawn(pass_on(task, seat.changed()));
  store::PieceCursor cursor;
  for (;;) {
    seat.here(task->news(cursor), task->has_everything());
    auto told = seat.told();
    for (auto number : told) {
      if (!task->has(number)) {
        seat.gone(number);
        continue;
      }
      Task<Result<void>> telling = tell(task, number, out);
      CO_OK(co_await telling);
    }
    if (!told.empty()) continue;
    if (seat.done()) co_return Result<void>{};
    CO_OK(check_alive(*task));
    auto woken = co_await seat.changed().wait(seat.next());
    if (woken.failed_with(ErrorCode::kClosed)) co_return woken;
  }
}

Task<Result<api::dealing::DealResponse>> SyncService::deal(api::dealing::DealRequest request) {
  if (!store::check_task_id(request.task_id())) {
    co_return grpc::status_error(grpc::Code::kInvalidArgument, "no task can have this task_id");
  }
  if (request.host_id().empty() || request.host_id().size() > kLongestHostId) {
    co_return grpc::status_error(grpc::Code::kInvalidArgument,
                                 fmt::format("host_id must have 1 to {} bytes", kLongestHostId));
  }
  Task<Result<store::TaskHandle>> finding = store_.find(request.task_id());
  auto found = co_await finding;
  if (!found || (*found)->facts().kind != store::TaskKind::kStandard) {
    co_return grpc::status_error(grpc::Code::kNotFound, fmt::format("task {} not found", request.task_id()));
  }
  CO_OK(options_.handouts->promise(request.task_id(), request.host_id(), request.later()));
  co_return api::dealing::DealResponse{};
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
