#include "scheduler/service.h"

#include "api/methods.h"
#include "api/validate.h"
#include "scheduler/peer_stream.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kLongestId = 512;      // bytes
constexpr std::size_t kBiggestHost = 16384;  // bytes of an announcement

// A method that answers at once, when the service is ready.
template <class Response, class Parameter>
void answer(grpc::Server& server, std::string_view path, Service& service,
            Result<Response> (Service::*method)(Parameter)) {
  using Request = std::remove_cvref_t<Parameter>;
  using Prompt = std::function<std::optional<Result<Response>>(grpc::ServerCall&, Request&)>;
  using Handler = std::function<Task<Result<Response>>(grpc::ServerCall&, Request)>;
  struct Run {
    static Task<Result<Response>> later(Service& on, Result<Response> (Service::*what)(Parameter),
                                        Request request) {
      CO_OK(api::validate(request));
      auto waiting = on.ready();
      co_await waiting;
      co_return (on.*what)(static_cast<Parameter>(request));
    }
  };
  Prompt prompt = [&service, method](grpc::ServerCall&, Request& request) -> std::optional<Result<Response>> {
    if (!service.is_ready()) return std::nullopt;
    TRY_OK(api::validate(request));
    return (service.*method)(static_cast<Parameter>(request));
  };
  Handler handler = [&service, method](grpc::ServerCall&, Request request) {
    return Run::later(service, method, std::move(request));
  };
  server.unary<Request, Response>(std::string(path), std::move(prompt), std::move(handler));
}

}  // namespace

Service::Service(world::World& world, ServiceOptions options, Log log, Metrics& metrics)
    : world_(world),
      options_(std::move(options)),
      log_(log.in("scheduler")),
      metrics_(metrics, options_.each_host_metrics),
      brain_(options_.brain, world.random()),
      hosts_(world, options_.seed_connect, log_),
      jobs_(world, brain_, rules_, hosts_, options_.jobs, log_, metrics),
      peer_calls_(world, options_.peer_connect, log_),
      stream_limit_(options_.streams_per_address, options_.calls),
      replica_service_(world, brain_, rules_, peer_calls_, stream_limit_, log_, metrics),
      origins_(world, stream_limit_, metrics),
      scope_(world.loop()) {
  set_dynamic(options_.brain, options_.dynamic);
}

void Service::set_dynamic(BrainOptions options, const DynamicConfig& dynamic) {
  options.report_copies = true;
  brain_.set_options(options);
  std::vector<std::string> complaints;
  rules_ = DynamicRules(dynamic, &complaints);
  jobs_.set_rate(dynamic.job_rate_limit);
  for (const auto& complaint : complaints) log_.warn("{}", complaint);
}

Service::~Service() = default;

void Service::remember_in(Ledger& ledger) {
  ledger_ = &ledger;
  copies_ = std::make_unique<CopyBook>(world_, brain_, ledger, log_);
  replica_service_.remember_in(ledger);
  loaded_ = false;
}

Task<void> Service::load() {
  if (ledger_ == nullptr) co_return;
  const auto before = world_.now();
  auto loading = ledger_->load([this](LedgerEntry entry) {
    if (!copies_->load(entry)) replica_service_.load(entry);
  });
  auto loaded = co_await loading;
  if (!loaded) log_.error("what was known before cannot be read: {}", loaded.error().message());
  copies_->loaded();
  loaded_ = true;
  log_.info("{} hosts, {} complete copies and {} persistent tasks are known from before ({} ms)",
            copies_->hosts_found(), copies_->copies_found(), replicas().size(),
            std::chrono::duration_cast<std::chrono::milliseconds>(world_.now() - before).count());
  loaded_now_.notify_all();
  pump();
}

Task<void> Service::ready() {
  while (!loaded_) {
    auto waited = co_await loaded_now_.wait(Deadline::never());
    (void)waited;
  }
}

Task<void> Service::recall(std::string task_id) {
  if (!copies_ || task_id.size() > kLongestId) co_return;
  auto recalling = copies_->recall(std::move(task_id));
  co_await recalling;
}

void Service::attach(grpc::Server& server) {
  namespace method = api::method::scheduler;
  server.bidi<AnnounceRequest, AnnounceResponse>(
      std::string(method::kAnnouncePeer),
      [this](grpc::ServerCall& call, grpc::Reader<AnnounceRequest>& in, grpc::Writer<AnnounceResponse>& out) {
        return announce_peer(call, in, out);
      });
  answer(server, method::kAnnounceHost, *this, &Service::announce_host);
  answer(server, method::kDeleteHost, *this, &Service::delete_host);
  answer(server, method::kListHosts, *this, &Service::list_hosts);
  answer(server, method::kStatPeer, *this, &Service::stat_peer);
  answer(server, method::kDeletePeer, *this, &Service::delete_peer);
  answer(server, method::kStatTask, *this, &Service::stat_task);
  answer(server, method::kDeleteTask, *this, &Service::delete_task);
  jobs_.attach(server);
  replica_service_.attach(server, [this] { return ready(); });
  origins_.attach(server);
}

Task<void> Service::run() {
  Scope beside(world_.loop());
  beside.spawn(replica_service_.run());
  for (;;) {
    const auto due = brain_.next_wakeup();
    if (due > world_.now()) {
      sleeping_until_ = due;
      (void)co_await wake_.wait(Deadline::at(due));
      sleeping_until_ = TimePoint{};
    } else {
      // More than one turn's work: let the sockets have theirs.
      co_await sleep_until(world_.now());
    }
    brain_.tick(world_.now());
    pump();
    metrics_.show(brain_);
  }
}

Clocks Service::clocks() { return {world_.now(), world_.wall_now()}; }

PeerStream* Service::stream_of(PeerHandle peer) {
  const auto found = streams_.find(peer.index);
  return found != streams_.end() && found->second->peer() == peer ? found->second : nullptr;
}

std::size_t Service::foreign_downloads() const {
  const auto foreign = [](const auto& entry) { return !entry.second->takes_offers(); };
  return static_cast<std::size_t>(std::count_if(streams_.begin(), streams_.end(), foreign));
}

void Service::end_downloads() {
  std::vector<PeerHandle> peers;
  for (const auto& [index, stream] : streams_) peers.push_back(stream->peer());
  for (const auto peer : peers) {
    if (auto* stream = stream_of(peer))
      stream->end(error(ErrorCode::kUnavailable, "this scheduler stops; go on with the parents you have"));
  }
}

void Service::send(const SendParents& parents) {
  if (auto* stream = stream_of(parents.peer)) stream->send(parents_message(brain_, parents, clocks()));
}

void Service::pump() {
  for (auto& action : brain_.take_actions(world_.now())) {
    if (const auto* parents = std::get_if<SendParents>(&action)) {
      metrics_.sent_parents.add();
      if (parents->dealer) {
        scope_.spawn(deal_then_send(*parents));
      } else {
        send(*parents);
      }
    } else if (const auto* source = std::get_if<SendBackToSource>(&action)) {
      metrics_.sent_to_source.add();
      if (auto* stream = stream_of(source->peer)) {
        AnnounceResponse response;
        response.mutable_need_back_to_source_response()->set_description(std::string(source->reason));
        stream->send(std::move(response));
      }
    } else if (const auto* empty = std::get_if<SendEmpty>(&action)) {
      if (auto* stream = stream_of(empty->peer)) {
        AnnounceResponse response;
        response.mutable_empty_task_response();
        stream->send(std::move(response));
      }
    } else if (const auto* metadata = std::get_if<SendMetadataOnly>(&action)) {
      if (auto* stream = stream_of(metadata->peer)) {
        AnnounceResponse response;
        response.mutable_metadata_only_response();
        stream->send(std::move(response));
      }
    } else if (const auto* end = std::get_if<EndStream>(&action)) {
      if (auto* stream = stream_of(end->peer)) {
        stream->end(end->code ? std::optional<Error>(Error(*end->code, end->message)) : std::nullopt);
      }
    } else if (const auto* kept = std::get_if<CopyKept>(&action)) {
      if (copies_) copies_->note(*kept);
    } else if (const auto* copy = std::get_if<CopyGone>(&action)) {
      if (copies_) copies_->note(*copy);
    } else if (const auto* gone = std::get_if<HostGone>(&action)) {
      if (copies_) copies_->note(*gone);
      if (metrics_.host_traffic) metrics_.host_traffic->forget(gone->host_id);
      replica_service_.host_left(gone->host_id);
    } else if (const auto* seed = std::get_if<TriggerSeed>(&action)) {
      const auto* task = brain_.task(seed->task);
      const auto* host = brain_.host(seed->host);
      if (task == nullptr || host == nullptr) continue;
      auto at = Address::parse_ip(host->facts.ip, host->facts.port);
      if (!at) continue;  // announcements are checked
      scope_.spawn(
          trigger(seed->task, seed->attempt, task->id, host->facts.id, *at, seed_request(*task, *seed)));
    } else if (const auto* question = std::get_if<AskHost>(&action)) {
      scope_.spawn(ask(question->host, question->question));
    }
  }
  if (brain_.next_wakeup() < sleeping_until_) wake_.notify_all();
}

Result<api::Empty> Service::announce_host(api::scheduler::AnnounceHostRequest&& request) {
  auto announced = take_announcement(request);
  metrics_.announcements.add(request.host(), announced.ok());
  if (!announced) return std::move(announced).error();
  return api::Empty();
}

Result<void> Service::take_announcement(api::scheduler::AnnounceHostRequest& request) {
  request.mutable_host()->set_scheduler_cluster_id(options_.scheduler_cluster_id);
  auto facts = host_facts(request);
  if (facts.id.size() > kLongestId || facts.announcement.size() > kBiggestHost) {
    return error(ErrorCode::kInvalid, "invalid AnnounceHostRequest.Host: longer than {} bytes", kBiggestHost);
  }
  const auto* known = brain_.host(brain_.find_host(facts.id));
  if (known == nullptr && brain_.hosts().size() >= options_.most_hosts) {
    return error(ErrorCode::kExhausted, "{} hosts are known here, no more are taken", options_.most_hosts);
  }
  if (known == nullptr) log_.info("host {} ({}) is here", facts.id, facts.seed ? "seed" : "peer");
  if (copies_ && (known == nullptr || !same_host(known->facts, facts))) copies_->note_host(facts);
  brain_.announce_host(std::move(facts), world_.now());
  pump();
  return {};
}

Result<api::Empty> Service::delete_host(const api::scheduler::DeleteHostRequest& request) {
  const bool known = brain_.delete_host(request.host_id(), world_.now());
  if (!known) return error(ErrorCode::kNotFound, "host {} is not known here", request.host_id());
  log_.info("host {} leaves", request.host_id());
  pump();
  return api::Empty();
}

Result<api::scheduler::ListHostsResponse> Service::list_hosts(
    const api::scheduler::ListHostsRequest& request) {
  api::scheduler::ListHostsResponse response;
  const auto& hosts = brain_.hosts();
  for (std::uint32_t at = 0; at < hosts.end(); ++at) {
    if (!hosts.live(at)) continue;
    const auto& host = hosts.at(at);
    if (request.has_type() && request.type() != (host.facts.seed ? 1U : 0U)) continue;
    *response.add_hosts() = host_message(host, false);
  }
  return response;
}

Result<api::common::Peer> Service::stat_peer(const api::scheduler::StatPeerRequest& request) {
  const auto* peer = brain_.peer(brain_.find_peer(request.peer_id()));
  if (peer == nullptr) return error(ErrorCode::kNotFound, "peer {} is not known here", request.peer_id());
  return peer_message(brain_, *peer, clocks());
}

Result<api::Empty> Service::delete_peer(const api::scheduler::DeletePeerRequest& request) {
  brain_.delete_peer(request.peer_id(), world_.now());
  pump();
  return api::Empty();
}

Result<api::common::Task> Service::stat_task(const api::scheduler::StatTaskRequest& request) {
  const auto* task = brain_.task(brain_.find_task(request.task_id()));
  if (task == nullptr) return error(ErrorCode::kNotFound, "task {} is not known here", request.task_id());
  auto message = task_message(*task, clocks());
  add_source_pieces(*task, clocks(), message);
  return message;
}

Result<api::Empty> Service::delete_task(const api::scheduler::DeleteTaskRequest& request) {
  const bool known = brain_.delete_task(request.host_id(), request.task_id(), world_.now());
  if (!known) return error(ErrorCode::kNotFound, "host {} is not known here", request.host_id());
  pump();
  return api::Empty();
}

void Service::forget_copies(std::string_view host_id, std::string_view task_id) {
  brain_.delete_task(host_id, task_id, world_.now());
  pump();
}

}  // namespace d7y::scheduler
