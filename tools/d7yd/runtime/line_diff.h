// What differs between two texts, line by line: to show it (as diff -u does), and to take a change back out
// of a text that others have changed meanwhile.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tools {

// Lines [old_begin, old_end) became [new_begin, new_end).
struct Hunk {
  std::size_t old_begin, old_end, new_begin, new_end;
};

std::vector<std::string> lines_of(std::string_view text);  // each with its newline
std::vector<Hunk> line_diff(const std::vector<std::string>& before, const std::vector<std::string>& after);

// As diff -u prints it; empty if nothing differs. A text that does not exist is named /dev/null.
std::string unified_diff(const std::string& path, const std::optional<std::string>& before,
                         const std::optional<std::string>& after);

// `current` with the change from `before` to `after` taken back: what stands there now for what was changed
// must stand there unaltered, at one place only. Nothing if it does not.
std::optional<std::string> take_back(const std::string& before, const std::string& after,
                                     const std::string& current);

}  // namespace tools
