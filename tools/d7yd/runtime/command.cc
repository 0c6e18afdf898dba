#include "command.h"

#include <d7y/version.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "../../common/printing.h"
#include "line_diff.h"
#include "plan.h"
#include "refusal.h"
#include "settings.h"
#include "transaction.h"
#include "turn.h"

namespace tools::runtime {

namespace {

constexpr const char* kDfinit = "/etc/dragonfly/dfinit.yaml";
constexpr const char* kFooter =
    R"(Exit status: 0 done, or nothing to do; 1 failed, nothing is changed; 2 wrong usage or dfinit.yaml;
3 the runtime's own configuration cannot be edited safely; 4 undo: its lines have been changed by hand.)";

struct Options {
  std::string runtime, dfinit, config_path, proxy, root, restart_command;
  std::vector<std::string> registries;
  bool all_registries = false, docker_proxies = false, dry_run = false, restart = false, force = false;
};

std::optional<std::string> text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Settings settings_of(const Options& options) {
  Settings settings;
  auto path = options.dfinit.empty() ? std::string(kDfinit) : options.dfinit;
  if (auto text = text_of(path))
    settings = read_dfinit(*text, path);
  else if (!options.dfinit.empty())
    throw Refusal(kUsage, fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  if (!options.runtime.empty()) {
    auto named = runtime_named(options.runtime);
    if (settings.runtime && settings.runtime != named) {  // the file is about another one
      settings.registries.clear();
      settings.config_path.clear();
      settings.all_registries = false;
    }
    settings.runtime = named;
  }
  if (!settings.runtime)
    throw Refusal(kUsage,
                  fmt::format("which runtime? Say containerd, docker, crio or podman, or name one in {}"
                              " (containerRuntime)",
                              path));
  if (!options.config_path.empty()) settings.config_path = options.config_path;
  if (settings.config_path.empty()) settings.config_path = usual_config_path(*settings.runtime);
  if (!settings.config_path.starts_with('/'))
    throw Refusal(kUsage, fmt::format("the path of the runtime's configuration must begin with /, not '{}'",
                                      settings.config_path));
  if (!options.proxy.empty()) settings.proxy = checked_url(options.proxy, "--proxy");
  if (!options.registries.empty()) {
    settings.registries.clear();
    for (const auto& each : options.registries) {
      auto registry = registry_named(each);
      if (*settings.runtime == Runtime::kContainerd && registry.host.find('/') != std::string::npos)
        throw Refusal(kUsage, fmt::format("containerd has mirrors for whole registries only: --registry {}",
                                          registry.host.substr(0, registry.host.find('/'))));
      // CRI-O and Podman do not need the registry's address, but may need d7yd's for it.
      if (each.find('=') != std::string::npos &&
          (*settings.runtime == Runtime::kCrio || *settings.runtime == Runtime::kPodman))
        registry.mirror = registry.server;
      settings.registries.push_back(std::move(registry));
    }
  }
  if (options.all_registries) settings.all_registries = true;
  if (options.docker_proxies) settings.docker_proxies = true;
  return settings;
}

void print_changes(const std::vector<Change>& changes, const std::string& root, bool dry_run) {
  for (const auto& change : changes)
    if (dry_run)
      std::cout << unified_diff(root + change.path, change.before, change.after);
    else
      std::cout << fmt::format("{} {}\n",
                               !change.before  ? "wrote"
                               : !change.after ? "removed"
                                               : "changed",
                               root + change.path);
}

// Runs `command` in a shell and returns how it ended, as a sentence; empty: well.
std::string outcome_of(const std::string& command) {
  auto status = std::system(command.c_str());
  if (status == 0) return {};
  if (status != -1 && WIFEXITED(status)) return fmt::format("exit status {}", WEXITSTATUS(status));
  return "it was killed or could not be started";
}

// An init container with the host's process space restarts what runs on the host.
std::string as_the_host(const std::string& command, const std::string& root) {
  return root.empty() ? command : "nsenter -t 1 -m -- " + command;
}

int restart_if_asked(const Options& options, Transaction& transaction) {
  if (!transaction.restart_pending()) return kDone;
  auto command = options.restart_command.empty() ? as_the_host(transaction.restart_command(), options.root)
                                                 : options.restart_command;
  if (!options.restart) {
    std::cout << fmt::format("needed for it to take effect: {}   (--restart does it)\n", command);
    return kDone;
  }
  std::cout << fmt::format("running: {}\n", command) << std::flush;
  if (auto bad = outcome_of(command); !bad.empty()) {
    std::cerr << fmt::format("d7yd runtime: '{}' failed: {}; the files are written, --restart tries again\n",
                             command, bad);
    return kFailed;
  }
  transaction.restarted();
  return kDone;
}

int configure(const Options& options) {
  auto settings = settings_of(options);
  for (const auto& warning : settings.warnings) std::cerr << "d7yd runtime: warning: " << warning << "\n";
  std::optional<Turn> turn;
  if (!options.dry_run) turn.emplace(options.root);
  Transaction transaction(*settings.runtime, settings.config_path, options.root);
  auto plan = plan_for(settings, transaction.base());
  auto changes = transaction.changes(plan);
  if (options.dry_run) {
    print_changes(changes, options.root, true);
    if (changes.empty()) std::cerr << "d7yd runtime: nothing to change\n";
    return kDone;
  }
  if (changes.empty())
    std::cout << fmt::format("{} is configured already\n", name_of(*settings.runtime));
  else
    transaction.apply(plan, changes);
  print_changes(changes, options.root, false);
  for (const auto& note : plan.notes) std::cout << "note: " << note << "\n";
  return restart_if_asked(options, transaction);
}

int undo(const Options& options) {
  auto settings = settings_of(options);
  std::optional<Turn> turn;
  if (!options.dry_run) turn.emplace(options.root);
  Transaction transaction(*settings.runtime, settings.config_path, options.root);
  auto changes = transaction.changes_of_undo(options.force);
  if (options.dry_run) {
    print_changes(changes, options.root, true);
    return kDone;
  }
  if (transaction.empty()) {
    std::cout << fmt::format("nothing of d7yd is in {}\n", options.root + settings.config_path);
  } else {
    transaction.undo(changes);
    print_changes(changes, options.root, false);
  }
  return restart_if_asked(options, transaction);
}

void add_common(CLI::App& command, Options& options) {
  command
      .add_option("runtime", options.runtime, "containerd, docker, crio or podman [the one in dfinit.yaml]")
      ->check(CLI::IsMember({"containerd", "docker", "crio", "podman"}));
  command.add_option("-c,--config", options.dfinit,
                     "Path of dfinit.yaml [/etc/dragonfly/dfinit.yaml, if it is there]");
  command.add_option("--config-path", options.config_path,
                     "Path of the runtime's configuration [the runtime's usual one]");
  command.add_option("--root", options.root, "Folder where the host's / is seen, for init containers");
  command.add_flag("-n,--dry-run", options.dry_run, "Print what would change as a diff, and change nothing");
  command.add_flag("--restart", options.restart, "Restart the runtime, if the change needs it");
  command.add_option("--restart-command", options.restart_command,
                     "What --restart runs [systemctl restart ..., on the host by nsenter with --root]");
  command.footer(kFooter);
}

}  // namespace

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"Points a container runtime at d7yd's proxy, and takes it back.", "d7yd runtime"};
  app.require_subcommand(1);
  app.footer(kFooter);
  auto* set =
      app.add_subcommand("configure", "Write the runtime's configuration; what was there is kept for undo");
  add_common(*set, options);
  set->add_option("--proxy", options.proxy, "URL of d7yd's proxy [http://127.0.0.1:4001]");
  set->add_option(
         "--registry", options.registries,
         "HOST or HOST=URL: a registry to pull through d7yd; repeatable, instead of those of dfinit.yaml")
      ->allow_extra_args(false);
  set->add_flag("--all-registries", options.all_registries, "containerd: all registries");
  set->add_flag("--docker-proxies", options.docker_proxies,
                "docker: also write \"proxies\" (Docker 23 or newer)");
  auto* back = app.add_subcommand("undo", "Take back what configure wrote; later changes of others stay");
  add_common(*back, options);
  back->add_flag("--force", options.force,
                 "Put back what was there before, even if its lines were changed since");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return print_help(app, success, "d7yd runtime", kFailed);
  } catch (const CLI::Error& mistake) {
    std::cerr << "d7yd runtime: " << mistake.what() << "\nTry d7yd runtime --help.\n";
    return kUsage;
  }
  try {
    return status_once_printed("d7yd runtime", set->parsed() ? configure(options) : undo(options), kFailed);
  } catch (const Refusal& refusal) {
    std::cerr << "d7yd runtime: " << refusal.what() << "\n";
    return refusal.status;
  } catch (const std::exception& failure) {
    std::cerr << "d7yd runtime: " << failure.what() << "\n";
    return kFailed;
  }
}

}  // namespace tools::runtime
