#include "scheduler/dynamic.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/config_tree.h"

namespace d7y::scheduler {
namespace {

constexpr std::uint32_t kMostParents = 20;
constexpr std::uint32_t kMostLoad = 100000;

// dynconfig.yaml.

void read_applications(const ConfigTree& list, const std::string& file, std::vector<ApplicationPriority>& out,
                       std::vector<std::string>& complaints) {
  for (const auto& item : list.items()) {
    ConfigReader reader(item, "applications");
    ApplicationPriority application;
    reader.read("name", application.name);
    reader.read("priority.value", application.priority, std::uint8_t{0}, std::uint8_t{6});
    if (const auto* urls = reader.take("priority.urls")) {
      for (const auto& entry : urls->items()) {
        ConfigReader url(entry, "applications.priority.urls");
        UrlPriority priority;
        url.read("regex", priority.regex);
        url.read("value", priority.priority, std::uint8_t{0}, std::uint8_t{6});
        if (api::UrlPattern::compile(priority.regex)) {
          application.urls.push_back(std::move(priority));
        } else {
          complaints.push_back(fmt::format(
              "{}:{}: applications.priority.urls.regex: not a regular expression", file, entry.line()));
        }
        if (auto wrong = url.finish(); !wrong) complaints.push_back(wrong.error().message());
      }
    }
    if (auto wrong = reader.finish(); !wrong) complaints.push_back(wrong.error().message());
    out.push_back(std::move(application));
  }
}

// A manager's JSON. Every level may be missing, null, or spelled in camel case.

Result<nlohmann::json> parse_json(const std::string& bytes, std::string_view what) {
  if (bytes.empty()) return nlohmann::json::object();
  auto json = nlohmann::json::parse(bytes, nullptr, false);
  if (json.is_discarded()) return error(ErrorCode::kInvalid, "the manager's {} is not JSON", what);
  return json;
}

std::uint32_t number(const nlohmann::json& json, std::string_view name, std::uint32_t most,
                     std::uint32_t otherwise) {
  const auto* value = api::json_member(&json, name);
  if (value == nullptr || !value->is_number()) return otherwise;
  const double given = value->get<double>();  // Dragonfly's managers print integers as they please
  return given >= 1 && given <= most ? static_cast<std::uint32_t>(given) : otherwise;
}

}  // namespace

Result<DynamicConfig> DynamicConfig::parse(std::string_view text, std::string_view name) {
  TRY(const ConfigTree tree, ConfigTree::parse(text, name));
  ConfigReader reader(tree);
  DynamicConfig config;
  std::vector<std::string> complaints;
  if (const auto* list = reader.take("applications"))
    read_applications(*list, std::string(name), config.applications, complaints);
  reader.read("seedPeerClusterConfig.loadLimit", config.seed_load_limit, 1U, kMostLoad);
  reader.read("schedulerClusterConfig.candidateParentLimit", config.candidate_parents, 1U, kMostParents);
  reader.accept("schedulerClusterConfig.filterParentLimit");
  reader.read("schedulerClusterConfig.jobRateLimit", config.job_rate_limit, 1U, 1000000U);
  reader.read("schedulerClusterClientConfig.loadLimit", config.load_limit, 1U, kMostLoad);
  api::read_block_list(reader, "schedulerClusterClientConfig.blockList", config.blocked);
  api::read_block_list(reader, "seedPeerClusterConfig.blockList", config.blocked_for_seeds);
  TRY_OK(reader.finish());
  if (!complaints.empty()) return error(ErrorCode::kInvalid, "{}", complaints.front());
  return config;
}

Result<DynamicConfig> DynamicConfig::from_manager(
    const api::manager::Scheduler& scheduler, const api::manager::ListApplicationsResponse& applications) {
  DynamicConfig config;
  const auto& cluster = scheduler.scheduler_cluster();
  TRY(const auto limits, parse_json(cluster.config(), "scheduler cluster's config"));
  TRY(const auto client, parse_json(cluster.client_config(), "scheduler cluster's client config"));
  TRY(const auto seed_client,
      parse_json(cluster.seed_client_config(), "scheduler cluster's seed client config"));
  config.candidate_parents = number(limits, "candidateParentLimit", kMostParents, 0);
  config.job_rate_limit = number(limits, "jobRateLimit", 1000000, config.job_rate_limit);
  config.load_limit = number(client, "loadLimit", kMostLoad, config.load_limit);
  config.blocked = api::block_list_of(client);
  config.blocked_for_seeds = api::block_list_of(seed_client);
  if (scheduler.seed_peers_size() > 0) {
    TRY(const auto seeds,
        parse_json(scheduler.seed_peers(0).seed_peer_cluster().config(), "seed peer cluster's config"));
    config.seed_load_limit = number(seeds, "loadLimit", kMostLoad, config.seed_load_limit);
  }
  for (const auto& given : applications.applications()) {
    const auto in_range = [](int value) {
      return static_cast<std::uint8_t>(value < 0 || value > 6 ? 0 : value);
    };
    ApplicationPriority application{given.name(), in_range(given.priority().value()), {}};
    for (const auto& url : given.priority().urls()) {
      application.urls.push_back({url.regex(), in_range(url.value())});
    }
    config.applications.push_back(std::move(application));
  }
  return config;
}

DynamicRules::DynamicRules(const DynamicConfig& config, std::vector<std::string>* complaints)
    : blocks_(config.blocked, complaints), seed_blocks_(config.blocked_for_seeds, complaints) {
  for (const auto& application : config.applications) {
    Application made{application.name, application.priority, {}};
    for (const auto& url : application.urls) {
      auto compiled = api::UrlPattern::compile(url.regex);
      if (compiled) made.urls.emplace_back(std::move(*compiled), url.priority);
      if (!compiled && complaints != nullptr) {
        complaints->push_back(fmt::format(
            "application {}: a URL pattern is not a regular expression and is left out", application.name));
      }
    }
    applications_.push_back(std::move(made));
  }
}

std::uint8_t DynamicRules::priority_of(std::uint8_t own, std::string_view application,
                                       std::string_view url) const {
  if (own != 0 || application.empty()) return own;
  for (const auto& known : applications_) {
    if (known.name != application) continue;
    for (const auto& [pattern, priority] : known.urls) {
      if (pattern.is_in(url)) return priority;
    }
    return known.priority;
  }
  return 0;
}

std::optional<std::string_view> DynamicRules::blocked(Use use, bool seed, const Wish& wish) const {
  return (seed ? seed_blocks_ : blocks_).blocked(use, wish);
}

}  // namespace d7y::scheduler
