#include "source/listing.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

namespace d7y::source {
namespace {

constexpr std::size_t kMostEntries = 1'000'000;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Where `wanted` (lower case) begins in `text` from `at` on, without regard to case.
std::size_t find_folded(std::string_view text, std::string_view wanted, std::size_t at = 0) {
  for (; at + wanted.size() <= text.size(); ++at) {
    std::size_t i = 0;
    while (i < wanted.size() && lower(text[at + i]) == wanted[i]) ++i;
    if (i == wanted.size()) return at;
  }
  return std::string_view::npos;
}

// A name that stays inside its folder.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '&') {
      out += text[i];
      continue;
    }
    const auto end = text.find(';', i);
    const auto name = end == std::string_view::npos ? std::string_view{} : text.substr(i + 1, end - i - 1);
    unsigned code = 0;
    if (name == "amp") code = '&';
    if (name == "lt") code = '<';
    if (name == "gt") code = '>';
    if (name == "quot") code = '"';
    if (name == "apos") code = '\'';
    if (name.starts_with('#') && name.size() <= 8) {
      const bool hex = name.size() > 1 && lower(name[1]) == 'x';
      const auto digits = name.substr(hex ? 2 : 1);
      const auto [stop, failed] =
          std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
      if (failed != std::errc{} || stop != digits.data() + digits.size()) code = 0;
    }
    if (code == 0 || code > 126) {  // others are percent-encoded in links
      out += '&';
      continue;
    }
    out += static_cast<char>(code);
    i = end;
  }
  return out;
}

// A page whose title is its own path, as rclone, webfs and many small servers call their listings.
bool is_named_by_path(const http::HttpUrl& page, std::string_view text) {
  const auto begin = find_folded(text, "<title>");
  const auto end = begin == std::string_view::npos ? begin : find_folded(text, "</title>", begin);
  if (end == std::string_view::npos) return false;
  auto title = unescaped(text.substr(begin + 7, end - begin - 7));
  while (!title.empty() && static_cast<unsigned char>(title.back()) <= ' ') title.pop_back();
  auto path = percent_decode(page.url.path());
  if (path != "/" && path.ends_with('/') && !title.ends_with('/')) path.pop_back();
  return title.ends_with(path);
}

// The entry a link leads to, if it lies directly below the page.
std::optional<Entry> entry_of(const http::HttpUrl& page, std::string_view link) {
  auto target = resolve_http_url(page, link);
  if (!target || !target->same_origin(page) || target->url.query()) return std::nullopt;
  const std::string_view base = page.url.path();
  std::string_view path = target->url.path();
  if (!path.starts_with(base)) return std::nullopt;
  path.remove_prefix(base.size());
  Entry entry;
  if (path.ends_with('/')) {
    entry.is_folder = true;
    path.remove_suffix(1);
  }
  if (path.find('/') != std::string_view::npos) return std::nullopt;
  entry.name = percent_decode(path);
  if (!is_plain_name(entry.name)) return std::nullopt;
  entry.url = target->to_string();
  return entry;
}

// Where the tag ends that begins at `at`: a '>' within quotes is part of a name.
std::size_t end_of_tag(std::string_view text, std::size_t at) {
  char quote = 0;
  for (; at < text.size(); ++at) {
    if (quote != 0) {
      if (text[at] == quote) quote = 0;
    } else if (text[at] == '"' || text[at] == '\'') {
      quote = text[at];
    } else if (text[at] == '>') {
      return at;
    }
  }
  return std::string_view::npos;
}

std::vector<Entry> entries_of_html(const http::HttpUrl& page, std::string_view text) {
  std::vector<Entry> entries;
  std::set<std::string> seen;
  std::size_t at = 0;
  while (entries.size() < kMostEntries && (at = find_folded(text, "<a ", at)) != std::string_view::npos) {
    const auto end = end_of_tag(text, at);
    if (end == std::string_view::npos) break;
    const auto tag = text.substr(at, end - at);
    at = end;
    const auto attribute = find_folded(tag, "href=");
    if (attribute == std::string_view::npos || attribute + 6 >= tag.size()) continue;
    const char quote = tag[attribute + 5];
    if (quote != '"' && quote != '\'') continue;
    const auto close = tag.find(quote, attribute + 6);
    if (close == std::string_view::npos) continue;
    auto entry = entry_of(page, unescaped(tag.substr(attribute + 6, close - attribute - 6)));
    if (entry && seen.insert(entry->name).second) entries.push_back(std::move(*entry));
  }
  return entries;
}

// [{"name":"a","type":"directory"|"file","size":1}] of nginx; Caddy says "is_dir" instead of a type.
Result<std::vector<Entry>> entries_of_json(const http::HttpUrl& page, std::string_view text) {
  // Deeper than a list of objects there is nothing of interest, and depth would cost memory.
  const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 2; };
  const auto list = nlohmann::json::parse(text, shallow, false);
  const auto none = [] {
    return error(ErrorCode::kUnsupported, "the page is JSON, but no directory listing");
  };
  if (!list.is_array()) return none();
  std::vector<Entry> entries;
  for (const auto& item : list) {
    if (!item.is_object() || !item.contains("name") || !item["name"].is_string()) return none();
    auto name = item["name"].get<std::string>();
    bool folder = name.ends_with('/');
    if (folder) name.pop_back();
    if (item.contains("type") && item["type"].is_string()) folder = folder || item["type"] == "directory";
    if (item.contains("is_dir") && item["is_dir"].is_boolean()) folder = folder || item["is_dir"].get<bool>();
    if (!is_plain_name(name)) continue;
    auto entry = entry_of(page, "./" + percent_encode(name) + (folder ? "/" : ""));
    if (!entry) continue;
    if (!folder && item.contains("size") && item["size"].is_number_unsigned()) {
      entry->length = item["size"].get<std::uint64_t>();
    }
    entries.push_back(std::move(*entry));
  }
  return entries;
}

}  // namespace

Result<std::vector<Entry>> parse_listing(const http::HttpUrl& page, std::string_view content_type,
                                         std::string_view text) {
  if (find_folded(content_type, "json") != std::string_view::npos) return entries_of_json(page, text);
  const bool html = find_folded(content_type, "html") != std::string_view::npos;
  const bool listing = find_folded(text, "index of ") != std::string_view::npos ||
                       find_folded(text, "directory listing") != std::string_view::npos ||
                       is_named_by_path(page, text);
  if (!html || !listing) {
    return error(ErrorCode::kUnsupported, "the origin shows a page there, but no directory listing");
  }
  return entries_of_html(page, text);
}

}  // namespace d7y::source
