// Persistent-cache tasks: files of one host that a cluster keeps copies of, as dfcache imports and exports
// them.
#include <doctest/doctest.h>

#include <algorithm>

#include "api/methods.h"
#include "net/grpc/channel.h"
#include "sim/cluster/cluster.h"

using namespace d7y;
using namespace std::chrono_literals;
namespace method = api::method::download;

namespace {

using Uploaded = api::common::PersistentCacheTask;
using Upload = api::dfdaemon::UploadPersistentCacheTaskRequest;
using Download = api::dfdaemon::DownloadPersistentCacheTaskRequest;
using Downloaded = api::dfdaemon::DownloadPersistentCacheTaskResponse;

constexpr std::string_view kFile = "/home/model.bin";

template <class Answer, class Request>
Task<void> call_unary(sim::Host& host, std::string_view path, Request request,
                      std::optional<Result<Answer>>& answer) {
  grpc::Channel channel(host, Address::unix_socket("/var/run/dragonfly/dfdaemon.sock"));
  Task<Result<Answer>> calling = channel.unary<Answer>(path, request);
  auto called = co_await calling;
  answer.emplace(std::move(called));
}

struct Export {
  std::vector<Downloaded> said;
  std::optional<Result<void>> ended;

  bool ok() const { return ended && ended->ok(); }
  std::string bytes() const {
    std::string out;
    for (const auto& message : said) out += message.download_piece_finished_response().piece().content();
    return out;
  }
};

Task<void> call_download(sim::Host& host, Download request, Export& out) {
  grpc::Channel channel(host, Address::unix_socket("/var/run/dragonfly/dfdaemon.sock"));
  auto call = channel.server_stream<Downloaded>(method::kDownloadPersistentCacheTask, request);
  for (;;) {
    Task<Result<std::optional<Downloaded>>> reading = call.read();
    auto message = co_await reading;
    if (!message) {
      out.ended.emplace(std::move(message).error());
      co_return;
    }
    if (!*message) break;
    out.said.push_back(std::move(**message));
  }
  out.ended.emplace();
}

// One scheduler and so many peers, none of which has an origin to ask.
struct Town {
  explicit Town(std::uint64_t seed, std::size_t count = 4) : cluster(seed) {
    cluster.add_scheduler();
    peers = cluster.add_peers(count);
    cluster.start();
    for (auto* peer : peers) REQUIRE(peer->host().files().make_folders("/home").ok());
  }

  void write(sim::Peer& peer, std::string_view content, std::string_view path = kFile) {
    auto& files = peer.host().files();
    auto file = files.open(std::string(path), world::OpenMode::kCreate);
    REQUIRE(file.ok());
    REQUIRE((*file)->resize(0).ok());
    REQUIRE((*file)->write_at(0, as_bytes(content)).ok());
  }
  std::string read(sim::Peer& peer, const std::string& path) {
    auto file = peer.host().files().open(path, world::OpenMode::kRead);
    if (!file) return "not there";
    std::string content((*file)->status()->size, '\0');
    auto got = (*file)->read_at(0, as_mutable_bytes(content));
    return got.ok() ? content : "not readable";
  }

  template <class Answer, class Request>
  Result<Answer> ask(sim::Peer& peer, std::string_view path, Request request) {
    std::optional<Result<Answer>> answer;
    peer.host().spawn(call_unary<Answer>(peer.host(), path, std::move(request), answer));
    REQUIRE(cluster.sim().run_until([&] { return answer.has_value(); }, 130s));
    return std::move(*answer);
  }
  Upload importing(std::uint32_t copies = 2) const {
    Upload request;
    request.set_path(std::string(kFile));
    request.set_persistent_replica_count(copies);
    api::set_duration(*request.mutable_ttl(), 1h);
    return request;
  }
  Result<Uploaded> import(sim::Peer& peer, Upload request) {
    return ask<Uploaded>(peer, method::kUploadPersistentCacheTask, std::move(request));
  }
  Result<Uploaded> stat(sim::Peer& peer, const std::string& id) {
    api::dfdaemon::StatPersistentCacheTaskRequest request;
    request.set_task_id(id);
    return ask<Uploaded>(peer, method::kStatPersistentCacheTask, request);
  }
  Export download(sim::Peer& peer, Download request) {
    Export out;
    peer.host().spawn(call_download(peer.host(), std::move(request), out));
    REQUIRE(cluster.sim().run_until([&] { return out.ended.has_value(); }, 130s));
    return out;
  }
  Download exporting(const std::string& id) const {
    Download request;
    request.set_task_id(id);
    return request;
  }

  std::optional<store::TaskSummary> copy(sim::Peer& peer, const std::string& id) {
    return peer.node() == nullptr ? std::nullopt : peer.node()->store().summary(id);
  }
  // The id of a file that the first peer has imported, once so many hosts keep it.
  std::string keep(std::string_view content, std::uint32_t copies) {
    write(*peers[0], content);
    auto made = import(*peers[0], importing(copies));
    REQUIRE_MESSAGE(made.ok(), made.error().message());
    REQUIRE(cluster.sim().run_until([&] { return kept(made->id()) == copies; }, 30s));
    return made->id();
  }
  // Hosts that keep the task until its time is over.
  std::size_t kept(const std::string& id) {
    auto keeps = [&](sim::Peer* peer) {
      const auto here = copy(*peer, id);
      return here && here->finished && here->persistent;
    };
    return static_cast<std::size_t>(std::count_if(peers.begin(), peers.end(), keeps));
  }
  sim::Peer& without(const std::string& id) {
    auto lacks = [&](sim::Peer* peer) { return peer->node() != nullptr && !copy(*peer, id); };
    const auto found = std::find_if(peers.begin(), peers.end(), lacks);
    REQUIRE(found != peers.end());
    return **found;
  }

  sim::Cluster cluster;
  std::vector<sim::Peer*> peers;
};

}  // namespace

TEST_CASE("an imported file is kept by as many hosts as were wished for, and exported anywhere") {
  for (std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, 4_MiB, 9_MiB + 5}) {
    CAPTURE(size);
    Town town(11 + size);
    auto& importer = *town.peers[0];
    const auto content = sim::random_bytes(size, 3);
    town.write(importer, content);
    auto request = town.importing();
    request.set_tag("models");
    auto made = town.import(importer, request);
    REQUIRE_MESSAGE(made.ok(), made.error().message());
    const auto id = made->id();
    CHECK(id.size() == 64);
    CHECK(made->state() == "Succeeded");
    CHECK(made->content_length() == size);
    CHECK(made->piece_length() == 4_MiB);
    CHECK(made->tag() == "models");
    town.cluster.run_for(30s);
    CHECK(town.kept(id) == 2);
    auto known = town.stat(*town.peers[3], id);
    REQUIRE(known.ok());
    CHECK(known->current_persistent_replica_count() == 2);

    // To a file, as bytes, and again from what is then here.
    auto& user = town.without(id);
    for (bool again : {false, true}) {
      CAPTURE(again);
      auto to_file = town.exporting(id);
      to_file.set_output_path(again ? "/home/second" : "/home/first");
      auto written = town.download(user, to_file);
      REQUIRE_MESSAGE(written.ok(), written.ended->error().message());
      CHECK(written.said.front().download_persistent_cache_task_started_response().content_length() == size);
      CHECK(written.said.front().task_id() == id);
      CHECK(town.read(user, to_file.output_path()) == content);
    }
    auto as_bytes = town.exporting(id);
    as_bytes.set_need_piece_content(true);
    auto& other = town.peers[3] == &user ? *town.peers[2] : *town.peers[3];
    auto streamed = town.download(other, as_bytes);
    REQUIRE(streamed.ok());
    CHECK(streamed.bytes() == content);

    // It is another kind of task than those with URLs.
    api::dfdaemon::StatLocalTaskRequest standard;
    standard.set_task_id(id);
    CHECK(!town.ask<api::dfdaemon::StatLocalTaskResponse>(user, method::kStatLocalTask, standard).ok());
    api::dfdaemon::StatLocalPersistentCacheTaskRequest local;
    local.set_task_id(id);
    using Local = api::dfdaemon::StatLocalPersistentCacheTaskResponse;
    auto here = town.ask<Local>(user, method::kStatLocalPersistentCacheTask, local);
    REQUIRE(here.ok());
    CHECK(here->content_length() == size);
    CHECK(!here->persistent());
    CHECK(here->has_finished_at());
    CHECK(api::duration_of(here->ttl()) == 1h);
    using Listed = api::dfdaemon::ListLocalPersistentCacheTasksResponse;
    api::dfdaemon::ListLocalPersistentCacheTasksRequest all;
    auto listed = town.ask<Listed>(user, method::kListLocalPersistentCacheTasks, all);
    REQUIRE(listed.ok());
    REQUIRE(listed->tasks_size() == 1);
    CHECK(listed->tasks(0).task_id() == id);
    CHECK(town.cluster.shut_down() == "");
  }
}

TEST_CASE("the id is what Dragonfly's importers compute") {
  Town town(21, 1);
  town.write(*town.peers[0], "This is a test file");
  auto request = town.importing(1);
  request.set_application("app1");
  auto made = town.import(*town.peers[0], request);
  REQUIRE(made.ok());
  CHECK(made->id() == "0d0f8536f51227fda07141308f5ae8149b561b51b61c6517125f25dfa27acf5b");
  auto named = town.importing(1);
  named.set_content_for_calculating_task_id("This is a test file");
  made = town.import(*town.peers[0], named);
  REQUIRE(made.ok());
  CHECK(made->id() == "e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249");
}

TEST_CASE("another host makes a copy when one that kept it is gone, and a restart forgets none") {
  Town town(31, 5);
  const auto content = sim::random_bytes(9_MiB, 4);
  const auto id = town.keep(content, 2);
  town.peers[0]->power_off();
  REQUIRE(town.cluster.sim().run_until([&] { return town.kept(id) >= 2; }, 20min));
  // What it has on its disk counts when it comes back.
  town.peers[0]->restart();
  town.cluster.run_for(30s);
  const auto here = town.copy(*town.peers[0], id);
  REQUIRE(here);
  CHECK(here->persistent);
  CHECK(here->kind == store::TaskKind::kPersistentCache);
  auto request = town.exporting(id);
  request.set_output_path("/home/out");
  auto& user = town.without(id);
  auto written = town.download(user, request);
  REQUIRE_MESSAGE(written.ok(), written.ended->error().message());
  CHECK(town.read(user, "/home/out") == content);
}

TEST_CASE("whoever expects another digest is told so, and no copy is lost by it") {
  Town town(51, 3);
  const auto content = sim::random_bytes(9_MiB, 6);
  const auto id = town.keep(content, 1);
  for (auto* peer : town.peers) {  // where it was imported, and where it has to be fetched first
    auto request = town.exporting(id);
    request.set_need_piece_content(true);
    for (int i = 0; i < 2; ++i) {
      auto mistaken = request;
      mistaken.set_digest("sha256:" + std::string(64, '0'));
      auto refused = town.download(*peer, mistaken);
      REQUIRE_FALSE(refused.ok());
      CHECK(refused.ended->error().message().find("was expected") != std::string::npos);
      CHECK(town.kept(id) == 1);
      auto right = town.download(*peer, request);
      REQUIRE_MESSAGE(right.ok(), right.ended->error().message());
      CHECK(right.bytes() == content);
    }
  }
  CHECK(town.kept(id) == 1);
}

TEST_CASE("what is there already is not imported again, until it is deleted or its time is over") {
  Town town(41, 3);
  const auto content = sim::random_bytes(5_MiB, 5);
  for (auto* peer : town.peers) town.write(*peer, content);
  auto made = town.import(*town.peers[0], town.importing(3));
  REQUIRE(made.ok());
  const auto id = made->id();
  for (auto* peer : town.peers) {
    auto again = town.import(*peer, town.importing(3));
    REQUIRE(!again.ok());
    CHECK(grpc::code_of(again.error()) == grpc::Code::kAlreadyExists);
    // The file that was to be imported, and the task once.
    const auto& why = again.error().message();
    CHECK_MESSAGE(why.find("importing " + town.importing(3).path() + ":") != std::string::npos, why);
    CHECK_MESSAGE(why.find("task " + id) == why.rfind("task " + id), why);
  }
  town.cluster.run_for(30s);
  CHECK(town.kept(id) == 3);

  // A copy that may go for others to have room, and again one that stays.
  namespace upload = api::method::upload;
  auto& host = town.peers[1]->host();
  grpc::Channel other(town.peers[2]->host(), host.address(4000));
  api::scheduler::DeletePersistentCacheTaskRequest all;
  all.set_host_id(town.peers[1]->node()->host_id());
  all.set_task_id(id);
  grpc::Channel scheduler(host, town.cluster.schedulers()[0]->address(8002));
  std::optional<Result<api::Empty>> deleted;
  auto remove = [](grpc::Channel& to, api::scheduler::DeletePersistentCacheTaskRequest request,
                   std::optional<Result<api::Empty>>& out) -> Task<void> {
    Task<Result<api::Empty>> calling =
        to.unary<api::Empty>(api::method::scheduler::kDeletePersistentCacheTask, request);
    auto called = co_await calling;
    out.emplace(std::move(called));
  };
  host.spawn(remove(scheduler, all, deleted));
  REQUIRE(town.cluster.sim().run_until([&] { return deleted.has_value(); }, 30s));
  REQUIRE(deleted->ok());
  town.cluster.run_for(5s);
  for (auto* peer : town.peers) CHECK(!town.copy(*peer, id));
  auto gone = town.download(*town.peers[1], town.exporting(id));
  CHECK(grpc::code_of(gone.ended->error()) == grpc::Code::kNotFound);

  auto short_lived = town.importing(2);
  api::set_duration(*short_lived.mutable_ttl(), 5min);
  made = town.import(*town.peers[1], short_lived);
  REQUIRE(made.ok());
  town.cluster.run_for(30s);
  CHECK(town.kept(id) == 2);
  town.cluster.run_for(40min);  // garbage is collected every 15 minutes
  CHECK(town.kept(id) == 0);
  CHECK(grpc::code_of(town.stat(*town.peers[0], id).error()) == grpc::Code::kNotFound);
  CHECK(town.import(*town.peers[2], town.importing(1)).ok());
}

TEST_CASE("imports that cannot be are refused with a reason, and leave nothing") {
  Town town(51, 2);
  auto& importer = *town.peers[0];
  town.write(importer, sim::random_bytes(5_MiB, 6));
  auto refused = [&](Upload request, grpc::Code code, std::string_view why) {
    auto made = town.import(importer, std::move(request));
    REQUIRE(!made.ok());
    CHECK(grpc::code_of(made.error()) == code);
    CHECK_MESSAGE(made.error().message().find(why) != std::string::npos, made.error().message());
    CHECK(importer.node()->store().stats().tasks == 0);
  };
  auto request = town.importing();
  request.set_path("home/model.bin");
  refused(request, grpc::Code::kInvalidArgument, "absolute");
  request.set_path("/home/nothing");
  refused(request, grpc::Code::kNotFound, "/home/nothing");
  request.set_path("/home");
  refused(request, grpc::Code::kInvalidArgument, "no regular file");
  refused(town.importing(0), grpc::Code::kInvalidArgument, "persistent_replica_count");
  request = town.importing();
  request.set_piece_length(1024);
  refused(request, grpc::Code::kInvalidArgument, "piece length 1024");
  request = town.importing();
  api::set_duration(*request.mutable_ttl(), 1min);
  refused(request, grpc::Code::kInvalidArgument, "Ttl");

  // Its disk is full: the scheduler hears that it came to nothing, so that it may be tried elsewhere.
  importer.host().disk().inject(
      {.op = sim::FileOp::kWrite, .path = "/content.", .code = ErrorCode::kDiskFull, .count = ~0ULL});
  auto made = town.import(importer, town.importing(1));
  REQUIRE(!made.ok());
  CHECK(importer.node()->store().stats().tasks == 0);
  importer.host().disk().clear_faults();
  town.cluster.run_for(1s);
  CHECK(town.import(importer, town.importing(1)).ok());
}

TEST_CASE("imports and calls about their tasks are counted as by Dragonfly") {
  Town town(57, 2);
  auto& importer = *town.peers[0];
  town.write(importer, sim::random_bytes(5_MiB, 6));
  auto made = town.import(importer, town.importing(1));
  REQUIRE(made.ok());
  CHECK(!town.import(importer, town.importing(1)).ok());
  CHECK(town.stat(importer, made->id()).ok());
  CHECK(!town.stat(importer, std::string(64, 'f')).ok());
  const auto metrics = importer.metrics()->expose();
  auto shows = [&](const std::string& line) {
    CHECK_MESSAGE(metrics.find("dragonfly_client_" + line + "\n") != std::string::npos, line);
  };
  const std::string replica = std::to_string(static_cast<int>(api::common::PERSISTENT_CACHE));
  shows("upload_task_total{type=\"" + replica + "\",tag=\"\",app=\"\"} 2");
  shows("upload_task_failure_total{type=\"" + replica + "\",tag=\"\",app=\"\"} 1");
  shows("concurrent_upload_task_total{type=\"" + replica + "\",tag=\"\",app=\"\"} 0");
  shows("upload_task_duration_milliseconds_count{task_type=\"" + replica + "\",task_size_level=\"3\"} 1");
  shows("stat_task_total{type=\"" + replica + "\"} 2");
  shows("stat_task_failure_total{type=\"" + replica + "\"} 1");
}

TEST_CASE("an import whose caller goes is given up, and can be made again at once") {
  Town town(61, 2);
  auto& importer = *town.peers[0];
  town.write(importer, sim::random_bytes(64_MiB, 7));
  std::optional<Result<Uploaded>> answer;
  {
    Scope scope(importer.host().loop());
    scope.spawn(
        call_unary<Uploaded>(importer.host(), method::kUploadPersistentCacheTask, town.importing(1), answer));
    REQUIRE(town.cluster.sim().run_until([&] { return importer.node()->engine().running() == 1; }, 10s));
  }
  town.cluster.run_for(2s);
  CHECK(!answer);
  CHECK(importer.node()->engine().running() == 0);
  CHECK(importer.node()->store().stats().tasks == 0);
  auto made = town.import(importer, town.importing(1));
  REQUIRE_MESSAGE(made.ok(), made.error().message());
  CHECK(made->current_persistent_replica_count() == 1);
  CHECK(town.cluster.shut_down() == "");
}

TEST_CASE("of two imports of the same on one host the second is refused, and stays away from the first") {
  const auto content = sim::random_bytes(64_MiB, 7);
  for (const bool given_up : {false, true}) {
    CAPTURE(given_up);
    Town town(63, 2);
    auto& importer = *town.peers[0];
    town.write(importer, content);
    std::optional<Result<Uploaded>> first;
    {
      Scope scope(importer.host().loop());
      scope.spawn(call_unary<Uploaded>(importer.host(), method::kUploadPersistentCacheTask, town.importing(1),
                                       first));
      town.cluster.run_for(10ms);
      auto second = town.import(importer, town.importing(1));
      REQUIRE(!first);
      REQUIRE(!second.ok());
      CHECK(grpc::code_of(second.error()) == grpc::Code::kAlreadyExists);
      CHECK_MESSAGE(second.error().message().find("another call") != std::string::npos,
                    second.error().message());
      if (!given_up) REQUIRE(town.cluster.sim().run_until([&] { return first.has_value(); }, 60s));
    }
    town.cluster.run_for(2s);
    auto made = given_up ? town.import(importer, town.importing(1)) : std::move(*first);
    REQUIRE_MESSAGE(made.ok(), made.error().message());
    CHECK(town.kept(made->id()) == 1);
    CHECK(town.stat(importer, made->id())->current_persistent_replica_count() == 1);
    auto request = town.exporting(made->id());
    request.set_output_path("/home/out");
    CHECK(town.download(*town.peers[1], request).ok());
    CHECK((town.read(*town.peers[1], "/home/out") == content));
    CHECK(town.cluster.shut_down() == "");
  }
}

TEST_CASE("a copy that is lost, or cut off, while it is read from is replaced by another") {
  for (bool cut : {false, true}) {
    CAPTURE(cut);
    Town town(71, 5);
    const auto content = sim::random_bytes(64_MiB, 8);
    const auto id = town.keep(content, 2);
    auto& user = town.without(id);
    user.host().set_bandwidth(100'000'000, 20'000'000);
    auto request = town.exporting(id);
    request.set_output_path("/home/out");
    Export out;
    user.host().spawn(call_download(user.host(), request, out));
    REQUIRE(town.cluster.sim().run_until(
        [&] { return town.copy(user, id) && town.copy(user, id)->pieces > 3; }, 60s));
    REQUIRE(!out.ended);
    if (cut) {
      town.cluster.sim().fabric().partition({&town.peers[0]->host()}, {&user.host()});
    } else {
      town.peers[0]->kill();
    }
    REQUIRE(town.cluster.sim().run_until([&] { return out.ended.has_value(); }, 120s));
    REQUIRE_MESSAGE(out.ok(), out.ended->error().message());
    CHECK(town.read(user, "/home/out") == content);
  }
}
