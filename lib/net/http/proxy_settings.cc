#include "net/http/proxy_settings.h"

#include <algorithm>
#include <charconv>

#include "base/url.h"
#include "net/http/headers.h"
#include "net/http/message.h"

namespace d7y::http {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool same_bits(std::string_view a, std::string_view b, unsigned bits) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size() && bits > 0; ++i) {
    const unsigned take = std::min(bits, 8U);
    const unsigned mask = (0xffU << (8 - take)) & 0xffU;
    if (((static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i])) & mask) != 0) return false;
    bits -= take;
  }
  return true;
}

std::string_view without_brackets(std::string_view host) {
  return host.size() >= 2 && host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2)
                                                                       : host;
}

}  // namespace

Result<Proxy> parse_proxy(std::string_view text) {
  const auto invalid = [](std::string_view why) {
    return error(ErrorCode::kInvalid, "proxy setting: {}; expected http://[user:password@]host[:port]", why);
  };
  Proxy proxy;
  proxy.port = 1080;  // curl's default
  if (const auto mark = text.find("://"); mark != std::string_view::npos) {
    const auto scheme = lower(text.substr(0, mark));
    if (scheme == "https") {
      proxy.tls = true;
      proxy.port = 443;
    } else if (scheme != "http") {
      return error(ErrorCode::kUnsupported,
                   "proxy setting: scheme \"{}\" is not supported, only http and https",
                   is_header_name(scheme) ? scheme : "?");
    }
    text.remove_prefix(mark + 3);
  }
  text = text.substr(0, text.find_first_of("/?#"));
  if (const auto at = text.rfind('@'); at != std::string_view::npos) {
    const auto login = text.substr(0, at);
    const auto colon = login.find(':');
    proxy.authorization =
        basic_credentials(percent_decode(login.substr(0, colon)),
                          colon == std::string_view::npos ? "" : percent_decode(login.substr(colon + 1)));
    text.remove_prefix(at + 1);
  }
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return invalid("'[' without ']'");
    host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    if (!Address::parse_ip(host, 0).ok()) return invalid("no IPv6 address between the brackets");
    if (!port.empty() && port.front() != ':') return invalid("no ':' before the port");
    if (!port.empty()) port.remove_prefix(1);
  } else if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (!port.empty()) {
    const auto value = number<std::uint16_t>(port);
    if (!value || *value == 0) return invalid("the port is no number from 1 to 65535");
    proxy.port = *value;
  }
  if (host.empty()) return invalid("no host");
  for (const char c : host) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return invalid("the host holds a blank");
  }
  proxy.host = lower(host);
  return proxy;
}

NoProxy::NoProxy(std::string_view list) {
  while (!list.empty()) {
    const auto end = list.find_first_of(", \t");
    auto entry = list.substr(0, end);
    list = end == std::string_view::npos ? std::string_view{} : list.substr(end + 1);
    if (entry.empty()) continue;
    if (entry == "*") {
      everything_ = true;
      continue;
    }
    const auto slash = entry.find('/');
    const auto literal = without_brackets(entry.substr(0, slash));
    if (auto address = Address::parse_ip(literal, 0)) {
      auto bits = static_cast<unsigned>(address->octets().size() * 8);
      if (slash != std::string_view::npos) {
        const auto given = number<unsigned>(entry.substr(slash + 1));
        if (!given || *given > bits) continue;
        bits = *given;
      }
      blocks_.push_back(Block{std::move(address).value(), bits});
      continue;
    }
    if (slash != std::string_view::npos) continue;
    std::uint16_t port = 0;
    if (const auto colon = entry.rfind(':'); colon != std::string_view::npos) {
      const auto given = number<std::uint16_t>(entry.substr(colon + 1));
      if (!given) continue;
      port = *given;
      entry = entry.substr(0, colon);
      if (auto address = Address::parse_ip(without_brackets(entry), port)) {
        blocks_.push_back(Block{std::move(address).value(), 128});
        continue;
      }
    }
    if (entry.starts_with("*.")) entry.remove_prefix(1);
    while (entry.starts_with('.')) entry.remove_prefix(1);
    while (entry.ends_with('.')) entry.remove_suffix(1);
    if (!entry.empty()) names_.push_back(Name{lower(entry), port});
  }
}

bool NoProxy::matches(std::string_view host, std::uint16_t port) const {
  if (everything_) return true;
  host = without_brackets(host);
  if (auto address = Address::parse_ip(host, 0)) {
    for (const auto& block : blocks_) {
      if (block.address.port() != 0 && block.address.port() != port) continue;
      if (same_bits(block.address.octets(), address->octets(), block.bits)) return true;
    }
    return false;
  }
  while (host.ends_with('.')) host.remove_suffix(1);
  const auto name = lower(host);
  return std::any_of(names_.begin(), names_.end(), [&](const Name& entry) {
    if (entry.port != 0 && entry.port != port) return false;
    if (name == entry.suffix) return true;
    return name.size() > entry.suffix.size() && name.ends_with(entry.suffix) &&
           name[name.size() - entry.suffix.size() - 1] == '.';
  });
}

Result<ProxySettings> ProxySettings::from_variables(const ProxyVariables& variables) {
  ProxySettings settings;
  const auto choose = [&](const std::string& own) -> const std::string& {
    return own.empty() ? variables.all_proxy : own;
  };
  if (const auto& text = choose(variables.http_proxy); !text.empty()) {
    TRY(settings.http_, parse_proxy(text));
  }
  if (const auto& text = choose(variables.https_proxy); !text.empty()) {
    TRY(settings.https_, parse_proxy(text));
  }
  settings.except_ = NoProxy(variables.no_proxy);
  return settings;
}

bool ProxySettings::remove_if(const std::function<bool(const Proxy&)>& unwanted) {
  bool any = false;
  for (auto* proxy : {&http_, &https_}) {
    if (!*proxy || !unwanted(**proxy)) continue;
    proxy->reset();
    any = true;
  }
  return any;
}

const Proxy* ProxySettings::proxy_for(std::string_view scheme, std::string_view host,
                                      std::uint16_t port) const {
  const auto& proxy = scheme == "https" ? https_ : http_;
  if (!proxy || except_.matches(host, port)) return nullptr;
  return &*proxy;
}

}  // namespace d7y::http
