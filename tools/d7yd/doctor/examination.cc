#include "examination.h"

#include <d7y/node.h>
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "../runtime/host_path.h"
#include "../runtime/refusal.h"

namespace tools::doctor {

namespace {

constexpr std::uintmax_t kMostText = 16 << 20;  // configuration is text of people

// The value at "a.b.c", or `otherwise`, also where another thing stands there: d7yd itself says what is
// wrong.
template <typename T>
T at(const YAML::Node& root, const std::string& path, T otherwise) try {
  auto node = YAML::Clone(root);
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) {
    if (!node.IsMap() || !node[part]) return otherwise;
    node.reset(node[part]);
  }
  return node.as<T>(otherwise);
} catch (const YAML::Exception&) {
  return otherwise;
}

std::optional<std::string> text_of(const std::string& path) {
  std::error_code failed;
  if (!std::filesystem::is_regular_file(path, failed) || std::filesystem::file_size(path, failed) > kMostText)
    return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

std::uint16_t Daemon::port(const std::string& name) const {
  for (const auto& each : ports)
    if (each.name == name) return each.number;
  return 0;
}

Examination::Examination(std::string config_path, std::string root) : root_(std::move(root)) {
  while (root_.ends_with('/')) root_.pop_back();
  daemon_.config_path = std::move(config_path);
}

void Examination::run() {
  read_configuration();
  examine_daemon();
  examine_ports();
  examine_disk();
  examine_clock();
  examine_upstream();
  examine_containerd();
  examine_docker();
  examine_registries_conf();
  if (!some_runtime_)
    hint("runtime", "no container runtime of this machine pulls through d7yd",
         "if images are pulled here: d7yd runtime configure containerd --all-registries --dry-run");
}

bool Examination::problems() const {
  return std::any_of(findings_.begin(), findings_.end(),
                     [](const Finding& finding) { return finding.state == State::kProblem; });
}

void Examination::good(const char* check, std::string what) {
  findings_.push_back({State::kGood, check, std::move(what), {}});
}

void Examination::hint(const char* check, std::string what, std::string fix) {
  findings_.push_back({State::kHint, check, std::move(what), std::move(fix)});
}

void Examination::problem(const char* check, std::string what, std::string fix) {
  findings_.push_back({State::kProblem, check, std::move(what), std::move(fix)});
}

std::optional<std::string> Examination::read(const std::string& path) const {
  try {
    return text_of(runtime::host_path(root_, path));
  } catch (const Refusal&) {  // a link to nothing
    return std::nullopt;
  }
}

void Examination::read_configuration() {
  YAML::Node root;
  if (auto text = text_of(daemon_.config_path)) {
    daemon_.config_there = true;
    try {
      root = YAML::Load(*text);
    } catch (const YAML::Exception&) {  // told below
    }
    d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
    options.config_path = daemon_.config_path.c_str();
    if (d7y_node_check(&options) == D7Y_OK) {
      good("configuration", daemon_.config_path + " is one that d7yd takes");
    } else {
      std::istringstream lines(d7y_error_last()->message);
      for (std::string line; std::getline(lines, line);)
        problem("configuration", line,
                "correct it; d7yd does not start with it. Below, defaults take its place");
    }
  } else {
    problem("configuration", fmt::format("there is no {}, or it cannot be read", daemon_.config_path),
            "name the file with --config, or make an empty one: every key has a default");
  }
  daemon_.socket = at<std::string>(root, "download.server.socketPath", daemon_.socket);
  daemon_.storage = at<std::string>(root, "storage.dir", daemon_.storage);
  daemon_.manager = at<std::string>(root, "manager.addr", "");
  daemon_.schedulers = at<std::vector<std::string>>(root, "scheduler.addrs", {});
  daemon_.disk_threshold =
      at<std::uint64_t>(root, "gc.policy.diskHighThresholdPercent",
                        at<std::uint64_t>(root, "gc.policy.distHighThresholdPercent", 80));
  struct Known {
    const char *server, *key;
    std::uint16_t number;
  };
  for (const auto& known : {Known{"upload.server", "port", 4000}, Known{"proxy.server", "port", 4001},
                            Known{"metrics.server", "port", 4002}, Known{"health.server", "port", 4003},
                            Known{"storage.server", "tcpPort", 4005}})
    daemon_.ports.push_back(
        {known.server, at<std::string>(root, std::string(known.server) + ".ip", "0.0.0.0"),
         at<std::uint16_t>(root, fmt::format("{}.{}", known.server, known.key), known.number)});
  if (root.IsMap())
    for (const auto& registry : at<YAML::Node>(root, "proxy.registryMirror.registries", YAML::Node()))
      if (registry.IsMap()) {
        daemon_.registries.push_back(at<std::string>(registry, "name", ""));
        if (auto port = at<std::uint16_t>(registry, "port", 0); port != 0)
          daemon_.registry_ports.push_back(port);
      }

  // Schedulers may stand in a file of their own beside it.
  auto folder = daemon_.config_path.substr(0, daemon_.config_path.rfind('/') + 1);
  if (daemon_.schedulers.empty() && daemon_.manager.empty())
    if (auto text = text_of(folder + "dynconfig.yaml")) try {
        auto dynamic = YAML::Load(*text);
        daemon_.schedulers = at<std::vector<std::string>>(dynamic, "scheduler.addrs", {});
        if (auto one = at<std::string>(dynamic, "scheduler.addr", ""); !one.empty())
          daemon_.schedulers.push_back(one);
      } catch (const YAML::Exception& mistake) {
        problem("configuration",
                fmt::format("{}dynconfig.yaml:{}: {}", folder, mistake.mark.line + 1, mistake.msg),
                "correct that line");
      }
}

}  // namespace tools::doctor
