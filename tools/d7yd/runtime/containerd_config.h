// What d7yd doctor and d7yd runtime both ask of containerd's config.toml.
#pragma once

#include <string>
#include <vector>

#include "plan.h"
#include "toml.h"

namespace tools::runtime {

// The table of the part of containerd that pulls for Kubernetes: it depends on the file's version. Throws
// Refusal.
toml::Path registry_table(const toml::Document& document, const std::string& path);

// One of the files that make up containerd's configuration.
struct ConfigFile {
  std::string path;
  toml::Document document;
  toml::Path registry;  // where its registry_table would be
};

// `main` and the files that its `imports` bring in, in the order in which containerd merges them: what comes
// later wins. Throws Refusal.
std::vector<ConfigFile> with_imports(ConfigFile main, const Files& files);
// Which folders with hosts.toml files containerd takes from them.
struct MirrorFolders {
  std::string config_path;  // empty: none is set
  std::string where;        // the path of the file that says so
  // The file that config_path must stand in. containerd 1.x, which reads versions 1 and 2, takes the whole
  // plugin from the last file that says anything of it; 2.x merges key by key.
  std::size_t counts = 0;

  // It is set, and yet a later file may take it away.
  bool hidden(const std::vector<ConfigFile>& files) const {
    return !config_path.empty() && files[counts].path != where;
  }
};
MirrorFolders mirror_folders(const std::vector<ConfigFile>& files);

bool disables_cri(const toml::Document& document);

}  // namespace tools::runtime
