// What operators see of the scheduler, under the names and labels that Dragonfly's scheduler has.
#include <fmt/format.h>

#include "cluster.h"
#include "scheduler/host_metrics.h"

namespace d7y::scheduler {
namespace {

namespace method = api::method::scheduler;
const std::string kTask = task_id_for('a');

// What is printed behind `series`; "none" if it is not there.
std::string shown(const Metrics& metrics, const std::string& series) {
  const auto text = metrics.expose();
  const auto line = "\n" + series + " ";
  const auto at = text.find(line);
  if (at == std::string::npos) return "none";
  return text.substr(at + line.size(), text.find('\n', at + 1) - at - line.size());
}

std::string of_peers(std::string_view name, std::string_view host_type = "normal") {
  return fmt::format("dragonfly_scheduler_{}{{priority=\"LEVEL0\",task_type=\"STANDARD\",host_type=\"{}\"}}",
                     name, host_type);
}
std::string of_pieces(std::string_view name, std::string_view label, std::string_view traffic) {
  return fmt::format("dragonfly_scheduler_{}{{{}=\"{}\",task_type=\"STANDARD\",host_type=\"normal\"}}", name,
                     label, traffic);
}
std::string of_host(const Daemon& daemon, std::string_view type) {
  return fmt::format(
      "dragonfly_scheduler_host_traffic{{type=\"{}\",task_type=\"STANDARD\",host_type=\"normal\",host_id=\"{}"
      "\","
      "host_ip=\"{}\",host_name=\"{}\"}}",
      type, daemon.host_id(), daemon.machine().addresses().front().ip(), daemon.machine().name());
}

}  // namespace

SCHEDULER_TEST(
    "a download's events, pieces and bytes are counted by kind of host, and by host if that is asked for") {
  SchedulerConfig config;
  config.metrics_enable_host = true;
  TestCluster cluster(sim, std::move(config));
  const auto value = [&](const std::string& series) { return shown(cluster.metrics(), series); };
  CHECK(value("dragonfly_scheduler_announce_peer_total") == "0");
  CHECK(value("dragonfly_scheduler_upload_cache_peer_failed_failure_total") == "0");
  CHECK(value("dragonfly_scheduler_upload_peer_failed_failure_total") == "0");
  CHECK(
      value(
          "dragonfly_scheduler_version{major=\"0\",minor=\"1\",git_version=\"v0.1.0\",git_commit=\"unknown\","
          "platform=\"linux/" D7Y_TEST_ARCHITECTURE "\",build_time=\"unknown\",go_version=\"unknown\","
          "go_tags=\"unknown\",go_gcflags=\"unknown\"}") == "1");
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  MUST(auto first, a->open(kTask));
  MUST(auto told, first->read());
  CHECK(told->has_need_back_to_source_response());
  DONE(first->source_started());
  DONE(first->piece(0, ""));
  MUST(auto second, b->open(kTask));
  MUST(auto given, second->read());
  CHECK(given->has_normal_task_response());
  DONE(second->started());
  DONE(second->piece(0, first->peer_id()));
  auto failed = second->envelope();
  auto& piece = *failed.mutable_download_piece_failed_request();
  piece.set_piece_number(1);
  piece.set_parent_id(first->peer_id());
  piece.set_temporary(true);
  DONE(second->write(failed));
  DONE(first->source_finished());
  MUST(auto first_end, first->read());
  CHECK_FALSE(first_end);
  failed = second->envelope();
  failed.mutable_download_peer_failed_request();
  DONE(second->write(failed));
  MUST(auto second_end, second->read());
  CHECK_FALSE(second_end);

  CHECK(value("dragonfly_scheduler_announce_peer_total") == "2");
  CHECK(value("dragonfly_scheduler_announce_peer_failure_total") == "0");
  CHECK(value(of_peers("register_peer_total")) == "2");
  CHECK(value(of_peers("register_peer_failure_total")) == "none");
  CHECK(value(of_peers("download_peer_started_total")) == "1");
  CHECK(value(of_peers("download_peer_back_to_source_started_total")) == "1");
  CHECK(value(of_peers("download_peer_finished_total")) == "2");
  CHECK(value(of_peers("download_peer_finished_failure_total")) == "1");
  CHECK(value(of_pieces("download_piece_finished_total", "traffic_type", "BACK_TO_SOURCE")) == "1");
  CHECK(value(of_pieces("download_piece_finished_total", "traffic_type", "REMOTE_PEER")) == "2");
  CHECK(value(of_pieces("download_piece_finished_failure_total", "traffic_type", "REMOTE_PEER")) == "1");
  CHECK(value(of_pieces("traffic", "type", "BACK_TO_SOURCE")) == "4194304");
  CHECK(value(of_pieces("traffic", "type", "REMOTE_PEER")) == "4194304");
  CHECK(value("dragonfly_scheduler_download_peer_duration_milliseconds_count{task_size_level=\"7\"}") == "1");
  CHECK(value("dragonfly_scheduler_schedule_duration_milliseconds_count") == "2");
  CHECK(
      value("grpc_server_started_total{grpc_method=\"AnnouncePeer\",grpc_service=\"scheduler.v2.Scheduler\","
            "grpc_type=\"bidi_stream\"}") == "2");

  CHECK(value(of_host(*a, "download")) == "4194304");
  CHECK(value(of_host(*a, "upload")) == "4194304");
  CHECK(value(of_host(*b, "download")) == "4194304");
  CHECK(value(of_host(*b, "upload")) == "none");
  api::scheduler::DeleteHostRequest leaving;
  leaving.set_host_id(a->host_id());
  DONE(a->channel().unary<api::Empty>(method::kDeleteHost, leaving));
  CHECK(value(of_host(*a, "download")) == "none");
  CHECK(value(of_host(*a, "upload")) == "none");
  CHECK(value(of_host(*b, "download")) == "4194304");
  CHECK(value("dragonfly_scheduler_leave_host_total") == "1");
}

SCHEDULER_TEST(
    "what is refused is counted as a failure, and hosts by themselves only where that is asked for") {
  TestCluster cluster(sim);
  const auto value = [&](const std::string& series) { return shown(cluster.metrics(), series); };
  auto making = cluster.daemon("a");
  auto a = co_await making;
  auto download = a->download();
  download.set_disable_back_to_source(true);
  MUST(auto stream, a->open(kTask, download));
  auto waiting = stream->read(600s);
  auto verdict = co_await waiting;
  CHECK(verdict.failed_with(ErrorCode::kPrecondition));
  CHECK(value(of_peers("register_peer_total")) == "1");
  CHECK(value(of_peers("register_peer_failure_total")) == "1");
  CHECK(value("dragonfly_scheduler_announce_peer_failure_total") == "1");
  api::scheduler::StatPeerRequest unknown;
  unknown.set_host_id(a->host_id());
  unknown.set_task_id(kTask);
  unknown.set_peer_id("nobody");
  auto asking = a->channel().unary<api::common::Peer>(method::kStatPeer, unknown);
  auto answer = co_await asking;
  CHECK(answer.failed_with(ErrorCode::kNotFound));
  CHECK(value("dragonfly_scheduler_stat_peer_total") == "1");
  CHECK(value("dragonfly_scheduler_stat_peer_failure_total") == "1");
  CHECK(value("grpc_server_handled_total{grpc_code=\"NotFound\",grpc_method=\"StatPeer\",grpc_service="
              "\"scheduler."
              "v2.Scheduler\",grpc_type=\"unary\"}") == "1");

  MUST(auto other, a->open(task_id_for('b')));
  MUST(auto told, other->read());
  DONE(other->source_started());
  DONE(other->piece(0, ""));
  auto failed = other->envelope();
  failed.mutable_download_peer_back_to_source_failed_request();
  DONE(other->write(failed));
  MUST(auto end, other->read());
  CHECK(value(of_peers("download_peer_finished_total")) == "1");
  CHECK(value(of_peers("download_peer_back_to_source_finished_failure_total")) == "1");
  CHECK(cluster.metrics().expose().find("host_traffic") == std::string::npos);
}

TEST_CASE("announcements are counted by what hosts are made of, at most so many kinds of them") {
  Metrics metrics;
  AnnouncementCounters counters(metrics);
  api::common::Host host;
  host.set_os("linux");
  host.set_platform("debian");
  host.set_platform_family("debian");
  host.set_platform_version("12.5");
  host.set_kernel_version("6.1");
  host.mutable_build()->set_git_version("1.5.1");
  host.mutable_build()->set_git_commit("abc");
  host.mutable_build()->set_platform("x86_64");
  counters.add(host, true);
  counters.add(host, false);
  const std::string labels =
      "{os=\"linux\",platform=\"debian\",platform_family=\"debian\",platform_version=\"12.5\",kernel_version="
      "\"6.1\","
      "git_version=\"1.5.1\",git_commit=\"abc\",go_version=\"\",build_platform=\"x86_64\"}";
  CHECK(shown(metrics, "dragonfly_scheduler_announce_host_total" + labels) == "2");
  CHECK(shown(metrics, "dragonfly_scheduler_announce_host_failure_total" + labels) == "1");

  host.set_kernel_version(std::string(1000, 'x'));
  counters.add(host, true);
  for (int i = 0; i < 600; ++i) {
    host.set_kernel_version(std::to_string(i));
    counters.add(host, true);
  }
  const std::string others =
      "{os=\"other\",platform=\"other\",platform_family=\"other\",platform_version=\"other\",kernel_version="
      "\"other\","
      "git_version=\"other\",git_commit=\"other\",go_version=\"other\",build_platform=\"other\"}";
  CHECK(shown(metrics, "dragonfly_scheduler_announce_host_total" + others) == "102");
}

SCHEDULER_TEST("peers of persistent tasks are counted by kind of host") {
  TestCluster cluster(sim);
  const auto value = [&](std::string_view name) {
    return shown(cluster.metrics(), fmt::format("dragonfly_scheduler_{}{{host_type=\"normal\"}}", name));
  };
  auto making = cluster.daemon("a");
  auto a = co_await making;
  api::scheduler::UploadPersistentTaskStartedRequest started;
  started.set_host_id(a->host_id());
  started.set_task_id(kTask);
  started.set_peer_id("up");
  started.set_url("s3://bucket/key");
  started.mutable_object_storage()->set_region("r");
  started.mutable_object_storage()->set_endpoint("http://e");
  started.set_persistent_replica_count(1);
  api::set_duration(*started.mutable_ttl(), 1h);
  DONE(a->channel().unary<api::Empty>(method::kUploadPersistentTaskStarted, started));
  CHECK(shown(cluster.metrics(), "dragonfly_scheduler_upload_persistent_task_started_total") == "1");

  using Says = api::scheduler::AnnouncePersistentPeerRequest;
  using Hears = api::scheduler::AnnouncePersistentPeerResponse;
  auto call = a->channel().bidi<Says, Hears>(method::kAnnouncePersistentPeer);
  Says message;
  message.set_host_id(a->host_id());
  message.set_task_id(kTask);
  message.set_peer_id("p");
  message.mutable_register_persistent_peer_request()->set_url("s3://bucket/key");
  message.mutable_register_persistent_peer_request()->mutable_object_storage()->set_region("r");
  DONE(call.write(message));
  MUST(auto answer, call.read());
  CHECK(answer->has_need_back_to_source_response());
  message.mutable_download_persistent_peer_started_request();
  DONE(call.write(message));
  auto& piece = *message.mutable_download_piece_failed_request();
  piece.set_parent_id("up");
  piece.set_temporary(true);
  DONE(call.write(message));
  message.mutable_download_persistent_peer_failed_request();
  DONE(call.write(message));
  MUST(auto end, call.read());
  CHECK_FALSE(end);

  CHECK(value("register_persistent_peer_total") == "1");
  CHECK(value("register_persistent_peer_failure_total") == "0");
  CHECK(value("download_persistent_peer_started_total") == "1");
  CHECK(value("download_persistent_peer_finished_total") == "1");
  CHECK(value("download_persistent_peer_finished_failure_total") == "1");
  CHECK(value("download_persistent_piece_finished_failure_total") == "1");
  CHECK(shown(cluster.metrics(), "dragonfly_scheduler_announce_persistent_peer_total") == "1");
}

}  // namespace d7y::scheduler
