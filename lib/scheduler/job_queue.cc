#include "scheduler/job_queue.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/backoff.h"
#include "base/base64.h"

namespace d7y::scheduler {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kKept = "86400";  // seconds that states and results are kept
constexpr std::size_t kBiggestJob = 16 << 20;
constexpr Duration kUsualTimeout = std::chrono::minutes(60);
constexpr Duration kLongestTimeout = std::chrono::hours(24);
constexpr std::size_t kUsualHostsAtOnce = 500, kMostHostsAtOnce = 1000;

RedisOptions in_database(RedisOptions options, unsigned database) {
  options.database = database;
  return options;
}

std::string rfc3339(WallTime time) {
  const auto since = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:09}Z", fmt::gmtime(static_cast<std::time_t>(seconds.count())),
                     (since - seconds).count());
}

// Members that are missing, null or of another kind count as not there.
const Json* member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}
std::string text_of(const Json& object, const char* name) {
  const auto* value = member(object, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}
std::optional<std::uint64_t> number_of(const Json& object, const char* name) {
  const auto* value = member(object, name);
  if (value == nullptr || !value->is_number_unsigned()) return std::nullopt;
  return value->get<std::uint64_t>();
}
std::vector<std::string> texts_of(const Json& object, const char* name) {
  std::vector<std::string> out;
  const auto* value = member(object, name);
  if (value == nullptr || !value->is_array()) return out;
  for (const auto& item : *value) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}
// In nanoseconds; the usual one where none is given.
Duration timeout_of(const Json& request) {
  const auto given = number_of(request, "timeout").value_or(0);
  if (given == 0) return kUsualTimeout;
  const auto longest = static_cast<std::uint64_t>(Duration(kLongestTimeout).count());
  return Duration(static_cast<Duration::rep>(std::min(given, longest)));
}
std::size_t hosts_at_once(const Json& request) {
  const auto given = number_of(request, "concurrent_peer_count").value_or(0);
  return given == 0 ? kUsualHostsAtOnce : std::min<std::size_t>(given, kMostHostsAtOnce);
}

Result<Json> parse(std::string_view text, std::string_view what) {
  auto json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return error(ErrorCode::kInvalid, "{} is not JSON", what);
  if (!json.is_object()) return error(ErrorCode::kInvalid, "{} is no JSON object", what);
  return json;
}

void fill_object_storage(const Json& from, api::common::ObjectStorage& to) {
  const auto copy = [&](const char* name, auto set) {
    if (auto text = text_of(from, name); !text.empty()) set(std::move(text));
  };
  copy("region", [&](std::string value) { to.set_region(std::move(value)); });
  copy("endpoint", [&](std::string value) { to.set_endpoint(std::move(value)); });
  copy("access_key_id", [&](std::string value) { to.set_access_key_id(std::move(value)); });
  copy("access_key_secret", [&](std::string value) { to.set_access_key_secret(std::move(value)); });
  copy("session_token", [&](std::string value) { to.set_session_token(std::move(value)); });
  copy("credential_path", [&](std::string value) { to.set_credential_path(std::move(value)); });
  copy("predefined_acl", [&](std::string value) { to.set_predefined_acl(std::move(value)); });
  copy("security_token", [&](std::string value) { to.set_security_token(std::move(value)); });
  if (const auto* insecure = member(from, "insecure_skip_verify");
      insecure != nullptr && insecure->is_boolean())
    to.set_insecure_skip_verify(insecure->get<bool>());
}

Result<api::scheduler::PreheatFileRequest> preheat_request(const Json& from) {
  api::scheduler::PreheatFileRequest to;
  to.set_url(text_of(from, "url"));
  if (const auto length = number_of(from, "pieceLength"); length && *length != 0)
    to.set_piece_length(*length);
  if (auto tag = text_of(from, "tag"); !tag.empty()) to.set_tag(std::move(tag));
  if (auto application = text_of(from, "application"); !application.empty())
    to.set_application(std::move(application));
  const auto filters = text_of(from, "filtered_query_params");
  for (std::string_view rest = filters; !rest.empty();) {
    const auto end = std::min(rest.find('&'), rest.size());
    if (end > 0) to.add_filtered_query_params(std::string(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (const auto* headers = member(from, "headers"); headers != nullptr && headers->is_object()) {
    for (const auto& [name, value] : headers->items()) {
      if (value.is_string()) (*to.mutable_header())[name] = value.get<std::string>();
    }
  }
  // What is not known is the least of all.
  const auto scope = text_of(from, "scope");
  to.set_scope(scope == "all_peers" || scope == "all_seed_peers" ? scope : "single_seed_peer");
  for (auto& ip : texts_of(from, "ips")) to.add_ips(std::move(ip));
  if (const auto value = number_of(from, "percentage"); value && *value != 0)
    to.set_percentage(static_cast<std::uint32_t>(std::min<std::uint64_t>(*value, 1000)));
  if (const auto value = number_of(from, "count"); value && *value != 0)
    to.set_count(static_cast<std::uint32_t>(std::min<std::uint64_t>(*value, 1'000'000)));
  if (const auto value = number_of(from, "concurrent_task_count"); value && *value != 0)
    to.set_concurrent_task_count(static_cast<std::int64_t>(std::min<std::uint64_t>(*value, 100)));
  to.set_concurrent_peer_count(static_cast<std::int64_t>(hosts_at_once(from)));
  api::set_duration(*to.mutable_timeout(), timeout_of(from));
  if (const auto priority = number_of(from, "priority"); priority && *priority <= 6)
    to.set_priority(static_cast<api::common::Priority>(*priority));
  for (const auto& text : texts_of(from, "certificate_chain")) {
    auto der = base64_decode(text);
    if (!der) return error(ErrorCode::kInvalid, "certificate_chain holds something that is not base64");
    to.add_certificate_chain(std::move(*der));
  }
  if (const auto* insecure = member(from, "insecure_skip_verify");
      insecure != nullptr && insecure->is_boolean())
    to.set_insecure_skip_verify(insecure->get<bool>());
  if (const auto* storage = member(from, "object_storage"))
    fill_object_storage(*storage, *to.mutable_object_storage());
  if (const auto* hdfs = member(from, "hdfs"))
    to.mutable_hdfs()->set_delegation_token(text_of(*hdfs, "delegation_token"));
  if (auto path = text_of(from, "output_path"); !path.empty()) to.set_output_path(std::move(path));
  return to;
}

const char* kind_of(const JobHost& host) { return host.seed ? "super" : "normal"; }

// A preheat is a success if some host got everything; where each task is for another host, if some task is
// there.
Result<void> judge_preheat(const std::vector<JobOutcome>& outcomes, bool one_seed_each) {
  std::vector<std::string_view> failed;
  for (const auto& outcome : outcomes) {
    if (outcome.failure && !one_seed_each) failed.push_back(outcome.host.id);
  }
  std::sort(failed.begin(), failed.end());
  for (const auto& outcome : outcomes) {
    if (!outcome.failure && !std::binary_search(failed.begin(), failed.end(), outcome.host.id)) return {};
  }
  if (outcomes.empty()) return error(ErrorCode::kInternal, "nothing was preheated");
  return error(ErrorCode::kInternal, "no peer has it all; the first failure is at {}: {}",
               outcomes.front().host.id, outcomes.front().failure.value_or("unknown"));
}

struct Counted {
  Counted(std::size_t& count, Signal& changed) : count(++count), changed(changed) {}
  ~Counted() {
    --count;
    changed.notify_all();
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  std::size_t& count;
  Signal& changed;
};

}  // namespace

JobQueue::JobQueue(world::World& world, Service& service, JobQueueOptions options, Log log, Metrics& metrics)
    : world_(world),
      service_(service),
      options_(std::move(options)),
      name_(fmt::format("scheduler_{}_{}_{}", options_.cluster_id, options_.hostname, options_.ip)),
      taken_(name_ + ":taken"),
      log_(log.in("job-queue")),
      metrics_(metrics),
      results_(world, in_database(options_.redis, options_.result_database), "job-results", log, metrics),
      broker_(world, in_database(options_.redis, options_.broker_database), "job-lists", log, metrics),
      scope_(world.loop()) {}

// Taking jobs.

Task<void> JobQueue::run() {
  scope_.spawn(results_.run());
  scope_.spawn(broker_.run());
  Backoff pause(std::chrono::milliseconds(200), std::chrono::seconds(10));
  bool leftovers = true;
  for (;;) {
    const auto deadline = Deadline::in(options_.redis.timeout, world_.now());
    auto opening = RedisConnection::open(world_, broker_.options(), deadline);
    auto broker = co_await opening;
    Result<void> worked;
    if (!broker) worked = std::move(broker).error();
    if (worked && leftovers) {
      auto failing = fail_leftovers(*broker);
      worked = co_await failing;
      leftovers = !worked.ok();
    }
    while (worked) {
      pause.reset();
      auto taking = take_jobs(*broker);
      worked = co_await taking;
    }
    if (pause.tries() == 0)
      log_.warn("no jobs are taken from {}: {}; tried again", name_, worked.error().message());
    co_await sleep_for(pause.next(world_.random()));
  }
}

Task<Result<void>> JobQueue::take_jobs(RedisConnection& broker) {
  while (running_ >= options_.at_once) {
    auto waiting = finished_.wait(Deadline::never());
    (void)co_await waiting;
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(options_.patience).count();
  std::vector<std::string> words = {"BLMOVE", name_, taken_, "LEFT", "RIGHT", std::to_string(seconds)};
  auto sending = broker.send(resp_command(words), Deadline::in(options_.redis.timeout, world_.now()));
  CO_OK(co_await sending);
  auto receiving = broker.receive(Deadline::in(options_.patience + options_.redis.timeout, world_.now()));
  CO_TRY(RespValue value, co_await receiving);
  if (value.kind == RespValue::Kind::kError) {
    co_return error(ErrorCode::kUnavailable, "Redis: {} (6.2 or newer is needed)", value.text);
  }
  if (value.kind == RespValue::Kind::kText) scope_.spawn(work(std::move(value.text)));
  co_return Result<void>{};
}

Task<Result<void>> JobQueue::fail_leftovers(RedisConnection& broker) {
  auto asking =
      broker.exchange({"LRANGE", taken_, "0", "-1"}, Deadline::in(options_.redis.timeout, world_.now()));
  CO_TRY(const RespValue list, co_await asking);
  for (const auto& item : list.items) {
    const auto message = parse(item.text, "a job");
    if (message) {
      Job job{item.text, text_of(*message, "UUID"), text_of(*message, "Name"), {}, {}};
      auto remembering = remember_creation(job);
      co_await remembering;
      log_.warn("job {} ({}) was not finished when the scheduler ended", job.id, job.kind);
      tell(job, "FAILURE", nullptr, "the scheduler ended before the job was finished");
    }
    broker_.write({"LREM", taken_, "1", item.text});
  }
  co_return Result<void>{};
}

// One job.

Task<void> JobQueue::work(std::string text) {
  const Counted counted(running_, finished_);
  const auto message = text.size() > kBiggestJob
                           ? Result<Json>(error(ErrorCode::kTooLarge, "a job of {} bytes", text.size()))
                           : parse(text, "a job");
  Job job;
  job.text = std::move(text);
  if (message) {
    job.id = text_of(*message, "UUID");
    job.kind = text_of(*message, "Name");
    const auto* arguments = member(*message, "Args");
    if (arguments != nullptr && arguments->is_array() && !arguments->empty()) {
      job.argument = text_of(arguments->front(), "Value");
    }
  }
  if (job.id.empty()) {
    log_.warn("something in {} is no job: {}", name_, message ? "it has no UUID" : message.error().message());
  } else {
    auto remembering = remember_creation(job);
    co_await remembering;
    tell(job, "RECEIVED", nullptr, "");
    tell(job, "STARTED", nullptr, "");
    auto carrying = carry_out(job);
    const auto done = co_await carrying;
    metrics_
        .counter("d7y_scheduler_jobs_total", "Jobs of the manager that were carried out.",
                 {{"name", job.kind}, {"result", done ? "success" : "failure"}})
        .add();
    if (done) {
      tell(job, "SUCCESS", Json::array({{{"Type", "string"}, {"Value", done->dump()}}}), "");
      log_.info("job {} ({}) is done", job.id, job.kind);
    } else {
      tell(job, "FAILURE", nullptr, done.error().message());
      log_.warn("job {} ({}) failed: {}", job.id, job.kind, done.error().message());
    }
  }
  broker_.write({"LREM", taken_, "1", job.text});
}

// States keep the time that the manager wrote into the first one.
Task<void> JobQueue::remember_creation(Job& job) {
  auto asking = results_.ask({"GET", job.id}, Deadline::in(options_.redis.timeout, world_.now()));
  const auto before = co_await asking;
  if (before && before->kind == RespValue::Kind::kText) {
    if (const auto state = parse(before->text, "a state")) job.created = text_of(*state, "CreatedAt");
  }
  if (job.created.empty()) job.created = rfc3339(world_.wall_now());
}

void JobQueue::tell(const Job& job, std::string_view state, const Json& results, const std::string& failure) {
  const Json message = {
      {"TaskUUID", job.id}, {"TaskName", job.kind},     {"State", state}, {"Results", results},
      {"Error", failure},   {"CreatedAt", job.created}, {"TTL", 0}};
  results_.write({"SET", job.id, message.dump(-1, ' ', false, Json::error_handler_t::replace), "EX",
                  std::string(kKept)});
}

Task<Result<Json>> JobQueue::carry_out(const Job& job) {
  if (job.kind == "sync_peers") co_return sync_peers();
  const bool known = job.kind == "preheat" || job.kind == "get_task" || job.kind == "delete_task";
  if (!known) co_return error(ErrorCode::kUnsupported, "d7ysched knows no job named \"{}\"", job.kind);
  CO_TRY(Json request, parse(job.argument, "the job's argument"));
  auto ready = service_.ready();
  co_await ready;
  Task<Result<Json>> working = job.kind == "preheat"    ? preheat(std::move(request))
                               : job.kind == "get_task" ? get_task(std::move(request))
                                                        : delete_task(std::move(request));
  co_return co_await working;
}

Task<Result<Json>> JobQueue::preheat(Json request) {
  CO_TRY(auto message, preheat_request(request));
  const bool one_seed_each = message.scope() == "single_seed_peer";
  auto urls = texts_of(request, "urls");
  auto preheating = service_.jobs().preheat(std::move(message), std::move(urls));
  CO_TRY(const auto outcomes, co_await preheating);
  CO_OK(judge_preheat(outcomes, one_seed_each));
  Json successes = Json::array(), failures = Json::array();
  for (const auto& outcome : outcomes) {
    Json entry = {{"url", outcome.url}, {"hostname", outcome.host.hostname}, {"ip", outcome.host.ip}};
    if (outcome.failure) entry["description"] = *outcome.failure;
    (outcome.failure ? failures : successes).push_back(std::move(entry));
  }
  co_return Json({{"success_tasks", std::move(successes)},
                  {"failure_tasks", std::move(failures)},
                  {"scheduler_cluster_id", options_.cluster_id}});
}

Task<Result<Json>> JobQueue::get_task(Json request) {
  auto id = text_of(request, "task_id");
  if (id.empty()) co_return error(ErrorCode::kInvalid, "the job names no task_id");
  auto finding = service_.jobs().find_task(std::move(id), hosts_at_once(request),
                                           Deadline::in(timeout_of(request), world_.now()));
  const auto copies = co_await finding;
  const Clocks clocks{world_.now(), world_.wall_now()};
  Json peers = Json::array();
  for (const auto& copy : copies) {
    peers.push_back({{"id", copy.host.id},
                     {"hostname", copy.host.hostname},
                     {"ip", copy.host.ip},
                     {"host_type", kind_of(copy.host)},
                     {"created_at", rfc3339(clocks.at(copy.host.created))},
                     {"updated_at", rfc3339(clocks.at(copy.host.updated))},
                     {"IsFinished", copy.finished}});
  }
  co_return Json({{"peers", std::move(peers)}, {"scheduler_cluster_id", options_.cluster_id}});
}

Task<Result<Json>> JobQueue::delete_task(Json request) {
  const auto id = text_of(request, "task_id");
  if (id.empty()) co_return error(ErrorCode::kInvalid, "the job names no task_id");
  std::function<void(const JobHost&)> forget = [this, id](const JobHost& host) {
    service_.forget_copies(host.id, id);
  };
  auto deleting =
      service_.jobs().delete_task(id, Deadline::in(timeout_of(request), world_.now()), std::move(forget));
  const auto outcomes = co_await deleting;
  Json successes = Json::array(), failures = Json::array();
  for (const auto& outcome : outcomes) {
    Json entry = {
        {"hostname", outcome.host.hostname}, {"ip", outcome.host.ip}, {"host_type", kind_of(outcome.host)}};
    if (outcome.failure) entry["description"] = *outcome.failure;
    (outcome.failure ? failures : successes).push_back(std::move(entry));
  }
  co_return Json({{"success_tasks", std::move(successes)},
                  {"failure_tasks", std::move(failures)},
                  {"scheduler_cluster_id", options_.cluster_id}});
}

Json JobQueue::sync_peers() {
  Json out = Json::array();
  const auto& hosts = service_.brain().hosts();
  for (std::uint32_t at = 0; at < hosts.end(); ++at) {
    if (!hosts.live(at)) continue;
    const auto host = host_message(hosts.at(at), true);
    out.push_back({{"ID", host.id()},
                   {"Type", host.type()},
                   {"Name", host.name()},
                   {"Hostname", host.hostname()},
                   {"IP", host.ip()},
                   {"Port", host.port()},
                   {"DownloadPort", host.download_port()},
                   {"ProxyPort", host.proxy_port()},
                   {"ObjectStoragePort", 0},
                   {"DisableShared", host.disable_shared()},
                   {"OS", host.os()},
                   {"Platform", host.platform()},
                   {"PlatformFamily", host.platform_family()},
                   {"PlatformVersion", host.platform_version()},
                   {"KernelVersion", host.kernel_version()},
                   {"Network", {{"IDC", host.network().idc()}, {"Location", host.network().location()}}},
                   {"Build",
                    {{"GitVersion", host.build().git_version()},
                     {"GitCommit", host.build().git_commit()},
                     {"GoVersion", host.build().go_version()},
                     {"Platform", host.build().platform()}}},
                   {"SchedulerClusterID", options_.cluster_id}});
  }
  return out;
}

}  // namespace d7y::scheduler
