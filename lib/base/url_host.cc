#include "base/url_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/hex.h"
#include "base/url.h"

namespace d7y {
namespace {

Error invalid(std::string_view why) { return error(ErrorCode::kInvalid, "not a usable URL: {}", why); }

// Strict UTF-8; none if broken.
std::optional<std::u32string> decode_utf8(std::string_view text) {
  std::u32string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const int more = lead < 0x80         ? 0
                     : (lead >> 5) == 6  ? 1
                     : (lead >> 4) == 14 ? 2
                     : (lead >> 3) == 30 ? 3
                                         : -1;
    if (more < 0 || at + more >= text.size()) return std::nullopt;
    char32_t point = more == 0 ? lead : lead & (0x3f >> more);
    for (int i = 1; i <= more; ++i) {
      const auto next = static_cast<unsigned char>(text[at + i]);
      if ((next >> 6) != 2) return std::nullopt;
      point = point << 6 | (next & 0x3f);
    }
    static constexpr char32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    if (point < kLeast[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return std::nullopt;
    out += point;
    at += 1 + static_cast<std::size_t>(more);
  }
  return out;
}

// Simple lower case of the scripts that have it and are used in host names.
char32_t lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3ab && c != 0x3a2) ||
      (c >= 0x410 && c <= 0x42f)) {
    return c + 32;
  }
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  if (c >= 0x531 && c <= 0x556) return c + 48;
  if (c == 0x178) return 0xff;
  const bool odd_upper = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e);
  const bool paired = (c >= 0x100 && c <= 0x177 && c != 0x130 && c != 0x131 && c != 0x138 && c != 0x149) ||
                      odd_upper || (c >= 0x460 && c <= 0x481) || (c >= 0x48a && c <= 0x4bf) ||
                      (c >= 0x4d0 && c <= 0x52f) || (c >= 0x1e00 && c <= 0x1e95) ||
                      (c >= 0x1ea0 && c <= 0x1eff);
  if (paired && (odd_upper ? c % 2 == 1 : c % 2 == 0)) return c + 1;
  return c;
}

bool is_forbidden_in_host(unsigned char c) {
  return c == 0 || c == '\t' || c == '\n' || c == '\r' ||
         std::string_view(" #/:<>?@[\\]^|").find(static_cast<char>(c)) != std::string_view::npos;
}
bool is_forbidden_in_domain(unsigned char c) {
  return is_forbidden_in_host(c) || c < 0x20 || c == '%' || c == 0x7f;
}

Result<std::string> to_ascii(std::string_view text) {
  const auto points = decode_utf8(text);
  if (!points) return invalid("the host is not UTF-8");
  std::string out;
  std::u32string label;
  const auto finish = [&]() -> Result<void> {
    const bool ascii = std::all_of(label.begin(), label.end(), [](char32_t c) { return c < 0x80; });
    if (ascii) {
      for (const char32_t c : label) out += static_cast<char>(c);
    } else {
      if (label.size() > 63) return invalid("a label of the host is longer than 63 characters");
      out += "xn--" + punycode(label);
    }
    label.clear();
    return {};
  };
  for (const char32_t c : *points) {
    if (c == U'\u00ad') continue;  // a soft hyphen is nothing
    if (c == '.' || c == U'\u3002' || c == U'\uff0e' || c == U'\uff61') {
      TRY_OK(finish());
      out += '.';
    } else {
      label += lower(c);
    }
  }
  TRY_OK(finish());
  return out;
}

// One number of an IPv4 address: decimal, 0x hexadecimal or 0 octal.
std::optional<std::uint64_t> ipv4_number(std::string_view text) {
  if (text.empty()) return std::nullopt;
  unsigned radix = 10;
  if (text.size() >= 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    radix = 16;
    text.remove_prefix(2);
  } else if (text.size() >= 2 && text[0] == '0') {
    radix = 8;
    text.remove_prefix(1);
  }
  std::uint64_t value = 0;
  for (const char c : text) {
    const int digit = hex_digit(c);
    if (digit < 0 || digit >= static_cast<int>(radix)) return std::nullopt;
    value = std::min<std::uint64_t>(value * radix + static_cast<unsigned>(digit), std::uint64_t{1} << 40);
  }
  return value;
}

bool ends_in_a_number(std::string_view domain) {
  if (domain.ends_with('.')) domain.remove_suffix(1);
  const auto last = domain.substr(domain.rfind('.') + 1);
  if (last.empty()) return false;
  if (std::all_of(last.begin(), last.end(), [](char c) { return c >= '0' && c <= '9'; })) return true;
  return last.size() >= 2 && last[0] == '0' && (last[1] == 'x' || last[1] == 'X') &&
         ipv4_number(last).has_value();
}

Result<std::string> parse_ipv4(std::string_view domain) {
  if (domain.ends_with('.')) domain.remove_suffix(1);
  std::vector<std::uint64_t> numbers;
  for (bool more = true; more;) {
    const auto dot = domain.find('.');
    more = dot != std::string_view::npos;
    const auto number = ipv4_number(domain.substr(0, dot));
    if (!number || numbers.size() == 4) return invalid("the host looks like an IPv4 address but is none");
    numbers.push_back(*number);
    if (more) domain.remove_prefix(dot + 1);
  }
  // The last number fills all bytes that the others leave.
  std::uint64_t address = numbers.back();
  if (address >= std::uint64_t{1} << (8 * (5 - numbers.size())))
    return invalid("the IPv4 address is out of range");
  for (std::size_t i = 0; i + 1 < numbers.size(); ++i) {
    if (numbers[i] > 255) return invalid("the IPv4 address is out of range");
    address += numbers[i] << (8 * (3 - i));
  }
  return fmt::format("{}.{}.{}.{}", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

// The longest run of zeros is "::", all else in lower-case hexadecimal; never with dots.
std::string ipv6_text(std::string_view octets) {
  std::uint16_t words[8];
  for (int i = 0; i < 8; ++i) {
    words[i] = static_cast<std::uint16_t>(static_cast<unsigned char>(octets[2 * i]) << 8 |
                                          static_cast<unsigned char>(octets[2 * i + 1]));
  }
  int start = -1, length = 1;  // a single zero is not shortened
  for (int i = 0; i < 8; ++i) {
    int end = i;
    while (end < 8 && words[end] == 0) ++end;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
    i = std::max(i, end - 1);
  }
  std::string text;
  for (int i = 0; i < 8; ++i) {
    if (i == start) {
      text += i == 0 ? "::" : ":";
      i += length - 1;
      continue;
    }
    text += fmt::format("{:x}", words[i]);
    if (i != 7) text += ':';
  }
  return text;
}

}  // namespace

std::string punycode(std::u32string_view code_points) {
  constexpr std::uint32_t kBase = 36, kTMin = 1, kTMax = 26, kSkew = 38, kDamp = 700;
  std::string out;
  for (const char32_t c : code_points) {
    if (c < 0x80) out += static_cast<char>(c);
  }
  const std::size_t basic = out.size();
  std::size_t handled = basic;
  if (basic > 0) out += '-';
  std::uint32_t n = 0x80, delta = 0, bias = 72;
  while (handled < code_points.size()) {
    std::uint32_t next = 0x10ffff;
    for (const char32_t c : code_points) {
      if (c >= n && c < next) next = c;
    }
    delta += (next - n) * static_cast<std::uint32_t>(handled + 1);
    n = next;
    for (const char32_t c : code_points) {
      if (c < n) ++delta;
      if (c != n) continue;
      std::uint32_t q = delta;
      for (std::uint32_t k = kBase;; k += kBase) {
        const std::uint32_t t = k <= bias ? kTMin : k >= bias + kTMax ? kTMax : k - bias;
        const std::uint32_t digit = q < t ? q : t + (q - t) % (kBase - t);
        out += static_cast<char>(digit < 26 ? 'a' + digit : '0' + digit - 26);
        if (q < t) break;
        q = (q - t) / (kBase - t);
      }
      const auto points = static_cast<std::uint32_t>(handled + 1);
      delta = handled == basic ? delta / kDamp : delta / 2;
      delta += delta / points;
      std::uint32_t k = 0;
      for (; delta > ((kBase - kTMin) * kTMax) / 2; k += kBase) delta /= kBase - kTMin;
      bias = k + (kBase - kTMin + 1) * delta / (delta + kSkew);
      delta = 0;
      ++handled;
    }
    ++delta;
    ++n;
  }
  return out;
}

Result<std::string> parse_url_host(std::string_view text, bool special) {
  if (text.starts_with('[')) {
    if (!text.ends_with(']') || text.find('%') != std::string_view::npos)
      return invalid("the IPv6 address is malformed");
    const auto address = Address::parse_ip(text.substr(1, text.size() - 2), 0);
    if (!address || address->family() != Address::Family::kIpv6)
      return invalid("the IPv6 address is malformed");
    return "[" + ipv6_text(address->octets()) + "]";
  }
  if (!special) {
    if (std::any_of(text.begin(), text.end(),
                    [](char c) { return is_forbidden_in_host(static_cast<unsigned char>(c)); })) {
      return invalid("the host has a character that no host may have");
    }
    std::string out;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || byte >= 0x7f) {
        out += fmt::format("%{:02X}", byte);
      } else {
        out += c;
      }
    }
    return out;
  }
  if (text.empty()) return std::string();
  TRY(std::string domain, to_ascii(percent_decode(text)));
  if (domain.empty() || std::any_of(domain.begin(), domain.end(), [](char c) {
        return is_forbidden_in_domain(static_cast<unsigned char>(c));
      })) {
    return invalid("the host has a character that no host may have");
  }
  if (ends_in_a_number(domain)) return parse_ipv4(domain);
  return domain;
}

}  // namespace d7y
