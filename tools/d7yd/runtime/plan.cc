#include "plan.h"

#include <fmt/format.h>

#include "json_edit.h"
#include "refusal.h"

namespace tools::runtime {

std::string usual_config_path(Runtime runtime) {
  switch (runtime) {
    case Runtime::kContainerd: return "/etc/containerd/config.toml";
    case Runtime::kDocker: return "/etc/docker/daemon.json";
    case Runtime::kCrio:
    case Runtime::kPodman: return "/etc/containers/registries.conf";
  }
  return {};
}

bool waits_for_restart(const std::string& path) { return !path.ends_with("/hosts.toml"); }

Plan plan_docker(const Settings& settings, const Files& files) {
  Plan plan;
  const auto& path = settings.config_path;
  auto text = files.read(path).value_or("");
  // Docker takes mirrors for Docker Hub only, and goes to the Hub itself when the mirror does not answer.
  text = json::put_first(text, path, {"registry-mirrors"}, settings.proxy);
  plan.notes.push_back("Docker uses mirrors for images of Docker Hub only.");
  plan.restart_command = "systemctl reload docker";
  if (settings.docker_proxies) {
    for (const char* key : {"http-proxy", "https-proxy"})
      text = json::set(text, path, {"proxies", key}, '"' + settings.proxy + '"');
    plan.notes.push_back(
        "\"proxies\" needs Docker 23 or newer: older ones do not start with it. Images over https are shared "
        "between "
        "peers only for hosts that d7yd intercepts, whose authority Docker must trust: "
        "/etc/docker/certs.d/HOST/ca.crt. While d7yd is down, Docker pulls nothing.");
    plan.restart_command = "systemctl restart docker";
  }
  plan.files[path] = text;
  return plan;
}

Plan plan_for(const Settings& settings, const Files& files) {
  auto complete = settings;
  if (complete.config_path.empty()) complete.config_path = usual_config_path(*settings.runtime);
  switch (*settings.runtime) {
    case Runtime::kContainerd: return plan_containerd(complete, files);
    case Runtime::kDocker: return plan_docker(complete, files);
    case Runtime::kCrio:
    case Runtime::kPodman: return plan_registries_conf(complete, files);
  }
  return {};
}

}  // namespace tools::runtime
