#include "line_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace tools {

namespace {

constexpr std::size_t kContext = 3;
// Cells of the table that finds the longest common lines; beyond it, what differs counts as one hunk.
constexpr std::size_t kTableLimit = 16'000'000;

std::string join(const std::vector<std::string>& lines, std::size_t begin, std::size_t end) {
  std::string out;
  for (auto i = begin; i < end; ++i) out += lines[i];
  return out;
}

void print_line(std::string& out, char mark, const std::string& line) {
  out += mark;
  out += line;
  if (line.empty() || line.back() != '\n') out += "\n\\ No newline at end of file\n";
}

std::string range(std::size_t begin, std::size_t end) {
  auto count = end - begin;
  auto first = count == 0 ? begin : begin + 1;
  return count == 1 ? fmt::format("{}", first) : fmt::format("{},{}", first, count);
}

}  // namespace

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    auto newline = text.find('\n');
    auto size = newline == std::string_view::npos ? text.size() : newline + 1;
    lines.emplace_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

std::vector<Hunk> line_diff(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  std::size_t head = 0, tail = 0;
  auto shorter = std::min(before.size(), after.size());
  while (head < shorter && before[head] == after[head]) ++head;
  while (tail < shorter - head && before[before.size() - 1 - tail] == after[after.size() - 1 - tail]) ++tail;
  auto rows = before.size() - head - tail, columns = after.size() - head - tail;
  std::vector<Hunk> hunks;
  if (rows == 0 && columns == 0) return hunks;
  if (rows == 0 || columns == 0 || rows * columns > kTableLimit) {
    hunks.push_back({head, head + rows, head, head + columns});
    return hunks;
  }
  // common[i][j]: length of the longest common subsequence of the lines from i and from j on.
  std::vector<std::uint32_t> common((rows + 1) * (columns + 1));
  auto at = [&](std::size_t i, std::size_t j) -> std::uint32_t& { return common[i * (columns + 1) + j]; };
  for (auto i = rows; i-- > 0;)
    for (auto j = columns; j-- > 0;)
      at(i, j) =
          before[head + i] == after[head + j] ? at(i + 1, j + 1) + 1 : std::max(at(i + 1, j), at(i, j + 1));
  std::size_t i = 0, j = 0;
  while (i < rows || j < columns) {
    auto from_i = i, from_j = j;
    while ((i < rows || j < columns) && !(i < rows && j < columns && before[head + i] == after[head + j])) {
      if (j == columns || (i < rows && at(i + 1, j) >= at(i, j + 1)))
        ++i;
      else
        ++j;
    }
    if (i > from_i || j > from_j) hunks.push_back({head + from_i, head + i, head + from_j, head + j});
    while (i < rows && j < columns && before[head + i] == after[head + j]) ++i, ++j;
  }
  return hunks;
}

std::string unified_diff(const std::string& path, const std::optional<std::string>& before,
                         const std::optional<std::string>& after) {
  if (before == after) return {};
  auto old_lines = lines_of(before.value_or("")), new_lines = lines_of(after.value_or(""));
  auto hunks = line_diff(old_lines, new_lines);
  auto out = fmt::format("--- {}\n+++ {}\n", before ? path : "/dev/null", after ? path : "/dev/null");
  for (std::size_t first = 0; first < hunks.size();) {
    auto last = first;
    while (last + 1 < hunks.size() && hunks[last + 1].old_begin - hunks[last].old_end <= 2 * kContext) ++last;
    auto lead = std::min(kContext, hunks[first].old_begin);
    auto trail = std::min(kContext, old_lines.size() - hunks[last].old_end);
    out += fmt::format("@@ -{} +{} @@\n", range(hunks[first].old_begin - lead, hunks[last].old_end + trail),
                       range(hunks[first].new_begin - lead, hunks[last].new_end + trail));
    auto at = hunks[first].old_begin - lead;
    for (auto h = first; h <= last; ++h) {
      for (; at < hunks[h].old_begin; ++at) print_line(out, ' ', old_lines[at]);
      for (; at < hunks[h].old_end; ++at) print_line(out, '-', old_lines[at]);
      for (auto line = hunks[h].new_begin; line < hunks[h].new_end; ++line)
        print_line(out, '+', new_lines[line]);
    }
    for (; at < hunks[last].old_end + trail; ++at) print_line(out, ' ', old_lines[at]);
    first = last + 1;
  }
  return out;
}

std::optional<std::string> take_back(const std::string& before, const std::string& after,
                                     const std::string& current) {
  if (current == after) return before;
  auto old_lines = lines_of(before), new_lines = lines_of(after);
  auto hunks = line_diff(old_lines, new_lines);
  auto lines = lines_of(current);
  // From the last to the first, so that the places of those before stay.
  for (auto hunk = hunks.rbegin(); hunk != hunks.rend(); ++hunk) {
    std::optional<std::size_t> place;
    // With one line of context on each side if that is there, else alone. Lines that were only taken out have
    // nothing but their surroundings to be found by.
    for (std::size_t context : {std::size_t{1}, std::size_t{0}}) {
      auto lead = std::min(context, hunk->new_begin);
      auto trail = std::min(context, new_lines.size() - hunk->new_end);
      std::vector<std::string> wanted(new_lines.begin() + static_cast<std::ptrdiff_t>(hunk->new_begin - lead),
                                      new_lines.begin() + static_cast<std::ptrdiff_t>(hunk->new_end + trail));
      if (wanted.empty() || (context == 0 && hunk->new_begin == hunk->new_end)) break;
      auto found = std::search(lines.begin(), lines.end(), wanted.begin(), wanted.end());
      if (found == lines.end()) continue;
      if (std::search(found + 1, lines.end(), wanted.begin(), wanted.end()) != lines.end())
        return std::nullopt;
      place = static_cast<std::size_t>(found - lines.begin()) + lead;
      break;
    }
    if (!place) return std::nullopt;
    auto first = lines.begin() + static_cast<std::ptrdiff_t>(*place);
    first = lines.erase(first, first + static_cast<std::ptrdiff_t>(hunk->new_end - hunk->new_begin));
    lines.insert(first, old_lines.begin() + static_cast<std::ptrdiff_t>(hunk->old_begin),
                 old_lines.begin() + static_cast<std::ptrdiff_t>(hunk->old_end));
  }
  return join(lines, 0, lines.size());
}

}  // namespace tools
