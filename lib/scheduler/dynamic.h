// What may change while a scheduler runs: limits, priorities of applications, block lists. It comes from
// dynconfig.yaml or from a manager (Dragonfly scheduler 5.1, 5.2; manager 6).
//
//   TRY(auto dynamic, DynamicConfig::parse(text, "dynconfig.yaml"));
//   DynamicRules rules(dynamic);
//   if (auto why = rules.blocked(Use::kDownload, false, asked_for)) ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/block_list.h"
#include "api/manager.h"
#include "base/result.h"

namespace d7y::scheduler {

struct UrlPriority {
  std::string regex;
  std::uint8_t priority = 0;
};
struct ApplicationPriority {
  std::string name;
  std::uint8_t priority = 0;
  std::vector<UrlPriority> urls;
};

using api::BlockList;
using api::Use;

struct DynamicConfig {
  std::vector<ApplicationPriority> applications;
  std::uint32_t candidate_parents = 0;  // 0: not said
  std::uint32_t load_limit = 200, seed_load_limit = 2000;
  std::uint32_t job_rate_limit = 10;  // preheats and lists of who has what, per second
  BlockList blocked, blocked_for_seeds;

  // dynconfig.yaml. kInvalid with line and key.
  static Result<DynamicConfig> parse(std::string_view text, std::string_view name);
  // A manager's answers. Numbers out of range mean the default, as for Dragonfly; kInvalid for text that is
  // no JSON.
  static Result<DynamicConfig> from_manager(const api::manager::Scheduler& scheduler,
                                            const api::manager::ListApplicationsResponse& applications);
};

// The same, ready to be asked for each download.
class DynamicRules {
 public:
  DynamicRules() = default;
  // Patterns that are no regular expressions are left out; `complaints` gets a sentence for each.
  explicit DynamicRules(const DynamicConfig& config, std::vector<std::string>* complaints = nullptr);

  // The priority of a download, its application's where it has none of its own.
  std::uint8_t priority_of(std::uint8_t own, std::string_view application, std::string_view url) const;

  using Wish = api::BlockRules::Wish;
  // The property that a block rule names ("application", "tag", "url", "priority"); none: allowed.
  std::optional<std::string_view> blocked(Use use, bool seed, const Wish& wish) const;

 private:
  struct Application {
    std::string name;
    std::uint8_t priority;
    std::vector<std::pair<api::UrlPattern, std::uint8_t>> urls;
  };
  std::vector<Application> applications_;
  api::BlockRules blocks_, seed_blocks_;
};

}  // namespace d7y::scheduler
