#include "node/services.h"

#include <charconv>

#include "api/methods.h"
#include "node/task_stream.h"

namespace d7y::node {
namespace {

using api::dfdaemon::DownloadTaskRequest;
using api::dfdaemon::DownloadTaskResponse;

template <class Request>
std::function<Task<Result<api::common::Task>>(grpc::ServerCall&, Request)> stat_task(TaskCalls& calls) {
  return [&calls](grpc::ServerCall&, Request request) {
    return counted(calls, api::common::STANDARD, "stat_task_total", "stat_task_failure_total",
                   calls.stat_task(request.task_id()));
  };
}

template <class Request>
std::function<Task<Result<api::dfdaemon::StatLocalTaskResponse>>(grpc::ServerCall&, Request)> stat_local(
    TaskCalls& calls) {
  return [&calls](grpc::ServerCall&, Request request) {
    return counted(calls, api::common::STANDARD, "stat_local_task_total", "stat_local_task_failure_total",
                   calls.stat_local(request.task_id()));
  };
}

template <class Request>
std::function<Task<Result<api::Empty>>(grpc::ServerCall&, Request)> remove_task(TaskCalls& calls,
                                                                                bool everywhere) {
  return [&calls, everywhere](grpc::ServerCall&, Request request) {
    return counted(calls, api::common::STANDARD, everywhere ? "delete_task_total" : "delete_local_task_total",
                   everywhere ? "delete_task_failure_total" : "delete_local_task_failure_total",
                   calls.remove(request.task_id(), everywhere));
  };
}

Task<Result<api::dfdaemon::ListTaskEntriesResponse>> list_entries(
    TaskCalls& calls, api::dfdaemon::ListTaskEntriesRequest request, bool trusted) {
  if (!trusted && names_file(request.url())) co_return no_files_from_afar();
  auto work = counted(calls, api::common::STANDARD, "list_task_entries_total",
                      "list_task_entries_failure_total", calls.list_entries(std::move(request)));
  co_return co_await std::move(work);
}

Task<Result<void>> upload_download_task(TaskCalls& calls, DownloadTaskRequest request,
                                        grpc::Writer<DownloadTaskResponse>& out) {
  if (!request.has_download()) co_return error(ErrorCode::kInvalid, "DownloadTaskRequest without a download");
  fetch::Wish wish;
  wish.for_others = true;
  wish.message = std::move(*request.mutable_download());
  if (!wish.message.output_path().empty()) {
    co_return error(ErrorCode::kPermission,
                    "output_path {} is refused: files are written only for this machine's own clients",
                    wish.message.output_path());
  }
  if (names_file(wish.message.url())) co_return no_files_from_afar();
  TaskStreamOptions options;
  options.host_id = calls.host_id();
  options.silent_if_complete = true;
  // A scheduler that asked for it may restart, while children get from here what arrives.
  if (!wish.message.need_piece_content()) options.outlives = &calls.unattended();
  co_return co_await stream_download(calls.engine(), std::move(wish), std::move(options), out);
}

// What a client of ours asks for beside Dragonfly's message.
struct OurWishes {
  std::uint64_t rate_limit = 0;  // bytes per second not to be exceeded; 0: none
  bool bytes_in_order = false;
};

OurWishes wishes_of(const grpc::ServerCall& call) {
  OurWishes wishes;
  if (auto text = call.metadata().get("d7y-rate-limit"))
    std::from_chars(text->data(), text->data() + text->size(), wishes.rate_limit);
  wishes.bytes_in_order = call.metadata().get(kBytesKey).has_value();
  return wishes;
}

Task<Result<void>> local_download_task(TaskCalls& calls, DownloadTaskRequest request, bool trusted,
                                       OurWishes ours, TaskStreamOptions options,
                                       grpc::Writer<DownloadTaskResponse>& out) {
  if (!request.has_download()) co_return error(ErrorCode::kInvalid, "DownloadTaskRequest without a download");
  fetch::Wish wish;
  wish.message = std::move(*request.mutable_download());
  wish.output_path = wish.message.output_path();
  CO_OK(may_write(wish.output_path, trusted));
  if (!trusted && names_file(wish.message.url())) co_return no_files_from_afar();
  wish.rate_limit = ours.rate_limit;
  wish.overwrite = wish.message.overwrite();
  wish.require_hard_link = wish.message.force_hard_link();
  options.host_id = calls.host_id();
  options.bytes_in_order = ours.bytes_in_order && wish.message.need_piece_content();
  co_return co_await stream_download(calls.engine(), std::move(wish), std::move(options), out);
}

Task<Result<api::dfdaemon::ListLocalTasksResponse>> list_local(TaskCalls& calls) {
  count_call(calls, api::common::STANDARD, "list_local_tasks_total", "Calls about tasks.");
  co_return calls.list_local();
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
        return list_entries(calls, std::move(request), false);
      });
}

void attach_download_service(grpc::Server& server, TaskCalls& calls) {
  namespace method = api::method::download;
  // Headers say that the download has begun: dfget takes an error before them for the daemon's answer, and
  // one behind them for the end of a file that it has to remove, which hides the reason.
  grpc::MethodOptions options;
  options.headers_at_once = false;
  server.server_stream<DownloadTaskRequest, DownloadTaskResponse>(
      std::string(method::kDownloadTask),
      [&calls](grpc::ServerCall& call, DownloadTaskRequest request, grpc::Writer<DownloadTaskResponse>& out) {
        TaskStreamOptions stream;
        stream.begun = [&call] { call.send_headers(); };
        stream.removes_output = removes_output(call);
        return local_download_task(calls, std::move(request), calls.trusts(call), wishes_of(call),
                                   std::move(stream), out);
      },
      options);
  using namespace api::dfdaemon;
  server.unary<StatTaskRequest, api::common::Task>(std::string(method::kStatTask),
                                                   stat_task<StatTaskRequest>(calls));
  server.unary<StatLocalTaskRequest, StatLocalTaskResponse>(std::string(method::kStatLocalTask),
                                                            stat_local<StatLocalTaskRequest>(calls));
  server.unary<ListLocalTasksRequest, ListLocalTasksResponse>(
      std::string(method::kListLocalTasks),
      [&calls](grpc::ServerCall&, ListLocalTasksRequest) { return list_local(calls); });
  server.unary<DeleteTaskRequest, api::Empty>(std::string(method::kDeleteTask),
                                              remove_task<DeleteTaskRequest>(calls, true));
  server.unary<DeleteLocalTaskRequest, api::Empty>(std::string(method::kDeleteLocalTask),
                                                   remove_task<DeleteLocalTaskRequest>(calls, false));
  server.unary<ListTaskEntriesRequest, ListTaskEntriesResponse>(
      std::string(method::kListTaskEntries),
      [&calls](grpc::ServerCall& call, ListTaskEntriesRequest request) {
        return list_entries(calls, std::move(request), calls.trusts(call));
      });
  server.unary<api::Empty, api::Empty>(std::string(method::kDeleteHost),
                                       [&calls](grpc::ServerCall&, api::Empty) {
                                         return counted(calls, api::common::STANDARD, "delete_host_total",
                                                        "delete_host_failure_total", delete_host(calls));
                                       });
}

}  // namespace d7y::node
