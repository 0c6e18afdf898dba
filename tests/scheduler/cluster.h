// A scheduler in a simulation, and daemons that speak to it as Dragonfly's do.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "api/api.h"
#include "api/validate.h"
#include "net/grpc/channel.h"
#include "net/grpc/health.h"
#include "net/grpc/server.h"
#include "scheduler/node.h"
#include "scheduler/service.h"
#include "sim/simulation.h"

namespace d7y::scheduler {

using namespace std::chrono_literals;

using Announce = api::scheduler::AnnouncePeerRequest;
using Answer = api::scheduler::AnnouncePeerResponse;

inline std::string task_id_for(char letter) { return std::string(64, letter); }

// One AnnouncePeer stream as a Rust daemon uses it: it never half-closes.
class DownloadStream {
 public:
  DownloadStream(world::World& world, grpc::BidiCall<Announce, Answer> call, std::string host_id,
                 std::string task_id, std::string peer_id)
      : world_(world),
        call_(std::move(call)),
        host_id_(std::move(host_id)),
        task_id_(std::move(task_id)),
        peer_id_(std::move(peer_id)) {}

  const std::string& peer_id() const { return peer_id_; }
  grpc::BidiCall<Announce, Answer>& call() { return call_; }
  Announce envelope() const {
    Announce request;
    request.set_host_id(host_id_);
    request.set_task_id(task_id_);
    request.set_peer_id(peer_id_);
    return request;
  }
  Task<Result<void>> write(Announce request) {
    auto writing = call_.write(request);
    co_return co_await writing;
  }
  Task<Result<void>> started() {
    auto request = envelope();
    request.mutable_download_peer_started_request();
    return write(std::move(request));
  }
  Task<Result<void>> source_started() {
    auto request = envelope();
    request.mutable_download_peer_back_to_source_started_request();
    return write(std::move(request));
  }
  Task<Result<void>> finished() {
    auto request = envelope();
    request.mutable_download_peer_finished_request();
    return write(std::move(request));
  }
  Task<Result<void>> source_finished() {
    auto request = envelope();
    request.mutable_download_peer_back_to_source_finished_request();
    return write(std::move(request));
  }
  Task<Result<void>> reschedule(const Answer& given) {
    auto request = envelope();
    *request.mutable_reschedule_peer_request()->mutable_candidate_parents() =
        given.normal_task_response().candidate_parents();
    return write(std::move(request));
  }
  Task<Result<void>> piece(std::uint32_t number, const std::string& parent) {
    auto request = envelope();
    auto& piece = parent.empty()
                      ? *request.mutable_download_piece_back_to_source_finished_request()->mutable_piece()
                      : *request.mutable_download_piece_finished_request()->mutable_piece();
    piece.set_number(number);
    piece.set_offset(std::uint64_t{number} << 22);
    piece.set_length(4 << 20);
    piece.set_digest("crc32:907060870");
    if (!parent.empty()) piece.set_parent_id(parent);
    api::set_duration(*piece.mutable_cost(), 20ms);
    piece.mutable_created_at();
    return write(std::move(request));
  }
  // The next answer; kTimeout if none comes within `limit`; none at the end with OK.
  Task<Result<std::optional<Answer>>> read(Duration limit = 60s) {
    auto reading = within(Deadline::in(limit, world_.now()), call_.read());
    co_return co_await reading;
  }

 private:
  world::World& world_;
  grpc::BidiCall<Announce, Answer> call_;
  std::string host_id_, task_id_, peer_id_;
};

class Daemon {
 public:
  // As a Rust daemon calls itself, or as ours.
  static grpc::ChannelOptions options(bool ours) {
    grpc::ChannelOptions made;
    made.user_agent = ours ? "d7y/0.1.0" : "tonic/0.14.2";
    return made;
  }

  Daemon(sim::Host& machine, Address scheduler, bool seed, bool ours = false)
      : machine_(machine),
        seed_(seed),
        host_id_(machine.addresses().front().ip() + "-" + machine.name() + (seed ? "-seed" : "")),
        channel_(machine, std::move(scheduler), options(ours)) {}

  sim::Host& machine() const { return machine_; }
  const std::string& host_id() const { return host_id_; }
  grpc::Channel& channel() { return channel_; }

  Task<Result<api::Empty>> announce() {
    api::scheduler::AnnounceHostRequest request;
    auto& host = *request.mutable_host();
    host.set_id(host_id_);
    host.set_type(seed_ ? 1 : 0);
    host.set_hostname(machine_.name());
    host.set_name("ns-" + machine_.name());
    host.set_ip(machine_.addresses().front().ip());
    host.set_port(4000);
    host.set_download_port(4000);
    host.set_proxy_port(4001);
    host.mutable_cpu()->set_logical_count(4);
    host.mutable_network()->set_max_tx_bandwidth(10'000'000'000);
    api::set_duration(*request.mutable_interval(), 300s);
    return channel_.unary<api::Empty>(api::method::scheduler::kAnnounceHost, request);
  }

  api::common::Download download() const {
    api::common::Download download;
    download.set_url("https://user:secret@origin.example/model.bin?X-Amz-Signature=s");
    (*download.mutable_request_header())["Authorization"] = "Bearer secret";
    download.set_output_path("/tmp/out");
    download.set_actual_content_length(100 << 20);
    download.set_actual_piece_length(4 << 20);
    download.set_actual_piece_count(25);
    download.set_concurrent_piece_count(8);
    return download;
  }
  // Opens a stream and registers.
  Task<Result<std::unique_ptr<DownloadStream>>> open(std::string task_id, api::common::Download download) {
    auto peer_id = host_id_ + "-" + std::to_string(++peers_);
    auto call = channel_.bidi<Announce, Answer>(api::method::scheduler::kAnnouncePeer);
    auto stream =
        std::make_unique<DownloadStream>(machine_, std::move(call), host_id_, std::move(task_id), peer_id);
    auto request = stream->envelope();
    *request.mutable_register_peer_request()->mutable_download() = std::move(download);
    auto writing = stream->write(std::move(request));
    CO_OK(co_await writing);
    co_return stream;
  }
  Task<Result<std::unique_ptr<DownloadStream>>> open(std::string task_id) {
    return open(std::move(task_id), download());
  }

 private:
  sim::Host& machine_;
  bool seed_;
  std::string host_id_;
  grpc::Channel channel_;
  int peers_ = 0;
};

class TestCluster {
 public:
  explicit TestCluster(sim::Simulation& sim, SchedulerConfig config = {}) : sim_(sim) {
    sim::HostOptions options;
    options.name = "scheduler";
    machine_ = &sim.add_host(options);
    start(std::move(config));
  }

  // On the same machine, with its disk; at another port than before.
  void start(SchedulerConfig config) {
    node_.reset();
    config.listen_ip = machine_->addresses().front().ip();
    auto opened = SchedulerNode::open(*machine_, std::move(config), machine_->log(), metrics_);
    REQUIRE_MESSAGE(opened.ok(), (opened ? "" : opened.error().message()));
    node_ = std::move(*opened);
  }

  SchedulerNode& node() { return *node_; }
  Brain& brain() { return node_->service().brain(); }
  sim::Host& machine() { return *machine_; }
  Metrics& metrics() { return metrics_; }
  void stop() { node_.reset(); }

  // A daemon that has announced itself.
  Task<std::unique_ptr<Daemon>> daemon(std::string name, bool seed = false, bool ours = false) {
    sim::HostOptions options;
    options.name = std::move(name);
    auto made = std::make_unique<Daemon>(sim_.add_host(options), node_->address(), seed, ours);
    auto announcing = made->announce();
    auto announced = co_await announcing;
    CHECK_MESSAGE(announced.ok(), (announced ? "" : announced.error().message()));
    co_return made;
  }

 private:
  sim::Simulation& sim_;
  Metrics metrics_;
  sim::Host* machine_ = nullptr;
  std::unique_ptr<SchedulerNode> node_;
};

// A seed's upload server: counts what it is asked for and does what the test says.
class FakeSeed {
 public:
  using Action = std::function<Task<Result<void>>(api::dfdaemon::DownloadTaskRequest)>;
  FakeSeed(sim::Host& machine, Action action) : server_(machine) {
    server_.server_stream<api::dfdaemon::DownloadTaskRequest, api::dfdaemon::DownloadTaskResponse>(
        std::string(api::method::upload::kDownloadTask),
        [this, action = std::move(action)](grpc::ServerCall&, api::dfdaemon::DownloadTaskRequest request,
                                           grpc::Writer<api::dfdaemon::DownloadTaskResponse>&) {
          requests.push_back(request);
          return action(std::move(request));
        });
    const auto listening = server_.listen(machine.address(4000));
    CHECK(listening.ok());
  }
  std::vector<api::dfdaemon::DownloadTaskRequest> requests;

 private:
  grpc::Server server_;
};

inline void simulate(Task<void> (*test)(sim::Simulation&), int seeds = 3) {
  for (int seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    sim::Simulation simulation(static_cast<std::uint64_t>(seed));
    CHECK_MESSAGE(simulation.run(test(simulation), 24h), "the test did not come to its end");
  }
}

}  // namespace d7y::scheduler

// SCHEDULER_TEST(name) { ... `sim` ... co_return; }
#define SCHEDULER_TEST_(function, name)                       \
  static d7y::Task<void> function(d7y::sim::Simulation& sim); \
  TEST_CASE(name) { d7y::scheduler::simulate(function); }     \
  static d7y::Task<void> function([[maybe_unused]] d7y::sim::Simulation& sim)
#define SCHEDULER_TEST(name) SCHEDULER_TEST_(D7Y_CONCAT(scheduler_test_, __LINE__), name)

// The value of an awaited Result, which has to be ok.
#define MUST(decl, ...)                                                                                  \
  auto D7Y_CONCAT(task_, __LINE__) = __VA_ARGS__;                                                        \
  auto D7Y_CONCAT(result_, __LINE__) = co_await D7Y_CONCAT(task_, __LINE__);                             \
  CHECK_MESSAGE(D7Y_CONCAT(result_, __LINE__).ok(),                                                      \
                (D7Y_CONCAT(result_, __LINE__) ? "" : D7Y_CONCAT(result_, __LINE__).error().message())); \
  if (!D7Y_CONCAT(result_, __LINE__)) co_return;                                                         \
  decl = std::move(*D7Y_CONCAT(result_, __LINE__))
#define DONE(...)                                                            \
  {                                                                          \
    auto task_ = __VA_ARGS__;                                                \
    auto result_ = co_await task_;                                           \
    CHECK_MESSAGE(result_.ok(), (result_ ? "" : result_.error().message())); \
    if (!result_) co_return;                                                 \
  }
