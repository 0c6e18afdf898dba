// TLS 1.2 and 1.3 over any stream of the world, on BoringSSL.
//
//   TRY(auto roots, net::load_system_roots(world.files(), {}));
//   TRY(auto context, net::TlsContext::client({.trust_pem = roots}));
//   CO_TRY(auto stream, co_await net::tls_connect(std::move(tcp), context, options, deadline));
//
// Verification is on unless somebody turns it off by name. Errors say which certificate was
// refused and why: expired, unknown authority, or another name than the one wanted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "base/task.h"
#include "world/files.h"
#include "world/network.h"

namespace d7y::net {

enum class TlsVersion : std::uint8_t { k12, k13 };

// A certificate chain (leaf first) and its private key, both PEM.
struct TlsIdentity {
  std::string certificate_pem;
  std::string key_pem;
};

struct TlsClientOptions {
  // Off: any certificate is taken. For tests and for those who ask for it by name.
  bool verify = true;
  // PEM bundles of the authorities to trust. With `verify` at least one certificate is needed.
  std::vector<std::string> trust_pem;
  std::optional<TlsIdentity> identity;  // shown to servers that ask
  TlsVersion min_version = TlsVersion::k12;
  std::size_t kept_sessions = 256;  // for resumption; 0: off
};

enum class ClientCertificates : std::uint8_t { kIgnored, kOptional, kRequired };

struct TlsServerOptions {
  TlsIdentity identity;
  ClientCertificates clients = ClientCertificates::kIgnored;
  std::vector<std::string> client_trust_pem;  // authorities of clients, needed unless kIgnored
  TlsVersion min_version = TlsVersion::k12;
  std::vector<std::string> alpn;  // accepted protocols, most wanted first; none of them offered: no ALPN
  bool tickets = true;            // session resumption
};

// Keys, trust and sessions shared by many connections. Immutable but for the session cache;
// thread-safe.
class TlsContext {
 public:
  // kInvalid: no certificate in the PEM, key and certificate do not belong together, ...
  static Result<std::shared_ptr<TlsContext>> client(TlsClientOptions options);
  static Result<std::shared_ptr<TlsContext>> server(TlsServerOptions options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  bool is_server() const;

  struct Inside;
  Inside& inside() const { return *inside_; }

 private:
  explicit TlsContext(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

// Where the system keeps its root certificates. A value of SSL_CERT_FILE or SSL_CERT_DIR, where the
// caller found one, comes instead of the well-known places of Debian, RHEL, Alpine and SUSE.
struct RootPlaces {
  std::string file;    // SSL_CERT_FILE
  std::string folder;  // SSL_CERT_DIR, several separated by ':'
};
// PEM bundles; kNotFound names the places tried.
Result<std::vector<std::string>> load_system_roots(world::Files& files, const RootPlaces& places);
// One PEM file. kNotFound, kPermission, kTooLarge (16 MiB), kInvalid when it holds no PEM block.
Result<std::string> load_pem(world::Files& files, const std::string& path);

// Paths of a certificate authority, a certificate and its key, for two sides that know each other by the
// authority that signed both. Used only if all three are set.
struct TlsFiles {
  std::string ca, certificate, key;
  bool any() const { return !ca.empty() || !certificate.empty() || !key.empty(); }
  bool complete() const { return !ca.empty() && !certificate.empty() && !key.empty(); }
};
// A gRPC server that demands a certificate of its clients, and the client of such a server. Errors as of
// load_pem, or kInvalid when key and certificate do not belong together.
Result<std::shared_ptr<TlsContext>> mutual_tls_server(world::Files& files, const TlsFiles& paths);
Result<std::shared_ptr<TlsContext>> mutual_tls_client(world::Files& files, const TlsFiles& paths);

class TlsStream final : public world::Stream {
 public:
  struct Inside;
  explicit TlsStream(std::unique_ptr<Inside> inside);
  ~TlsStream() override;

  // After kWouldBlock the next write must begin with the same bytes (or the same piece of a file):
  // part of them may already be encrypted.
  world::Transfer try_read(MutableBytes buffer) override;
  world::Transfer try_write(std::span<const Bytes> parts, bool more) override;
  world::Transfer try_send_file(world::File& file, std::uint64_t offset, std::uint64_t length) override;
  Signal& readable() override;
  Signal& writable() override;
  Error error() const override;
  // Sends close_notify, then ends the stream below. An end without close_notify from the other side
  // is a truncation: reading fails with kReset.
  void finish_writing() override;
  void abort() override;
  Address local() const override;
  Address remote() const override;

  std::string alpn() const;  // the chosen protocol; empty: none
  TlsVersion version() const;
  std::string cipher() const;  // "TLS_AES_128_GCM_SHA256"
  bool resumed() const;
  std::string peer_subject() const;          // "CN=...", empty without a certificate
  std::string peer_certificate_pem() const;  // chain, leaf first; empty without

 private:
  std::unique_ptr<Inside> inside_;
};

struct TlsConnectOptions {
  // The name (sent as SNI) or IP literal (without brackets) that the certificate must be for.
  std::string server_name;
  WallTime now{};                 // the world's time, for validity periods
  std::vector<std::string> alpn;  // offered protocols, most wanted first
  std::string session_group;      // sessions are resumed only within one server_name and group
};

// Handshakes as client. kUnauthenticated: the certificate was refused, or ours was. kProtocol: no
// TLS there, no common version or cipher. kTimeout, kReset.
Task<Result<std::unique_ptr<TlsStream>>> tls_connect(std::unique_ptr<world::Stream> stream,
                                                     std::shared_ptr<TlsContext> context,
                                                     TlsConnectOptions options, Deadline deadline);
// Handshakes as server.
Task<Result<std::unique_ptr<TlsStream>>> tls_accept(std::unique_ptr<world::Stream> stream,
                                                    std::shared_ptr<TlsContext> context, WallTime now,
                                                    Deadline deadline);

// For ports that serve TLS and plaintext: waits for the first byte and tells which it is. The
// returned stream yields that byte again. An end before it is kReset.
struct Sniffed {
  std::unique_ptr<world::Stream> stream;
  bool tls = false;
};
Task<Result<Sniffed>> sniff_tls(std::unique_ptr<world::Stream> stream, Deadline deadline);

}  // namespace d7y::net
