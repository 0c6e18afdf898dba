#include "world/log_file.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace d7y::world {
namespace {

std::string_view shown(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace: return "TRACE";
    case LogLevel::kDebug: return "DEBUG";
    case LogLevel::kInfo: return "INFO";
    case LogLevel::kWarn: return "WARN";
    case LogLevel::kError: return "ERROR";
  }
  return "ERROR";
}

// Length of the UTF-8 character at `at`, 0 if there is none (RFC 3629).
std::size_t character_at(std::string_view text, std::size_t at) {
  auto byte = [&](std::size_t i) -> unsigned { return static_cast<unsigned char>(text[at + i]); };
  unsigned first = byte(0);
  if (first < 0x80) return 1;
  std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                       : first >= 0xe0 && first < 0xf0 ? 3
                       : first >= 0xf0 && first < 0xf5 ? 4
                                                       : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  unsigned second = byte(1);
  bool wrong = (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
               (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
  return wrong ? 0 : length;
}

void add_escaped(std::string& out, std::string_view text, bool json) {
  for (std::size_t at = 0; at < text.size();) {
    auto c = text[at];
    auto length = character_at(text, at);
    bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (length == 0 || control) {
      auto value = static_cast<unsigned>(static_cast<unsigned char>(c));
      if (json) {
        out += fmt::format("\\u{:04x}", value);
      } else if (c == '\t') {
        out += c;
      } else {
        out += fmt::format("\\x{:02x}", value);
      }
      ++at;
      continue;
    }
    if (json && (c == '"' || c == '\\')) out += '\\';
    out.append(text.substr(at, length));
    at += length;
  }
}

}  // namespace

std::string log_line(LogLines form, WallTime now, LogLevel level, std::string_view room,
                     std::string_view message) {
  auto whole = std::chrono::floor<std::chrono::milliseconds>(now);
  auto second = std::chrono::floor<std::chrono::seconds>(whole);
  auto stamp = fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                           fmt::gmtime(std::chrono::system_clock::to_time_t(
                               std::chrono::time_point_cast<std::chrono::system_clock::duration>(second))),
                           (whole - second).count());
  std::string out;
  if (form == LogLines::kText) {
    out = fmt::format("{} {:5} {}: ", stamp, shown(level), room);
    add_escaped(out, message, false);
    return out;
  }
  out = fmt::format(R"({{"time":"{}","level":"{}","room":")", stamp, shown(level));
  add_escaped(out, room, true);
  out += R"(","message":")";
  add_escaped(out, message, true);
  out += "\"}";
  return out;
}

LogFile::LogFile(Files& files, LogFileOptions options)
    : files_(files), options_(std::move(options)), path_(options_.folder + "/" + options_.name) {}

LogFile::~LogFile() { write_waiting(); }

Result<std::unique_ptr<LogFile>> LogFile::open(Files& files, LogFileOptions options) {
  std::unique_ptr<LogFile> log(new LogFile(files, std::move(options)));
  auto begun = log->begin();
  if (!begun) return std::move(begun).error().in("log file " + log->path_);
  return log;
}

Result<void> LogFile::begin() {
  if (options_.max_files == 0) return error(ErrorCode::kInvalid, "at least one file is needed");
  if (options_.max_size != 0 && options_.max_size < 4 * kLongestLine) {
    return error(ErrorCode::kInvalid, "files of {} bytes are too small, {} are needed", options_.max_size,
                 4 * kLongestLine);
  }
  TRY_OK(files_.make_folders(options_.folder));
  auto locked = files_.lock(path_ + ".lock");
  if (locked.failed_with(ErrorCode::kExists)) {
    return error(ErrorCode::kExists, "another process writes it; give each one a folder of its own");
  }
  if (!locked) return std::move(locked).error();
  lock_ = std::move(*locked);
  return open_fresh();
}

Result<void> LogFile::open_fresh() {
  TRY(auto fresh, files_.open(path_, OpenMode::kCreate, 0640));
  TRY(auto status, fresh->status());
  file_ = std::move(fresh);
  size_ = status.size;
  return {};
}

// Whoever rotates logs needs to tell us nothing.
Result<void> LogFile::look_after() {
  auto named = files_.link_status(path_);
  if (named.failed_with(ErrorCode::kNotFound)) {
    TRY_OK(files_.make_folders(options_.folder));
    return open_fresh();
  }
  if (!named) return {};
  auto ours = file_->status();
  if (ours && (named->inode != ours->inode || named->device != ours->device)) return open_fresh();
  size_ = std::min(size_, named->size);
  return {};
}

std::string LogFile::suffixed(std::uint32_t number) const {
  return number == 0 ? path_ : fmt::format("{}.{}", path_, number);
}

// The oldest goes, each other one takes the next number, and an empty one begins.
Result<void> LogFile::rotate() {
  auto last = options_.max_files - 1;
  auto gone = files_.remove(suffixed(last));
  if (!gone && !gone.failed_with(ErrorCode::kNotFound)) return gone;
  for (auto number = last; number-- > 0;) {
    auto moved = files_.rename(suffixed(number), suffixed(number + 1));
    if (!moved && !moved.failed_with(ErrorCode::kNotFound)) return moved;
  }
  return open_fresh();
}

Result<void> LogFile::append(std::string_view bytes) {
  TRY_OK(look_after());
  bool full = options_.max_size != 0 && size_ > 0 && size_ + bytes.size() > options_.max_size;
  if (full) TRY_OK(rotate());
  // What fails halfway is written over by the next line: `size_` counts whole lines only.
  TRY_OK(file_->write_at(size_, as_bytes(bytes)));
  size_ += bytes.size();
  return {};
}

// True once nothing waits any more.
bool LogFile::write_waiting() {
  while (!waiting_.empty()) {
    auto line = std::string_view(waiting_).substr(0, waiting_.find('\n') + 1);
    if (!append(line)) return false;
    waiting_.erase(0, line.size());
  }
  if (untold_ > 0) {
    auto note = fmt::format("({} lines are missing here: the disk took none for a while)\n", untold_);
    if (!append(note)) return false;
    untold_ = 0;
  }
  return true;
}

void LogFile::write(std::string_view line) {
  static constexpr std::string_view kCut = " [cut]";
  std::string whole(line.substr(0, kLongestLine));
  if (line.size() > kLongestLine) whole.replace(kLongestLine - kCut.size(), kCut.size(), kCut);
  whole += '\n';
  if (write_waiting() && append(whole)) return;
  if (untold_ == 0 && waiting_.size() + whole.size() <= options_.max_waiting) {
    waiting_ += whole;
  } else {
    ++lost_;
    ++untold_;
  }
}

}  // namespace d7y::world
