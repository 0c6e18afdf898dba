#include "api/block_list.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace d7y::api {
namespace {

constexpr std::int64_t kPatternMemory = 4 << 20;  // bytes one compiled expression may take

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

std::vector<std::string> texts(const nlohmann::json* list) {
  std::vector<std::string> out;
  if (list == nullptr || !list->is_array()) return out;
  for (const auto& item : *list) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}

}  // namespace

std::optional<UrlPattern> UrlPattern::compile(const std::string& text) {
  RE2::Options how(RE2::Quiet);
  how.set_max_mem(kPatternMemory);
  auto pattern = std::make_shared<const RE2>(text, how);
  if (!pattern->ok()) return std::nullopt;
  return UrlPattern(std::move(pattern));
}

bool UrlPattern::is_in(std::string_view url) const {
  return RE2::PartialMatch(re2::StringPiece(url.data(), url.size()), *pattern_);
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
      if (!UrlPattern::compile(url))
        reader.complain(path + ".urls", "holds one that is not a regular expression");
    }
  }
}

const nlohmann::json* json_member(const nlohmann::json* object, std::string_view camel) {
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

BlockList block_list_of(const nlohmann::json& config) {
  BlockList out;
  const auto* list = json_member(&config, "blockList");
  for (std::size_t use = 0; use < kUses; ++use) {
    const auto* rule = json_member(json_member(list, kPaths[use][0]), kPaths[use][1]);
    out[use].applications = texts(json_member(rule, "applications"));
    out[use].urls = texts(json_member(rule, "urls"));
    out[use].tags = texts(json_member(rule, "tags"));
    const auto* priorities = json_member(rule, "priorities");
    if (priorities == nullptr || !priorities->is_array()) continue;
    for (const auto& item : *priorities) {
      if (!item.is_number_integer()) continue;
      const auto value = item.get<std::int64_t>();
      if (value >= 0 && value <= 6) out[use].priorities.push_back(static_cast<std::uint8_t>(value));
    }
  }
  return out;
}

BlockRules::BlockRules(const BlockList& list, std::vector<std::string>* complaints) {
  for (std::size_t use = 0; use < kUses; ++use) {
    const auto& rule = list[use];
    auto& block = blocks_[use];
    block = {rule.applications, rule.tags, {}, rule.priorities};
    for (const auto& url : rule.urls) {
      auto compiled = UrlPattern::compile(url);
      if (compiled) block.urls.push_back(std::move(*compiled));
      if (!compiled && complaints != nullptr)
        complaints->push_back("block list: a URL pattern is not a regular expression and is left out");
    }
  }
}

std::optional<std::string_view> BlockRules::blocked(Use use, const Wish& wish) const {
  const auto& block = blocks_[static_cast<std::size_t>(use)];
  if (holds(block.applications, wish.application)) return "application";
  if (holds(block.tags, wish.tag)) return "tag";
  if (std::find(block.priorities.begin(), block.priorities.end(), wish.priority) != block.priorities.end()) {
    return "priority";
  }
  for (const auto& pattern : block.urls) {
    if (pattern.is_in(wish.url)) return "url";
  }
  return std::nullopt;
}

}  // namespace d7y::api
