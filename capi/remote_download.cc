#include "remote_download.h"

#include <algorithm>

#include "api/methods.h"
#include "base/digest.h"
#include "node/task_stream.h"
#include "remote_peer.h"

namespace d7y::capi {

RemoteDownload::RemoteDownload(world::World& world, grpc::Channel& channel, Order order,
                               std::shared_ptr<Transfer> transfer)
    : world_(world),
      channel_(channel),
      order_(std::move(order)),
      transfer_(std::move(transfer)),
      room_(std::make_shared<Signal>()),
      began_(world.now()) {}

RemoteDownload::~RemoteDownload() {
  output_.reset();
  if (!temporary_.empty()) (void)world_.files().remove(temporary_);
}

Task<void> RemoteDownload::run() {
  transfer_->on_room([&world = world_, room = std::weak_ptr<Signal>(room_)] {
    world.post([room] {
      if (auto there = room.lock()) there->notify_all();
    });
  });
  auto worked = co_await within(Deadline::in(order_.timeout, world_.now()), work());
  progress_.elapsed = world_.now() - began_;
  transfer_->set_progress(progress_);
  if (worked.failed_with(ErrorCode::kTimeout)) {
    worked = error(ErrorCode::kTimeout, "download of {}: its time was over with {} bytes here",
                   source::redacted(order_.message.url()), progress_.done);
  }
  transfer_->end(worked);
}

Task<Result<void>> RemoteDownload::work() {
  CO_OK(check_output());
  if (order_.write_here) CO_OK(open_output());
  api::dfdaemon::DownloadTaskRequest request;
  auto& download = *request.mutable_download();
  download = order_.message;
  if (!order_.output_path.empty() && !order_.write_here) {
    download.set_output_path(order_.output_path);
    download.set_overwrite(order_.overwrite);
    download.set_force_hard_link(order_.require_hard_link);
  }
  download.set_need_piece_content(wants_bytes());
  api::set_duration(*download.mutable_timeout(), order_.timeout);
  grpc::CallOptions options;
  options.deadline = Deadline::in(order_.timeout, world_.now());
  // Dragonfly's message has no place for it, and its daemons pass over metadata that they do not know.
  if (order_.rate_limit != 0) options.metadata.add("d7y-rate-limit", std::to_string(order_.rate_limit));
  if (wants_stream()) options.metadata.add(node::kBytesKey, "1");
  auto call = channel_.server_stream<api::dfdaemon::DownloadTaskResponse>(
      api::method::download::kDownloadTask, request, std::move(options));
  for (;;) {
    auto message = co_await call.read();
    if (!message) co_return from_daemon(std::move(message).error());
    if (!*message) break;
    auto& response = **message;
    transfer_->set_task(response.task_id());
    if (response.has_download_task_started_response()) {
      CO_OK(take_started(response.download_task_started_response()));
    } else if (response.has_download_piece_finished_response()) {
      auto piece = std::move(*response.mutable_download_piece_finished_response()->mutable_piece());
      // See node::kBytesKey: Dragonfly's pieces have their digest.
      bool bytes = wants_stream() && piece.digest().empty();
      Task<Result<void>> taking = bytes ? take_bytes(std::move(piece)) : take_piece(std::move(piece));
      CO_OK(co_await taking);
    }
    transfer_->set_progress(progress_);
  }
  if (!started_ || seen_.count() < places_.size()) {
    co_return error(ErrorCode::kProtocol, "the daemon ended the download of {} after {} of {} pieces",
                    source::redacted(order_.message.url()), seen_.count(), places_.size());
  }
  if (wants_stream() && put_ < progress_.wanted.value_or(0)) {
    co_return error(ErrorCode::kProtocol, "the daemon ended the download of {} after {} of {} bytes",
                    source::redacted(order_.message.url()), put_, *progress_.wanted);
  }
  progress_.done = progress_.wanted.value_or(progress_.done);
  if (order_.write_here) {
    CO_OK(verify_output());
    CO_OK(name_output());
  }
  co_return Result<void>{};
}

Result<void> RemoteDownload::take_started(const api::dfdaemon::DownloadTaskStartedResponse& started) {
  if (started_) return error(ErrorCode::kProtocol, "the daemon began the same download twice");
  started_ = true;
  progress_.wanted = started.has_range() ? started.range().length() : started.content_length();
  range_start_ = started.has_range() ? started.range().start() : 0;
  progress_.pieces_total = static_cast<std::uint32_t>(started.pieces_size());
  store::Headers headers;
  for (const auto& [name, value] : started.response_header()) headers.emplace_back(name, value);
  transfer_->set_headers(headers);
  for (const auto& piece : started.pieces()) {
    if (piece.length() == 0 || piece.length() > store::kMaxPieceLength ||
        piece.number() >= store::kMaxPieces) {
      return error(ErrorCode::kProtocol, "the daemon tells of an impossible piece {}", piece.number());
    }
    places_.emplace(piece.number(), Place{piece.offset(), piece.length()});
  }
  if (!places_.empty()) next_ = places_.begin()->first;
  return {};
}

void RemoteDownload::count(const api::common::Piece& piece) {
  if (!progress_.first_byte && !(wants_stream() && piece.content().empty()))
    progress_.first_byte = world_.now() - began_;
  ++progress_.pieces_done;
  progress_.done += piece.length();
  if (progress_.wanted) progress_.done = std::min(progress_.done, *progress_.wanted);
  if (piece.traffic_type() == api::common::LOCAL_PEER) {
    progress_.from_local += piece.length();
  } else if (piece.traffic_type() == api::common::BACK_TO_SOURCE) {
    progress_.from_source += piece.length();
  } else if (piece.parent_id().ends_with("-seed")) {
    progress_.from_seeds += piece.length();
  } else {
    progress_.from_peers += piece.length();
  }
}

Result<void> RemoteDownload::check_place(const api::common::Piece& piece) const {
  auto place = places_.find(piece.number());
  if (place == places_.end() || place->second.length != piece.length() ||
      place->second.offset != piece.offset()) {
    return error(ErrorCode::kProtocol, "the daemon sent piece {} that it had not told of", piece.number());
  }
  bool comes_apart = wants_stream() && piece.content().empty();
  if (wants_bytes() && !comes_apart && piece.content().size() != piece.length()) {
    return error(ErrorCode::kProtocol, "the daemon sent {} bytes of piece {} instead of {}",
                 piece.content().size(), piece.number(), piece.length());
  }
  return {};
}

Task<Result<void>> RemoteDownload::take_piece(api::common::Piece piece) {
  CO_OK(check_place(piece));
  if (!seen_.set(piece.number())) co_return Result<void>{};
  count(piece);
  if (order_.write_here) {
    // A range begins and ends within pieces: only its part is written.
    auto begin = std::max(piece.offset(), range_start_);
    auto end = std::min(piece.offset() + piece.length(), range_start_ + progress_.wanted.value_or(0));
    if (begin < end) {
      auto bytes = as_bytes(piece.content()).subspan(begin - piece.offset(), end - begin);
      CO_OK(output_->write_at(begin - range_start_, bytes));
    }
  }
  if (!order_.in_order || piece.content().empty()) co_return Result<void>{};
  if (piece.number() != next_) co_return keep_for_later(piece);
  CO_OK(co_await pass_on(piece.number(), std::move(*piece.mutable_content())));
  while (kept_.test(next_)) {
    auto place = places_.find(next_);
    std::string content(place->second.length, '\0');
    auto read = spool_->read_at(place->second.offset, as_mutable_bytes(content));
    if (!read) co_return std::move(read).error();
    CO_OK(co_await pass_on(next_, std::move(content)));
  }
  co_return Result<void>{};
}

Task<Result<void>> RemoteDownload::pass_on(std::uint32_t number, std::string content) {
  auto place = places_.find(number)->second;
  auto begin = std::max(place.offset, range_start_) - place.offset;
  auto end =
      std::min(place.offset + place.length, range_start_ + progress_.wanted.value_or(0)) - place.offset;
  ++next_;
  if (begin >= end) co_return Result<void>{};
  if (begin != 0 || end != content.size()) content = content.substr(begin, end - begin);
  co_return co_await put(std::move(content));
}

// The next bytes, wherever they lie in pieces.
Task<Result<void>> RemoteDownload::take_bytes(api::common::Piece bytes) {
  auto size = bytes.content().size();
  bool fits = started_ && size == bytes.length() && bytes.offset() == range_start_ + put_ &&
              size <= progress_.wanted.value_or(0) - put_;
  if (!fits) {
    co_return error(ErrorCode::kProtocol, "the daemon sent {} bytes from {} on instead of those from {} on",
                    size, bytes.offset(), range_start_ + put_);
  }
  if (!progress_.first_byte) progress_.first_byte = world_.now() - began_;
  co_return co_await put(std::move(*bytes.mutable_content()));
}

Task<Result<void>> RemoteDownload::put(std::string content) {
  put_ += content.size();
  bool room = transfer_->put(std::move(content));
  while (!room) {
    CO_OK(co_await room_->wait(Deadline::never()));  // as long as the reader likes
    room = transfer_->has_room();
  }
  co_return Result<void>{};
}

// Dragonfly's daemon sends pieces as they land. Those whose turn has not come wait on disk, not in memory.
Result<void> RemoteDownload::keep_for_later(const api::common::Piece& piece) {
  if (!spool_) {
    auto path = fmt::format("/tmp/.d7y-{:016x}", world_.random());
    TRY(spool_, world_.files().open(path, world::OpenMode::kCreateNew, 0600));
    TRY_OK(world_.files().remove(path));
  }
  TRY_OK(spool_->write_at(piece.offset(), as_bytes(piece.content())));
  kept_.set(piece.number());
  return {};
}

// Also where the daemon writes it: Dragonfly's says of an output that exists what no caller can tell from
// other errors.
Result<void> RemoteDownload::check_output() const {
  const auto& path = order_.output_path;
  if (path.empty()) return {};
  auto there = world_.files().status(path);
  if (there && there->kind == world::FileKind::kOther) {
    return error(ErrorCode::kInvalid, "output {} is a device or a pipe; nothing takes its place", path);
  }
  if (there && !order_.overwrite) {
    return error(ErrorCode::kExists, "output {} exists; remove it or ask to overwrite it", path);
  }
  return {};
}

Result<void> RemoteDownload::open_output() {
  const auto& path = order_.output_path;
  auto slash = path.rfind('/');
  auto folder = slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
  auto name = slash == std::string::npos ? path : path.substr(slash + 1);
  temporary_ = fmt::format("{}.{}.{:08x}.d7y", folder, name, static_cast<std::uint32_t>(world_.random()));
  auto opened = world_.files().open(temporary_, world::OpenMode::kCreateNew, 0644);
  if (!opened) {
    temporary_.clear();
    return std::move(opened).error();
  }
  output_ = std::move(*opened);
  return {};
}

Result<void> RemoteDownload::verify_output() {
  TRY_OK(output_->resize(progress_.wanted.value_or(0)));
  if (order_.message.digest().empty()) return {};
  TRY(auto wanted, Digest::parse(order_.message.digest()));
  Hasher hasher(wanted.kind());
  std::string buffer(1 << 20, '\0');
  for (std::uint64_t at = 0;;) {
    TRY(auto got, output_->read_at(at, as_mutable_bytes(buffer)));
    if (got == 0) break;
    hasher.update(as_bytes(buffer).first(got));
    at += got;
  }
  auto found = Digest::of(hasher);
  if (found != wanted) {
    return error(ErrorCode::kCorrupt, "content of {} has digest {}, {} is asked for",
                 source::redacted(order_.message.url()), found.to_string(), wanted.to_string());
  }
  return {};
}

Result<void> RemoteDownload::name_output() {
  output_.reset();
  auto& files = world_.files();
  TRY_OK(order_.overwrite ? files.rename(temporary_, order_.output_path)
                          : files.rename_new(temporary_, order_.output_path));
  temporary_.clear();
  return {};
}

}  // namespace d7y::capi
