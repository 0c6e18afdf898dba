// The container runtimes of the machine: do they ask d7yd, and can they?
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "../runtime/containerd_config.h"
#include "../runtime/plan.h"
#include "../runtime/refusal.h"
#include "../runtime/toml.h"
#include "../runtime/transaction.h"
#include "examination.h"
#include "probe.h"

namespace tools::doctor {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "/etc/containerd/config.toml";
constexpr const char* kConfigure = "d7yd runtime configure containerd --all-registries --restart";

std::string value(const toml::Document& document, const toml::Entry* entry) {
  if (entry == nullptr) return {};
  auto raw = std::string_view(document.text).substr(entry->value, entry->value_end - entry->value);
  return toml::decode_string(raw).value_or(std::string(raw));
}

// Whether a URL leads to this machine, and so ought to be our proxy.
bool is_local(const std::string& host) {
  return host == "localhost" || host.starts_with("127.") || host == "::1";
}

// "ctr -n k8s.io image pull ghcr.io/x": a pull that asks no mirror.
bool pulls_without_hosts(const std::string& line) {
  static const std::regex pull(R"(^(\S*/)?ctr( .*)? (i|image|images) pull )");
  return std::regex_search(line, pull) && line.find("--hosts-dir") == std::string::npos;
}

std::string last_word(const std::string& line) {
  auto end = line.find_last_not_of(' ');
  auto begin = line.find_last_of(' ', end);
  return line.substr(begin + 1, end - begin);
}

}  // namespace

// The address of a mirror in a runtime's file: is it d7yd's proxy, and does it answer?
void Examination::examine_proxy_address(const char* check, const std::string& path, const std::string& url) {
  auto parts = split(url);
  if (parts.port == 0) parts.port = url.starts_with("https://") ? 443 : 80;
  auto ours = daemon_.port("proxy.server");
  bool of_one = std::find(daemon_.registry_ports.begin(), daemon_.registry_ports.end(), parts.port) !=
                daemon_.registry_ports.end();
  if (is_local(parts.host) && parts.port != ours && !of_one) {
    problem(check, fmt::format("{} points at {}, but d7yd's proxy has port {}", path, url, ours),
            fmt::format("d7yd runtime configure {} --proxy http://{}:{} with the same registries, or set "
                        "proxy.server.port in {}",
                        check, parts.host, ours, daemon_.config_path));
    return;
  }
  auto resolved = resolve(parts.host);
  if (resolved.addresses.empty()) {
    problem(check, fmt::format("{} points at {}, which has no address: {}", path, url, resolved.why),
            "check the name");
    return;
  }
  auto outcome = connect_tcp(resolved.addresses.front(), parts.port);
  if (outcome)
    good(check, fmt::format("{} leads to {}, which accepts connections", path, url));
  else
    problem(check, fmt::format("{} leads to {}, where nobody can be reached: {}", path, url, outcome.why),
            "start d7yd; until then pulls go past it, each after a failed try");
}

void Examination::examine_hosts(const std::string& path, const std::string& registry) {
  auto text = read(path);
  if (!text) return;
  try {
    auto document = toml::Document::parse(*text, path);
    std::vector<std::string> hosts;
    for (const auto& section : document.sections)
      if (section.path.size() >= 2 && section.path[0] == "host" &&
          std::find(hosts.begin(), hosts.end(), section.path[1]) == hosts.end())
        hosts.push_back(section.path[1]);
    bool ours = false;
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      const auto& url = hosts[i];
      auto parts = split(url);
      bool has_header = document.has({"host", url, "header", "X-Dragonfly-Registry"});
      if (!has_header && !(is_local(parts.host) && parts.port == daemon_.port("proxy.server")) &&
          !(registry == "_default" && is_local(parts.host)))
        continue;  // a mirror of somebody else
      ours = some_runtime_ = true;
      if (i > 0)
        hint("containerd", fmt::format("{}: {} is asked before d7yd ({})", path, hosts[0], url),
             "hosts are tried in the order of the file: move d7yd's to the top");
      if (url.starts_with("http://") &&
          (document.has({"host", url, "skip_verify"}) || document.has({"host", url, "ca"})))
        hint(
            "containerd",
            fmt::format("{}: skip_verify or ca makes containerd try TLS first at {}, which has none, on each "
                        "connection",
                        path, url),
            "remove both keys there; d7yd runtime configure containerd does it");
      examine_proxy_address("containerd", path, url);
    }
    if (!ours) return;
    auto server = value(document, document.find({"server"}));
    if (!server.empty()) examine_address("registry", server, path);
  } catch (const Refusal& refusal) {
    problem("containerd", refusal.what(), "correct that line: containerd refuses pulls from this registry");
  }
}

void Examination::examine_pulls(const std::string& certs, const std::string& content) {
  for (const auto& line : command_lines())
    if (pulls_without_hosts(line))
      // Only the image is told: a command line may hold credentials.
      problem(
          "pulls", fmt::format("running now, and asking no mirror: ctr image pull {}", last_word(line)),
          fmt::format("ctr reads nothing of containerd's configuration: ctr image pull --hosts-dir {} ...",
                      certs));
  // Blobs newer than the daemon, and not one request to its proxy: pulls go past it.
  std::optional<std::string> metrics;
  for (const auto& port : daemon_.ports)
    if (port.name == "metrics.server" && port.number != 0 && daemon_.answers)
      metrics = http_get(local_address(port.ip), port.number, "/metrics");
  if (!metrics) return;
  static const std::regex requests(R"((^|\n)dragonfly_client_proxy_request_total(\{[^}]*\})? ([0-9.e+]+))");
  std::smatch found;
  bool asked = std::regex_search(*metrics, found, requests) && std::stod(found[3]) > 0;
  std::error_code failed, missing;
  auto blobs =
      fs::last_write_time(root_ + content + "/io.containerd.content.v1.content/blobs/sha256", failed);
  auto started = fs::last_write_time(daemon_.socket, missing);
  if (failed || missing || asked || blobs <= started) return;
  problem("pulls",
          "containerd has pulled something since d7yd was started, but nobody has asked d7yd's proxy",
          fmt::format(
              "pull with ctr image pull --hosts-dir {}, with crictl or nerdctl; ctr alone asks no mirror. If "
              "config_path is new, restart containerd",
              certs));
}

runtime::Files Examination::host_files() const {
  return {[this](const std::string& path) { return read(path); },
          [this](const std::string& folder) {
            std::vector<std::string> names;
            std::error_code missing;
            for (fs::directory_iterator each(root_ + folder, missing), end; !missing && each != end;
                 each.increment(missing))
              names.push_back(each->path().filename().string());
            std::sort(names.begin(), names.end());
            return names;
          }};
}

void Examination::examine_containerd() {
  auto text = read(kConfig);
  if (!text && !fs::exists(root_ + "/etc/containerd")) return;
  try {
    auto document = toml::Document::parse(text.value_or(""), kConfig);
    auto table = runtime::registry_table(document, kConfig);
    auto all = runtime::with_imports({kConfig, document, table}, host_files());
    auto folders = runtime::mirror_folders(all);
    const auto& path = folders.config_path;
    if (folders.hidden(all))
      problem("containerd",
              fmt::format(
                  "{} sets config_path, but {} is imported and says something of the same plugin: containerd "
                  "1.x takes the plugin from there alone, and asks no mirror",
                  folders.where, all[folders.counts].path),
              kConfigure);
    if (path.empty()) {
      hint("containerd", fmt::format("{} has no config_path, so that containerd asks no mirror", kConfig),
           kConfigure);
      return;
    }
    auto mirrors = table;
    mirrors.push_back("mirrors");
    if (document.has(mirrors))
      problem("containerd",
              fmt::format("{} has registry.mirrors beside config_path: containerd refuses both at once, "
                          "and loads nothing that pulls for Kubernetes",
                          kConfig),
              "move them into hosts.toml files (docs/runtimes.md) and restart containerd");
    if (runtime::disables_cri(document))
      hint("containerd", fmt::format("{} disables the CRI plugin", kConfig),
           "Kubernetes cannot use this containerd; take it out of disabled_plugins if it should");
    if (path.find(':') != std::string::npos)
      problem("containerd",
              fmt::format("{}: config_path = \"{}\" names several folders, which containerd's transfer "
                          "service (2.x) takes as one name, and then asks no mirror",
                          folders.where, path),
              fmt::format(
                  "keep one: config_path = \"{}\", or set use_local_image_pull = true; restart containerd",
                  path.substr(0, path.find(':'))));
    auto certs = path.substr(0, path.find(':'));
    std::error_code missing;
    if (!fs::is_directory(root_ + certs, missing)) {
      problem("containerd", fmt::format("{}: config_path names {}, which is not there", folders.where, certs),
              kConfigure);
      return;
    }
    if (!root_.empty() && !certs.starts_with("/etc/containerd/"))
      hint("containerd",
           fmt::format("config_path {} is outside of /etc/containerd: what an init container writes there "
                       "is lost if only that folder is mounted",
                       certs),
           "mount it too, or the whole root, and say --root");
    for (fs::directory_iterator each(root_ + certs, missing), end; !missing && each != end;
         each.increment(missing))
      examine_hosts(fmt::format("{}/{}/hosts.toml", certs, each->path().filename().string()),
                    each->path().filename().string());
    runtime::Transaction transaction(runtime::Runtime::kContainerd, kConfig, root_);
    if (transaction.restart_pending())
      problem("containerd", fmt::format("{} was changed, and containerd not restarted since", kConfig),
              transaction.restart_command());
    auto content = value(document, document.find({"root"}));
    examine_pulls(certs, content.empty() ? "/var/lib/containerd" : content);
  } catch (const Refusal& refusal) {
    problem("containerd", refusal.what(), "correct it; containerd may not start with it either");
  }
}

void Examination::examine_docker() {
  const std::string path = "/etc/docker/daemon.json";
  auto text = read(path);
  if (!text || text->find_first_not_of(" \t\r\n") == std::string::npos) return;
  auto json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object()) {
    problem("docker", path + " is not a JSON object", "correct it; Docker does not start with it");
    return;
  }
  auto examine = [&](const nlohmann::json& url) {
    if (!url.is_string() || !is_local(split(url.get<std::string>()).host)) return;
    some_runtime_ = true;
    examine_proxy_address("docker", path, url.get<std::string>());
  };
  if (auto mirrors = json.find("registry-mirrors"); mirrors != json.end() && mirrors->is_array())
    for (const auto& each : *mirrors) examine(each);
  if (auto proxies = json.find("proxies"); proxies != json.end() && proxies->is_object())
    if (auto each = proxies->find("https-proxy"); each != proxies->end()) {
      examine(*each);
      hint(
          "docker",
          path +
              ": with \"proxies\", nothing is pulled while d7yd is down, and Docker before 23 does not start",
          "for Docker Hub, registry-mirrors does without: d7yd runtime configure docker");
    }
}

void Examination::examine_registries_conf() {
  const std::string main = "/etc/containers/registries.conf";
  std::vector<std::string> paths = {main};
  std::error_code missing;
  for (fs::directory_iterator each(root_ + main + ".d", missing), end; !missing && each != end;
       each.increment(missing))
    paths.push_back(main + ".d/" + each->path().filename().string());
  for (const auto& path : paths) {
    auto text = read(path);
    if (!text || !path.ends_with(path == main ? "" : ".conf")) continue;
    try {
      auto document = toml::Document::parse(*text, path);
      for (const auto& section : document.sections) {
        if (section.path != toml::Path{"registry", "mirror"}) continue;
        std::string location;
        bool insecure = false;
        for (const auto& entry : section.entries) {
          if (entry.path.back() == "location") location = value(document, &entry);
          if (entry.path.back() == "insecure") insecure = value(document, &entry) == "true";
        }
        auto slash = location.find('/');
        auto parts = split(location);
        if (!is_local(parts.host)) continue;
        some_runtime_ = true;
        examine_proxy_address("podman", path, location.substr(0, slash));
        if (!insecure)
          problem("podman",
                  fmt::format("{}: the mirror {} has no insecure = true, so it is asked by https", path,
                              location),
                  "add insecure = true below its location");
        auto name = slash == std::string::npos ? "" : location.substr(slash + 1);
        name = name.substr(0, name.find('/'));
        if (parts.port != daemon_.port("proxy.server")) continue;  // the port says which
        if (name.empty())
          hint("podman",
               fmt::format("{}: the mirror {} does not say which registry it is for", path, location),
               "d7yd takes it for proxy.registryMirror.addr; end it in the registry's name: " + location +
                   "/ghcr.io");
        else if (std::find(daemon_.registries.begin(), daemon_.registries.end(), name) ==
                 daemon_.registries.end())
          problem("podman",
                  fmt::format("{}: the mirror {} is for {}, which d7yd does not know", path, location, name),
                  fmt::format("add to {}: proxy: {{registryMirror: {{registries: [{{name: {}}}]}}}}",
                              daemon_.config_path, name));
      }
    } catch (const Refusal& refusal) {
      problem("podman", refusal.what(), "correct that line: Podman and CRI-O refuse it too");
    }
  }
}

}  // namespace tools::doctor
