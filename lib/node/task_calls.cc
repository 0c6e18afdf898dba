#include "node/task_calls.h"

#include <algorithm>
#include <deque>

#include "api/methods.h"
#include "node/task_stream.h"

namespace d7y::node {
namespace {

constexpr auto kCallTimeout = std::chrono::seconds(10);
constexpr std::size_t kMostEntries = 1'000'000;

}  // namespace

bool names_file(std::string_view url) {
  static constexpr std::string_view kScheme = "file:";
  return url.size() >= kScheme.size() &&
         std::equal(kScheme.begin(), kScheme.end(), url.begin(),
                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + ('a' - 'A') : b); });
}

Error no_files_from_afar() {
  return error(
      ErrorCode::kPermission,
      "file:// is refused here: a daemon reads files only for its own user and root on this machine; "
      "do without the daemon");
}

Result<void> may_write(const std::string& output_path, bool trusted) {
  if (output_path.empty()) return {};
  if (!output_path.starts_with('/')) {
    return error(ErrorCode::kInvalid, "output_path {} is relative; the daemon needs an absolute one",
                 output_path);
  }
  if (trusted) return {};
  return error(ErrorCode::kPermission,
               "output {} is refused: this daemon runs as another user, who would write it; ask for the "
               "bytes instead (--transfer-from-dfdaemon)",
               output_path);
}

void count_call(const TaskCalls& calls, api::common::TaskType type, std::string_view name,
                std::string_view help) {
  if (calls.metrics() == nullptr) return;
  calls.metrics()
      ->counter(fmt::format("dragonfly_client_{}", name), help,
                {{"type", std::to_string(static_cast<int>(type))}})
      .add();
}

bool TaskCalls::trusts(const grpc::ServerCall& call) const {
  if (!user_) return true;
  auto caller = call.peer_credentials();
  return caller && (caller->uid == 0 || caller->uid == *user_);
}

Task<Result<api::common::Task>> TaskCalls::stat_task(std::string task_id) {
  if (schedulers_ == nullptr || schedulers_->none()) {
    co_return error(ErrorCode::kUnavailable, "no scheduler is configured that could know task {}", task_id);
  }
  api::scheduler::StatTaskRequest request;
  request.set_host_id(host_id_);
  request.set_task_id(std::move(task_id));
  const auto deadline = Deadline::in(kCallTimeout, engine_.world().now());
  Task<Result<api::common::Task>> asking =
      schedulers_->ask<api::common::Task>(api::method::scheduler::kStatTask, std::move(request), deadline);
  co_return co_await asking;
}

Task<Result<api::dfdaemon::StatLocalTaskResponse>> TaskCalls::stat_local(std::string task_id) {
  auto summary = store_.summary(task_id);
  if (!summary || summary->kind != store::TaskKind::kStandard)
    co_return error(ErrorCode::kNotFound, "local task not found: {}", task_id);
  api::dfdaemon::StatLocalTaskResponse response;
  describe_stored(response, *summary);
  if (auto task = co_await store_.find(task_id)) {
    for (const auto& [name, value] : (*task)->facts().response_headers) {
      (*response.mutable_response_header())[name] = value;
    }
  }
  co_return response;
}

api::dfdaemon::ListLocalTasksResponse TaskCalls::list_local() const {
  api::dfdaemon::ListLocalTasksResponse response;
  for (const auto& task : store_.list()) {
    if (task.kind == store::TaskKind::kStandard) describe_stored(*response.add_tasks(), task);
  }
  return response;
}

Task<Result<api::Empty>> TaskCalls::remove(std::string task_id, bool everywhere) {
  CO_OK(store_.remove(task_id));
  log_.info("task {} deleted on request", task_id);
  if (everywhere && schedulers_ != nullptr && !schedulers_->none()) {
    auto told = co_await schedulers_->delete_task(host_id_, task_id,
                                                  Deadline::in(kCallTimeout, engine_.world().now()));
    if (!told)
      log_.warn("task {}: its scheduler was not told of the deletion: {}", task_id, told.error().message());
  }
  co_return api::Empty();
}

Task<Result<std::vector<source::Entry>>> list_below(source::Sources& sources, source::Request request,
                                                    std::size_t limit, Deadline deadline) {
  std::vector<source::Entry> found;
  struct Folder {
    std::string url, path;
    int depth;
  };
  std::deque<Folder> folders{{request.url, "", 0}};
  while (!folders.empty()) {
    auto folder = std::move(folders.front());
    folders.pop_front();
    if (folder.depth > 64) {
      co_return error(ErrorCode::kTooLarge, "{} nests deeper than 64 folders", source::redacted(request.url));
    }
    auto each = request;
    each.url = folder.url;
    auto entries = co_await sources.list(each, deadline);
    if (!entries) co_return std::move(entries).error();
    for (auto& entry : *entries) {
      bool leads_out = entry.name.empty() || entry.name == "." || entry.name == ".." ||
                       entry.name.find('/') != std::string::npos ||
                       entry.name.find('\0') != std::string::npos;
      if (leads_out) continue;
      entry.name = folder.path + entry.name;
      if (entry.is_folder) folders.push_back({entry.url, entry.name + "/", folder.depth + 1});
      found.push_back(std::move(entry));
      if (found.size() > limit) {
        co_return error(ErrorCode::kTooLarge, "{} holds more than {} entries", source::redacted(request.url),
                        limit);
      }
    }
  }
  co_return found;
}

Task<Result<api::dfdaemon::ListTaskEntriesResponse>> TaskCalls::list_entries(
    api::dfdaemon::ListTaskEntriesRequest request) {
  source::Request what;
  what.url = request.url();
  for (const auto& [name, value] : request.request_header()) what.headers.add(name, value);
  auto timeout =
      request.has_timeout() ? api::duration_of(request.timeout()) : Duration(std::chrono::minutes(1));
  auto deadline = Deadline::in(timeout, engine_.world().now());
  api::dfdaemon::ListTaskEntriesResponse response;
  if (what.url.ends_with('/')) {
    auto entries = co_await list_below(sources_, std::move(what), kMostEntries, deadline);
    if (!entries) co_return to_task_error(std::move(entries).error());
    for (const auto& entry : *entries) {
      auto& out = *response.add_entries();
      out.set_url(entry.url);
      out.set_content_length(entry.length.value_or(0));
      out.set_is_dir(entry.is_folder);
    }
    co_return response;
  }
  auto info = co_await sources_.stat(what, deadline);
  if (!info) co_return to_task_error(std::move(info).error());
  response.set_content_length(info->length.value_or(0));
  for (const auto& header : info->headers) (*response.mutable_response_header())[header.name] = header.value;
  if (info->status != 0) response.set_status_code(info->status);
  co_return response;
}

}  // namespace d7y::node
