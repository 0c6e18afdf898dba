#include <algorithm>
#include <array>

#include "net/tls/tls.h"

namespace d7y::net {
namespace {

constexpr std::uint64_t kMostPemBytes = 16 << 20;

// Debian, Ubuntu, Arch, Gentoo; RHEL and Fedora, old and new; SUSE; Alpine and the BSDs.
constexpr std::array<const char*, 5> kBundles = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
};
constexpr const char* kFolder = "/etc/ssl/certs";

// All PEM files of a folder as one bundle; empty if there are none.
std::string load_folder(world::Files& files, const std::string& folder) {
  std::string all;
  auto names = files.list(folder);
  if (!names) return all;
  for (const auto& name : *names) {
    auto pem = load_pem(files, folder + "/" + name);
    if (!pem || pem->find("BEGIN CERTIFICATE") == std::string::npos) continue;
    if (all.size() + pem->size() > kMostPemBytes) break;
    all += *pem + "\n";
  }
  return all;
}

}  // namespace

Result<std::string> load_pem(world::Files& files, const std::string& path) {
  const auto in = [&](Error error) { return std::move(error).in("reading PEM file " + path); };
  auto status = files.status(path);
  if (!status) return in(std::move(status).error());
  if (status->kind == world::FileKind::kFolder)
    return error(ErrorCode::kInvalid, "PEM file {} is a folder", path);
  if (status->size > kMostPemBytes)
    return error(ErrorCode::kTooLarge, "PEM file {} has {} bytes", path, status->size);
  auto file = files.open(path, world::OpenMode::kRead);
  if (!file) return in(std::move(file).error());
  std::string text(status->size, '\0');
  auto got = (*file)->read_at(0, as_mutable_bytes(text));
  if (!got) return in(std::move(got).error());
  text.resize(*got);
  if (text.find("-----BEGIN ") == std::string::npos) {
    return error(ErrorCode::kInvalid, "file {} holds no PEM block (-----BEGIN ...)", path);
  }
  return text;
}

Result<std::vector<std::string>> load_system_roots(world::Files& files, const RootPlaces& places) {
  std::vector<std::string> roots;
  if (!places.file.empty()) {
    TRY(auto pem, load_pem(files, places.file));
    roots.push_back(std::move(pem));
  }
  for (std::string_view rest = places.folder; !rest.empty();) {
    const auto colon = rest.find(':');
    if (auto all = load_folder(files, std::string(rest.substr(0, colon))); !all.empty())
      roots.push_back(std::move(all));
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
  }
  if (!roots.empty()) return roots;
  if (!places.folder.empty()) {
    return error(ErrorCode::kNotFound, "no certificate in {} (SSL_CERT_DIR)", places.folder);
  }
  for (const auto* bundle : kBundles) {
    if (auto pem = load_pem(files, bundle)) return std::vector<std::string>{std::move(pem).value()};
  }
  if (auto all = load_folder(files, kFolder); !all.empty()) return std::vector<std::string>{std::move(all)};
  std::string tried;
  for (const auto* bundle : kBundles) tried.append(bundle).append(", ");
  return error(
      ErrorCode::kNotFound,
      "no root certificates found (looked at {}{}); install ca-certificates or name a file in SSL_CERT_FILE",
      tried, kFolder);
}

}  // namespace d7y::net
