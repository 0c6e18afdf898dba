#include "scheduler/dynamic.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/config_tree.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kLongestUrl = 4096;  // bytes matched against patterns
constexpr std::uint32_t kMostParents = 20;
constexpr std::uint32_t kMostLoad = 100000;

std::optional<std::regex> compile(const std::string& pattern) {
  try {
    return std::regex(pattern, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error&) {
    return std::nullopt;
  }
}

bool matches(std::string_view url, const std::regex& pattern) {
  if (url.size() > kLongestUrl) return false;
  try {
    return std::regex_search(url.begin(), url.end(), pattern);
  } catch (const std::regex_error&) {
    return false;  // too complex for this text
  }
}

bool holds(const std::vector<std::string>& list, std::string_view text) {
  return !text.empty() && std::find(list.begin(), list.end(), text) != list.end();
}

// Where the rule of a use stands below "blockList".
constexpr std::string_view kPaths[kUses][2] = {
    {"task", "download"},
    {"persistentTask", "download"},
    {"persistentTask", "upload"},
    {"persistentCacheTask", "download"},
    {"persistentCacheTask", "upload"},
};

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
        if (compile(priority.regex)) {
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

void read_block_list(ConfigReader& reader, const std::string& at, BlockList& out) {
  for (std::size_t use = 0; use < kUses; ++use) {
    const auto path = fmt::format("{}.{}.{}", at, kPaths[use][0], kPaths[use][1]);
    auto& rule = out[use];
    reader.read(path + ".applications", rule.applications);
    reader.read(path + ".urls", rule.urls);
    reader.read(path + ".tags", rule.tags);
    std::vector<std::string> priorities;
    reader.read(path + ".priorities", priorities);
    for (const auto& text : priorities) {
      if (text.size() == 1 && text[0] >= '0' && text[0] <= '6') {
        rule.priorities.push_back(static_cast<std::uint8_t>(text[0] - '0'));
      } else {
        reader.complain(path + ".priorities", "must be numbers from 0 to 6");
      }
    }
    for (const auto& url : rule.urls) {
      if (!compile(url)) reader.complain(path + ".urls", "holds one that is not a regular expression");
    }
  }
}

// A manager's JSON. Every level may be missing, null, or spelled in camel case.

const nlohmann::json* member(const nlohmann::json* object, std::string_view camel) {
  if (object == nullptr || !object->is_object()) return nullptr;
  std::string snake;
  for (const char c : camel) {
    if (c >= 'A' && c <= 'Z') {
      snake += '_';
      snake += static_cast<char>(c + 32);
    } else {
      snake += c;
    }
  }
  for (const auto& name : {snake, std::string(camel)}) {
    if (const auto found = object->find(name); found != object->end()) return &*found;
  }
  return nullptr;
}

Result<nlohmann::json> parse_json(const std::string& bytes, std::string_view what) {
  if (bytes.empty()) return nlohmann::json::object();
  auto json = nlohmann::json::parse(bytes, nullptr, false);
  if (json.is_discarded()) return error(ErrorCode::kInvalid, "the manager's {} is not JSON", what);
  return json;
}

std::uint32_t number(const nlohmann::json& json, std::string_view name, std::uint32_t most,
                     std::uint32_t otherwise) {
  const auto* value = member(&json, name);
  if (value == nullptr || !value->is_number()) return otherwise;
  const double given = value->get<double>();  // Dragonfly's managers print integers as they please
  return given >= 1 && given <= most ? static_cast<std::uint32_t>(given) : otherwise;
}

std::vector<std::string> texts(const nlohmann::json* list) {
  std::vector<std::string> out;
  if (list == nullptr || !list->is_array()) return out;
  for (const auto& item : *list) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}

BlockList block_list(const nlohmann::json& config) {
  BlockList out;
  const auto* list = member(&config, "blockList");
  for (std::size_t use = 0; use < kUses; ++use) {
    const auto* rule = member(member(list, kPaths[use][0]), kPaths[use][1]);
    out[use].applications = texts(member(rule, "applications"));
    out[use].urls = texts(member(rule, "urls"));
    out[use].tags = texts(member(rule, "tags"));
    const auto* priorities = member(rule, "priorities");
    if (priorities == nullptr || !priorities->is_array()) continue;
    for (const auto& item : *priorities) {
      if (!item.is_number_integer()) continue;
      const auto value = item.get<std::int64_t>();
      if (value >= 0 && value <= 6) out[use].priorities.push_back(static_cast<std::uint8_t>(value));
    }
  }
  return out;
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
  read_block_list(reader, "schedulerClusterClientConfig.blockList", config.blocked);
  read_block_list(reader, "seedPeerClusterConfig.blockList", config.blocked_for_seeds);
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
  config.blocked = block_list(client);
  config.blocked_for_seeds = block_list(seed_client);
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

DynamicRules::DynamicRules(const DynamicConfig& config, std::vector<std::string>* complaints) {
  const auto pattern = [&](const std::string& text, std::string_view of) {
    auto compiled = compile(text);
    if (!compiled && complaints != nullptr) {
      complaints->push_back(fmt::format("{}: a URL pattern is not a regular expression and is left out", of));
    }
    return compiled;
  };
  for (const auto& application : config.applications) {
    Application made{application.name, application.priority, {}};
    for (const auto& url : application.urls) {
      if (auto compiled = pattern(url.regex, "application " + application.name)) {
        made.urls.emplace_back(std::move(*compiled), url.priority);
      }
    }
    applications_.push_back(std::move(made));
  }
  for (const auto& [from, to] :
       {std::pair(&config.blocked, &blocks_), std::pair(&config.blocked_for_seeds, &seed_blocks_)}) {
    for (std::size_t use = 0; use < kUses; ++use) {
      const auto& rule = (*from)[use];
      auto& block = (*to)[use];
      block = {rule.applications, rule.tags, {}, rule.priorities};
      for (const auto& url : rule.urls) {
        if (auto compiled = pattern(url, "block list")) block.urls.push_back(std::move(*compiled));
      }
    }
  }
}

std::uint8_t DynamicRules::priority_of(std::uint8_t own, std::string_view application,
                                       std::string_view url) const {
  if (own != 0 || application.empty()) return own;
  for (const auto& known : applications_) {
    if (known.name != application) continue;
    for (const auto& [pattern, priority] : known.urls) {
      if (matches(url, pattern)) return priority;
    }
    return known.priority;
  }
  return 0;
}

std::optional<std::string_view> DynamicRules::blocked(Use use, bool seed, const Wish& wish) const {
  const auto& block = (seed ? seed_blocks_ : blocks_)[static_cast<std::size_t>(use)];
  if (holds(block.applications, wish.application)) return "application";
  if (holds(block.tags, wish.tag)) return "tag";
  if (std::find(block.priorities.begin(), block.priorities.end(), wish.priority) != block.priorities.end()) {
    return "priority";
  }
  for (const auto& pattern : block.urls) {
    if (matches(wish.url, pattern)) return "url";
  }
  return std::nullopt;
}

}  // namespace d7y::scheduler
