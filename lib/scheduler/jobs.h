// Filling hosts before anybody asks, telling who is filled, and emptying them: PreheatImage, PreheatFile,
// StatImage, StatFile (Dragonfly scheduler 4.4), and what a manager's queue asks for (job_queue.h).
//
//   Jobs jobs(world, brain, rules, host_calls, options, log, metrics);
//   jobs.attach(server);
//
// A preheat is answered as soon as it is known what is to be fetched where; fetching goes on behind it, paced
// by the numbers in the request. Hosts get ordinary downloads, so the origin is read as seldom as ever.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/scheduler.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/scope.h"
#include "base/token_bucket.h"
#include "net/grpc/server.h"
#include "net/http/client.h"
#include "scheduler/brain.h"
#include "scheduler/dynamic.h"
#include "scheduler/host_calls.h"
#include "source/image.h"
#include "world/world.h"

namespace d7y::scheduler {

struct JobOptions {
  std::string own_ip;  // told to hosts as the one who asks
  Duration registry_timeout = std::chrono::minutes(1);
  Duration stat_timeout = std::chrono::seconds(10);  // of one question to one host
  std::size_t preheats_at_once = 64;                 // running behind their answers
  std::size_t lists_at_once = 8;                     // StatImage and StatFile calls
  SpanSink* spans = nullptr;                         // of preheats that go on behind their answers
};

// A host, as reports of jobs name it.
struct JobHost {
  std::string id, ip, hostname;
  bool seed = false;
  Address at = Address::ipv4({}, 0);
  TimePoint created{}, updated{};
};
// What came of one download or removal on one host.
struct JobOutcome {
  JobHost host;
  std::string url;                     // of a preheat
  std::optional<std::string> failure;  // why; none: it ended well
};

class Jobs {
 public:
  Jobs(world::World& world, const Brain& brain, const DynamicRules& rules, HostCalls& hosts,
       JobOptions options, Log log, Metrics& metrics);
  ~Jobs();
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  void attach(grpc::Server& server);
  // Calls per second, all kinds together (jobRateLimit).
  void set_rate(std::uint32_t per_second);

  Task<Result<api::Empty>> preheat_image(api::scheduler::PreheatImageRequest request,
                                         std::optional<TraceContext> caller);
  Task<Result<api::Empty>> preheat_file(api::scheduler::PreheatFileRequest request,
                                        std::optional<TraceContext> caller);
  Task<Result<api::scheduler::StatImageResponse>> stat_image(api::scheduler::StatImageRequest request);
  Task<Result<api::scheduler::StatFileResponse>> stat_file(api::scheduler::StatFileRequest request);

  // A preheat that is waited for. `urls` instead of the request's, unless they are none. At most 100,000
  // outcomes are told, failed ones first. Not counted against the rate.
  Task<Result<std::vector<JobOutcome>>> preheat(api::scheduler::PreheatFileRequest request,
                                                std::vector<std::string> urls);
  struct Copy {
    JobHost host;
    bool finished = false;
  };
  // Who has something of a task, by asking every host.
  Task<std::vector<Copy>> find_task(std::string task_id, std::size_t hosts_at_once, Deadline deadline);
  // Tells all hosts that are known to have had it to remove it; `forget` is called for each that did.
  Task<std::vector<JobOutcome>> delete_task(std::string task_id, Deadline deadline,
                                            std::function<void(const JobHost&)> forget);
  std::vector<JobHost> all_hosts() const { return hosts(false); }

  std::size_t running() const { return running_; }

 private:
  using Target = JobHost;
  struct Preheat {
    std::vector<std::string> urls;
    api::common::Download download;  // without the URL
    bool one_seed = false;
    std::vector<Target> targets;
    std::size_t tasks_at_once = 0, peers_at_once = 0;
    Deadline deadline = Deadline::never();
    std::size_t done = 0, failed = 0;  // downloads
    std::vector<JobOutcome> failures, successes;
    bool keep_outcomes = false;
    std::optional<Span> span;  // where spans are wanted
  };
  struct Found {
    Target target;
    std::vector<std::optional<bool>> finished;  // by URL; none: nothing of it there
  };

  Result<void> admit();
  // A span inside of the call's that asked for the preheat, if that has one.
  void begin_span(Preheat& preheat, const std::string& scope, const std::optional<TraceContext>& caller);
  void end_span(Preheat& preheat);
  Result<std::shared_ptr<net::TlsContext>> trust(const google::protobuf::RepeatedPtrField<std::string>& chain,
                                                 bool insecure);
  Task<Result<source::ImageBlobs>> resolve(source::ImageRequest request, Deadline deadline);
  Task<Result<std::vector<std::string>>> list_folder(api::scheduler::PreheatFileRequest request,
                                                     Deadline deadline);
  std::vector<Target> hosts(bool seeds_only) const;
  std::vector<Target> seeds_for(std::string_view task_id) const;
  template <class Request>
  Result<void> choose_targets(const Request& request, Preheat& preheat) const;
  template <class Request>
  Result<Preheat> plan(const Request& request, std::vector<std::string> urls) const;
  Task<Result<std::vector<std::string>>> urls_of(const api::scheduler::PreheatFileRequest& request);
  Result<Preheat> plan_file(const api::scheduler::PreheatFileRequest& request, std::vector<std::string> urls);
  Task<void> run(Preheat preheat);
  Task<void> run_all(Preheat& preheat);
  Task<void> preheat_task(Preheat& preheat, std::size_t which);
  Task<void> preheat_host(Preheat& preheat, api::dfdaemon::DownloadTaskRequest& request,
                          const Target& target);
  Task<std::vector<Found>> ask_all(std::vector<std::string> task_ids, std::size_t tasks_at_once,
                                   std::size_t peers_at_once, Deadline deadline);
  Task<void> ask_host(Found& found, const std::vector<std::string>& task_ids, std::size_t at_once,
                      Deadline deadline);

  world::World& world_;
  const Brain& brain_;
  const DynamicRules& rules_;
  HostCalls& hosts_;
  JobOptions options_;
  Log log_;
  Counter &preheated_, &not_preheated_;
  TokenBucket rate_;
  http::Client registry_;
  std::size_t running_ = 0, listing_ = 0;
  Scope scope_;
};

}  // namespace d7y::scheduler
