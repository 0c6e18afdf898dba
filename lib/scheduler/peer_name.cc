#include "scheduler/peer_name.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

namespace d7y::scheduler {
namespace {

constexpr std::string_view kSeed = "-seed";

// Only the form that uuid text is written back in: lower case, dashes at their places.
std::optional<std::pair<std::uint64_t, std::uint64_t>> parse_uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  std::uint64_t words[2] = {0, 0};
  int digits = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (at == 8 || at == 13 || at == 18 || at == 23) {
      if (c != '-') return std::nullopt;
      continue;
    }
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return std::nullopt;
    auto& word = words[digits++ / 16];
    word = word << 4 | static_cast<unsigned>(digit);
  }
  return std::pair(words[0], words[1]);
}

struct Split {
  std::uint64_t high, low;
  bool seed;
};
std::optional<Split> split(std::string_view id, std::string_view host_prefix) {
  if (!id.starts_with(host_prefix)) return std::nullopt;
  id.remove_prefix(host_prefix.size());
  const bool seed = id.ends_with(kSeed);
  if (seed) id.remove_suffix(kSeed.size());
  const auto uuid = parse_uuid(id);
  if (!uuid) return std::nullopt;
  return Split{uuid->first, uuid->second, seed};
}

}  // namespace

PeerName::PeerName(std::string_view id, std::string_view host_prefix) {
  if (const auto parts = split(id, host_prefix)) {
    kind_ = parts->seed ? Kind::kSeedUuid : Kind::kUuid;
    high_ = parts->high;
    low_ = parts->low;
  } else {
    other_ = std::make_unique<std::string>(id);
  }
}

bool PeerName::is(std::string_view id, std::string_view host_prefix) const {
  if (kind_ == Kind::kText) return other_ != nullptr && *other_ == id;
  const auto parts = split(id, host_prefix);
  return parts && parts->high == high_ && parts->low == low_ && parts->seed == (kind_ == Kind::kSeedUuid);
}

std::string PeerName::text(std::string_view host_prefix) const {
  if (kind_ == Kind::kText) return other_ ? *other_ : std::string();
  return fmt::format("{}{:08x}-{:04x}-{:04x}-{:04x}-{:012x}{}", host_prefix, high_ >> 32,
                     high_ >> 16 & 0xffff, high_ & 0xffff, low_ >> 48, low_ & 0xffffffffffffULL,
                     kind_ == Kind::kSeedUuid ? kSeed : "");
}

}  // namespace d7y::scheduler
