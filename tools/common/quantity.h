// Sizes and durations as people write them on a command line.
#pragma once

#include <CLI/CLI.hpp>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <regex>
#include <string>

namespace tools {

// "10MiB", "500k", "1GB" in bytes.
inline std::uint64_t bytes_of(const std::string& text) {
  static const std::regex kForm(R"(([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(i?)[bB]?)");
  std::smatch parts;
  if (!std::regex_match(text, parts, kForm)) {
    throw CLI::ValidationError("\"" + text + "\" is not a size; write for example 512KiB, 4MiB or 1000000");
  }
  double value = std::stod(parts[1]);
  auto power = std::string("kmgt").find(
      static_cast<char>(std::tolower(parts[2].str().empty() ? ' ' : parts[2].str()[0])));
  if (power != std::string::npos) {
    value *= std::pow(parts[3].length() > 0 ? 1024.0 : 1000.0, static_cast<double>(power + 1));
  }
  return static_cast<std::uint64_t>(value);
}

// "90s", "2h", "1m30s", "500ms" or plain seconds, in milliseconds.
inline std::uint64_t milliseconds_of(const std::string& text) {
  static const std::regex kForm(R"((?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+|[0-9]+)");
  static const std::regex kPart(R"(([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?)");
  if (!std::regex_match(text, kForm)) {
    throw CLI::ValidationError("\"" + text + "\" is not a duration; write for example 90s, 1m30s or 2h");
  }
  double total = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), kPart), end; at != end; ++at) {
    auto unit = (*at)[2].str();
    total += std::stod((*at)[1]) * (unit == "ms"  ? 1
                                    : unit == "m" ? 60e3
                                    : unit == "h" ? 3600e3
                                    : unit == "d" ? 86400e3
                                                  : 1e3);
  }
  return static_cast<std::uint64_t>(total);
}

}  // namespace tools
