#include "sim/cluster/cluster.h"

#include <algorithm>

namespace d7y::sim {

using namespace std::chrono_literals;

bool Fetch::crashed() const { return !over && peer->host().boot() != boot; }

std::string Fetch::verdict() const {
  if (crashed()) return "crashed";
  if (!over) return begun ? "not over" : "not begun";
  if (failure) return failure->message();
  return right() ? "right" : "wrong bytes";
}

bool Import::crashed() const { return !over && peer->host().boot() != boot; }

// ---- Peers.

Peer::Peer(Cluster& cluster, Host& host, node::DaemonConfig config)
    : cluster_(cluster), host_(host), config_(std::move(config)) {
  host_.disk().put("/out/.keep", "");
}

void Peer::start() {
  stop_ = stopped_ = false;
  failure_.reset();
  host_.spawn(live());
}

void Peer::kill() { host_.kill(); }
void Peer::power_off() { host_.power_off(); }

void Peer::restart() {
  host_.start();
  start();
}

Task<void> Peer::live() {
  // Lives as long as the process: a crash destroys this frame and all it holds.
  struct Running {
    Peer& peer;
    ~Running() {
      peer.node_ = nullptr;
      peer.metrics_ = nullptr;
    }
  };
  Metrics metrics;
  node::NodeOptions options;
  options.config = config_;
  options.engine = engine_;
  auto opened = co_await node::Node::open(host_, std::move(options), metrics, Log(host_.log_sink(), "node"));
  if (!opened) {
    failure_ = std::move(opened).error();
    host_.log().error("node does not open: {}", failure_->message());
    opened_.notify_all();
    co_return;
  }
  auto node = std::move(*opened);
  Running running{*this};
  node_ = node.get();
  metrics_ = &metrics;
  opened_.notify_all();
  while (!stop_) {
    auto woken = co_await stopping_.wait(Deadline::never());
    if (!woken) co_return;
  }
  auto drained = co_await node->drain(Deadline::in(20s, host_.now()));
  if (!drained) host_.log().warn("drain: {}", drained.error().message());
  node_ = nullptr;
  // A daemon's servers break off what still runs; here the downloads belong to the test.
  while (!scopes_.empty()) give_up(scopes_.begin()->first, ErrorCode::kClosed, "the node was stopped");
  co_await sleep_for(1us);  // what was cancelled inside an event is gone after it
  co_await node->close();
  node.reset();
  stopped_ = true;
}

FetchPtr Peer::fetch(const std::string& path, FetchOptions options) {
  auto fetch = std::make_shared<Fetch>();
  fetch->peer = this;
  fetch->boot = host_.boot();
  fetch->path = path;
  fetch->output = options.output.empty() ? fmt::format("/out/{}", ++outputs_) : options.output;
  if (options.read) fetch->output.clear();
  fetch->expected = cluster_.origin().file(path).content;
  if (options.range) {
    fetch->expected = std::make_shared<const std::string>(
        options.range->first < fetch->expected->size()
            ? fetch->expected->substr(options.range->first, options.range->second)
            : std::string());
  }
  host_.spawn(run_fetch(fetch, std::move(options)));
  return fetch;
}

ImportPtr Peer::import(const std::string& path, std::uint32_t copies, Duration timeout) {
  auto import = std::make_shared<Import>();
  import->peer = this;
  import->boot = host_.boot();
  import->began = host_.now();
  api::dfdaemon::UploadPersistentCacheTaskRequest request;
  request.set_path(path);
  request.set_persistent_replica_count(copies);
  api::set_duration(*request.mutable_ttl(), 168h);  // clocks may jump by hours
  api::set_duration(*request.mutable_timeout(), timeout);
  host_.spawn(run_import(import, std::move(request)));
  return import;
}

Task<void> Peer::run_import(ImportPtr import, api::dfdaemon::UploadPersistentCacheTaskRequest request) {
  Result<api::common::PersistentCacheTask> made = error(ErrorCode::kClosed, "no node runs there");
  if (node_ != nullptr) {
    auto making = node_->replicas().upload(std::move(request));
    made = co_await making;
  }
  import->over = true;
  import->ended = host_.now();
  if (made) {
    import->task = made->id();
  } else {
    import->failure = std::move(made).error();
  }
}

void Peer::cancel(const FetchPtr& fetch) {
  if (!fetch->over) give_up(fetch.get(), ErrorCode::kCancelled, "the test gave it up");
}

void Peer::give_up(Fetch* fetch, ErrorCode code, std::string_view why) {
  auto found = scopes_.find(fetch);
  if (found == scopes_.end()) return;
  auto scope = std::move(found->second);
  scopes_.erase(found);
  scope->cancel();
  if (fetch->over) return;
  fetch->over = true;
  fetch->ended = host_.now();
  fetch->failure = error(code, "{}", why);
}

Task<void> Peer::run_fetch(FetchPtr fetch, FetchOptions options) {
  auto scope = std::make_shared<Scope>(host_.loop());
  scopes_[fetch.get()] = scope;
  // A crash destroys this frame, and nobody may find its scope afterwards.
  struct Entry {
    Peer& peer;
    Fetch* fetch;
    ~Entry() { peer.scopes_.erase(fetch); }
  } entry{*this, fetch.get()};
  auto inner = [](Peer& peer, FetchPtr what, FetchOptions how) -> Task<void> {
    what->began = peer.host_.now();
    auto result = co_await peer.work(*what, std::move(how));
    what->ended = peer.host_.now();
    what->over = true;
    what->equal =
        (what->output.empty() ? what->bytes : peer.host_.disk().content(what->output)) == *what->expected;
    if (!result) what->failure = std::move(result).error();
  };
  scope->spawn(inner(*this, fetch, std::move(options)));
  auto idle = co_await scope->idle(Deadline::never());
  if (!idle) co_return;
}

Task<Result<void>> Peer::work(Fetch& fetch, FetchOptions options) {
  auto deadline = Deadline::in(options.timeout, host_.now());
  while (node_ == nullptr) {
    if (failure_) co_return failure_->clone();
    CO_OK(co_await opened_.wait(deadline));
  }
  fetch.begun = true;
  fetch::Wish wish;
  if (options.task.empty()) {
    wish.message.set_url(cluster_.origin().url(fetch.path));
  } else {
    wish.replica = fetch::Replica{.task_id = options.task};
    options.disable_back_to_source = true;
  }
  if (options.piece_length > 0) wish.message.set_piece_length(options.piece_length);
  if (!options.authorization.empty()) wish.private_headers.add("Authorization", options.authorization);
  if (!options.digest.empty()) wish.message.set_digest(options.digest);
  if (options.range) {
    wish.message.mutable_range()->set_start(options.range->first);
    wish.message.mutable_range()->set_length(options.range->second);
  }
  wish.message.set_disable_back_to_source(options.disable_back_to_source);
  wish.output_path = fetch.output;
  wish.overwrite = options.overwrite;
  wish.in_order = options.read;
  CO_TRY(auto download, node_->engine().start(std::move(wish), deadline));
  if (options.read) {
    std::vector<std::byte> buffer(10'000);
    for (;;) {
      auto got = co_await download->read(buffer, deadline);
      if (!got) {
        fetch.progress = download->progress();
        co_return std::move(got).error();
      }
      fetch.bytes += as_text(Bytes(buffer).first(*got));
      const bool left = options.leave && fetch.bytes.size() == download->length();
      if (*got == 0 || left) break;
    }
    fetch.read_to_end = true;
  }
  if (options.leave) co_return Result<void>{};
  auto result = co_await download->ended();
  fetch.progress = download->progress();
  co_return result;
}

// ---- The cluster.

Cluster::Cluster(std::uint64_t seed, SimulationOptions options) : sim_(seed, options) {
  auto& host = sim_.add_host({.name = "origin"});
  origin_ = std::make_unique<Origin>(host);
}

Cluster::~Cluster() {
  // What runs on hosts refers to peers and the origin, which go before the simulation does.
  for (auto& host : sim_.hosts()) host->kill();
}

Host& Cluster::add_scheduler(scheduler::SchedulerConfig config) {
  auto& host = sim_.add_host({.name = fmt::format("scheduler-{}", schedulers_.size() + 1)});
  schedulers_.push_back(&host);
  scheduler_configs_[&host] = std::move(config);
  return host;
}

void Cluster::start_scheduler(Host& host) { host.spawn(run_scheduler(host, scheduler_configs_.at(&host))); }

Task<void> Cluster::run_scheduler(Host& host, scheduler::SchedulerConfig config) {
  Metrics metrics;
  auto opened =
      scheduler::SchedulerNode::open(host, std::move(config), Log(host.log_sink(), "scheduler"), metrics);
  if (!opened) {
    host.log().error("scheduler does not open: {}", opened.error().message());
    co_return;
  }
  auto node = std::move(*opened);
  running_schedulers_[&host] = node.get();
  struct Running {
    scheduler::SchedulerNode*& slot;
    ~Running() { slot = nullptr; }
  } running{running_schedulers_[&host]};
  Signal never;
  auto woken = co_await never.wait(Deadline::never());
  if (!woken) co_return;
}

Peer& Cluster::add(HostOptions options, bool seed) {
  auto& host = sim_.add_host(std::move(options));
  node::DaemonConfig config;
  config.seed_peer = seed;
  config.storage.dir = "/var/lib/d7y";
  config.storage.keep = true;
  for (auto* scheduler : schedulers_) config.scheduler.addrs.push_back(scheduler->address(8002).to_string());
  peers_.push_back(std::make_unique<Peer>(*this, host, std::move(config)));
  return *peers_.back();
}

Peer& Cluster::add_seed(HostOptions host) {
  if (host.name.empty()) host.name = fmt::format("seed-{}", peers_.size() + 1);
  return add(std::move(host), true);
}

Peer& Cluster::add_peer(HostOptions host) {
  if (host.name.empty()) host.name = fmt::format("peer-{}", peers_.size() + 1);
  return add(std::move(host), false);
}

std::vector<Peer*> Cluster::add_peers(std::size_t count, HostOptions host) {
  std::vector<Peer*> peers;
  for (std::size_t i = 0; i < count; ++i) peers.push_back(&add_peer(host));
  return peers;
}

void Cluster::start(Duration settle) {
  for (auto* host : schedulers_) start_scheduler(*host);
  sim_.run_for(10ms);
  for (bool seed : {true, false}) {
    for (auto& peer : peers_) {
      if (peer->config().seed_peer == seed) peer->start();
    }
    sim_.run_for(100ms);
  }
  sim_.run_for(settle);
}

std::vector<FetchPtr> Cluster::fetch_everywhere(const std::vector<Peer*>& peers, const std::string& path,
                                                const FetchOptions& options) {
  std::vector<FetchPtr> fetches;
  for (auto* peer : peers) fetches.push_back(peer->fetch(path, options));
  return fetches;
}

bool Cluster::wait(const std::vector<FetchPtr>& fetches, Duration limit) {
  return sim_.run_until(
      [&] {
        return std::all_of(fetches.begin(), fetches.end(),
                           [](auto& fetch) { return fetch->over || fetch->crashed(); });
      },
      limit);
}

std::string Cluster::shut_down() {
  for (auto& peer : peers_) {
    if (peer->host().running() && peer->node() != nullptr) peer->stop();
  }
  sim_.run_until(
      [&] {
        return std::all_of(peers_.begin(), peers_.end(), [](auto& peer) {
          return !peer->host().running() || peer->stopped() || peer->failure();
        });
      },
      60s);
  sim_.run_for(1s);
  std::string all;
  for (auto& peer : peers_) {
    if (peer->host().running()) all += peer->host().leaks();
  }
  return all;
}

}  // namespace d7y::sim
