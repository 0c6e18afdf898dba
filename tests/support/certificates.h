// Certificates for tests, made with BoringSSL: an authority and what it signs.
#pragma once

#include <openssl/bio.h>
#include <openssl/ec_key.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <string>

#include "base/deadline.h"
#include "net/tls/tls.h"

namespace d7y::test {

struct CertificateWish {
  std::string common_name = "test";
  std::string alternative_names;  // "DNS:a.test,IP:10.0.0.1"
  WallTime from = WallTime(std::chrono::seconds(1'700'000'000));
  WallTime until = WallTime(std::chrono::seconds(2'500'000'000));
};

class Authority {
 public:
  explicit Authority(const std::string& name = "Test Authority") : key_(make_key()) {
    CertificateWish wish;
    wish.common_name = name;
    certificate_ = make(wish, key_.get(), nullptr, key_.get(), true);
  }

  std::string pem() const { return to_pem(certificate_.get()); }
  // With the key: what signs.
  net::TlsIdentity identity() const { return {pem(), key_pem(key_.get())}; }

  net::TlsIdentity issue(const CertificateWish& wish) const {
    auto key = make_key();
    auto certificate = make(wish, key.get(), certificate_.get(), key_.get(), false);
    return {to_pem(certificate.get()), key_pem(key.get())};
  }

 private:
  static bssl::UniquePtr<EVP_PKEY> make_key() {
    bssl::UniquePtr<EC_KEY> ec(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
    EC_KEY_generate_key(ec.get());
    bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
    EVP_PKEY_set1_EC_KEY(key.get(), ec.get());
    return key;
  }
  static std::string contents(BIO* bio) {
    const std::uint8_t* data = nullptr;
    std::size_t length = 0;
    BIO_mem_contents(bio, &data, &length);
    return std::string(reinterpret_cast<const char*>(data), length);
  }
  static std::string key_pem(EVP_PKEY* key) {
    bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
    return contents(bio.get());
  }
  static std::string to_pem(X509* certificate) {
    bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(bio.get(), certificate);
    return contents(bio.get());
  }
  static void extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer != nullptr ? issuer : certificate, certificate, nullptr, nullptr, 0);
    bssl::UniquePtr<X509_EXTENSION> extension(X509V3_EXT_nconf_nid(nullptr, &context, nid, value.c_str()));
    if (extension) X509_add_ext(certificate, extension.get(), -1);
  }
  static bssl::UniquePtr<X509> make(const CertificateWish& wish, EVP_PKEY* key, X509* issuer,
                                    EVP_PKEY* signer, bool authority) {
    static long serial = 1000;
    bssl::UniquePtr<X509> certificate(X509_new());
    X509_set_version(certificate.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial);
    auto* name = X509_get_subject_name(certificate.get());
    X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                               reinterpret_cast<const std::uint8_t*>(wish.common_name.data()),
                               static_cast<ossl_ssize_t>(wish.common_name.size()), -1, 0);
    X509_set_issuer_name(certificate.get(), issuer != nullptr ? X509_get_subject_name(issuer) : name);
    const auto set = [](ASN1_TIME* out, WallTime time) {
      ASN1_TIME_set_posix(out, std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count());
    };
    set(X509_getm_notBefore(certificate.get()), wish.from);
    set(X509_getm_notAfter(certificate.get()), wish.until);
    X509_set_pubkey(certificate.get(), key);
    extend(certificate.get(), issuer, NID_basic_constraints, authority ? "critical,CA:TRUE" : "CA:FALSE");
    if (!wish.alternative_names.empty()) {
      extend(certificate.get(), issuer, NID_subject_alt_name, wish.alternative_names);
    }
    X509_sign(certificate.get(), signer, EVP_sha256());
    return certificate;
  }

  bssl::UniquePtr<EVP_PKEY> key_;
  bssl::UniquePtr<X509> certificate_;
};

}  // namespace d7y::test
