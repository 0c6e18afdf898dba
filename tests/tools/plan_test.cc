// What the files of each runtime come to say.
#include <doctest/doctest.h>

#include "d7yd/runtime/plan.h"
#include "d7yd/runtime/refusal.h"
#include "d7yd/runtime/settings.h"

using namespace tools;
using namespace tools::runtime;

namespace {

using Texts = std::map<std::string, std::string>;

Plan plan(const Settings& settings, const Texts& texts) {
  Files files;
  files.read = [&](const std::string& path) {
    auto found = texts.find(path);
    return found == texts.end() ? std::nullopt : std::optional(found->second);
  };
  files.list = [&](const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& [path, text] : texts)
      if (path.starts_with(folder + "/")) names.push_back(path.substr(folder.size() + 1));
    return names;
  };
  auto made = plan_for(settings, files);
  // Whatever was planned, planning on top of it changes nothing more.
  auto merged = texts;
  for (const auto& [path, text] : made.files) merged[path] = text;
  if (settings.runtime == Runtime::kContainerd || settings.runtime == Runtime::kDocker) {
    Files again = files;
    again.read = [&](const std::string& path) {
      auto found = merged.find(path);
      return found == merged.end() ? std::nullopt : std::optional(found->second);
    };
    for (const auto& [path, text] : plan_for(settings, again).files) CHECK(text == merged[path]);
  }
  return made;
}

Settings containerd(std::vector<std::string> registries) {
  Settings settings;
  settings.runtime = Runtime::kContainerd;
  for (const auto& each : registries) settings.registries.push_back(registry_named(each));
  return settings;
}

const std::string kConfig = "/etc/containerd/config.toml";
const std::string kWritten =
    "# Written by d7yd runtime configure; d7yd runtime undo containerd takes it away.\n";

bool noted(const Plan& plan, const std::string& what) {
  for (const auto& note : plan.notes)
    if (note.find(what) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("containerd without a configuration gets one, and a hosts.toml") {
  auto made = plan(containerd({"ghcr.io"}), {});
  CHECK(made.files.at(kConfig) ==
        "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
        "  config_path = \"/etc/containerd/certs.d\"\n");
  CHECK(made.files.at("/etc/containerd/certs.d/ghcr.io/hosts.toml") ==
        kWritten +
            "server = \"https://ghcr.io\"\n\n[host.\"http://127.0.0.1:4001\"]\n"
            "  capabilities = [\"pull\", \"resolve\"]\n  [host.\"http://127.0.0.1:4001\".header]\n"
            "    X-Dragonfly-Registry = \"https://ghcr.io\"\n");
  CHECK(made.files.size() == 2);
  CHECK(waits_for_restart(kConfig));
  CHECK_FALSE(waits_for_restart("/etc/containerd/certs.d/ghcr.io/hosts.toml"));
}

TEST_CASE("containerd: version 3 and version 1 have other tables; a config_path that is there stays") {
  CHECK(plan(containerd({"ghcr.io"}), {{kConfig, "version = 3\n"}}).files.at(kConfig) ==
        "version = 3\n\n[plugins.\"io.containerd.cri.v1.images\".registry]\n"
        "  config_path = \"/etc/containerd/certs.d\"\n");
  CHECK(plan(containerd({"ghcr.io"}), {{kConfig, "root = \"/x\"\n"}}).files.at(kConfig) ==
        "root = \"/x\"\n\n[plugins.cri.registry]\n  config_path = \"/etc/containerd/certs.d\"\n");
  auto made =
      plan(containerd({"ghcr.io"}), {{kConfig,
                                      "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n"
                                      "config_path = '/one:/two'\n"}});
  CHECK(made.files.size() == 1);
  CHECK(made.files.contains("/one/ghcr.io/hosts.toml"));
  CHECK(noted(made, "several folders"));
}

TEST_CASE("containerd: Docker Hub's API has another name; ports; all registries") {
  auto settings = containerd({"docker.io", "reg.local:5000=http://10.0.0.1:5000"});
  settings.all_registries = true;
  auto made = plan(settings, {{kConfig, "version = 2\n"}});
  CHECK(made.files.at("/etc/containerd/certs.d/docker.io/hosts.toml")
            .find("\"https://registry-1.docker.io\"") != std::string::npos);
  CHECK(made.files.at("/etc/containerd/certs.d/reg.local_5000_/hosts.toml")
            .find("X-Dragonfly-Registry = \"http://10.0.0.1:5000\"") != std::string::npos);
  CHECK(made.files.at("/etc/containerd/certs.d/_default/hosts.toml") ==
        kWritten + "\n[host.\"http://127.0.0.1:4001\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
  // A folder in the other form counts when it is there.
  made = plan(settings, {{kConfig, "version = 2\n"},
                         {"/etc/containerd/certs.d/reg.local:5000/hosts.toml", "# mine\n"}});
  CHECK(made.files.contains("/etc/containerd/certs.d/reg.local:5000/hosts.toml"));
}

TEST_CASE("containerd: what is imported is read, too, and config_path stands where it counts") {
  const std::string importing = "version = 2\nimports = [\"conf.d/*.toml\"]\n";
  const std::string gpu = "/etc/containerd/conf.d/99-gpu.toml",
                    other = "/etc/containerd/conf.d/10-other.toml";
  const std::string runtimes =
      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.gpu]\n  runtime_type = "
      "\"x\"\n";
  // containerd 1.x takes the whole plugin from the last file that has it.
  auto made =
      plan(containerd({"ghcr.io"}), {{kConfig, importing}, {gpu, runtimes}, {other, "version = 2\n"}});
  CHECK(made.files.size() == 2);
  CHECK(made.files.at(gpu).find("[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = "
                                "\"/etc/containerd/certs.d\"\n") != std::string::npos);
  CHECK(made.files.contains("/etc/containerd/certs.d/ghcr.io/hosts.toml"));
  CHECK(noted(made, gpu));
  // Somebody thought of it in the main file only.
  const std::string registry =
      "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/a:/b\"\n";
  made = plan(containerd({"ghcr.io"}), {{kConfig, importing + registry}, {gpu, runtimes}});
  CHECK(made.files.size() == 2);
  CHECK(made.files.at(gpu).find("config_path = \"/a:/b\"") != std::string::npos);
  CHECK(made.files.contains("/a/ghcr.io/hosts.toml"));
  // The imported file has it.
  made = plan(containerd({"ghcr.io"}), {{kConfig, importing}, {gpu, runtimes + registry}});
  CHECK(made.files.size() == 1);
  CHECK(made.files.contains("/a/ghcr.io/hosts.toml"));
  // 2.x merges, and what it imports may import.
  made = plan(containerd({"ghcr.io"}),
              {{kConfig, "version = 3\nimports = [\"/etc/containerd/conf.d/99-gpu.toml\"]\n"},
               {gpu,
                "version = 3\nimports = [\"/x.toml\", \"../config.toml\"]\n"
                "[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'y'\n"},
               {"/x.toml", "[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/x'\n"}});
  CHECK(made.files.size() == 1);
  CHECK(made.files.contains("/x/ghcr.io/hosts.toml"));
  made = plan(containerd({"ghcr.io"}),
              {{kConfig, "version = 3\nimports = [\"/etc/containerd/conf.d/99-gpu.toml\"]\n"},
               {gpu, "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'y'\n"}});
  CHECK(made.files.contains(kConfig));
  CHECK_FALSE(made.files.contains(gpu));
}

TEST_CASE("containerd: a hosts.toml of somebody else keeps what it says, and d7yd is asked first") {
  const std::string path = "/etc/containerd/certs.d/ghcr.io/hosts.toml";
  auto made = plan(
      containerd({"ghcr.io"}),
      {{kConfig, "version = 2\n"},
       {path, "# ours since 2021\nserver = \"https://mine\"\n\n[host.\"https://other\"] # slow\n  x = 1\n"}});
  CHECK(made.files.at(path) ==
        "# ours since 2021\nserver = \"https://mine\"\n\n[host.\"http://127.0.0.1:4001\"]\n"
        "  capabilities = [\"pull\", \"resolve\"]\n  [host.\"http://127.0.0.1:4001\".header]\n"
        "    X-Dragonfly-Registry = \"https://ghcr.io\"\n\n[host.\"https://other\"] # slow\n  x = 1\n");
  // As dfinit has written it: the same host, tried over TLS first.
  made = plan(containerd({"ghcr.io"}),
              {{kConfig, "version = 2\n"},
               {path,
                "server = \"https://ghcr.io\"\n[host.\"http://127.0.0.1:4001\"]\ncapabilities = [\"pull\"]\n"
                "skip_verify = true\n"}});
  CHECK(made.files.at(path) ==
        "server = \"https://ghcr.io\"\n[host.\"http://127.0.0.1:4001\"]\ncapabilities = [\"pull\", "
        "\"resolve\"]\n"
        "# makes containerd try TLS on a port that has none:\n# skip_verify = true\n\n"
        "[host.\"http://127.0.0.1:4001\".header]\n  X-Dragonfly-Registry = \"https://ghcr.io\"\n");
}

TEST_CASE("containerd: mirrors of the old form move into hosts.toml") {
  auto made = plan(containerd({"ghcr.io"}), {{kConfig, R"(version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
    # near
    endpoint = ["http://near:5000/hub/v2", "https://registry-1.docker.io"]
  [plugins."io.containerd.grpc.v1.cri".registry.configs."ghcr.io".tls]
    ca_file = "/ca.pem"
  [plugins."io.containerd.grpc.v1.cri".registry.configs."ghcr.io".auth]
    username = "me"
)"}});
  CHECK(made.files.at(kConfig) == R"(version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
  # moved into hosts.toml files by d7yd:
  # [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
    # # near
    # endpoint = ["http://near:5000/hub/v2", "https://registry-1.docker.io"]
  # moved into hosts.toml files by d7yd:
  # [plugins."io.containerd.grpc.v1.cri".registry.configs."ghcr.io".tls]
    # ca_file = "/ca.pem"
  [plugins."io.containerd.grpc.v1.cri".registry.configs."ghcr.io".auth]
    username = "me"
)");
  CHECK(made.files.at("/etc/containerd/certs.d/docker.io/hosts.toml") ==
        kWritten + R"(server = "https://registry-1.docker.io"

[host."http://127.0.0.1:4001"]
  capabilities = ["pull", "resolve"]
  [host."http://127.0.0.1:4001".header]
    X-Dragonfly-Registry = "https://registry-1.docker.io"

[host."http://near:5000/hub/v2"]
  capabilities = ["pull", "resolve"]
  override_path = true
)");
  CHECK(made.files.at("/etc/containerd/certs.d/ghcr.io/hosts.toml")
            .find("server = \"https://ghcr.io\"\nca = \"/ca.pem\"") != std::string::npos);
  CHECK(noted(made, "has moved"));
}

TEST_CASE("containerd: what cannot be edited safely is refused") {
  for (const char* config :
       {"# generated by k3s\nversion = 2\n", "[plugins.\"io.containerd.grpc.v1.cri\"]\nx = 1\n",
        "version = 4\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"certs.d\"\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nmirrors.x.endpoint = "
        "[\"https://x\"]\n",
        "version = 2\nplugins = 3\n", "version 2\n"}) {
    CAPTURE(config);
    try {
      plan(containerd({"ghcr.io"}), {{kConfig, config}});
      FAIL("accepted");
    } catch (const Refusal& refusal) {
      CHECK(refusal.status == kNotEditable);
    }
  }
}

TEST_CASE("Podman and CRI-O: one mirror for each registry, where the registry is defined") {
  Settings settings;
  settings.runtime = Runtime::kPodman;
  settings.registries = {registry_named("ghcr.io"), registry_named("quay.io")};
  const std::string main = "/etc/containers/registries.conf";
  auto made =
      plan(settings, {{main,
                       "# see containers-registries.conf(5)\n[[registry]]\nprefix = \"ghcr.io\"\n"
                       "location = \"ghcr.io\"\n[[registry.mirror]]\nlocation = \"near\"\n"},
                      {main + ".d/10-quay.conf", "[[registry]]\nlocation = \"quay.io\"\nblocked = false"}});
  CHECK(made.files.at(main) ==
        "# see containers-registries.conf(5)\n[[registry]]\nprefix = \"ghcr.io\"\nlocation = \"ghcr.io\"\n\n"
        "[[registry.mirror]]\nlocation = \"127.0.0.1:4001/ghcr.io\"\ninsecure = true\n"
        "[[registry.mirror]]\nlocation = \"near\"\n");
  CHECK(made.files.at(main + ".d/10-quay.conf") ==
        "[[registry]]\nlocation = \"quay.io\"\nblocked = false\n\n"
        "[[registry.mirror]]\nlocation = \"127.0.0.1:4001/quay.io\"\ninsecure = true\n");
  CHECK(made.restart_command.empty());
  settings.registries.push_back(registry_named("reg.local:5000"));
  CHECK_THROWS_AS(plan(settings, {}), Refusal);  // no room for a port
  settings.registries.back().mirror = "http://127.0.0.1:4011";
  CHECK(plan(settings, {}).files.at(main).ends_with("location = \"127.0.0.1:4011\"\ninsecure = true\n"));
  settings.runtime = Runtime::kCrio;
  settings.unqualified = {"docker.io"};
  made = plan(settings, {});
  CHECK(made.files.at(main).starts_with("unqualified-search-registries = [\"docker.io\"]\n\n[[registry]]\n"));
  CHECK(made.restart_command == "systemctl reload crio");
  for (const char* text :
       {"[registries.search]\nregistries = []\n", "registry = [{location = \"ghcr.io\"}]\n",
        "[[registry]]\nlocation = \"ghcr.io\"\nmirror = [{location = \"near\"}]\n"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(plan(settings, {{main, text}}), Refusal);
  }
}

TEST_CASE("Docker: a mirror for the Hub, and proxies when asked") {
  Settings settings;
  settings.runtime = Runtime::kDocker;
  const std::string path = "/etc/docker/daemon.json";
  CHECK(plan(settings, {{path, "{\n    \"debug\": true\n}\n"}}).files.at(path) ==
        "{\n    \"debug\": true,\n    \"registry-mirrors\": [\"http://127.0.0.1:4001\"]\n}\n");
  settings.docker_proxies = true;
  CHECK(plan(settings, {{path, "{\"proxies\": {\"no-proxy\": \"x\"}}"}}).files.at(path) ==
        "{\"proxies\": {\"no-proxy\": \"x\", \"http-proxy\": \"http://127.0.0.1:4001\", \"https-proxy\": "
        "\"http://127.0.0.1:4001\"}, \"registry-mirrors\": [\"http://127.0.0.1:4001\"]}");
}

TEST_CASE("dfinit.yaml is read as Dragonfly writes it") {
  auto settings = read_dfinit(R"(console: true
log: {level: info}
proxy:
  addr: http://127.0.0.1:5001/
containerRuntime:
  containerd:
    configPath: /x/config.toml
    proxyAllRegistries: true
    registries:
      - hostNamespace: docker.io
        serverAddr: https://index.docker.io
        capabilities: ["pull"]
        skipVerify: true
      - hostNamespace: ghcr.io
        surprise: 1
  podman: {}
)",
                              "dfinit.yaml");
  CHECK(settings.runtime == Runtime::kContainerd);
  CHECK(settings.proxy == "http://127.0.0.1:5001");
  CHECK(settings.config_path == "/x/config.toml");
  CHECK(settings.all_registries);
  REQUIRE(settings.registries.size() == 2);
  CHECK(settings.registries[0].server == "https://index.docker.io");
  CHECK(settings.registries[0].capabilities == std::vector<std::string>{"pull"});
  CHECK(settings.registries[1].server == "https://ghcr.io");
  REQUIRE(settings.warnings.size() == 2);
  CHECK(settings.warnings[0].find(
            "dfinit.yaml:15: unknown key containerRuntime.containerd.registries[1].surprise") == 0);
  for (const char* wrong : {"proxy: {addr: 127.0.0.1}", "proxy: [", "containerRuntime: 3",
                            "containerRuntime: {containerd: {registries: [{hostNamespace: ../x}]}}",
                            "containerRuntime: {podman: {registries: [{prefix: a, location: 'b c'}]}}",
                            "containerRuntime: {containerd: {proxyAllRegistries: perhaps}}"}) {
    CAPTURE(wrong);
    CHECK_THROWS_WITH_AS(read_dfinit(wrong, "dfinit.yaml"), doctest::Contains("dfinit.yaml"), Refusal);
  }
}
