// d7yd: a peer or seed peer as a daemon.
#include <d7y/d7y.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <iostream>
#include <thread>

#include "../common/daemon.h"
#include "../common/environment.h"
#include "../common/printing.h"
#include "../common/quantity.h"
#include "../common/standard_streams.h"
#include "doctor/command.h"
#include "runtime/command.h"

namespace {

constexpr const char* kFooter =
    R"(Other uses: d7yd runtime configure points container runtimes at this daemon; d7yd runtime --help.
d7yd doctor finds what keeps downloads and pulls from going through it.
Exit status: 0 stopped as asked; 1 could not start or failed; 2 wrong usage or configuration.
Reads Dragonfly's dfdaemon.yaml; docs/configuration.md says what each key does.
SIGTERM and SIGINT let uploads and downloads in progress end, at most the drain time, then stop; a second one
ends that time at once.)";

// Until all is quiet, the time is over, or one more signal says that it is.
void drain(d7y_node* node, double seconds, const sigset_t& stop_signals) {
  std::atomic<bool> quiet = false;
  std::thread draining([&] {
    d7y_node_drain(node, static_cast<std::uint64_t>(seconds * 1000));
    quiet = true;
  });
  while (!quiet && !tools::asked_again(stop_signals)) {
  }
  if (!quiet) d7y_node_drain(node, 0);  // ends the other one, too
  draining.join();
}

}  // namespace

int main(int argc, char** argv) {
  tools::hold_standard_streams();
  if (argc > 1 && std::string_view(argv[1]) == "runtime") return tools::runtime::run(argc - 1, argv + 1);
  if (argc > 1 && std::string_view(argv[1]) == "doctor") return tools::doctor::run(argc - 1, argv + 1);

  d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
  std::string config = "/etc/dragonfly/dfdaemon.yaml", level, format;
  std::vector<std::string> schedulers;
  double drain_seconds = 30;
  bool console = false, seed = false;
  std::string dynconfig, log_dir, log_max_file_size;
  unsigned log_max_files = 0;

  CLI::App app{"Serves and fetches pieces: a peer, or with --seed a seed peer.", "d7yd"};
  app.footer(kFooter);
  app.set_version_flag("-V,--version", std::string("d7yd ") + d7y_version());
  app.add_option("-c,--config", config, "Path of dfdaemon.yaml [/etc/dragonfly/dfdaemon.yaml]")
      ->envname("DFDAEMON_CONFIG");
  app.add_option("--scheduler", schedulers, "host:port of a scheduler; repeatable, wins over the files")
      ->allow_extra_args(false);
  app.add_flag("--seed", seed, "Announce as a seed peer, as seedPeer.enable does");
  app.add_option("-l,--log-level", level, "trace, debug, info, warn or error [the file's log.level, or info]")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}));
  app.add_option("--log-format", format, "text or json, on stderr [the file's log.format, or text]")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_option(
      "--dynconfig", dynconfig,
      "File that names the schedulers where there is no manager [dynconfig.yaml beside the configuration]");
  app.add_option("--log-dir", log_dir, "Folder of log files [the file's log.dir, or none: stderr]");
  app.add_option("--log-max-files", log_max_files, "How many are kept, with the current one [6]")
      ->check(CLI::Range(1, 1000));
  app.add_option("--log-max-file-size", log_max_file_size, "When a log file is full, like 64MiB [1GiB]");
  app.add_option("--drain", drain_seconds, "Seconds to wait for transfers in progress when stopping [30]")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_flag("--console", console, "Messages go to stderr even if log.dir is set");
  try {
    app.parse(argc, argv);
    if (!log_max_file_size.empty()) options.log_max_file_size = tools::bytes_of(log_max_file_size);
  } catch (const CLI::Success& success) {
    return tools::print_help(app, success, "d7yd", 1);
  } catch (const CLI::Error& mistake) {
    std::cerr << "d7yd: " << mistake.what() << "\nTry d7yd --help.\n";
    return 2;
  }

  auto stop_signals = tools::block_stop_signals();
  tools::raise_file_limit();
  tools::keep_some_memory();
  std::vector<const char*> addresses;
  for (const auto& address : schedulers) addresses.push_back(address.c_str());
  options.config_path = config.c_str();
  options.schedulers = addresses.empty() ? nullptr : addresses.data();
  options.scheduler_count = addresses.size();
  options.seed = seed ? 1 : 0;
  tools::Printed printed;
  options.log = tools::print_line;
  options.log_user = &printed;
  options.log_level = tools::level_named(level);
  options.log_format = tools::format_named(format);
  options.no_log_files = console ? 1 : 0;
  auto text = [](const std::string& s) { return s.empty() ? nullptr : s.c_str(); };
  options.dynconfig_path = text(dynconfig);
  options.log_dir = text(log_dir);
  options.log_max_file_count = log_max_files;
  // Origins are asked through the proxy that other programs use.
  const auto proxies = tools::proxies();
  options.http_proxy = proxies.http;
  options.https_proxy = proxies.https;
  options.no_proxy = proxies.except;

  d7y_node* node = nullptr;
  if (auto code = d7y_node_open(&node, &options); code != D7Y_OK) {
    if (!printed.cannot_start) std::cerr << "d7yd: " << d7y_error_last()->message << "\n";
    return code == D7Y_EINVAL ? 2 : 1;
  }
  tools::notify_service_manager("READY=1");
  tools::wait_for_stop(stop_signals);
  tools::notify_service_manager("STOPPING=1");
  drain(node, drain_seconds, stop_signals);
  d7y_node_free(node);
  return 0;
}
