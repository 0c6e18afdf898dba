#include "net/tls/tls.h"

namespace d7y::net {
namespace {

struct Loaded {
  TlsIdentity identity;
  std::string authority;
};

Result<Loaded> load(world::Files& files, const TlsFiles& paths) {
  Loaded out;
  TRY(out.identity.certificate_pem, load_pem(files, paths.certificate));
  TRY(out.identity.key_pem, load_pem(files, paths.key));
  TRY(out.authority, load_pem(files, paths.ca));
  return out;
}

}  // namespace

Result<std::shared_ptr<TlsContext>> mutual_tls_server(world::Files& files, const TlsFiles& paths) {
  TRY(auto loaded, load(files, paths));
  TlsServerOptions options;
  options.identity = std::move(loaded.identity);
  options.client_trust_pem.push_back(std::move(loaded.authority));
  options.clients = ClientCertificates::kRequired;
  options.alpn = {"h2"};
  return TlsContext::server(std::move(options));
}

Result<std::shared_ptr<TlsContext>> mutual_tls_client(world::Files& files, const TlsFiles& paths) {
  TRY(auto loaded, load(files, paths));
  TlsClientOptions options;
  options.identity = std::move(loaded.identity);
  options.trust_pem.push_back(std::move(loaded.authority));
  return TlsContext::client(std::move(options));
}

}  // namespace d7y::net
