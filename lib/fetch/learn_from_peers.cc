// What a task is where the origin must not be asked (Download.disable_back_to_source): the scheduler's
// parents say how long it is, and the first of them that knows its version which one we take. Or where there
// is no origin: the scheduler itself says it.
#include <limits>

#include "api/methods.h"
#include "base/piece.h"
#include "fetch/conductor.h"
#include "swarm/content_version.h"

namespace d7y::fetch {
namespace {

// The length of the whole content by a scheduler's answer; none if it does not say.
std::optional<std::uint64_t> length_by(const swarm::Verdict& verdict) {
  if (verdict.kind == swarm::Verdict::Kind::kEmpty) return 0;
  for (const auto& parent : verdict.parents) {
    if (!parent.peer.has_task()) continue;
    auto length = parent.peer.task().content_length();
    // Schedulers of Dragonfly keep -1 in it while they do not know.
    if (length <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return length;
  }
  return std::nullopt;
}

}  // namespace

swarm::AnnounceOptions Conductor::announcement() const {
  swarm::AnnounceOptions announce;
  announce.self = options_.self;
  announce.task_id = task_id_;
  announce.kind = wish_.kind();
  announce.persistent = wish_.replica && wish_.replica->persistent;
  announce.new_peer_id = [this] { return options_.new_peer_id(parts_.world); };
  return announce;
}

Task<Result<std::unique_ptr<swarm::AnnounceSession>>> Conductor::open_session(
    api::common::Download registration) {
  auto announce = announcement();
  announce.max_verdicts = options_.max_verdicts;
  auto deadline = Deadline::in(options_.schedule_timeout, parts_.world.now());
  co_return co_await swarm::AnnounceSession::open(*parts_.schedulers, std::move(announce),
                                                  std::move(registration), log_, deadline);
}

Task<Result<void>> Conductor::learn_from_scheduler() {
  if (!peers_possible()) {
    co_return error(ErrorCode::kUnavailable, "{}: there is no scheduler to find peers that have it",
                    wish_.name());
  }
  api::scheduler::StatPersistentCacheTaskRequest request;
  request.set_host_id(options_.self.host_id);
  request.set_task_id(task_id_);
  const auto deadline = Deadline::in(options_.stat_timeout, parts_.world.now());
  Task<Result<api::common::PersistentCacheTask>> asking =
      parts_.schedulers->ask<api::common::PersistentCacheTask>(
          api::method::scheduler::kStatPersistentCacheTask, std::move(request), deadline);
  auto known = co_await asking;
  if (!known) co_return std::move(known).error();
  CO_OK(PieceGeometry::check(known->content_length(), known->piece_length()));
  source::Info info;
  info.length = known->content_length();
  auto facts = facts_of(info);
  facts.piece_length = known->piece_length();
  facts.tag = known->tag();
  facts.application = known->application();
  facts.ttl = api::duration_of(known->ttl());
  CO_OK(co_await begin_with(std::move(facts)));
  co_return Result<void>{};
}

Task<Result<void>> Conductor::begin_with(store::TaskFacts facts) {
  Task<Result<store::TaskHandle>> creating = parts_.store.create(facts);
  CO_TRY(task_, co_await creating);
  bool same = task_->content_length() == facts.content_length && task_->piece_length() == facts.piece_length;
  const auto length = *facts.content_length;
  if (!same) CO_OK(task_->reset(std::move(facts)));
  if (task_->stored() < length) CO_OK(task_->reserve(0, length));
  begin_plan();
  co_return Result<void>{};
}

Task<Result<void>> Conductor::learn_from_peers() {
  auto url = source::redacted(wish_.message.url());
  if (!peers_possible()) {
    co_return error(ErrorCode::kUnavailable,
                    "{}: the origin must not be asked and there is no scheduler to find peers", url);
  }
  auto message = wish_.message;
  message.clear_output_path();
  message.set_need_piece_content(false);
  message.set_concurrent_piece_count(options_.concurrent_pieces);
  auto opened = co_await open_session(std::move(message));
  if (!opened) co_return std::move(opened).error().in("no scheduler and the origin must not be asked");
  auto session = std::move(*opened);
  auto verdict = session->verdict();
  auto length = length_by(verdict);
  while (!length && verdict.kind == swarm::Verdict::Kind::kParents) {
    auto deadline = Deadline::in(options_.schedule_timeout, parts_.world.now());
    auto next = co_await session->reschedule("no parent says how long the content is", deadline);
    if (!next) break;
    verdict = std::move(*next);
    length = length_by(verdict);
  }
  if (!length) {
    auto soon = Deadline::in(std::chrono::seconds(5), parts_.world.now());
    (void)co_await session->end(swarm::Outcome::kFailed, "back-to-source is disabled", soon);
    co_return error(ErrorCode::kUnavailable, "no peer has {} and the origin must not be asked", url);
  }
  CO_OK(PieceGeometry::check(*length, kMinPieceLength));
  source::Info info;
  info.length = *length;
  CO_OK(co_await begin_with(facts_of(info)));
  learned_from_peers_ = true;
  opened_ = std::move(session);
  co_return Result<void>{};
}

bool Conductor::is_our_version(std::uint64_t tag) {
  auto ours = swarm::version_tag(task_->facts().version);
  if (ours != 0 || tag == 0 || !learned_from_peers_) return swarm::versions_agree(ours, tag);
  auto noted = task_->set_source(task_->facts().response_headers, swarm::version_of_tag(tag));
  if (!noted) log_.warn("task {}: its version is not noted: {}", task_id_, noted.error().message());
  return noted.ok();
}

Task<Result<void>> Conductor::compare_with_source() {
  auto request = source_request();
  auto deadline = Deadline::in(options_.stat_timeout, parts_.world.now());
  CO_TRY(source::Info info, co_await parts_.sources.stat(request, deadline));
  auto theirs = swarm::version_tag({.etag = info.version.etag, .last_modified = info.version.last_modified});
  auto ours = swarm::version_tag(task_->facts().version);
  if ((info.length && info.length != task_->content_length()) || !swarm::versions_agree(ours, theirs)) {
    co_return error(ErrorCode::kChanged, "the origin's content of {} is not the one that peers have",
                    source::redacted(request.url));
  }
  version_ = info.version;
  learned_from_peers_ = false;
  co_return Result<void>{};
}

}  // namespace d7y::fetch
