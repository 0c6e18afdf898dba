// What an operator refuses: downloads and uploads that match any of some properties. Schedulers and daemons
// read it from a manager's JSON or from dynconfig.yaml (Dragonfly client 5.9, scheduler 5.1).
//
//   BlockRules rules(block_list_of(json));
//   if (auto why = rules.blocked(Use::kDownload, {.url = url, .tag = tag})) ...  // "url", "tag"
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/config_tree.h"

namespace re2 {
class RE2;
}

namespace d7y::api {

// Any match is enough.
struct BlockRule {
  std::vector<std::string> applications, tags;
  std::vector<std::string> urls;  // regular expressions, unanchored
  std::vector<std::uint8_t> priorities;
};

// What a rule is about.
enum class Use : std::uint8_t {
  kDownload,
  kPersistentDownload,
  kPersistentUpload,
  kPersistentCacheDownload,
  kPersistentCacheUpload,
};
inline constexpr std::size_t kUses = 5;
using BlockList = std::array<BlockRule, kUses>;  // by Use

// The list below the key `at` of a YAML file. What is wrong is told to the reader.
void read_block_list(ConfigReader& reader, const std::string& at, BlockList& out);
// The list in a cluster's client configuration. What is not of the right type counts as not there.
BlockList block_list_of(const nlohmann::json& config);

// The member of an object that is called so in camel case, or the same in snake case; null if there is none.
const nlohmann::json* json_member(const nlohmann::json* object, std::string_view camel);

// A pattern of Dragonfly's configuration, to be found anywhere in a URL. Looking for it takes time in
// proportion to the URL's length, and little stack, whatever either of them is: URLs come from users.
class UrlPattern {
 public:
  // None if it is no regular expression (RE2's, which are those of Dragonfly's peers).
  static std::optional<UrlPattern> compile(const std::string& text);

  bool is_in(std::string_view url) const;

 private:
  explicit UrlPattern(std::shared_ptr<const re2::RE2> pattern) : pattern_(std::move(pattern)) {}

  std::shared_ptr<const re2::RE2> pattern_;
};

// A list, ready to be asked for each download.
class BlockRules {
 public:
  BlockRules() = default;
  // Patterns that are no regular expressions are left out; `complaints` gets a sentence for each.
  explicit BlockRules(const BlockList& list, std::vector<std::string>* complaints = nullptr);

  struct Wish {
    std::string_view url, application, tag;
    std::uint8_t priority = 0;
  };
  // The property that a rule names ("application", "tag", "url", "priority"); none: allowed.
  std::optional<std::string_view> blocked(Use use, const Wish& wish) const;

 private:
  struct Block {
    std::vector<std::string> applications, tags;
    std::vector<UrlPattern> urls;
    std::vector<std::uint8_t> priorities;
  };
  std::array<Block, kUses> blocks_;
};

}  // namespace d7y::api
