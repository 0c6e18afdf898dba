#include "fetch/conductor.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/digest.h"
#include "base/ids.h"
#include "base/piece.h"
#include "base/url.h"
#include "fetch/parent_phase.h"
#include "fetch/source_phase.h"
#include "net/http/headers.h"
#include "swarm/content_version.h"
#include "world/read_through.h"

namespace d7y::fetch {
namespace {

// How long the scheduler is waited for when a conversation ends.
constexpr auto kFarewell = std::chrono::seconds(5);
// The loop's turns until what a new stream says has been sent.
constexpr int kTurnsToSay = 2;
// Content of unknown length is cut like small content.
constexpr std::uint64_t kUnknownPieceLength = kMinPieceLength;

// A flag that is set as long as somebody works, whether that ends or is cancelled.
class Busy {
 public:
  Busy(bool& flag, Signal& changed) : flag_(flag), changed_(changed) { flag_ = true; }
  ~Busy() {
    flag_ = false;
    changed_.notify_all();
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  bool& flag_;
  Signal& changed_;
};

}  // namespace

Conductor::Conductor(const EngineParts& parts, const EngineOptions& options, Suspects& suspects,
                     SharedStat& shared_stat, OriginReaders& readers, Freshness& freshness,
                     std::string task_id, const Wish& wish)
    : parts_(parts),
      options_(options),
      suspects_(suspects),
      shared_stat_(shared_stat),
      origin_readers_(readers),
      freshness_(freshness),
      task_id_(std::move(task_id)),
      wish_(wish),
      accesses_({wish.message.url(), wish.private_headers}),
      log_(parts.log),
      last_byte_at_(parts.world.now()),
      own_limit_(0, 0, parts.world.now()),
      download_pacer_{&own_limit_, parts.download_limit},
      source_pacer_{&own_limit_, parts.download_limit, parts.source_limit},
      scope_(parts.world.loop()) {
  peer_id_ = options_.new_peer_id(parts_.world);
  scope_.spawn(run());
}

Conductor::~Conductor() = default;

Task<void> Conductor::run() {
  auto worked = co_await work();
  if (!worked) {
    failure_ = std::move(worked).error();
    log_.info("task {} failed: {}", task_id_, failure_->message());
    // The stored part is of a version that the origin no longer has: nobody can complete it.
    if (failure_->code() == ErrorCode::kChanged) {
      (void)parts_.store.remove(task_id_);
      misled_ = misled_ || heard_ || learned_from_peers_;
      unsteady_ = !misled_ && !wish_.one_answer && failure_->status() != 0;
      if (heard_) shared_stat_.doubt(task_id_, *heard_);
    }
    if (task_) task_->fail(failure_->clone());
  }
  working_ = false;
  changed_.notify_all();
  settled_.notify_all();
}

Task<Result<void>> Conductor::work() {
  CO_OK(co_await learn());
  learned_ = true;
  changed_.notify_all();
  for (;;) {
    if (task_->has_everything()) CO_OK(co_await finish());
    if (std::exchange(unannounced_, false) && task_->finished()) co_await announce_complete();
    while (done()) {
      reading_ = {};
      working_ = false;
      settled_.notify_all();
      CO_OK(co_await wanted_.wait(Deadline::never()));  // ends with the last download
    }
    working_ = true;
    CO_OK(co_await round());
  }
}

// ---- Learning

bool Conductor::peers_possible() const {
  const bool imports = wish_.replica && wish_.has_origin();
  return !imports && parts_.parents != nullptr && parts_.schedulers != nullptr && !parts_.schedulers->none();
}

source::Request Conductor::source_request() const {
  source::Request request;
  request.url = accesses_.now().url;
  for (const auto& [name, value] : wish_.message.request_header()) {
    if (!http::same_name(name, "range")) request.headers.add(name, value);
  }
  for (const auto& header : accesses_.now().headers) request.headers.add(header.name, header.value);
  for (const auto& [name, value] : options_.source_headers) {
    if (!request.headers.has(name)) request.headers.add(name, value);
  }
  request.trust_pem = wish_.trust_pem;
  request.insecure_skip_verify = wish_.insecure_skip_verify;
  return request;
}

bool Conductor::asks_as_anybody(const source::Request& request) const {
  const auto& message = wish_.message;
  // The same task may lie elsewhere for others.
  if (message.has_content_for_calculating_task_id() || message.enable_task_id_based_blob_digest())
    return false;
  const auto url = Url::parse(request.url);
  if (!url || url->redacted() != url->to_string()) return false;
  // Parameters that the task's id is not made of may be credentials as well.
  const std::vector<std::string> filtered(message.filtered_query_params().begin(),
                                          message.filtered_query_params().end());
  const auto whole = task_url(request.url, {});
  const auto named = task_url(request.url, filtered);
  return whole && named && *whole == *named && request.headers.empty() && request.trust_pem.empty() &&
         !request.insecure_skip_verify && message.certificate_chain().empty();
}

Task<Result<source::Info>> Conductor::ask_origin(source::Request request, Deadline deadline) {
  if (!peers_possible() || !asks_as_anybody(request)) {
    auto asking = parts_.sources.stat(request, deadline);
    co_return co_await asking;
  }
  auto sharing = shared_stat_.stat(task_id_, std::move(request), deadline);
  CO_TRY(auto stat, co_await sharing);
  heard_ = std::move(stat.heard);
  co_return std::move(stat.info);
}

Task<Result<void>> Conductor::learn() {
  auto found = co_await parts_.store.find(task_id_);
  if (!found && !found.failed_with(ErrorCode::kNotFound)) co_return std::move(found).error();
  if (found && (*found)->facts().kind != wish_.kind()) {
    co_return error(ErrorCode::kPrecondition,
                    "task {} is stored here as one of another kind; delete it first", task_id_);
  }
  bool known = found && (*found)->content_length();
  // What is complete is served as it is, unless it is old and that counts. What was begun goes on only if the
  // origin still has the same.
  const bool old = known && source_allowed_ && may_be_stale(**found);
  bool trusted = known && !old && ((*found)->finished() || !source_allowed_);
  if (!trusted && !source_allowed_ && wish_.replica) co_return co_await learn_from_scheduler();
  if (!trusted && !source_allowed_) co_return co_await learn_from_peers();
  if (!trusted) {
    auto learned = co_await learn_from_source(known, old);
    const bool unable = !learned && source::is_retryable(learned.error());
    if (old && (learned || unable))
      freshness_.compared(task_id_, options_.revalidate_after, parts_.world.wall_now());
    bool origin_is_away = known && unable && (old || peers_possible());
    if (!origin_is_away) co_return learned;
    if (old) log_.info("task {} is given as it is here: {}", task_id_, learned.error().message());
  }
  co_return co_await learn_from_store(std::move(*found));
}

bool Conductor::may_be_stale(const store::StoredTask& found) const {
  const auto& message = wish_.message;
  // A digest says which content is meant; and elsewhere the same content has other validators.
  const bool named = !wish_.content_digest.empty() || !message.digest().empty() ||
                     message.has_content_for_calculating_task_id();
  if (options_.revalidate_after == Duration::zero() || named || !found.finished()) return false;
  const auto summary = parts_.store.summary(task_id_);
  return summary &&
         freshness_.is_due(task_id_, summary->created_at, options_.revalidate_after, parts_.world.wall_now());
}

Task<void> Conductor::withdraw() {
  if (!peers_possible()) co_return;
  Task<Result<void>> telling = parts_.schedulers->delete_task(options_.self.host_id, task_id_,
                                                              Deadline::in(kFarewell, parts_.world.now()));
  auto told = co_await telling;
  if (!told)
    log_.info("task {}: the scheduler was not told that our copy is another by now: {}", task_id_,
              told.error().message());
}

Task<Result<void>> Conductor::learn_from_store(store::TaskHandle found) {
  if (!found->intact()) {
    log_.warn("content of task {} was changed behind the store's back; checking every piece", task_id_);
    CO_OK(co_await found->revalidate());
  }
  CO_OK(found->set_digest(wish_.content_digest));
  const auto& facts = found->facts();
  version_.etag = facts.version.etag;
  version_.last_modified = facts.version.last_modified;
  version_.length = facts.content_length;
  task_ = std::move(found);
  begin_plan();
  co_return Result<void>{};
}

Task<Result<void>> Conductor::learn_from_source(bool begun, bool old) {
  auto request = source_request();
  auto deadline = Deadline::in(options_.stat_timeout, parts_.world.now());
  source::Info info;
  auto policy = options_.retry;
  if (old) policy.attempts = 1;
  source::Retry retry(policy);
  for (;;) {
    Result<void> answered;
    const auto asked = parts_.world.now();
    // Where nobody else is asked, or all of it is to come from here whoever has it (so seeds are asked), the
    // first request brings the length and the first bytes at once.
    const bool reads_here = !peers_possible() || wish_.message.need_back_to_source() || wish_.one_answer;
    if (!reads_here || begun || wish_.message.has_range() || !wish_.range_header.empty()) {
      auto asking = ask_origin(request, deadline);
      auto stat = co_await asking;
      if (stat) {
        info = std::move(*stat);
      } else {
        answered = std::move(stat).error();
      }
    } else {
      source::Span first;
      if (!wish_.one_answer) first.length = options_.first_request;
      source::Version any;
      reading_ = origin_readers_.enter();
      if (!preparing_ && !task_) scope_.spawn(prepare_ahead());  // when the request has been sent
      auto body = co_await parts_.sources.read(request, first, any, deadline);
      // Some refuse a span that goes beyond the end.
      const bool no_span = body.failed_with(ErrorCode::kUnsupported) ||
                           body.failed_with(ErrorCode::kPrecondition) ||
                           (!body && body.error().status() == 400);
      if (no_span && !first.is_whole()) {
        ranges_ = false;
        source::Span whole;
        body = co_await parts_.sources.read(request, whole, any, deadline);
      }
      if (body) {
        first_body_ = std::move(*body);
        first_wait_ = parts_.world.now() - asked;
        info = first_body_->info();
      } else {
        answered = std::move(body).error();
      }
    }
    while (preparing_) CO_OK(co_await registered_.wait(Deadline::never()));  // for its files
    if (answered) break;
    auto pause = retry.after(answered.error(), parts_.world.random(),
                             source::retry_after_of(answered.error(), parts_.world.wall_now()));
    if (!pause || deadline.passed(parts_.world.now() + *pause)) {
      const auto soon = Deadline::in(kFarewell, parts_.world.now());
      Task<void> taking_back = take_back_registration(answered.error().message(), soon);
      co_await taking_back;
      if (task_) (void)parts_.store.remove(task_id_);  // made ahead, and empty
      co_return std::move(answered).error();
    }
    Task<void> resting = rest(answered.error(), *pause);
    co_await resting;
  }
  if (info.is_folder) {
    co_return error(ErrorCode::kInvalid, "{} is a folder; download it recursively",
                    source::redacted(request.url));
  }
  version_ = info.version;
  // The next one may be of another version; that will be the one that counts.
  if (wish_.one_answer && !first_body_) version_ = {.length = info.length};
  if (!info.length || !info.accepts_ranges) ranges_ = false;
  auto facts = facts_of(info);
  // While the scheduler and a seed set about it, room is made for it here.
  const bool ahead = !begun && info.length && *info.length > 0 && asks_scheduler(info.length);
  const bool prepared = registering_ || opened_;
  if (ahead && !prepared && PieceGeometry::check(*info.length, facts.piece_length)) {
    begin_to_register({*info.length, facts.piece_length});
    for (int turns = 0; turns < kTurnsToSay; ++turns) co_await yield();
  }
  auto created = co_await parts_.store.create(facts);
  if (!created) co_return std::move(created).error();
  task_ = std::move(*created);
  bool same = task_->facts().content_length == facts.content_length &&
              task_->piece_length() == facts.piece_length &&
              (!task_->facts().version.known() || task_->facts().version == facts.version ||
               swarm::version_tag(task_->facts().version) == swarm::version_tag(facts.version));
  const bool had_another = !same && task_->finished();
  if (!same && prepared) {
    // However long that takes (open_session is bounded): it must not be gone on with.
    const auto never = Deadline::never();
    Task<void> taking_back = take_back_registration("the origin has something else", never);
    co_await taking_back;
  }
  if (same && prepared) CO_OK(task_->set_source(facts.response_headers, facts.version));
  if (!same) CO_OK(task_->reset(std::move(facts)));
  if (had_another) {
    log_.info("task {}: its origin has another version by now", task_id_);
    Task<void> withdrawing = withdraw();
    co_await withdrawing;
  }
  CO_OK(task_->set_digest(wish_.content_digest));
  if (auto length = task_->content_length(); length && task_->stored() < *length) {
    CO_OK(task_->reserve(0, *length));
  }
  begin_plan();
  co_return Result<void>{};
}

store::TaskFacts Conductor::facts_of(const source::Info& info) const {
  const auto& message = wish_.message;
  store::TaskFacts facts;
  facts.id = task_id_;
  facts.kind = wish_.kind();
  if (wish_.replica) {
    facts.ttl = wish_.replica->ttl;
    facts.persistent = wish_.replica->persistent;
  }
  facts.url = source::redacted(message.url());
  facts.tag = message.tag();
  facts.digest = wish_.content_digest;
  facts.application = message.application();
  facts.content_length = info.length;
  facts.piece_length = message.has_piece_length() && message.piece_length() > 0 ? message.piece_length()
                       : options_.piece_length > 0                              ? options_.piece_length
                       : info.length ? automatic_piece_length(*info.length)
                                     : kUnknownPieceLength;
  for (const auto& header : info.headers) facts.response_headers.emplace_back(header.name, header.value);
  facts.version.etag = info.version.etag;
  facts.version.last_modified = info.version.last_modified;
  return facts;
}

void Conductor::begin_plan() {
  task_->take_up();
  // Content of unknown length is one thing that is wanted, whatever pieces it will have.
  plan_.begin(task_->piece_count().value_or(1), task_->content_length() ? task_->pieces() : store::Bitmap{});
}

// ---- What downloads say

PiecePlan::WantId Conductor::want(PiecePlan::Run run) {
  auto id = plan_.want(run);
  wanted_.notify_all();
  return id;
}

Accesses::Id Conductor::come(const Wish& wish) {
  // The same content at another place is as good where its digest will tell.
  const bool same = wish.message.url() == wish_.message.url() || !wish_.content_digest.empty();
  if (!same || wish.message.disable_back_to_source()) return 0;
  return accesses_.add({wish.message.url(), wish.private_headers});
}

bool Conductor::other_access(const Error& why, std::uint64_t turn) {
  if (why.status() != 401 && why.status() != 403) return false;
  const auto url = accesses_.now().url;
  const bool first = accesses_.turn() == turn;
  if (!accesses_.refused(turn)) return false;
  if (first)
    log_.info("task {}: its origin refuses the credentials in use now; going on with another caller's",
              task_id_);
  // Another place has validators of its own.
  if (accesses_.now().url != url) version_ = {.length = version_.length};
  return true;
}

Task<void> Conductor::rest(const Error& why, Duration pause) {
  rest_ = Rest{why.clone(), parts_.world.now() + pause};
  changed_.notify_all();
  co_await sleep_for(pause);
}

const Error* Conductor::puts_off_beyond(TimePoint when) const {
  const bool rests = rest_ && rest_->until > parts_.world.now() && !received_anything();
  return rests && rest_->until > when ? &rest_->why : nullptr;
}

void Conductor::forget(PiecePlan::WantId id) { plan_.forget(id); }

void Conductor::limit_rate(std::uint64_t bytes_per_second) {
  own_limit_.set_rate(bytes_per_second, 0, parts_.world.now());
}

Task<Result<void>> Conductor::finish() {
  while (!task_->finished()) {
    if (failure_) co_return failure_->clone();
    if (finishing_) {
      CO_OK(co_await changed_.wait(Deadline::never()));  // whoever finishes notifies, even when cancelled
      continue;
    }
    Busy busy(finishing_, changed_);
    const bool verifies = !task_->facts().digest.empty();
    std::vector<Suspects::Evidence> given;
    if (verifies) given = evidence();
    const bool ours = all_from_origin();
    auto finished = co_await task_->finish();
    if (!finished) {
      if (finished.failed_with(ErrorCode::kCorrupt)) distrust(std::move(given), ours);
      if (!failure_) failure_ = finished.error().clone();
      co_return finished;
    }
    if (verifies) judge();
  }
  co_return Result<void>{};
}

Task<Result<void>> Conductor::verify(std::string digest, bool complete_before) {
  CO_TRY(auto wanted, Digest::parse(digest));
  if (!digests_.contains(wanted.kind())) {
    auto hasher = std::make_shared<Hasher>(wanted.kind());
    std::function<void(Bytes)> take = [hasher](Bytes bytes) { hasher->update(bytes); };
    Task<Result<void>> reading =
        world::read_through(parts_.world, task_->file(), *task_->content_length(), std::move(take));
    CO_OK(co_await reading);
    digests_.emplace(wanted.kind(), Digest::of(*hasher).to_string());
  }
  const auto& found = digests_.at(wanted.kind());
  if (found == wanted.to_string()) co_return Result<void>{};
  auto wrong = fmt::format("{} has digest {}, {} was expected", wish_.name(), found, wanted.to_string());
  if (wish_.replica && (complete_before || task_->facts().persistent))
    co_return error(ErrorCode::kCorrupt, "{}", wrong);
  // A replica has no origin that could tell whether its parents are liars or the caller is mistaken.
  if (!wish_.replica) distrust(evidence(), all_from_origin());
  (void)parts_.store.remove(task_id_);  // others who read it now go on to their end
  co_return error(ErrorCode::kCorrupt, "{}; its content was thrown away", wrong);
}

// ---- Working

bool Conductor::is_small(std::optional<std::uint64_t> length) const {
  const auto& message = wish_.message;
  const auto small_enough = wish_.content_digest.empty()
                                ? options_.small_content
                                : std::min(options_.small_content, options_.small_named_content);
  return length && (*length <= small_enough ||
                    (message.has_range() && message.range().length() <= options_.small_content));
}

// What peers gave was wrong: the origin has the right bytes, if anybody has. Or what they have may be of any
// version.
bool Conductor::is_wary(std::optional<std::uint64_t> length) const {
  return (distrusted() || wish_.one_answer) && source_allowed_ && peers_possible() && length &&
         !is_small(length);
}

bool Conductor::asks_scheduler(std::optional<std::uint64_t> length) const {
  return peers_possible() && length && !(is_small(length) && source_allowed_) && !is_wary(length);
}

Task<Result<void>> Conductor::round() {
  auto length = task_->content_length();
  if (is_wary(length)) {
    log_.info("task {}: {}; going to the origin", task_id_,
              distrusted() ? "what peers gave was wrong" : "its origin is of several versions");
    auto fetched = co_await from_source(nullptr);
    unannounced_ = fetched.ok();
    if (fetched || !source::is_retryable(fetched.error())) co_return fetched;
    log_.info("task {}: {}; asking other peers", task_id_, fetched.error().message());
    co_return co_await round_with_scheduler();
  }
  if (asks_scheduler(length)) co_return co_await round_with_scheduler();
  if (!source_allowed_) {
    co_return error(ErrorCode::kUnavailable,
                    "{}: the origin must not be asked and there is no scheduler to find peers", wish_.name());
  }
  co_return co_await from_source(nullptr);
}

api::common::Download Conductor::registration(PieceGeometry pieces) const {
  auto message = wish_.message;
  message.clear_output_path();
  message.set_need_piece_content(false);
  bool seeds_first = message.priority() == api::common::LEVEL0 || message.priority() >= api::common::LEVEL4;
  if (!wish_.private_headers.empty() && seeds_first) message.set_priority(api::common::LEVEL3);
  message.set_concurrent_piece_count(options_.concurrent_pieces);
  message.set_actual_content_length(pieces.content_length());
  message.set_actual_piece_length(pieces.piece_length());
  message.set_actual_piece_count(pieces.count());
  return message;
}

namespace {
// Points the conductor at its session for as long as there is one.
class SessionHold {
 public:
  SessionHold(swarm::AnnounceSession*& slot, swarm::AnnounceSession& session) : slot_(slot) {
    slot_ = &session;
  }
  ~SessionHold() { slot_ = nullptr; }
  SessionHold(const SessionHold&) = delete;
  SessionHold& operator=(const SessionHold&) = delete;

 private:
  swarm::AnnounceSession*& slot_;
};
}  // namespace

Task<void> Conductor::register_ahead(api::common::Download registration) {
  Task<Result<Session>> opening = open_session(std::move(registration));
  opened_ = co_await opening;
  registering_ = false;
  registered_.notify_all();
}

void Conductor::begin_to_register(PieceGeometry pieces) {
  registering_ = true;
  scope_.spawn(register_ahead(registration(pieces)));
}

Task<void> Conductor::take_back_registration(std::string why, Deadline deadline) {
  while (registering_) {
    auto woken = co_await registered_.wait(deadline);
    if (!woken) co_return;
  }
  auto opened = std::exchange(opened_, std::nullopt);
  if (!opened || !*opened) co_return;
  Task<Result<void>> ending = (**opened)->end(swarm::Outcome::kBackToSourceFailed, std::move(why),
                                              Deadline::in(kFarewell, parts_.world.now()));
  (void)co_await ending;
}

Task<void> Conductor::prepare_ahead() {
  Busy busy(preparing_, registered_);
  const auto& message = wish_.message;
  const bool said = message.has_actual_content_length() && message.actual_content_length() > 0;
  if (!said || registering_ || opened_ || parts_.store.contains(task_id_)) co_return;
  source::Info info;
  info.length = message.actual_content_length();
  auto facts = facts_of(info);
  const PieceGeometry pieces(*info.length, facts.piece_length);
  if (!asks_scheduler(info.length) || !PieceGeometry::check(*info.length, facts.piece_length)) co_return;
  // Without room for it yet: that much has only been said.
  Task<Result<store::TaskHandle>> creating = parts_.store.create(std::move(facts));
  auto created = co_await creating;
  if (!created) co_return;  // the origin's answer will meet the same
  task_ = std::move(*created);
  begin_to_register(pieces);
}

Task<Result<Conductor::Session>> Conductor::session_for_round() {
  while (registering_) CO_OK(co_await registered_.wait(Deadline::never()));  // open_session is bounded
  if (opened_) {
    auto opened = std::move(*opened_);
    opened_.reset();
    co_return opened;
  }
  const PieceGeometry pieces(*task_->content_length(), task_->piece_length());
  Task<Result<Session>> opening = open_session(registration(pieces));
  co_return co_await opening;
}

Task<Result<void>> Conductor::round_with_scheduler() {
  auto& world = parts_.world;
  auto soon = [&](Duration wait) { return Deadline::in(wait, world.now()); };
  Task<Result<Session>> opening = session_for_round();
  auto opened = co_await opening;
  if (!opened) {
    if (!source_allowed_)
      co_return std::move(opened).error().in("no scheduler and the origin must not be asked");
    log_.warn("task {}: no help from a scheduler ({}); going to the origin", task_id_,
              opened.error().message());
    co_return co_await from_source(nullptr);
  }
  auto session = std::move(*opened);
  peer_id_ = session->peer_id();
  SessionHold hold(session_, *session);
  auto verdict = session->verdict();
  std::optional<ParentPhase> parents;

  for (;;) {
    if (verdict.kind == swarm::Verdict::Kind::kBackToSource) {
      parents.reset();
      if (!source_allowed_) {
        (void)co_await session->end(swarm::Outcome::kFailed, "back-to-source is disabled", soon(kFarewell));
        co_return error(ErrorCode::kUnavailable, "no peer has {} and the origin must not be asked",
                        wish_.name());
      }
      session->back_to_source_started();
      auto fetched = co_await from_source(session.get());
      if (fetched && task_->has_everything()) fetched = co_await finish();
      auto outcome = fetched ? swarm::Outcome::kBackToSourceFinished : swarm::Outcome::kBackToSourceFailed;
      auto description = fetched ? std::string() : fetched.error().message();
      (void)co_await session->end(outcome, std::move(description), soon(kFarewell));
      co_return fetched;
    }

    std::string reason = "the scheduler offers no parents";
    if (verdict.kind == swarm::Verdict::Kind::kParents) {
      first_body_.reset();  // somebody else has it after all
      reading_ = {};
      if (!parents) parents.emplace(*this);
      parents->offer(verdict.parents);
      session->started();
      auto ended = co_await parents->run(*session);
      if (!ended) {
        (void)co_await session->end(swarm::Outcome::kFailed, ended.error().message(), soon(kFarewell));
        co_return std::move(ended).error();
      }
      if (*ended == ParentPhase::End::kDone) {
        parents.reset();
        // A copy is only told of when it is known to be right.
        Result<void> finished;
        if (task_->has_everything()) finished = co_await finish();
        if (!finished && accused_) session->piece_failed(accused_->number, accused_->peer_id);
        auto outcome = finished ? swarm::Outcome::kFinished : swarm::Outcome::kFailed;
        auto description = finished ? std::string() : finished.error().message();
        (void)co_await session->end(outcome, std::move(description), soon(kFarewell));
        co_return finished;
      }
      if (*ended == ParentPhase::End::kSent) {
        verdict = session->verdict();
        continue;
      }
      reason = *ended == ParentPhase::End::kStalled ? "parents send nothing" : "parents have nothing more";
    }

    auto next = co_await session->reschedule(reason, soon(options_.schedule_timeout));
    if (!next) {
      parents.reset();
      (void)co_await session->end(swarm::Outcome::kFailed, reason, soon(kFarewell));
      if (!source_allowed_) co_return std::move(next).error().in(reason);
      log_.info("task {}: {} and the scheduler has no others ({}); going to the origin", task_id_, reason,
                next.error().message());
      co_return co_await from_source(nullptr);
    }
    verdict = std::move(*next);
  }
}

Task<Result<void>> Conductor::from_source(swarm::AnnounceSession* session) {
  if (!reading_) reading_ = origin_readers_.enter();
  SourcePhase source(*this);
  Result<void> fetched;
  if (learned_from_peers_) fetched = co_await compare_with_source();
  if (fetched) fetched = co_await source.run();
  reading_ = {};
  if (!fetched && session != nullptr) {
    auto piece = task_->pieces().first_clear(0, std::max(1U, plan_.pieces())).value_or(0);
    session->source_piece_failed(piece, fetched.error());
  }
  co_return fetched;
}

void Conductor::piece_done(const store::PieceInfo& piece) {
  plan_.completed(piece.number);
  if (piece.traffic == store::Traffic::kBackToSource) ++from_origin_;
  if (session_ != nullptr) session_->piece_finished(piece);
  if (parts_.metrics != nullptr) {
    static constexpr const char* kTypes[] = {"BACK_TO_SOURCE", "REMOTE_PEER", "LOCAL_PEER"};
    parts_.metrics
        ->counter("dragonfly_client_download_traffic", "Bytes of pieces received, by where they came from.",
                  {{"type", kTypes[static_cast<int>(piece.traffic)]}})
        .add(piece.length);
  }
  changed_.notify_all();
}

void Conductor::bytes_arrived(std::size_t) {
  last_byte_at_ = parts_.world.now();
  if (!first_byte_at_) first_byte_at_ = last_byte_at_;
}

Task<void> Conductor::announce_complete() {
  if (!peers_possible() || !task_ || !task_->content_length()) co_return;
  auto message = registration({*task_->content_length(), task_->piece_length()});
  message.set_metadata_only(true);
  auto announce = announcement();
  auto opened =
      co_await swarm::AnnounceSession::open(*parts_.schedulers, std::move(announce), std::move(message), log_,
                                            Deadline::in(options_.schedule_timeout, parts_.world.now()));
  if (!opened) {
    log_.debug("task {}: the scheduler was not told of our copy: {}", task_id_, opened.error().message());
    co_return;
  }
  auto session = std::move(*opened);
  session->started();
  (void)co_await session->end(swarm::Outcome::kFinished, "", Deadline::in(kFarewell, parts_.world.now()));
}

}  // namespace d7y::fetch
