#include <d7y/scheduler.h>
#include <d7y/version.h>

#include <string>
#include <vector>

#include "base/metrics.h"
#include "last_error.h"
#include "log_sink.h"
#include "loop_thread.h"
#include "scheduler/node.h"

using namespace d7y;
using namespace d7y::capi;

struct d7y_scheduler {
  explicit d7y_scheduler(LogWish log) : sink(log) {}
  ~d7y_scheduler() {
    if (thread) thread->call([this] { node.reset(), sink.close(); });
  }
  HostSink sink;
  Metrics metrics;
  std::unique_ptr<LoopThread> thread;
  std::unique_ptr<scheduler::SchedulerNode> node;  // used on the loop only
  std::vector<std::string> warnings;
  int port = 0;
};

namespace {

Result<scheduler::SchedulerConfig> config_of(world::Files& files, const d7y_scheduler_options& options) {
  scheduler::SchedulerConfig config;
  if (options.config_path != nullptr && options.config_text != nullptr) {
    return error(ErrorCode::kInvalid, "config_path and config_text exclude each other");
  }
  if (options.config_path != nullptr) {
    auto file = files.open(options.config_path, world::OpenMode::kRead);
    if (!file) return std::move(file).error().in("configuration");
    TRY(auto status, (*file)->status());
    if (status.kind != world::FileKind::kRegular)
      return error(ErrorCode::kInvalid, "{} is not a file but a folder, a pipe or a device",
                   options.config_path);
    if (status.size > 4_MiB)
      return error(ErrorCode::kTooLarge, "{} is larger than 4 MiB", options.config_path);
    std::string text(status.size, '\0');
    TRY(auto length, (*file)->read_at(0, as_mutable_bytes(text)));
    text.resize(length);
    TRY(config, scheduler::SchedulerConfig::parse(text, options.config_path));
    const std::string path = options.config_path;
    const auto slash = path.rfind('/');
    if (!config.data_dir_said) {
      config.data_dir = "/var/lib/d7ysched";
      config.data_dir_optional = true;
    }
    config.dynconfig_path = (slash == std::string::npos ? "" : path.substr(0, slash + 1)) + "dynconfig.yaml";
  } else if (options.config_text != nullptr) {
    TRY(config, scheduler::SchedulerConfig::parse(options.config_text, "configuration"));
  }
  if (options.listen != nullptr) {
    auto at = Address::parse(options.listen);
    if (!at) return std::move(at).error().in("listen");
    config.listen_ip = at->ip();
    config.port = at->port();
    config.advertise_port = at->port();
  }
  if (options.metrics != nullptr) {
    auto at = Address::parse(options.metrics);
    if (!at) return std::move(at).error().in("metrics");
    config.metrics_enable = true;
    config.metrics_addr = options.metrics;
  }
  return config;
}

LogConfig log_config(const scheduler::SchedulerConfig& config) {
  LogConfig out;
  out.level = level_named(config.log_level);
  out.file.folder = config.log_dir;
  out.file.name = "d7ysched.log";
  out.file.max_size = config.log_max_size_mb << 20;
  out.file.max_files = config.log_max_backups + 1;
  return out;
}

}  // namespace

extern "C" {

d7y_code d7y_scheduler_open(d7y_scheduler** scheduler, const d7y_scheduler_options* given) try {
  static const d7y_scheduler_options kDefaults = D7Y_SCHEDULER_OPTIONS_INIT;
  const auto& options = given != nullptr ? *given : kDefaults;
  if (scheduler == nullptr) return fail(D7Y_EINVAL, "d7y_scheduler_open: a NULL argument");
  *scheduler = nullptr;
  if (options.version != D7Y_SCHEDULER_OPTIONS_VERSION) {
    return fail(D7Y_EINVAL,
                "d7y_scheduler_options has another version; initialise it with D7Y_SCHEDULER_OPTIONS_INIT");
  }
  LogWish log{options.log, options.log_user, options.log_level, options.log_format,
              options.no_log_files != 0};
  auto handle = std::make_unique<d7y_scheduler>(log);
  auto thread = LoopThread::start("d7y-scheduler");
  if (!thread) return fail(thread.error());
  handle->thread = std::move(*thread);
  auto& world = handle->thread->world();
  handle->sink.attach(world);
  auto opened = handle->thread->call([&]() -> Result<void> {
    TRY(auto config, config_of(world.files(), options));
    handle->warnings = config.warnings;
    TRY_OK(handle->sink.configure(log_config(config)));
    for (const auto& warning : config.warnings) Log(handle->sink, "scheduler").warn("{}", warning);
    TRY(handle->node, scheduler::SchedulerNode::open(world, std::move(config), Log(handle->sink, "scheduler"),
                                                     handle->metrics));
    handle->port = handle->node->address().port();
    Log(handle->sink, "scheduler").info("d7ysched {} serves on port {}", d7y_version(), handle->port);
    return {};
  });
  if (!opened) {
    handle->thread->call(
        [&] { Log(handle->sink, "scheduler").error("cannot start: {}", opened.error().message()); });
    return fail(opened.error());
  }
  *scheduler = handle.release();
  return D7Y_OK;
} catch (...) {
  return thrown();
}

const char* d7y_scheduler_warning(const d7y_scheduler* scheduler, size_t index) {
  return scheduler == nullptr || index >= scheduler->warnings.size() ? nullptr
                                                                     : scheduler->warnings[index].c_str();
}

int d7y_scheduler_port(const d7y_scheduler* scheduler) { return scheduler == nullptr ? 0 : scheduler->port; }

d7y_code d7y_scheduler_drain(d7y_scheduler* scheduler, uint64_t timeout_ms) try {
  if (scheduler == nullptr) return fail(D7Y_EINVAL, "d7y_scheduler_drain: a NULL argument");
  auto patience = std::chrono::milliseconds(std::min<std::uint64_t>(timeout_ms, 1'000'000'000'000ULL));
  auto& world = scheduler->thread->world();
  return finish(
      scheduler->thread->await([&] { return scheduler->node->drain(Deadline::in(patience, world.now())); }));
} catch (...) {
  return thrown();
}

void d7y_scheduler_free(d7y_scheduler* scheduler) {
  if (scheduler == nullptr) return;
  delete scheduler;
}

}  // extern "C"
