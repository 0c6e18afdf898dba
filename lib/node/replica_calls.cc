#include "node/replica_calls.h"

#include "api/methods.h"
#include "api/task_metrics.h"
#include "base/ids.h"
#include "base/piece.h"
#include "node/task_stream.h"
#include "source/file_backend.h"
#include "world/read_through.h"

namespace d7y::node {
namespace {

using api::common::PersistentCacheTask;
using api::dfdaemon::DownloadPersistentCacheTaskRequest;
using api::dfdaemon::DownloadPersistentCacheTaskResponse;
using api::dfdaemon::StatLocalPersistentCacheTaskResponse;
using api::dfdaemon::UploadPersistentCacheTaskRequest;

constexpr auto kCallTimeout = std::chrono::seconds(10);
constexpr auto kType = api::common::PERSISTENT_CACHE;

void fill(StatLocalPersistentCacheTaskResponse& out, const store::TaskSummary& task) {
  describe_stored(out, task);
  out.set_persistent(task.persistent);
  api::set_duration(*out.mutable_ttl(), task.ttl);
}

bool is_replica(const std::optional<store::TaskSummary>& task) {
  return task && task->kind == store::TaskKind::kPersistentCache;
}

Error not_here(std::string_view task_id) {
  return error(ErrorCode::kNotFound, "local persistent cache task not found: {}", task_id);
}

}  // namespace

// What is imported, once the file has been looked at.
struct ReplicaCalls::Import {
  UploadPersistentCacheTaskRequest request;
  std::string task_id, peer_id, digest;
  std::uint64_t length = 0, piece_length = 0;
  Duration ttl{0};

  std::uint32_t pieces() const { return PieceGeometry(length, piece_length).count(); }
};

Task<Result<ReplicaCalls::Import>> ReplicaCalls::examine(const UploadPersistentCacheTaskRequest& request) {
  Import import;
  import.request = request;
  const auto& path = request.path();
  if (!path.starts_with('/')) {
    co_return error(ErrorCode::kInvalid, "path \"{}\" is not absolute; the daemon needs an absolute one",
                    path);
  }
  if (request.persistent_replica_count() == 0) {
    co_return error(ErrorCode::kInvalid, "persistent_replica_count is 0; at least one copy has to be kept");
  }
  auto& files = calls_.engine().world().files();
  CO_TRY(auto status, files.status(path));
  if (status.kind != world::FileKind::kRegular) {
    co_return error(ErrorCode::kInvalid, "{} is no regular file; import files one by one", path);
  }
  import.length = status.size;
  import.piece_length =
      request.piece_length() > 0 ? request.piece_length() : automatic_piece_length(import.length);
  if (import.piece_length < kMinPieceLength || import.piece_length > kMaxPieceLength) {
    co_return error(ErrorCode::kInvalid, "piece length {} is outside {} to {} bytes", import.piece_length,
                    kMinPieceLength, kMaxPieceLength);
  }
  const auto ttl = request.has_ttl() ? api::duration_of(request.ttl()) : Duration::zero();
  import.ttl = ttl > Duration::zero() ? ttl : default_ttl_;
  import.peer_id = calls_.engine().options().new_peer_id(calls_.engine().world());

  CO_TRY(auto opened, files.open(path, world::OpenMode::kRead));
  auto recipe = std::make_shared<PersistentCacheTaskId>();
  std::function<void(Bytes)> take = [recipe](Bytes bytes) { recipe->update(bytes); };
  Task<Result<void>> reading =
      world::read_through(calls_.engine().world(), std::shared_ptr<world::File>(std::move(opened)),
                          import.length, std::move(take));
  auto read = co_await reading;
  if (!read) co_return std::move(read).error().in("reading " + path);
  import.digest = recipe->content_digest();
  std::optional<std::uint64_t> wished;
  if (request.piece_length() > 0) wished = request.piece_length();
  import.task_id = request.has_content_for_calculating_task_id()
                       ? sha256_hex(as_bytes(request.content_for_calculating_task_id()))
                       : recipe->finish(request.tag(), request.application(), wished);
  co_return import;
}

Task<Result<void>> ReplicaCalls::announce(const Import& import, Deadline deadline) {
  api::scheduler::UploadPersistentCacheTaskStartedRequest started;
  started.set_host_id(calls_.host_id());
  started.set_task_id(import.task_id);
  started.set_peer_id(import.peer_id);
  started.set_persistent_replica_count(import.request.persistent_replica_count());
  if (import.request.has_tag()) started.set_tag(import.request.tag());
  if (import.request.has_application()) started.set_application(import.request.application());
  started.set_piece_length(import.piece_length);
  started.set_content_length(import.length);
  started.set_piece_count(import.pieces());
  api::set_duration(*started.mutable_ttl(), import.ttl);
  auto& schedulers = *calls_.schedulers();
  for (bool introduced = false;; introduced = true) {
    Task<Result<api::Empty>> asking = schedulers.ask<api::Empty>(
        api::method::scheduler::kUploadPersistentCacheTaskStarted, started, deadline);
    auto answer = co_await asking;
    if (answer) co_return Result<void>{};
    if (introduced || !answer.failed_with(ErrorCode::kNotFound)) {
      co_return std::move(answer).error().in("importing " + import.request.path());
    }
    // It has forgotten this host.
    CO_TRY(auto scheduler, schedulers.pick(import.task_id));
    Task<Result<void>> introducing = schedulers.announce_to(std::move(scheduler), deadline);
    CO_OK(co_await introducing);
  }
}

Task<Result<void>> ReplicaCalls::store_file(const Import& import, Deadline deadline) {
  // Whatever is here is of an earlier life, with another time to live.
  (void)store_.remove(import.task_id);
  fetch::Wish wish;
  wish.message.set_url(source::file_url(import.request.path()));
  wish.message.set_piece_length(import.piece_length);
  if (import.request.has_tag()) wish.message.set_tag(import.request.tag());
  if (import.request.has_application()) wish.message.set_application(import.request.application());
  wish.content_digest = import.digest;
  wish.replica = fetch::Replica{.task_id = import.task_id, .persistent = true, .ttl = import.ttl};
  CO_TRY(auto download, calls_.engine().start(std::move(wish), deadline));
  Task<Result<void>> ending = download->ended();
  co_return co_await ending;
}

Task<void> ReplicaCalls::tell_failed(std::string task_id, std::string peer_id, std::string why) {
  api::scheduler::UploadPersistentCacheTaskFailedRequest failed;
  failed.set_host_id(calls_.host_id());
  failed.set_task_id(std::move(task_id));
  failed.set_peer_id(std::move(peer_id));
  failed.set_description(std::move(why));
  const auto deadline = Deadline::in(kCallTimeout, calls_.engine().world().now());
  Task<Result<api::Empty>> telling = calls_.schedulers()->ask<api::Empty>(
      api::method::scheduler::kUploadPersistentCacheTaskFailed, std::move(failed), deadline);
  (void)co_await telling;
}

namespace {

// One import in the metrics, under Dragonfly's names (Dragonfly client 10.1); one that is given up has
// failed.
class Running {
 public:
  explicit Running(Metrics* metrics) : metrics_(metrics) {
    if (metrics_ == nullptr) return;
    metrics_->counter("dragonfly_client_upload_task_total", "Imports that were begun.", labels()).add();
    now().add(1);
  }
  ~Running() {
    if (metrics_ == nullptr) return;
    now().add(-1);
    if (!right_)
      metrics_->counter("dragonfly_client_upload_task_failure_total", "Imports that failed.", labels()).add();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void ended(const Result<PersistentCacheTask>& outcome, Duration took) {
    right_ = outcome.ok();
    if (metrics_ == nullptr || !right_) return;
    const auto level = api::task_size_level(static_cast<std::int64_t>(outcome->content_length()));
    metrics_
        ->histogram("dragonfly_client_upload_task_duration_milliseconds", "How long imports took.",
                    api::client_milliseconds(),
                    {{"task_type", labels().front().second}, {"task_size_level", std::to_string(level)}})
        .observe(std::chrono::duration<double, std::milli>(took).count());
  }

 private:
  static Labels labels() {
    return {{"type", std::to_string(static_cast<int>(kType))}, {"tag", ""}, {"app", ""}};
  }
  Gauge& now() {
    return metrics_->gauge("dragonfly_client_concurrent_upload_task_total", "Imports that run now.",
                           labels());
  }

  Metrics* metrics_;
  bool right_ = false;
};

}  // namespace

Task<Result<PersistentCacheTask>> ReplicaCalls::upload(UploadPersistentCacheTaskRequest request) {
  if (calls_.schedulers() == nullptr || calls_.schedulers()->none()) {
    co_return error(ErrorCode::kUnavailable,
                    "no scheduler is configured that could keep copies of {} on other hosts", request.path());
  }
  const auto begun = calls_.engine().world().now();
  auto deadline = Deadline::in(timeout_of(request), begun);
  Running running(calls_.metrics());
  Task<Result<PersistentCacheTask>> making = make(std::move(request), deadline);
  auto made = co_await within(deadline, std::move(making));
  running.ended(made, calls_.engine().world().now() - begun);
  co_return made;
}

namespace {

// Says at its end that the work has failed, unless it was told otherwise: also when whoever waited has gone.
class Unless {
 public:
  explicit Unless(std::function<void(std::string)> failed) : failed_(std::move(failed)) {}
  ~Unless() {
    if (failed_) failed_(why_);
  }
  Unless(const Unless&) = delete;
  Unless& operator=(const Unless&) = delete;

  void because(std::string why) { why_ = std::move(why); }
  void done() { failed_ = nullptr; }

 private:
  std::function<void(std::string)> failed_;
  std::string why_ = "it was given up";
};

// In a list as long as it lives, if nobody else has put the same there.
class Listed {
 public:
  Listed(std::set<std::string>& list, std::string what) : list_(list) {
    const auto [at, added] = list_.insert(std::move(what));
    if (added) mine_ = at;
  }
  ~Listed() {
    if (mine_) list_.erase(*mine_);
  }
  Listed(const Listed&) = delete;
  Listed& operator=(const Listed&) = delete;

  bool by_me() const { return mine_.has_value(); }

 private:
  std::set<std::string>& list_;
  std::optional<std::set<std::string>::iterator> mine_;
};

}  // namespace

Task<Result<PersistentCacheTask>> ReplicaCalls::make(UploadPersistentCacheTaskRequest request,
                                                     Deadline deadline) {
  Task<Result<Import>> examining = examine(request);
  CO_TRY(const Import import, co_await examining);
  const Listed alone(importing_, import.task_id);
  if (!alone.by_me()) {
    co_return error(ErrorCode::kExists, "task {} is being imported here already, by another call",
                    import.task_id);
  }
  if (auto here = store_.summary(import.task_id); here && !is_replica(here)) {
    co_return error(ErrorCode::kExists, "task {} is stored here as one of another kind; delete it first",
                    import.task_id);
  }
  Task<Result<void>> announcing = announce(import, deadline);
  CO_OK(co_await announcing);
  Unless ended([this, id = import.task_id, peer = import.peer_id](std::string why) {
    (void)store_.remove(id);
    calls_.unattended().spawn(tell_failed(id, peer, std::move(why)));
  });
  Task<Result<void>> storing = store_file(import, deadline);
  auto stored = co_await storing;
  if (!stored) {
    ended.because(stored.error().message());
    co_return std::move(stored).error();
  }
  api::scheduler::UploadPersistentCacheTaskFinishedRequest finished;
  finished.set_host_id(calls_.host_id());
  finished.set_task_id(import.task_id);
  finished.set_peer_id(import.peer_id);
  Task<Result<PersistentCacheTask>> telling = calls_.schedulers()->ask<PersistentCacheTask>(
      api::method::scheduler::kUploadPersistentCacheTaskFinished, finished, deadline);
  auto told = co_await telling;
  if (!told) {
    ended.because(told.error().message());
    co_return std::move(told).error().in("importing " + import.request.path());
  }
  ended.done();
  calls_.engine().parts().log.info("task {} is made of {}, {} bytes", import.task_id, import.request.path(),
                                   import.length);
  co_return std::move(*told);
}

Task<Result<PersistentCacheTask>> ReplicaCalls::stat(std::string task_id) {
  if (calls_.schedulers() == nullptr || calls_.schedulers()->none()) {
    co_return error(ErrorCode::kUnavailable, "no scheduler is configured that could know task {}", task_id);
  }
  api::scheduler::StatPersistentCacheTaskRequest request;
  request.set_host_id(calls_.host_id());
  request.set_task_id(std::move(task_id));
  const auto deadline = Deadline::in(kCallTimeout, calls_.engine().world().now());
  Task<Result<PersistentCacheTask>> asking = calls_.schedulers()->ask<PersistentCacheTask>(
      api::method::scheduler::kStatPersistentCacheTask, std::move(request), deadline);
  co_return co_await asking;
}

Result<StatLocalPersistentCacheTaskResponse> ReplicaCalls::stat_local(const std::string& task_id) const {
  auto summary = store_.summary(task_id);
  if (!is_replica(summary)) return not_here(task_id);
  StatLocalPersistentCacheTaskResponse response;
  fill(response, *summary);
  return response;
}

api::dfdaemon::ListLocalPersistentCacheTasksResponse ReplicaCalls::list_local() const {
  api::dfdaemon::ListLocalPersistentCacheTasksResponse response;
  for (const auto& task : store_.list()) {
    if (is_replica(task)) fill(*response.add_tasks(), task);
  }
  return response;
}

Task<Result<api::Empty>> ReplicaCalls::update(std::string task_id, bool persistent) {
  if (!is_replica(store_.summary(task_id))) co_return not_here(task_id);
  CO_TRY(auto task, co_await store_.find(task_id));
  CO_OK(task->set_persistent(persistent));
  co_return api::Empty();
}

Result<api::Empty> ReplicaCalls::remove(const std::string& task_id) {
  if (!is_replica(store_.summary(task_id))) return not_here(task_id);
  TRY_OK(store_.remove(task_id));
  calls_.engine().parts().log.info("task {} deleted on request", task_id);
  return api::Empty();
}

namespace {

Task<Result<void>> download(ReplicaCalls& replicas, DownloadPersistentCacheTaskRequest request,
                            bool for_others, TaskStreamOptions options,
                            grpc::Writer<DownloadPersistentCacheTaskResponse>& out) {
  fetch::Wish wish;
  wish.for_others = for_others;
  wish.replica = fetch::Replica{.task_id = request.task_id(), .persistent = request.persistent()};
  wish.message.set_type(api::common::PERSISTENT_CACHE);
  wish.message.set_disable_back_to_source(true);
  wish.message.set_need_piece_content(request.need_piece_content());
  if (request.has_tag()) wish.message.set_tag(request.tag());
  if (request.has_application()) wish.message.set_application(request.application());
  if (request.has_digest()) wish.message.set_digest(request.digest());
  if (request.has_timeout()) *wish.message.mutable_timeout() = request.timeout();
  wish.output_path = request.output_path();
  wish.overwrite = request.overwrite();
  wish.require_hard_link = request.force_hard_link();
  wish.announce_complete = request.persistent();
  options.host_id = replicas.calls().host_id();
  Task<Result<void>> streaming =
      stream_download(replicas.calls().engine(), std::move(wish), std::move(options), out);
  co_return co_await streaming;
}

Task<Result<void>> download_for_others(ReplicaCalls& replicas, DownloadPersistentCacheTaskRequest request,
                                       grpc::Writer<DownloadPersistentCacheTaskResponse>& out) {
  if (!request.output_path().empty()) {
    co_return error(ErrorCode::kPermission,
                    "output_path {} is refused: files are written only for this machine's own clients",
                    request.output_path());
  }
  Task<Result<void>> downloading = download(replicas, std::move(request), true, {}, out);
  co_return co_await downloading;
}

Task<Result<void>> download_here(ReplicaCalls& replicas, DownloadPersistentCacheTaskRequest request,
                                 bool trusted, TaskStreamOptions options,
                                 grpc::Writer<DownloadPersistentCacheTaskResponse>& out) {
  CO_OK(may_write(request.output_path(), trusted));
  Task<Result<void>> downloading = download(replicas, std::move(request), false, std::move(options), out);
  co_return co_await downloading;
}

Task<Result<PersistentCacheTask>> upload(ReplicaCalls& replicas, UploadPersistentCacheTaskRequest request,
                                         bool trusted) {
  if (!trusted) {
    co_return error(ErrorCode::kPermission,
                    "{} is refused: a daemon reads files only for its own user and root on this machine",
                    request.path());
  }
  Task<Result<PersistentCacheTask>> uploading = replicas.upload(std::move(request));
  co_return co_await uploading;
}

template <class Answer>
Task<Result<Answer>> at_once(Result<Answer> answer) {
  co_return std::move(answer);
}

}  // namespace

void attach_upload_service(grpc::Server& server, ReplicaCalls& replicas) {
  namespace method = api::method::upload;
  using namespace api::dfdaemon;
  server.server_stream<DownloadPersistentCacheTaskRequest, DownloadPersistentCacheTaskResponse>(
      std::string(method::kDownloadPersistentCacheTask),
      [&replicas](grpc::ServerCall&, DownloadPersistentCacheTaskRequest request,
                  grpc::Writer<DownloadPersistentCacheTaskResponse>& out) {
        return download_for_others(replicas, std::move(request), out);
      });
  server.unary<UpdatePersistentCacheTaskRequest, api::Empty>(
      std::string(method::kUpdatePersistentCacheTask),
      [&replicas](grpc::ServerCall&, UpdatePersistentCacheTaskRequest request) {
        return counted(replicas.calls(), kType, "update_task_total", "update_task_failure_total",
                       replicas.update(request.task_id(), request.persistent()));
      });
  server.unary<StatPersistentCacheTaskRequest, PersistentCacheTask>(
      std::string(method::kStatPersistentCacheTask),
      [&replicas](grpc::ServerCall&, StatPersistentCacheTaskRequest request) {
        return counted(replicas.calls(), kType, "stat_task_total", "stat_task_failure_total",
                       replicas.stat(request.task_id()));
      });
  server.unary<DeletePersistentCacheTaskRequest, api::Empty>(
      std::string(method::kDeletePersistentCacheTask),
      [&replicas](grpc::ServerCall&, DeletePersistentCacheTaskRequest request) {
        return counted(replicas.calls(), kType, "delete_task_total", "delete_task_failure_total",
                       at_once(replicas.remove(request.task_id())));
      });
}

void attach_download_service(grpc::Server& server, ReplicaCalls& replicas) {
  namespace method = api::method::download;
  using namespace api::dfdaemon;
  grpc::MethodOptions options;
  options.headers_at_once = false;  // they say that the download has begun, as with DownloadTask
  server.server_stream<DownloadPersistentCacheTaskRequest, DownloadPersistentCacheTaskResponse>(
      std::string(method::kDownloadPersistentCacheTask),
      [&replicas](grpc::ServerCall& call, DownloadPersistentCacheTaskRequest request,
                  grpc::Writer<DownloadPersistentCacheTaskResponse>& out) {
        TaskStreamOptions stream;
        stream.begun = [&call] { call.send_headers(); };
        stream.removes_output = removes_output(call);
        return download_here(replicas, std::move(request), replicas.calls().trusts(call), std::move(stream),
                             out);
      },
      options);
  server.unary<UploadPersistentCacheTaskRequest, PersistentCacheTask>(
      std::string(method::kUploadPersistentCacheTask),
      [&replicas](grpc::ServerCall& call, UploadPersistentCacheTaskRequest request) {
        return upload(replicas, std::move(request), replicas.calls().trusts(call));
      });
  server.unary<StatPersistentCacheTaskRequest, PersistentCacheTask>(
      std::string(method::kStatPersistentCacheTask),
      [&replicas](grpc::ServerCall&, StatPersistentCacheTaskRequest request) {
        return counted(replicas.calls(), kType, "stat_task_total", "stat_task_failure_total",
                       replicas.stat(request.task_id()));
      });
  server.unary<StatLocalPersistentCacheTaskRequest, StatLocalPersistentCacheTaskResponse>(
      std::string(method::kStatLocalPersistentCacheTask),
      [&replicas](grpc::ServerCall&, StatLocalPersistentCacheTaskRequest request) {
        return counted(replicas.calls(), kType, "stat_local_task_total", "stat_local_task_failure_total",
                       at_once(replicas.stat_local(request.task_id())));
      });
  server.unary<ListLocalPersistentCacheTasksRequest, ListLocalPersistentCacheTasksResponse>(
      std::string(method::kListLocalPersistentCacheTasks),
      [&replicas](grpc::ServerCall&, ListLocalPersistentCacheTasksRequest) {
        return counted(replicas.calls(), kType, "list_local_tasks_total", "list_tasks_failure_total",
                       at_once<ListLocalPersistentCacheTasksResponse>(replicas.list_local()));
      });
}

}  // namespace d7y::node
