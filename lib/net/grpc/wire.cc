#include "net/grpc/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/base64.h"

namespace d7y::grpc {

namespace {

struct Unit {
  char letter;
  std::int64_t nanoseconds;
};
constexpr std::array<Unit, 6> kUnits = {Unit{'n', 1},
                                        Unit{'u', 1'000},
                                        Unit{'m', 1'000'000},
                                        Unit{'S', 1'000'000'000},
                                        Unit{'M', 60'000'000'000},
                                        Unit{'H', 3'600'000'000'000}};
constexpr std::int64_t kMaxTimeout = 99'999'999;

bool is_key_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<Duration> parse_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  std::int64_t value = 0;
  for (char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  for (const Unit& unit : kUnits) {
    if (unit.letter != text.back()) continue;
    // 99999999 hours do not fit into 64 bits of nanoseconds.
    if (value > Duration::max().count() / unit.nanoseconds) return Duration::max();
    return Duration(value * unit.nanoseconds);
  }
  return std::nullopt;
}

std::string format_timeout(Duration timeout) {
  std::int64_t count = std::max<std::int64_t>(timeout.count(), 1);
  const Unit* chosen = &kUnits.back();
  for (const Unit& unit : kUnits) {
    chosen = &unit;
    if ((count + unit.nanoseconds - 1) / unit.nanoseconds <= kMaxTimeout) break;
  }
  auto value = count / chosen->nanoseconds + (count % chosen->nanoseconds != 0 ? 1 : 0);
  return fmt::format("{}{}", std::min(value, kMaxTimeout), chosen->letter);
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  encoded.reserve(text.size());
  for (char c : text) {
    if (c >= ' ' && c <= '~' && c != '%') {
      encoded.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(encoded), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
      decoded.push_back(static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2])));
      i += 2;
    } else {
      decoded.push_back(text[i]);
    }
  }
  return decoded;
}

bool is_reserved(std::string_view key) {
  if (key.empty() || key.front() == ':' || key.starts_with("grpc-")) return true;
  static constexpr std::array<std::string_view, 9> kReserved = {
      "te",         "content-type",     "content-length",    "host",   "connection",
      "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};
  return std::find(kReserved.begin(), kReserved.end(), key) != kReserved.end();
}

void add_metadata(const Metadata& metadata, std::vector<http2::Field>& fields,
                  std::vector<std::string>& storage) {
  storage.reserve(storage.size() + metadata.size());  // views into it must stay
  for (Metadata::Entry entry : metadata) {
    if (is_reserved(entry.key) || !std::all_of(entry.key.begin(), entry.key.end(), is_key_character))
      continue;
    if (entry.key.ends_with("-bin")) {
      storage.push_back(base64_encode(entry.value, Base64Padding::kNone));
      fields.push_back({entry.key, storage.back()});
      continue;
    }
    bool printable =
        std::all_of(entry.value.begin(), entry.value.end(), [](char c) { return c >= ' ' && c <= '~'; });
    bool padded = !entry.value.empty() && (entry.value.front() == ' ' || entry.value.back() == ' ');
    if (printable && !padded) fields.push_back({entry.key, entry.value});
  }
}

void receive_metadata(std::string_view key, std::string_view value, Metadata& metadata) {
  if (!key.ends_with("-bin")) {
    metadata.add(key, value);
    return;
  }
  for (;;) {
    auto comma = value.find(',');
    auto part = value.substr(0, comma);
    while (part.starts_with(' ')) part.remove_prefix(1);
    if (auto bytes = base64_decode(part)) metadata.add(key, *bytes);
    if (comma == std::string_view::npos) return;
    value.remove_prefix(comma + 1);
  }
}

std::size_t list_size(const std::vector<http2::Field>& fields) {
  std::size_t size = 0;
  for (const auto& field : fields) size += field.name.size() + field.value.size() + 32;
  return size;
}

bool is_grpc_content_type(std::string_view value) {
  constexpr std::string_view kType = "application/grpc";
  if (!value.starts_with(kType)) return false;
  value.remove_prefix(kType.size());
  return value.empty() || value.front() == '+' || value.front() == ';';
}

bool lists_gzip(std::string_view value) {
  while (!value.empty()) {
    auto comma = value.find(',');
    auto item = value.substr(0, comma);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    if (item == "gzip") return true;
    if (comma == std::string_view::npos) return false;
    value.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace d7y::grpc
