// What a runtime is to be told: Dragonfly's dfinit.yaml, with what the command line adds.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tools::runtime {

enum class Runtime { kContainerd, kDocker, kCrio, kPodman };

const char* name_of(Runtime runtime);
std::optional<Runtime> runtime_named(const std::string& name);

// One registry that is pulled from through the proxy.
struct Registry {
  std::string host;      // as in image names, "docker.io" or "reg.local:5000"
  std::string server;    // its API, "https://registry-1.docker.io"
  std::string location;  // CRI-O and Podman: what stands for `host`; mostly the same
  std::string
      mirror;  // CRI-O and Podman: where d7yd listens for this registry alone; empty: at its proxy's port
  std::vector<std::string> capabilities = {"pull", "resolve"};
  bool skip_verify = false;
  std::vector<std::string> ca;
};

struct Settings {
  std::optional<Runtime> runtime;
  std::string proxy = "http://127.0.0.1:4001";
  std::string config_path;  // empty: the runtime's usual one
  std::vector<Registry> registries;
  bool all_registries = false;           // containerd
  bool docker_proxies = false;           // docker: "proxies" besides "registry-mirrors"
  std::vector<std::string> unqualified;  // CRI-O and Podman; empty: as it is
  std::vector<std::string> warnings;     // keys that are unknown or without effect
};

// Reads the text of a dfinit.yaml. Throws Refusal (kUsage) with name and line.
Settings read_dfinit(const std::string& text, const std::string& name);

// "ghcr.io", "reg.local:5000=http://reg.local:5000": a registry as on the command line. Throws Refusal
// (kUsage).
Registry registry_named(const std::string& text);

// Throws Refusal (kUsage) if `url` is not http(s)://host:port; returns it without a slash at its end.
std::string checked_url(const std::string& url, const std::string& what);
std::string authority_of(const std::string& url);  // host:port

}  // namespace tools::runtime
