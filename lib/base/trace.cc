#include "base/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace d7y {
namespace {

// `text`: lower case hex digits, two a byte. False if it is something else.
template <std::size_t N>
bool read_hex(std::string_view text, std::array<std::uint8_t, N>& bytes) {
  if (text.size() != 2 * N) return false;
  for (std::size_t i = 0; i < N; ++i) {
    for (char c : text.substr(2 * i, 2)) {
      if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) return false;
    }
    (void)std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, bytes[i], 16);
  }
  return std::any_of(bytes.begin(), bytes.end(), [](auto byte) { return byte != 0; });
}

template <std::size_t N>
void fill(std::array<std::uint8_t, N>& bytes, const std::function<std::uint64_t()>& random) {
  for (std::size_t i = 0; i < N; i += 8) {
    auto number = random() | 1;  // not all zero
    for (std::size_t j = 0; j < 8; ++j, number >>= 8) bytes[i + j] = static_cast<std::uint8_t>(number);
  }
}

template <std::size_t N>
std::string hex(const std::array<std::uint8_t, N>& bytes) {
  std::string text;
  for (auto byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace

// "00-<trace>-<span>-<flags>"; later versions may have more behind (W3C trace context 4).
std::optional<TraceContext> TraceContext::parse(std::string_view text) {
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  std::array<std::uint8_t, 1> version{}, flags{};
  const bool first = text.starts_with("00");
  if (!first && (!read_hex(text.substr(0, 2), version) || version[0] == 0xff)) return std::nullopt;
  if (first ? text.size() != 55 : text.size() > 55 && text[55] != '-') return std::nullopt;
  TraceContext context;
  if (!read_hex(text.substr(3, 32), context.trace) || !read_hex(text.substr(36, 16), context.span))
    return std::nullopt;
  if (text.substr(53, 2) != "00" && !read_hex(text.substr(53, 2), flags)) return std::nullopt;
  context.sampled = (flags[0] & 1) != 0;
  return context;
}

TraceContext TraceContext::inside(const std::optional<TraceContext>& caller,
                                  const std::function<std::uint64_t()>& random) {
  TraceContext context;
  if (caller) {
    context.trace = caller->trace;
    context.parent = caller->span;
    context.sampled = caller->sampled;
  } else {
    fill(context.trace, random);
  }
  fill(context.span, random);
  return context;
}

std::string TraceContext::traceparent() const {
  return "00-" + hex(trace) + "-" + hex(span) + (sampled ? "-01" : "-00");
}

}  // namespace d7y
