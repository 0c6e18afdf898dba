// What other machines answer, into those of us who asked. The first byte says who answers: a parent asked for
// its pieces (SyncPieces, SyncHost), a manager asked for schedulers, or a scheduler that talks to a download.
// The rest are messages as in calls.h; choices above 127 come later. Above 191 the download is of a
// persistent-cache task.
#include <array>

#include "api/methods.h"
#include "api/scheduler.h"
#include "calls.h"
#include "net/grpc/health.h"
#include "net/grpc/server.h"
#include "swarm/announce_session.h"
#include "swarm/manager_client.h"
#include "swarm/parent_pool.h"
#include "swarm/parent_watch.h"
#include "swarm/scheduler_set.h"

using namespace d7y;
using namespace std::chrono_literals;

namespace {

using fuzz::must;

constexpr std::uint32_t kPieces = 5;

Task<Result<void>> speak(grpc::ServerCall& call, std::vector<fuzz::Call> words) {
  for (auto& word : words) {
    if (word.choice > 127) co_await sleep_for(200ms);
    CO_OK(co_await call.write_bytes(std::move(word.message)));
  }
  co_return Result<void>{};
}

// Waits until the client says something, then speaks.
Task<Result<void>> converse(grpc::ServerCall& call, std::vector<fuzz::Call> words) {
  auto first = co_await call.read_bytes();
  if (!first) co_return std::move(first).error();
  co_return co_await speak(call, std::move(words));
}

Task<Result<std::string>> one_word(std::vector<fuzz::Call> words) {
  if (words.empty()) co_return std::string();
  co_return std::move(words.front().message);
}

void parent(sim::Simulation& simulation, sim::Host& host, sim::Host& client) {
  swarm::ParentPool pool(client, swarm::ParentPoolOptions(), Log());
  swarm::Candidate candidate;
  candidate.peer_id = "parent";
  candidate.host_id = "host";
  candidate.upload = host.address(4000);
  swarm::WatchOptions options;
  options.host_id = "child";
  options.task_id = std::string(64, 'a');
  options.piece_length = 4 << 20;
  options.content_length = (4 << 20) * (kPieces - 1) + 1;
  options.wanted = {0, 1, 2, 3, 4};
  swarm::ParentWatch watch(pool, candidate, options, Log());
  simulation.run_for(30s);
  must(watch.complete().count() <= kPieces);
  must(!watch.complete().first_set(kPieces, kPieces + 1000).has_value());
  (void)watch.idle_tx();
}

Task<void> list(swarm::ManagerClient& manager, Deadline deadline, bool& over) {
  auto listed = co_await manager.list_schedulers(deadline);
  if (listed) {
    must(!listed->empty());
  } else {
    must(!listed.error().message().empty());
  }
  over = true;
}

void manager(sim::Simulation& simulation, sim::Host& host, sim::Host& client) {
  swarm::ManagerClientOptions options;
  options.address = host.address(4000).to_string();
  options.hostname = "h";
  options.ip = "10.0.0.2";
  swarm::ManagerClient manager(client, options, Log());
  bool over = false;
  {
    Scope scope(client.loop());
    scope.spawn(list(manager, Deadline::in(10s, client.now()), over));
    simulation.run_for(15s);
  }
  must(over);
}

Task<void> download(swarm::SchedulerSet& schedulers, world::World& world, store::TaskKind kind, bool& over) {
  swarm::AnnounceOptions options;
  options.self.host_id = "child";
  options.task_id = std::string(64, 'a');
  options.kind = kind;
  options.new_peer_id = [] { return std::string("peer"); };
  api::common::Download message;
  message.set_url("http://origin/a");
  auto soon = [&] { return Deadline::in(10s, world.now()); };
  auto opening = swarm::AnnounceSession::open(schedulers, options, message, Log(), soon());
  auto session = co_await opening;
  if (session) {
    for (int i = 0; i < 3; ++i) {
      (*session)->started();
      for (const auto& candidate : (*session)->verdict().parents) must(!candidate.peer_id.empty());
      while (auto more = (*session)->unasked()) must(more->parents.size() <= 64);
      auto next = co_await (*session)->reschedule("more", soon());
      if (!next) break;
    }
    auto ended = co_await (*session)->end(swarm::Outcome::kFailed, "enough", soon());
    (void)ended;
  }
  over = true;
}

void talk(sim::Simulation& simulation, sim::Host& host, sim::Host& client, store::TaskKind kind) {
  swarm::SchedulerSetOptions options;
  options.addresses = {host.address(4000).to_string()};
  auto describe = [] {
    api::common::Host self;
    self.set_id("child");
    return self;
  };
  swarm::SchedulerSet schedulers(client, std::move(options), describe, Log());
  bool over = false;
  {
    Scope scope(client.loop());
    auto start = [](swarm::SchedulerSet& set, Deadline deadline) -> Task<void> {
      auto started = co_await set.start(deadline);
      (void)started;
    };
    scope.spawn(start(schedulers, Deadline::in(3s, client.now())));
    simulation.run_for(4s);
    scope.spawn(download(schedulers, client, kind, over));
    must(simulation.run_until([&] { return over; }, 200s));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  auto words = fuzz::calls_in(data + 1, size - 1, 32);
  sim::Simulation simulation(1);
  auto& host = simulation.add_host({.name = "answers"});
  auto& client = simulation.add_host({.name = "asks"});
  {
    grpc::Health health;
    health.set("", grpc::Health::Serving::kYes);
    grpc::Server server(host);
    health.attach(server);
    std::vector<fuzz::Call> odd, even;
    for (auto& word : words) ((word.choice & 1) != 0 ? odd : even).push_back(word);
    namespace upload = api::method::upload;
    server.method(std::string(upload::kSyncPieces), grpc::MethodKind::kServerStream,
                  [even](grpc::ServerCall& call) { return converse(call, even); });
    server.method(std::string(upload::kSyncHost), grpc::MethodKind::kServerStream,
                  [odd](grpc::ServerCall& call) { return converse(call, odd); });
    server.unary_bytes(std::string(api::method::manager::kListSchedulers),
                       [words](grpc::ServerCall&, std::string) { return one_word(words); });
    server.unary_bytes(std::string(api::method::scheduler::kAnnounceHost),
                       [](grpc::ServerCall&, std::string) { return one_word({}); });
    server.method(std::string(api::method::scheduler::kAnnouncePeer), grpc::MethodKind::kBidi,
                  [words](grpc::ServerCall& call) { return converse(call, words); });
    server.method(std::string(api::method::scheduler::kAnnouncePersistentCachePeer), grpc::MethodKind::kBidi,
                  [words](grpc::ServerCall& call) { return converse(call, words); });
    must(server.listen(host.address(4000)).ok());
    switch (data[0] % 3) {
      case 0: parent(simulation, host, client); break;
      case 1: manager(simulation, host, client); break;
      default: {
        const bool cache = data[0] > 191;
        talk(simulation, host, client,
             cache ? store::TaskKind::kPersistentCache : store::TaskKind::kStandard);
      }
    }
  }
  simulation.run_for(1s);
  must(client.leaks().empty());
  return 0;
}
