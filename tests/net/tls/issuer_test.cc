#include "net/tls/issuer.h"

#include <doctest/doctest.h>
#include <openssl/x509.h>

#include "support/certificates.h"

using namespace d7y;

namespace {

WallTime now() { return WallTime(std::chrono::seconds(1'800'000'000)); }

net::TlsIdentity authority_identity(bool may_sign = true) {
  bssl::UniquePtr<EC_KEY> ec(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
  EC_KEY_generate_key(ec.get());
  test::Authority root;
  if (!may_sign) return root.issue({.common_name = "leaf"});
  return root.identity();
}

bssl::UniquePtr<X509> read(const std::string& pem) {
  bssl::UniquePtr<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<ossl_ssize_t>(pem.size())));
  return bssl::UniquePtr<X509>(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

}  // namespace

TEST_CASE("certificates of an issuer are for the host asked for and no other, and signed by the authority") {
  auto authority = authority_identity();
  auto issuer = net::CertificateIssuer::make(authority);
  REQUIRE_MESSAGE(issuer.ok(), issuer.error().message());
  for (std::string host :
       {"example.org", "10.1.2.3", "2001:db8::1",
        "a-very-long-name-that-no-common-name-can-hold.below-another-long-name.example.org"}) {
    CAPTURE(host);
    auto identity = issuer->issue(host, now());
    REQUIRE(identity.ok());
    auto leaf = read(identity->certificate_pem);
    REQUIRE(leaf);
    const bool ip = host.find_first_not_of("0123456789abcdef:.") == std::string::npos;
    auto matches = [&](const std::string& name) {
      return ip ? X509_check_ip_asc(leaf.get(), name.c_str(), 0) == 1
                : X509_check_host(leaf.get(), name.data(), name.size(), 0, nullptr) == 1;
    };
    CHECK(matches(host));
    CHECK_FALSE(matches(ip ? "10.9.9.9" : "other.org"));
    bssl::UniquePtr<EVP_PKEY> key(X509_get_pubkey(read(authority.certificate_pem).get()));
    CHECK(X509_verify(leaf.get(), key.get()) == 1);
    CHECK(net::TlsContext::server({.identity = *identity}).ok());
  }
  CHECK(issuer->issue("a.test", now())->certificate_pem != issuer->issue("a.test", now())->certificate_pem);
}

TEST_CASE("what cannot sign is no authority") {
  CHECK(net::CertificateIssuer::make({"", ""}).failed_with(ErrorCode::kInvalid));
  CHECK(net::CertificateIssuer::make(authority_identity(false)).failed_with(ErrorCode::kInvalid));
  auto one = authority_identity(), other = authority_identity();
  CHECK(net::CertificateIssuer::make({one.certificate_pem, other.key_pem}).failed_with(ErrorCode::kInvalid));
}
