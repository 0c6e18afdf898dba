#include "swarm/vortex_connection.h"
#include "swarm/content_version.h"

#include <algorithm>

namespace d7y::swarm {

using namespace std::chrono_literals;

namespace {

// What is asked of the kernel at once (performance: sendfile in steps of 1 MiB).
constexpr std::uint64_t kStep = std::uint64_t{1} << 20;
// A child that takes a step in less can have long chunks.
constexpr Duration kStepTime = 4ms;
// After so many bytes without a wait others get their turn on the loop.
constexpr std::uint64_t kYieldAfter = std::uint64_t{4} << 20;

vortex::Code code_for(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kNotFound:
    case ErrorCode::kChanged: return vortex::Code::kNotFound;
    case ErrorCode::kInvalid: return vortex::Code::kInvalidArgument;
    case ErrorCode::kCorrupt: return vortex::Code::kCorrupt;
    case ErrorCode::kExhausted: return vortex::Code::kBusy;
    default: return vortex::Code::kInternal;
  }
}

// For Rust children: they know no codes above 3, and to them a number beyond the task is a piece not found.
vortex::Code plain(vortex::Code code) {
  if (code == vortex::Code::kInvalidArgument) return vortex::Code::kNotFound;
  return static_cast<std::uint8_t>(code) > 3 ? vortex::Code::kInternal : code;
}

bool serves(vortex::Kind kind, store::TaskKind stored) {
  switch (kind) {
    case vortex::Kind::kStandard: return stored == store::TaskKind::kStandard;
    case vortex::Kind::kPersistent: return stored == store::TaskKind::kPersistent;
    case vortex::Kind::kPersistentCache: return stored == store::TaskKind::kPersistentCache;
    case vortex::Kind::kCache: return false;
  }
  return false;
}

}  // namespace

VortexConnection::VortexConnection(VortexServer& server, std::unique_ptr<world::Stream> stream)
    : server_(server), world_(server.world_), stream_(std::move(stream)) {
  server_.open_.push_back(this);
}

VortexConnection::~VortexConnection() { std::erase(server_.open_, this); }

Task<void> VortexConnection::run() {
  auto served = co_await serve();
  if (!served) {
    auto level = served.error().code() == ErrorCode::kProtocol ? LogLevel::kInfo : LogLevel::kDebug;
    if (level == LogLevel::kInfo) {
      server_.log_.info("child {}: {}; connection dropped", stream_->remote().to_string(),
                        served.error().message());
    } else {
      server_.log_.debug("child {}: {}", stream_->remote().to_string(), served.error().message());
    }
  }
  if (!served || broken_) stream_->abort();
  fetches_.clear();
  subscriptions_.clear();
}

void VortexConnection::drain() {
  draining_ = true;
  stream_->readable().notify_all();
  job_ended_.notify_all();
}

Task<Result<void>> VortexConnection::serve() {
  std::byte buffer[2048];
  std::vector<vortex::Request> requests;
  bool first = true;
  auto packet_since = world_.now();
  quiet_since_ = world_.now();
  for (;;) {
    sweep(fetches_);
    sweep(subscriptions_);
    if (broken_) co_return error(ErrorCode::kReset, "an answer could not be sent");
    if (draining_ && busy() == 0) co_return Result<void>{};
    if (busy() >= server_.options_.max_requests || subscribed_ > 2 * server_.options_.max_subscriptions) {
      CO_OK(co_await job_ended_.wait(Deadline::never()));
      continue;
    }

    world::Transfer got = stream_->try_read(buffer);
    if (got.state == world::Transfer::State::kFailed) co_return stream_->error();
    if (got.state == world::Transfer::State::kEnd) break;
    if (got.state == world::Transfer::State::kWouldBlock) {
      bool in_packet = first || reader_.partial();
      auto deadline = in_packet ? Deadline::in(server_.options_.first_request_timeout, packet_since)
                      : idle()  ? Deadline::in(server_.options_.idle_timeout, quiet_since_)
                                : Deadline::never();
      if (deadline.passed(world_.now())) {
        if (in_packet) co_return error(ErrorCode::kTimeout, "no whole request in time");
        co_return Result<void>{};
      }
      (void)co_await stream_->readable().wait(deadline);
      continue;
    }

    requests.clear();
    if (!first && !reader_.partial()) packet_since = world_.now();
    CO_OK(reader_.feed(Bytes(buffer, got.bytes), requests));
    for (auto& request : requests) {
      if (std::holds_alternative<vortex::Close>(request)) co_return Result<void>{};
      bool whole = std::holds_alternative<vortex::PieceRequest>(request);
      Task<Result<void>> handling = handle(std::move(request));
      CO_OK(co_await handling);
      first = false;
      quiet_since_ = packet_since = world_.now();
      if (whole && !server_.options_.extensions) co_return Result<void>{};
    }
  }

  // The child will ask for nothing more, but reads on: a Rust child says so as soon as it has the
  // metadata. What it asked for still goes out.
  for (auto& [number, job] : subscriptions_) job->revoked = true;
  while (busy() > 0 && !broken_) CO_OK(co_await job_ended_.wait(Deadline::never()));
  co_return Result<void>{};
}

Task<Result<void>> VortexConnection::handle(vortex::Request request) {
  if (auto* whole = std::get_if<vortex::PieceRequest>(&request)) {
    Task<Result<void>> answering = answer_whole(std::move(*whole));
    co_return co_await answering;
  }
  if (!server_.options_.extensions)
    co_return error(ErrorCode::kProtocol, "a request of an extension that is off");

  if (auto* fetch = std::get_if<vortex::Fetch>(&request)) {
    sweep(fetches_);
    auto number = fetch->request;
    if (fetches_.contains(number))
      co_return error(ErrorCode::kProtocol, "two requests with number {}", number);
    auto& job = *(fetches_[number] = std::make_unique<Job>(world_.loop()));
    ++fetching_;
    job.scope.spawn(run_fetch(std::move(*fetch), job));
  } else if (auto* cancel = std::get_if<vortex::Cancel>(&request)) {
    if (fetches_.contains(cancel->request) && !fetches_[cancel->request]->over &&
        !fetches_[cancel->request]->in_packet) {
      --fetching_;
      job_ended_.notify_all();
    }
    revoke(fetches_, cancel->request);
  } else if (auto* subscribe = std::get_if<vortex::Subscribe>(&request)) {
    sweep(subscriptions_);
    auto number = subscribe->subscription;
    if (subscriptions_.contains(number))
      co_return error(ErrorCode::kProtocol, "two subscriptions {}", number);
    auto& job = *(subscriptions_[number] = std::make_unique<Job>(world_.loop()));
    ++subscribed_;
    job.scope.spawn(run_subscription(std::move(*subscribe), job));
  } else if (auto* unsubscribe = std::get_if<vortex::Unsubscribe>(&request)) {
    auto found = subscriptions_.find(unsubscribe->subscription);
    if (found != subscriptions_.end() && !found->second->over && !found->second->in_packet) --subscribed_;
    revoke(subscriptions_, unsubscribe->subscription);
  }
  co_return Result<void>{};
}

// Lets the reader look again: it may close now, or read on.
void VortexConnection::job_over() {
  quiet_since_ = world_.now();
  job_ended_.notify_all();
  if (broken_ || draining_ || idle()) stream_->readable().notify_all();
}

void VortexConnection::sweep(Jobs& jobs) {
  std::erase_if(jobs, [](const auto& entry) { return entry.second->over; });
}

void VortexConnection::revoke(Jobs& jobs, std::uint32_t number) {
  auto found = jobs.find(number);
  if (found == jobs.end() || found->second->over) return;
  if (found->second->in_packet) {
    found->second->revoked = true;
  } else {
    jobs.erase(found);
  }
}

Task<Result<store::TaskHandle>> VortexConnection::find_intact(std::string task_id) {
  // Strangers name tasks; a name that can be none must not reach the file system.
  if (!store::check_task_id(task_id)) co_return error(ErrorCode::kNotFound, "no such task");
  CO_TRY(store::TaskHandle task, co_await server_.store_.find(std::move(task_id)));
  if (!task->intact()) CO_OK(co_await task->revalidate());
  co_return task;
}

// ---- Whole pieces, as Dragonfly serves them

Task<Result<void>> VortexConnection::answer_whole(vortex::PieceRequest request) {
  vortex::Refusal refusal;
  Task<Result<void>> sending = send_whole(request, refusal);
  CO_OK(co_await sending);
  if (refusal.message.empty()) co_return Result<void>{};
  ++server_.stats_.failures;
  CO_TRY(auto turn, co_await turns_.take(0, Deadline::in(server_.options_.stall_timeout, world_.now())));
  co_return co_await write(vortex::encode(refusal, static_cast<std::uint8_t>(world_.random())), false);
}

// An error is the connection's; what is the request's fault comes back as a refusal.
Task<Result<void>> VortexConnection::send_whole(const vortex::PieceRequest& request,
                                                vortex::Refusal& refusal) {
  auto refuse = [&refusal](const Error& why) -> Result<void> {
    refusal = {plain(code_for(why)), why.message().empty() ? std::string("failed") : why.message()};
    return {};
  };
  auto task = co_await find_intact(request.task_id);
  if (!task) co_return refuse(task.error());
  if (!serves(request.kind, (*task)->facts().kind)) {
    co_return refuse(error(ErrorCode::kNotFound, "the task is of another kind"));
  }
  {
    auto view = (*task)->view(request.number);
    if (!view) co_return refuse(view.error());
    // The digest stands before the bytes here, so a piece in flight has to be waited for.
    if (!view->complete()) {
      auto verified = co_await view->digest(Deadline::in(server_.options_.piece_wait, world_.now()));
      if (!verified) co_return refuse(verified.error());
    }
  }
  auto info = (*task)->piece(request.number);
  if (!info) co_return refuse(error(ErrorCode::kNotFound, "piece {} is not here", request.number));

  vortex::PieceContent content;
  content.kind = request.kind;
  content.number = info->number;
  content.offset = info->offset;
  content.length = info->length;
  content.digest = fmt::format("crc32:{}", info->crc);
  content.parent_id = info->parent;
  content.cost = static_cast<std::uint64_t>(
      std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::seconds>(info->cost).count(), 0));
  content.created = std::chrono::floor<std::chrono::seconds>(info->created_at).time_since_epoch().count();
  if (server_.options_.extensions) content.abilities = vortex::kOurAbilities;

  Handouts::Upload handed(server_.options_.handouts, request.task_id, request.number);
  UploadTurns::Turn upload(server_.upload_turns_, {stream_->remote().ip(), request.task_id}, request.number);
  Task<void> granted = upload.wait();
  co_await granted;
  VortexServer::Uploading uploading(server_);
  CO_TRY(auto turn, co_await turns_.take(next_rank_++, Deadline::never()));
  CO_OK(co_await write(vortex::encode(content, static_cast<std::uint8_t>(world_.random())), true));
  Task<Result<void>> sending = send_body((*task)->file(), info->offset, info->length, &upload, &handed);
  CO_OK(co_await sending);
  handed.done();
  (*task)->count_upload(info->length);
  ++server_.stats_.pieces;
  co_return Result<void>{};
}

// ---- Pieces in chunks, for d7y children

Task<void> VortexConnection::run_fetch(vortex::Fetch fetch, Job& job) {
  auto number = fetch.request;
  Task<Result<void>> streaming = stream_piece(std::move(fetch), job);
  auto streamed = co_await streaming;
  if (!streamed && !broken_ && !job.revoked) {
    ++server_.stats_.failures;
    vortex::PieceEnd end{number, code_for(streamed.error()), "", streamed.error().message()};
    Task<Result<void>> ending = send_end(std::move(end), job);
    streamed = co_await ending;
    if (!streamed) broken_ = true;
  }
  job.over = true;
  --fetching_;
  job_over();
}

Task<Result<void>> VortexConnection::stream_piece(vortex::Fetch fetch, Job& job) {
  auto rank = next_rank_++;
  CO_TRY(store::TaskHandle task, co_await find_intact(fetch.task_id));
  CO_TRY(store::PieceView view, task->view(fetch.number));
  if (fetch.start >= view.length()) {
    co_return error(ErrorCode::kInvalid, "piece {} has {} bytes; asked for those from {}", fetch.number,
                    view.length(), fetch.start);
  }
  if (server_.options_.deals) server_.dealing_.give(fetch.task_id, fetch.number);
  VortexServer::Uploading uploading(server_);
  UploadTurns::Beside beside(server_.upload_turns_, this);
  std::string head = vortex::encode(vortex::PieceStart{fetch.request, fetch.number, view.offset(),
                                                       view.length(), version_tag(task->facts().version)});
  auto sent = fetch.start;
  while (sent < view.length()) {
    auto available = view.available();
    if (available <= sent) {
      // Tell what is known, so that the child sees that it was understood, and wait for more.
      if (!head.empty()) {
        CO_TRY(auto turn, co_await turns_.take(0, Deadline::never()));
        job.in_packet = true;
        std::string packet = std::exchange(head, std::string());
        auto told = co_await write(std::move(packet), false);
        job.in_packet = false;
        if (!told) broken_ = true;
        CO_OK(std::move(told));
        if (job.revoked) co_return Result<void>{};
      }
      CO_OK(co_await view.more(sent, Deadline::in(server_.options_.piece_wait, world_.now())));
      continue;
    }
    auto length = std::min<std::uint64_t>(available - sent, chunk_);
    CO_TRY(auto turn, co_await turns_.take(rank, Deadline::never()));
    auto began = world_.now();
    job.in_packet = true;
    std::string packet =
        std::exchange(head, std::string()) +
        vortex::encode(vortex::PieceChunk{fetch.request, static_cast<std::uint32_t>(length)});
    auto wrote = co_await write(std::move(packet), true);
    if (wrote) {
      Task<Result<void>> sending = send_body(view.file(), view.offset() + sent, length);
      wrote = co_await sending;
    }
    job.in_packet = false;
    if (!wrote) broken_ = true;
    CO_OK(std::move(wrote));
    if (job.revoked) co_return Result<void>{};
    sent += length;
    task->count_upload(length);
    // A chunk cannot be cut short: long ones only for those who take them at once.
    if (length >= vortex::kChunkSize) {
      bool fast = (world_.now() - began) * kStep <= kStepTime * length;
      chunk_ = fast ? vortex::kMaxChunk : vortex::kChunkSize;
    }
  }
  CO_TRY(auto crc, co_await view.digest(Deadline::in(server_.options_.piece_wait, world_.now())));
  ++server_.stats_.pieces;
  vortex::PieceEnd end{fetch.request, vortex::Code::kOk, fmt::format("crc32:{}", crc), ""};
  Task<Result<void>> ending = send_end(std::move(end), job);
  auto ended = co_await ending;
  if (!ended) broken_ = true;
  co_return Result<void>{};
}

Task<Result<void>> VortexConnection::send_end(vortex::PieceEnd end, Job& job) {
  CO_TRY(auto turn, co_await turns_.take(0, Deadline::never()));
  job.in_packet = true;
  auto wrote = co_await write(vortex::encode(end), false);
  job.in_packet = false;
  co_return wrote;
}

// ---- What is here, for d7y children

Task<void> VortexConnection::run_subscription(vortex::Subscribe subscribe, Job& job) {
  auto number = subscribe.subscription;
  Task<Result<void>> following = follow_task(std::move(subscribe), job);
  auto followed = co_await following;
  if (!followed && !broken_ && !job.revoked) {
    vortex::Have end;
    end.subscription = number;
    end.what = vortex::Have::What::kEnd;
    end.code = code_for(followed.error());
    end.message = followed.error().message();
    Task<Result<void>> ending = send_have(end, job);
    if (auto told = co_await ending; !told) broken_ = true;
  }
  job.over = true;
  --subscribed_;
  job_over();
}

Task<Result<void>> VortexConnection::follow_task(vortex::Subscribe subscribe, Job& job) {
  using What = vortex::Have::What;
  if (subscribed_ > server_.options_.max_subscriptions) {
    co_return error(ErrorCode::kExhausted, "{} subscriptions on one connection are the limit",
                    server_.options_.max_subscriptions);
  }
  auto statement = [&subscribe](What what) {
    vortex::Have have;
    have.subscription = subscribe.subscription;
    have.what = what;
    return have;
  };
  // A child may know of us before we have begun.
  auto patience = Deadline::in(2s, world_.now());
  auto found = co_await find_intact(subscribe.task_id);
  while (found.failed_with(ErrorCode::kNotFound) && !patience.passed(world_.now())) {
    co_await sleep_for(50ms);
    found = co_await find_intact(subscribe.task_id);
  }
  CO_OK(found);
  store::TaskHandle task = std::move(*found);

  Stirring stirring;
  Scope watching(world_.loop());
  watching.spawn(watch_task(task, stirring));
  std::optional<Dealing::Seat> seat;
  if (server_.options_.deals) seat.emplace(server_.dealing_, task->id(), [&stirring] { stirring.stir(); });
  PieceShare told_share;
  store::PieceCursor cursor;
  bool told_anything = false;
  bool told_task = false, told_all = false;
  std::optional<std::uint64_t> told_length;
  std::uint64_t told_version = 0;
  std::vector<std::uint32_t> arriving;  // told as such, ascending
  for (;;) {
    if (job.revoked) co_return Result<void>{};
    if (task->removed()) co_return error(ErrorCode::kNotFound, "the task was deleted");
    stirring.stirred = false;

    auto version = version_tag(task->facts().version);
    if (!told_task || told_length != task->content_length() || told_version != version) {
      told_task = true;
      told_version = version;
      told_length = task->content_length();
      auto have = statement(What::kTask);
      have.content_length = told_length.value_or(vortex::Have::kUnknownLength);
      have.piece_length = task->piece_length();
      have.version = version;
      Task<Result<void>> telling = send_have(have, job);
      CO_OK(co_await telling);
    }

    if (seat && (seat->share() != told_share || seat->given_more())) {
      told_share = seat->share();
      auto have = statement(What::kShare);
      have.share = told_share.index;
      have.shares = told_share.count;
      have.numbers = seat->given();
      Task<Result<void>> telling = send_have(have, job);
      CO_OK(co_await telling);
    }
    if (told_all) {
      while (!stirring.stirred) CO_OK(co_await stirring.wake.wait(Deadline::never()));
      continue;
    }

    auto epoch = cursor.epoch;
    auto fresh = task->news(cursor);
    if (told_anything && cursor.epoch != epoch) {
      Task<Result<void>> telling = send_have(statement(What::kClear), job);
      CO_OK(co_await telling);
      arriving.clear();
      // What was complete before is told anew.
      cursor = {};
      fresh = task->news(cursor);
    }
    bool complete = task->has_everything();
    if (!fresh.empty()) {
      told_anything = true;
      for (auto number : fresh) std::erase(arriving, number);
      if (fresh.size() > 64) {
        Task<Result<void>> telling = send_bitmap(subscribe.subscription, task->pieces(), job);
        CO_OK(co_await telling);
      } else {
        auto have = statement(What::kGained);
        have.numbers.assign(fresh.begin(), fresh.end());
        Task<Result<void>> telling = send_have(have, job);
        CO_OK(co_await telling);
      }
    }
    if (complete) {
      Task<Result<void>> telling = send_have(statement(What::kAll), job);
      CO_OK(co_await telling);
      if (!seat) co_return Result<void>{};
      told_all = true;  // only how it is dealt out can change from now on
      continue;
    }
    if (const Error* why = task->failure()) {
      co_return error(ErrorCode::kInternal, "the task failed: {}", why->message());
    }

    auto in_flight = task->in_flight();
    std::vector<std::uint32_t> started, lost;
    for (auto number : std::exchange(stirring.begun, {})) {
      if (std::binary_search(in_flight.begin(), in_flight.end(), number)) started.push_back(number);
    }
    std::sort(started.begin(), started.end());
    for (auto number : arriving) {
      if (!std::binary_search(in_flight.begin(), in_flight.end(), number) && !task->has(number)) {
        lost.push_back(number);
        if (auto view = task->view(number)) stirring.left_behind[number] = view->available();
      }
    }
    std::erase_if(arriving, [&](std::uint32_t number) {
      return !std::binary_search(in_flight.begin(), in_flight.end(), number);
    });
    for (auto number : in_flight) {
      bool known = std::binary_search(arriving.begin(), arriving.end(), number) ||
                   std::binary_search(started.begin(), started.end(), number) ||
                   stirring.awaited.contains(number);
      if (known) continue;
      auto view = task->view(number);
      if (!view) continue;
      stirring.awaited.insert(number);
      watching.spawn(await_first_byte(std::move(*view), stirring));
    }
    arriving.insert(arriving.end(), started.begin(), started.end());
    std::sort(arriving.begin(), arriving.end());
    for (auto [what, numbers] : {std::pair(What::kStarted, &started), std::pair(What::kLost, &lost)}) {
      if (numbers->empty()) continue;
      told_anything = true;
      auto have = statement(what);
      have.numbers = *numbers;
      Task<Result<void>> telling = send_have(have, job);
      CO_OK(co_await telling);
    }
    // While it was told more may have happened.
    while (!stirring.stirred) CO_OK(co_await stirring.wake.wait(Deadline::never()));
  }
}

// Wakes a subscription whenever its task changes.
Task<void> VortexConnection::watch_task(store::TaskHandle task, Stirring& stirring) {
  for (;;) {
    // First of all: something may have happened before this task could wait for it.
    stirring.stir();
    auto woken = co_await task->changed().wait(Deadline::never());
    if (!woken) co_return;
  }
}

// A piece in flight counts as arriving once a byte of it came in, beyond those of an abandoned fetch: then
// it has a source, and two peers cannot wait for each other.
Task<void> VortexConnection::await_first_byte(store::PieceView view, Stirring& stirring) {
  auto number = view.number();
  auto more = co_await view.more(stirring.left_behind[number], Deadline::never());
  stirring.awaited.erase(number);
  if (more) stirring.begun.push_back(number);
  stirring.stir();
}

Task<Result<void>> VortexConnection::send_bitmap(std::uint32_t subscription, const store::Bitmap& pieces,
                                                 Job& job) {
  // Bit i of our byte j is bit 8j + i of the little-endian words.
  std::string bytes;
  for (auto word : pieces.words()) {
    for (int i = 0; i < 8; ++i)
      bytes.push_back(static_cast<char>(static_cast<std::uint8_t>(word >> (8 * i))));
  }
  constexpr std::size_t kPart = 128 * 1024;
  for (std::size_t at = 0; at < bytes.size(); at += kPart) {
    vortex::Have have;
    have.subscription = subscription;
    have.what = vortex::Have::What::kComplete;
    have.first = static_cast<std::uint32_t>(at * 8);
    have.bitmap = bytes.substr(at, kPart);
    Task<Result<void>> telling = send_have(have, job);
    CO_OK(co_await telling);
  }
  co_return Result<void>{};
}

// Encodes at once: the task that it returns begins later, and needs nothing of `have`.
Task<Result<void>> VortexConnection::send_have(const vortex::Have& have, Job& job) {
  return send_news(vortex::encode(have), job);
}

Task<Result<void>> VortexConnection::send_news(std::string packet, Job& job) {
  CO_TRY(auto turn, co_await turns_.take(0, Deadline::never()));
  job.in_packet = true;
  auto wrote = co_await write(std::move(packet), false);
  job.in_packet = false;
  if (!wrote) broken_ = true;
  co_return wrote;
}

// ---- Bytes

Task<Result<void>> VortexConnection::write(std::string packet, bool more) {
  Task<Result<void>> writing = world::write_all(
      *stream_, as_bytes(packet), Deadline::in(server_.options_.stall_timeout, world_.now()), more);
  co_return co_await writing;
}

Task<Result<void>> VortexConnection::send_body(std::shared_ptr<world::File> file, std::uint64_t offset,
                                               std::uint64_t length, UploadTurns::Turn* turn,
                                               Handouts::Upload* handed) {
  auto* limit = server_.options_.limit;
  std::uint64_t without_wait = 0;
  while (length > 0) {
    auto step = std::min(length, kStep);
    if (limit != nullptr) {
      step = limit->take(step, world_.now());
      if (step == 0) {
        co_await sleep_until(limit->next(world_.now()));
        without_wait = 0;
        continue;
      }
    }
    world::Transfer moved = stream_->try_send_file(*file, offset, step);
    if (limit != nullptr && moved.bytes < step) limit->give_back(step - moved.bytes);
    switch (moved.state) {
      case world::Transfer::State::kMoved:
        offset += moved.bytes;
        length -= moved.bytes;
        without_wait += moved.bytes;
        server_.count(moved.bytes);
        if (turn != nullptr) turn->moved();
        if (handed != nullptr) handed->moved();
        if (without_wait >= kYieldAfter) {
          co_await sleep_until(world_.now());
          without_wait = 0;
        }
        break;
      case world::Transfer::State::kWouldBlock: {
        auto woken =
            co_await stream_->writable().wait(Deadline::in(server_.options_.stall_timeout, world_.now()));
        if (!woken) co_return std::move(woken).error().in("the child takes no bytes");
        without_wait = 0;
        break;
      }
      case world::Transfer::State::kEnd:
        co_return error(ErrorCode::kIo, "the stored content is shorter than its record says");
      case world::Transfer::State::kFailed: co_return stream_->error();
    }
  }
  co_return Result<void>{};
}

}  // namespace d7y::swarm
