// Makes certificates for host names out of an authority whose key we hold: for a proxy whose clients trust
// it.
//
//   TRY(auto issuer, CertificateIssuer::make({.certificate_pem = ca, .key_pem = ca_key}));
//   TRY(auto identity, issuer.issue("example.org", world.wall_now()));
#pragma once

#include <memory>

#include "net/tls/tls.h"

namespace d7y::net {

class CertificateIssuer {
 public:
  // kInvalid: no certificate or key in the PEM, they do not belong together, or it may not sign others.
  static Result<CertificateIssuer> make(const TlsIdentity& authority);
  ~CertificateIssuer();
  CertificateIssuer(CertificateIssuer&&) noexcept;
  CertificateIssuer& operator=(CertificateIssuer&&) noexcept;

  // A certificate for `host` (a name, or an IP literal without brackets), good for some weeks from now and
  // no longer than the authority itself. All share one key of this process.
  Result<TlsIdentity> issue(const std::string& host, WallTime now) const;

 private:
  struct Inside;
  explicit CertificateIssuer(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

}  // namespace d7y::net
