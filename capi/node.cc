#include <d7y/node.h>
#include <d7y/version.h>

#include <unistd.h>

#include <cstring>
#include <span>

#include "handles.h"
#include "last_error.h"
#include "local_peer.h"
#include "node/node.h"
#include "private_folder.h"
#include "remote_peer.h"

using namespace d7y;
using namespace d7y::capi;

namespace {

Result<std::string> read_text(world::Files& files, const std::string& path) {
  TRY(auto file, files.open(path, world::OpenMode::kRead));
  TRY(auto status, file->status());
  // A pipe has no size, and would pass for an empty file.
  if (status.kind != world::FileKind::kRegular)
    return error(ErrorCode::kInvalid, "{} is not a file but a folder, a pipe or a device", path);
  if (status.size > 4_MiB) return error(ErrorCode::kTooLarge, "{} is larger than 4 MiB", path);
  std::string text(status.size, '\0');
  TRY(auto length, file->read_at(0, as_mutable_bytes(text)));
  text.resize(length);
  return text;
}

// A node without a file has no servers but those it is asked for, and keeps what it has.
void make_embedded(node::DaemonConfig& config, bool with_schedulers) {
  config.download.socket_path.clear();
  config.storage.keep = true;
  config.storage.server = {"", 0, with_schedulers};
  config.upload.server = {"", 0, with_schedulers};
  for (auto* page : {&config.metrics, &config.health, &config.stats, &config.proxy.server})
    page->enabled = false;
}

Result<node::NodeOptions> node_options(world::World& world, const d7y_node_options& options,
                                       std::string& folder) {
  node::NodeOptions out;
  auto& config = out.config;
  if (options.config_path != nullptr && options.config_text != nullptr) {
    return error(ErrorCode::kInvalid, "config_path and config_text exclude each other");
  }
  bool from_file = options.config_path != nullptr || options.config_text != nullptr;
  if (from_file) {
    std::string name = options.config_path != nullptr ? options.config_path : "configuration";
    std::string text;
    if (options.config_path != nullptr) {
      auto read = read_text(world.files(), name);
      if (!read) return std::move(read).error().in("configuration");
      text = std::move(*read);
    } else {
      text = options.config_text;
    }
    TRY(config, node::DaemonConfig::parse(text, name));
  } else {
    make_embedded(config, options.scheduler_count > 0);
    out.dynconfig_path.clear();
    config.storage.dir.clear();
  }
  if (options.storage_path != nullptr) config.storage.dir = options.storage_path;
  out.temporary_store = options.temporary_storage != 0;
  if (config.storage.dir.empty()) {
    folder = private_folder(world);
    config.storage.dir = folder;
    out.temporary_store = true;
  }
  if (options.scheduler_count > 0) {
    if (options.schedulers == nullptr)
      return error(ErrorCode::kInvalid, "{} schedulers are announced, but their list is NULL",
                   options.scheduler_count);
    config.scheduler.addrs.clear();
    for (const char* each : std::span(options.schedulers, options.scheduler_count)) {
      if (each == nullptr) return error(ErrorCode::kInvalid, "one of the schedulers is NULL");
      if (auto good = HostPort::parse(each); !good) return std::move(good).error().in("scheduler");
      config.scheduler.addrs.emplace_back(each);
    }
  }
  if (options.ip != nullptr) {
    TRY_OK(Address::parse_ip(options.ip, 0));
    config.host.ip = options.ip;
  }
  if (options.hostname != nullptr) config.host.hostname = options.hostname;
  if (options.seed != 0) config.seed_peer = true;
  auto set_port = [](int asked, node::ServerAddress& server) -> Result<void> {
    if (asked < -1 || asked > 65535)
      return error(ErrorCode::kInvalid, "port {} is outside -1 to 65535", asked);
    if (asked >= 0) {
      server.port = static_cast<std::uint16_t>(asked);
      server.enabled = true;
    }
    return {};
  };
  TRY_OK(set_port(options.upload_port, config.upload.server));
  TRY_OK(set_port(options.piece_port, config.storage.server));
  if (options.download_socket != nullptr) config.download.socket_path = options.download_socket;
  if (options.dynconfig_path != nullptr) out.dynconfig_path = options.dynconfig_path;
  if (options.log_dir != nullptr) config.log.dir = options.log_dir;
  if (options.log_max_file_size != 0) {
    if (options.log_max_file_size < (std::uint64_t{64} << 10)) {
      return error(ErrorCode::kInvalid, "log files of {} bytes are too small; 64 KiB is the least",
                   options.log_max_file_size);
    }
    config.log.max_file_size = options.log_max_file_size;
  }
  if (options.log_max_file_count > 1000)
    return error(ErrorCode::kInvalid, "{} log files are too many; 1000 is the most",
                 options.log_max_file_count);
  if (options.log_max_file_count != 0) config.log.max_files = options.log_max_file_count;
  if (options.download_rate_limit != 0) config.download.bandwidth_limit = options.download_rate_limit;
  if (options.upload_rate_limit != 0) config.upload.bandwidth_limit = options.upload_rate_limit;
  if (options.source_rate_limit != 0)
    config.download.back_to_source_bandwidth_limit = options.source_rate_limit;
  if (options.ca_path != nullptr) config.backend.ca_cert = options.ca_path;
  if (options.insecure != 0) config.backend.insecure_skip_verify = true;
  auto text = [](const char* s) { return std::string(s != nullptr ? s : ""); };
  out.proxies.http_proxy = text(options.http_proxy);
  out.proxies.https_proxy = text(options.https_proxy);
  out.proxies.no_proxy = text(options.no_proxy);
  out.user = static_cast<std::uint32_t>(geteuid());
  return out;
}

LogConfig log_config(const node::DaemonConfig::LogFile& log) {
  LogConfig out;
  out.level = level_named(log.level);
  out.lines = log.format == "json" ? world::LogLines::kJson : world::LogLines::kText;
  out.file.folder = log.dir;
  out.file.name = "d7yd.log";
  out.file.max_size = log.max_file_size;
  out.file.max_files = log.max_files;
  return out;
}

void show(d7y_node& handle, const node::Node& node) {
  const auto& ports = node.ports();
  handle.ports[D7Y_PORT_UPLOAD] = ports.upload;
  handle.ports[D7Y_PORT_PIECE] = ports.piece;
  handle.ports[D7Y_PORT_PROXY] = ports.proxy;
  handle.ports[D7Y_PORT_METRICS] = ports.metrics;
  handle.ports[D7Y_PORT_HEALTH] = ports.health;
  handle.warnings = node.warnings();
}

// On the loop, in one go: each change of threads costs a short-lived program more than the work.
Task<Result<void>> open_node(world::World& world, const d7y_node_options& options, d7y_node& handle) {
  auto& core = *handle.core;
  auto& folder = handle.private_folder;
  CO_TRY(auto out, node_options(world, options, folder));
  CO_OK(core.sink.configure(log_config(out.config.log)));
  // What is downloaded, and from where, is the business of this user alone.
  if (!folder.empty()) {
    Task<void> sweeping = sweep_private_folders(world);
    co_await sweeping;
    CO_OK(world.files().make_folders(folder, 0700));
  }
  Log log(core.sink, "node");
  auto opened = co_await node::Node::open(world, std::move(out), core.metrics, log);
  if (opened) {
    show(handle, **opened);
    core.peer = std::make_unique<LocalPeer>(std::move(*opened), core.metrics);
    co_return Result<void>{};
  }
  log.error("cannot start: {}", opened.error().message());
  if (!folder.empty()) (void)co_await world.files().remove_tree(folder);
  co_return std::move(opened).error();
}

d7y_code another_version() {
  return fail(D7Y_EINVAL, "d7y_node_options has another version; initialise it with D7Y_NODE_OPTIONS_INIT");
}

// On the loop: the peer gives up all downloads and closes, and its private folder goes.
Task<void> shut_down(world::World& world, NodeCore& core, const std::string& folder) {
  core.closed = true;
  for (auto& [id, running] : core.running) {
    running.transfer->end(Error(ErrorCode::kCancelled, "the node was freed"));
  }
  core.running.clear();
  if (core.peer) co_await core.peer->close();
  core.peer.reset();
  if (!folder.empty()) (void)co_await world.files().remove_tree(folder);
  core.sink.close();
}

}  // namespace

extern "C" {

const char* d7y_version(void) {
#define D7Y_TEXT_(x) #x
#define D7Y_TEXT(x) D7Y_TEXT_(x)
  return D7Y_TEXT(D7Y_VERSION_MAJOR) "." D7Y_TEXT(D7Y_VERSION_MINOR) "." D7Y_TEXT(D7Y_VERSION_PATCH);
}

d7y_code d7y_node_open(d7y_node** node, const d7y_node_options* given) try {
  static const d7y_node_options kDefaults = D7Y_NODE_OPTIONS_INIT;
  const auto& options = given != nullptr ? *given : kDefaults;
  if (node == nullptr) return fail(D7Y_EINVAL, "d7y_node_open: a NULL argument");
  *node = nullptr;
  if (options.version != D7Y_NODE_OPTIONS_VERSION) return another_version();
  auto handle = std::make_unique<d7y_node>();
  LogWish log{options.log, options.log_user, options.log_level, options.log_format,
              options.no_log_files != 0};
  handle->core = std::make_shared<NodeCore>(log);
  auto& core = *handle->core;
  auto thread = LoopThread::start("d7y-node");
  if (!thread) return fail(thread.error());
  core.thread = std::move(*thread);
  auto& world = core.thread->world();
  core.sink.attach(world);
  auto opened = core.thread->await([&] { return open_node(world, options, *handle); });
  if (!opened) return fail(opened.error());
  *node = handle.release();
  return D7Y_OK;
} catch (...) {
  return thrown();
}

d7y_code d7y_node_check(const d7y_node_options* given) try {
  static const d7y_node_options kDefaults = D7Y_NODE_OPTIONS_INIT;
  const auto& options = given != nullptr ? *given : kDefaults;
  if (options.version != D7Y_NODE_OPTIONS_VERSION) return another_version();
  auto thread = LoopThread::start("d7y-check");
  if (!thread) return fail(thread.error());
  auto& world = (*thread)->world();
  std::string folder;
  auto good = (*thread)->call([&] { return node_options(world, options, folder); });
  return good ? D7Y_OK : fail(good.error());
} catch (...) {
  return thrown();
}

d7y_code d7y_node_connect(d7y_node** node, const char* endpoint, uint64_t timeout_ms) try {
  if (node == nullptr) return fail(D7Y_EINVAL, "d7y_node_connect: a NULL argument");
  *node = nullptr;
  std::string socket = endpoint != nullptr ? endpoint : "/var/run/dragonfly/dfdaemon.sock";
  auto handle = std::make_unique<d7y_node>();
  handle->core = std::make_shared<NodeCore>(LogWish{});
  auto& core = *handle->core;
  auto thread = LoopThread::start("d7y-client");
  if (!thread) return fail(thread.error());
  core.thread = std::move(*thread);
  auto& world = core.thread->world();
  auto patience = std::chrono::milliseconds(std::min<std::uint64_t>(timeout_ms, 86'400'000));
  auto connected = core.thread->await(
      [&] { return RemotePeer::connect(world, std::move(socket), Deadline::in(patience, world.now())); });
  if (!connected) return fail(connected.error());
  core.peer = std::move(*connected);
  *node = handle.release();
  return D7Y_OK;
} catch (...) {
  return thrown();
}

const char* d7y_node_warning(const d7y_node* node, size_t index) {
  return node == nullptr || index >= node->warnings.size() ? nullptr : node->warnings[index].c_str();
}

int d7y_node_port(const d7y_node* node, d7y_port which) {
  auto index = static_cast<std::size_t>(which);
  return node == nullptr || index >= std::size(node->ports) ? 0 : node->ports[index];
}

d7y_code d7y_node_metrics(d7y_node* node, char* buffer, size_t size, size_t* length) try {
  if (node == nullptr || length == nullptr || (buffer == nullptr && size > 0)) {
    return fail(D7Y_EINVAL, "d7y_node_metrics: a NULL argument");
  }
  auto& core = *node->core;
  auto text = core.thread->call([&] { return core.peer->metrics(); });
  if (!text) return fail(text.error());
  *length = text->size();
  if (size > 0) {
    auto copied = std::min(size - 1, text->size());
    std::memcpy(buffer, text->data(), copied);
    buffer[copied] = 0;
  }
  return D7Y_OK;
} catch (...) {
  return thrown();
}

d7y_code d7y_node_drain(d7y_node* node, uint64_t timeout_ms) try {
  if (node == nullptr) return fail(D7Y_EINVAL, "d7y_node_drain: a NULL argument");
  auto& core = *node->core;
  auto patience = std::chrono::milliseconds(std::min<std::uint64_t>(timeout_ms, 1'000'000'000'000ULL));
  return finish(core.thread->await(
      [&] { return core.peer->drain(Deadline::in(patience, core.thread->world().now())); }));
} catch (...) {
  return thrown();
}

void d7y_node_free(d7y_node* node) {
  if (node == nullptr) return;
  auto& core = *node->core;
  core.thread->await([&] { return shut_down(core.thread->world(), core, node->private_folder); });
  core.take_thread().reset();
  delete node;
}

}  // extern "C"
