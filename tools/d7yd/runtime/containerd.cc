// containerd: config_path in config.toml, and a hosts.toml for each registry below it.
//
// Only a new config_path needs a restart; hosts.toml is read at each pull. Old forms that containerd refuses
// beside config_path (registry.mirrors, registry.configs.HOST.tls) move into hosts.toml and become comments.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <map>

#include "containerd_config.h"
#include "plan.h"
#include "refusal.h"
#include "toml.h"

namespace tools::runtime {

namespace {

constexpr const char* kCertsFolder = "/etc/containerd/certs.d";

std::string_view raw(const toml::Document& document, const toml::Entry& entry) {
  return std::string_view(document.text).substr(entry.value, entry.value_end - entry.value);
}

// How to verify a host that containerd asks over TLS.
struct Tls {
  std::string ca, cert, key;
  bool skip_verify = false;

  std::string lines(const std::string& indent) const {
    std::string out;
    if (!ca.empty()) out += indent + "ca = " + toml::quoted(ca) + "\n";
    if (!cert.empty())
      out += indent + "client = [" + toml::quoted(std::vector<std::string>{cert, key}) + "]\n";
    if (skip_verify) out += indent + "skip_verify = true\n";
    return out;
  }
};

// What registry.mirrors and registry.configs said of one registry.
struct OldMirror {
  std::vector<std::string> endpoints;
};

struct Old {
  std::map<std::string, OldMirror> mirrors;  // by registry, "*" for all
  std::map<std::string, Tls> tls;            // by host
};

std::string host_of(const std::string& url) {
  auto scheme = url.find("://");
  auto rest = scheme == std::string::npos ? url : url.substr(scheme + 3);
  return rest.substr(0, rest.find('/'));
}

bool has_path(const std::string& url) {
  auto scheme = url.find("://");
  auto slash = url.find('/', scheme == std::string::npos ? 0 : scheme + 3);
  return slash != std::string::npos && slash + 1 < url.size();
}

// The hosts.toml of a registry that has none yet, without our proxy.
std::string new_hosts(const Registry& registry, const Old& old, const OldMirror* mirror) {
  std::string out = "# Written by d7yd runtime configure; d7yd runtime undo containerd takes it away.\n";
  auto add_tls = [&](const std::string& url, const std::string& indent) {
    if (auto tls = old.tls.find(host_of(url)); tls != old.tls.end()) out += tls->second.lines(indent);
  };
  if (!registry.server.empty()) {
    out += "server = " + toml::quoted(registry.server) + "\n";
    add_tls(registry.server, "");
  }
  if (mirror == nullptr) return out;
  for (const auto& endpoint : mirror->endpoints) {
    if (endpoint == registry.server || endpoint == registry.server + "/") continue;
    out += fmt::format("\n[host.{}]\n  capabilities = [\"pull\", \"resolve\"]\n", toml::quoted(endpoint));
    if (has_path(endpoint)) out += "  override_path = true\n";
    add_tls(endpoint, "  ");
  }
  return out;
}

// Our proxy is asked already, perhaps in another manner: made ours, in its place.
std::string adjust_host(std::string text, const std::string& path, const Settings& settings,
                        const Registry& registry) {
  auto parse = [&] { return toml::Document::parse(text, path); };
  const toml::Path table = {"host", settings.proxy};
  text = toml::set(parse(), table, "capabilities", toml::quoted(registry.capabilities));
  if (!registry.server.empty())
    text = toml::set(parse(), {"host", settings.proxy, "header"}, "X-Dragonfly-Registry",
                     toml::quoted(registry.server));
  if (!settings.proxy.starts_with("http://")) return text;
  for (const char* key : {"skip_verify", "ca", "client"}) {
    auto document = parse();
    const auto* entry = document.find({"host", settings.proxy, key});
    if (entry != nullptr && entry->depth == 0)
      text =
          toml::comment_out(text, toml::line_begin(text, entry->key), toml::line_end(text, entry->value_end),
                            "makes containerd try TLS on a port that has none:");
  }
  return text;
}

std::string host_block(const Settings& settings, const Registry& registry) {
  auto block = fmt::format("[{}]\n  capabilities = {}\n", toml::dotted({"host", settings.proxy}),
                           toml::quoted(registry.capabilities));
  if (settings.proxy.starts_with("https://")) {
    if (!registry.ca.empty()) block += "  ca = " + toml::quoted(registry.ca) + "\n";
    if (registry.skip_verify) block += "  skip_verify = true\n";
  }
  if (!registry.server.empty())
    block += fmt::format("  [{}]\n    X-Dragonfly-Registry = {}\n",
                         toml::dotted({"host", settings.proxy, "header"}), toml::quoted(registry.server));
  return block;
}

// The hosts.toml of one registry: `text` as it is, and our proxy asked first.
std::string edit_hosts(std::string text, const std::string& path, const Settings& settings,
                       const Registry& registry, const Old& old, const OldMirror* mirror) {
  if (text.empty()) text = new_hosts(registry, old, mirror);
  auto document = toml::Document::parse(text, path);
  if (!registry.server.empty() && document.find({"server"}) == nullptr) {
    auto at = document.sections[0].body;
    text = text.substr(0, at) + "server = " + toml::quoted(registry.server) + "\n" + text.substr(at);
    document = toml::Document::parse(text, path);
  }
  if (document.has({"host", settings.proxy})) return adjust_host(text, path, settings, registry);
  // Hosts are tried in the order of the file.
  auto first = std::find_if(
      document.sections.begin() + 1, document.sections.end(),
      [](const toml::Section& section) { return !section.path.empty() && section.path[0] == "host"; });
  auto at = first == document.sections.end() ? text.size() : first->begin;
  auto before = text.substr(0, at), behind = text.substr(at);
  if (!before.empty() && !before.ends_with('\n')) before += '\n';
  if (!before.empty() && !before.ends_with("\n\n")) before += '\n';
  return before + host_block(settings, registry) + (behind.empty() ? "" : "\n") + behind;
}

// Folder of a registry below config_path, as containerd looks for it: "reg.local_5000_", then
// "reg.local:5000".
std::string folder_of(const std::string& certs, const std::string& host, const Files& files) {
  auto colon = host.rfind(':');
  if (colon == std::string::npos || colon < host.rfind(']') + 1) return certs + "/" + host;
  auto first = certs + "/" + host.substr(0, colon) + "_" + host.substr(colon + 1) + "_";
  auto second = certs + "/" + host;
  return !files.read(first + "/hosts.toml") && files.read(second + "/hosts.toml") ? second : first;
}

// Takes registry.mirrors and registry.configs.*.tls out of `text` (as comments) and into `old`.
std::string take_old(const std::string& text, const std::string& path, const toml::Path& registry, Old& old,
                     Plan& plan) {
  auto document = toml::Document::parse(text, path);
  auto mirrors = registry, configs = registry;
  mirrors.push_back("mirrors");
  configs.push_back("configs");
  std::vector<const toml::Section*> taken;
  for (const auto& section : document.sections) {
    bool of_mirrors = toml::starts_with(section.path, mirrors);
    bool of_tls = toml::starts_with(section.path, configs) && section.path.size() == configs.size() + 2 &&
                  section.path.back() == "tls";
    for (const auto& entry : section.entries) {
      if (!of_mirrors && !of_tls &&
          (toml::starts_with(entry.path, mirrors) ||
           (toml::starts_with(entry.path, configs) &&
            std::find(entry.path.begin(), entry.path.end(), "tls") != entry.path.end())))
        throw Refusal(
            kNotEditable,
            fmt::format("{}: {} cannot stay beside config_path, and is written in a way that d7yd does not "
                        "move; move it into hosts.toml files by hand (docs/runtimes.md)",
                        path, toml::dotted(entry.path)));
      auto text_value = toml::decode_string(raw(document, entry)).value_or("");
      if (of_mirrors && section.path.size() == mirrors.size() + 1 && entry.path.back() == "endpoint") {
        auto endpoints = toml::decode_strings(raw(document, entry));
        if (!endpoints)
          throw Refusal(kNotEditable,
                        fmt::format("{}: {} is not a list of texts", path, toml::dotted(entry.path)));
        old.mirrors[section.path.back()].endpoints = *endpoints;
      } else if (of_tls) {
        auto& tls = old.tls[section.path[configs.size()]];
        const auto& key = entry.path.back();
        if (key == "ca_file") tls.ca = text_value;
        if (key == "cert_file") tls.cert = text_value;
        if (key == "key_file") tls.key = text_value;
        if (key == "insecure_skip_verify") tls.skip_verify = raw(document, entry) == "true";
      }
    }
    if (of_mirrors || of_tls) taken.push_back(&section);
  }
  auto out = text;
  for (auto section = taken.rbegin(); section != taken.rend(); ++section)
    out = toml::comment_out(out, (*section)->begin, (*section)->end, "moved into hosts.toml files by d7yd:");
  if (!taken.empty())
    plan.notes.push_back(
        fmt::format("{}: what registry.mirrors and registry.configs.*.tls said has moved into "
                    "hosts.toml files, because containerd refuses it beside config_path.",
                    path));
  return out;
}

}  // namespace

toml::Path registry_table(const toml::Document& document, const std::string& path) {
  const auto* version = document.find({"version"});
  auto number = version == nullptr ? std::string("1") : std::string(raw(document, *version));
  if (number == "3") return {"plugins", "io.containerd.cri.v1.images", "registry"};
  if (number == "2") return {"plugins", "io.containerd.grpc.v1.cri", "registry"};
  if (number == "1") {
    for (const auto& section : document.sections)
      if (section.path.size() >= 2 && section.path[0] == "plugins" &&
          section.path[1].starts_with("io.containerd."))
        throw Refusal(kNotEditable,
                      fmt::format("{} has no 'version', so containerd reads it as version 1 and ignores"
                                  " its tables [plugins.\"io.containerd...\"]: write 'version = 2' at "
                                  "its top first",
                                  path));
    return {"plugins", "cri", "registry"};
  }
  throw Refusal(kNotEditable, fmt::format("{} has version = {}; 1, 2 and 3 are known", path, number));
}

namespace {

// Files that the pattern of an import names; wildcards in the last part only.
std::vector<std::string> matching(const std::string& pattern, const std::string& importer,
                                  const Files& files) {
  auto whole = pattern.starts_with('/') ? pattern : importer.substr(0, importer.rfind('/') + 1) + pattern;
  auto slash = whole.rfind('/');
  auto folder = whole.substr(0, slash), name = whole.substr(slash + 1);
  if (name.find_first_of("*?[") == std::string::npos) return {whole};
  std::vector<std::string> found;
  for (const auto& each : files.list(folder))
    if (fnmatch(name.c_str(), each.c_str(), FNM_PERIOD) == 0) found.push_back(folder + "/" + each);
  return found;
}

constexpr std::size_t kMostFiles = 1000;

void add_imports(std::vector<ConfigFile>& all, const ConfigFile& importer, const Files& files) {
  const auto* entry = importer.document.find({"imports"});
  if (entry == nullptr) return;
  auto patterns = toml::decode_strings(raw(importer.document, *entry)).value_or(std::vector<std::string>{});
  for (const auto& pattern : patterns) {
    for (const auto& path : matching(pattern, importer.path, files)) {
      bool known =
          std::any_of(all.begin(), all.end(), [&](const ConfigFile& file) { return file.path == path; });
      auto text = known || all.size() >= kMostFiles ? std::nullopt : files.read(path);
      if (!text) continue;
      ConfigFile file{path, toml::Document::parse(*text, path), importer.registry};
      if (file.document.find({"version"}) != nullptr) file.registry = registry_table(file.document, path);
      all.push_back(file);
      add_imports(all, file, files);
    }
  }
}

}  // namespace

std::vector<ConfigFile> with_imports(ConfigFile main, const Files& files) {
  std::vector<ConfigFile> all{main};
  add_imports(all, main, files);
  return all;
}

MirrorFolders mirror_folders(const std::vector<ConfigFile>& files) {
  MirrorFolders found;
  found.where = files.front().path;
  const bool merged = files.front().registry[1] == "io.containerd.cri.v1.images";
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto& file = files[i];
    auto key = file.registry;
    key.pop_back();
    if (!merged && file.document.has(key)) found.counts = i;
    key = file.registry;
    key.push_back("config_path");
    const auto* entry = file.document.find(key);
    auto text =
        entry == nullptr ? std::string() : toml::decode_string(raw(file.document, *entry)).value_or("");
    if (text.empty()) continue;
    found.config_path = text;
    found.where = file.path;
    if (merged) found.counts = i;
  }
  return found;
}

bool disables_cri(const toml::Document& document) {
  const auto* entry = document.find({"disabled_plugins"});
  if (entry == nullptr) return false;
  for (const auto& plugin : toml::decode_strings(raw(document, *entry)).value_or(std::vector<std::string>{}))
    if (plugin == "cri" || plugin == "io.containerd.grpc.v1.cri" || plugin == "io.containerd.cri.v1.images")
      return true;
  return false;
}

Plan plan_containerd(const Settings& settings, const Files& files) {
  if (settings.registries.empty() && !settings.all_registries)
    throw Refusal(
        kUsage,
        "which registries? Name them with --registry or in containerRuntime.containerd.registries of"
        " dfinit.yaml, or say --all-registries (proxyAllRegistries: true)");
  Plan plan;
  const auto& path = settings.config_path;
  auto text = files.read(path).value_or("");
  if (text.find("generated by k3s") != std::string::npos ||
      text.find("generated by rke2") != std::string::npos)
    throw Refusal(kNotEditable,
                  fmt::format("{} is written anew by k3s or RKE2 at each start: write the mirrors into"
                              " /etc/rancher/k3s/registries.yaml (or rke2/) instead",
                              path));
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) text = "version = 2\n";
  auto document = toml::Document::parse(text, path);
  bool nothing_but_comments =
      std::all_of(document.sections.begin(), document.sections.end(),
                  [](const toml::Section& section) { return section.entries.empty(); });
  if (nothing_but_comments && document.sections.size() == 1)
    document =
        toml::Document::parse(text = text + (text.ends_with('\n') ? "" : "\n") + "version = 2\n", path);
  auto all = with_imports({path, document, registry_table(document, path)}, files);
  auto there = mirror_folders(all);
  const auto& counts = all[there.counts];
  auto certs = there.config_path;
  // Of several folders containerd looks into the first one first.
  if (auto colon = certs.find(':'); colon != std::string::npos) {
    plan.notes.push_back(
        fmt::format("{}: config_path = \"{}\" names several folders. Where pulls run through "
                    "containerd's transfer service (2.x), it takes them as one name and asks no "
                    "mirror: keep one folder, or set use_local_image_pull = true.",
                    there.where, certs));
  }
  Old old;
  auto whole_path = certs.empty() ? kCertsFolder : certs;
  if (certs.empty() || there.hidden(all)) {
    for (const auto& file : all) {
      auto after = file.document.text;
      if (certs.empty()) after = take_old(after, file.path, file.registry, old, plan);
      if (&file == &counts)
        after = toml::set(toml::Document::parse(after, file.path), file.registry, "config_path",
                          toml::quoted(whole_path));
      if (after != file.document.text) plan.files[file.path] = after;
    }
    if (counts.path != path)
      plan.notes.push_back(
          fmt::format("{} is imported by {} and says something of the plugin that pulls, which containerd "
                      "1.x then takes from "
                      "there alone: config_path has been put there. Whatever else writes that file may take "
                      "it out again.",
                      counts.path, path));
  }
  certs = whole_path.substr(0, whole_path.find(':'));
  if (!certs.starts_with('/'))
    throw Refusal(kNotEditable,
                  fmt::format("{}: config_path = \"{}\" does not begin with /, so that where it "
                              "is depends on where containerd was started; write the whole path",
                              path, certs));
  while (certs.size() > 1 && certs.ends_with('/')) certs.pop_back();
  if (disables_cri(document))
    plan.notes.push_back(
        fmt::format("{} disables the CRI plugin: Kubernetes cannot use this containerd, and only "
                    "pulls with --hosts-dir {} go through d7yd.",
                    path, certs));
  auto registries = settings.registries;
  for (const auto& [host, mirror] : old.mirrors)
    if (host != "*" && std::none_of(registries.begin(), registries.end(),
                                    [&](const Registry& known) { return known.host == host; }))
      registries.push_back(registry_named(host));
  if (settings.all_registries || old.mirrors.contains("*")) {
    Registry any;
    any.host = "_default";
    any.server.clear();  // the proxy learns it from the parameter 'ns'
    registries.push_back(any);
  }
  for (const auto& registry : registries) {
    auto file = folder_of(certs, registry.host, files) + "/hosts.toml";
    auto mirror = old.mirrors.find(registry.host == "_default" ? "*" : registry.host);
    plan.files[file] = edit_hosts(files.read(file).value_or(""), file, settings, registry, old,
                                  mirror == old.mirrors.end() ? nullptr : &mirror->second);
    if ((registry.skip_verify || !registry.ca.empty()) && settings.proxy.starts_with("http://"))
      plan.notes.push_back(
          fmt::format("{}: skipVerify and ca are left out, because {} has no TLS and containerd would"
                      " try it first.",
                      file, settings.proxy));
  }
  plan.notes.push_back(
      fmt::format("ctr reads none of this by itself: ctr image pull --hosts-dir {} IMAGE", certs));
  plan.restart_command = "systemctl restart containerd";
  return plan;
}

}  // namespace tools::runtime
