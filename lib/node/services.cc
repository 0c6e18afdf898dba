#include "node/services.h"

#include "api/methods.h"
#include "node/task_stream.h"

namespace d7y::node {
namespace {

using api::dfdaemon::DownloadTaskRequest;
using api::dfdaemon::DownloadTaskResponse;

template <class Request>
std::function<Task<Result<api::common::Task>>(grpc::ServerCall&, Request)> stat_task(TaskCalls& calls) {
  return [&calls](grpc::ServerCall&, Request request) { return calls.stat_task(request.task_id()); };
}

template <class Request>
std::function<Task<Result<api::dfdaemon::StatLocalTaskResponse>>(grpc::ServerCall&, Request)> stat_local(
    TaskCalls& calls) {
  return [&calls](grpc::ServerCall&, Request request) { return calls.stat_local(request.task_id()); };
}

template <class Request>
std::function<Task<Result<api::Empty>>(grpc::ServerCall&, Request)> remove_task(TaskCalls& calls,
                                                                                bool everywhere) {
  return [&calls, everywhere](grpc::ServerCall&, Request request) {
    return calls.remove(request.task_id(), everywhere);
  };
}

Task<Result<void>> upload_download_task(TaskCalls& calls, DownloadTaskRequest request,
                                        grpc::Writer<DownloadTaskResponse>& out) {
  if (!request.has_download()) co_return error(ErrorCode::kInvalid, "DownloadTaskRequest without a download");
  fetch::Wish wish;
  wish.message = std::move(*request.mutable_download());
  if (!wish.message.output_path().empty()) {
    co_return error(ErrorCode::kPermission,
                    "output_path {} is refused: files are written only for this machine's own clients",
                    wish.message.output_path());
  }
  TaskStreamOptions options;
  options.host_id = calls.host_id();
  options.silent_if_complete = true;
  co_return co_await stream_download(calls.engine(), std::move(wish), std::move(options), out);
}

Task<Result<void>> local_download_task(TaskCalls& calls, DownloadTaskRequest request,
                                       grpc::Writer<DownloadTaskResponse>& out) {
  if (!request.has_download()) co_return error(ErrorCode::kInvalid, "DownloadTaskRequest without a download");
  fetch::Wish wish;
  wish.message = std::move(*request.mutable_download());
  wish.output_path = wish.message.output_path();
  if (!wish.output_path.empty() && !wish.output_path.starts_with('/')) {
    co_return error(ErrorCode::kInvalid, "output_path {} is relative; the daemon needs an absolute one",
                    wish.output_path);
  }
  wish.overwrite = wish.message.overwrite();
  wish.require_hard_link = wish.message.force_hard_link();
  TaskStreamOptions options;
  options.host_id = calls.host_id();
  co_return co_await stream_download(calls.engine(), std::move(wish), std::move(options), out);
}

Task<Result<api::Empty>> delete_host(TaskCalls& calls) {
  if (calls.schedulers() != nullptr) {
    auto deadline = Deadline::in(std::chrono::seconds(10), calls.engine().world().now());
    co_await calls.schedulers()->leave(calls.host_id(), deadline);
  }
  co_return api::Empty();
}

}  // namespace

void attach_upload_service(grpc::Server& server, TaskCalls& calls) {
  namespace method = api::method::upload;
  server.server_stream<DownloadTaskRequest, DownloadTaskResponse>(
      std::string(method::kDownloadTask),
      [&calls](grpc::ServerCall&, DownloadTaskRequest request, grpc::Writer<DownloadTaskResponse>& out) {
        return upload_download_task(calls, std::move(request), out);
      });
  using namespace api::dfdaemon;
  server.unary<StatTaskRequest, api::common::Task>(std::string(method::kStatTask),
                                                   stat_task<StatTaskRequest>(calls));
  server.unary<StatLocalTaskRequest, StatLocalTaskResponse>(std::string(method::kStatLocalTask),
                                                            stat_local<StatLocalTaskRequest>(calls));
  server.unary<DeleteTaskRequest, api::Empty>(std::string(method::kDeleteTask),
                                              remove_task<DeleteTaskRequest>(calls, true));
  server.unary<ListTaskEntriesRequest, ListTaskEntriesResponse>(
      std::string(method::kListTaskEntries), [&calls](grpc::ServerCall&, ListTaskEntriesRequest request) {
        return calls.list_entries(std::move(request));
      });
}

void attach_download_service(grpc::Server& server, TaskCalls& calls) {
  namespace method = api::method::download;
  server.server_stream<DownloadTaskRequest, DownloadTaskResponse>(
      std::string(method::kDownloadTask),
      [&calls](grpc::ServerCall&, DownloadTaskRequest request, grpc::Writer<DownloadTaskResponse>& out) {
        return local_download_task(calls, std::move(request), out);
      });
  using namespace api::dfdaemon;
  server.unary<StatTaskRequest, api::common::Task>(std::string(method::kStatTask),
                                                   stat_task<StatTaskRequest>(calls));
  server.unary<StatLocalTaskRequest, StatLocalTaskResponse>(std::string(method::kStatLocalTask),
                                                            stat_local<StatLocalTaskRequest>(calls));
  server.unary<ListLocalTasksRequest, ListLocalTasksResponse>(
      std::string(method::kListLocalTasks),
      [&calls](grpc::ServerCall&, ListLocalTasksRequest) -> Task<Result<ListLocalTasksResponse>> {
        co_return calls.list_local();
      });
  server.unary<DeleteTaskRequest, api::Empty>(std::string(method::kDeleteTask),
                                              remove_task<DeleteTaskRequest>(calls, true));
  server.unary<DeleteLocalTaskRequest, api::Empty>(std::string(method::kDeleteLocalTask),
                                                   remove_task<DeleteLocalTaskRequest>(calls, false));
  server.unary<ListTaskEntriesRequest, ListTaskEntriesResponse>(
      std::string(method::kListTaskEntries), [&calls](grpc::ServerCall&, ListTaskEntriesRequest request) {
        return calls.list_entries(std::move(request));
      });
  server.unary<api::Empty, api::Empty>(
      std::string(method::kDeleteHost),
      [&calls](grpc::ServerCall&, api::Empty) { return delete_host(calls); });
}

}  // namespace d7y::node
