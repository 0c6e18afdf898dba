#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>

#include "base/address.h"
#include "net/tls/inside.h"

namespace d7y::net {
namespace {

std::string last_ssl_error() {
  const auto code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown";
}

bssl::UniquePtr<BIO> memory(std::string_view text) {
  return bssl::UniquePtr<BIO>(BIO_new_mem_buf(text.data(), static_cast<ossl_ssize_t>(text.size())));
}

// All certificates of a PEM text, other blocks skipped.
Result<std::vector<bssl::UniquePtr<X509>>> read_certificates(std::string_view pem, std::string_view what) {
  std::vector<bssl::UniquePtr<X509>> all;
  auto bio = memory(pem);
  while (true) {
    bssl::UniquePtr<X509> certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!certificate) break;
    all.push_back(std::move(certificate));
  }
  const auto code = ERR_peek_last_error();
  ERR_clear_error();
  const bool at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  if (!at_end) {
    return error(ErrorCode::kInvalid, "{}: certificate {} in the PEM text is damaged", what, all.size() + 1);
  }
  if (all.empty()) return error(ErrorCode::kInvalid, "{}: no PEM certificate in it", what);
  return all;
}

Result<void> use_identity(SSL_CTX* ssl, const TlsIdentity& identity) {
  TRY(auto chain, read_certificates(identity.certificate_pem, "own certificate"));
  auto bio = memory(identity.key_pem);
  const auto no_password = [](char*, int, int, void*) { return 0; };
  bssl::UniquePtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key) {
    ERR_clear_error();
    return error(ErrorCode::kInvalid, "own key: no unencrypted PEM private key in it");
  }
  if (SSL_CTX_use_certificate(ssl, chain.front().get()) != 1) {
    return error(ErrorCode::kInvalid, "own certificate cannot be used: {}", last_ssl_error());
  }
  for (std::size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(ssl, chain[i].get());
  if (SSL_CTX_use_PrivateKey(ssl, key.get()) != 1 || SSL_CTX_check_private_key(ssl) != 1) {
    ERR_clear_error();
    return error(ErrorCode::kInvalid, "own key and certificate do not belong together");
  }
  return {};
}

Result<std::size_t> add_trust(SSL_CTX* ssl, const std::vector<std::string>& bundles, bool name_to_clients) {
  X509_STORE* store = SSL_CTX_get_cert_store(ssl);
  bssl::UniquePtr<STACK_OF(X509_NAME)> names(sk_X509_NAME_new_null());
  std::size_t count = 0;
  for (const auto& pem : bundles) {
    TRY(auto certificates, read_certificates(pem, "trusted authorities"));
    for (auto& certificate : certificates) {
      X509_STORE_add_cert(store, certificate.get());
      ++count;
      if (!name_to_clients) continue;
      bssl::UniquePtr<X509_NAME> name(X509_NAME_dup(X509_get_subject_name(certificate.get())));
      if (name) bssl::PushToStack(names.get(), std::move(name));
    }
  }
  ERR_clear_error();
  if (name_to_clients) SSL_CTX_set_client_CA_list(ssl, names.release());
  return count;
}

// The names a certificate is for, as they may stand in a message.
std::string names_of(X509* certificate) {
  std::string list;
  std::size_t count = 0;
  bssl::UniquePtr<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!names) return "no name at all";
  for (std::size_t i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    std::string text;
    if (name->type == GEN_DNS) {
      const auto* value = name->d.dNSName;
      for (int k = 0; k < ASN1_STRING_length(value); ++k) {
        const unsigned char c = ASN1_STRING_get0_data(value)[k];
        text += c > ' ' && c < 0x7f ? static_cast<char>(c) : '?';
      }
    } else if (name->type == GEN_IPADD) {
      const auto* value = name->d.iPAddress;
      const auto* octets = ASN1_STRING_get0_data(value);
      if (ASN1_STRING_length(value) == 4) {
        std::array<std::uint8_t, 4> ip{};
        std::copy_n(octets, 4, ip.begin());
        text = Address::ipv4(ip, 0).ip();
      } else if (ASN1_STRING_length(value) == 16) {
        std::array<std::uint8_t, 16> ip{};
        std::copy_n(octets, 16, ip.begin());
        text = Address::ipv6(ip, 0).ip();
      }
    }
    if (text.empty()) continue;
    if (++count > 8) return list + ", ...";
    if (!list.empty()) list += ", ";
    list += text.substr(0, 128);
  }
  return list.empty() ? "no name at all" : list;
}

std::string name_text(const X509_NAME* name) {
  char text[256] = {};
  X509_NAME_oneline(name, text, sizeof text);
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  }
  return out;
}

std::string time_text(const ASN1_TIME* time) {
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(bio.get(), time);
  const std::uint8_t* data = nullptr;
  std::size_t length = 0;
  BIO_mem_contents(bio.get(), &data, &length);
  return std::string(reinterpret_cast<const char*>(data), length);
}

std::string reason_of(int code, X509* certificate, const std::string& wanted) {
  if (certificate == nullptr) return X509_verify_cert_error_string(code);
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{} expired on {}", name_text(X509_get_subject_name(certificate)),
                         time_text(X509_get0_notAfter(certificate)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} is valid only from {}", name_text(X509_get_subject_name(certificate)),
                         time_text(X509_get0_notBefore(certificate)));
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return fmt::format("it is for {}, not for {}", names_of(certificate), wanted);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
      return fmt::format(
          "it was signed by an unknown authority, {}; trust that authority's certificate if it is right",
          name_text(X509_get_issuer_name(certificate)));
    default: return X509_verify_cert_error_string(code);
  }
}

// Notes why verification fails, so that the error can say it.
int on_verify(int ok, X509_STORE_CTX* store) {
  if (ok == 1) return ok;
  const auto* ssl =
      static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& inside = TlsStream::Inside::of(ssl);
  if (!inside.refusal) {
    const int code = X509_STORE_CTX_get_error(store);
    inside.refusal = Refusal{code, reason_of(code, X509_STORE_CTX_get_current_cert(store), inside.peer_name)};
  }
  return ok;
}

void on_current_time(const SSL*, timeval* out) {
  out->tv_sec = std::chrono::floor<std::chrono::seconds>(TimeOf::current()).time_since_epoch().count();
  out->tv_usec = 0;
}

int on_new_session(SSL* ssl, SSL_SESSION* session) {
  auto& inside = TlsStream::Inside::of(ssl);
  inside.context->inside().sessions.put(inside.session_key, bssl::UniquePtr<SSL_SESSION>(session));
  return 1;  // ours now
}

int on_alpn(SSL*, const std::uint8_t** out, std::uint8_t* out_length, const std::uint8_t* offered,
            unsigned offered_length, void* argument) {
  const auto& wanted = *static_cast<const std::string*>(argument);
  // Our order decides.
  for (std::size_t i = 0; i < wanted.size(); i += 1 + static_cast<std::uint8_t>(wanted[i])) {
    const std::string_view ours(wanted.data() + i + 1, static_cast<std::uint8_t>(wanted[i]));
    for (std::size_t k = 0; k < offered_length; k += 1 + std::size_t{offered[k]}) {
      if (k + 1 + offered[k] > offered_length) break;
      if (ours == std::string_view(reinterpret_cast<const char*>(offered + k + 1), offered[k])) {
        *out = offered + k + 1;
        *out_length = offered[k];
        return SSL_TLSEXT_ERR_OK;
      }
    }
  }
  return SSL_TLSEXT_ERR_NOACK;
}

Result<bssl::UniquePtr<SSL_CTX>> make_ssl(TlsVersion min_version) {
  bssl::UniquePtr<SSL_CTX> ssl(SSL_CTX_new(TLS_method()));
  if (!ssl) return error(ErrorCode::kInternal, "TLS cannot be set up: {}", last_ssl_error());
  SSL_CTX_set_min_proto_version(ssl.get(), min_version == TlsVersion::k13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(ssl.get(), TLS1_3_VERSION);
  SSL_CTX_set_mode(ssl.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_current_time_cb(ssl.get(), on_current_time);
  // A certificate that was trusted by itself needs no authority above it.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl.get()),
                              X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
  return ssl;
}

thread_local WallTime time_now{};

}  // namespace

TimeOf::TimeOf(const TlsStream::Inside& inside) : outer_(std::exchange(time_now, inside.now)) {}
TimeOf::~TimeOf() { time_now = outer_; }
WallTime TimeOf::current() { return time_now; }

void SessionCache::put(const std::string& key, bssl::UniquePtr<SSL_SESSION> session) {
  if (capacity_ == 0) return;
  const std::lock_guard lock(mutex_);
  entries_.push_front(Entry{key, std::move(session)});
  if (entries_.size() > capacity_) entries_.pop_back();
}

bssl::UniquePtr<SSL_SESSION> SessionCache::take(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](auto& e) { return e.key == key; });
  if (found == entries_.end()) return nullptr;
  if (SSL_SESSION_should_be_single_use(found->session.get()) == 0) return bssl::UpRef(found->session);
  auto session = std::move(found->session);
  entries_.erase(found);
  return session;
}

TlsContext::TlsContext(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsContext::~TlsContext() = default;
bool TlsContext::is_server() const { return inside_->server; }

Result<std::shared_ptr<TlsContext>> TlsContext::client(TlsClientOptions options) {
  TRY(auto ssl, make_ssl(options.min_version));
  auto inside = std::make_unique<Inside>();
  if (options.verify) {
    TRY(const auto count, add_trust(ssl.get(), options.trust_pem, false));
    if (count == 0) {
      return error(
          ErrorCode::kInvalid,
          "TLS client without any trusted authority; give root certificates or turn verification off");
    }
  }
  SSL_CTX_set_verify(ssl.get(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, on_verify);
  if (options.identity) TRY_OK(use_identity(ssl.get(), *options.identity));
  if (options.kept_sessions > 0) {
    SSL_CTX_set_session_cache_mode(ssl.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl.get(), on_new_session);
  }
  inside->sessions.set_capacity(options.kept_sessions);
  inside->ssl = std::move(ssl);
  return std::shared_ptr<TlsContext>(new TlsContext(std::move(inside)));
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(TlsServerOptions options) {
  TRY(auto ssl, make_ssl(options.min_version));
  auto inside = std::make_unique<Inside>();
  inside->server = true;
  TRY_OK(use_identity(ssl.get(), options.identity));
  if (options.clients != ClientCertificates::kIgnored) {
    TRY(const auto count, add_trust(ssl.get(), options.client_trust_pem, true));
    if (count == 0) {
      return error(ErrorCode::kInvalid,
                   "TLS server asks for client certificates but trusts no authority of them");
    }
    const int must = options.clients == ClientCertificates::kRequired ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(ssl.get(), SSL_VERIFY_PEER | must, on_verify);
  }
  for (const auto& protocol : options.alpn) {
    if (protocol.empty() || protocol.size() > 255)
      return error(ErrorCode::kInvalid, "ALPN protocol of bad length");
    inside->alpn_wire += static_cast<char>(protocol.size());
    inside->alpn_wire += protocol;
  }
  if (!inside->alpn_wire.empty()) SSL_CTX_set_alpn_select_cb(ssl.get(), on_alpn, &inside->alpn_wire);
  if (options.tickets) {
    constexpr std::uint8_t kSessionContext[] = {'d', '7', 'y'};
    SSL_CTX_set_session_id_context(ssl.get(), kSessionContext, sizeof kSessionContext);
  } else {
    SSL_CTX_set_options(ssl.get(), SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ssl.get(), SSL_SESS_CACHE_OFF);
  }
  inside->ssl = std::move(ssl);
  return std::shared_ptr<TlsContext>(new TlsContext(std::move(inside)));
}

}  // namespace d7y::net
