// CRI-O and Podman: a mirror in registries.conf for each registry.
//
// These programs say in no header and in no parameter which registry they mean, so the mirror's location says
// it: "127.0.0.1:4001/ghcr.io" makes them ask for /v2/ghcr.io/NAME/manifests/TAG.
#include <fmt/format.h>

#include <algorithm>

#include "plan.h"
#include "refusal.h"
#include "toml.h"

namespace tools::runtime {

namespace {

// The [[registry]] of `prefix` in one file; what has no prefix is named by its location.
const toml::Section* registry_of(const toml::Document& document, const std::string& prefix) {
  for (const auto& section : document.sections) {
    if (!section.array || section.path != toml::Path{"registry"}) continue;
    std::string own, location;
    for (const auto& entry : section.entries) {
      auto text = toml::decode_string(
          std::string_view(document.text).substr(entry.value, entry.value_end - entry.value));
      if (entry.path.back() == "prefix") own = text.value_or("");
      if (entry.path.back() == "location") location = text.value_or("");
    }
    if ((own.empty() ? location : own) == prefix) return &section;
  }
  return nullptr;
}

// An array of tables can be added to only where it is written as [[...]].
void check_form(const toml::Document& document, const std::string& path) {
  for (const auto& section : document.sections)
    for (const auto& entry : section.entries)
      if (entry.path == toml::Path{"registry"} || entry.path == toml::Path{"registry", "mirror"})
        throw Refusal(kNotEditable,
                      fmt::format("{} has '{} = [...]', to which nothing can be added; write it as "
                                  "[[{}]]",
                                  path, entry.path.back(), toml::dotted(entry.path)));
}

std::string mirror_block(const Settings& settings, const Registry& registry, const std::string& indent) {
  const auto& url = registry.mirror.empty() ? settings.proxy : registry.mirror;
  auto location = authority_of(url) + (registry.mirror.empty() ? "/" + registry.location : "");
  auto block = fmt::format("{0}[[registry.mirror]]\n{0}location = {1}\n", indent, toml::quoted(location));
  if (url.starts_with("http://")) block += indent + "insecure = true\n";
  return block;
}

}  // namespace

Plan plan_registries_conf(const Settings& settings, const Files& files) {
  if (settings.registries.empty())
    throw Refusal(kUsage,
                  fmt::format("which registries? {} knows no way to mirror all of them: name them with"
                              " --registry, or in containerRuntime.{}.registries of dfinit.yaml",
                              name_of(*settings.runtime), name_of(*settings.runtime)));
  Plan plan;
  const auto& main = settings.config_path;
  // What stands in a file of this folder replaces what the main file says of the same registry.
  std::vector<std::string> paths = {main};
  for (const auto& name : files.list(main + ".d"))
    if (name.ends_with(".conf")) paths.push_back(main + ".d/" + name);
  std::map<std::string, toml::Document> documents;
  for (const auto& path : paths) documents[path] = toml::Document::parse(files.read(path).value_or(""), path);
  for (const auto& path : paths) check_form(documents[path], path);
  for (const auto& path : paths)
    if (documents[path].has({"registries"}))
      throw Refusal(kNotEditable,
                    fmt::format("{} has the old form ([registries.search]), which cannot be mixed with"
                                " mirrors: write it as unqualified-search-registries and [[registry]]",
                                path));
  auto change = [&](const std::string& path, std::string text) {
    documents[path] = toml::Document::parse(text, path);
    plan.files[path] = std::move(text);
  };

  for (const auto& registry : settings.registries) {
    if (registry.mirror.empty() && registry.location.find(':') != std::string::npos)
      throw Refusal(kUsage,
                    fmt::format("{} cannot be mirrored for {}: a mirror's location says which registry is"
                                " meant, and has no room for a port",
                                registry.location, name_of(*settings.runtime)));
    std::string path = main;
    const toml::Section* there = nullptr;
    for (const auto& candidate : paths)
      if (const auto* found = registry_of(documents[candidate], registry.host))
        path = candidate, there = found;
    const auto& document = documents[path];
    if (there != nullptr) {
      // In front of other mirrors: they are tried in order.
      auto mirror = mirror_block(settings, registry, toml::indent_at(document.text, there->begin));
      auto before = document.text.substr(0, there->end);
      if (!before.ends_with('\n')) before += '\n';
      change(path, before + "\n" + mirror + document.text.substr(there->end));
    } else {
      auto text = document.text;
      if (!text.empty() && !text.ends_with('\n')) text += '\n';
      text += fmt::format("{}[[registry]]\nprefix = {}\nlocation = {}\n\n{}", text.empty() ? "" : "\n",
                          toml::quoted(registry.host), toml::quoted(registry.location),
                          mirror_block(settings, registry, ""));
      change(path, text);
    }
  }
  if (!settings.unqualified.empty())
    change(main, toml::set(documents[main], {}, "unqualified-search-registries",
                           toml::quoted(settings.unqualified)));
  if (*settings.runtime == Runtime::kCrio) {
    plan.restart_command = "systemctl reload crio";
  }
  return plan;
}

}  // namespace tools::runtime
