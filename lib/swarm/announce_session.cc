#include "swarm/announce_session.h"

#include <algorithm>

namespace d7y::swarm {

namespace {

// Answers that nobody has taken yet; newer ones take the place of older ones.
constexpr std::size_t kMostWaiting = 8;
// Offers that nobody asked for; more is a flood.
constexpr std::uint32_t kMostUnasked = 64;
// Reports that a scheduler has not taken yet; more are dropped, it can do without them.
constexpr std::size_t kMostQueued = 100'000;
constexpr std::size_t kLongestDescription = 1024;

std::string shortened(std::string text) {
  if (text.size() > kLongestDescription) text.resize(kLongestDescription);
  return text;
}

void describe(api::common::Piece& out, const store::PieceInfo& piece) {
  out.set_number(piece.number);
  out.set_offset(piece.offset);
  out.set_length(piece.length);
  out.set_digest(fmt::format("crc32:{}", piece.crc));
  if (piece.traffic == store::Traffic::kRemotePeer && !piece.parent.empty()) out.set_parent_id(piece.parent);
  out.set_traffic_type(static_cast<api::common::TrafficType>(piece.traffic));
  // Both must be present, even if zero.
  api::set_duration(*out.mutable_cost(), piece.cost);
  api::set_time(*out.mutable_created_at(), piece.created_at);
}

}  // namespace

AnnounceSession::AnnounceSession(world::World& world, SchedulerSet::Picked scheduler, AnnounceOptions options,
                                 Log log)
    : world_(world),
      scheduler_(std::move(scheduler)),
      options_(std::move(options)),
      log_(log),
      peer_id_(options_.new_peer_id()),
      scope_(world.loop()) {}

AnnounceSession::~AnnounceSession() = default;

Task<Result<std::unique_ptr<AnnounceSession>>> AnnounceSession::open(SchedulerSet& schedulers,
                                                                     AnnounceOptions options,
                                                                     api::common::Download download, Log log,
                                                                     Deadline deadline) {
  log = log.in("announce");
  bool introduced = false;
  Task<void> meeting = schedulers.met(deadline);
  co_await meeting;
  // Each scheduler of a small cluster once, and once more after it was told about us.
  constexpr int kTries = 4;
  for (int tries = 1;; ++tries) {
    CO_TRY(SchedulerSet::Picked scheduler, schedulers.pick(options.task_id));
    std::unique_ptr<AnnounceSession> session(
        new AnnounceSession(schedulers.world(), scheduler, options, log));
    Task<Result<Verdict>> registering = session->register_peer(download, deadline);
    auto verdict = co_await registering;
    if (verdict) {
      session->verdict_ = std::move(*verdict);
      co_return session;
    }
    Error why = std::move(verdict).error();
    session.reset();
    bool again = false;
    if (why.code() == ErrorCode::kNotFound && !introduced) {
      introduced = true;
      Task<Result<void>> announcing = schedulers.announce_to(scheduler, deadline);
      auto announced = co_await announcing;
      if (announced) {
        log.info("scheduler {} had forgotten this host and was told about it", scheduler.address.to_string());
        again = true;
      }
    } else if (is_absence(why)) {
      schedulers.unreachable(scheduler.address, why);
      again = true;
    } else if (why.code() == ErrorCode::kTimeout) {
      schedulers.silent(scheduler.address);
    }
    if (!again || tries >= kTries || deadline.passed(schedulers.world().now())) {
      co_return std::move(why).in(fmt::format("scheduler {}", scheduler.address.to_string()));
    }
  }
}

Task<Result<Verdict>> AnnounceSession::register_peer(const api::common::Download& download,
                                                     Deadline deadline) {
  metadata_only_ = download.metadata_only();
  grpc::CallOptions call_options;
  call_options.headers_deadline = deadline.or_earlier(Deadline::in(options_.headers_timeout, world_.now()));
  call_ = PeerCall(*scheduler_.channel, options_.kind, options_.persistent, std::move(call_options));
  auto request = envelope();
  *request.mutable_register_peer_request()->mutable_download() = download;
  ++asked_;
  // At once, so that it travels with the call's headers. Should it not be taken, the status says why.
  Task<Result<void>> writing = call_.write(request);
  (void)co_await within(Deadline::in(options_.write_timeout, world_.now()), std::move(writing));
  scope_.spawn(write_forever());
  scope_.spawn(read_forever());
  Task<Result<Verdict>> waiting = next_verdict(deadline);
  co_return co_await waiting;
}

AnnounceSession::Request AnnounceSession::envelope() const {
  Request request;
  request.set_host_id(options_.self.host_id);
  request.set_task_id(options_.task_id);
  request.set_peer_id(peer_id_);
  return request;
}

void AnnounceSession::queue(Request request) {
  if (broken_ || closed_ || outbox_.size() >= kMostQueued) return;
  if (outbox_.empty()) oldest_ = world_.now();
  outbox_.push_back(std::move(request));
  if (urgent_ || outbox_.size() == 1 || outbox_.size() == options_.batch) queued_.notify_all();
}

// Queues what must not wait; everything before it goes along.
void AnnounceSession::say(Request request) {
  urgent_ = true;
  queue(std::move(request));
}

void AnnounceSession::started() {
  auto request = envelope();
  request.mutable_download_peer_started_request();
  say(std::move(request));
}

void AnnounceSession::back_to_source_started(std::string description) {
  auto request = envelope();
  auto& started = *request.mutable_download_peer_back_to_source_started_request();
  if (!description.empty()) started.set_description(shortened(std::move(description)));
  say(std::move(request));
}

void AnnounceSession::piece_finished(const store::PieceInfo& piece) {
  if (piece.traffic == store::Traffic::kLocalPeer) return;
  auto request = envelope();
  auto& out = piece.traffic == store::Traffic::kBackToSource
                  ? *request.mutable_download_piece_back_to_source_finished_request()->mutable_piece()
                  : *request.mutable_download_piece_finished_request()->mutable_piece();
  describe(out, piece);
  queue(std::move(request));
}

void AnnounceSession::piece_failed(std::uint32_t number, std::string parent_id) {
  // One without parent is invalid and would end the stream.
  if (parent_id.empty()) return;
  auto request = envelope();
  auto& failed = *request.mutable_download_piece_failed_request();
  failed.set_piece_number(number);
  failed.set_parent_id(std::move(parent_id));
  failed.set_temporary(true);
  queue(std::move(request));
}

void AnnounceSession::source_piece_failed(std::uint32_t number, const Error& why,
                                          const std::vector<std::pair<std::string, std::string>>& headers) {
  auto request = envelope();
  auto& failed = *request.mutable_download_piece_back_to_source_failed_request();
  failed.set_piece_number(number);
  if (why.status() >= 100 && why.status() < 599) {
    auto& backend = *failed.mutable_backend();
    backend.set_message(shortened(why.message()));
    backend.set_status_code(why.status());
    for (const auto& [name, value] : headers) (*backend.mutable_header())[name] = value;
  } else {
    failed.mutable_unknown()->set_message(shortened(why.message()));
  }
  queue(std::move(request));
}

Task<Result<Verdict>> AnnounceSession::reschedule(std::string description, Deadline deadline) {
  if (broken_) co_return broken_->clone();
  // Better parents may have come unasked.
  if (inbox_.empty()) {
    if (asked_ >= options_.max_verdicts) {
      co_return error(ErrorCode::kExhausted,
                      "scheduler {} has answered {} times for this download; that is the limit",
                      scheduler_.address.to_string(), asked_);
    }
    ++asked_;
    auto request = envelope();
    auto& reschedule = *request.mutable_reschedule_peer_request();
    reschedule.mutable_candidate_parents()->Assign(offered_.begin(), offered_.end());
    if (!description.empty()) reschedule.set_description(shortened(std::move(description)));
    say(std::move(request));
  }
  Task<Result<Verdict>> waiting = next_verdict(deadline);
  CO_TRY(verdict_, co_await waiting);
  co_return verdict_;
}

std::optional<Verdict> AnnounceSession::unasked() {
  if (inbox_.empty()) return std::nullopt;
  verdict_ = std::move(inbox_.front());
  inbox_.pop_front();
  return verdict_;
}

Task<Result<Verdict>> AnnounceSession::next_verdict(Deadline deadline) {
  while (inbox_.empty()) {
    if (broken_) co_return broken_->clone();
    auto woken = co_await arrived_.wait(deadline);
    if (!woken && inbox_.empty() && !broken_) {
      co_return error(ErrorCode::kTimeout, "scheduler {} did not answer in time",
                      scheduler_.address.to_string());
    }
  }
  Verdict verdict = std::move(inbox_.front());
  inbox_.pop_front();
  co_return verdict;
}

Task<Result<void>> AnnounceSession::end(Outcome outcome, std::string description, Deadline deadline) {
  auto request = envelope();
  description = shortened(std::move(description));
  switch (outcome) {
    case Outcome::kFinished: request.mutable_download_peer_finished_request(); break;
    case Outcome::kBackToSourceFinished:
      request.mutable_download_peer_back_to_source_finished_request();
      break;
    case Outcome::kFailed: {
      auto& failed = *request.mutable_download_peer_failed_request();
      if (!description.empty()) failed.set_description(std::move(description));
      break;
    }
    case Outcome::kBackToSourceFailed: {
      auto& failed = *request.mutable_download_peer_back_to_source_failed_request();
      if (!description.empty()) failed.set_description(std::move(description));
      break;
    }
  }
  ending_ = true;
  say(std::move(request));
  while (!closed_ && !broken_) {
    auto woken = co_await arrived_.wait(deadline);
    if (!woken && !closed_ && !broken_) {
      co_return error(ErrorCode::kTimeout, "scheduler {} did not close the stream in time",
                      scheduler_.address.to_string());
    }
  }
  if (closed_) co_return Result<void>{};
  co_return broken_->clone();
}

void AnnounceSession::break_off(Error why) {
  if (broken_ || closed_) return;
  broken_ = std::move(why).in(fmt::format("scheduler {}", scheduler_.address.to_string()));
  log_.debug("peer {}: {}", peer_id_, broken_->message());
  outbox_.clear();
  call_.cancel();
  arrived_.notify_all();
  queued_.notify_all();
}

Task<void> AnnounceSession::write_forever() {
  for (;;) {
    while (outbox_.empty()) {
      if (broken_ || closed_) co_return;
      (void)co_await queued_.wait(Deadline::never());
    }
    // Reports travel together.
    auto until = Deadline::in(options_.batch_delay, oldest_);
    while (!urgent_ && outbox_.size() < options_.batch && !until.passed(world_.now()) && !broken_) {
      (void)co_await queued_.wait(until);
    }
    while (!outbox_.empty()) {
      Request request = std::move(outbox_.front());
      outbox_.pop_front();
      Task<Result<void>> writing = call_.write(request);
      auto wrote = co_await within(Deadline::in(options_.write_timeout, world_.now()), std::move(writing));
      if (!wrote) {
        // Why the scheduler takes nothing is told by its status, if it sent one.
        if (wrote.failed_with(ErrorCode::kTimeout)) {
          break_off(error(ErrorCode::kTimeout, "it takes no messages"));
        }
        co_return;
      }
    }
    urgent_ = false;
  }
}

Task<void> AnnounceSession::read_forever() {
  for (;;) {
    Task<Result<std::optional<Response>>> reading = call_.read();
    auto read = co_await reading;
    if (!read) {
      break_off(std::move(read).error());
      co_return;
    }
    if (!*read) {
      if (ending_) {
        closed_ = true;
        arrived_.notify_all();
        queued_.notify_all();
      } else {
        break_off(error(ErrorCode::kClosed, "it ended the conversation early"));
      }
      co_return;
    }
    if (verdicts_ >= asked_ + kMostUnasked) {
      break_off(error(ErrorCode::kProtocol, "it talks without being asked, and without end"));
      co_return;
    }
    if (ending_) {  // what it says after our last word is of no interest
      ++verdicts_;
      continue;
    }
    auto verdict = understand(**read);
    if (!verdict) {
      break_off(std::move(verdict).error());
      co_return;
    }
    ++verdicts_;
    if (inbox_.size() >= kMostWaiting) inbox_.pop_front();
    inbox_.push_back(std::move(*verdict));
    arrived_.notify_all();
  }
}

Result<Verdict> AnnounceSession::understand(const Response& response) {
  Verdict verdict;
  switch (response.response_case()) {
    case Response::kEmptyTaskResponse:
      if (verdicts_ > 0)
        return error(ErrorCode::kProtocol, "it calls the task empty in the middle of a download");
      verdict.kind = Verdict::Kind::kEmpty;
      return verdict;
    case Response::kNormalTaskResponse: {
      const auto& offered = response.normal_task_response().candidate_parents();
      verdict.kind = Verdict::Kind::kParents;
      std::vector<std::string> ignored;
      verdict.parents = usable_parents(offered, options_.self, 64, &ignored);
      for (const auto& why : ignored)
        log_.debug("scheduler {} offers {}", scheduler_.address.to_string(), why);
      // Echoed when we ask again; a list of thousands is not worth it.
      offered_.assign(offered.begin(), offered.begin() + std::min(offered.size(), 64));
      return verdict;
    }
    case Response::kNeedBackToSourceResponse:
      verdict.kind = Verdict::Kind::kBackToSource;
      verdict.description = shortened(response.need_back_to_source_response().description());
      return verdict;
    case Response::kMetadataOnlyResponse:
      if (!metadata_only_) return error(ErrorCode::kProtocol, "it answers metadata-only to a download");
      verdict.kind = Verdict::Kind::kMetadataOnly;
      return verdict;
    case Response::RESPONSE_NOT_SET: break;
  }
  return error(ErrorCode::kProtocol, "it sends an answer that means nothing");
}

}  // namespace d7y::swarm
