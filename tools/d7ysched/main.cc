// d7ysched: the scheduler as a daemon.
#include <d7y/d7y.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "../common/daemon.h"
#include "../common/printing.h"
#include "../common/standard_streams.h"

namespace {

constexpr const char* kFooter =
    R"(Exit status: 0 stopped as asked; 1 could not start or failed; 2 wrong usage or configuration.
Reads Dragonfly's scheduler.yaml. Without a file it listens on port 8002 of all addresses.
SIGTERM and SIGINT let calls in progress end, at most the drain time, then stop; a second one stops at once.)";

}  // namespace

int main(int argc, char** argv) {
  tools::hold_standard_streams();
  d7y_scheduler_options options = D7Y_SCHEDULER_OPTIONS_INIT;
  std::string config, listen, metrics, level, format;
  double drain_seconds = 600;
  bool console = false, verbose = false;

  CLI::App app{"Finds the best parents for every downloading peer.", "d7ysched"};
  app.footer(kFooter);
  app.set_version_flag("-V,--version", std::string("d7ysched ") + d7y_version());
  app.add_option("-c,--config", config,
                 "Path of scheduler.yaml [/etc/dragonfly/scheduler.yaml if it is there]")
      ->envname("SCHEDULER_CONFIG");
  app.add_option("--listen", listen, "ip:port of the gRPC server; wins over the file [0.0.0.0:8002]");
  app.add_option("--metrics", metrics, "ip:port of the metrics server; wins over the file [none]");
  app.add_option("-l,--log-level", level,
                 "trace, debug, info, warn or error [the file's server.logLevel, or info]")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}));
  app.add_option("--log-format", format, "text or json, on stderr [text]")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_option("--drain", drain_seconds, "Seconds to wait for calls in progress when stopping [600]")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_flag("--console", console, "Messages go to stderr even if server.logDir is set");
  app.add_flag("--verbose", verbose, "Same as --log-level debug");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return tools::print_help(app, success, "d7ysched", 1);
  } catch (const CLI::Error& mistake) {
    std::cerr << "d7ysched: " << mistake.what() << "\nTry d7ysched --help.\n";
    return 2;
  }

  auto stop_signals = tools::block_stop_signals();
  tools::raise_file_limit();
  constexpr const char* kUsual = "/etc/dragonfly/scheduler.yaml";
  if (config.empty() && access(kUsual, F_OK) == 0) config = kUsual;
  auto text = [](const std::string& s) { return s.empty() ? nullptr : s.c_str(); };
  options.config_path = text(config);
  options.listen = text(listen);
  options.metrics = text(metrics);
  tools::Printed printed;
  options.log = tools::print_line;
  options.log_user = &printed;
  options.log_level = tools::level_named(verbose ? "debug" : level);
  options.log_format = tools::format_named(format);
  options.no_log_files = console ? 1 : 0;

  d7y_scheduler* scheduler = nullptr;
  if (auto code = d7y_scheduler_open(&scheduler, &options); code != D7Y_OK) {
    if (!printed.cannot_start) std::cerr << "d7ysched: " << d7y_error_last()->message << "\n";
    return code == D7Y_EINVAL ? 2 : 1;
  }
  tools::notify_service_manager("READY=1");
  tools::wait_for_stop(stop_signals);
  tools::stop_at_once_when_asked_again(stop_signals);
  // Some moments more for what comes behind the drain.
  const auto longest = static_cast<std::uint64_t>((drain_seconds + 15) * 1e6);
  tools::notify_service_manager("STOPPING=1\nEXTEND_TIMEOUT_USEC=" + std::to_string(longest));
  d7y_scheduler_drain(scheduler, static_cast<std::uint64_t>(drain_seconds * 1000));
  d7y_scheduler_free(scheduler);
  return 0;
}
