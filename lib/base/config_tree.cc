#include "base/config_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

namespace d7y {

// Turns yaml-cpp's nodes into ours, within limits.
class ConfigBuilder {
 public:
  explicit ConfigBuilder(std::string_view name) : name_(std::make_shared<const std::string>(name)) {}

  Result<ConfigTree> build(const YAML::Node& node, int depth = 0) {
    ConfigTree tree;
    tree.name_ = name_;
    tree.line_ = node.Mark().line + 1;
    if (depth > 64)
      return error(ErrorCode::kInvalid, "{}:{}: nested deeper than 64 levels", *name_, tree.line_);
    if (++nodes_ > 100'000) return error(ErrorCode::kInvalid, "{}: more than 100000 values", *name_);
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        tree.kind_ = ConfigTree::Kind::kScalar;
        tree.scalar_ = node.Scalar();
        tree.quoted_ = node.Tag() == "!";
        break;
      case YAML::NodeType::Sequence:
        tree.kind_ = ConfigTree::Kind::kList;
        for (const auto& item : node) {
          TRY(auto child, build(item, depth + 1));
          tree.items_.push_back(std::move(child));
        }
        break;
      case YAML::NodeType::Map: {
        tree.kind_ = ConfigTree::Kind::kMap;
        std::set<std::string> seen;
        for (const auto& entry : node) {
          if (!entry.first.IsScalar()) {
            return error(ErrorCode::kInvalid, "{}:{}: a key is not a plain word", *name_,
                         entry.first.Mark().line + 1);
          }
          auto key = entry.first.Scalar();
          if (!seen.insert(key).second) {
            return error(ErrorCode::kInvalid, "{}:{}: key \"{}\" stands twice; keep one", *name_,
                         entry.first.Mark().line + 1, key);
          }
          TRY(auto child, build(entry.second, depth + 1));
          child.line_ = entry.first.Mark().line + 1;
          tree.entries_.emplace_back(std::move(key), std::move(child));
        }
        break;
      }
      default: break;
    }
    return tree;
  }

 private:
  std::shared_ptr<const std::string> name_;
  int nodes_ = 0;
};

Result<ConfigTree> ConfigTree::parse(std::string_view text, std::string_view name) {
  try {
    return ConfigBuilder(name).build(YAML::Load(std::string(text)));
  } catch (const YAML::Exception& problem) {
    return error(ErrorCode::kInvalid, "{}:{}:{}: {}", name, problem.mark.line + 1, problem.mark.column + 1,
                 problem.msg);
  }
}

const ConfigTree* ConfigTree::find(std::string_view path) const {
  const ConfigTree* at = this;
  while (!path.empty()) {
    auto dot = path.find('.');
    auto key = path.substr(0, dot);
    path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
    if (at->kind_ != Kind::kMap) return nullptr;
    auto found =
        std::find_if(at->entries_.begin(), at->entries_.end(), [&](const auto& e) { return e.first == key; });
    if (found == at->entries_.end()) return nullptr;
    at = &found->second;
  }
  return at;
}

ConfigReader::ConfigReader(const ConfigTree& tree, std::string at) : tree_(tree), at_(std::move(at)) {
  if (tree_.kind() != ConfigTree::Kind::kMap && !tree_.is_null())
    complain("", "a map of keys is expected here");
}

std::string ConfigReader::where(std::string_view path) const {
  if (at_.empty()) return std::string(path);
  return path.empty() ? at_ : fmt::format("{}.{}", at_, path);
}

void ConfigReader::complain(std::string_view path, std::string_view why) {
  const auto* node = tree_.find(path);
  auto line = node != nullptr ? node->line() : tree_.line();
  auto key = where(path);
  complaints_.push_back(fmt::format("{}:{}: {}{}{}", tree_.name(), line, key, key.empty() ? "" : ": ", why));
}

const ConfigTree* ConfigReader::look(std::string_view path) {
  known_.emplace(path, false);
  const auto* node = tree_.find(path);
  return node == nullptr || node->is_null() ? nullptr : node;
}

bool ConfigReader::has(std::string_view path) { return look(path) != nullptr; }

bool ConfigReader::accept(std::string_view path) { return take(path) != nullptr; }

const ConfigTree* ConfigReader::take(std::string_view path) {
  known_.insert_or_assign(std::string(path), true);
  const auto* node = tree_.find(path);
  return node == nullptr || node->is_null() ? nullptr : node;
}

void ConfigReader::read(std::string_view path, bool& out) {
  const auto* node = look(path);
  if (node == nullptr) return;
  static constexpr std::string_view kTrue[] = {"true", "True", "TRUE", "yes", "on"};
  static constexpr std::string_view kFalse[] = {"false", "False", "FALSE", "no", "off"};
  if (std::find(std::begin(kTrue), std::end(kTrue), node->scalar()) != std::end(kTrue)) {
    out = true;
  } else if (std::find(std::begin(kFalse), std::end(kFalse), node->scalar()) != std::end(kFalse)) {
    out = false;
  } else {
    complain(path, fmt::format("\"{}\" is neither true nor false", node->scalar()));
  }
}

void ConfigReader::read(std::string_view path, std::string& out) {
  const auto* node = look(path);
  if (node == nullptr) return;
  if (node->kind() != ConfigTree::Kind::kScalar) return complain(path, "a text is expected here");
  out = node->scalar();
}

void ConfigReader::read(std::string_view path, std::optional<std::string>& out) {
  std::string text;
  if (look(path) == nullptr) return;
  auto before = complaints_.size();
  read(path, text);
  if (complaints_.size() == before) out = std::move(text);
}

void ConfigReader::read(std::string_view path, std::vector<std::string>& out) {
  const auto* node = take(path);
  if (node == nullptr) return;
  std::vector<std::string> items;
  if (node->kind() != ConfigTree::Kind::kList) return complain(path, "a list is expected here");
  for (const auto& item : node->items()) {
    if (item.kind() != ConfigTree::Kind::kScalar) return complain(path, "a list of texts is expected here");
    items.push_back(item.scalar());
  }
  out = std::move(items);
}

void ConfigReader::read(std::string_view path, std::map<std::string, std::string>& out) {
  const auto* node = take(path);
  if (node == nullptr) return;
  std::map<std::string, std::string> entries;
  if (node->kind() != ConfigTree::Kind::kMap) return complain(path, "a map is expected here");
  for (const auto& [key, value] : node->entries()) {
    if (value.kind() != ConfigTree::Kind::kScalar) return complain(path, "a map of texts is expected here");
    entries.emplace(key, value.scalar());
  }
  out = std::move(entries);
}

void ConfigReader::read(std::string_view path, double& out, double least, double most) {
  const auto* node = look(path);
  if (node == nullptr) return;
  double value = 0;
  const auto& text = node->scalar();
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) {
    return complain(path, fmt::format("\"{}\" is not a number", text));
  }
  if (value < least || value > most) {
    return complain(path, fmt::format("{} is outside {} to {}", text, least, most));
  }
  out = value;
}

bool ConfigReader::integer(std::string_view path, long long& out, long long least, long long most) {
  const auto* node = look(path);
  if (node == nullptr) return false;
  const auto& text = node->scalar();
  long long value = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (node->kind() != ConfigTree::Kind::kScalar || failed != std::errc{} ||
      end != text.data() + text.size()) {
    complain(path, fmt::format("\"{}\" is not a whole number", text));
    return false;
  }
  if (value < least || value > most) {
    complain(path, fmt::format("{} is outside {} to {}", value, least, most));
    return false;
  }
  out = value;
  return true;
}

void ConfigReader::read_duration(std::string_view path, Duration& out) {
  const auto* node = look(path);
  if (node == nullptr) return;
  auto value = parse_duration(node->scalar());
  if (!value) return complain(path, value.error().message());
  // Go's programs write nanoseconds; a person who writes 60 means seconds.
  const auto& text = node->scalar();
  bool bare = text.find_first_not_of("0123456789") == std::string::npos;
  if (bare && *value > Duration::zero() && *value < std::chrono::milliseconds(1))
    return complain(
        path, fmt::format("{} has no unit and would be nanoseconds; write for example {}s", text, text));
  out = *value;
}

void ConfigReader::read_interval(std::string_view path, Duration& out) {
  read_duration(path, out);
  if (out < std::chrono::seconds(1)) complain(path, "at least one second is needed");
}

void ConfigReader::read_size(std::string_view path, std::uint64_t& out) {
  const auto* node = look(path);
  if (node == nullptr) return;
  auto value = parse_size(node->scalar());
  if (!value) return complain(path, value.error().message());
  out = *value;
}

Result<void> ConfigReader::finish() const {
  auto complaints = complaints_;
  std::vector<std::string> unknown;
  walk(tree_, "", unknown, complaints);
  if (complaints.empty()) return {};
  auto shown = std::min<std::size_t>(complaints.size(), 10);
  auto text =
      fmt::format("{}", fmt::join(complaints.begin(), complaints.begin() + static_cast<long>(shown), "\n"));
  if (complaints.size() > shown) text += fmt::format("\nand {} more", complaints.size() - shown);
  return Error(ErrorCode::kInvalid, std::move(text));
}

std::vector<std::string> ConfigReader::unknown_keys() const {
  std::vector<std::string> out, misplaced;
  walk(tree_, "", out, misplaced);
  return out;
}

void ConfigReader::walk(const ConfigTree& tree, const std::string& path, std::vector<std::string>& unknown,
                        std::vector<std::string>& misplaced) const {
  for (const auto& [key, value] : tree.entries()) {
    auto full = path.empty() ? key : path + "." + key;
    if (known_.contains(full)) {
      // A known leaf. A map under a key that was read as a scalar has been complained about.
      continue;
    }
    auto below = known_.lower_bound(full + ".");
    bool leads_on = below != known_.end() && below->first.starts_with(full + ".");
    if (leads_on && value.kind() == ConfigTree::Kind::kMap) {
      walk(value, full, unknown, misplaced);
    } else if (leads_on && !value.is_null()) {
      // Not merely a key that is unknown: what was meant by it would be missing.
      misplaced.push_back(
          fmt::format("{}:{}: {}: a map of keys is expected here", tree.name(), value.line(), where(full)));
    } else if (!leads_on) {
      unknown.push_back(fmt::format("{}:{}: key \"{}\" is not known and has no effect", tree.name(),
                                    value.line(), where(full)));
    }
  }
}

Result<Duration> parse_duration(std::string_view text) {
  using namespace std::chrono_literals;
  struct Unit {
    std::string_view name;
    double nanoseconds;
  };
  static constexpr Unit kUnits[] = {{"ns", 1},   {"us", 1e3},   {"µs", 1e3},    {"ms", 1e6},    {"s", 1e9},
                                    {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}, {"w", 604800e9}};
  auto wrong = [&] {
    return error(ErrorCode::kInvalid, "\"{}\" is not a duration; write for example 30s, 1m30s or 250ms",
                 text);
  };
  if (text.empty()) return wrong();
  double total = 0;
  for (auto rest = text; !rest.empty();) {
    double number = 0;
    auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (failed != std::errc{} || !std::isfinite(number) || number < 0) return wrong();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    auto letters =
        std::find_if(rest.begin(), rest.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
    auto name = rest.substr(0, static_cast<std::size_t>(letters - rest.begin()));
    while (name.ends_with(' ')) name.remove_suffix(1);
    const auto* unit =
        std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == name; });
    if (unit == std::end(kUnits)) {
      if (name.empty() && number == 0 && total == 0) return Duration::zero();
      if (!name.empty() || total != 0 || !rest.empty()) return wrong();
      total = number;
      break;
    }
    total += number * unit->nanoseconds;
    rest.remove_prefix(static_cast<std::size_t>(letters - rest.begin()));
  }
  if (total > 9e18) return error(ErrorCode::kInvalid, "\"{}\" is longer than 285 years", text);
  return Duration(static_cast<Duration::rep>(total));
}

Result<std::uint64_t> parse_size(std::string_view text) {
  auto wrong = [&] {
    return error(ErrorCode::kInvalid, "\"{}\" is not a size; write for example 512KiB, 10GB or 1048576",
                 text);
  };
  double number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{} || !std::isfinite(number) || number < 0) return wrong();
  std::string unit(end, text.data() + text.size());
  std::erase(unit, ' ');
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  if (unit.ends_with("/s")) unit.resize(unit.size() - 2);
  if (unit.ends_with('b')) unit.pop_back();
  double factor = 1;
  if (!unit.empty()) {
    bool binary = unit.ends_with('i');
    auto power = std::string_view("kmgtpe").find(unit.front());
    if (power == std::string_view::npos || unit.size() != (binary ? 2U : 1U)) return wrong();
    factor = std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power + 1));
  }
  auto bytes = number * factor;
  if (bytes >= 18446744073709551615.0)
    return error(ErrorCode::kInvalid, "\"{}\" is larger than 16 EiB", text);
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace d7y
