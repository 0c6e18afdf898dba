// d7yget: downloads files from peers where possible and from their origin where not.
#include <d7y/d7y.h>
#include <fmt/format.h>
#include <signal.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "../common/environment.h"
#include "../common/printable.h"
#include "../common/printing.h"
#include "../common/standard_streams.h"
#include "download_set.h"
#include "options.h"
#include "outcome.h"

namespace {

namespace fs = std::filesystem;
using namespace d7yget;

volatile sig_atomic_t g_signal = 0;

void on_signal(int number) {
  if (g_signal != 0) _exit(128 + number);  // asked twice: at once
  g_signal = number;
}

void catch_signals() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGHUP, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

void print_message(void*, d7y_log_level level, const char* room, const char* message) {
  static constexpr const char* kNames[] = {"trace", "debug", "info", "warning", "error"};
  if (std::strstr(message, "cannot start: ") != nullptr) return;  // fail() says it, if nothing else helps
  tools::say("d7yget: {}: {}: {}\n", kNames[level], room, tools::printable(message));
}

d7y_log_level level_of(const std::string& name) {
  if (name == "trace") return D7Y_LOG_TRACE;
  if (name == "debug") return D7Y_LOG_DEBUG;
  if (name == "info") return D7Y_LOG_INFO;
  if (name == "error") return D7Y_LOG_ERROR;
  return D7Y_LOG_WARN;
}

// Where a download without a daemon keeps its pieces: beside the output, so that the finished file is
// linked and not copied, and an interrupted one is taken up again by the next call.
class PieceFolder {
 public:
  explicit PieceFolder(const Options& options) {
    if (is_stream(options.output)) return;  // the library's private folder
    std::error_code ignored;
    auto output = fs::path(options.output);
    // A folder as output is made if it is missing; the folder of a file is not, that is most likely a
    // mistake.
    may_make_ = options.recursive || options.urls.size() > 1 || options.output.ends_with('/') ||
                fs::is_directory(output, ignored);
    parent_ = may_make_ ? output : output.parent_path();
    if (parent_.empty()) parent_ = ".";
    was_there_ = fs::exists(parent_, ignored);
    path_ = parent_ / ".d7yget";
  }
  const char* path() const { return path_.empty() ? nullptr : path_.c_str(); }
  // What is wrong with the place; empty if nothing.
  std::string complaint(const Options& options) const {
    if (path_.empty() || was_there_ || may_make_) return {};
    return fmt::format("the folder {} of output {} does not exist; make it first", parent_.string(),
                       options.output);
  }
  void use_another() {
    path_ += fmt::format("-{}", getpid());
    only_ours_ = true;
  }
  bool only_ours() const { return only_ours_; }
  void remove() {
    if (path_.empty()) return;
    std::error_code ignored;
    fs::remove_all(path_, ignored);
    if (!was_there_) fs::remove(parent_, ignored);  // goes only if nothing is in it
  }

 private:
  fs::path path_, parent_;
  bool was_there_ = true, may_make_ = false, only_ours_ = false;
};

// What the store holds some of, before anything is fetched.
std::set<std::string> begun_in(d7y_node* node) {
  std::set<std::string> ids;
  auto look = [](void* user, const d7y_task* task) {
    if (task->stored > 0) static_cast<std::set<std::string>*>(user)->insert(task->id);
    return 0;
  };
  d7y_task_list(node, look, &ids);
  return ids;
}

// What in the store is worth keeping for the next call. What is complete is not, because it is at its output,
// or nobody will ask for it again, and neither is what remains of a range that was fetched.
struct Leftovers {
  std::set<std::string> begun, failed, ranges;  // ids: before this call; of downloads that failed; of ranges
  std::vector<std::string> useless;
  bool unfinished = false;  // something is
  bool of_failed = false;   // something of a download that failed now

  // Others are deleted if something is kept.
  void look_at(d7y_node* node) {
    auto look = [](void* user, const d7y_task* task) {
      auto& left = *static_cast<Leftovers*>(user);
      const bool stopped_late = g_signal != 0 && task->stored > 0;
      const bool is_range = left.ranges.contains(task->id) && !left.begun.contains(task->id);
      if ((task->complete != 0 || is_range) && !stopped_late) {
        left.useless.emplace_back(task->id);
      } else if (task->stored > 0) {
        left.unfinished = true;
        left.of_failed = left.of_failed || left.failed.contains(task->id);
      }
      return 0;
    };
    d7y_task_list(node, look, this);
    if (!unfinished) return;
    for (const auto& id : useless) d7y_task_delete(node, id.c_str());
  }
};

// A daemon of another user would write files as that user, and refuses: it may only send the bytes, and
// reads no files for us.
bool is_anothers(const std::string& socket) {
  struct stat status{};
  return geteuid() != 0 && stat(socket.c_str(), &status) == 0 && status.st_uid != geteuid();
}

bool names_file(const std::string& url) { return strncasecmp(url.c_str(), "file:", 5) == 0; }

d7y_code open_own_node(d7y_node** node, const Options& options, PieceFolder& folder) {
  d7y_node_options own = D7Y_NODE_OPTIONS_INIT;
  std::vector<const char*> schedulers;
  for (const auto& address : options.schedulers) schedulers.push_back(address.c_str());
  own.schedulers = schedulers.empty() ? nullptr : schedulers.data();
  own.scheduler_count = schedulers.size();
  const auto proxies = tools::proxies();
  own.http_proxy = proxies.http;
  own.https_proxy = proxies.https;
  own.no_proxy = proxies.except;
  own.ca_path = options.ca_cert.empty() ? tools::environment("SSL_CERT_FILE", "SSL_CERT_FILE")
                                        : options.ca_cert.c_str();
  own.insecure = options.insecure ? 1 : 0;
  own.log = print_message;
  own.log_level = level_of(options.log_level);
  own.storage_path = folder.path();
  own.temporary_storage = 1;
  auto code = d7y_node_open(node, &own);
  // Another d7yget works in this folder, or another user's has left something in it.
  if ((code == D7Y_EEXIST || code == D7Y_EPERM) && folder.path() != nullptr) {
    folder.use_another();
    own.storage_path = folder.path();
    code = d7y_node_open(node, &own);
  }
  return code;
}

int fail(int status) {
  tools::say("d7yget: {}\n", tools::printable(d7y_error_last()->message));
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  tools::hold_standard_streams();
  auto options = parse_command_line(argc, argv);
  catch_signals();

  d7y_node* node = nullptr;
  bool own = false;
  PieceFolder folder(options);
  if (auto wrong = folder.complaint(options); !wrong.empty()) {
    tools::say("d7yget: {}\n", wrong);
    return 3;
  }
  bool foreign = options.daemon != DaemonUse::kNever && is_anothers(options.endpoint);
  if (foreign) options.transfer_from_daemon = true;
  bool reads_files = std::any_of(options.urls.begin(), options.urls.end(), names_file);
  bool use_daemon = options.daemon == DaemonUse::kRequire ||
                    (options.daemon == DaemonUse::kAuto && !(foreign && reads_files));
  if (use_daemon) {
    auto code = d7y_node_connect(&node, options.endpoint.c_str(), 3000);
    if (code != D7Y_OK && options.daemon == DaemonUse::kRequire) return fail(12);
  }
  if (node == nullptr) {
    own = true;
    if (open_own_node(&node, options, folder) != D7Y_OK) return fail(exit_status_of(d7y_error_last()->code));
  }

  Leftovers left;
  if (own) left.begun = begun_in(node);
  auto plan = make_plan(node, options);
  Ends ends;
  int status = 0;
  if (plan.code != D7Y_OK) {
    tools::say("d7yget: {}\n", tools::printable(plan.message));
    status = exit_status_of(plan.code);
  } else {
    ends = run_downloads(node, options, plan.wishes, [] { return g_signal != 0; });
  }
  for (const auto& outcome : ends.outcomes) {
    if (status == 0) status = exit_status(outcome);
    if (outcome.code != D7Y_OK) left.failed.insert(outcome.task_id);
    if (outcome.code == D7Y_OK && !options.range.empty()) left.ranges.insert(outcome.task_id);
  }
  // A signal that came when all was done has stopped nothing.
  bool all_done = plan.code == D7Y_OK && status == 0 && ends.outcomes.size() == plan.wishes.size();
  if (g_signal != 0 && !all_done) status = 128 + g_signal;
  if (own) left.look_at(node);
  bool keep = own && folder.path() != nullptr && !folder.only_ours() && left.unfinished;
  d7y_node_free(node);
  if (own && !keep) folder.remove();
  if (keep && left.of_failed) {
    tools::say("d7yget: what was fetched is kept in {}, the same command resumes\n", folder.path());
  }
  return tools::status_once_printed("d7yget", status, exit_status_of(D7Y_EIO), ends.unprinted);
}
