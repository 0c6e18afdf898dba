// What d7yd doctor and d7yd runtime both ask of containerd's config.toml.
#pragma once

#include <string>

#include "toml.h"

namespace tools::runtime {

// The table of the part of containerd that pulls for Kubernetes: it depends on the file's version. Throws
// Refusal.
toml::Path registry_table(const toml::Document& document, const std::string& path);

bool disables_cri(const toml::Document& document);

}  // namespace tools::runtime
