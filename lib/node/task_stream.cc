#include "node/task_stream.h"

#include "base/digest.h"

namespace d7y::node {
namespace {

// Bytes in one message: what is on disk already goes fast, and no window is full of one message.
constexpr std::uint64_t kMostBytes = 256 << 10;
// While the next bytes are awaited, it is told so often which pieces have landed elsewhere.
constexpr auto kNewsInterval = std::chrono::milliseconds(200);

void fill_place(api::common::Piece& to, const store::PieceExtent& from) {
  to.set_number(from.number);
  to.set_offset(from.offset);
  to.set_length(from.length);
}

using Started = api::dfdaemon::DownloadTaskStartedResponse;

// The first message, as each kind of task has it.
void set_started(api::dfdaemon::DownloadTaskResponse& response, Started started) {
  *response.mutable_download_task_started_response() = std::move(started);
}
void set_started(api::dfdaemon::DownloadPersistentCacheTaskResponse& response, const Started& started) {
  response.mutable_download_persistent_cache_task_started_response()->set_content_length(
      started.content_length());
}

template <class Response>
class TaskStream {
 public:
  TaskStream(world::World& world, fetch::Download& download, const TaskStreamOptions& options,
             grpc::Writer<Response>& out)
      : world_(world), download_(download), options_(options), out_(out) {}

  Task<Result<void>> run() {
    CO_OK(co_await send_started());
    if (options_.bytes_in_order) CO_OK(co_await send_bytes());
    for (;;) {
      CO_OK(co_await send_news());
      if (download_.has_ended()) break;
      auto changed = co_await download_.changed().wait(Deadline::never());  // the download has a deadline
      if (!changed) break;
    }
    CO_OK(co_await download_.ended());
    co_return co_await send_news();
  }

 private:
  Response envelope() const {
    Response response;
    response.set_host_id(options_.host_id);
    response.set_task_id(download_.task_id());
    response.set_peer_id(download_.peer_id());
    return response;
  }

  Task<Result<void>> send_started() {
    // A client needs the length; where the origin does not say it, it comes with the end.
    while (!download_.length()) {
      if (download_.has_ended()) co_return co_await download_.ended();
      CO_OK(co_await download_.changed().wait(Deadline::never()));
    }
    const auto& task = download_.task();
    Started started;
    started.set_content_length(*task->content_length());
    if (download_.offset() != 0 || *download_.length() != *task->content_length()) {
      started.mutable_range()->set_start(download_.offset());
      started.mutable_range()->set_length(*download_.length());
    }
    for (const auto& [name, value] : task->facts().response_headers) {
      (*started.mutable_response_header())[name] = value;
    }
    run_ = {0, task->piece_count().value_or(0)};
    if (*download_.length() > 0 && *download_.length() != *task->content_length()) run_ = download_.pieces();
    for (auto number = run_.first; number < run_.end; ++number) {
      auto extent = task->extent(number);
      if (!extent) co_return std::move(extent).error();
      fill_place(*started.add_pieces(), *extent);
    }
    started.set_is_finished(task->finished());
    auto response = envelope();
    set_started(response, std::move(started));
    CO_OK(co_await out_.write(response));
    local_ = task->pieces();
    next_ = run_.first;
    for (auto number = run_.first; number < run_.end; ++number) {
      if (local_.test(number)) CO_OK(co_await send(number));
    }
    co_return Result<void>{};
  }

  bool with_content() const {
    return download_.wish().message.need_piece_content() && !options_.bytes_in_order;
  }

  // All bytes in order as they arrive, and between them the pieces that landed.
  Task<Result<void>> send_bytes() {
    for (;;) {
      CO_OK(co_await send_news());
      auto patience = Deadline::in(kNewsInterval, world_.now());
      auto run = co_await download_.next(kMostBytes, patience);
      if (run.failed_with(ErrorCode::kTimeout)) {
        if (download_.has_ended()) CO_OK(co_await download_.ended());
        continue;
      }
      if (!run) co_return std::move(run).error();
      if (run->length == 0) co_return Result<void>{};
      CO_TRY(auto content, content_at(*run));
      auto response = envelope();
      auto& piece = *response.mutable_download_piece_finished_response()->mutable_piece();
      piece.set_offset(run->offset);
      piece.set_length(run->length);
      piece.set_content(std::move(content));
      CO_OK(co_await out_.write(response));
      download_.consume(run->length);
    }
  }

  Result<std::string> content_at(store::Extent where) const {
    std::string content(where.length, '\0');
    TRY(auto read, download_.task()->file()->read_at(where.offset, as_mutable_bytes(content)));
    if (read == content.size()) return content;
    return error(ErrorCode::kCorrupt, "the stored content of task {} ends at {}, before its end",
                 download_.task_id(), where.offset + read);
  }

  // Pieces with their bytes go in rising order, so that the client needs no room to sort them.
  Task<Result<void>> send(std::uint32_t number) {
    if (!with_content()) co_return co_await send_piece(number);
    while (next_ < run_.end && download_.task()->has(next_)) {
      CO_OK(co_await send_piece(next_));
      download_.passed(++next_);
    }
    co_return Result<void>{};
  }

  Task<Result<void>> send_news() {
    if (task_ != download_.task()) {  // the download began again: what it had was wrong
      task_ = download_.task();
      cursor_ = {};
    }
    // Copied, because the span dies with the next change, which may come while we write.
    auto span = download_.task()->news(cursor_);
    std::vector<std::uint32_t> fresh(span.begin(), span.end());
    for (auto number : fresh) CO_OK(co_await send(number));
    co_return Result<void>{};
  }

  Task<Result<void>> send_piece(std::uint32_t number) {
    if (number < run_.first || number >= run_.end || !sent_.set(number)) co_return Result<void>{};
    auto info = download_.task()->piece(number);
    if (!info) co_return Result<void>{};
    auto response = envelope();
    auto& piece = *response.mutable_download_piece_finished_response()->mutable_piece();
    fill_place(piece, {info->number, info->offset, info->length});
    piece.set_digest(Digest::crc32(info->crc).to_string());
    bool here_before = local_.test(number);
    piece.set_traffic_type(here_before ? api::common::LOCAL_PEER
                                       : static_cast<api::common::TrafficType>(info->traffic));
    if (!info->parent.empty() && !here_before) piece.set_parent_id(info->parent);
    api::set_duration(*piece.mutable_cost(), info->cost);
    api::set_time(*piece.mutable_created_at(), info->created_at);
    if (with_content()) {
      CO_TRY(auto content, content_at({info->offset, info->length}));
      piece.set_content(std::move(content));
    }
    co_return co_await out_.write(response);
  }

  world::World& world_;
  fetch::Download& download_;
  const TaskStreamOptions& options_;
  grpc::Writer<Response>& out_;
  fetch::PiecePlan::Run run_;
  std::uint32_t next_ = 0;
  store::TaskHandle task_;
  store::PieceCursor cursor_;
  store::Bitmap local_, sent_;
};

}  // namespace

bool removes_output(const grpc::ServerCall& call) {
  return call.metadata().get("user-agent").value_or("").starts_with("tonic/");
}

Error to_task_error(Error error) {
  if (error.code() == ErrorCode::kDiskFull && error.details().empty()) {
    // gRPC has one code for a full disk and for too many requests; our clients tell them apart by this.
    auto json = source::backend_error_json(error.message(), {}, 0);
    json.insert(1, R"("d7y_code":"disk full",)");
    return grpc::status_error(grpc::Code::kResourceExhausted, error.message(), std::move(json));
  }
  if (error.details().empty() || error.status() == 0) return error;
  return grpc::status_error(grpc::Code::kInternal, error.message(), error.details());
}

namespace {

// Without a byte for so long, what nobody waits for is given up: its origin is silent, or away.
constexpr auto kUnattendedPause = std::chrono::seconds(20);

Task<void> hold(std::shared_ptr<fetch::Download> download, world::World& world) {
  std::uint64_t before = 0;
  while (!download->has_ended()) {
    Task<Result<void>> ending = download->ended();
    auto ended = co_await within(Deadline::in(kUnattendedPause, world.now()), std::move(ending));
    if (download->has_ended()) co_return;
    const auto done = download->progress().done;
    if (download.use_count() == 1 && done == before) co_return;
    before = done;
  }
}

// An empty file at the output of a download that failed, if there is nothing: its caller removes it.
void leave_to_remove(fetch::Download& download, world::Files& files) {
  const auto& path = download.wish().output_path;
  if (path.empty() || !download.has_ended()) return;
  // Where it cannot be made, the caller says so: nothing else is lost.
  static_cast<void>(files.open(path, world::OpenMode::kCreateNew));
}

}  // namespace

template <class Response>
Task<Result<void>> stream_download(fetch::Engine& engine, fetch::Wish wish, TaskStreamOptions options,
                                   grpc::Writer<Response>& out) {
  auto deadline = Deadline::in(timeout_of(wish.message), engine.world().now());
  auto silent = options.silent_if_complete;
  wish.announce_complete = wish.announce_complete || silent;
  wish.in_order = options.bytes_in_order;
  wish.ascending = wish.message.need_piece_content();
  auto begun = engine.start(std::move(wish), deadline);
  if (!begun) {
    engine.parts().log.debug("download refused: {}", begun.error().message());
    co_return to_task_error(std::move(begun).error());
  }
  std::shared_ptr<fetch::Download> download = std::move(*begun);
  if (options.outlives != nullptr) options.outlives->spawn(hold(download, engine.world()));
  auto started = co_await download->started();
  if (!started) co_return to_task_error(std::move(started).error());
  if (options.begun) options.begun();
  if (silent && download->task()->finished()) {
    auto ended = co_await download->ended();
    if (!ended) co_return to_task_error(std::move(ended).error());
    co_return Result<void>{};
  }
  TaskStream<Response> stream(engine.world(), *download, options, out);
  auto streamed = co_await stream.run();
  if (!streamed) {
    if (options.removes_output) leave_to_remove(*download, engine.world().files());
    co_return to_task_error(std::move(streamed).error());
  }
  co_return Result<void>{};
}

template Task<Result<void>> stream_download(fetch::Engine&, fetch::Wish, TaskStreamOptions,
                                            grpc::Writer<api::dfdaemon::DownloadTaskResponse>&);
template Task<Result<void>> stream_download(
    fetch::Engine&, fetch::Wish, TaskStreamOptions,
    grpc::Writer<api::dfdaemon::DownloadPersistentCacheTaskResponse>&);

}  // namespace d7y::node
