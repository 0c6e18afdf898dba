// The schedulers of a cluster, and one download's conversation with one of them.
#include "api/scheduler.h"
#include "api/manager.h"
#include "api/methods.h"
#include "api/validate.h"
#include "fixture.h"
#include "net/grpc/health.h"
#include "net/grpc/server.h"
#include "swarm/announce_session.h"
#include "swarm/host_description.h"
#include "swarm/manager_client.h"
#include "swarm/scheduler_set.h"

using namespace d7y;
using namespace d7y::swarm;
using api::scheduler::AnnouncePeerRequest;
using api::scheduler::AnnouncePeerResponse;

namespace {

const std::string kTask = an_id(1);

// A scheduler that does what a test tells it.
struct FakeScheduler {
  using Script = std::function<Task<Result<void>>(grpc::Reader<AnnouncePeerRequest>&,
                                                  grpc::Writer<AnnouncePeerResponse>&)>;

  FakeScheduler(sim::Host& host, std::uint16_t port = 8002) : server(host) {
    health.attach(server);
    health.set("", grpc::Health::Serving::kYes);
    server.unary<api::scheduler::AnnounceHostRequest, api::Empty>(
        std::string(api::method::scheduler::kAnnounceHost),
        [this](grpc::ServerCall&, api::scheduler::AnnounceHostRequest request) -> Task<Result<api::Empty>> {
          announced.push_back(std::move(request));
          co_return api::Empty();
        });
    server.unary<api::scheduler::DeleteHostRequest, api::Empty>(
        std::string(api::method::scheduler::kDeleteHost),
        [this](grpc::ServerCall&, api::scheduler::DeleteHostRequest request) -> Task<Result<api::Empty>> {
          deleted.push_back(request.host_id());
          co_return api::Empty();
        });
    server.bidi<AnnouncePeerRequest, AnnouncePeerResponse>(
        std::string(api::method::scheduler::kAnnouncePeer),
        [this](grpc::ServerCall&, grpc::Reader<AnnouncePeerRequest>& in,
               grpc::Writer<AnnouncePeerResponse>& out) {
          ++streams;
          return script(in, out);
        });
    address = must(server.listen(host.address(port)));
  }

  grpc::Health health;
  grpc::Server server;
  Address address = Address::ipv4({}, 0);
  std::vector<api::scheduler::AnnounceHostRequest> announced;
  std::vector<std::string> deleted;
  int streams = 0;
  Script script;
  std::vector<AnnouncePeerRequest> heard;

  // Reads one message, which must satisfy a Go scheduler's rules.
  Task<AnnouncePeerRequest> hear(grpc::Reader<AnnouncePeerRequest>& in) {
    auto reading = in.read();
    auto read = must(co_await reading);
    REQUIRE(read.has_value());
    auto valid = api::validate(*read);
    CHECK_MESSAGE(valid.ok(), (valid.ok() ? "" : valid.error().message()));
    heard.push_back(*read);
    co_return *read;
  }
};

AnnouncePeerResponse parents(std::vector<std::pair<std::string, std::string>> ids_and_ips, int port = 4000) {
  AnnouncePeerResponse response;
  auto& normal = *response.mutable_normal_task_response();
  for (const auto& [id, ip] : ids_and_ips) {
    auto& peer = *normal.add_candidate_parents();
    peer.set_id(id);
    peer.set_state("Running");
    peer.mutable_cost();
    peer.mutable_created_at();
    peer.mutable_updated_at();
    auto& task = *peer.mutable_task();
    task.set_id(kTask);
    task.set_url("http://origin/file");
    task.set_state("Running");
    task.mutable_created_at();
    task.mutable_updated_at();
    auto& host = *peer.mutable_host();
    host.set_id(ip + "-host");
    host.set_hostname("host");
    host.set_ip(ip);
    host.set_port(port);
    host.set_download_port(port > 0 && port < 65535 ? port : 4000);
  }
  return response;
}

AnnouncePeerResponse back_to_source() {
  AnnouncePeerResponse response;
  response.mutable_need_back_to_source_response()->set_description("no parents");
  return response;
}

// What a scheduler says to whoever registers: to go to the origin. Waits for the end then.
Task<Result<void>> sends_to_source(grpc::Reader<AnnouncePeerRequest>& in,
                                   grpc::Writer<AnnouncePeerResponse>& out) {
  auto reading = in.read();
  (void)co_await reading;
  auto answer = back_to_source();
  auto writing = out.write(answer);
  must(co_await writing);
  auto more = in.read();
  (void)co_await more;
  co_return Result<void>{};
}

api::common::Download download() {
  api::common::Download out;
  out.set_url("http://origin/file");
  out.set_actual_content_length(10'000'000);
  out.set_actual_piece_length(4'194'304);
  out.set_actual_piece_count(3);
  return out;
}

struct Client {
  explicit Client(sim::Host& h, std::vector<std::string> addresses) : host(h) {
    SchedulerSetOptions options;
    options.addresses = std::move(addresses);
    meter = std::make_unique<NetworkMeter>(host, NetworkMeterOptions{.ip = host.address(0).ip()});
    set = std::make_unique<SchedulerSet>(
        host, std::move(options),
        [this] {
          HostFacts facts;
          facts.id = host_id();
          facts.ip = host.address(0).ip();
          facts.hostname = "client";
          facts.storage_folder = "/";
          facts.version = "0.1.0";
          return describe_host(host, facts, *meter);
        },
        Log());
  }
  std::string host_id() const { return host.address(0).ip() + "-client"; }
  AnnounceOptions options() {
    AnnounceOptions out;
    out.self = {host_id(), host.address(4000)};
    out.task_id = kTask;
    out.new_peer_id = [this] { return fmt::format("{}-peer{}", host_id(), ++peers); };
    return out;
  }
  Task<Result<std::unique_ptr<AnnounceSession>>> open(Duration patience = 30s) {
    return AnnounceSession::open(*set, options(), download(), Log(), Deadline::in(patience, host.now()));
  }
  sim::Host& host;
  int peers = 0;
  std::unique_ptr<NetworkMeter> meter;
  std::unique_ptr<SchedulerSet> set;
};

// Adds raw fields to a message.
void must_merge(api::common::Peer& peer, const std::string& fields) {
  api::common::Peer more;
  REQUIRE(more.ParseFromString(fields));
  peer.MergeFrom(more);
}

store::PieceInfo piece(std::uint32_t number, std::string parent) {
  store::PieceInfo info;
  info.number = number;
  info.offset = number * 4'194'304ull;
  info.length = 4'194'304;
  info.crc = 1475635037;
  info.traffic = parent.empty() ? store::Traffic::kBackToSource : store::Traffic::kRemotePeer;
  info.parent = std::move(parent);
  return info;
}

}  // namespace

SWARM_TEST("a host is announced to all schedulers with everything a Go scheduler needs, and says good-bye") {
  auto& first_host = sim.add_host();
  auto& second_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler first(first_host), second(second_host);
  Client client(host, {first.address.to_string(), second.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  for (auto* scheduler : {&first, &second}) {
    REQUIRE(scheduler->announced.size() == 1);
    const auto& request = scheduler->announced[0];
    auto valid = api::validate(request);
    CHECK_MESSAGE(valid.ok(), (valid.ok() ? "" : valid.error().message()));
    CHECK(request.interval().seconds() == 300);
    CHECK(request.host().has_cpu());
    CHECK(request.host().has_memory());
    CHECK(request.host().has_network());
    CHECK(request.host().has_disk());
    CHECK(request.host().has_build());
    CHECK(request.host().port() == request.host().download_port());
  }
  co_await sleep_for(301s);
  CHECK(first.announced.size() == 2);
  co_await client.set->leave(client.host_id(), Deadline::in(10s, sim.now()));
  CHECK(first.deleted == std::vector<std::string>{client.host_id()});
  CHECK(second.deleted == std::vector<std::string>{client.host_id()});
}

SWARM_TEST("a dead scheduler's tasks go to the next one until it is back, and only then") {
  auto& first_host = sim.add_host();
  auto& second_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler first(first_host), second(second_host);
  Client client(host, {first.address.to_string(), second.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  CHECK(client.set->all().size() == 2);
  // A task of each.
  std::optional<std::string> of_first, of_second;
  for (int i = 0; i < 1000 && !(of_first && of_second); ++i) {
    auto id = fmt::format("{:05x}{}", i * 997, an_id(i).substr(5));
    (must(client.set->pick(id)).address == first.address ? of_first : of_second) = id;
  }
  REQUIRE(of_first.has_value());
  REQUIRE(of_second.has_value());
  client.set->unreachable(first.address, error(ErrorCode::kRefused, "refused"));
  CHECK(must(client.set->pick(*of_first)).address == second.address);
  CHECK(must(client.set->pick(*of_second)).address == second.address);
  co_await sleep_for(10s);
  CHECK(must(client.set->pick(*of_first)).address == first.address);
  // It is announced to again, since it may have forgotten us.
  CHECK(first.announced.size() == 2);
  CHECK(second.announced.size() == 1);

  first.health.set("", grpc::Health::Serving::kNo);
  co_await sleep_for(65s);
  CHECK(must(client.set->pick(*of_first)).address == second.address);
  second_host.power_off();
  co_await sleep_for(130s);
  auto none = client.set->pick(*of_first);
  REQUIRE(none.failed_with(ErrorCode::kUnavailable));
  CHECK(none.error().message().find(second.address.to_string()) != std::string::npos);
  first.health.set("", grpc::Health::Serving::kYes);
  co_await sleep_for(30s);
  CHECK(must(client.set->pick(*of_second)).address == first.address);
}

SWARM_TEST("names of schedulers are resolved, wrong ones named, and none at all is no error") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  sim.fabric().set_name("scheduler.test", {scheduler_host.address(0)}, 3ms);
  Client client(host, {"scheduler.test:8002", "no-port", "unknown.test:8002"});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  CHECK(must(client.set->pick(kTask)).address == scheduler.address);

  Client lost(host, {"unknown.test:8002"});
  auto failing = lost.set->start(Deadline::in(10s, sim.now()));
  auto failed = co_await failing;
  REQUIRE(failed.failed_with(ErrorCode::kUnavailable));
  CHECK(failed.error().message().find("unknown.test") != std::string::npos);

  Client alone(host, {});
  auto trivial = alone.set->start(Deadline::in(10s, sim.now()));
  must(co_await trivial);
  CHECK(alone.set->none());
  CHECK(alone.set->pick(kTask).failed_with(ErrorCode::kUnavailable));
}

namespace {

using CacheRequest = api::scheduler::AnnouncePersistentCachePeerRequest;
using CacheResponse = api::scheduler::AnnouncePersistentCachePeerResponse;

CacheResponse cache_parent(const std::string& id, const std::string& ip) {
  CacheResponse response;
  auto& peer = *response.mutable_normal_persistent_cache_task_response()->add_candidate_parents();
  peer.set_id(id);
  peer.set_persistent(true);
  peer.set_state("Succeeded");
  peer.mutable_cost();
  peer.mutable_created_at();
  peer.mutable_updated_at();
  auto& task = *peer.mutable_task();
  task.set_id(kTask);
  task.set_persistent_replica_count(2);
  task.set_piece_length(4'194'304);
  task.set_content_length(10'000'000);
  task.set_state("Succeeded");
  api::set_duration(*task.mutable_ttl(), 1h);
  task.mutable_created_at();
  task.mutable_updated_at();
  auto& host = *peer.mutable_host();
  host.set_id(ip + "-host");
  host.set_hostname("host");
  host.set_ip(ip);
  host.set_port(4000);
  host.set_download_port(4000);
  return response;
}

}  // namespace

SWARM_TEST("a download of a persistent-cache task is told in the words of its own call") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  std::vector<CacheRequest> heard;
  scheduler.server.bidi<CacheRequest, CacheResponse>(
      std::string(api::method::scheduler::kAnnouncePersistentCachePeer),
      [&](grpc::ServerCall&, grpc::Reader<CacheRequest>& in,
          grpc::Writer<CacheResponse>& out) -> Task<Result<void>> {
        for (;;) {
          auto reading = in.read();
          auto read = must(co_await reading);
          REQUIRE(read.has_value());
          auto valid = api::validate(*read);
          CHECK_MESSAGE(valid.ok(), (valid.ok() ? "" : valid.error().message()));
          heard.push_back(*read);
          const bool asks = read->has_register_persistent_cache_peer_request() ||
                            read->has_reschedule_persistent_cache_peer_request();
          if (asks) {
            auto answer =
                heard.size() == 1 ? cache_parent("peer-a", "10.7.0.1") : cache_parent("peer-b", "10.7.0.2");
            auto writing = out.write(answer);
            must(co_await writing);
          }
          if (read->has_download_persistent_cache_peer_finished_request()) co_return Result<void>{};
        }
      });
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  AnnounceOptions options = client.options();
  options.kind = store::TaskKind::kPersistentCache;
  options.persistent = true;
  auto message = download();
  message.set_tag("t");
  auto deadline = Deadline::in(10s, sim.now());
  auto opening = AnnounceSession::open(*client.set, options, message, Log(), deadline);
  auto session = must(co_await opening);
  REQUIRE(session->verdict().parents.size() == 1);
  CHECK(session->verdict().parents[0].upload.to_string() == "10.7.0.1:4000");
  CHECK(session->verdict().parents[0].peer.task().content_length() == 10'000'000);
  session->started();
  session->piece_finished(piece(0, "peer-a"));
  session->piece_failed(1, "peer-a");
  auto asking = session->reschedule("it is gone", deadline);
  auto verdict = must(co_await asking);
  REQUIRE(verdict.parents.size() == 1);
  CHECK(verdict.parents[0].peer_id == "peer-b");
  session->started();
  auto ending = session->end(Outcome::kFinished, "", deadline);
  must(co_await ending);

  REQUIRE(heard.size() == 7);
  const auto& registered = heard[0].register_persistent_cache_peer_request();
  CHECK(registered.persistent());
  CHECK(registered.tag() == "t");
  CHECK(!registered.has_application());
  CHECK(registered.piece_length() == 4'194'304);
  CHECK(registered.piece_count() == 3);
  CHECK(heard[1].has_download_persistent_cache_peer_started_request());
  CHECK(heard[2].download_piece_finished_request().piece().parent_id() == "peer-a");
  CHECK(heard[3].download_piece_failed_request().piece_number() == 1);
  // What it was given is echoed as it came.
  const auto& again = heard[4].reschedule_persistent_cache_peer_request();
  REQUIRE(again.candidate_parents_size() == 1);
  CHECK(again.candidate_parents(0).SerializeAsString() == cache_parent("peer-a", "10.7.0.1")
                                                              .normal_persistent_cache_task_response()
                                                              .candidate_parents(0)
                                                              .SerializeAsString());
  CHECK(again.description() == "it is gone");
  CHECK(heard[5].has_download_persistent_cache_peer_started_request());
  CHECK(heard[6].has_download_persistent_cache_peer_finished_request());
}

SWARM_TEST("a download from parents is told message by message, in order, and ends with the stream") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  scheduler.script = [&](auto& in, auto& out) -> Task<Result<void>> {
    auto hearing = scheduler.hear(in);
    auto registered = co_await hearing;
    CHECK(registered.register_peer_request().download().actual_piece_count() == 3);
    auto answer = parents({{"peer-a", "10.7.0.1"}, {"peer-b", "10.7.0.2"}});
    auto writing = out.write(answer);
    must(co_await writing);
    for (int i = 0; i < 5; ++i) {
      auto next = scheduler.hear(in);
      co_await next;
    }
    co_return Result<void>{};
  };
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  auto opening = client.open();
  auto session = must(co_await opening);
  REQUIRE(session->verdict().kind == Verdict::Kind::kParents);
  REQUIRE(session->verdict().parents.size() == 2);
  CHECK(session->verdict().parents[0].upload.to_string() == "10.7.0.1:4000");
  session->started();
  session->piece_finished(piece(0, "peer-a"));
  session->piece_failed(1, "peer-b");
  session->piece_finished(piece(1, "peer-a"));
  auto ending = session->end(Outcome::kFinished, "", Deadline::in(10s, sim.now()));
  must(co_await ending);

  REQUIRE(scheduler.heard.size() == 6);
  using Request = AnnouncePeerRequest;
  std::vector<Request::RequestCase> kinds;
  for (const auto& heard : scheduler.heard) {
    kinds.push_back(heard.request_case());
    CHECK(heard.host_id() == client.host_id());
    CHECK(heard.task_id() == kTask);
    CHECK(heard.peer_id() == session->peer_id());
  }
  CHECK(kinds == std::vector{Request::kRegisterPeerRequest, Request::kDownloadPeerStartedRequest,
                             Request::kDownloadPieceFinishedRequest, Request::kDownloadPieceFailedRequest,
                             Request::kDownloadPieceFinishedRequest, Request::kDownloadPeerFinishedRequest});
  const auto& finished = scheduler.heard[2].download_piece_finished_request().piece();
  CHECK(finished.parent_id() == "peer-a");
  CHECK(finished.traffic_type() == api::common::REMOTE_PEER);
  CHECK(finished.digest() == "crc32:1475635037");
  CHECK(finished.has_cost());
  CHECK(finished.has_created_at());
  CHECK(scheduler.heard[3].download_piece_failed_request().temporary());
}

SWARM_TEST("a download from the origin reports its own messages, the origin's status included") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  scheduler.script = [&](auto& in, auto& out) -> Task<Result<void>> {
    auto hearing = scheduler.hear(in);
    co_await hearing;
    auto answer = back_to_source();
    auto writing = out.write(answer);
    must(co_await writing);
    for (int i = 0; i < 5; ++i) {
      auto next = scheduler.hear(in);
      co_await next;
    }
    co_return Result<void>{};
  };
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  auto opening = client.open();
  auto session = must(co_await opening);
  CHECK(session->verdict().kind == Verdict::Kind::kBackToSource);
  CHECK(session->verdict().description == "no parents");
  session->back_to_source_started();
  session->piece_finished(piece(0, ""));
  session->source_piece_failed(1, error(ErrorCode::kNotFound, "404 Not Found").with_status(404),
                               {{"server", "nginx"}});
  session->source_piece_failed(2, error(ErrorCode::kRefused, "connection refused"));
  auto ending = session->end(Outcome::kBackToSourceFailed, "origin is gone", Deadline::in(10s, sim.now()));
  must(co_await ending);
  REQUIRE(scheduler.heard.size() == 6);
  CHECK(scheduler.heard[1].has_download_peer_back_to_source_started_request());
  CHECK(scheduler.heard[2].download_piece_back_to_source_finished_request().piece().parent_id().empty());
  CHECK(scheduler.heard[3].download_piece_back_to_source_failed_request().backend().status_code() == 404);
  CHECK(scheduler.heard[3].download_piece_back_to_source_failed_request().backend().header().at("server") ==
        "nginx");
  CHECK(scheduler.heard[4].download_piece_back_to_source_failed_request().has_unknown());
  CHECK(scheduler.heard[5].download_peer_back_to_source_failed_request().description() == "origin is gone");
}

SWARM_TEST("reports are collected for a moment instead of being sent one by one") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  std::vector<TimePoint> times;
  scheduler.script = [&](auto& in, auto& out) -> Task<Result<void>> {
    auto hearing = scheduler.hear(in);
    co_await hearing;
    auto answer = parents({{"peer-a", "10.7.0.1"}});
    auto writing = out.write(answer);
    must(co_await writing);
    for (;;) {
      auto reading = in.read();
      auto read = co_await reading;
      if (!read || !*read) co_return Result<void>{};
      times.push_back(sim.now());
      if ((**read).has_download_peer_finished_request()) co_return Result<void>{};
    }
  };
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  auto opening = client.open();
  auto session = must(co_await opening);
  for (std::uint32_t number = 0; number < 10; ++number) {
    session->piece_finished(piece(number, "peer-a"));
    co_await sleep_for(2ms);
  }
  CHECK(times.empty());
  co_await sleep_for(100ms);
  CHECK(times.size() == 10);
  // A full batch does not wait.
  for (std::uint32_t number = 0; number < 32; ++number) session->piece_finished(piece(number, "peer-a"));
  co_await sleep_for(20ms);
  CHECK(times.size() == 42);
  auto ending = session->end(Outcome::kFinished, "", Deadline::in(10s, sim.now()));
  must(co_await ending);
  CHECK(times.size() == 43);
}

SWARM_TEST("rescheduling echoes the parents as they came, and ends after five answers") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  scheduler.script = [&](auto& in, auto& out) -> Task<Result<void>> {
    for (int round = 0;; ++round) {
      auto reading = in.read();
      auto read = co_await reading;
      if (!read || !*read) co_return Result<void>{};
      scheduler.heard.push_back(**read);
      CHECK(api::validate(**read).ok());
      if ((**read).has_download_peer_failed_request()) co_return Result<void>{};
      auto answer = parents({{fmt::format("peer-{}", round), fmt::format("10.7.0.{}", round + 1)}});
      // A field that is not known here.
      must_merge(*answer.mutable_normal_task_response()->mutable_candidate_parents(0), "\xfa\x3e\x02hi");
      auto writing = out.write(answer);
      must(co_await writing);
    }
  };
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  auto opening = client.open();
  auto session = must(co_await opening);
  for (int round = 1; round < 5; ++round) {
    auto asking = session->reschedule("parents are slow", Deadline::in(10s, sim.now()));
    auto verdict = must(co_await asking);
    REQUIRE(verdict.parents.size() == 1);
    CHECK(verdict.parents[0].peer_id == fmt::format("peer-{}", round));
    const auto& echo = scheduler.heard.back().reschedule_peer_request();
    REQUIRE(echo.candidate_parents_size() == 1);
    CHECK(echo.candidate_parents(0).id() == fmt::format("peer-{}", round - 1));
    CHECK(echo.candidate_parents(0).SerializeAsString().find("\xfa\x3e\x02hi") != std::string::npos);
    CHECK(echo.description() == "parents are slow");
  }
  auto once_more = session->reschedule("again", Deadline::in(10s, sim.now()));
  CHECK((co_await once_more).failed_with(ErrorCode::kExhausted));
  CHECK(session->broken() == nullptr);
  auto ending = session->end(Outcome::kFailed, "max schedule count exceeded", Deadline::in(10s, sim.now()));
  must(co_await ending);
}

SWARM_TEST("a scheduler that has forgotten the host is told about it and asked again, under a new peer id") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  std::vector<std::string> peer_ids;
  bool knows_host = false;
  scheduler.script = [&](auto& in, auto& out) -> Task<Result<void>> {
    auto hearing = scheduler.hear(in);
    auto registered = co_await hearing;
    peer_ids.push_back(registered.peer_id());
    if (!knows_host && scheduler.announced.size() < 2) {
      co_return grpc::status_error(grpc::Code::kNotFound, "peer not found");
    }
    auto answer = back_to_source();
    auto writing = out.write(answer);
    must(co_await writing);
    auto reading = in.read();
    (void)co_await reading;
    co_return Result<void>{};
  };
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  {
    auto opening = client.open();
    auto session = must(co_await opening);
    CHECK(scheduler.announced.size() == 2);
    REQUIRE(peer_ids.size() == 2);
    CHECK(peer_ids[0] != peer_ids[1]);
    CHECK(session->peer_id() == peer_ids[1]);
  }
  // If it does not help, that is the end of it.
  scheduler.script = [&](auto& in, auto&) -> Task<Result<void>> {
    auto hearing = scheduler.hear(in);
    co_await hearing;
    co_return grpc::status_error(grpc::Code::kNotFound, "peer not found");
  };
  scheduler.streams = 0;
  auto opening = client.open();
  CHECK((co_await opening).failed_with(ErrorCode::kNotFound));
  CHECK(scheduler.streams == 2);
}

SWARM_TEST("a scheduler that dies at registration is replaced by the next one") {
  auto& first_host = sim.add_host();
  auto& second_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler first(first_host), second(second_host);
  first.script = second.script = sends_to_source;
  Client client(host, {first.address.to_string(), second.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  auto chosen = must(client.set->pick(kTask)).address;
  auto& chosen_host = chosen == first.address ? first_host : second_host;
  chosen_host.kill();
  auto opening = client.open();
  auto session = must(co_await opening);
  CHECK(session->scheduler() != chosen);
}

SWARM_TEST("a download that comes before the first schedulers were asked waits for them") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  scheduler.script = sends_to_source;
  Client client(host, {scheduler.address.to_string()});
  Background background(host.loop());
  struct Starting {
    static Task<void> run(SchedulerSet& set, Deadline deadline) {
      auto starting = set.start(deadline);
      must(co_await starting);
    }
  };
  background.scope.spawn(Starting::run(*client.set, Deadline::in(10s, sim.now())));
  co_await sleep_for(100us);
  auto opening = client.open();
  auto opened = co_await opening;
  CHECK_MESSAGE(opened.ok(), opened.error().message());
  // Nobody is waited for who does not come.
  Client lonely(host, {"10.9.9.9:8002"});
  Background other(host.loop());
  struct Failing {
    static Task<void> run(SchedulerSet& set, Deadline deadline) {
      auto starting = set.start(deadline);
      CHECK((co_await starting).failed_with(ErrorCode::kUnavailable));
    }
  };
  const auto began = sim.now();
  other.scope.spawn(Failing::run(*lonely.set, Deadline::in(3s, sim.now())));
  co_await sleep_for(100us);
  auto in_vain = lonely.open();
  auto failed = co_await in_vain;
  CHECK(failed.failed_with(ErrorCode::kUnavailable));
  CHECK(sim.now() - began < 4s);
}

SWARM_TEST("whatever a scheduler says, it is understood or refused, and nobody waits for ever") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);

  auto answer_once = [&](AnnouncePeerResponse answer) {
    scheduler.script = [answer](auto& in, auto& out) -> Task<Result<void>> {
      auto reading = in.read();
      must(co_await reading);
      auto writing = out.write(answer);
      must(co_await writing);
      auto more = in.read();
      (void)co_await more;
      co_return Result<void>{};
    };
  };
  // Nothing at all.
  answer_once(AnnouncePeerResponse());
  auto nothing = client.open();
  CHECK((co_await nothing).failed_with(ErrorCode::kProtocol));
  // Metadata-only to a download.
  AnnouncePeerResponse metadata_only;
  metadata_only.mutable_metadata_only_response();
  answer_once(metadata_only);
  auto wrong = client.open();
  CHECK((co_await wrong).failed_with(ErrorCode::kProtocol));
  // Absurd parents: ourselves by id and by address, no ip, no port, twice the same, an empty id.
  auto absurd = parents({{"good", "10.7.0.9"},
                         {"good", "10.7.0.9"},
                         {"named", "not-an-ip"},
                         {"", "10.7.0.8"},
                         {"self", host.address(0).ip()},
                         {"zero", "0.0.0.0"}});
  auto& own = *absurd.mutable_normal_task_response()->add_candidate_parents();
  own = absurd.normal_task_response().candidate_parents(0);
  own.set_id("own-host-id");
  own.mutable_host()->set_id(client.host_id());
  auto& no_port = *absurd.mutable_normal_task_response()->add_candidate_parents();
  no_port = absurd.normal_task_response().candidate_parents(0);
  no_port.set_id("no-port");
  no_port.mutable_host()->set_port(-1);
  answer_once(absurd);
  {
    auto opening = client.open();
    auto session = must(co_await opening);
    REQUIRE(session->verdict().parents.size() == 1);
    CHECK(session->verdict().parents[0].peer_id == "good");
  }
  // No parents at all, thousands of them.
  answer_once(parents({}));
  {
    auto opening = client.open();
    auto session = must(co_await opening);
    // An empty message of this kind is still one of parents.
    CHECK(session->verdict().kind == Verdict::Kind::kParents);
    CHECK(session->verdict().parents.empty());
  }
  std::vector<std::pair<std::string, std::string>> crowd;
  for (int i = 0; i < 5000; ++i)
    crowd.emplace_back(fmt::format("p{}", i), fmt::format("10.8.{}.{}", i / 250, i % 250 + 1));
  answer_once(parents(crowd));
  {
    auto opening = client.open();
    auto session = must(co_await opening);
    CHECK(session->verdict().parents.size() == 64);
  }
  // Silence.
  scheduler.script = [](auto& in, auto&) -> Task<Result<void>> {
    auto reading = in.read();
    must(co_await reading);
    auto more = in.read();
    (void)co_await more;
    co_return Result<void>{};
  };
  auto began = sim.now();
  auto silent = client.open(20s);
  CHECK((co_await silent).failed_with(ErrorCode::kTimeout));
  CHECK(sim.now() - began < 25s);
  // An end without an answer.
  scheduler.script = [](auto& in, auto&) -> Task<Result<void>> {
    auto reading = in.read();
    must(co_await reading);
    co_return Result<void>{};
  };
  auto early = client.open();
  CHECK(!(co_await early).ok());
  // A refusal.
  scheduler.script = [](auto&, auto&) -> Task<Result<void>> {
    co_return grpc::status_error(grpc::Code::kFailedPrecondition, "no");
  };
  auto refused = client.open();
  CHECK((co_await refused).failed_with(ErrorCode::kPrecondition));
}

SWARM_TEST("a scheduler that talks without being asked offers parents, up to a point") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  int floods = 2;
  scheduler.script = [&](auto& in, auto& out) -> Task<Result<void>> {
    auto reading = in.read();
    must(co_await reading);
    for (int i = 0; i < floods; ++i) {
      auto answer = parents({{fmt::format("peer-{}", i), "10.7.0.1"}});
      auto writing = out.write(answer);
      CO_OK(co_await writing);
    }
    auto more = in.read();
    (void)co_await more;
    co_return Result<void>{};
  };
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  {
    auto opening = client.open();
    auto session = must(co_await opening);
    co_await sleep_for(1s);
    auto offered = session->unasked();
    REQUIRE(offered.has_value());
    CHECK(offered->parents[0].peer_id == "peer-1");
    CHECK(!session->unasked().has_value());
  }
  floods = 100'000;
  auto opening = client.open();
  auto session = must(co_await opening);
  co_await sleep_for(1s);
  REQUIRE(session->broken() != nullptr);
  CHECK(session->broken()->code() == ErrorCode::kProtocol);
}

SWARM_TEST("a stream that breaks in the middle is noticed; reports go nowhere and hurt nobody") {
  auto& scheduler_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler scheduler(scheduler_host);
  scheduler.script = [&](auto& in, auto& out) -> Task<Result<void>> {
    auto reading = in.read();
    must(co_await reading);
    auto answer = parents({{"peer-a", "10.7.0.1"}});
    auto writing = out.write(answer);
    must(co_await writing);
    auto more = in.read();
    (void)co_await more;
    co_return Result<void>{};
  };
  Client client(host, {scheduler.address.to_string()});
  auto starting = client.set->start(Deadline::in(10s, sim.now()));
  must(co_await starting);
  auto opening = client.open();
  auto session = must(co_await opening);
  scheduler_host.kill();
  while (session->broken() == nullptr) must(co_await session->arrived().wait(Deadline::in(30s, sim.now())));
  session->started();
  for (std::uint32_t number = 0; number < 100; ++number) session->piece_finished(piece(number, "peer-a"));
  auto asking = session->reschedule("", Deadline::in(10s, sim.now()));
  CHECK(!(co_await asking).ok());
  auto ending = session->end(Outcome::kFinished, "", Deadline::in(10s, sim.now()));
  CHECK(!(co_await ending).ok());
}

SWARM_TEST("a manager's list feeds the ring; only the first healthy one's cluster is used") {
  auto& manager_host = sim.add_host();
  auto& dead_host = sim.add_host();
  auto& first_host = sim.add_host();
  auto& other_host = sim.add_host();
  auto& host = sim.add_host();
  FakeScheduler first(first_host), other(other_host);
  grpc::Server manager(manager_host);
  api::manager::ListSchedulersRequest asked;
  manager.unary<api::manager::ListSchedulersRequest, api::manager::ListSchedulersResponse>(
      std::string(api::method::manager::kListSchedulers),
      [&](grpc::ServerCall&,
          api::manager::ListSchedulersRequest request) -> Task<Result<api::manager::ListSchedulersResponse>> {
        asked = std::move(request);
        api::manager::ListSchedulersResponse response;
        std::uint64_t cluster = 1;
        for (auto* each : {&dead_host, &first_host, &other_host}) {
          auto& scheduler = *response.add_schedulers();
          scheduler.set_ip(each->address(0).ip());
          scheduler.set_port(8002);
          scheduler.set_scheduler_cluster_id(cluster++);
          scheduler.mutable_scheduler_cluster()->set_client_config(R"({"load_limit":50})");
        }
        response.add_schedulers()->set_ip("nonsense");
        co_return response;
      });
  auto manager_at = must(manager.listen(manager_host.address(65003)));
  ManagerClientOptions who;
  who.address = "http://" + manager_at.to_string();
  who.hostname = "my_client";
  who.ip = host.address(0).ip();
  who.seed = true;
  ManagerClient client(host, who, Log());
  SchedulerSetOptions options;
  options.list = [&client](Deadline deadline) { return client.list_schedulers(deadline); };
  SchedulerSet set(host, std::move(options), nullptr, Log());
  auto starting = set.start(Deadline::in(20s, sim.now()));
  must(co_await starting);
  CHECK(asked.source_type() == api::manager::SEED_PEER_SOURCE);
  CHECK(asked.hostname() == "my-client");
  CHECK(api::validate(asked).ok());
  for (int i = 0; i < 50; ++i) CHECK(must(set.pick(an_id(i * 7919))).address == first.address);
  // The manager goes; what is known stays.
  manager_host.power_off();
  co_await sleep_for(200s);
  CHECK(must(set.pick(kTask)).address == first.address);
}
