// Redis: its wire format as bytes, and two schedulers that share one.
#include "scheduler/redis_ledger.h"

#include <map>

#include "cluster.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

const std::string kTask = task_id_for('r');

// As much of a Redis as schedulers use; it keeps what it has while nobody can reach it.
class FakeRedis {
 public:
  explicit FakeRedis(sim::Host& machine) : machine_(machine) { start(); }

  void start() {
    auto listening = machine_.network().listen(machine_.address(6379), world::ListenOptions{});
    REQUIRE(listening.ok());
    listener_ = std::move(*listening);
    scope_ = std::make_unique<Scope>(machine_.loop());
    scope_->spawn(accept());
  }
  void stop() {
    scope_.reset();
    listener_.reset();
  }

  std::map<std::string, std::map<std::string, std::string>> hashes;
  std::map<std::string, std::string> expiry;
  int commands = 0, logins = 0;

 private:
  Task<void> accept() {
    for (;;) {
      auto accepting = listener_->accept(Deadline::never());
      auto stream = co_await accepting;
      if (!stream) co_return;
      scope_->spawn(serve(std::move(*stream)));
    }
  }
  Task<void> serve(std::unique_ptr<world::Stream> stream) {
    RespReader reader;  // a command looks like a reply that is a list
    std::string buffer;
    bool known = false;
    for (;;) {
      auto next = reader.next();
      if (!next) co_return;
      if (!*next) {
        buffer.resize(4096);
        auto reading = world::read_some(*stream, as_mutable_bytes(buffer), Deadline::never());
        auto got = co_await reading;
        if (!got || *got == 0) co_return;
        reader.feed(std::string_view(buffer).substr(0, *got));
        continue;
      }
      std::vector<std::string> words;
      for (auto& item : (*next)->items) words.push_back(item.text);
      if (words.empty()) co_return;
      const auto answer = handle(words, known);
      auto writing = world::write_all(*stream, as_bytes(answer), Deadline::never());
      auto written = co_await writing;
      if (!written) co_return;
    }
  }
  std::string handle(const std::vector<std::string>& words, bool& known) {
    ++commands;
    if (words[0] == "AUTH") {
      ++logins;
      known = words == std::vector<std::string>{"AUTH", "d7y", "secret"};
      return known ? "+OK\r\n" : "-WRONGPASS no\r\n";
    }
    if (!known) return "-NOAUTH who?\r\n";
    if (words[0] == "PING") return "+PONG\r\n";
    if (words[0] == "HSET") {
      hashes[words[1]][words[2]] = words[3];
    } else if (words[0] == "HDEL") {
      hashes[words[1]].erase(words[2]);
    } else if (words[0] == "DEL") {
      hashes.erase(words[1]);
    } else if (words[0] == "PEXPIREAT") {
      expiry[words[1]] = words[2];
    } else if (words[0] == "HGETALL") {
      std::vector<std::string> all;
      for (const auto& [name, value] : hashes[words[1]]) {
        all.push_back(name);
        all.push_back(value);
      }
      return resp_command(all);
    } else {
      return "-ERR unknown command\r\n";
    }
    return ":1\r\n";
  }

  sim::Host& machine_;
  std::unique_ptr<world::Listener> listener_;
  std::unique_ptr<Scope> scope_;
};

SchedulerConfig config_with(sim::Host& redis) {
  SchedulerConfig config;
  config.redis.addrs = {redis.address(6379).to_string()};
  config.redis.username = "d7y";
  config.redis.password = "secret";
  return config;
}

Task<Result<std::unique_ptr<DownloadStream>>> from_source(Daemon& daemon) {
  auto opening = daemon.open(kTask);
  CO_TRY(auto stream, co_await opening);
  auto reading = stream->read();
  CO_TRY(auto told, co_await reading);
  CHECK(told->has_need_back_to_source_response());
  auto starting = stream->source_started();
  CO_OK(co_await starting);
  auto finishing = stream->source_finished();
  CO_OK(co_await finishing);
  auto ending = stream->read();
  CO_TRY(auto end, co_await ending);
  CHECK_FALSE(end);
  co_return stream;
}

}  // namespace

TEST_CASE("replies of Redis are read however they are cut, and what is none is refused") {
  const std::string text =
      "+OK\r\n:-12\r\n$5\r\nhe\r\nl\r\n$-1\r\n*3\r\n$1\r\na\r\n*1\r\n:1\r\n$0\r\n\r\n-ERR no\r\n*0\r\n";
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    RespReader reader;
    std::vector<RespValue> values;
    for (std::size_t at = 0; at < text.size(); at += cut) {
      reader.feed(std::string_view(text).substr(at, cut));
      for (;;) {
        auto next = reader.next();
        REQUIRE(next.ok());
        if (!*next) break;
        values.push_back(std::move(**next));
      }
    }
    REQUIRE(values.size() == 7);
    CHECK(values[0].text == "OK");
    CHECK(values[1].integer == -12);
    CHECK(values[2].text == "he\r\nl");
    CHECK(values[3].kind == RespValue::Kind::kNull);
    REQUIRE(values[4].items.size() == 3);
    CHECK(values[4].items[1].items.at(0).integer == 1);
    CHECK(values[4].items[2].text.empty());
    CHECK(values[5].kind == RespValue::Kind::kError);
    CHECK(values[6].items.empty());
  }
  for (const char* bad : {"HTTP/1.1 200 OK\r\n", "$x\r\n", "$999999999999\r\n", "*99999999\r\n", ":1x\r\n",
                          "\r\n", "$1\r\nab\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"}) {
    RespReader reader;
    reader.feed(bad);
    CHECK_MESSAGE(!reader.next().ok(), bad);
  }
}

SCHEDULER_TEST("what one scheduler learned the other knows, hosts, copies and persistent tasks") {
  auto& machine = sim.add_host({});
  FakeRedis redis(machine);
  TestCluster first(sim, config_with(machine)), second(sim, config_with(machine));
  // Hosts announce themselves to both, as all daemons do.
  auto making_a = first.daemon("a");
  auto a = co_await making_a;
  auto making_b = first.daemon("b");
  auto b = co_await making_b;
  Daemon a_there(a->machine(), second.node().address(), false),
      b_there(b->machine(), second.node().address(), false);
  for (auto* daemon : {&a_there, &b_there}) {
    auto announcing = daemon->announce();
    auto announced = co_await announcing;
    CHECK(announced.ok());
  }
  auto reading = from_source(*a);
  MUST(auto stream, std::move(reading));
  stream.reset();
  namespace method = api::method::scheduler;
  api::scheduler::UploadPersistentCacheTaskStartedRequest upload;
  upload.set_host_id(a->host_id());
  upload.set_task_id(kTask);
  upload.set_peer_id("up");
  upload.set_persistent_replica_count(1);
  upload.set_piece_length(4 << 20);
  api::set_duration(*upload.mutable_ttl(), 24h);
  DONE(a->channel().unary<api::Empty>(method::kUploadPersistentCacheTaskStarted, upload));
  // The upload is finished at the other one: the ring has changed meanwhile.
  api::scheduler::UploadPersistentCacheTaskFinishedRequest finished;
  finished.set_host_id(a->host_id());
  finished.set_task_id(kTask);
  finished.set_peer_id("up");
  MUST(auto task, a_there.channel().unary<api::common::PersistentCacheTask>(
                      method::kUploadPersistentCacheTaskFinished, finished));
  CHECK(task.state() == "Succeeded");
  api::scheduler::StatPersistentCacheTaskRequest stat;
  stat.set_host_id(a->host_id());
  stat.set_task_id(kTask);
  MUST(auto again,
       a->channel().unary<api::common::PersistentCacheTask>(method::kStatPersistentCacheTask, stat));
  CHECK(again.state() == "Succeeded");

  // The first one is gone. A child at the second gets the copy that it never heard of.
  first.stop();
  MUST(auto child, b_there.open(kTask));
  MUST(auto answer, child->read());
  REQUIRE(answer->has_normal_task_response());
  CHECK(answer->normal_task_response().candidate_parents(0).host().id() == a->host_id());
  CHECK(answer->normal_task_response().candidate_parents(0).task().content_length() == 100 << 20);
  CHECK(redis.expiry.contains("d7y:scheduler-clusters:1:task/" + kTask));
  CHECK(redis.expiry.contains("d7y:scheduler-clusters:1:persistent-cache/" + kTask));
  for (const auto& [key, hash] : redis.hashes) {
    for (const auto& [name, value] : hash) CHECK(value.find("secret") == std::string::npos);
  }

  // One that comes back knows the hosts, and asks for the task when it is wanted.
  auto config = config_with(machine);
  first.start(config);
  Daemon b_back(b->machine(), first.node().address(), false);
  MUST(auto later, b_back.open(kTask));
  MUST(auto found, later->read());
  REQUIRE(found->has_normal_task_response());
  CHECK(first.brain().check(first.machine().now()) == "");
}

SCHEDULER_TEST("without Redis schedulers go on; what happened meanwhile is written when it is back") {
  auto& machine = sim.add_host({});
  FakeRedis redis(machine);
  TestCluster cluster(sim, config_with(machine));
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  co_await sleep_for(1s);
  redis.stop();
  auto reading = from_source(*a);
  MUST(auto stream, std::move(reading));
  stream.reset();
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  const auto before = sim.now();
  MUST(auto child, b->open(kTask));
  MUST(auto answer, child->read());
  CHECK(answer->has_normal_task_response());
  CHECK(sim.now() - before < 3s);
  const auto key = "d7y:scheduler-clusters:1:task/" + kTask;
  CHECK_FALSE(redis.hashes.contains(key));
  redis.start();
  co_await sleep_for(30s);
  CHECK(redis.hashes[key].contains(a->host_id()));
  CHECK(redis.hashes["d7y:scheduler-clusters:1:hosts"].size() == 2);
  CHECK(redis.logins >= 2);
}
