#include "scheduler/replica_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "api/methods.h"
#include "api/validate.h"
#include "scheduler/messages.h"
#include "scheduler/replica_kinds.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kLongestId = 512;
constexpr std::size_t kLongestText = 8192;  // URLs, tags
constexpr Duration kTick = std::chrono::seconds(10);
constexpr Duration kReadTimeout = std::chrono::seconds(2);
constexpr Duration kDropTimeout = std::chrono::seconds(30);
constexpr Duration kMakeTimeout = std::chrono::hours(6);

std::string group_of(const ReplicaKey& key) {
  return (key.kind == ReplicaKind::kPersistent ? "persistent/" : "persistent-cache/") + key.task_id;
}
std::optional<ReplicaKey> key_of(std::string_view group) {
  constexpr std::string_view kPersistent = "persistent/", kCache = "persistent-cache/";
  if (group.starts_with(kPersistent)) {
    return ReplicaKey{ReplicaKind::kPersistent, std::string(group.substr(kPersistent.size()))};
  }
  if (group.starts_with(kCache)) {
    return ReplicaKey{ReplicaKind::kPersistentCache, std::string(group.substr(kCache.size()))};
  }
  return std::nullopt;
}

// Entries of the ledger.

std::int64_t ticks(WallTime time) { return time.time_since_epoch().count(); }
WallTime moment(std::int64_t ticks) { return WallTime(Duration(ticks)); }

std::string dump(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}
std::string task_entry(const ReplicaTask& task) {
  const auto& f = task.facts;
  return dump({{"url", f.url},
               {"region", f.region},
               {"endpoint", f.endpoint},
               {"tag", f.tag},
               {"application", f.application},
               {"content_length", f.content_length},
               {"piece_length", f.piece_length},
               {"piece_count", f.piece_count},
               {"wanted", f.wanted},
               {"ttl", f.ttl.count()},
               {"state", name_of(task.state)},
               {"created_at", ticks(task.created)},
               {"updated_at", ticks(task.updated)}});
}
std::string peer_entry(const Replica& replica) {
  return dump({{"host_id", replica.host_id},
               {"persistent", replica.persistent},
               {"state", name_of(replica.state)},
               {"concurrent_piece_count", replica.concurrent_pieces},
               {"finished_pieces", replica.finished_pieces},
               {"cost", replica.cost.count()},
               {"created_at", ticks(replica.created)},
               {"updated_at", ticks(replica.updated)}});
}

// Values of the wrong type are as good as missing.
template <class Value>
Value value_at(const nlohmann::json& json, const char* name, Value otherwise) {
  const auto found = json.find(name);
  if (found == json.end()) return otherwise;
  if constexpr (std::is_same_v<Value, std::string>) {
    return found->is_string() ? found->template get<std::string>() : otherwise;
  } else if constexpr (std::is_same_v<Value, bool>) {
    return found->is_boolean() ? found->template get<bool>() : otherwise;
  } else {
    return found->is_number_integer() ? found->template get<Value>() : otherwise;
  }
}
ReplicaState state_at(const nlohmann::json& json) {
  const auto name = value_at(json, "state", std::string());
  for (int i = 0; i <= static_cast<int>(ReplicaState::kFailed); ++i) {
    if (name_of(static_cast<ReplicaState>(i)) == name) return static_cast<ReplicaState>(i);
  }
  return ReplicaState::kFailed;
}
ReplicaTask task_of(const ReplicaKey& key, const nlohmann::json& json) {
  ReplicaTask task;
  auto& f = task.facts;
  f.key = key;
  f.url = value_at(json, "url", std::string());
  f.region = value_at(json, "region", std::string());
  f.endpoint = value_at(json, "endpoint", std::string());
  f.tag = value_at(json, "tag", std::string());
  f.application = value_at(json, "application", std::string());
  f.content_length = value_at<std::uint64_t>(json, "content_length", 0);
  f.piece_length = value_at<std::uint64_t>(json, "piece_length", 0);
  f.piece_count = value_at<std::uint32_t>(json, "piece_count", 0);
  f.wanted = value_at<std::uint32_t>(json, "wanted", 1);
  f.ttl = Duration(value_at<std::int64_t>(json, "ttl", 0));
  task.state = state_at(json);
  task.created = moment(value_at<std::int64_t>(json, "created_at", 0));
  task.updated = moment(value_at<std::int64_t>(json, "updated_at", 0));
  return task;
}
Replica replica_of(const nlohmann::json& json) {
  Replica replica;
  replica.host_id = value_at(json, "host_id", std::string());
  replica.persistent = value_at(json, "persistent", false);
  replica.state = state_at(json);
  replica.concurrent_pieces = value_at<std::uint32_t>(json, "concurrent_piece_count", 8);
  replica.finished_pieces = value_at<std::uint32_t>(json, "finished_pieces", 0);
  replica.cost = Duration(value_at<std::int64_t>(json, "cost", 0));
  replica.created = moment(value_at<std::int64_t>(json, "created_at", 0));
  replica.updated = moment(value_at<std::int64_t>(json, "updated_at", 0));
  return replica;
}

template <class Message>
Result<void> check_sizes(const Message& message) {
  if (message.host_id().size() <= kLongestId && message.task_id().size() <= kLongestId &&
      message.ByteSizeLong() <= 4 * kLongestText) {
    return {};
  }
  return error(ErrorCode::kInvalid, "invalid {}: longer than {} bytes", message.GetTypeName(),
               4 * kLongestText);
}

}  // namespace

ReplicaService::ReplicaService(world::World& world, const Brain& brain, const DynamicRules& rules,
                               HostCalls& hosts, StreamLimit& streams, Log log, Metrics& metrics)
    : world_(world),
      brain_(brain),
      rules_(rules),
      hosts_(hosts),
      streams_(streams),
      log_(log.in("replicas")),
      metrics_(metrics),
      tasks_(metrics.gauge("d7y_scheduler_persistent_tasks", "Persistent and persistent-cache tasks.")),
      made_(
          metrics.counter("d7y_scheduler_replicas_made_total", "Copies that hosts were asked for and made.")),
      not_made_(metrics.counter("d7y_scheduler_replicas_failure_total", "Copies that hosts did not make.")),
      replicas_(brain, world.random()),
      scope_(world.loop()) {}

// The ledger.

bool ReplicaService::load(const LedgerEntry& entry) {
  const auto key = key_of(entry.group);
  if (!key) return false;
  const auto json = nlohmann::json::parse(entry.value, nullptr, false);
  if (!json.is_object()) return true;
  if (entry.name.empty()) {
    auto task = task_of(*key, json);
    if (task.expires() > world_.wall_now()) replicas_.restore_task(std::move(task));
  } else {
    replicas_.restore_peer(*key, entry.name, replica_of(json));
  }
  return true;
}

void ReplicaService::write(const ReplicaChanged& changed) {
  const auto* task = replicas_.task(changed.key);
  if (ledger_ == nullptr || task == nullptr) return;
  if (changed.peer_id.empty()) {
    ledger_->put({group_of(changed.key), "", task_entry(*task), task->expires()});
    return;
  }
  const auto peer = task->peers.find(changed.peer_id);
  if (peer == task->peers.end()) return;
  ledger_->put({group_of(changed.key), changed.peer_id, peer_entry(peer->second), task->expires()});
}

Task<void> ReplicaService::prepare(ReplicaKey key) {
  auto waiting = ready_();
  co_await waiting;
  if (ledger_ == nullptr || !ledger_->shared() || key.task_id.size() > kLongestId) co_return;
  auto reading = ledger_->read(group_of(key));
  auto bounded = within(Deadline::in(kReadTimeout, world_.now()), std::move(reading));
  auto entries = co_await bounded;
  if (!entries) {
    log_.warn("task {}: what other schedulers know cannot be read: {}", key.task_id,
              entries.error().message());
    co_return;
  }
  const bool there = std::any_of(entries->begin(), entries->end(),
                                 [](const LedgerEntry& entry) { return entry.name.empty(); });
  if (!there) {
    replicas_.forget(key);
    co_return;
  }
  // What describes the task itself comes before its copies; names are unique within a group.
  std::sort(entries->begin(), entries->end(),
            [](const LedgerEntry& a, const LedgerEntry& b) { return a.name < b.name; });
  for (const auto& entry : *entries) load(entry);
}

// Carrying out.

void ReplicaService::pump() {
  for (auto& action : replicas_.take_actions(world_.wall_now())) {
    if (auto* make = std::get_if<MakeReplica>(&action)) {
      scope_.spawn(make_any(std::move(*make)));
    } else if (auto* dropped = std::get_if<DropReplica>(&action)) {
      scope_.spawn(drop(std::move(*dropped)));
    } else if (const auto* changed = std::get_if<ReplicaChanged>(&action)) {
      write(*changed);
    } else if (const auto* gone = std::get_if<ReplicaGone>(&action)) {
      if (ledger_ == nullptr) continue;
      if (gone->peer_id.empty()) {
        ledger_->erase_group(group_of(gone->key));
      } else {
        ledger_->erase(group_of(gone->key), gone->peer_id);
      }
    }
  }
  tasks_.set(static_cast<std::int64_t>(replicas_.size()));
}

Task<void> ReplicaService::run() {
  auto waiting = ready_();
  co_await waiting;
  for (;;) {
    pump();
    co_await sleep_for(kTick);
    replicas_.tick(world_.wall_now());
  }
}

void ReplicaService::host_left(const std::string& host_id) {
  replicas_.host_left(host_id, world_.wall_now());
  pump();
}

Task<void> ReplicaService::make_any(MakeReplica action) {
  return action.key.kind == ReplicaKind::kPersistent ? make<PersistentKind>(std::move(action))
                                                     : make<PersistentCacheKind>(std::move(action));
}

template <class Kind>
Task<void> ReplicaService::make(MakeReplica action) {
  const auto* task = replicas_.task(action.key);
  const auto* host = brain_.host(brain_.find_host(action.host_id));
  if (task == nullptr || host == nullptr) {
    replicas_.made(action.key, action.host_id, false, world_.wall_now());
    co_return;
  }
  auto at = Address::parse_ip(host->facts.ip, host->facts.port);
  if (!at) co_return;  // announcements are checked
  Result<void> ended;
  if (action.has_it) {
    typename Kind::UpdateAtHost request;
    request.set_task_id(action.key.task_id);
    request.set_persistent(true);
    auto calling = hosts_.unary<api::Empty>(*at, Kind::kUpdateAtHost, request, kDropTimeout);
    auto done = co_await calling;
    if (!done) ended = std::move(done).error();
  } else {
    log_.info("host {} is asked for a copy of task {}", action.host_id, action.key.task_id);
    auto request = Kind::download_request(task->facts);
    auto downloading =
        hosts_.drain<typename Kind::DownloadAnswer>(*at, Kind::kDownloadAtHost, std::move(request));
    auto bounded = within(Deadline::in(kMakeTimeout, world_.now()), std::move(downloading));
    ended = co_await bounded;
  }
  (ended ? made_ : not_made_).add();
  if (!ended) {
    log_.warn("host {} has made no copy of task {}: {}", action.host_id, action.key.task_id,
              ended.error().message());
  }
  replicas_.made(action.key, action.host_id, ended.ok(), world_.wall_now());
  pump();
}

Task<void> ReplicaService::drop(DropReplica action) {
  const auto* host = brain_.host(brain_.find_host(action.host_id));
  if (host == nullptr) co_return;
  auto at = Address::parse_ip(host->facts.ip, host->facts.port);
  if (!at) co_return;
  Result<api::Empty> dropped = error(ErrorCode::kInternal, "not asked");
  if (action.key.kind == ReplicaKind::kPersistent) {
    PersistentKind::DeleteAtHost request;
    request.set_task_id(action.key.task_id);
    auto calling = hosts_.unary<api::Empty>(*at, PersistentKind::kDeleteAtHost, request, kDropTimeout);
    dropped = co_await calling;
  } else {
    PersistentCacheKind::DeleteAtHost request;
    request.set_task_id(action.key.task_id);
    auto calling = hosts_.unary<api::Empty>(*at, PersistentCacheKind::kDeleteAtHost, request, kDropTimeout);
    dropped = co_await calling;
  }
  if (!dropped && !dropped.failed_with(ErrorCode::kNotFound)) {
    log_.warn("host {} does not delete its copy of task {}: {}", action.host_id, action.key.task_id,
              dropped.error().message());
  }
}

// Messages.

template <class Kind>
typename Kind::TaskMessage ReplicaService::task_message(const ReplicaTask& task) const {
  typename Kind::TaskMessage message;
  message.set_id(task.facts.key.task_id);
  message.set_persistent_replica_count(task.facts.wanted);
  message.set_current_persistent_replica_count(task.persistent_copies());
  message.set_current_replica_count(task.copies());
  message.set_content_length(task.facts.content_length);
  message.set_piece_count(task.facts.piece_count);
  message.set_state(std::string(name_of(task.state)));
  api::set_duration(*message.mutable_ttl(), task.facts.ttl);
  api::set_time(*message.mutable_created_at(), task.created);
  api::set_time(*message.mutable_updated_at(), task.updated);
  Kind::fill(task.facts, message);
  return message;
}

template <class Kind>
typename Kind::PeerMessage ReplicaService::peer_message(const ReplicaTask& task, const std::string& peer_id,
                                                        const Replica& replica) const {
  typename Kind::PeerMessage message;
  message.set_id(peer_id);
  message.set_persistent(replica.persistent);
  api::set_duration(*message.mutable_cost(), replica.cost);
  message.set_state(std::string(name_of(replica.state)));
  *message.mutable_task() = task_message<Kind>(task);
  if (const auto* host = brain_.host(brain_.find_host(replica.host_id)))
    *message.mutable_host() = host_message(*host, true);
  message.set_concurrent_piece_count(replica.concurrent_pieces);
  api::set_time(*message.mutable_created_at(), replica.created);
  api::set_time(*message.mutable_updated_at(), replica.updated);
  return message;
}

// Calls.

template <class Kind>
Task<Result<api::Empty>> ReplicaService::upload_started(typename Kind::UploadStarted request) {
  CO_OK(api::validate(request));
  CO_OK(check_sizes(request));
  auto facts = Kind::facts(request);
  auto preparing = prepare(facts.key);
  co_await preparing;
  const auto* host = brain_.host(brain_.find_host(request.host_id()));
  const auto blocked = rules_.blocked(Kind::kUpload, host != nullptr && host->facts.seed,
                                      {facts.url, facts.application, facts.tag, 0});
  Result<void> started;
  if (blocked) {
    started = error(ErrorCode::kPermission, "the upload is refused: its {} is on the block list", *blocked);
  } else {
    started = replicas_.upload_started(std::move(facts), request.host_id(), request.peer_id(), 8,
                                       world_.wall_now());
  }
  CO_OK(std::move(started));
  pump();
  co_return api::Empty();
}

template <class Kind>
Task<Result<typename Kind::TaskMessage>> ReplicaService::upload_finished(
    typename Kind::UploadFinished request) {
  CO_OK(api::validate(request));
  const ReplicaKey key{Kind::kKind, request.task_id()};
  auto preparing = prepare(key);
  co_await preparing;
  auto finished = replicas_.upload_finished(key, request.host_id(), request.peer_id(), world_.wall_now());
  CO_OK(std::move(finished));
  auto message = task_message<Kind>(*replicas_.task(key));
  pump();
  if (ledger_ != nullptr) {
    // It is promised from here on.
    auto settling = ledger_->settle(Deadline::in(std::chrono::seconds(5), world_.now()));
    auto settled = co_await settling;
    if (!settled) {
      log_.warn("task {} may be forgotten with a restart: {}", key.task_id, settled.error().message());
    }
  }
  co_return message;
}

template <class Kind>
Task<Result<api::Empty>> ReplicaService::upload_failed(typename Kind::UploadFailed request) {
  CO_OK(api::validate(request));
  const ReplicaKey key{Kind::kKind, request.task_id()};
  auto preparing = prepare(key);
  co_await preparing;
  auto failed = replicas_.upload_failed(key, request.host_id(), request.peer_id(), world_.wall_now());
  CO_OK(std::move(failed));
  pump();
  co_return api::Empty();
}

template <class Kind>
Task<Result<typename Kind::TaskMessage>> ReplicaService::stat_task(typename Kind::StatTask request) {
  CO_OK(api::validate(request));
  const ReplicaKey key{Kind::kKind, request.task_id()};
  auto preparing = prepare(key);
  co_await preparing;
  const auto* task = replicas_.task(key);
  if (task == nullptr || task->expires() <= world_.wall_now()) {
    co_return error(ErrorCode::kNotFound, "task {} is not known here", request.task_id());
  }
  co_return task_message<Kind>(*task);
}

template <class Kind>
Task<Result<typename Kind::PeerMessage>> ReplicaService::stat_peer(typename Kind::StatPeer request) {
  CO_OK(api::validate(request));
  const ReplicaKey key{Kind::kKind, request.task_id()};
  auto preparing = prepare(key);
  co_await preparing;
  const auto* task = replicas_.task(key);
  const bool known = task != nullptr && task->peers.contains(request.peer_id());
  if (!known) co_return error(ErrorCode::kNotFound, "peer {} is not known here", request.peer_id());
  co_return peer_message<Kind>(*task, request.peer_id(), task->peers.at(request.peer_id()));
}

template <class Kind>
Task<Result<api::Empty>> ReplicaService::delete_task(typename Kind::DeleteTask request) {
  CO_OK(api::validate(request));
  const ReplicaKey key{Kind::kKind, request.task_id()};
  auto preparing = prepare(key);
  co_await preparing;
  const bool known = replicas_.delete_task(key, world_.wall_now());
  if (!known) co_return error(ErrorCode::kNotFound, "task {} is not known here", request.task_id());
  pump();
  co_return api::Empty();
}

template <class Kind>
Task<Result<api::Empty>> ReplicaService::delete_peer(typename Kind::DeletePeer request) {
  CO_OK(api::validate(request));
  const ReplicaKey key{Kind::kKind, request.task_id()};
  auto preparing = prepare(key);
  co_await preparing;
  replicas_.delete_peer(key, request.peer_id(), world_.wall_now());
  pump();
  co_return api::Empty();
}

// Streams. There is nothing to wait for, so a stream is its handler.

// Tells the replicas when the handler ends, however it ends.
struct ReplicaStream {
  ReplicaService& service;
  ReplicaKey key{};
  std::string host_id{}, peer_id{};
  bool seed = false;  // its host

  void note(ReplicaMetrics::Event event, bool ok = true) const {
    service.metrics_.add(key.kind, event, seed, ok);
  }
  ~ReplicaStream() {
    if (peer_id.empty()) return;
    service.replicas_.lost(key, peer_id, service.world_.wall_now());
    service.pump();
  }
};

template <class Kind>
Result<typename Kind::Answer> ReplicaService::answer(const ReplicaKey& key, const ReplicaAnswer& from) {
  typename Kind::Answer response;
  const auto* task = replicas_.task(key);
  switch (from.what) {
    case ReplicaAnswer::What::kEmpty: Kind::set_empty(response); break;
    case ReplicaAnswer::What::kBackToSource: TRY_OK(Kind::set_back_to_source(response)); break;
    case ReplicaAnswer::What::kParents:
      for (const auto& id : from.parents) {
        *Kind::add_parent(response) = peer_message<Kind>(*task, id, task->peers.at(id));
      }
      break;
  }
  return response;
}

template <class Kind>
Task<Result<void>> ReplicaService::announce(grpc::ServerCall& call, grpc::Reader<typename Kind::Announce>& in,
                                            grpc::Writer<typename Kind::Answer>& out) {
  auto entering = streams_.enter(call, world_);
  CO_TRY(const StreamLimit::Place place, co_await entering);
  ReplicaStream stream{*this};
  using Says = typename Kind::Says;
  using Event = ReplicaMetrics::Event;
  for (;;) {
    auto reading = in.read();
    CO_TRY(auto message, co_await reading);
    if (!message) co_return Result<void>{};
    CO_OK(api::validate(*message));
    CO_OK(check_sizes(*message));
    const auto says = Kind::says(*message);
    if (stream.peer_id.empty()) {
      if (says != Says::kRegister) {
        co_return error(ErrorCode::kNotFound, "peer {} is not registered", message->peer_id());
      }
      auto registration = Kind::registration(*message);
      auto preparing = prepare(registration.key);
      co_await preparing;
      const auto* known = replicas_.task(registration.key);
      const auto* host = brain_.host(brain_.find_host(registration.host_id));
      stream.key = registration.key;
      stream.seed = host != nullptr && host->facts.seed;
      const auto blocked =
          known == nullptr
              ? std::nullopt
              : rules_.blocked(Kind::kDownload, stream.seed,
                               {known->facts.url, known->facts.application, known->facts.tag, 0});
      if (blocked) {
        co_return error(ErrorCode::kPermission, "the download is refused: its {} is on the block list",
                        *blocked);
      }
      auto registered = replicas_.register_peer(registration, world_.wall_now());
      if (host != nullptr) stream.note(Event::kRegistered, registered.ok());
      if (!registered) {
        // A peer that nobody can serve is not one that was lost.
        pump();
        co_return std::move(registered).error();
      }
      stream.host_id = registration.host_id;
      stream.peer_id = registration.peer_id;
      CO_TRY(typename Kind::Answer response, answer<Kind>(stream.key, *registered));
      auto writing = out.write(response);
      CO_OK(co_await writing);
      continue;
    }
    if (message->peer_id() != stream.peer_id || message->task_id() != stream.key.task_id ||
        message->host_id() != stream.host_id) {
      co_return error(ErrorCode::kInvalid, "the stream belongs to peer {}, the message names another",
                      stream.peer_id);
    }
    const auto now = world_.wall_now();
    switch (says) {
      case Says::kRegister:
        co_return error(ErrorCode::kPrecondition, "peer {} is registered already on this stream",
                        stream.peer_id);
      case Says::kStarted:
        stream.note(Event::kStarted);
        replicas_.started(stream.key, stream.peer_id, now);
        break;
      case Says::kReschedule: {
        Kind::block_given(*message, [&](const std::string& parent) {
          replicas_.piece_failed(stream.key, stream.peer_id, parent);
        });
        CO_TRY(ReplicaAnswer others, replicas_.reschedule(stream.key, stream.peer_id, now));
        CO_TRY(typename Kind::Answer response, answer<Kind>(stream.key, others));
        auto writing = out.write(response);
        CO_OK(co_await writing);
        break;
      }
      case Says::kPieceFinished:
        stream.note(Event::kPiece);
        replicas_.piece_finished(stream.key, stream.peer_id);
        break;
      case Says::kPieceFailed:
        stream.note(Event::kPiece, false);
        replicas_.piece_failed(stream.key, stream.peer_id,
                               message->download_piece_failed_request().parent_id());
        break;
      case Says::kFinished:
        // Before "started" too, as clients do with empty tasks.
        stream.note(Event::kFinished);
        replicas_.finished(stream.key, stream.peer_id, now);
        pump();
        stream.peer_id.clear();
        co_return Result<void>{};
      case Says::kFailed:
        stream.note(Event::kFinished, false);
        replicas_.failed(stream.key, stream.peer_id, now);
        pump();
        stream.peer_id.clear();
        co_return Result<void>{};
      case Says::kNothing: break;
      case Says::kUnknown:
        co_return error(ErrorCode::kPrecondition, "the message holds a request that is not known here");
    }
  }
}

template <class Kind>
void ReplicaService::attach_kind(grpc::Server& server) {
  const auto unary = [&]<class Request, class Response>(
                         std::string_view path, Task<Result<Response>> (ReplicaService::*method)(Request)) {
    server.unary<Request, Response>(std::string(path), [this, method](grpc::ServerCall&, Request request) {
      return (this->*method)(std::move(request));
    });
  };
  unary(Kind::kUploadStartedPath, &ReplicaService::upload_started<Kind>);
  unary(Kind::kUploadFinishedPath, &ReplicaService::upload_finished<Kind>);
  unary(Kind::kUploadFailedPath, &ReplicaService::upload_failed<Kind>);
  unary(Kind::kStatTaskPath, &ReplicaService::stat_task<Kind>);
  unary(Kind::kStatPeerPath, &ReplicaService::stat_peer<Kind>);
  unary(Kind::kDeleteTaskPath, &ReplicaService::delete_task<Kind>);
  unary(Kind::kDeletePeerPath, &ReplicaService::delete_peer<Kind>);
  server.bidi<typename Kind::Announce, typename Kind::Answer>(
      std::string(Kind::kAnnouncePath),
      [this](grpc::ServerCall& call, grpc::Reader<typename Kind::Announce>& in,
             grpc::Writer<typename Kind::Answer>& out) { return announce<Kind>(call, in, out); });
}

void ReplicaService::attach(grpc::Server& server, std::function<Task<void>()> ready) {
  ready_ = std::move(ready);
  attach_kind<PersistentKind>(server);
  attach_kind<PersistentCacheKind>(server);
}

}  // namespace d7y::scheduler
