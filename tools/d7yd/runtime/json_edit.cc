#include "json_edit.h"

#include <fmt/format.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "refusal.h"
#include "toml.h"

namespace tools::json {

namespace {

constexpr const char* kBlank = " \t\r\n";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // some editors write it, and Docker takes it

std::size_t begin_of(const std::string& text) {
  return text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
}

nlohmann::json parsed(const std::string& text, const std::string& name) {
  try {
    auto value = nlohmann::json::parse(text);
    if (!value.is_object()) throw Refusal(kNotEditable, fmt::format("{}: this is not a JSON object", name));
    return value;
  } catch (const nlohmann::json::exception& mistake) {
    throw Refusal(kNotEditable, fmt::format("{}: {}", name, mistake.what()));
  }
}

// The functions below walk over text that has been parsed, so they need not check it.

std::size_t skip_blanks(const std::string& text, std::size_t at) {
  return text.find_first_not_of(kBlank, at);
}

std::size_t skip_string(const std::string& text, std::size_t at) {
  for (++at; text[at] != '"'; ++at)
    if (text[at] == '\\') ++at;
  return at + 1;
}

std::size_t skip_value(const std::string& text, std::size_t at) {
  if (text[at] == '"') return skip_string(text, at);
  if (text[at] != '{' && text[at] != '[') return text.find_first_of(",]} \t\r\n", at);
  std::size_t depth = 0;
  do {
    if (text[at] == '"') {
      at = skip_string(text, at);
      continue;
    }
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    ++at;
  } while (depth > 0);
  return at;
}

struct Members {
  std::optional<std::size_t> value, value_end;  // of the one that was looked for
  std::optional<std::size_t> last_key;          // where the last member begins
  std::size_t last_end = 0;                     // and ends
};

Members members(const std::string& text, std::size_t object, const std::string& key) {
  Members found;
  auto at = skip_blanks(text, object + 1);
  while (text[at] != '}') {
    found.last_key = at;
    auto key_end = skip_string(text, at);
    auto name = nlohmann::json::parse(text.substr(at, key_end - at)).get<std::string>();
    at = skip_blanks(text, skip_blanks(text, key_end) + 1);  // behind ':'
    auto end = skip_value(text, at);
    if (name == key) found.value = at, found.value_end = end;
    found.last_end = end;
    at = skip_blanks(text, end);
    if (text[at] == ',') at = skip_blanks(text, at + 1);
  }
  return found;
}

// `text` with the member in the object that begins at `object`.
std::string add(const std::string& text, std::size_t object, const std::string& key,
                const std::string& value) {
  auto found = members(text, object, key);
  auto member = nlohmann::json(key).dump() + ": " + value;
  if (!found.last_key) {
    auto indent = toml::indent_at(text, object);
    return text.substr(0, object + 1) + "\n" + indent + "  " + member + "\n" + indent +
           text.substr(skip_blanks(text, object + 1));
  }
  bool own_line = text.find('\n', object) < *found.last_key;
  return text.substr(0, found.last_end) + "," +
         (own_line ? "\n" + toml::indent_at(text, *found.last_key) : std::string(" ")) + member +
         text.substr(found.last_end);
}

}  // namespace

std::string set(const std::string& text, const std::string& name, const std::vector<std::string>& path,
                const std::string& value) {
  if (text.find_first_not_of(kBlank, begin_of(text)) == std::string::npos)
    return set("{}\n", name, path, value);
  parsed(text, name);
  auto object = skip_blanks(text, begin_of(text));
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (text[object] != '{')
      throw Refusal(kNotEditable, fmt::format("{}: \"{}\" is not an object", name, path[i - 1]));
    auto found = members(text, object, path[i]);
    bool last = i + 1 == path.size();
    if (!found.value) {
      if (last) return add(text, object, path[i], value);
      return set(add(text, object, path[i], "{}"), name, path, value);
    }
    if (last) return text.substr(0, *found.value) + value + text.substr(*found.value_end);
    object = *found.value;
  }
  return text;
}

std::string put_first(const std::string& text, const std::string& name, const std::vector<std::string>& path,
                      const std::string& value) {
  bool empty = text.find_first_not_of(kBlank, begin_of(text)) == std::string::npos;
  auto json = empty ? nlohmann::json::object() : parsed(text, name);
  const auto* there = &json;
  for (const auto& key : path) {
    there = there->is_object() && there->contains(key) ? &(*there)[key] : nullptr;
    if (there == nullptr) return set(text, name, path, "[" + nlohmann::json(value).dump() + "]");
  }
  if (!there->is_array())
    throw Refusal(kNotEditable, fmt::format("{}: \"{}\" is not an array", name, path.back()));
  if (!there->empty() && there->front() == value) return text;
  auto wanted = nlohmann::json::array({value});
  for (const auto& element : *there)
    if (element != value) wanted.push_back(element);
  std::string array = "[";
  for (const auto& element : wanted) array += (array.size() > 1 ? ", " : "") + element.dump();
  return set(text, name, path, array + "]");
}

}  // namespace tools::json
