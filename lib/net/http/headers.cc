#include "net/http/headers.h"

#include <algorithm>

namespace d7y::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Calls `each` with every element of a comma separated list.
template <class Each>
void split_list(std::string_view list, Each each) {
  while (true) {
    const auto comma = list.find(',');
    if (auto part = trimmed(list.substr(0, comma)); !part.empty()) each(part);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

void Headers::add(std::string name, std::string value) {
  list_.push_back(Header{std::move(name), std::move(value)});
}

void Headers::set(std::string_view name, std::string value) {
  auto first = std::find_if(list_.begin(), list_.end(), [&](auto& h) { return same_name(h.name, name); });
  if (first == list_.end()) return add(std::string(name), std::move(value));
  first->value = std::move(value);
  list_.erase(std::remove_if(first + 1, list_.end(), [&](auto& h) { return same_name(h.name, name); }),
              list_.end());
}

void Headers::remove(std::string_view name) {
  std::erase_if(list_, [&](const Header& h) { return same_name(h.name, name); });
}

std::optional<std::string_view> Headers::get(std::string_view name) const {
  for (const auto& header : list_) {
    if (same_name(header.name, name)) return header.value;
  }
  return std::nullopt;
}

std::size_t Headers::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::count_if(list_.begin(), list_.end(), [&](auto& h) { return same_name(h.name, name); }));
}

std::string Headers::joined(std::string_view name) const {
  std::string all;
  for (const auto& header : list_) {
    if (!same_name(header.name, name)) continue;
    if (!all.empty()) all += ", ";
    all += header.value;
  }
  return all;
}

bool Headers::has_token(std::string_view name, std::string_view token) const {
  bool found = false;
  for (const auto& header : list_) {
    if (!same_name(header.name, name)) continue;
    split_list(header.value, [&](std::string_view part) { found = found || same_name(part, token); });
  }
  return found;
}

bool is_header_name(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool is_header_value(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

bool is_host(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) {
    return c > ' ' && c != 0x7f && c != '/' && c != '@' && c != '\\' && c != '?' && c != '#' && c != ',';
  });
}

Result<void> check_headers(const Headers& headers) {
  for (const auto& header : headers) {
    if (!is_header_name(header.name)) {
      return error(ErrorCode::kInvalid, "\"{}\" cannot be the name of an HTTP header",
                   is_header_value(header.name) ? header.name : "(unprintable)");
    }
    if (!is_header_value(header.value)) {
      return error(ErrorCode::kInvalid, "the value of HTTP header {} holds a line break or control character",
                   header.name);
    }
  }
  return {};
}

void remove_hop_by_hop(Headers& headers) {
  split_list(headers.joined("Connection"), [&](std::string_view name) { headers.remove(name); });
  for (auto name : {"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
                    "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"}) {
    headers.remove(name);
  }
}

}  // namespace d7y::http
