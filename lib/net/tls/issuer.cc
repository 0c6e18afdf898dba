#include "net/tls/issuer.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/address.h"

namespace d7y::net {
namespace {

constexpr auto kBefore = std::chrono::hours(24);  // for clients whose clocks are behind
constexpr auto kAfter = std::chrono::hours(24 * 30);
constexpr int kSerialBits = 127;
constexpr std::size_t kCommonNameBytes = 64;  // the most that a common name may have

std::string contents(BIO* bio) {
  const std::uint8_t* data = nullptr;
  std::size_t length = 0;
  BIO_mem_contents(bio, &data, &length);
  return std::string(reinterpret_cast<const char*>(data), length);
}

bool add_alternative_name(X509* certificate, const std::string& host) {
  bssl::UniquePtr<GENERAL_NAMES> names(GENERAL_NAMES_new());
  bssl::UniquePtr<GENERAL_NAME> name(GENERAL_NAME_new());
  if (!names || !name) return false;
  if (auto ip = Address::parse_ip(host, 0)) {
    bssl::UniquePtr<ASN1_OCTET_STRING> text(a2i_IPADDRESS(host.c_str()));
    if (!text) return false;
    GENERAL_NAME_set0_value(name.get(), GEN_IPADD, text.release());
  } else {
    bssl::UniquePtr<ASN1_IA5STRING> text(ASN1_IA5STRING_new());
    if (!text || ASN1_STRING_set(text.get(), host.data(), static_cast<ossl_ssize_t>(host.size())) != 1)
      return false;
    GENERAL_NAME_set0_value(name.get(), GEN_DNS, text.release());
  }
  if (sk_GENERAL_NAME_push(names.get(), name.get()) == 0) return false;
  (void)name.release();
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0) == 1;
}

bool add_extension(X509* certificate, X509* authority, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, authority, certificate, nullptr, nullptr, 0);
  bssl::UniquePtr<X509_EXTENSION> extension(X509V3_EXT_nconf_nid(nullptr, &context, nid, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

}  // namespace

struct CertificateIssuer::Inside {
  bssl::UniquePtr<X509> authority;
  bssl::UniquePtr<EVP_PKEY> authority_key, leaf_key;
  std::string authority_pem, leaf_key_pem;
};

CertificateIssuer::CertificateIssuer(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
CertificateIssuer::~CertificateIssuer() = default;
CertificateIssuer::CertificateIssuer(CertificateIssuer&&) noexcept = default;
CertificateIssuer& CertificateIssuer::operator=(CertificateIssuer&&) noexcept = default;

Result<CertificateIssuer> CertificateIssuer::make(const TlsIdentity& authority) {
  auto inside = std::make_unique<Inside>();
  auto read = [](const std::string& pem) {
    return bssl::UniquePtr<BIO>(BIO_new_mem_buf(pem.data(), static_cast<ossl_ssize_t>(pem.size())));
  };
  auto certificate = read(authority.certificate_pem);
  inside->authority.reset(PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr));
  auto key = read(authority.key_pem);
  const auto no_password = [](char*, int, int, void*) { return 0; };
  inside->authority_key.reset(PEM_read_bio_PrivateKey(key.get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  if (!inside->authority) return error(ErrorCode::kInvalid, "authority: no PEM certificate in it");
  if (!inside->authority_key)
    return error(ErrorCode::kInvalid, "authority: no unencrypted PEM private key in it");
  if (X509_check_private_key(inside->authority.get(), inside->authority_key.get()) != 1) {
    ERR_clear_error();
    return error(ErrorCode::kInvalid, "authority: key and certificate do not belong together");
  }
  if (X509_check_ca(inside->authority.get()) != 1)
    return error(ErrorCode::kInvalid, "authority: this certificate may not sign others (CA:TRUE is missing)");

  bssl::UniquePtr<EC_KEY> fresh(EC_KEY_new_by_curve_name(NID_X9_62_prime256v1));
  inside->leaf_key.reset(EVP_PKEY_new());
  bssl::UniquePtr<BIO> out(BIO_new(BIO_s_mem()));
  const bool made = fresh && inside->leaf_key && out && EC_KEY_generate_key(fresh.get()) == 1 &&
                    EVP_PKEY_set1_EC_KEY(inside->leaf_key.get(), fresh.get()) == 1 &&
                    PEM_write_bio_PKCS8PrivateKey(out.get(), inside->leaf_key.get(), nullptr, nullptr, 0,
                                                  nullptr, nullptr) == 1;
  if (!made) return error(ErrorCode::kInternal, "a key for certificates could not be made");
  inside->leaf_key_pem = contents(out.get());
  inside->authority_pem = authority.certificate_pem;
  return CertificateIssuer(std::move(inside));
}

Result<TlsIdentity> CertificateIssuer::issue(const std::string& host, WallTime now) const {
  auto failed = [&] {
    ERR_clear_error();
    return error(ErrorCode::kInternal, "a certificate for {} could not be made", host);
  };
  X509* authority = inside_->authority.get();
  bssl::UniquePtr<X509> leaf(X509_new());
  bssl::UniquePtr<BIGNUM> serial(BN_new());
  if (!leaf || !serial || X509_set_version(leaf.get(), X509_VERSION_3) != 1) return failed();
  if (BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(leaf.get())) == nullptr) {
    return failed();
  }
  auto* name = X509_get_subject_name(leaf.get());
  if (host.size() <= kCommonNameBytes &&
      X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                 reinterpret_cast<const std::uint8_t*>(host.data()),
                                 static_cast<ossl_ssize_t>(host.size()), -1, 0) != 1) {
    return failed();
  }
  const auto seconds = [](WallTime time) {
    return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
  };
  ASN1_TIME_set_posix(X509_getm_notBefore(leaf.get()), seconds(now - kBefore));
  std::int64_t end = seconds(now + kAfter), authority_end = 0;
  if (ASN1_TIME_to_posix(X509_get0_notAfter(authority), &authority_end) == 1)
    end = std::min(end, authority_end);
  ASN1_TIME_set_posix(X509_getm_notAfter(leaf.get()), end);
  const bool made = X509_set_issuer_name(leaf.get(), X509_get_subject_name(authority)) == 1 &&
                    X509_set_pubkey(leaf.get(), inside_->leaf_key.get()) == 1 &&
                    add_extension(leaf.get(), authority, NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(leaf.get(), authority, NID_key_usage, "critical,digitalSignature") &&
                    add_extension(leaf.get(), authority, NID_ext_key_usage, "serverAuth") &&
                    add_alternative_name(leaf.get(), host) &&
                    X509_sign(leaf.get(), inside_->authority_key.get(), EVP_sha256()) > 0;
  if (!made) return failed();
  bssl::UniquePtr<BIO> out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_X509(out.get(), leaf.get()) != 1) return failed();
  return TlsIdentity{contents(out.get()) + inside_->authority_pem, inside_->leaf_key_pem};
}

}  // namespace d7y::net
