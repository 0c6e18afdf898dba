// Persistent tasks: first the decisions as lists of events, then over gRPC with hosts that make copies.
#include "scheduler/replicas.h"

#include <map>
#include <random>
#include <set>

#include "cluster.h"
#include "net/grpc/status.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

using Kind = ReplicaKind;
const WallTime kStart = WallTime(std::chrono::seconds(1'800'000'000));
const std::string kTask = task_id_for('p');

// A brain with hosts, and the replicas on them.
struct Stage {
  Brain brain{BrainOptions{}, 1};
  Replicas replicas{brain, 7};
  WallTime now = kStart;

  void host(const std::string& id, const std::string& idc = "", std::uint64_t free = 1ULL << 40,
            bool disable_shared = false) {
    api::scheduler::AnnounceHostRequest request;
    auto& host = *request.mutable_host();
    host.set_id(id);
    host.set_hostname(id);
    host.set_ip("10.0.0.1");
    host.set_port(4000);
    host.set_download_port(4000);
    host.set_disable_shared(disable_shared);
    host.mutable_network()->set_idc(idc);
    host.mutable_disk()->set_free(free);
    brain.announce_host(host_facts(request), TimePoint{} + 1s);
  }
  ReplicaFacts facts(std::uint32_t wanted, Kind kind = Kind::kPersistentCache) const {
    ReplicaFacts facts;
    facts.key = {kind, kTask};
    facts.content_length = 100 << 20;
    facts.piece_length = 4 << 20;
    facts.piece_count = 25;
    facts.wanted = wanted;
    facts.ttl = 1h;
    return facts;
  }
  ReplicaKey key(Kind kind = Kind::kPersistentCache) const { return {kind, kTask}; }
  void uploaded(const std::string& host, std::uint32_t wanted, Kind kind = Kind::kPersistentCache) {
    CHECK(replicas.upload_started(facts(wanted, kind), host, host + "-up", 8, now).ok());
    CHECK(replicas.upload_finished(key(kind), host, host + "-up", now).ok());
  }
  Result<ReplicaAnswer> enter(const std::string& host, const std::string& peer, bool persistent = false,
                              Kind kind = Kind::kPersistentCache) {
    Replicas::Registration registration;
    registration.key = key(kind);
    registration.host_id = host;
    registration.peer_id = peer;
    registration.persistent = persistent;
    return replicas.register_peer(registration, now);
  }
  // Hosts that are asked for copies now; checks the books.
  std::map<std::string, bool> asked() {
    std::map<std::string, bool> out;
    for (const auto& action : replicas.take_actions(now)) {
      if (const auto* make = std::get_if<MakeReplica>(&action)) out[make->host_id] = make->has_it;
    }
    CHECK(replicas.check() == "");
    return out;
  }
  // The host does what it was asked for.
  void copies(const std::string& host, bool ok = true) {
    if (ok) {
      const auto peer = host + "-copy";
      CHECK(enter(host, peer, true).ok());
      replicas.started(key(), peer, now);
      replicas.finished(key(), peer, now);
    }
    replicas.made(key(), host, ok, now);
  }
  std::uint32_t count() const { return replicas.task(key())->persistent_copies(); }
};

}  // namespace

TEST_CASE("so many copies are made as were wished for, one in each site first") {
  Stage stage;
  for (const char* id : {"a1", "a2", "a3", "a4", "a5", "a6"}) stage.host(id, "a");
  for (const char* id : {"b1", "c1"}) stage.host(id, std::string(1, id[0]));
  stage.uploaded("a1", 4);
  auto asked = stage.asked();
  CHECK(asked.size() == 3);
  CHECK(asked.contains("b1"));
  CHECK(asked.contains("c1"));
  CHECK_FALSE(asked.contains("a1"));
  for (const auto& [host, has_it] : asked) {
    CHECK_FALSE(has_it);
    stage.copies(host);
  }
  CHECK(stage.count() == 4);
  CHECK(stage.asked().empty());
}

TEST_CASE("who has it anyway is told to keep it; hosts without room, or that do not share, are not asked") {
  Stage stage;
  stage.host("a");
  stage.host("reader");
  stage.host("full", "", 10 << 20);
  stage.host("selfish", "", 1ULL << 40, true);
  stage.host("other");
  stage.uploaded("a", 1);
  CHECK(stage.asked().empty());
  CHECK(stage.enter("reader", "r").ok());
  stage.replicas.finished(stage.key(), "r", stage.now);
  CHECK(stage.asked().empty());
  // The uploader leaves.
  stage.brain.delete_host("a", TimePoint{} + 2s);
  stage.replicas.host_left("a", stage.now);
  CHECK(stage.asked() == std::map<std::string, bool>{{"reader", true}});
  stage.replicas.made(stage.key(), "reader", true, stage.now);
  CHECK(stage.count() == 1);
  CHECK(stage.asked().empty());
  stage.brain.delete_host("reader", TimePoint{} + 2s);
  stage.replicas.host_left("reader", stage.now);
  CHECK(stage.asked() == std::map<std::string, bool>{{"other", false}});
}

TEST_CASE("a host that fails to make a copy is left alone for a while, another one is asked") {
  Stage stage;
  for (const char* id : {"a", "b", "c"}) stage.host(id);
  stage.uploaded("a", 2);
  auto asked = stage.asked();
  REQUIRE(asked.size() == 1);
  const auto first = asked.begin()->first;
  stage.copies(first, false);
  asked = stage.asked();
  REQUIRE(asked.size() == 1);
  const auto second = asked.begin()->first;
  CHECK(second != first);
  stage.copies(second, false);
  CHECK(stage.asked().empty());  // nobody is left
  stage.now += 11min;
  stage.replicas.tick(stage.now);
  CHECK(stage.asked().size() == 1);
}

TEST_CASE(
    "a task counts from its finished upload, lives for its time, and may be uploaded again after that") {
  Stage stage;
  stage.host("a");
  stage.host("b");
  CHECK(stage.replicas.upload_started(stage.facts(1), "nobody", "p", 8, stage.now)
            .failed_with(ErrorCode::kNotFound));
  CHECK(stage.replicas.upload_started(stage.facts(1), "a", "p", 8, stage.now).ok());
  CHECK(stage.replicas.upload_finished(stage.key(), "b", "p", stage.now).failed_with(ErrorCode::kNotFound));
  CHECK(stage.enter("b", "early").failed_with(ErrorCode::kPrecondition));
  CHECK(stage.replicas.upload_failed(stage.key(), "a", "p", stage.now).ok());
  CHECK(stage.replicas.task(stage.key())->state == ReplicaState::kFailed);
  CHECK(stage.replicas.upload_started(stage.facts(1), "b", "q", 8, stage.now).ok());
  CHECK(stage.replicas.upload_finished(stage.key(), "b", "q", stage.now).ok());
  CHECK(stage.replicas.upload_finished(stage.key(), "b", "q", stage.now).ok());  // said twice
  CHECK(stage.replicas.upload_failed(stage.key(), "b", "q", stage.now).ok());    // too late
  CHECK(stage.replicas.task(stage.key())->state == ReplicaState::kSucceeded);
  CHECK(
      stage.replicas.upload_started(stage.facts(1), "a", "r", 8, stage.now).failed_with(ErrorCode::kExists));
  stage.asked();
  stage.now += 61min;
  CHECK(stage.enter("a", "late").failed_with(ErrorCode::kNotFound));
  stage.replicas.tick(stage.now);
  CHECK(stage.replicas.task(stage.key()) == nullptr);
  stage.asked();
  stage.uploaded("a", 1);
  stage.asked();
}

TEST_CASE("an upload that came to no end blocks nobody: it is begun again, there or elsewhere") {
  for (const std::string host : {"a", "b"}) {
    CAPTURE(host);
    Stage stage;
    for (const char* id : {"a", "b"}) stage.host(id);
    auto& replicas = stage.replicas;
    CHECK(replicas.upload_started(stage.facts(1), "a", "dead", 8, stage.now).ok());
    stage.now += 50min;
    CHECK(
        replicas.upload_started(stage.facts(1), host, "dead", 8, stage.now).failed_with(ErrorCode::kExists));
    CHECK(replicas.upload_started(stage.facts(1), host, "again", 8, stage.now).ok());
    CHECK(stage.asked().empty());
    // It has its time from now on.
    stage.now += 20min;
    replicas.tick(stage.now);
    CHECK(replicas.upload_finished(stage.key(), host, "again", stage.now).ok());
    CHECK(stage.count() == 1);
    CHECK(stage.asked().empty());
    // Should the first one have been alive, it has a copy as well, though not a second one on one host.
    CHECK(replicas.upload_finished(stage.key(), "a", "dead", stage.now).ok());
    CHECK(stage.count() == (host == "a" ? 1U : 2U));
    CHECK(stage.asked().empty());
  }
}

TEST_CASE("uploads of one name that differ do not mix") {
  Stage stage;
  for (const char* id : {"a", "b"}) stage.host(id);
  auto& replicas = stage.replicas;
  auto other = stage.facts(1);
  other.content_length = 8 << 20;
  other.piece_count = 2;
  CHECK(replicas.upload_started(stage.facts(1), "a", "first", 8, stage.now).ok());
  CHECK(replicas.upload_started(other, "b", "second", 8, stage.now).failed_with(ErrorCode::kExists));
  // The host itself has something newer.
  CHECK(replicas.upload_started(other, "a", "third", 8, stage.now).ok());
  CHECK(replicas.upload_finished(stage.key(), "a", "first", stage.now).failed_with(ErrorCode::kNotFound));
  CHECK(replicas.upload_finished(stage.key(), "a", "third", stage.now).ok());
  CHECK(replicas.task(stage.key())->facts.content_length == 8 << 20);
  stage.asked();
}

TEST_CASE("an upload fails when the last of those who upload does") {
  Stage stage;
  for (const char* id : {"a", "b", "c"}) stage.host(id);
  auto& replicas = stage.replicas;
  for (const std::string id : {"a", "b", "c"})
    CHECK(replicas.upload_started(stage.facts(1), id, id + "-up", 8, stage.now).ok());
  CHECK(replicas.upload_failed(stage.key(), "a", "a-up", stage.now).ok());
  replicas.host_left("b", stage.now);
  CHECK(replicas.task(stage.key())->state == ReplicaState::kUploading);
  CHECK(replicas.delete_peer(stage.key(), "c-up", stage.now));
  CHECK(replicas.task(stage.key())->state == ReplicaState::kFailed);
  stage.asked();
  stage.now += 2min;
  replicas.tick(stage.now);
  CHECK(replicas.task(stage.key()) == nullptr);
  stage.asked();
}

TEST_CASE("an upload whose host is gone does not block the task") {
  Stage stage;
  stage.host("a");
  stage.host("b");
  CHECK(stage.replicas.upload_started(stage.facts(1), "a", "p", 8, stage.now).ok());
  stage.replicas.host_left("a", stage.now);
  stage.asked();
  CHECK(stage.replicas.upload_started(stage.facts(1), "b", "q", 8, stage.now).ok());
}

TEST_CASE("parents of copies: near ones, complete ones, never the own host, not those that failed") {
  Stage stage;
  stage.host("a", "x");
  stage.host("b", "y");
  stage.host("c", "y");
  stage.uploaded("a", 2);
  stage.asked();
  stage.copies("b");
  auto answer = stage.enter("c", "c1");
  REQUIRE(answer.ok());
  CHECK(answer->what == ReplicaAnswer::What::kParents);
  REQUIRE(answer->parents.size() == 2);
  CHECK(answer->parents[0] == "b-copy");
  CHECK(answer->parents[1] == "a-up");
  stage.replicas.piece_failed(stage.key(), "c1", "b-copy");
  answer = stage.replicas.reschedule(stage.key(), "c1", stage.now);
  REQUIRE(answer.ok());
  CHECK(answer->parents == std::vector<std::string>{"a-up"});
  stage.replicas.piece_failed(stage.key(), "c1", "a-up");
  CHECK(stage.replicas.reschedule(stage.key(), "c1", stage.now).failed_with(ErrorCode::kPrecondition));
  // With an object store behind it, that is where it goes.
  stage.uploaded("a", 1, Kind::kPersistent);
  auto own = stage.enter("a", "a2", false, Kind::kPersistent);
  REQUIRE(own.ok());
  CHECK(own->what == ReplicaAnswer::What::kBackToSource);
  // Ids of others cannot be taken over.
  CHECK(stage.enter("c", "b-copy").failed_with(ErrorCode::kExists));
  CHECK(stage.enter("c", "a-up").failed_with(ErrorCode::kExists));
}

TEST_CASE("whatever happens in whatever order, the books agree and copies are made again") {
  for (int seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(static_cast<unsigned>(seed));
    Stage stage;
    const auto any = [&](int below) { return static_cast<int>(random() % static_cast<unsigned>(below)); };
    const auto name = [&] { return "h" + std::to_string(any(8)); };
    for (int i = 0; i < 8; ++i) stage.host("h" + std::to_string(i), i % 2 == 0 ? "x" : "y");
    std::map<std::string, bool> asked;
    for (int step = 0; step < 100; ++step) {
      const auto host = name();
      const auto peer = host + "-" + std::to_string(any(3));
      stage.now += std::chrono::seconds(any(60));
      switch (any(14)) {
        case 0: (void)stage.replicas.upload_started(stage.facts(3), host, peer, 8, stage.now); break;
        case 1: (void)stage.replicas.upload_finished(stage.key(), host, peer, stage.now); break;
        case 2: (void)stage.replicas.upload_failed(stage.key(), host, peer, stage.now); break;
        case 3: (void)stage.enter(host, peer, any(2) == 0); break;
        case 4: stage.replicas.started(stage.key(), peer, stage.now); break;
        case 5: stage.replicas.finished(stage.key(), peer, stage.now); break;
        case 6: stage.replicas.failed(stage.key(), peer, stage.now); break;
        case 7: stage.replicas.piece_failed(stage.key(), peer, name()); break;
        case 8: (void)stage.replicas.reschedule(stage.key(), peer, stage.now); break;
        case 9: stage.replicas.lost(stage.key(), peer, stage.now); break;
        case 10: stage.replicas.host_left(host, stage.now); break;
        case 11: stage.replicas.made(stage.key(), host, any(2) == 0, stage.now); break;
        case 12: stage.replicas.delete_peer(stage.key(), peer, stage.now); break;
        default: stage.replicas.tick(stage.now); break;
      }
      for (const auto& [id, has_it] : stage.asked()) asked[id] = has_it;
    }
    stage.replicas.delete_task(stage.key(), stage.now);
    stage.asked();
    // And from a clean state it comes to what was wished for.
    stage.uploaded("h0", 3);
    for (int i = 0; i < 10; ++i) {
      for (const auto& [id, has_it] : stage.asked()) stage.copies(id);
    }
    CHECK(stage.count() == 3);
  }
}

namespace {

// A host that makes copies: downloads as a daemon does, and notes what it is told.
class CopyHost {
 public:
  explicit CopyHost(Daemon& daemon) : daemon_(daemon), server_(daemon.machine()) {
    namespace method = api::method::upload;
    using namespace api::dfdaemon;
    server_.server_stream<DownloadPersistentCacheTaskRequest, DownloadPersistentCacheTaskResponse>(
        std::string(method::kDownloadPersistentCacheTask),
        [this](grpc::ServerCall&, DownloadPersistentCacheTaskRequest request,
               grpc::Writer<DownloadPersistentCacheTaskResponse>&) { return download(std::move(request)); });
    server_.unary<UpdatePersistentCacheTaskRequest, api::Empty>(
        std::string(method::kUpdatePersistentCacheTask),
        [this](grpc::ServerCall&, const UpdatePersistentCacheTaskRequest& request) {
          updated += request.persistent();
          return fine();
        });
    server_.unary<DeletePersistentCacheTaskRequest, api::Empty>(
        std::string(method::kDeletePersistentCacheTask),
        [this](grpc::ServerCall&, const DeletePersistentCacheTaskRequest&) {
          ++deleted;
          return fine();
        });
    const auto listening = server_.listen(daemon.machine().address(4000));
    CHECK(listening.ok());
  }

  int downloads = 0, updated = 0, deleted = 0;

 private:
  static Task<Result<api::Empty>> fine() { co_return api::Empty(); }
  Task<Result<void>> download(api::dfdaemon::DownloadPersistentCacheTaskRequest request) {
    ++downloads;
    CHECK(request.persistent());
    CHECK_FALSE(request.need_piece_content());
    CHECK(request.tag() == "t");
    auto call = daemon_.channel()
                    .bidi<api::scheduler::AnnouncePersistentCachePeerRequest,
                          api::scheduler::AnnouncePersistentCachePeerResponse>(
                        api::method::scheduler::kAnnouncePersistentCachePeer);
    api::scheduler::AnnouncePersistentCachePeerRequest message;
    message.set_host_id(daemon_.host_id());
    message.set_task_id(request.task_id());
    message.set_peer_id(daemon_.host_id() + "-copy" + std::to_string(downloads));
    auto& registration = *message.mutable_register_persistent_cache_peer_request();
    registration.set_persistent(true);
    registration.set_piece_length(4 << 20);
    auto registering = call.write(message);
    CO_OK(co_await registering);
    auto reading = call.read();
    CO_TRY(auto answer, co_await reading);
    CHECK(answer->normal_persistent_cache_task_response().candidate_parents_size() > 0);
    for (const auto& parent : answer->normal_persistent_cache_task_response().candidate_parents()) {
      CHECK(parent.host().id() != daemon_.host_id());
      CHECK(parent.host().port() == 4000);
      CHECK(parent.task().has_ttl());
      CHECK(parent.task().has_created_at());
    }
    message.mutable_download_persistent_cache_peer_started_request();
    auto starting = call.write(message);
    CO_OK(co_await starting);
    co_await sleep_for(1s);
    message.mutable_download_persistent_cache_peer_finished_request();
    auto finishing = call.write(message);
    CO_OK(co_await finishing);
    auto ending = call.read();
    CO_TRY(auto end, co_await ending);
    CHECK_FALSE(end);
    co_return Result<void>{};
  }

  Daemon& daemon_;
  grpc::Server server_;
};

api::scheduler::UploadPersistentCacheTaskStartedRequest upload(const Daemon& daemon) {
  api::scheduler::UploadPersistentCacheTaskStartedRequest request;
  request.set_host_id(daemon.host_id());
  request.set_task_id(kTask);
  request.set_peer_id(daemon.host_id() + "-up");
  request.set_persistent_replica_count(3);
  request.set_tag("t");
  request.set_piece_length(4 << 20);
  request.set_content_length(100 << 20);
  request.set_piece_count(25);
  api::set_duration(*request.mutable_ttl(), 24h);
  return request;
}

template <class Response, class Request>
Task<Result<Response>> ask(Daemon& daemon, std::string_view path, Request request) {
  auto calling = daemon.channel().unary<Response>(path, request);
  co_return co_await calling;
}

Task<api::common::PersistentCacheTask> stat(Daemon& daemon) {
  api::scheduler::StatPersistentCacheTaskRequest request;
  request.set_host_id(daemon.host_id());
  request.set_task_id(kTask);
  auto asking = ask<api::common::PersistentCacheTask>(
      daemon, api::method::scheduler::kStatPersistentCacheTask, request);
  auto told = co_await asking;
  CHECK_MESSAGE(told.ok(), (told ? "" : told.error().message()));
  co_return told ? *told : api::common::PersistentCacheTask();
}

}  // namespace

SCHEDULER_TEST(
    "an uploaded task gets its copies, keeps them when hosts leave and schedulers restart, and is deleted") {
  SchedulerConfig config;
  config.data_dir = "/data";
  TestCluster cluster(sim, config);
  config.port = cluster.node().address().port();
  std::vector<std::unique_ptr<Daemon>> daemons;
  std::vector<std::unique_ptr<CopyHost>> hosts;
  for (int i = 0; i < 6; ++i) {
    auto making = cluster.daemon("host" + std::to_string(i));
    daemons.push_back(co_await making);
    hosts.push_back(std::make_unique<CopyHost>(*daemons.back()));
  }
  auto& uploader = *daemons[0];
  namespace method = api::method::scheduler;
  DONE(ask<api::Empty>(uploader, method::kUploadPersistentCacheTaskStarted, upload(uploader)));
  auto again = ask<api::Empty>(uploader, method::kUploadPersistentCacheTaskStarted, upload(uploader));
  auto twice = co_await again;
  CHECK(grpc::code_of(twice.error()) == grpc::Code::kAlreadyExists);
  api::scheduler::UploadPersistentCacheTaskFinishedRequest finished;
  finished.set_host_id(uploader.host_id());
  finished.set_task_id(kTask);
  finished.set_peer_id(uploader.host_id() + "-up");
  MUST(auto task,
       ask<api::common::PersistentCacheTask>(uploader, method::kUploadPersistentCacheTaskFinished, finished));
  CHECK(task.state() == "Succeeded");
  CHECK(task.persistent_replica_count() == 3);
  CHECK(task.current_persistent_replica_count() == 1);
  CHECK(api::duration_of(task.ttl()) == 24h);
  CHECK(task.tag() == "t");
  co_await sleep_for(10s);
  auto stating = stat(uploader);
  task = co_await stating;
  CHECK(task.current_persistent_replica_count() == 3);
  CHECK(task.current_replica_count() == 3);
  const auto made = [&] {
    int sum = 0;
    for (const auto& host : hosts) sum += host->downloads;
    return sum;
  };
  CHECK(made() == 2);

  // A host leaves: another one takes its place.
  const auto holder = static_cast<std::size_t>(
      std::find_if(hosts.begin(), hosts.end(), [](const auto& host) { return host->downloads > 0; }) -
      hosts.begin());
  api::scheduler::DeleteHostRequest leave;
  leave.set_host_id(daemons[holder]->host_id());
  DONE(ask<api::Empty>(*daemons[holder], method::kDeleteHost, leave));
  co_await sleep_for(10s);
  CHECK(made() == 3);
  auto restating = stat(uploader);
  task = co_await restating;
  CHECK(task.current_persistent_replica_count() == 3);

  // The scheduler comes back and knows all of it; nothing is made again.
  cluster.start(config);
  co_await sleep_for(1s);  // clients find out
  auto asking = stat(uploader);
  task = co_await asking;
  CHECK(task.state() == "Succeeded");
  CHECK(task.current_persistent_replica_count() == 3);
  co_await sleep_for(30s);
  CHECK(made() == 3);
  CHECK(cluster.node().service().replicas().check() == "");

  api::scheduler::DeletePersistentCacheTaskRequest remove;
  remove.set_host_id(uploader.host_id());
  remove.set_task_id(kTask);
  DONE(ask<api::Empty>(uploader, method::kDeletePersistentCacheTask, remove));
  co_await sleep_for(5s);
  int deleted = 0;
  for (const auto& host : hosts) deleted += host->deleted;
  CHECK(deleted == 3);
  cluster.start(config);
  co_await sleep_for(1s);
  api::scheduler::StatPersistentCacheTaskRequest gone;
  gone.set_host_id(uploader.host_id());
  gone.set_task_id(kTask);
  auto finding = ask<api::common::PersistentCacheTask>(uploader, method::kStatPersistentCacheTask, gone);
  auto found = co_await finding;
  CHECK(grpc::code_of(found.error()) == grpc::Code::kNotFound);
}

SCHEDULER_TEST("conversations about persistent tasks: back to source, empty, and what breaks them") {
  SchedulerConfig config;
  config.dynamic.blocked[static_cast<std::size_t>(Use::kPersistentUpload)].urls = {"forbidden"};
  TestCluster cluster(sim, std::move(config));
  auto making = cluster.daemon("a");
  auto a = co_await making;
  namespace method = api::method::scheduler;
  api::scheduler::UploadPersistentTaskStartedRequest started;
  started.set_host_id(a->host_id());
  started.set_task_id(kTask);
  started.set_peer_id("up");
  started.set_url("s3://bucket/forbidden");
  started.mutable_object_storage()->set_region("r");
  started.set_persistent_replica_count(1);
  api::set_duration(*started.mutable_ttl(), 1h);
  auto no_endpoint = ask<api::Empty>(*a, method::kUploadPersistentTaskStarted, started);
  auto said = co_await no_endpoint;
  CHECK(grpc::code_of(said.error()) == grpc::Code::kInvalidArgument);
  started.mutable_object_storage()->set_endpoint("http://e");
  started.mutable_object_storage()->set_access_key_secret("hidden");
  auto blocked = ask<api::Empty>(*a, method::kUploadPersistentTaskStarted, started);
  said = co_await blocked;
  CHECK(grpc::code_of(said.error()) == grpc::Code::kPermissionDenied);
  started.set_url("s3://bucket/key");
  api::set_duration(*started.mutable_ttl(), 1min);
  auto short_lived = ask<api::Empty>(*a, method::kUploadPersistentTaskStarted, started);
  said = co_await short_lived;
  CHECK(grpc::code_of(said.error()) == grpc::Code::kInvalidArgument);
  api::set_duration(*started.mutable_ttl(), 1h);
  DONE(ask<api::Empty>(*a, method::kUploadPersistentTaskStarted, started));

  using Says = api::scheduler::AnnouncePersistentPeerRequest;
  using Hears = api::scheduler::AnnouncePersistentPeerResponse;
  const auto envelope = [&](const std::string& peer) {
    Says message;
    message.set_host_id(a->host_id());
    message.set_task_id(kTask);
    message.set_peer_id(peer);
    return message;
  };
  const auto registration = [&](const std::string& peer) {
    auto message = envelope(peer);
    auto& request = *message.mutable_register_persistent_peer_request();
    request.set_url("s3://bucket/key");
    request.mutable_object_storage()->set_region("r");
    return message;
  };
  const auto code_of = [](const Result<std::optional<Hears>>& result) {
    return result ? grpc::Code::kOk : grpc::code_of(result.error());
  };
  {
    // It is being uploaded: whoever wants it now goes to the object store, and finishes from there.
    auto call = a->channel().bidi<Says, Hears>(method::kAnnouncePersistentPeer);
    DONE(call.write(registration("p1")));
    MUST(auto answer, call.read());
    CHECK(answer->has_need_back_to_source_response());
    auto message = envelope("p1");
    message.mutable_download_persistent_peer_back_to_source_started_request();
    DONE(call.write(message));
    message.mutable_download_persistent_peer_started_request();  // twice does no harm
    DONE(call.write(message));
    message.mutable_download_persistent_peer_back_to_source_finished_request();
    DONE(call.write(message));
    MUST(auto end, call.read());
    CHECK_FALSE(end);
  }
  {
    auto call = a->channel().bidi<Says, Hears>(method::kAnnouncePersistentPeer);
    auto message = envelope("never");
    message.mutable_download_persistent_peer_started_request();
    DONE(call.write(message));
    auto reading = call.read();
    CHECK(code_of(co_await reading) == grpc::Code::kNotFound);
  }
  {
    auto call = a->channel().bidi<Says, Hears>(method::kAnnouncePersistentPeer);
    DONE(call.write(envelope("p2")));
    auto reading = call.read();
    CHECK(code_of(co_await reading) == grpc::Code::kInvalidArgument);
  }
  {
    auto call = a->channel().bidi<Says, Hears>(method::kAnnouncePersistentPeer);
    auto message = registration("p3");
    message.set_task_id(task_id_for('u'));
    DONE(call.write(message));
    auto reading = call.read();
    CHECK(code_of(co_await reading) == grpc::Code::kNotFound);
  }
  {
    // The id of a copy that is there.
    auto call = a->channel().bidi<Says, Hears>(method::kAnnouncePersistentPeer);
    DONE(call.write(registration("p1")));
    auto reading = call.read();
    CHECK(code_of(co_await reading) == grpc::Code::kAlreadyExists);
  }
  {
    auto call = a->channel().bidi<Says, Hears>(method::kAnnouncePersistentPeer);
    DONE(call.write(registration("p4")));
    MUST(auto answer, call.read());
    CHECK(answer.has_value());
    auto other = envelope("p5");
    other.mutable_download_persistent_peer_finished_request();
    DONE(call.write(other));
    auto reading = call.read();
    CHECK(code_of(co_await reading) == grpc::Code::kInvalidArgument);
  }
  co_await sleep_for(1s);
  auto& replicas = cluster.node().service().replicas();
  const auto* task = replicas.task({ReplicaKind::kPersistent, kTask});
  REQUIRE(task != nullptr);
  CHECK(task->peers.at("p4").state == ReplicaState::kFailed);  // its stream broke
  CHECK(replicas.check() == "");
}
