#include "scheduler/service_metrics.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/task_metrics.h"

namespace d7y::scheduler {
namespace {

const std::vector<double> kMilliseconds = {1,   2,    5,    10,   20,    50,    100,   200,
                                           500, 1000, 2000, 5000, 10000, 30000, 60000, 300000};

double milliseconds(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

}  // namespace

ServiceMetrics::ServiceMetrics(Metrics& metrics, bool each_host)
    : announcements(metrics),
      streams(metrics.gauge("dragonfly_scheduler_concurrent_schedule_total", "Open AnnouncePeer streams.")),
      seed_triggers(
          metrics.counter("d7y_scheduler_seed_triggers_total", "Downloads that seeds were asked for.")),
      seed_failures(metrics.counter("d7y_scheduler_seed_failures_total", "Those that did not end well.")),
      sent_to_source(metrics.counter("d7y_scheduler_sent_to_source_total", "Peers sent to the origin.")),
      sent_parents(metrics.counter("d7y_scheduler_sent_parents_total", "Answers with parents.")),
      metrics_(metrics),
      hosts_(metrics.gauge("d7y_scheduler_hosts", "Hosts known.")),
      tasks_(metrics.gauge("d7y_scheduler_tasks", "Tasks known.")),
      peers_(metrics.gauge("d7y_scheduler_peers", "Peers known.")),
      waiting_(metrics.gauge("d7y_scheduler_waiting_peers", "Peers that wait for parents.")),
      schedule_(metrics.histogram("dragonfly_scheduler_schedule_duration_milliseconds",
                                  "From a peer's request for parents to the answer.", kMilliseconds)) {
  if (each_host) host_traffic.emplace(metrics);
}

void ServiceMetrics::peer_event(std::string_view name, const PeerRecord& peer, const HostRecord& host) {
  const auto priority = std::min<std::size_t>(peer.priority, kPriorities - 1);
  auto*& counter = events_[name][priority * 2 + (host.facts.seed ? 1 : 0)];
  if (counter == nullptr) {
    const Labels labels = {{"priority", fmt::format("LEVEL{}", priority)},
                           {"task_type", "STANDARD"},
                           {"host_type", host_type(host.facts.seed)}};
    counter =
        &metrics_.counter(fmt::format("dragonfly_scheduler_{}_total", name), "Events of peers.", labels);
  }
  counter->add();
}

ServiceMetrics::PieceCounters& ServiceMetrics::pieces_of(bool from_source, const HostRecord& host) {
  auto& counters = pieces_[(from_source ? 2 : 0) + (host.facts.seed ? 1 : 0)];
  if (counters.pieces != nullptr) return counters;
  const std::string traffic = from_source ? "BACK_TO_SOURCE" : "REMOTE_PEER";
  const auto labels = [&](const char* name) {
    return Labels{{name, traffic}, {"task_type", "STANDARD"}, {"host_type", host_type(host.facts.seed)}};
  };
  counters.pieces = &metrics_.counter("dragonfly_scheduler_download_piece_finished_total",
                                      "Pieces that peers reported, failed ones too.", labels("traffic_type"));
  counters.failures = &metrics_.counter("dragonfly_scheduler_download_piece_finished_failure_total",
                                        "Pieces that peers reported as failed.", labels("traffic_type"));
  counters.bytes =
      &metrics_.counter("dragonfly_scheduler_traffic", "Bytes that peers reported.", labels("type"));
  return counters;
}

void ServiceMetrics::piece(bool from_source, std::uint64_t bytes, const HostRecord& host) {
  auto& counters = pieces_of(from_source, host);
  counters.pieces->add();
  counters.bytes->add(bytes);
}

void ServiceMetrics::piece_failed(bool from_source, const HostRecord& host) {
  auto& counters = pieces_of(from_source, host);
  counters.pieces->add();
  counters.failures->add();
}

void ServiceMetrics::peer_duration(const TaskRecord& task, Duration duration) {
  const int level = api::task_size_level(task.content_length);
  auto*& histogram = peer_durations_[static_cast<std::size_t>(level)];
  if (histogram == nullptr) {
    histogram = &metrics_.histogram("dragonfly_scheduler_download_peer_duration_milliseconds",
                                    "Whole downloads of peers.", kMilliseconds,
                                    {{"task_size_level", std::to_string(level)}});
  }
  histogram->observe(milliseconds(duration));
}

void ServiceMetrics::schedule_duration(Duration duration) { schedule_.observe(milliseconds(duration)); }

void ServiceMetrics::show(const Brain& brain) {
  hosts_.set(static_cast<std::int64_t>(brain.hosts().size()));
  tasks_.set(static_cast<std::int64_t>(brain.tasks().size()));
  peers_.set(static_cast<std::int64_t>(brain.peers().size()));
  waiting_.set(static_cast<std::int64_t>(brain.waiting()));
}

void show_version(Metrics& metrics, std::string_view version) {
  const auto major = version.substr(0, version.find('.'));
  const auto minor = version.substr(major.size() + 1, version.find('.', major.size() + 1) - major.size() - 1);
  const std::string unknown = "unknown";  // what Dragonfly says where it knows nothing
  metrics
      .gauge("dragonfly_scheduler_version", "Version of this scheduler.",
             {{"major", std::string(major)},
              {"minor", std::string(minor)},
              {"git_version", fmt::format("v{}", version)},
              {"git_commit", unknown},
              {"platform", "linux/" D7Y_ARCHITECTURE},
              {"build_time", unknown},
              {"go_version", unknown},
              {"go_tags", unknown},
              {"go_gcflags", unknown}})
      .set(1);
}

}  // namespace d7y::scheduler
