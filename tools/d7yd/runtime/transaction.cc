#include "transaction.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host_path.h"
#include "line_diff.h"
#include "refusal.h"

namespace tools::runtime {

namespace fs = std::filesystem;

namespace {

constexpr off_t kFileLimit = 16 << 20;  // configuration is text of people

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  throw Refusal(kFailed, fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return number_; }

 private:
  int number_;
};

std::optional<std::string> read_file(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file < 0 && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  if (file < 0) fail("read", path);
  struct stat status{};
  if (fstat(file, &status) != 0) fail("read", path);
  if (!S_ISREG(status.st_mode) || status.st_size > kFileLimit)
    throw Refusal(kFailed, fmt::format("cannot read {}: it is not a file of configuration", path));
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    auto count = read(file, text.data() + got, text.size() - got);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("read", path);
    if (count == 0) break;
    got += static_cast<std::size_t>(count);
  }
  text.resize(got);
  return text;
}

void sync_folder(const std::string& path) {
  Descriptor folder(open(fs::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder >= 0) fsync(folder);
}

// The whole file or, when it fails, the one that was there; keeps its owner and permissions. No link.
void write_file(const std::string& path, const std::string& text, mode_t mode_if_new) {
  std::error_code failed;
  fs::create_directories(fs::path(path).parent_path(), failed);
  if (failed) throw Refusal(kFailed, fmt::format("cannot make the folder of {}: {}", path, failed.message()));
  struct stat status{};
  bool exists = stat(path.c_str(), &status) == 0;
  auto temporary = path + ".d7yd-new";
  Descriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file < 0) fail("write", temporary);
  auto give_up = [&](const char* what) {
    auto reason = errno;
    unlink(temporary.c_str());
    errno = reason;
    fail(what, path);
  };
  for (std::size_t written = 0; written < text.size();) {
    auto count = write(file, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) give_up("write");
    written += static_cast<std::size_t>(count);
  }
  if (fchmod(file, exists ? status.st_mode & 07777 : mode_if_new) != 0) give_up("set the permissions of");
  if (exists && fchown(file, status.st_uid, status.st_gid) != 0 && geteuid() == 0)
    give_up("set the owner of");
  if (fsync(file) != 0) give_up("write");
  if (rename(temporary.c_str(), path.c_str()) != 0) give_up("replace");
  sync_folder(path);
}

void remove_file(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) fail("remove", path);
}

}  // namespace

Transaction::Transaction(Runtime runtime, std::string config_path, std::string root)
    : runtime_(runtime), root_(std::move(root)) {
  while (root_.ends_with('/')) root_.pop_back();
  folder_ = (fs::path(config_path).parent_path() / ".d7yd").string();
  load();
}

std::optional<std::string> Transaction::current(const std::string& path) const {
  return read_file(host_path(root_, path));
}

std::optional<std::string> Transaction::without_us(const std::string& path) const {
  auto now = current(path);
  auto record = records_.find(path);
  if (record == records_.end()) return now;
  if (!now) return std::nullopt;  // somebody has removed it
  if (*now == record->second.after) return record->second.before;
  // Changed since. If our lines cannot be found any more, what is there now is theirs.
  auto theirs = take_back(record->second.before.value_or(""), record->second.after, *now);
  return theirs ? theirs : now;
}

Files Transaction::base() const {
  return {[this](const std::string& path) { return without_us(path); },
          [this](const std::string& folder) {
            std::vector<std::string> names;
            std::error_code missing;
            for (fs::directory_iterator each(host_path(root_, folder), missing), end; !missing && each != end;
                 each.increment(missing))
              names.push_back(each->path().filename().string());
            std::sort(names.begin(), names.end());
            return names;
          }};
}

std::vector<Change> Transaction::changes(const Plan& plan) const {
  std::vector<Change> found;
  for (const auto& [path, text] : plan.files)
    if (auto now = current(path); now != text) found.push_back({path, now, text});
  for (const auto& [path, record] : records_)  // of registries that are no longer wanted
    if (!plan.files.contains(path)) {
      auto now = current(path), base = without_us(path);
      if (now != base) found.push_back({path, now, base});
    }
  return found;
}

std::vector<Change> Transaction::changes_of_undo(bool force) const {
  std::vector<Change> found;
  std::string lost;
  for (const auto& [path, record] : records_) {
    auto now = current(path);
    if (!now || now == record.before) continue;  // by somebody, or by an undo that was killed
    auto theirs = take_back(record.before.value_or(""), record.after, *now);
    std::optional<std::string> before;
    if (*now == record.after || (!theirs && force)) {
      before = record.before;
    } else if (!theirs) {
      lost += fmt::format("\n  {}", path);
      continue;
    } else if (!record.before && theirs->find_first_not_of(" \t\r\n") == std::string::npos) {
      before = std::nullopt;
    } else {
      before = theirs;
    }
    if (now != before) found.push_back({path, now, before});
  }
  if (!lost.empty())
    throw Refusal(
        kChangedByHand,
        fmt::format("somebody has changed the lines that d7yd wrote in{}\nTake them out by hand, or use "
                    "--force, which puts back what was there before d7yd and loses what came later; the old "
                    "texts are in {}",
                    lost, place() + "/before"));
  return found;
}

void Transaction::write_all(const std::vector<Change>& changes) {
  std::size_t done = 0;
  auto put = [&](const std::string& path, const std::optional<std::string>& text) {
    if (text)
      write_file(host_path(root_, path), *text, 0644);
    else
      remove_file(host_path(root_, path));
  };
  try {
    for (; done < changes.size(); ++done) put(changes[done].path, changes[done].after);
  } catch (const Refusal& failure) {
    std::string more;
    while (done-- > 0) try {
        put(changes[done].path, changes[done].before);
      } catch (const Refusal& again) {
        more += fmt::format("\nand it could not be put back: {}", again.what());
      }
    throw Refusal(kFailed, fmt::format("{}; {}", failure.what(), more.empty() ? "nothing is changed" : more));
  }
  // Folders that nothing is in any more.
  for (const auto& change : changes)
    if (!change.after) {
      std::error_code ignored;
      fs::remove(fs::path(host_path(root_, change.path)).parent_path(), ignored);
    }
}

void Transaction::apply(const Plan& plan, const std::vector<Change>& changes) {
  std::map<std::string, Record> wanted;
  for (const auto& [path, text] : plan.files)
    if (auto base = without_us(path); base != text) wanted[path] = {base, text};
  auto records = records_;
  auto pending = restart_pending_;
  auto command = restart_command_;
  for (const auto& change : changes)
    if (waits_for_restart(change.path)) restart_pending_ = true;
  if (plan.restart_command.empty()) restart_pending_ = false;
  restart_command_ = plan.restart_command;
  records_ = wanted;
  auto as_before = [&] {
    records_ = records;
    restart_pending_ = pending;
    restart_command_ = command;
    save();
  };
  try {
    save();  // first: what is written must be known, even if we are killed on the way
  } catch (const Refusal& failure) {
    std::string reason = failure.what();
    try {
      as_before();
    } catch (const Refusal&) {  // for the same reason
    }
    throw Refusal(kFailed, reason + "; nothing is changed");
  }
  try {
    write_all(changes);
  } catch (...) {
    as_before();
    throw;
  }
}

void Transaction::undo(const std::vector<Change>& changes) {
  write_all(changes);
  records_.clear();
  for (const auto& change : changes)
    if (!restart_command_.empty() && waits_for_restart(change.path)) restart_pending_ = true;
  save();
}

void Transaction::restarted() {
  restart_pending_ = false;
  save();
}

std::string Transaction::place() const { return host_path(root_, folder_ + "/" + name_of(runtime_)); }

void Transaction::load() {
  auto path = place() + "/state.json";
  auto text = read_file(path);
  if (!text) return;
  auto damaged = [&](const std::string& why) {
    throw Refusal(kFailed,
                  fmt::format("{}, where d7yd keeps what it has changed, is damaged: {}", path, why));
  };
  try {
    auto state = nlohmann::json::parse(*text);
    for (const auto& file : state.at("files")) {
      auto name = file.at("path").get<std::string>();
      Record record;
      if (file.at("existed").get<bool>()) record.before = read_file(place() + "/before" + name);
      auto after = read_file(place() + "/after" + name);
      if (!after || (file.at("existed").get<bool>() && !record.before))
        damaged("the texts of " + name + " are missing");
      record.after = *after;
      records_[name] = std::move(record);
    }
    restart_pending_ = state.at("restart_pending").get<bool>();
    restart_command_ = state.at("restart_command").get<std::string>();
  } catch (const nlohmann::json::exception& broken) {
    damaged(broken.what());
  }
}

void Transaction::save() const {
  std::error_code ignored;
  if (records_.empty() && !restart_pending_) {
    fs::remove_all(place(), ignored);
    fs::remove(host_path(root_, folder_), ignored);
    return;
  }
  nlohmann::json state;
  state["files"] = nlohmann::json::array();
  // The texts may hold credentials: for their owner only.
  for (const auto& [name, record] : records_) {
    state["files"].push_back({{"path", name}, {"existed", record.before.has_value()}});
    if (record.before) write_file(place() + "/before" + name, *record.before, 0600);
    write_file(place() + "/after" + name, record.after, 0600);
  }
  state["restart_pending"] = restart_pending_;
  state["restart_command"] = restart_command_;
  write_file(place() + "/state.json",
             state.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", 0600);
}

}  // namespace tools::runtime
