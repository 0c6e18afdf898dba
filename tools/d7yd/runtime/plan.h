// What the files of a runtime should say: pure functions of what they say now and of the settings.
// transaction.h writes it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "settings.h"

namespace tools::runtime {

// The files as they are without us. Nothing if there is no such file; throws Refusal if it cannot be read.
struct Files {
  std::function<std::optional<std::string>(const std::string& path)> read;
  std::function<std::vector<std::string>(const std::string& folder)>
      list;  // names, sorted; none if it is missing
};

struct Plan {
  std::map<std::string, std::string> files;  // path to new text
  std::vector<std::string> notes;            // what the user should know besides
  // How the running program is made to notice a file that waits_for_restart(); empty: it needs nothing.
  std::string restart_command;  // "systemctl restart containerd"
};

// Whether a change of this file counts only when the program is restarted or reloaded. containerd reads each
// hosts.toml at each pull.
bool waits_for_restart(const std::string& path);

std::string usual_config_path(Runtime runtime);
Plan plan_containerd(const Settings& settings, const Files& files);
Plan plan_docker(const Settings& settings, const Files& files);
Plan plan_registries_conf(const Settings& settings, const Files& files);  // CRI-O and Podman
Plan plan_for(const Settings& settings, const Files& files);              // settings.runtime

}  // namespace tools::runtime
