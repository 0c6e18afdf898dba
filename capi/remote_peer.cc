#include "remote_peer.h"

#include <nlohmann/json.hpp>

#include "api/dfdaemon.h"
#include "api/methods.h"
#include "base/url.h"
#include "net/grpc/health.h"
#include "remote_download.h"

namespace d7y::capi {
namespace {

ErrorCode code_of_http(int status) {
  switch (status) {
    case 401: return ErrorCode::kUnauthenticated;
    case 403: return ErrorCode::kPermission;
    case 404:
    case 410: return ErrorCode::kNotFound;
    case 408:
    case 504: return ErrorCode::kTimeout;
    case 416: return ErrorCode::kPrecondition;
    case 429: return ErrorCode::kExhausted;
    default: return status >= 500 ? ErrorCode::kUnavailable : ErrorCode::kProtocol;
  }
}

store::TaskSummary summary_of(const api::dfdaemon::StatLocalTaskResponse& task) {
  store::TaskSummary out;
  out.id = task.task_id();
  out.piece_length = task.piece_length();
  if (task.has_content_length()) out.content_length = task.content_length();
  out.finished = task.has_finished_at();
  out.failed = task.has_failed_at();
  if (out.finished && out.content_length) out.stored = *out.content_length;
  if (out.finished && out.content_length && out.piece_length > 0) {
    out.pieces = static_cast<std::uint32_t>((*out.content_length + out.piece_length - 1) / out.piece_length);
  }
  out.created_at = api::time_of(task.created_at());
  out.accessed_at = api::time_of(task.updated_at());
  return out;
}

// The path of `url` below `folder`, decoded; empty if it is not below it or would lead out of it.
std::string path_below(std::string_view folder, std::string_view url) {
  if (!url.starts_with(folder)) return {};
  auto path = percent_decode(url.substr(folder.size()));
  while (path.ends_with('/')) path.pop_back();
  for (std::size_t at = 0; at <= path.size();) {
    auto slash = std::min(path.find('/', at), path.size());
    auto part = std::string_view(path).substr(at, slash - at);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos) return {};
    at = slash + 1;
  }
  return path;
}

Task<void> run_download(std::unique_ptr<RemoteDownload> download) { co_await download->run(); }

}  // namespace

Error from_daemon(Error error) {
  if (error.details().empty()) return error;
  auto json = nlohmann::json::parse(error.details(), nullptr, false);
  if (!json.is_object()) return error;
  auto status = json.find("status_code");
  auto message = json.find("message");
  auto text = message != json.end() && message->is_string() && !message->get<std::string>().empty()
                  ? message->get<std::string>()
                  : error.message();
  if (json.value("d7y_code", std::string()) == "disk full")
    return Error(ErrorCode::kDiskFull, std::move(text));
  if (status == json.end() || !status->is_number_integer()) return Error(error.code(), std::move(text));
  auto http = status->get<int>();
  return Error(code_of_http(http), std::move(text)).with_status(http);
}

RemotePeer::RemotePeer(world::World& world, std::string socket)
    : world_(world), socket_(std::move(socket)), channel_(world, Address::unix_socket(socket_)) {}

grpc::CallOptions RemotePeer::soon() const {
  grpc::CallOptions options;
  options.deadline = Deadline::in(std::chrono::seconds(60), world_.now());
  return options;
}

Task<Result<std::unique_ptr<RemotePeer>>> RemotePeer::connect(world::World& world, std::string socket,
                                                              Deadline deadline) {
  if (auto there = world.files().status(socket); !there) {
    co_return error(ErrorCode::kNotFound,
                    "no daemon: there is no socket {}; start d7yd or do without a daemon", socket);
  }
  std::unique_ptr<RemotePeer> peer(new RemotePeer(world, socket));
  auto connected = co_await peer->channel_.connect(deadline);
  if (!connected) co_return std::move(connected).error().in("daemon at " + socket);
  // The kernel connects on behalf of a daemon that hangs. Any answer shows that it does not; one that stops
  // says so.
  Task<Result<void>> asking = grpc::check_health(peer->channel_, "", deadline);
  auto healthy = co_await asking;
  for (auto silence : {ErrorCode::kTimeout, ErrorCode::kRefused, ErrorCode::kReset, ErrorCode::kProtocol,
                       ErrorCode::kUnavailable}) {
    if (healthy.failed_with(silence)) co_return std::move(healthy).error().in("daemon at " + socket);
  }
  co_return std::move(peer);
}

Result<std::unique_ptr<Scope>> RemotePeer::begin(Order order, std::shared_ptr<Transfer> transfer) {
  auto scope = std::make_unique<Scope>(world_.loop());
  auto download = std::make_unique<RemoteDownload>(world_, channel_, std::move(order), std::move(transfer));
  scope->spawn(run_download(std::move(download)));
  return scope;
}

Task<Result<std::vector<source::Entry>>> RemotePeer::list(Order order, Deadline deadline) {
  api::dfdaemon::ListTaskEntriesRequest message;
  const auto& wish = order.message;
  message.set_url(wish.url());
  *message.mutable_request_header() = wish.request_header();
  if (wish.has_object_storage()) *message.mutable_object_storage() = wish.object_storage();
  if (wish.has_hdfs()) *message.mutable_hdfs() = wish.hdfs();
  if (wish.has_hugging_face()) *message.mutable_hugging_face() = wish.hugging_face();
  if (wish.has_model_scope()) *message.mutable_model_scope() = wish.model_scope();
  grpc::CallOptions options;
  options.deadline = deadline;
  auto answered = co_await channel_.unary<api::dfdaemon::ListTaskEntriesResponse>(
      api::method::download::kListTaskEntries, message, std::move(options));
  if (!answered) co_return from_daemon(std::move(answered).error());
  std::vector<source::Entry> entries;
  for (const auto& item : answered->entries()) {
    source::Entry entry;
    entry.url = item.url();
    entry.name = path_below(wish.url(), item.url());
    entry.is_folder = item.is_dir();
    entry.length = item.content_length();
    if (!entry.name.empty()) entries.push_back(std::move(entry));
  }
  co_return entries;
}

Task<Result<std::vector<store::TaskSummary>>> RemotePeer::tasks() {
  api::dfdaemon::ListLocalTasksRequest request;
  auto answered = co_await channel_.unary<api::dfdaemon::ListLocalTasksResponse>(
      api::method::download::kListLocalTasks, request, soon());
  if (!answered) co_return from_daemon(std::move(answered).error());
  std::vector<store::TaskSummary> out;
  for (const auto& task : answered->tasks()) out.push_back(summary_of(task));
  co_return out;
}

Task<Result<store::TaskSummary>> RemotePeer::stat(std::string task_id) {
  api::dfdaemon::StatLocalTaskRequest request;
  request.set_task_id(task_id);
  auto answered = co_await channel_.unary<api::dfdaemon::StatLocalTaskResponse>(
      api::method::download::kStatLocalTask, request, soon());
  if (!answered) co_return from_daemon(std::move(answered).error());
  co_return summary_of(*answered);
}

Task<std::string> RemotePeer::url_of(std::string) { co_return std::string(); }

Task<Result<void>> RemotePeer::remove(std::string task_id) {
  api::dfdaemon::DeleteTaskRequest request;
  request.set_task_id(task_id);
  auto answered = co_await channel_.unary<api::Empty>(api::method::download::kDeleteTask, request, soon());
  if (!answered) co_return from_daemon(std::move(answered).error());
  co_return Result<void>{};
}

Result<std::string> RemotePeer::metrics() {
  return error(ErrorCode::kUnsupported, "metrics of a daemon are read from its metrics port, not through {}",
               socket_);
}

Task<Result<void>> RemotePeer::drain(Deadline) { co_return Result<void>{}; }

Task<void> RemotePeer::close() { co_return; }

}  // namespace d7y::capi
