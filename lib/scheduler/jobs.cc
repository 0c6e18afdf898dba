#include "scheduler/jobs.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/methods.h"
#include "api/validate.h"
#include "base/base64.h"
#include "base/ids.h"
#include "base/siphash.h"
#include "base/url.h"

namespace d7y::scheduler {
namespace {

namespace upload = api::method::upload;

constexpr Duration kUsualTimeout = std::chrono::minutes(60);
constexpr Duration kLongestTimeout = std::chrono::hours(24);
constexpr std::size_t kMostUrls = 10000;  // of one preheat
constexpr std::size_t kMostOutcomes = 100'000;
constexpr std::size_t kRemovalsAtOnce = 64;
constexpr std::size_t kMostSeedsTried = 3;  // one after another, for one task

Duration timeout_of(bool given, const api::PbDuration& timeout) {
  const auto value = given ? api::duration_of(timeout) : kUsualTimeout;
  return value <= Duration::zero() ? kUsualTimeout : std::min(value, kLongestTimeout);
}

std::string pem_of(const std::string& der) {
  const auto text = base64_encode(der);
  std::string out = "-----BEGIN CERTIFICATE-----\n";
  for (std::size_t at = 0; at < text.size(); at += 64) out += text.substr(at, 64) + "\n";
  return out + "-----END CERTIFICATE-----\n";
}

http::Headers headers_of(const google::protobuf::Map<std::string, std::string>& map) {
  http::Headers out;
  for (const auto& [name, value] : map) out.add(name, value);
  return out;
}

template <class Request>
std::vector<std::string> filters_of(const Request& request) {
  if (request.filtered_query_params().empty()) return default_filtered_query_params();
  return {request.filtered_query_params().begin(), request.filtered_query_params().end()};
}

// The id that daemons give to a URL asked for like this.
template <class Request>
Result<std::string> id_of(const Request& request, const std::string& url) {
  StandardTaskId recipe;
  recipe.url = url;
  recipe.tag = request.tag();
  recipe.application = request.application();
  if (request.has_piece_length() && request.piece_length() != 0) recipe.piece_length = request.piece_length();
  recipe.filtered_query_params = filters_of(request);
  return task_id(recipe);
}

// The host finished a download of the task, of all or of a part.
bool holds(const Brain& brain, HostHandle host_handle, TaskHandle task) {
  const auto* host = brain.host(host_handle);
  if (host == nullptr) return false;
  for (auto at = host->first_peer; at != kNowhere; at = brain.peers().at(at).host_after) {
    const auto& peer = brain.peers().at(at);
    if (peer.task == task && peer.state == PeerState::kSucceeded) return true;
  }
  return false;
}

struct Running {
  explicit Running(std::size_t& count) : count_(count) { ++count_; }
  ~Running() { --count_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  std::size_t& count_;
};

}  // namespace

Jobs::Jobs(world::World& world, const Brain& brain, const DynamicRules& rules, HostCalls& hosts,
           JobOptions options, Log log, Metrics& metrics)
    : world_(world),
      brain_(brain),
      rules_(rules),
      hosts_(hosts),
      options_(std::move(options)),
      log_(log.in("jobs")),
      preheated_(metrics.counter("d7y_scheduler_preheated_total", "Downloads of preheats that ended well.")),
      not_preheated_(
          metrics.counter("d7y_scheduler_preheated_failure_total", "Downloads of preheats that failed.")),
      registry_(
          world,
          [&] {
            http::ClientOptions client;
            client.user_agent = "d7ysched";
            client.connections_per_origin = 8;
            client.tls = [this]() -> Result<std::shared_ptr<net::TlsContext>> { return trust({}, false); };
            return client;
          }(),
          log_),
      scope_(world.loop()) {
  set_rate(10);
}

Jobs::~Jobs() = default;

void Jobs::set_rate(std::uint32_t per_second) {
  if (rate_.rate() != per_second) rate_ = TokenBucket(per_second, per_second, world_.now());
}

void Jobs::attach(grpc::Server& server) {
  namespace method = api::method::scheduler;
  namespace messages = api::scheduler;
  server.unary<messages::PreheatImageRequest, api::Empty>(
      std::string(method::kPreheatImage),
      [this](grpc::ServerCall& call, messages::PreheatImageRequest request) {
        return preheat_image(std::move(request), call.trace());
      });
  server.unary<messages::PreheatFileRequest, api::Empty>(
      std::string(method::kPreheatFile),
      [this](grpc::ServerCall& call, messages::PreheatFileRequest request) {
        return preheat_file(std::move(request), call.trace());
      });
  server.unary<messages::StatImageRequest, messages::StatImageResponse>(
      std::string(method::kStatImage), [this](grpc::ServerCall&, messages::StatImageRequest request) {
        return stat_image(std::move(request));
      });
  server.unary<messages::StatFileRequest, messages::StatFileResponse>(
      std::string(method::kStatFile),
      [this](grpc::ServerCall&, messages::StatFileRequest request) { return stat_file(std::move(request)); });
}

Result<void> Jobs::admit() {
  if (rate_.take(1, world_.now()) == 1) return {};
  return error(ErrorCode::kExhausted, "more preheats and lists than jobRateLimit allows; try again later");
}

Result<std::shared_ptr<net::TlsContext>> Jobs::trust(
    const google::protobuf::RepeatedPtrField<std::string>& chain, bool insecure) {
  net::TlsClientOptions options;
  options.verify = !insecure;
  for (const auto& der : chain) options.trust_pem.push_back(pem_of(der));
  if (chain.empty() && !insecure) {
    TRY(options.trust_pem, net::load_system_roots(world_.files(), net::RootPlaces{}));
  }
  return net::TlsContext::client(std::move(options));
}

Task<Result<source::ImageBlobs>> Jobs::resolve(source::ImageRequest request, Deadline deadline) {
  const auto soon = Deadline::in(options_.registry_timeout, world_.now());
  auto resolving = source::resolve_image(registry_, std::move(request), soon.or_earlier(deadline));
  co_return co_await resolving;
}

// Hosts.

std::vector<Jobs::Target> Jobs::hosts(bool seeds_only) const {
  std::vector<Target> out;
  const auto& all = brain_.hosts();
  for (std::uint32_t at = 0; at < all.end(); ++at) {
    if (!all.live(at)) continue;
    const auto& facts = all.at(at).facts;
    if (seeds_only && !facts.seed) continue;
    auto address = Address::parse_ip(facts.ip, facts.port);
    if (!address) continue;
    const auto& host = all.at(at);
    out.push_back({facts.id, facts.ip, facts.hostname, facts.seed, *address, host.created, host.updated});
  }
  return out;
}

// In the order in which the brain would ask them.
std::vector<Jobs::Target> Jobs::seeds_for(std::string_view task_id) const {
  auto seeds = hosts(true);
  const auto weight = [&](const Target& seed) {
    return siphash24(as_bytes(std::string(task_id) + "\n" + seed.id));
  };
  std::sort(seeds.begin(), seeds.end(),
            [&](const Target& a, const Target& b) { return weight(a) > weight(b); });
  return seeds;
}

template <class Request>
Result<void> Jobs::choose_targets(const Request& request, Preheat& preheat) const {
  preheat.one_seed = request.scope() == "single_seed_peer";
  const bool seeds_only = request.scope() != "all_peers";
  auto targets = hosts(seeds_only);
  if (targets.empty()) {
    return error(ErrorCode::kPrecondition, "no {} is known here", seeds_only ? "seed peer" : "peer");
  }
  if (preheat.one_seed) return {};
  // The same ones for the same numbers, spread over all.
  std::sort(targets.begin(), targets.end(), [](const Target& a, const Target& b) {
    return siphash24(as_bytes(a.id)) < siphash24(as_bytes(b.id));
  });
  if (!request.ips().empty()) {
    std::erase_if(targets, [&](const Target& target) {
      return std::find(request.ips().begin(), request.ips().end(), target.ip) == request.ips().end();
    });
    if (targets.empty()) return error(ErrorCode::kNotFound, "none of the addresses in `ips` is known here");
  } else if (request.has_count()) {
    if (request.count() < targets.size()) targets.resize(request.count());
  } else if (request.has_percentage()) {
    targets.resize(std::max<std::size_t>(1, targets.size() * request.percentage() / 100));
  }
  preheat.targets = std::move(targets);
  return {};
}

template <class Request>
Result<Jobs::Preheat> Jobs::plan(const Request& request, std::vector<std::string> urls) const {
  if (running_ >= options_.preheats_at_once) {
    return error(ErrorCode::kExhausted, "{} preheats are running; try again later", running_);
  }
  if (urls.size() > kMostUrls) return error(ErrorCode::kTooLarge, "more than {} URLs to preheat", kMostUrls);
  Preheat preheat;
  TRY_OK(choose_targets(request, preheat));
  auto& download = preheat.download;
  download.set_type(api::common::STANDARD);
  if (request.has_piece_length() && request.piece_length() != 0)
    download.set_piece_length(request.piece_length());
  download.set_tag(request.tag());
  download.set_application(request.application());
  download.set_priority(request.priority());
  for (auto& name : filters_of(request)) download.add_filtered_query_params(std::move(name));
  for (const auto& certificate : request.certificate_chain()) download.add_certificate_chain(certificate);
  const auto timeout = timeout_of(request.has_timeout(), request.timeout());
  api::set_duration(*download.mutable_timeout(), timeout);
  if (!options_.own_ip.empty()) download.set_remote_ip(options_.own_ip);
  for (const auto& url : urls) {
    const auto blocked = rules_.blocked(
        Use::kDownload, false,
        {url, request.application(), request.tag(), static_cast<std::uint8_t>(request.priority())});
    if (blocked) {
      return error(ErrorCode::kPermission, "the preheat is refused: its {} is on the block list", *blocked);
    }
  }
  preheat.urls = std::move(urls);
  preheat.tasks_at_once =
      request.has_concurrent_task_count() ? static_cast<std::size_t>(request.concurrent_task_count()) : 8;
  preheat.peers_at_once =
      request.has_concurrent_peer_count() ? static_cast<std::size_t>(request.concurrent_peer_count()) : 500;
  preheat.deadline = Deadline::in(timeout, world_.now());
  return preheat;
}

// Preheats.

Task<Result<api::Empty>> Jobs::preheat_image(api::scheduler::PreheatImageRequest request,
                                             std::optional<TraceContext> caller) {
  CO_OK(api::validate(request));
  CO_OK(admit());
  source::ImageRequest image;
  image.url = request.url();
  image.headers = headers_of(request.header());
  image.username = request.username();
  image.password = request.password();
  image.platform = request.platform();
  if (request.insecure_skip_verify() || !request.certificate_chain().empty()) {
    CO_TRY(image.tls, trust(request.certificate_chain(), request.insecure_skip_verify()));
  }
  auto resolving = resolve(std::move(image), Deadline::never());
  auto blobs = co_await resolving;
  if (!blobs) co_return std::move(blobs).error().in("resolving the image");
  CO_TRY(Preheat preheat, plan(request, std::move(blobs->urls)));
  for (const auto& header : blobs->headers) {
    (*preheat.download.mutable_request_header())[header.name] = header.value;
  }
  log_.info("preheat of an image with {} blobs, {}, {} hosts", preheat.urls.size(), request.scope(),
            preheat.one_seed ? 1 : preheat.targets.size());
  begin_span(preheat, request.scope(), caller);
  scope_.spawn(run(std::move(preheat)));
  co_return api::Empty();
}

Task<Result<api::Empty>> Jobs::preheat_file(api::scheduler::PreheatFileRequest request,
                                            std::optional<TraceContext> caller) {
  CO_OK(api::validate(request));
  CO_OK(admit());
  auto finding = urls_of(request);
  auto urls = co_await finding;
  if (!urls) co_return std::move(urls).error();
  CO_TRY(Preheat preheat, plan_file(request, std::move(*urls)));
  begin_span(preheat, request.scope(), caller);
  scope_.spawn(run(std::move(preheat)));
  co_return api::Empty();
}

Task<Result<std::vector<JobOutcome>>> Jobs::preheat(api::scheduler::PreheatFileRequest request,
                                                    std::vector<std::string> urls) {
  if (urls.empty()) urls.push_back(request.url());
  // For the checks, which look at one URL.
  for (auto& url : urls) {
    request.set_url(url);
    CO_OK(api::validate(request));
  }
  if (urls.size() == 1) {
    auto finding = urls_of(request);
    CO_TRY(urls, co_await finding);
  }
  CO_TRY(Preheat preheat, plan_file(request, std::move(urls)));
  preheat.keep_outcomes = true;
  auto running = run_all(preheat);
  co_await running;
  std::vector<JobOutcome> out = std::move(preheat.failures);
  for (auto& success : preheat.successes) {
    if (out.size() == kMostOutcomes) break;
    out.push_back(std::move(success));
  }
  co_return out;
}

Task<Result<std::vector<std::string>>> Jobs::urls_of(const api::scheduler::PreheatFileRequest& request) {
  if (!request.url().ends_with('/')) co_return std::vector<std::string>(1, request.url());
  auto listing = list_folder(request, Deadline::in(options_.registry_timeout, world_.now()));
  auto listed = co_await listing;
  if (!listed) co_return std::move(listed).error().in("listing the folder");
  co_return std::move(*listed);
}

Result<Jobs::Preheat> Jobs::plan_file(const api::scheduler::PreheatFileRequest& request,
                                      std::vector<std::string> urls) {
  TRY(Preheat preheat, plan(request, std::move(urls)));
  *preheat.download.mutable_request_header() = request.header();
  if (request.has_object_storage()) *preheat.download.mutable_object_storage() = request.object_storage();
  if (request.has_hdfs()) *preheat.download.mutable_hdfs() = request.hdfs();
  if (request.has_output_path()) preheat.download.set_output_path(request.output_path());
  log_.info("preheat of {} files, {}, {} hosts", preheat.urls.size(), request.scope(),
            preheat.one_seed ? 1 : preheat.targets.size());
  return preheat;
}

// A daemon reads the folder: it has the backends for it.
Task<Result<std::vector<std::string>>> Jobs::list_folder(api::scheduler::PreheatFileRequest request,
                                                         Deadline deadline) {
  api::dfdaemon::ListTaskEntriesRequest ask;
  CO_TRY(std::string id, id_of(request, request.url()));
  ask.set_task_id(std::move(id));
  ask.set_url(request.url());
  *ask.mutable_request_header() = request.header();
  *ask.mutable_certificate_chain() = request.certificate_chain();
  if (request.has_object_storage()) *ask.mutable_object_storage() = request.object_storage();
  if (request.has_hdfs()) *ask.mutable_hdfs() = request.hdfs();
  if (!options_.own_ip.empty()) ask.set_remote_ip(options_.own_ip);
  auto candidates = hosts(false);
  if (candidates.empty()) co_return error(ErrorCode::kPrecondition, "no peer is known here");
  std::optional<Error> last;
  const std::size_t tries = std::min<std::size_t>(3, candidates.size());
  for (std::size_t i = 0; i < tries; ++i) {
    const auto& host = candidates[world_.random() % candidates.size()];
    auto calling = hosts_.unary<api::dfdaemon::ListTaskEntriesResponse>(host.at, upload::kListTaskEntries,
                                                                        ask, deadline.left(world_.now()));
    auto listed = co_await calling;
    if (!listed) {
      last = std::move(listed).error().in(fmt::format("host {}", host.id));
      continue;
    }
    std::vector<std::string> urls;
    for (const auto& entry : listed->entries()) {
      if (!entry.is_dir()) urls.push_back(entry.url());
    }
    if (urls.empty()) co_return error(ErrorCode::kInvalid, "the folder holds no files");
    co_return urls;
  }
  co_return std::move(*last);
}

Task<void> Jobs::run(Preheat preheat) {
  auto running = run_all(preheat);
  co_await running;
  end_span(preheat);
}

void Jobs::begin_span(Preheat& preheat, const std::string& scope, const std::optional<TraceContext>& caller) {
  if (options_.spans == nullptr || !caller) return;
  auto& span = preheat.span.emplace();
  span.name = "preheat";
  span.context = TraceContext::inside(caller, [this] { return world_.random(); });
  span.began = world_.wall_now();
  span.attributes = {
      {"d7y.preheat.scope", scope},
      {"d7y.preheat.urls", static_cast<std::int64_t>(preheat.urls.size())},
      {"d7y.preheat.hosts", static_cast<std::int64_t>(preheat.one_seed ? 1 : preheat.targets.size())}};
}

void Jobs::end_span(Preheat& preheat) {
  if (!preheat.span) return;
  auto& span = *preheat.span;
  span.ended = world_.wall_now();
  span.attributes.emplace_back("d7y.preheat.done", static_cast<std::int64_t>(preheat.done));
  span.attributes.emplace_back("d7y.preheat.failed", static_cast<std::int64_t>(preheat.failed));
  if (preheat.failed > 0) span.failure = fmt::format("{} downloads failed", preheat.failed);
  options_.spans->take(std::move(span));
}

Task<void> Jobs::run_all(Preheat& preheat) {
  const Running running(running_);
  std::function<Task<void>(std::size_t)> one = [this, &preheat](std::size_t which) {
    return preheat_task(preheat, which);
  };
  auto working = in_parallel(world_.loop(), preheat.urls.size(), preheat.tasks_at_once, std::move(one));
  co_await working;
  log_.info("preheat is over: {} downloads ended well, {} failed", preheat.done, preheat.failed);
}

Task<void> Jobs::preheat_task(Preheat& preheat, std::size_t which) {
  api::dfdaemon::DownloadTaskRequest request;
  *request.mutable_download() = preheat.download;
  request.mutable_download()->set_url(preheat.urls[which]);
  const auto id = id_of(request.download(), preheat.urls[which]);
  if (!id) {
    ++preheat.failed;
    if (preheat.keep_outcomes && preheat.failures.size() < kMostOutcomes)
      preheat.failures.push_back({{}, preheat.urls[which], id.error().message()});
    co_return;
  }
  if (preheat.one_seed) {
    const auto seeds = seeds_for(*id);
    const auto failed_before = preheat.failed;
    for (std::size_t i = 0; i < std::min(seeds.size(), kMostSeedsTried); ++i) {
      const auto done_before = preheat.done;
      auto trying = preheat_host(preheat, request, seeds[i]);
      co_await trying;
      if (preheat.done > done_before) break;
    }
    // Of seeds that were tried in vain the last one stands for all.
    if (preheat.failed > failed_before) preheat.failed = failed_before + 1;
    co_return;
  }
  std::function<Task<void>(std::size_t)> one = [&](std::size_t i) {
    return preheat_host(preheat, request, preheat.targets[i]);
  };
  auto working = in_parallel(world_.loop(), preheat.targets.size(), preheat.peers_at_once, std::move(one));
  co_await working;
}

Task<void> Jobs::preheat_host(Preheat& preheat, api::dfdaemon::DownloadTaskRequest& request,
                              const Target& target) {
  const auto trace = preheat.span ? preheat.span->context.traceparent() : std::string();
  auto downloading = hosts_.download(target.at, request, trace);
  auto bounded = within(preheat.deadline, std::move(downloading));
  auto ended = co_await bounded;
  if (ended) {
    ++preheat.done;
    preheated_.add();
  } else {
    ++preheat.failed;
    not_preheated_.add();
    log_.warn("preheat: host {}: {}", target.id, ended.error().message());
  }
  auto& list = ended ? preheat.successes : preheat.failures;
  if (!preheat.keep_outcomes || list.size() >= kMostOutcomes) co_return;
  JobOutcome outcome{target, request.download().url(), std::nullopt};
  if (!ended) outcome.failure = ended.error().message();
  list.push_back(std::move(outcome));
}

// One task on all hosts.

Task<std::vector<Jobs::Copy>> Jobs::find_task(std::string task_id, std::size_t hosts_at_once,
                                              Deadline deadline) {
  std::vector<std::string> ids(1, std::move(task_id));
  auto asking = ask_all(std::move(ids), 1, hosts_at_once, deadline);
  auto found = co_await asking;
  std::vector<Copy> out;
  for (auto& host : found) out.push_back({std::move(host.target), host.finished.front().value_or(false)});
  co_return out;
}

Task<std::vector<JobOutcome>> Jobs::delete_task(std::string task_id, Deadline deadline,
                                                std::function<void(const JobHost&)> forget) {
  const auto task = brain_.find_task(task_id);
  std::vector<JobOutcome> out;
  for (auto& host : hosts(false)) {
    if (holds(brain_, brain_.find_host(host.id), task)) out.push_back({std::move(host), {}, std::nullopt});
  }
  struct One {
    static Task<void> remove(Jobs& jobs, JobOutcome& outcome, const std::string& task_id, Deadline deadline,
                             std::function<void(const JobHost&)>& forget) {
      api::dfdaemon::DeleteTaskRequest request;
      request.set_task_id(task_id);
      if (!jobs.options_.own_ip.empty()) request.set_remote_ip(jobs.options_.own_ip);
      const auto left = deadline.left(jobs.world_.now());
      auto asking = jobs.hosts_.unary<api::Empty>(outcome.host.at, upload::kDeleteTask, request, left);
      auto removed = co_await asking;
      if (removed) {
        forget(outcome.host);
        co_return;
      }
      outcome.failure = fmt::format("task {} failed: {}", task_id, removed.error().message());
      jobs.log_.warn("removing task {}: host {}: {}", task_id, outcome.host.id, removed.error().message());
    }
  };
  std::function<Task<void>(std::size_t)> one = [&](std::size_t which) {
    return One::remove(*this, out[which], task_id, deadline, forget);
  };
  auto removing = in_parallel(world_.loop(), out.size(), kRemovalsAtOnce, std::move(one));
  co_await removing;
  co_return out;
}

// Lists.

Task<std::vector<Jobs::Found>> Jobs::ask_all(std::vector<std::string> task_ids, std::size_t tasks_at_once,
                                             std::size_t peers_at_once, Deadline deadline) {
  std::vector<Found> found;
  for (auto& target : hosts(false)) {
    found.push_back({std::move(target), std::vector<std::optional<bool>>(task_ids.size())});
  }
  std::function<Task<void>(std::size_t)> one = [&](std::size_t which) {
    return ask_host(found[which], task_ids, tasks_at_once, deadline);
  };
  auto asking = in_parallel(world_.loop(), found.size(), peers_at_once, std::move(one));
  co_await asking;
  std::erase_if(found, [](const Found& host) {
    return std::none_of(host.finished.begin(), host.finished.end(),
                        [](const auto& f) { return f.has_value(); });
  });
  co_return found;
}

Task<void> Jobs::ask_host(Found& found, const std::vector<std::string>& task_ids, std::size_t at_once,
                          Deadline deadline) {
  bool away = false;
  struct One {
    static Task<void> ask(Jobs& jobs, Found& found, const std::string& id, std::size_t which,
                          Deadline deadline, bool& away) {
      const auto left = deadline.left(jobs.world_.now());
      if (away || left <= Duration::zero()) co_return;
      api::dfdaemon::StatLocalTaskRequest request;
      request.set_task_id(id);
      auto asking = jobs.hosts_.unary<api::dfdaemon::StatLocalTaskResponse>(
          found.target.at, upload::kStatLocalTask, request, std::min(left, jobs.options_.stat_timeout));
      auto told = co_await asking;
      if (told) {
        found.finished[which] = told->has_finished_at();
      } else if (!told.failed_with(ErrorCode::kNotFound)) {
        away = true;
      }
    }
  };
  std::function<Task<void>(std::size_t)> one = [&](std::size_t which) {
    return One::ask(*this, found, task_ids[which], which, deadline, away);
  };
  auto asking = in_parallel(world_.loop(), task_ids.size(), at_once, std::move(one));
  co_await asking;
}

Task<Result<api::scheduler::StatImageResponse>> Jobs::stat_image(api::scheduler::StatImageRequest request) {
  CO_OK(api::validate(request));
  CO_OK(admit());
  if (listing_ >= options_.lists_at_once) {
    co_return error(ErrorCode::kExhausted, "{} lists are being made; try again later", listing_);
  }
  const Running listing(listing_);
  const auto deadline = Deadline::in(timeout_of(request.has_timeout(), request.timeout()), world_.now());
  source::ImageRequest image;
  image.url = request.url();
  image.headers = headers_of(request.header());
  image.username = request.username();
  image.password = request.password();
  image.platform = request.platform();
  if (request.insecure_skip_verify() || !request.certificate_chain().empty()) {
    CO_TRY(image.tls, trust(request.certificate_chain(), request.insecure_skip_verify()));
  }
  auto resolving = resolve(std::move(image), deadline);
  auto blobs = co_await resolving;
  if (!blobs) co_return std::move(blobs).error().in("resolving the image");
  std::vector<std::string> ids;
  api::scheduler::StatImageResponse response;
  for (const auto& url : blobs->urls) {
    CO_TRY(std::string id, id_of(request, url));
    ids.push_back(std::move(id));
    response.mutable_image()->add_layers()->set_url(url);
  }
  auto asking = ask_all(
      std::move(ids),
      request.has_concurrent_layer_count() ? static_cast<std::size_t>(request.concurrent_layer_count()) : 8,
      request.has_concurrent_peer_count() ? static_cast<std::size_t>(request.concurrent_peer_count()) : 500,
      deadline);
  auto found = co_await asking;
  for (const auto& host : found) {
    auto& peer = *response.add_peers();
    peer.set_ip(host.target.ip);
    peer.set_hostname(host.target.hostname);
    for (std::size_t i = 0; i < blobs->urls.size(); ++i) {
      if (!host.finished[i]) continue;
      auto& layer = *peer.add_cached_layers();
      layer.set_url(blobs->urls[i]);
      layer.set_is_finished(*host.finished[i]);
    }
  }
  co_return response;
}

Task<Result<api::scheduler::StatFileResponse>> Jobs::stat_file(api::scheduler::StatFileRequest request) {
  CO_OK(api::validate(request));
  CO_OK(admit());
  if (listing_ >= options_.lists_at_once) {
    co_return error(ErrorCode::kExhausted, "{} lists are being made; try again later", listing_);
  }
  const Running listing(listing_);
  const auto deadline = Deadline::in(timeout_of(request.has_timeout(), request.timeout()), world_.now());
  std::vector<std::string> ids;
  CO_TRY(std::string id, id_of(request, request.url()));
  ids.push_back(std::move(id));
  auto asking = ask_all(
      std::move(ids), 1,
      request.has_concurrent_peer_count() ? static_cast<std::size_t>(request.concurrent_peer_count()) : 500,
      deadline);
  auto found = co_await asking;
  api::scheduler::StatFileResponse response;
  for (const auto& host : found) {
    auto& peer = *response.add_peers();
    peer.set_ip(host.target.ip);
    peer.set_hostname(host.target.hostname);
    auto& file = *peer.add_cached_files();
    file.set_url(request.url());
    file.set_is_finished(host.finished.front().value_or(false));
  }
  co_return response;
}

}  // namespace d7y::scheduler
