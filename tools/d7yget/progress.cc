#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../common/printable.h"
#include "../common/standard_streams.h"
#include "outcome.h"

namespace d7yget {
namespace {

std::size_t screen_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

double rate_of(const d7y_progress& progress) {
  auto fresh = progress.completed - std::min(progress.completed, progress.from_local);
  return progress.elapsed_ms > 0
             ? static_cast<double>(fresh) * 1000.0 / static_cast<double>(progress.elapsed_ms)
             : 0;
}

// ", 12.0 MiB from peers, 3.0 MiB from the origin"
std::string sources_of(const d7y_progress& progress) {
  std::string text;
  auto add = [&](std::uint64_t bytes, const char* where) {
    if (bytes > 0) text += fmt::format(", {} {}", human_bytes(static_cast<double>(bytes)), where);
  };
  add(progress.from_peers + progress.from_seeds, "from peers");
  add(progress.from_source, "from the origin");
  add(progress.from_local, "already here");
  return text;
}

std::string eta_of(const d7y_progress& progress) {
  auto rate = rate_of(progress);
  if (progress.content_length == D7Y_UNKNOWN_SIZE || rate <= 0) return "--";
  auto left = progress.content_length - std::min(progress.content_length, progress.completed);
  return human_time(static_cast<double>(left) / rate);
}

}  // namespace

namespace {
// A terminal whose cursor can go up.
bool is_terminal() {
  const char* kind = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && (kind == nullptr || std::strcmp(kind, "dumb") != 0);
}
}  // namespace

Progress::Progress(bool wanted) : wanted_(wanted), terminal_(is_terminal()) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (drawn_ == 0) return;
  for (std::size_t i = 0; i < drawn_; ++i) std::fputs("\033[A\033[2K", stderr);
  std::fputs("\r", stderr);
  std::fflush(stderr);
  drawn_ = 0;
}

std::string Progress::bar(const Row& row, std::size_t width) const {
  const auto& p = row.progress;
  auto name = tools::printable(row.name);
  if (tools::columns_of(name) > 28) name = fmt::format("...{}", tools::last_columns(name, 25));
  auto numbers = fmt::format(" {}/s eta {}{}", human_bytes(rate_of(p)), eta_of(p), sources_of(p));
  if (p.content_length == D7Y_UNKNOWN_SIZE) {
    auto line = fmt::format("{} {}{}", name, human_bytes(static_cast<double>(p.completed)), numbers);
    return std::string(tools::first_columns(line, width));
  }
  auto part =
      p.content_length == 0 ? 1.0 : static_cast<double>(p.completed) / static_cast<double>(p.content_length);
  auto text = fmt::format("{} {:3.0f}% ", name, part * 100);
  auto used = tools::columns_of(text) + numbers.size() + 3;
  auto room = width > used ? width - used : 0;
  if (room >= 8) {
    auto filled = static_cast<std::size_t>(part * static_cast<double>(room));
    auto line = std::string(filled, '=');
    if (filled < room) line += '>' + std::string(room - filled - 1, ' ');
    text += "[" + line + "]";
  }
  return std::string(tools::first_columns(text + numbers, width));
}

bool Progress::is_due() {
  if (!wanted_) return false;
  auto now = Clock::now();
  auto every = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
  if (shown_at_ == Clock::time_point{} && !terminal_) shown_at_ = now;
  return now - shown_at_ >= every;
}

void Progress::show(const std::vector<Row>& rows, std::size_t ended, std::size_t total) {
  shown_at_ = Clock::now();
  if (!terminal_) {
    for (const auto& row : rows) {
      auto whole = row.progress.content_length == D7Y_UNKNOWN_SIZE
                       ? std::string("?")
                       : human_bytes(static_cast<double>(row.progress.content_length));
      tools::say("{}: {} of {}, {}/s, eta {}{}\n", tools::printable(row.name),
                 human_bytes(static_cast<double>(row.progress.completed)), whole,
                 human_bytes(rate_of(row.progress)), eta_of(row.progress), sources_of(row.progress));
    }
    return;
  }
  clear();
  auto width = screen_width();
  for (const auto& row : rows) {
    tools::say("{}\n", bar(row, width - 1));
    ++drawn_;
  }
  if (total > rows.size()) {
    tools::say("{}\n", tools::first_columns(fmt::format("{} of {} files done", ended, total), width - 1));
    ++drawn_;
  }
  std::fflush(stderr);
}

void Progress::ended(const std::string& name, const d7y_progress& progress) {
  if (!wanted_) return;
  clear();
  tools::say("{}: {} in {} ({}/s){}\n", tools::printable(name),
             human_bytes(static_cast<double>(progress.completed)),
             human_time(static_cast<double>(progress.elapsed_ms) / 1000.0), human_bytes(rate_of(progress)),
             sources_of(progress));
}

}  // namespace d7yget
