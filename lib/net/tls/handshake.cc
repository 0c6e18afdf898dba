#include <openssl/err.h>

#include "base/address.h"
#include "net/tls/inside.h"
#include "net/tls/prefixed_stream.h"

namespace d7y::net {
namespace {

using State = world::Transfer::State;

int step(TlsStream::Inside& inside) {
  const TimeOf clock(inside);
  ERR_clear_error();
  return SSL_do_handshake(inside.ssl.get());
}

Task<Result<void>> shake_hands(TlsStream::Inside& inside, std::string doing, Deadline deadline) {
  while (true) {
    std::optional<Error> refused;
    const int done = step(inside);
    if (done != 1) {
      const int why = SSL_get_error(inside.ssl.get(), done);
      if (why != SSL_ERROR_WANT_READ) refused = inside.describe_failure(doing, why);
    }
    // Also an alert that says why we refuse goes out.
    while (inside.flush(false) == State::kWouldBlock) {
      auto woken = co_await inside.stream->writable().wait(deadline);
      if (!woken) co_return std::move(woken).error().in(doing);
    }
    if (refused) co_return std::move(*refused);
    if (inside.failure) co_return inside.failure->clone().in(doing);
    if (done == 1) co_return Result<void>{};
    auto woken = co_await inside.stream->readable().wait(deadline);
    if (!woken) co_return std::move(woken).error().in(doing);
  }
}

Result<void> offer_alpn(SSL* ssl, const std::vector<std::string>& protocols) {
  std::string wire;
  for (const auto& protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255)
      return error(ErrorCode::kInvalid, "ALPN protocol of bad length");
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  if (!wire.empty()) {
    SSL_set_alpn_protos(ssl, reinterpret_cast<const std::uint8_t*>(wire.data()), wire.size());
  }
  return {};
}

// Makes the name both what is asked for (SNI) and what the certificate must be for.
Result<void> expect_name(SSL* ssl, const std::string& name) {
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(param,
                                  X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (auto address = Address::parse_ip(name, 0)) {
    const auto octets = address->octets();
    if (X509_VERIFY_PARAM_set1_ip(param, reinterpret_cast<const std::uint8_t*>(octets.data()),
                                  octets.size()) == 1) {
      return {};
    }
  } else {
    auto host = name;
    if (host.ends_with('.')) host.pop_back();
    if (!host.empty() && SSL_set_tlsext_host_name(ssl, host.c_str()) == 1 &&
        X509_VERIFY_PARAM_set1_host(param, host.data(), host.size()) == 1) {
      return {};
    }
  }
  ERR_clear_error();
  return error(ErrorCode::kInvalid, "\"{}\" is no name that a certificate could be for", name);
}

void set_time(SSL* ssl, WallTime now) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  X509_VERIFY_PARAM_set_time_posix(SSL_get0_param(ssl), seconds);
}

}  // namespace

Task<Result<std::unique_ptr<TlsStream>>> tls_connect(std::unique_ptr<world::Stream> stream,
                                                     std::shared_ptr<TlsContext> context,
                                                     TlsConnectOptions options, Deadline deadline) {
  Loop& loop = co_await this_loop();
  if (context == nullptr || context->is_server()) {
    co_return error(ErrorCode::kInvalid, "tls_connect needs a client's context");
  }
  auto inside = std::make_unique<TlsStream::Inside>(std::move(stream), context, loop);
  SSL* ssl = inside->ssl.get();
  inside->now = options.now;
  inside->peer_name = options.server_name;
  inside->session_key = options.server_name + "\n" + options.session_group;
  CO_OK(expect_name(ssl, options.server_name));
  CO_OK(offer_alpn(ssl, options.alpn));
  set_time(ssl, options.now);
  if (auto session = context->inside().sessions.take(inside->session_key))
    SSL_set_session(ssl, session.get());
  SSL_set_connect_state(ssl);
  std::string doing = "TLS handshake with " + options.server_name;
  auto done = co_await shake_hands(*inside, std::move(doing), deadline);
  if (!done) co_return std::move(done).error();
  co_return std::make_unique<TlsStream>(std::move(inside));
}

Task<Result<std::unique_ptr<TlsStream>>> tls_accept(std::unique_ptr<world::Stream> stream,
                                                    std::shared_ptr<TlsContext> context, WallTime now,
                                                    Deadline deadline) {
  Loop& loop = co_await this_loop();
  if (context == nullptr || !context->is_server()) {
    co_return error(ErrorCode::kInvalid, "tls_accept needs a server's context");
  }
  const auto from = stream->remote().to_string();
  auto inside = std::make_unique<TlsStream::Inside>(std::move(stream), std::move(context), loop);
  inside->now = now;
  set_time(inside->ssl.get(), now);
  SSL_set_accept_state(inside->ssl.get());
  std::string doing = "TLS handshake with " + from;
  auto done = co_await shake_hands(*inside, std::move(doing), deadline);
  if (!done) co_return std::move(done).error();
  co_return std::make_unique<TlsStream>(std::move(inside));
}

Task<Result<Sniffed>> sniff_tls(std::unique_ptr<world::Stream> stream, Deadline deadline) {
  // A TLS connection begins with a handshake record, whose type is 22; no HTTP/1 method, HTTP/2
  // preface or vortex frame does.
  constexpr std::byte kHandshakeRecord{22};
  std::byte first{};
  auto got = co_await world::read_some(*stream, MutableBytes(&first, 1), deadline);
  if (!got) co_return std::move(got).error();
  if (*got == 0) co_return error(ErrorCode::kReset, "the connection ended before its first byte");
  Sniffed sniffed;
  sniffed.tls = first == kHandshakeRecord;
  sniffed.stream =
      std::make_unique<PrefixedStream>(std::string(1, static_cast<char>(first)), std::move(stream));
  co_return std::move(sniffed);
}

}  // namespace d7y::net
