#include "base/url.h"

#include <algorithm>

#include "base/hex.h"
#include "base/ids.h"
#include "base/url_host.h"

namespace d7y {
namespace {

constexpr std::size_t kMaxLength = 64 * 1024;  // bytes; no server takes longer ones

bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::optional<std::uint16_t> default_port(std::string_view scheme) {
  if (scheme == "http" || scheme == "ws") return 80;
  if (scheme == "https" || scheme == "wss") return 443;
  if (scheme == "ftp") return 21;
  return std::nullopt;
}

// Characters that are encoded besides controls and non-ASCII.
constexpr std::string_view kFragmentSet = " \"<>`";
constexpr std::string_view kQuerySet = " \"#<>";
constexpr std::string_view kSpecialQuerySet = " \"#<>'";
constexpr std::string_view kPathSet = " \"<>`#?{}";
constexpr std::string_view kUserinfoSet = " \"<>`#?{}/:;=@[\\]^|";

void append_encoded(std::string& to, char c) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(c);
  to += '%';
  to += kDigits[byte >> 4];
  to += kDigits[byte & 15];
}

std::string encode(std::string_view text, std::string_view set) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || set.find(c) != std::string_view::npos) {
      append_encoded(out, c);
    } else {
      out += c;
    }
  }
  return out;
}

// "." and "%2e" mean the same in a path.
bool is_single_dot(std::string_view s) {
  return s == "." || (s.size() == 3 && s[0] == '%' && s[1] == '2' && lower(s[2]) == 'e');
}
bool is_double_dot(std::string_view s) {
  for (const std::size_t first : {std::size_t{1}, std::size_t{3}}) {
    if (s.size() > first && is_single_dot(s.substr(0, first)) && is_single_dot(s.substr(first))) return true;
  }
  return false;
}

// Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a broken sequence.
std::string lossy_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) {
      out += text[at++];
      continue;
    }
    const int more = lead >= 0xc2 && lead <= 0xdf   ? 1
                     : lead >= 0xe0 && lead <= 0xef ? 2
                     : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                    : 0;
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    int good = 0;
    while (good < more && at + 1 + good < text.size()) {
      const auto next = static_cast<unsigned char>(text[at + 1 + good]);
      if (next < low || next > high) break;
      low = 0x80;
      high = 0xbf;
      ++good;
    }
    if (more > 0 && good == more) {
      out += text.substr(at, 1 + more);
    } else {
      out += "\xef\xbf\xbd";
    }
    at += 1 + good;
  }
  return out;
}

Error invalid(std::string_view why) { return error(ErrorCode::kInvalid, "not a usable URL: {}", why); }

}  // namespace

// The standard's state machine, unrolled: scheme, authority, path, query, fragment.
class UrlParser {
 public:
  UrlParser(std::string_view text, const Url* base) : base_(base) {
    const auto blank = [](char c) { return static_cast<unsigned char>(c) <= 0x20; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    for (const char c : text) {
      if (c != '\t' && c != '\n' && c != '\r') text_ += c;
    }
    rest_ = text_;
  }

  Result<Url> run() {
    if (const auto hash = rest_.find('#'); hash != std::string_view::npos) {
      url_.fragment_ = encode(rest_.substr(hash + 1), kFragmentSet);
      rest_ = rest_.substr(0, hash);
    }
    if (take_scheme()) {
      TRY_OK(after_scheme());
    } else {
      if (base_ == nullptr) return invalid("no scheme; expected something like https://host/path");
      url_.scheme_ = base_->scheme_;
      if (base_->opaque_path_) {
        if (!rest_.empty()) return invalid("the reference cannot be resolved against a URL without a path");
        inherit(true);
        return std::move(url_);
      }
      TRY_OK(relative());
    }
    return std::move(url_);
  }

 private:
  bool special() const { return url_.is_special(); }
  bool slash(char c) const { return c == '/' || (c == '\\' && special()); }
  bool starts_with_slash() const { return !rest_.empty() && slash(rest_[0]); }
  bool starts_with_two_slashes() const { return rest_.size() >= 2 && slash(rest_[0]) && slash(rest_[1]); }

  bool take_scheme() {
    if (rest_.empty() || !is_alpha(rest_[0])) return false;
    std::size_t at = 1;
    while (at < rest_.size() && (is_alpha(rest_[at]) || is_digit(rest_[at]) || rest_[at] == '+' ||
                                 rest_[at] == '-' || rest_[at] == '.')) {
      ++at;
    }
    if (at >= rest_.size() || rest_[at] != ':') return false;
    for (const char c : rest_.substr(0, at)) url_.scheme_ += lower(c);
    rest_.remove_prefix(at + 1);
    return true;
  }

  Result<void> after_scheme() {
    if (url_.scheme_ == "file") {
      if (starts_with_two_slashes()) {
        rest_.remove_prefix(2);
        return authority();
      }
      if (base_ != nullptr && base_->scheme_ == "file" && !base_->opaque_path_) return relative();
      url_.host_ = "";
      return path_and_query({});
    }
    if (special()) {
      if (base_ != nullptr && base_->scheme_ == url_.scheme_ && !starts_with_two_slashes()) return relative();
      while (starts_with_slash()) rest_.remove_prefix(1);
      return authority();
    }
    if (starts_with_two_slashes()) {
      rest_.remove_prefix(2);
      return authority();
    }
    if (starts_with_slash()) return path_and_query({});
    url_.opaque_path_ = true;
    split_query();
    url_.path_ = encode(rest_, "");
    return {};
  }

  void inherit(bool with_query) {
    url_.username_ = base_->username_;
    url_.password_ = base_->password_;
    url_.host_ = base_->host_;
    url_.port_ = base_->port_;
    url_.path_ = base_->path_;
    url_.opaque_path_ = base_->opaque_path_;
    if (with_query) url_.query_ = base_->query_;
  }

  Result<void> relative() {
    if (starts_with_two_slashes()) {
      rest_.remove_prefix(2);
      while (special() && url_.scheme_ != "file" && starts_with_slash()) rest_.remove_prefix(1);
      return authority();
    }
    inherit(rest_.empty());
    if (rest_.empty()) return {};
    if (starts_with_slash()) return path_and_query({});
    if (rest_[0] == '?') {
      split_query();
      return {};
    }
    // Everything of the base's path but its last segment comes first.
    std::vector<std::string> segments;
    std::string_view before = url_.path_;
    before = before.substr(0, before.rfind('/') == std::string_view::npos ? 0 : before.rfind('/'));
    while (!before.empty()) {
      before.remove_prefix(1);
      const auto end = std::min(before.find('/'), before.size());
      segments.emplace_back(before.substr(0, end));
      before.remove_prefix(end);
    }
    return path_and_query(std::move(segments));
  }

  Result<void> authority() {
    std::size_t end = 0;
    while (end < rest_.size() && !slash(rest_[end]) && rest_[end] != '?') ++end;
    auto part = rest_.substr(0, end);
    rest_.remove_prefix(end);
    if (const auto at = part.rfind('@'); at != std::string_view::npos) {
      const auto userinfo = part.substr(0, at);
      const auto colon = std::min(userinfo.find(':'), userinfo.size());
      url_.username_ = encode(userinfo.substr(0, colon), kUserinfoSet);
      if (colon < userinfo.size()) url_.password_ = encode(userinfo.substr(colon + 1), kUserinfoSet);
      part.remove_prefix(at + 1);
      if (part.empty()) return invalid("credentials without a host");
    }
    std::size_t port_at = std::string_view::npos;
    const auto bracket = part.rfind(']');
    if (const auto colon = part.rfind(':');
        colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
      port_at = colon;
    }
    const auto host = part.substr(0, port_at);
    if (host.empty() && special() && url_.scheme_ != "file") return invalid("no host");
    if (host.empty() && (port_at != std::string_view::npos || url_.has_credentials()))
      return invalid("no host");
    TRY(url_.host_, parse_url_host(host, special()));
    if (url_.scheme_ == "file") {
      if (port_at != std::string_view::npos || url_.has_credentials())
        return invalid("a file has no port or user");
      if (*url_.host_ == "localhost") url_.host_ = "";
    }
    if (port_at != std::string_view::npos) TRY_OK(parse_port(part.substr(port_at + 1)));
    return path_and_query({});
  }

  Result<void> parse_port(std::string_view digits) {
    std::uint32_t port = 0;
    for (const char c : digits) {
      if (!is_digit(c)) return invalid("the port is not a number");
      port = port * 10 + static_cast<std::uint32_t>(c - '0');
      if (port > 65535) return invalid("the port is above 65535");
    }
    if (!digits.empty() && default_port(url_.scheme_) != port) url_.port_ = static_cast<std::uint16_t>(port);
    return {};
  }

  void split_query() {
    const auto mark = rest_.find('?');
    if (mark == std::string_view::npos) return;
    url_.query_ = encode(rest_.substr(mark + 1), special() ? kSpecialQuerySet : kQuerySet);
    rest_ = rest_.substr(0, mark);
  }

  Result<void> path_and_query(std::vector<std::string> segments) {
    split_query();
    if (rest_.empty() && segments.empty()) {
      url_.path_ = special() ? "/" : "";
      return {};
    }
    if (starts_with_slash()) rest_.remove_prefix(1);
    for (bool last = false; !last;) {
      std::size_t end = 0;
      while (end < rest_.size() && !slash(rest_[end])) ++end;
      last = end == rest_.size();
      const auto segment = rest_.substr(0, end);
      rest_.remove_prefix(last ? end : end + 1);
      if (is_double_dot(segment)) {
        if (!segments.empty()) segments.pop_back();
        if (last) segments.emplace_back();
      } else if (is_single_dot(segment)) {
        if (last) segments.emplace_back();
      } else {
        segments.push_back(encode(segment, kPathSet));
      }
    }
    url_.path_.clear();
    for (const auto& segment : segments) url_.path_ += "/" + segment;
    return {};
  }

  const Url* base_;
  std::string text_;
  std::string_view rest_;
  Url url_;
};

Result<Url> Url::parse(std::string_view text) {
  if (text.size() > kMaxLength)
    return error(ErrorCode::kTooLarge, "the URL is longer than {} bytes", kMaxLength);
  return UrlParser(text, nullptr).run();
}

Result<Url> Url::resolve(std::string_view reference) const {
  if (reference.size() > kMaxLength)
    return error(ErrorCode::kTooLarge, "the URL is longer than {} bytes", kMaxLength);
  return UrlParser(reference, this).run();
}

bool Url::is_special() const { return default_port(scheme_).has_value() || scheme_ == "file"; }

std::string Url::hostname() const {
  if (!host_) return {};
  if (host_->size() > 1 && host_->front() == '[') return host_->substr(1, host_->size() - 2);
  return *host_;
}

std::uint16_t Url::port_or_default() const { return port_ ? *port_ : default_port(scheme_).value_or(0); }

std::string Url::to_string() const {
  std::string text = scheme_ + ":";
  if (host_) {
    text += "//";
    if (has_credentials()) {
      text += username_;
      if (!password_.empty()) text += ":" + password_;
      text += "@";
    }
    text += authority();
  } else if (!opaque_path_ && path_.starts_with("//")) {
    text += "/.";  // or the path would read as an authority
  }
  text += path_;
  if (query_) text += "?" + *query_;
  if (fragment_) text += "#" + *fragment_;
  return text;
}

std::string Url::authority() const {
  std::string text = host_.value_or("");
  if (port_) text += ":" + std::to_string(*port_);
  return text;
}

std::string Url::origin() const {
  if (!host_ || !default_port(scheme_)) return "null";
  return scheme_ + "://" + authority();
}

std::string Url::request_target() const {
  std::string text = path_.empty() ? "/" : path_;
  if (query_) text += "?" + *query_;
  return text;
}

std::string Url::redacted() const {
  Url shown = *this;
  shown.clear_credentials();
  shown.clear_fragment();
  if (query_) {
    auto pairs = query_pairs();
    bool secret = false;
    for (auto& [name, value] : pairs) {
      if (!is_secret_query_param(name)) continue;
      value = "***";
      secret = true;
    }
    if (secret) shown.set_query_pairs(pairs);
  }
  return shown.to_string();
}

QueryPairs Url::query_pairs() const { return query_ ? form_decode(*query_) : QueryPairs{}; }

void Url::set_query_pairs(const QueryPairs& pairs) {
  if (pairs.empty()) {
    query_.reset();
  } else {
    query_ = form_encode(pairs);
  }
}

void Url::clear_credentials() {
  username_.clear();
  password_.clear();
}

void Url::set_path(std::string_view path) {
  path_ = path.starts_with('/') ? "" : "/";
  path_ += encode(path, kPathSet);
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '%' && at + 2 < text.size() && hex_digit(text[at + 1]) >= 0 &&
        hex_digit(text[at + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[at + 1]) * 16 + hex_digit(text[at + 2]));
      at += 2;
    } else {
      out += text[at];
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      append_encoded(out, c);
    }
  }
  return out;
}

std::string form_encode(const QueryPairs& pairs) {
  std::string out;
  const auto append = [&](std::string_view text) {
    for (const char c : text) {
      if (is_alpha(c) || is_digit(c) || c == '*' || c == '-' || c == '.' || c == '_') {
        out += c;
      } else if (c == ' ') {
        out += '+';
      } else {
        append_encoded(out, c);
      }
    }
  };
  for (const auto& [name, value] : pairs) {
    if (!out.empty()) out += '&';
    append(name);
    out += '=';
    append(value);
  }
  return out;
}

QueryPairs form_decode(std::string_view text) {
  const auto decode = [](std::string_view part) {
    std::string spaced(part);
    std::replace(spaced.begin(), spaced.end(), '+', ' ');
    return lossy_utf8(percent_decode(spaced));
  };
  QueryPairs pairs;
  while (!text.empty()) {
    const auto end = std::min(text.find('&'), text.size());
    const auto part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (part.empty()) continue;
    const auto equals = std::min(part.find('='), part.size());
    pairs.emplace_back(decode(part.substr(0, equals)),
                       decode(part.substr(std::min(equals + 1, part.size()))));
  }
  return pairs;
}

}  // namespace d7y
