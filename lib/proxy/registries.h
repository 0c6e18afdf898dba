// Which registry a mirror request is for.
//
// A container runtime that uses a mirror asks it for "/v2/..." and may say whose content it means: by the
// header X-Dragonfly-Registry (a URL), by the parameter "ns" (containerd: the registry's name as the user
// typed it), by the port it uses, or by a first part of the path that somebody configured. What says nothing
// is for the default registry.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/url.h"

namespace d7y::proxy {

struct RegistryOptions {
  std::string name;     // "ghcr.io", "reg.local:5000": value of ns, first part of paths
  std::string address;  // "https://ghcr.io"; empty: made of the name
};

class Registries {
 public:
  // kInvalid names the address that is none.
  static Result<Registries> make(std::string default_address, std::vector<RegistryOptions> known);

  struct Target {
    Url url;                                 // where the request goes, `ns` taken out
    const RegistryOptions* known = nullptr;  // how it is configured, if it is
  };
  // `target` is of the form "/path?query"; `header` is X-Dragonfly-Registry, or empty; `port_name` the name
  // of the registry that the port belongs to, or empty. kInvalid (400).
  Result<Target> find(std::string_view target, std::string_view header, std::string_view port_name) const;

  const std::vector<RegistryOptions>& known() const { return known_; }
  const RegistryOptions* known_as(std::string_view name) const;

 private:
  Registries() = default;
  std::string default_;
  std::vector<RegistryOptions> known_;
};

// "https://host[:port][/path]" out of a URL, or of a name as ns has it: https, except for this machine's own
// names, which runtimes take for plain http as well. The name of Docker's hub becomes that of its API.
// kInvalid for anything else, credentials included.
Result<std::string> registry_address(std::string_view text);

// Whether a request's target, a path or a whole URL, is of the registry API, whose errors have a form of
// their own.
bool is_registry_path(std::string_view target);

// The repository in the path of a registry request, "library/alpine" in "/v2/library/alpine/blobs/sha256:..";
// empty where there is none.
std::string_view repository_in(std::string_view path);

}  // namespace d7y::proxy
