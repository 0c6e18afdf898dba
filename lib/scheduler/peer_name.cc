#include "scheduler/peer_name.h"

#include <fmt/format.h>

#include <array>

namespace d7y::scheduler {
namespace {

constexpr std::string_view kSeed = "-seed";
constexpr std::size_t kUuidLength = 36;
constexpr std::uint8_t kNoDigit = 0x80;

// What each character is worth as a digit of a UUID in the form that it is written back in: lower case.
constexpr auto kDigits = [] {
  std::array<std::uint8_t, 256> digits{};
  digits.fill(kNoDigit);
  for (std::uint8_t i = 0; i < 10; ++i) digits[static_cast<std::uint8_t>('0' + i)] = i;
  for (std::uint8_t i = 10; i < 16; ++i) digits[static_cast<std::uint8_t>('a' + i - 10)] = i;
  return digits;
}();

// The number that `text` writes. Adds what is no digit to `wrong`.
std::uint64_t hex(std::string_view text, std::uint8_t& wrong) {
  std::uint64_t number = 0;
  for (const char c : text) {
    const auto digit = kDigits[static_cast<std::uint8_t>(c)];
    wrong |= digit;
    number = number << 4 | (digit & 15U);
  }
  return number;
}

}  // namespace

PeerIdParts::PeerIdParts(std::string_view whole) : id(whole) {
  seed = whole.ends_with(kSeed);
  if (seed) whole.remove_suffix(kSeed.size());
  if (whole.size() < kUuidLength) return;
  const auto uuid = whole.substr(whole.size() - kUuidLength);
  if (uuid[8] != '-' || uuid[13] != '-' || uuid[18] != '-' || uuid[23] != '-') return;
  std::uint8_t wrong = 0;
  high = hex(uuid.substr(0, 8), wrong) << 32 | hex(uuid.substr(9, 4), wrong) << 16 |
         hex(uuid.substr(14, 4), wrong);
  low = hex(uuid.substr(19, 4), wrong) << 48 | hex(uuid.substr(24), wrong);
  usual = (wrong & kNoDigit) == 0;
  prefix = whole.substr(0, whole.size() - kUuidLength);
}

PeerName::PeerName(std::string_view id, std::string_view host_prefix) {
  const PeerIdParts parts(id);
  if (!parts.usual || parts.prefix != host_prefix) {
    kept_ = std::make_unique<std::string>(id);
  } else if (parts.seed) {
    kept_ = SeedUuid{{parts.high, parts.low}};
  } else {
    kept_ = Uuid{parts.high, parts.low};
  }
}

bool PeerName::may_be(const PeerIdParts& parts) const {
  if (const auto* text = std::get_if<Text>(&kept_)) return *text != nullptr && **text == parts.id;
  const bool seed = std::holds_alternative<SeedUuid>(kept_);
  const auto& uuid = seed ? std::get<SeedUuid>(kept_) : std::get<Uuid>(kept_);
  return parts.usual && parts.low == uuid.low && parts.high == uuid.high && parts.seed == seed;
}

std::string PeerName::text(std::string_view host_prefix) const {
  if (const auto* text = std::get_if<Text>(&kept_)) return *text ? **text : std::string();
  const bool seed = std::holds_alternative<SeedUuid>(kept_);
  const auto& [high, low] = seed ? std::get<SeedUuid>(kept_) : std::get<Uuid>(kept_);
  return fmt::format("{}{:08x}-{:04x}-{:04x}-{:04x}-{:012x}{}", host_prefix, high >> 32, high >> 16 & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffffffffffffULL, seed ? kSeed : "");
}

}  // namespace d7y::scheduler
