#include "settings.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "refusal.h"

namespace tools::runtime {

namespace {

// A host with an optional port, as it stands in image names: it becomes a folder's name and part of files, so
// nothing else may be in it.
bool is_host(const std::string& text) {
  return !text.empty() && text.size() < 256 && text[0] != '.' && text[0] != '-' &&
         std::all_of(
             text.begin(), text.end(),
             [](unsigned char c) {
               return std::isalnum(c) != 0 || c == '.' || c == '-' || c == ':' || c == '_' || c == '[' ||
                      c == ']';
             });
}

// As is_host, and with folders, as CRI-O and Podman have it: "docker.io/library", "*.example.com".
bool is_prefix(const std::string& text) {
  auto host = text.substr(text.starts_with("*.") ? 2 : 0);
  auto slash = host.find('/');
  return is_host(host.substr(0, slash)) &&
         (slash == std::string::npos ||
          host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-/", slash) == std::string::npos);
}

std::string default_server(const std::string& host) {
  // The name in images is not the API's host.
  return host == "docker.io" ? "https://registry-1.docker.io" : "https://" + host;
}

// A mapping whose keys are all known, or warned about.
class Keys {
 public:
  Keys(const YAML::Node& node, std::string path, const std::string& name, Settings& settings)
      : node_(node), path_(std::move(path)), name_(name), settings_(settings) {
    if (node.IsDefined() && !node.IsNull() && !node.IsMap()) fail(node, "must be a mapping");
  }
  ~Keys() = default;
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  void warn_about_others() {
    if (!node_.IsMap()) return;
    for (const auto& each : node_) {
      auto key = each.first.as<std::string>();
      if (!known_.contains(key))
        settings_.warnings.push_back(
            fmt::format("{}:{}: unknown key {}{}", name_, each.first.Mark().line + 1, path_, key));
    }
  }

  YAML::Node get(const std::string& key) {
    known_.insert(key);
    return node_.IsMap() ? node_[key] : YAML::Node(YAML::NodeType::Undefined);
  }

  // Leaves `out` alone if the key is missing or null.
  template <typename T>
  void read(const std::string& key, T& out, const char* kind) {
    auto node = get(key);
    if (!node.IsDefined() || node.IsNull()) return;
    try {
      out = node.as<T>();
    } catch (const YAML::Exception&) {
      fail(node, fmt::format("{}{} must be {}", path_, key, kind));
    }
  }

  [[noreturn]] void fail(const YAML::Node& node, const std::string& what) const {
    throw Refusal(kUsage, fmt::format("{}:{}: {}", name_, node.Mark().line + 1, what));
  }

 private:
  YAML::Node node_;
  std::string path_;
  const std::string& name_;
  Settings& settings_;
  std::set<std::string> known_;
};

void read_registry(const YAML::Node& node, bool containerd, const std::string& path, const std::string& name,
                   Settings& settings) {
  Keys keys(node, path + ".", name, settings);
  Registry registry;
  if (containerd) {
    keys.read("hostNamespace", registry.host, "a text");
    if (!is_host(registry.host))
      keys.fail(node, path + ".hostNamespace must be a host as in image names: 'ghcr.io'");
    registry.server = default_server(registry.host);
    keys.read("serverAddr", registry.server, "a URL");
    keys.read("capabilities", registry.capabilities, "a list of 'pull', 'resolve', 'push'");
    keys.read("skipVerify", registry.skip_verify, "true or false");
    keys.read("ca", registry.ca, "a list of paths");
    registry.location = registry.host;
  } else {
    keys.read("prefix", registry.host, "a text");
    if (!is_prefix(registry.host))
      keys.fail(node, path + ".prefix must be a registry, with or without a folder");
    registry.location = registry.host;
    keys.read("location", registry.location, "a text");
    if (!is_prefix(registry.location))
      keys.fail(node, path + ".location must be a registry, with or without a folder");
    registry.server = default_server(registry.location.substr(0, registry.location.find('/')));
    keys.read("mirror", registry.mirror, "a URL");
    if (!registry.mirror.empty()) try {
        registry.mirror = checked_url(registry.mirror, path + ".mirror");
      } catch (const Refusal& wrong) {
        keys.fail(node, wrong.what());
      }
  }
  keys.warn_about_others();
  try {
    registry.server = checked_url(registry.server, path + ".serverAddr");
  } catch (const Refusal& wrong) {
    keys.fail(node, wrong.what());
  }
  settings.registries.push_back(std::move(registry));
}

void read_runtime(Runtime runtime, const YAML::Node& node, const std::string& name, Settings& settings) {
  auto path = fmt::format("containerRuntime.{}.", name_of(runtime));
  Keys keys(node, path, name, settings);
  settings.runtime = runtime;
  keys.read("configPath", settings.config_path, "a path");
  if (runtime == Runtime::kContainerd)
    keys.read("proxyAllRegistries", settings.all_registries, "true or false");
  if (runtime == Runtime::kDocker) keys.read("proxies", settings.docker_proxies, "true or false");
  if (runtime == Runtime::kCrio || runtime == Runtime::kPodman)
    keys.read("unqualifiedSearchRegistries", settings.unqualified, "a list of registries");
  if (runtime != Runtime::kDocker) {
    auto list = keys.get("registries");
    if (list.IsDefined() && !list.IsNull() && !list.IsSequence())
      keys.fail(list, path + "registries must be a list");
    for (std::size_t i = 0; list.IsDefined() && i < list.size(); ++i)
      read_registry(list[i], runtime == Runtime::kContainerd, fmt::format("{}registries[{}]", path, i), name,
                    settings);
  }
  keys.warn_about_others();
}

}  // namespace

const char* name_of(Runtime runtime) {
  switch (runtime) {
    case Runtime::kContainerd: return "containerd";
    case Runtime::kDocker: return "docker";
    case Runtime::kCrio: return "crio";
    case Runtime::kPodman: return "podman";
  }
  return "";
}

std::optional<Runtime> runtime_named(const std::string& name) {
  for (auto runtime : {Runtime::kContainerd, Runtime::kDocker, Runtime::kCrio, Runtime::kPodman})
    if (name == name_of(runtime)) return runtime;
  return std::nullopt;
}

std::string checked_url(const std::string& url, const std::string& what) {
  auto refuse = [&] {
    throw Refusal(kUsage, fmt::format("{} must be like http://127.0.0.1:4001, not '{}'", what, url));
  };
  auto text = url;
  while (text.ends_with('/')) text.pop_back();
  for (const char* scheme : {"http://", "https://"})
    if (text.starts_with(scheme)) {
      auto host = text.substr(std::string(scheme).size());
      if (!is_host(host)) refuse();
      auto colon = host.rfind(':');
      if (colon != std::string::npos && colon > host.rfind(']') + 1) {
        auto port = host.substr(colon + 1);
        if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos ||
            std::stoi(port) < 1 || std::stoi(port) > 65535)
          refuse();
      }
      return text;
    }
  refuse();
  return {};
}

std::string authority_of(const std::string& url) { return url.substr(url.find("://") + 3); }

Registry registry_named(const std::string& text) {
  Registry registry;
  auto equals = text.find('=');
  registry.host = registry.location = text.substr(0, equals);
  if (auto scheme = registry.host.find("://"); scheme != std::string::npos) {
    auto host = registry.host.substr(scheme + 3, registry.host.find('/', scheme + 3) - scheme - 3);
    throw Refusal(kUsage,
                  fmt::format("'{}' is a URL, and --registry wants the registry's name, as in image names: "
                              "{} (if it is at another address: {}={})",
                              registry.host, host, host, text));
  }
  if (!is_prefix(registry.host))
    throw Refusal(kUsage,
                  fmt::format("'{}' is not a registry as in image names, such as ghcr.io", registry.host));
  registry.server = equals == std::string::npos
                        ? default_server(registry.host.substr(0, registry.host.find('/')))
                        : text.substr(equals + 1);
  registry.server = checked_url(registry.server, "the address of " + registry.host);
  return registry;
}

Settings read_dfinit(const std::string& text, const std::string& name) {
  Settings settings;
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& mistake) {
    throw Refusal(kUsage, fmt::format("{}:{}: {}", name, mistake.mark.line + 1, mistake.msg));
  }
  Keys keys(root, "", name, settings);
  {
    Keys proxy(keys.get("proxy"), "proxy.", name, settings);
    proxy.read("addr", settings.proxy, "a URL");
    proxy.warn_about_others();
  }
  settings.proxy = checked_url(settings.proxy, name + ": proxy.addr");
  // What says how to log: messages go to standard error here, always.
  for (const char* without_effect : {"console", "log", "verbose"}) keys.get(without_effect);
  Keys runtimes(keys.get("containerRuntime"), "containerRuntime.", name, settings);
  for (auto runtime : {Runtime::kContainerd, Runtime::kDocker, Runtime::kCrio, Runtime::kPodman}) {
    auto node = runtimes.get(name_of(runtime));
    if (!node.IsDefined() || node.IsNull()) continue;
    if (settings.runtime) {
      settings.warnings.push_back(fmt::format(
          "{}:{}: containerRuntime.{} is not looked at, because {} comes first; one runtime per file", name,
          node.Mark().line + 1, name_of(runtime), name_of(*settings.runtime)));
    } else {
      read_runtime(runtime, node, name, settings);
    }
  }
  runtimes.warn_about_others();
  keys.warn_about_others();
  return settings;
}

}  // namespace tools::runtime
