// Text of strangers, such as names in URLs, on a terminal.
//
//   say("{}: done\n", printable(name));           // no escape sequences
//   say("{}\n", first_columns(line, width - 1));  // never half a character, never more than a line
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tools {

// One character: its bytes, and the columns that it takes.
struct Glyph {
  std::string_view bytes;
  std::size_t columns = 1;
  bool control = false;
};

// Takes the first one off `text`, which is not empty. What is no UTF-8 is one byte.
inline Glyph take_glyph(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
  std::uint32_t code = length == 1 ? lead : lead & (0x7fU >> length);
  bool whole = length <= text.size();
  for (std::size_t i = 1; whole && i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    whole = (next & 0xc0) == 0x80;
    code = code << 6 | (next & 0x3f);
  }
  if (!whole || (length == 1 && lead >= 0x80)) {  // of another encoding: nothing that a terminal shows
    Glyph wrong{text.substr(0, 1), 1, true};
    text.remove_prefix(1);
    return wrong;
  }
  // Letters of East Asia and pictures take two columns (Unicode's East_Asian_Width W and F, roughly).
  constexpr std::array<std::pair<std::uint32_t, std::uint32_t>, 10> kWide = {{{0x1100, 0x115f},
                                                                              {0x2e80, 0x303e},
                                                                              {0x3041, 0xa4cf},
                                                                              {0xac00, 0xd7a3},
                                                                              {0xf900, 0xfaff},
                                                                              {0xfe30, 0xfe6f},
                                                                              {0xff00, 0xff60},
                                                                              {0xffe0, 0xffe6},
                                                                              {0x1f300, 0x1faff},
                                                                              {0x20000, 0x3fffd}}};
  const bool wide = std::any_of(kWide.begin(), kWide.end(),
                                [&](const auto& span) { return code >= span.first && code <= span.second; });
  // Marks above letters and joiners take none.
  const bool mark = (code >= 0x300 && code <= 0x36f) || (code >= 0x200b && code <= 0x200f) || code == 0xfeff;
  // Those that turn the order of what follows around lie about names.
  const bool turns = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  Glyph glyph{text.substr(0, length),
              wide   ? std::size_t{2}
              : mark ? std::size_t{0}
                     : std::size_t{1},
              code < 0x20 || (code >= 0x7f && code < 0xa0) || turns};
  text.remove_prefix(length);
  return glyph;
}

// With '?' in place of what a terminal would obey.
inline std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto glyph = take_glyph(text);
    out += glyph.control ? std::string_view("?") : glyph.bytes;
  }
  return out;
}

inline std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) columns += take_glyph(text).columns;
  return columns;
}

// As much of the beginning as fits.
inline std::string_view first_columns(std::string_view text, std::size_t columns) {
  auto rest = text;
  while (!rest.empty()) {
    auto after = rest;
    const auto glyph = take_glyph(after);
    if (glyph.columns > columns) break;
    columns -= glyph.columns;
    rest = after;
  }
  return text.substr(0, text.size() - rest.size());
}

// As much of the end as fits.
inline std::string_view last_columns(std::string_view text, std::size_t columns) {
  auto left = columns_of(text);
  while (left > columns) left -= take_glyph(text).columns;
  return text;
}

}  // namespace tools
