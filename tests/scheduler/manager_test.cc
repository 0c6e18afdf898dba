// A scheduler and its manager, which comes and goes.
#include "cluster.h"
#include "net/grpc/status.h"
#include "scheduler/manager_link.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

const std::string kTask = task_id_for('m');

// What a Dragonfly manager does with a scheduler.
class FakeManager {
 public:
  explicit FakeManager(sim::Host& machine) : machine_(machine) { start(); }

  void start() {
    server_ = std::make_unique<grpc::Server>(machine_);
    using namespace api::manager;
    namespace method = api::method::manager;
    server_->unary<UpdateSchedulerRequest, Scheduler>(
        std::string(method::kUpdateScheduler), [this](grpc::ServerCall&, UpdateSchedulerRequest request) {
          registered.push_back(request);
          Scheduler answer;
          answer.set_id(7);
          return answer_with<Scheduler>(api::validate(request), std::move(answer));
        });
    server_->unary<GetSchedulerRequest, Scheduler>(
        std::string(method::kGetScheduler), [this](grpc::ServerCall&, const GetSchedulerRequest& request) {
          ++asked;
          return answer_with<Scheduler>(api::validate(request), scheduler);
        });
    server_->unary<ListApplicationsRequest, ListApplicationsResponse>(
        std::string(method::kListApplications), [this](grpc::ServerCall&, const ListApplicationsRequest& r) {
          auto valid = api::validate(r);
          if (valid && applications.applications().empty()) {
            valid = error(ErrorCode::kNotFound, "there are none");
          }
          return answer_with<ListApplicationsResponse>(std::move(valid), applications);
        });
    server_->client_stream<KeepAliveRequest, api::Empty>(
        std::string(method::kKeepAlive),
        [this](grpc::ServerCall&, grpc::Reader<KeepAliveRequest>& in) { return keep_alive(in); });
    const auto listening = server_->listen(machine_.address(65003));
    CHECK(listening.ok());
  }
  void stop() { server_.reset(); }

  std::vector<api::manager::UpdateSchedulerRequest> registered;
  api::manager::Scheduler scheduler;
  api::manager::ListApplicationsResponse applications;
  int asked = 0, beats = 0, open = 0, ended_well = 0;

 private:
  template <class Message>
  static Task<Result<Message>> answer_with(Result<void> valid, Message message) {
    if (!valid) co_return std::move(valid).error();
    co_return message;
  }
  struct Count {
    explicit Count(int& of) : of_(of) { ++of_; }
    ~Count() { --of_; }
    int& of_;
  };
  Task<Result<api::Empty>> keep_alive(grpc::Reader<api::manager::KeepAliveRequest>& in) {
    const Count count(open);
    for (;;) {
      auto reading = in.read();
      CO_TRY(auto message, co_await reading);
      if (!message) break;
      CO_OK(api::validate(*message));
      ++beats;
    }
    ++ended_well;
    co_return api::Empty();
  }

  sim::Host& machine_;
  std::unique_ptr<grpc::Server> server_;
};

SchedulerConfig config_with(sim::Host& manager) {
  SchedulerConfig config;
  config.manager_addr = manager.address(65003).to_string();
  config.hostname = "sched_0.cluster";
  config.idc = "dc1";
  config.scheduler_cluster_id = 3;
  config.data_dir = "/data";
  return config;
}

void set_limits(FakeManager& manager) {
  auto& cluster = *manager.scheduler.mutable_scheduler_cluster();
  cluster.set_config(R"({"candidate_parent_limit":2.0,"filter_parent_limit":15,"job_rate_limit":3})");
  cluster.set_client_config(
      R"({"load_limit":9,"block_list":{"task":{"download":{"applications":["games"],"urls":null,"tags":null}}}})");
  cluster.set_seed_client_config("{}");
  manager.scheduler.add_seed_peers()->mutable_seed_peer_cluster()->set_config(R"({"load_limit":77})");
  auto& application = *manager.applications.add_applications();
  application.set_name("forbidden");
  application.mutable_priority()->set_value(api::common::LEVEL1);
}

Task<Result<std::optional<Answer>>> first_answer(Daemon& daemon, std::string application) {
  auto download = daemon.download();
  download.set_application(std::move(application));
  auto opening = daemon.open(kTask, std::move(download));
  CO_TRY(auto stream, co_await opening);
  auto reading = stream->read();
  co_return co_await reading;
}

}  // namespace

SCHEDULER_TEST("a scheduler registers at its manager, stays alive there, and does as it says") {
  sim::HostOptions options;
  options.name = "manager";
  auto& machine = sim.add_host(options);
  FakeManager manager(machine);
  set_limits(manager);
  TestCluster cluster(sim, config_with(machine));
  co_await sleep_for(12s);
  REQUIRE(manager.registered.size() == 1);
  const auto& request = manager.registered[0];
  CHECK(request.source_type() == api::manager::SCHEDULER_SOURCE);
  CHECK(request.hostname() == "sched-0.cluster");  // managers refuse what is no DNS name
  CHECK(request.ip() == cluster.machine().addresses().front().ip());
  CHECK(request.port() == cluster.node().address().port());
  CHECK(request.idc() == "dc1");
  CHECK(request.scheduler_cluster_id() == 3);
  CHECK(std::vector<std::string>(request.features().begin(), request.features().end()) ==
        std::vector<std::string>{"schedule"});  // preheats come through Redis, which it has not
  CHECK(request.config() == R"({"manager_keep_alive_interval":5000000000})");
  CHECK(manager.open == 1);
  CHECK(manager.beats == 3);
  CHECK(manager.asked == 1);
  CHECK(cluster.brain().options().candidate_parents == 2);
  CHECK(cluster.brain().options().host_limit == 9);
  CHECK(cluster.brain().options().seed_host_limit == 77);

  auto making = cluster.daemon("a");
  auto a = co_await making;
  auto games = first_answer(*a, "games");
  auto blocked = co_await games;
  REQUIRE_FALSE(blocked.ok());
  CHECK(grpc::code_of(blocked.error()) == grpc::Code::kPermissionDenied);
  auto asking = first_answer(*a, "forbidden");
  auto forbidden = co_await asking;
  REQUIRE_FALSE(forbidden.ok());
  CHECK(grpc::code_of(forbidden.error()) == grpc::Code::kFailedPrecondition);

  // A change is there with the next refresh.
  manager.scheduler.mutable_scheduler_cluster()->set_config(R"({"candidate_parent_limit":5})");
  co_await sleep_for(61s);
  CHECK(cluster.brain().options().candidate_parents == 5);
  // What is no JSON changes nothing.
  manager.scheduler.mutable_scheduler_cluster()->set_config("candidate");
  co_await sleep_for(61s);
  CHECK(cluster.brain().options().candidate_parents == 5);

  // A manager that was away gets it back by itself.
  manager.stop();
  co_await sleep_for(70s);
  CHECK(cluster.brain().options().candidate_parents == 5);
  manager.start();
  co_await sleep_for(40s);
  CHECK(manager.open == 1);
  CHECK(manager.registered.size() == 2);

  auto draining = cluster.node().drain(Deadline::in(10s, cluster.machine().now()));
  DONE(std::move(draining));
  CHECK(manager.ended_well == 1);
  cluster.stop();
}

SCHEDULER_TEST("what the manager said last is in force after a restart without it") {
  sim::HostOptions options;
  options.name = "manager";
  auto& machine = sim.add_host(options);
  FakeManager manager(machine);
  set_limits(manager);
  TestCluster cluster(sim, config_with(machine));
  co_await sleep_for(2s);
  CHECK(cluster.brain().options().host_limit == 9);
  manager.stop();
  cluster.start(config_with(machine));
  CHECK(cluster.brain().options().host_limit == 9);
  auto making = cluster.daemon("a");
  auto a = co_await making;
  auto asking = first_answer(*a, "forbidden");
  auto forbidden = co_await asking;
  REQUIRE_FALSE(forbidden.ok());
  CHECK(grpc::code_of(forbidden.error()) == grpc::Code::kFailedPrecondition);

  // A damaged file is as good as none.
  {
    auto file = cluster.machine().files().open("/data/manager.answers", world::OpenMode::kReadWrite);
    REQUIRE(file.ok());
    CHECK((*file)->write_at(100, as_bytes("x")).ok());
  }
  cluster.start(config_with(machine));
  CHECK(cluster.brain().options().host_limit == 200);
  // A scheduler without manager and file serves all the same.
  auto seeing = cluster.daemon("b");
  auto b = co_await seeing;
  auto trying = first_answer(*b, "");
  MUST(auto told, std::move(trying));
  CHECK(told.has_value());
}
