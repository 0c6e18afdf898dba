#include "download_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "../common/printable.h"
#include "../common/printing.h"
#include "../common/standard_streams.h"
#include "progress.h"

namespace d7yget {
namespace {

namespace fs = std::filesystem;

std::vector<const char*> pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> out;
  for (const auto& text : texts) out.push_back(text.c_str());
  return out;
}

// The option struct of the C interface and what it points to.
struct RequestOptions {
  explicit RequestOptions(const Options& options)
      : headers(pointers(options.headers)),
        filters(pointers(options.filtered_query_params)),
        range(options.range) {
    if (!range.empty() && range.find('=') == std::string::npos) range = "bytes=" + range;
    auto text = [](const std::string& s) { return s.empty() ? nullptr : s.c_str(); };
    raw.overwrite = options.overwrite ? 1 : 0;
    raw.force_hard_link = options.force_hard_link ? 1 : 0;
    raw.digest = text(options.digest);
    raw.tag = text(options.tag);
    raw.application = text(options.application);
    raw.filtered_query_params = filters.empty() ? nullptr : filters.data();
    raw.filtered_query_param_count = filters.size();
    raw.piece_length = options.piece_length;
    raw.content_for_task_id = text(options.content_for_task_id);
    raw.headers = headers.empty() ? nullptr : headers.data();
    raw.header_count = headers.size();
    raw.range = text(range);
    raw.priority = options.priority;
    raw.disable_back_to_source = options.disable_back_to_source ? 1 : 0;
    raw.timeout_ms = options.timeout_ms;
    raw.rate_limit = options.limit_rate;
    raw.transfer = options.transfer_from_daemon ? 1 : 0;
    const auto& access = options.source;
    source.region = text(access.region);
    source.endpoint = text(access.endpoint);
    source.access_key_id = text(access.access_key_id);
    source.access_key_secret = text(access.access_key_secret);
    source.session_token = text(access.session_token);
    source.security_token = text(access.security_token);
    source.credential_path = text(access.credential_path);
    source.predefined_acl = text(access.predefined_acl);
    source.insecure_skip_verify = access.insecure_skip_verify ? 1 : 0;
    source.hdfs_delegation_token = text(access.hdfs_delegation_token);
    raw.source = &source;
  }
  RequestOptions(const RequestOptions&) = delete;
  RequestOptions& operator=(const RequestOptions&) = delete;

  // Each hub has flags of its own.
  void use_hub_of(const std::string& url, const Options& options) {
    const auto& hub =
        url.starts_with("modelscope:") ? options.source.model_scope : options.source.hugging_face;
    auto text = [](const std::string& s) { return s.empty() ? nullptr : s.c_str(); };
    source.hub_revision = text(hub.revision);
    source.hub_token = text(hub.token);
    source.hub_base_url = text(hub.base_url);
  }

  std::vector<const char*> headers, filters;
  std::string range;
  d7y_source_options source = D7Y_SOURCE_OPTIONS_INIT;
  d7y_download_options raw = D7Y_DOWNLOAD_OPTIONS_INIT;
};

// "%20" and the like as what they mean; as they are where they mean nothing.
std::string decoded(const std::string& text) {
  auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool escape = text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    out += escape ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (escape) i += 2;
  }
  return out;
}

// The name of a URL's last part as a file's name.
std::string last_part(const std::string& url) {
  auto path = url.substr(0, url.find_first_of("?#"));
  while (path.ends_with('/')) path.pop_back();
  auto name = path.substr(path.rfind('/') + 1);
  if (auto readable = decoded(name); readable.find_first_of(std::string("/\0", 2)) == std::string::npos) {
    name = readable;
  }
  return name.empty() || name == "." || name == ".." || path.ends_with("://") ? "index" : name;
}

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return path.ends_with('/') || fs::is_directory(path, ignored);
}

// Where bytes go that are not written to a file by the library, as they come.
class Stream {
 public:
  explicit Stream(const std::string& output) : name_(output == "-" ? "stdout" : output) {
    number_ = output == "-" ? STDOUT_FILENO : open(output.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (number_ < 0) failure_ = std::strerror(errno);
  }
  ~Stream() {
    if (number_ > STDERR_FILENO) close(number_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Empty: all is well.
  std::string failure() const {
    return failure_.empty() ? std::string() : fmt::format("write to {}: {}", name_, failure_);
  }
  // Hands on what it can without waiting for a reader for long; how much. None, with a failure: it is broken.
  std::size_t write(const char* bytes, std::size_t length) {
    static constexpr int kLook = 50;  // ms
    pollfd ready{number_, POLLOUT, 0};
    if (poll(&ready, 1, kLook) <= 0) return 0;
    auto written = ::write(number_, bytes, length);
    if (written >= 0) return static_cast<std::size_t>(written);
    if (errno != EINTR && errno != EAGAIN) failure_ = std::strerror(errno);
    return 0;
  }

 private:
  std::string name_, failure_;
  int number_ = -1;
};

// One download that runs, and where its bytes go.
class Running {
 public:
  Running(const Wish& wish, d7y_download* download, std::unique_ptr<Stream> stream)
      : wish_(wish), download_(download), stream_(std::move(stream)) {}
  ~Running() { d7y_download_free(download_); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  const Wish& wish() const { return wish_; }
  // Others ran at some time while it did, and nobody has read any of it.
  bool may_begin_again() const { return had_company_ && !stream_; }
  void has_company() { had_company_ = true; }
  d7y_progress progress() const {
    d7y_progress out{};
    out.version = D7Y_PROGRESS_VERSION;
    d7y_download_progress(download_, &out);
    return out;
  }
  void cancel() {
    cancelled_ = true;
    d7y_download_cancel(download_);
  }

  // Waits a little; true once it has ended and `outcome` is filled.
  bool step(std::uint64_t wait_ms, Outcome& outcome) {
    auto code = take(wait_ms);
    if (code == D7Y_ETIMEOUT) {
      if (d7y_download_ended(download_) == 0) return false;
      code = take(0);  // it may have ended since we stopped waiting; then this says how
      if (is_writing()) return false;
    }
    outcome.url = wish_.url;
    outcome.output = wish_.output;
    outcome.task_id = d7y_download_task_id(download_);
    // All may be here and not yet be written.
    if (code == D7Y_OK && stream_ && cancelled_) code = D7Y_ECANCELLED;
    outcome.code = code;
    if (code != D7Y_OK) {
      const auto broken = stream_ ? stream_->failure() : std::string();
      outcome.message = broken.empty() ? d7y_error_last()->message : broken;
      outcome.status = d7y_error_last()->status;
    }
    outcome.progress = progress();
    return true;
  }

 private:
  bool is_writing() const { return stream_ && !cancelled_ && written_ < filled_; }

  d7y_code take(std::uint64_t wait_ms) {
    return stream_ && !cancelled_ ? copy_to_stream(wait_ms) : d7y_download_wait(download_, wait_ms);
  }

  // Moves what is there; D7Y_ETIMEOUT while more is to come, or the reader is slow.
  d7y_code copy_to_stream(std::uint64_t wait_ms) {
    static constexpr std::size_t kStep = 1 << 20;
    if (!buffer_) buffer_ = std::make_unique<char[]>(kStep);
    for (;;) {
      if (written_ == filled_) {
        written_ = filled_ = 0;
        auto code = d7y_download_read(download_, buffer_.get(), kStep, &filled_, wait_ms);
        if (code != D7Y_OK || filled_ == 0) return code;
      }
      auto moved = stream_->write(buffer_.get() + written_, filled_ - written_);
      written_ += moved;
      if (!stream_->failure().empty()) {
        d7y_download_cancel(download_);
        return D7Y_EIO;
      }
      if (moved == 0) return D7Y_ETIMEOUT;
    }
  }

  Wish wish_;
  d7y_download* download_;
  std::unique_ptr<Stream> stream_;  // null: the library writes the output
  std::unique_ptr<char[]> buffer_;
  std::size_t filled_ = 0, written_ = 0;  // bytes of the buffer
  bool cancelled_ = false, had_company_ = false;
};

struct Listing {
  const Options& options;
  std::vector<std::pair<std::string, std::string>> files;  // URL, relative path
};

// A folder means all below it, as with dfget.
bool includes(std::string glob, const char* path) {
  if (glob.ends_with('/')) glob += '*';
  return fnmatch(glob.c_str(), path, 0) == 0;
}

int collect(void* user, const d7y_entry* entry) {
  auto& listing = *static_cast<Listing*>(user);
  if (entry->is_folder != 0) return 0;
  const auto& globs = listing.options.include_files;
  bool wanted = globs.empty() || std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
                  return includes(glob, entry->path);
                });
  if (wanted) listing.files.emplace_back(entry->url, entry->path);
  return listing.files.size() > listing.options.max_files ? 1 : 0;
}

}  // namespace

bool is_stream(const std::string& output) {
  // What lies behind these is open already.
  for (auto open : {"/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/"}) {
    if (output.starts_with(open)) return true;
  }
  struct stat status{};
  return output == "-" ||
         (stat(output.c_str(), &status) == 0 && (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode)));
}

Plan make_plan(d7y_node* node, const Options& options) {
  Plan plan;
  if (!options.recursive) {
    bool folder = options.urls.size() > 1 || is_folder(options.output);
    for (const auto& url : options.urls) {
      auto output = folder ? (fs::path(options.output) / last_part(url)).string() : options.output;
      plan.wishes.push_back({url, output});
    }
    if (folder) {
      std::error_code failed;
      fs::create_directories(options.output, failed);
      if (failed) {
        plan.code = D7Y_EIO;
        plan.message = fmt::format("make folder {}: {}", options.output, failed.message());
      }
      auto same = [](const Wish& a, const Wish& b) { return a.output == b.output; };
      auto sorted = plan.wishes;
      std::sort(sorted.begin(), sorted.end(),
                [](const Wish& a, const Wish& b) { return a.output < b.output; });
      if (auto twice = std::adjacent_find(sorted.begin(), sorted.end(), same); twice != sorted.end()) {
        plan.code = D7Y_EINVAL;
        plan.message =
            fmt::format("two URLs would both be written to {}; download them one by one", twice->output);
      }
    }
    return plan;
  }
  RequestOptions request(options);
  for (auto url : options.urls) {
    if (!url.ends_with('/')) url += '/';
    Listing listing{options, {}};
    request.use_hub_of(url, options);
    auto code = d7y_list(node, url.c_str(), &request.raw, collect, &listing);
    if (listing.files.size() > options.max_files) {
      plan.code = D7Y_ETOOLARGE;
      plan.message =
          fmt::format("{} holds more than {} files; raise --max-files or narrow with --include-files", url,
                      options.max_files);
      return plan;
    }
    if (code != D7Y_OK) {
      plan.code = code;
      plan.message = d7y_error_last()->message;
      return plan;
    }
    if (listing.files.empty() && !options.include_files.empty()) {
      plan.code = D7Y_ENOTFOUND;
      plan.message = fmt::format("nothing below {} matches --include-files", url);
      return plan;
    }
    auto root =
        options.urls.size() > 1 ? fs::path(options.output) / last_part(url) : fs::path(options.output);
    for (auto& [file, path] : listing.files) {
      auto target = root / fs::path(path).lexically_normal();
      std::error_code failed;
      fs::create_directories(target.parent_path(), failed);
      if (failed) {
        plan.code = D7Y_EIO;
        plan.message = fmt::format("make folder {}: {}", target.parent_path().string(), failed.message());
        return plan;
      }
      plan.wishes.push_back({file, target.string()});
    }
  }
  return plan;
}

namespace {
// The origin may have said so because of the others.
bool is_too_many(const Outcome& outcome) { return outcome.status == 429 || outcome.status == 503; }
}  // namespace

Ends run_downloads(d7y_node* node, const Options& options, std::vector<Wish> wishes,
                   const Interrupted& interrupted) {
  RequestOptions request(options);
  Progress progress(!options.no_progress && !options.quiet);
  Ends ends;
  std::vector<std::unique_ptr<Running>> running;
  std::size_t next = 0, side_by_side = options.max_concurrent_requests;
  const std::size_t total = wishes.size();
  bool stopping = false;

  auto end = [&](Outcome outcome) {
    outcome.interrupted = stopping && outcome.code == D7Y_ECANCELLED;
    if (outcome.code == D7Y_OK) {
      progress.ended(outcome.output == "-" ? outcome.url : outcome.output, outcome.progress);
    } else {
      progress.clear();
      if (!outcome.interrupted) tools::say("d7yget: {}\n", tools::printable(outcome.message));
    }
    if (options.json) {
      const int failure = tools::print(as_json(outcome) + "\n");
      if (ends.unprinted == 0) ends.unprinted = failure;
    }
    ends.outcomes.push_back(std::move(outcome));
  };

  while (next < wishes.size() || !running.empty()) {
    while (!stopping && next < wishes.size() && running.size() < side_by_side) {
      const auto& wish = wishes[next++];
      auto each = request.raw;
      auto stream = is_stream(wish.output) ? std::make_unique<Stream>(wish.output) : nullptr;
      each.output_path = stream ? nullptr : wish.output.c_str();
      each.readable = stream ? 1 : 0;
      request.use_hub_of(wish.url, options);
      d7y_download* download = nullptr;
      const auto broken = stream ? stream->failure() : std::string();
      auto code = broken.empty() ? d7y_download_start(&download, node, wish.url.c_str(), &each) : D7Y_EIO;
      if (code == D7Y_OK) {
        running.push_back(std::make_unique<Running>(wish, download, std::move(stream)));
      } else {
        Outcome outcome;
        outcome.url = wish.url;
        outcome.output = wish.output;
        outcome.code = code;
        outcome.message = broken.empty() ? d7y_error_last()->message : broken;
        end(std::move(outcome));
      }
    }
    if (running.size() > 1) {
      for (auto& each : running) each->has_company();
    }
    // The first one is waited for; the others are looked at in passing.
    for (std::size_t i = 0; i < running.size();) {
      Outcome outcome;
      if (!running[i]->step(i == 0 ? 50 : 0, outcome)) {
        ++i;
        continue;
      }
      const bool again = is_too_many(outcome) && running[i]->may_begin_again() && !stopping;
      if (again) wishes.push_back(running[i]->wish());
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      if (again) {
        side_by_side = std::max<std::size_t>(1, running.size());
        continue;
      }
      end(std::move(outcome));
    }
    if (!stopping && interrupted()) {
      stopping = true;
      next = wishes.size();
      for (auto& each : running) each->cancel();
    }
    if (!progress.is_due()) continue;
    std::vector<Progress::Row> rows;
    for (auto& each : running)
      rows.push_back({each->wish().output == "-" ? each->wish().url : each->wish().output, each->progress()});
    progress.show(rows, ends.outcomes.size(), total);
  }
  return ends;
}

}  // namespace d7yget
