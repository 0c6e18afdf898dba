// Preheats and lists of who has what: a registry with tokens, and hosts that note what they are asked for.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/base64.h"
#include "base/hash.h"
#include "base/ids.h"
#include "cluster.h"
#include "net/grpc/status.h"
#include "net/http/client.h"
#include "net/http/server.h"
#include "source/image.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

std::string digest_of(const std::string& bytes) { return "sha256:" + sha256_hex(as_bytes(bytes)); }
std::string layer(char letter) { return "sha256:" + std::string(64, letter); }

// A registry that wants a token, and its token service.
class Registry : public http::Handler {
 public:
  explicit Registry(sim::Host& machine)
      : machine_(machine), server_(machine, *this, http::ServerOptions{}), scope_(machine.loop()) {
    auto listening = machine.network().listen(machine.address(5000), world::ListenOptions{});
    REQUIRE(listening.ok());
    listener_ = std::move(*listening);
    scope_.spawn(server_.serve(*listener_));
    // Two platforms, an attestation that is for none, and a layer that both share.
    const auto manifest = [&](char own) {
      nlohmann::json json = {{"schemaVersion", 2},
                             {"config", {{"digest", layer('c')}, {"size", 1}}},
                             {"layers",
                              {{{"digest", layer('a')}},
                               {{"digest", layer(own)}},
                               {{"digest", layer(own)}},
                               {{"digest", layer('f')},
                                {"mediaType", "application/vnd.docker.image.rootfs.foreign.diff.tar"}}}}};
      auto text = json.dump();
      manifests[digest_of(text)] = text;
      return digest_of(text);
    };
    const nlohmann::json index = {
        {"manifests",
         {{{"digest", manifest('1')}, {"platform", {{"os", "linux"}, {"architecture", "amd64"}}}},
          {{"digest", manifest('2')},
           {"platform", {{"os", "linux"}, {"architecture", "arm64"}, {"variant", "v8"}}}},
          {{"digest", manifest('3')}, {"platform", {{"os", "unknown"}, {"architecture", "unknown"}}}}}}};
    manifests["1.0"] = index.dump();
  }

  std::string url(const std::string& reference) const {
    return "http://" + machine_.address(5000).to_string() + "/v2/team/app/manifests/" + reference;
  }
  std::string blob(char letter) const {
    return "http://" + machine_.address(5000).to_string() + "/v2/team/app/blobs/" + layer(letter);
  }

  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    const auto authorization = std::string(request.headers().get("Authorization").value_or(""));
    http::ResponseHead head;
    std::string body;
    if (request.path() == "/token") {
      ++tokens;
      scope = std::string(request.query());
      const bool known = authorization == "Basic " + base64_encode("me:secret");
      if (known) body = R"({"token":"the-token"})";
      head.status = known ? 200 : 401;
    } else if (authorization != "Bearer the-token") {
      head.status = 401;
      head.headers.set("WWW-Authenticate", "Bearer realm=\"http://" + machine_.address(5000).to_string() +
                                               "/token\",service=\"registry\"");
    } else {
      const std::string prefix = "/v2/team/app/manifests/";
      const auto found = request.path().starts_with(prefix)
                             ? manifests.find(std::string(request.path().substr(prefix.size())))
                             : manifests.end();
      head.status = found == manifests.end() ? 404 : 200;
      if (head.status == 200) body = found->second;
    }
    auto sending = responder.send(std::move(head), std::move(body));
    (void)co_await sending;
  }

  std::map<std::string, std::string> manifests;
  int tokens = 0;
  std::string scope;

 private:
  sim::Host& machine_;
  http::Server server_;
  std::unique_ptr<world::Listener> listener_;
  Scope scope_;
};

// A host's upload server.
class Uploads {
 public:
  explicit Uploads(sim::Host& machine) : server_(machine) {
    namespace method = api::method::upload;
    using namespace api::dfdaemon;
    server_.server_stream<DownloadTaskRequest, DownloadTaskResponse>(
        std::string(method::kDownloadTask),
        [this](grpc::ServerCall&, DownloadTaskRequest request, grpc::Writer<DownloadTaskResponse>&) {
          return download(std::move(request));
        });
    server_.unary<StatLocalTaskRequest, StatLocalTaskResponse>(
        std::string(method::kStatLocalTask),
        [this](grpc::ServerCall&, StatLocalTaskRequest request) { return stat(std::move(request)); });
    server_.unary<ListTaskEntriesRequest, ListTaskEntriesResponse>(
        std::string(method::kListTaskEntries),
        [this](grpc::ServerCall&, ListTaskEntriesRequest request) { return list(std::move(request)); });
    const auto listening = server_.listen(machine.address(4000));
    CHECK(listening.ok());
  }

  std::vector<api::common::Download> downloads;
  std::map<std::string, bool> tasks;  // by id: finished?
  std::vector<std::string> files;
  int at_once = 0, most_at_once = 0;

 private:
  Task<Result<void>> download(api::dfdaemon::DownloadTaskRequest request) {
    downloads.push_back(request.download());
    most_at_once = std::max(most_at_once, ++at_once);
    co_await sleep_for(1s);
    --at_once;
    co_return Result<void>{};
  }
  Task<Result<api::dfdaemon::StatLocalTaskResponse>> stat(api::dfdaemon::StatLocalTaskRequest request) {
    const auto found = tasks.find(request.task_id());
    if (found == tasks.end()) co_return error(ErrorCode::kNotFound, "local task not found");
    api::dfdaemon::StatLocalTaskResponse response;
    if (found->second) response.mutable_finished_at();
    co_return response;
  }
  Task<Result<api::dfdaemon::ListTaskEntriesResponse>> list(api::dfdaemon::ListTaskEntriesRequest request) {
    api::dfdaemon::ListTaskEntriesResponse response;
    response.add_entries()->set_is_dir(true);
    for (const auto& file : files) response.add_entries()->set_url(request.url() + file);
    co_return response;
  }
  grpc::Server server_;
};

struct Machine {
  std::unique_ptr<Daemon> daemon;
  std::unique_ptr<Uploads> uploads;
};
Task<Machine> machine(TestCluster& cluster, std::string name, bool seed) {
  Machine made;
  auto making = cluster.daemon(std::move(name), seed);
  made.daemon = co_await making;
  made.uploads = std::make_unique<Uploads>(made.daemon->machine());
  co_return made;
}

api::scheduler::PreheatImageRequest image_request(const Registry& registry) {
  api::scheduler::PreheatImageRequest request;
  request.set_url(registry.url("1.0"));
  request.set_username("me");
  request.set_password("secret");
  request.set_platform("linux/arm64");
  request.set_scope("single_seed_peer");
  request.set_tag("t");
  request.set_priority(api::common::LEVEL5);
  return request;
}

std::string id_of(const std::string& url, const std::string& tag) {
  StandardTaskId recipe;
  recipe.url = url;
  recipe.tag = tag;
  recipe.filtered_query_params = default_filtered_query_params();
  return *task_id(recipe);
}

template <class Request>
Task<Result<api::Empty>> preheat(Daemon& daemon, std::string_view path, Request request) {
  auto calling = daemon.channel().unary<api::Empty>(path, request);
  co_return co_await calling;
}
template <class Request>
Task<grpc::Code> code_of(Daemon& daemon, std::string_view path, Request request) {
  auto calling = preheat(daemon, path, std::move(request));
  auto result = co_await calling;
  co_return result ? grpc::Code::kOk : grpc::code_of(result.error());
}

}  // namespace

SCHEDULER_TEST("an image is resolved with a token, its platform's blobs go to one seed") {
  TestCluster cluster(sim);
  Registry registry(sim.add_host({}));
  auto making_seed = machine(cluster, "seed", true);
  auto seed = co_await making_seed;
  auto making_peer = machine(cluster, "peer", false);
  auto peer = co_await making_peer;
  DONE(preheat(*peer.daemon, api::method::scheduler::kPreheatImage, image_request(registry)));
  co_await sleep_for(10s);
  CHECK(registry.tokens == 1);
  CHECK(registry.scope == "scope=repository%3Ateam%2Fapp%3Apull&service=registry");
  std::set<std::string> urls;
  for (const auto& download : seed.uploads->downloads) {
    urls.insert(download.url());
    CHECK(download.tag() == "t");
    CHECK(download.priority() == api::common::LEVEL5);
    CHECK(download.request_header().at("Authorization") == "Bearer the-token");
    CHECK(download.filtered_query_params_size() == static_cast<int>(default_filtered_query_params().size()));
  }
  CHECK(urls == std::set<std::string>{registry.blob('c'), registry.blob('a'), registry.blob('2')});
  CHECK(seed.uploads->downloads.size() == 3);
  CHECK(peer.uploads->downloads.empty());
  CHECK(cluster.node().service().jobs().running() == 0);

  // Who has it.
  seed.uploads->tasks[id_of(registry.blob('c'), "t")] = true;
  seed.uploads->tasks[id_of(registry.blob('a'), "t")] = true;
  peer.uploads->tasks[id_of(registry.blob('a'), "t")] = false;
  api::scheduler::StatImageRequest stat;
  stat.set_url(registry.url("1.0"));
  stat.set_username("me");
  stat.set_password("secret");
  stat.set_platform("linux/arm64/v8");
  stat.set_tag("t");
  MUST(auto found, peer.daemon->channel().unary<api::scheduler::StatImageResponse>(
                       api::method::scheduler::kStatImage, stat));
  CHECK(found.image().layers_size() == 3);
  REQUIRE(found.peers_size() == 2);
  std::map<std::string, std::map<std::string, bool>> cached;
  for (const auto& one : found.peers()) {
    for (const auto& l : one.cached_layers()) cached[one.hostname()][l.url()] = l.is_finished();
  }
  CHECK(cached["seed"] ==
        std::map<std::string, bool>{{registry.blob('c'), true}, {registry.blob('a'), true}});
  CHECK(cached["peer"] == std::map<std::string, bool>{{registry.blob('a'), false}});
}

SCHEDULER_TEST("what an image cannot be resolved to is said") {
  sim::HostOptions options;
  auto& client_machine = sim.add_host(options);
  Registry registry(sim.add_host({}));
  http::Client client(client_machine, http::ClientOptions{});
  struct Try {
    static Task<std::string> once(http::Client& client, source::ImageRequest request) {
      auto resolving = source::resolve_image(client, std::move(request), Deadline::never());
      auto resolved = co_await resolving;
      co_return resolved ? "fine"
                         : std::string(name_of(resolved.error().code())) + ": " + resolved.error().message();
    }
  };
  source::ImageRequest request;
  request.url = registry.url("1.0");
  request.username = "me";
  request.password = "secret";
  const auto outcome = [&](source::ImageRequest changed) { return Try::once(client, std::move(changed)); };
  auto changed = request;
  changed.platform = "windows/amd64";
  auto trying = outcome(changed);
  auto said = co_await trying;
  CHECK(said.find("linux/amd64, linux/arm64/v8") != std::string::npos);
  changed = request;
  changed.password = "wrong";
  auto again = outcome(changed);
  said = co_await again;
  CHECK(said.find(name_of(ErrorCode::kUnauthenticated)) == 0);
  CHECK(said.find("wrong") == std::string::npos);
  changed = request;
  changed.url = registry.url("2.0");
  auto missing = outcome(changed);
  said = co_await missing;
  CHECK(said.find(name_of(ErrorCode::kNotFound)) == 0);
  changed = request;
  changed.url = "http://h/v2/team/app/blobs/x";
  auto no_manifest = outcome(changed);
  said = co_await no_manifest;
  CHECK(said.find(name_of(ErrorCode::kInvalid)) == 0);
  // A manifest that is not what its digest says.
  for (auto& [reference, text] : registry.manifests) {
    if (reference.starts_with("sha256:")) text += " ";
  }
  auto damaged = outcome(request);
  said = co_await damaged;
  CHECK(said.find(name_of(ErrorCode::kCorrupt)) == 0);
  for (const char* text : {"", "[]", "{\"manifests\":[{}]}", "{\"layers\":[1,{\"digest\":\"x\"}]}", "\xff"}) {
    registry.manifests["1.0"] = text;
    auto bad = outcome(request);
    said = co_await bad;
    CHECK_MESSAGE(said != "fine", text);
  }
}

SCHEDULER_TEST("scopes, counts, percentages, addresses and pacing of preheats") {
  TestCluster cluster(sim);
  std::vector<Machine> machines;
  for (int i = 0; i < 10; ++i) {
    auto making = machine(cluster, "host" + std::to_string(i), i < 4);
    machines.push_back(co_await making);
  }
  const auto asked = [&] {
    std::vector<std::size_t> counts;
    for (auto& one : machines) {
      counts.push_back(one.uploads->downloads.size());
      one.uploads->downloads.clear();
    }
    return counts;
  };
  const auto hosts = [](const std::vector<std::size_t>& counts) {
    return std::count_if(counts.begin(), counts.end(), [](std::size_t count) { return count > 0; });
  };
  api::scheduler::PreheatFileRequest request;
  request.set_url("https://origin.example/data/file");
  request.set_scope("all_seed_peers");
  const auto& path = api::method::scheduler::kPreheatFile;
  auto& caller = *machines[9].daemon;
  DONE(preheat(caller, path, request));
  co_await sleep_for(5s);
  auto counts = asked();
  CHECK(counts == std::vector<std::size_t>{1, 1, 1, 1, 0, 0, 0, 0, 0, 0});
  request.set_scope("all_peers");
  DONE(preheat(caller, path, request));
  co_await sleep_for(5s);
  CHECK(hosts(asked()) == 10);
  request.set_percentage(35);
  DONE(preheat(caller, path, request));
  co_await sleep_for(5s);
  CHECK(hosts(asked()) == 3);
  request.set_count(2);
  DONE(preheat(caller, path, request));
  co_await sleep_for(5s);
  CHECK(hosts(asked()) == 2);
  request.add_ips(machines[7].daemon->machine().addresses().front().ip());
  DONE(preheat(caller, path, request));
  co_await sleep_for(5s);
  counts = asked();
  CHECK(counts[7] == 1);
  CHECK(hosts(counts) == 1);

  // A folder: a daemon lists it, and so many files at a time are fetched by so many hosts.
  for (auto& one : machines) one.uploads->files = {"a", "b", "c", "d", "e"};
  request.clear_ips();
  request.clear_count();
  request.clear_percentage();
  request.set_url("https://origin.example/data/");
  request.set_concurrent_task_count(2);
  request.set_concurrent_peer_count(3);
  const auto before = sim.now();
  DONE(preheat(caller, path, request));
  const bool over = sim.now() - before < 2s;  // answered before the downloads are done
  CHECK(over);
  int most = 0;
  for (int i = 0; i < 100; ++i) {
    int now = 0;
    for (auto& one : machines) now += one.uploads->at_once;
    most = std::max(most, now);
    co_await sleep_for(200ms);
  }
  CHECK(most > 1);
  CHECK(most <= 6);
  for (auto& one : machines) {
    CHECK(one.uploads->downloads.size() == 5);
    CHECK(one.uploads->most_at_once <= 2);
  }

  // One seed that is away: another one does it.
  counts = asked();
  request.set_url("https://origin.example/data/file");
  request.set_scope("single_seed_peer");
  DONE(preheat(caller, path, request));
  co_await sleep_for(5s);
  counts = asked();
  CHECK(hosts(counts) == 1);
  const auto chosen = static_cast<std::size_t>(
      std::find_if(counts.begin(), counts.end(), [](std::size_t c) { return c > 0; }) - counts.begin());
  machines[chosen].uploads.reset();
  DONE(preheat(caller, path, request));
  co_await sleep_for(10s);
  machines[chosen].uploads = std::make_unique<Uploads>(machines[chosen].daemon->machine());
  counts = asked();
  CHECK(hosts(counts) == 1);
  CHECK(counts[chosen] == 0);
}

SCHEDULER_TEST("preheats that cannot be are refused with the right status") {
  SchedulerConfig config;
  config.dynamic.job_rate_limit = 4;
  config.dynamic.blocked[0].applications = {"games"};
  TestCluster cluster(sim, std::move(config));
  auto making = machine(cluster, "peer", false);
  auto peer = co_await making;
  const auto& path = api::method::scheduler::kPreheatFile;
  api::scheduler::PreheatFileRequest request;
  request.set_url("https://origin.example/f");
  auto asking = code_of(*peer.daemon, path, request);
  CHECK(co_await asking == grpc::Code::kInvalidArgument);  // no scope
  request.set_scope("single_seed_peer");
  auto no_seed = code_of(*peer.daemon, path, request);
  CHECK(co_await no_seed == grpc::Code::kFailedPrecondition);
  request.set_scope("all_peers");
  request.set_percentage(101);
  auto too_much = code_of(*peer.daemon, path, request);
  CHECK(co_await too_much == grpc::Code::kInvalidArgument);
  request.clear_percentage();
  request.set_application("games");
  auto blocked = code_of(*peer.daemon, path, request);
  CHECK(co_await blocked == grpc::Code::kPermissionDenied);
  request.set_application("");
  request.add_ips("10.99.99.99");
  auto nobody = code_of(*peer.daemon, path, request);
  CHECK(co_await nobody == grpc::Code::kNotFound);
  request.clear_ips();
  grpc::Code last = grpc::Code::kOk;
  for (int i = 0; i < 5; ++i) {
    auto one_more = code_of(*peer.daemon, path, request);
    last = co_await one_more;
  }
  CHECK(last == grpc::Code::kResourceExhausted);
}
