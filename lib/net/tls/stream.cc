#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>

#include "net/tls/inside.h"

namespace d7y::net {
namespace {

using State = world::Transfer::State;

constexpr std::size_t kRecordBytes = 16 << 10;  // most plaintext a record holds (RFC 8446 5.1)
constexpr std::size_t kInboxBytes = 64 << 10;   // ciphertext read at once
constexpr std::size_t kBatchBytes = 64 << 10;   // plaintext sealed for one write to the stream below

// One BIO type whose objects are Inside objects.
const BIO_METHOD* bio_method() {
  struct Deleter {
    void operator()(BIO_METHOD* method) const { BIO_meth_free(method); }
  };
  static const auto method = [] {
    std::unique_ptr<BIO_METHOD, Deleter> made(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "d7y stream"));
    BIO_meth_set_read(made.get(), [](BIO* bio, char* out, int size) {
      return static_cast<TlsStream::Inside*>(BIO_get_data(bio))->bio_read(out, size);
    });
    BIO_meth_set_write(made.get(), [](BIO* bio, const char* data, int size) {
      return static_cast<TlsStream::Inside*>(BIO_get_data(bio))->bio_write(data, size);
    });
    BIO_meth_set_ctrl(made.get(),
                      [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH; });
    return made;
  }();
  return method.get();
}

int inside_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// Whether an error code is the other side's complaint about our certificate.
bool is_certificate_alert(int reason) {
  switch (reason) {
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_CERTIFICATE_REQUIRED: return true;
    default: return false;
  }
}

}  // namespace

TlsStream::Inside::Inside(std::unique_ptr<world::Stream> below, std::shared_ptr<TlsContext> owner, Loop& loop)
    : stream(std::move(below)),
      context(std::move(owner)),
      ssl(SSL_new(context->inside().ssl.get())),
      closer(loop) {
  BIO* bio = BIO_new(bio_method());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl.get(), bio, bio);
  SSL_set_ex_data(ssl.get(), inside_index(), this);
}

TlsStream::Inside::~Inside() = default;

TlsStream::Inside& TlsStream::Inside::of(const SSL* ssl) {
  return *static_cast<Inside*>(SSL_get_ex_data(ssl, inside_index()));
}

int TlsStream::Inside::bio_read(char* out, int size) {
  BIO* bio = SSL_get_rbio(ssl.get());
  BIO_clear_retry_flags(bio);
  if (in_begin == in_end) {
    if (!inbox) inbox = std::make_unique_for_overwrite<std::byte[]>(kInboxBytes);
    const auto got = stream->try_read(MutableBytes(inbox.get(), kInboxBytes));
    switch (got.state) {
      case State::kMoved:
        in_begin = 0;
        in_end = got.bytes;
        break;
      case State::kWouldBlock:
        inbox.reset();  // idle connections hold no buffer
        BIO_set_retry_read(bio);
        return -1;
      case State::kEnd: below_ended = true; return 0;
      case State::kFailed: below_failed = true; return -1;
    }
  }
  const auto count = std::min(static_cast<std::size_t>(size), in_end - in_begin);
  std::memcpy(out, inbox.get() + in_begin, count);
  in_begin += count;
  return static_cast<int>(count);
}

int TlsStream::Inside::bio_write(const char* data, int size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  outbox.insert(outbox.end(), bytes, bytes + size);
  return size;
}

State TlsStream::Inside::flush(bool more) {
  while (out_begin < outbox.size()) {
    const Bytes rest = Bytes(outbox).subspan(out_begin);
    const auto sent = stream->try_write(std::span(&rest, 1), more);
    if (sent.state == State::kWouldBlock) return State::kWouldBlock;
    if (sent.state != State::kMoved) {
      below_failed = true;
      fail(stream->error());
      return State::kFailed;
    }
    out_begin += sent.bytes;
  }
  out_begin = 0;
  if (outbox.capacity() > 2 * kRecordBytes && pending == 0) {
    outbox = {};
  } else {
    outbox.clear();
  }
  return State::kMoved;
}

void TlsStream::Inside::fail(Error why) {
  if (!failure) failure = std::move(why);
}

world::Transfer TlsStream::Inside::failed() { return {State::kFailed, 0}; }

Error TlsStream::Inside::describe_failure(std::string_view doing, int ssl_error) {
  const auto code = ERR_peek_last_error();
  const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
  const char* text = ERR_reason_error_string(code);
  ERR_clear_error();
  if (refusal) {
    return d7y::error(ErrorCode::kUnauthenticated, "{}: certificate {}refused: {}", doing,
                      peer_name.empty() ? "" : "of " + peer_name + " ", refusal->reason);
  }
  if (below_failed) return stream->error().in(doing);
  if (is_certificate_alert(reason)) {
    return d7y::error(ErrorCode::kUnauthenticated,
                      "{}: the other side refused our certificate, or wants one ({})", doing, text);
  }
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    return d7y::error(ErrorCode::kUnauthenticated, "{}: the client sent no certificate, but one is required",
                      doing);
  }
  if (below_ended) {
    return d7y::error(ErrorCode::kReset,
                      "{}: the connection ended without TLS's closing message; data may be missing", doing);
  }
  if (reason == SSL_R_HTTP_REQUEST || reason == SSL_R_WRONG_VERSION_NUMBER ||
      reason == SSL_R_HTTPS_PROXY_REQUEST) {
    return d7y::error(ErrorCode::kProtocol, "{}: the other side does not speak TLS on this port", doing);
  }
  if (reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION || reason == SSL_R_UNSUPPORTED_PROTOCOL) {
    return d7y::error(ErrorCode::kProtocol, "{}: the other side speaks only versions of TLS that are too old",
                      doing);
  }
  return d7y::error(ErrorCode::kProtocol, "{}: {}", doing,
                    text != nullptr ? text : fmt::format("TLS error {}", ssl_error));
}

bool TlsStream::Inside::seal(Bytes data) {
  const TimeOf clock(*this);
  ERR_clear_error();
  const int done = SSL_write(ssl.get(), data.data(), static_cast<int>(data.size()));
  if (done == static_cast<int>(data.size())) return true;
  fail(describe_failure("writing over TLS", SSL_get_error(ssl.get(), done)));
  return false;
}

world::Transfer TlsStream::Inside::after_sealing(std::size_t plain, bool more) {
  pending = plain;
  switch (flush(more)) {
    case State::kMoved: pending = 0; return {State::kMoved, plain};
    case State::kWouldBlock: return {State::kWouldBlock, 0};
    default: return failed();
  }
}

std::optional<world::Transfer> TlsStream::Inside::finish_pending(bool more) {
  if (failure) return failed();
  if (pending > 0) return after_sealing(pending, more);
  if (outbox.empty()) return std::nullopt;
  const auto state = flush(more);
  if (state == State::kMoved) return std::nullopt;
  return world::Transfer{state, 0};
}

Task<void> TlsStream::Inside::pump_close() {
  while (flush(false) == State::kWouldBlock) {
    if (auto woken = co_await stream->writable().wait(Deadline::never()); !woken) co_return;
  }
  stream->finish_writing();
}

TlsStream::TlsStream(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsStream::~TlsStream() = default;

world::Transfer TlsStream::try_read(MutableBytes buffer) {
  auto& in = *inside_;
  std::size_t total = 0;
  State end = State::kMoved;
  while (total < buffer.size()) {
    if (in.read_ended) {
      end = State::kEnd;
      break;
    }
    if (in.failure) {
      end = State::kFailed;
      break;
    }
    const TimeOf clock(in);
    ERR_clear_error();
    const auto room = std::min<std::size_t>(buffer.size() - total, 1 << 30);
    const int got = SSL_read(in.ssl.get(), buffer.data() + total, static_cast<int>(room));
    if (got > 0) {
      total += static_cast<std::size_t>(got);
      continue;
    }
    const int why = SSL_get_error(in.ssl.get(), got);
    if (why == SSL_ERROR_WANT_READ) {
      end = State::kWouldBlock;
      break;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
      in.read_ended = true;
    } else {
      in.fail(in.describe_failure("reading over TLS", why));
    }
  }
  // Answers that reading causes (key updates) do not wait for the next write.
  if (!in.outbox.empty() && in.pending == 0 && !in.failure) in.flush(false);
  if (total > 0) return {State::kMoved, total};
  return {end, 0};
}

world::Transfer TlsStream::try_write(std::span<const Bytes> parts, bool more) {
  auto& in = *inside_;
  if (auto earlier = in.finish_pending(more)) return *earlier;
  if (in.finished) {
    in.fail(d7y::error(ErrorCode::kPrecondition, "written after the end"));
    return in.failed();
  }
  std::size_t sealed = 0, part = 0, offset = 0;
  while (part < parts.size() && sealed < kBatchBytes) {
    Bytes current = parts[part].subspan(offset);
    const bool last = part + 1 == parts.size();
    if (current.empty()) {
      ++part;
      offset = 0;
      continue;
    }
    if (current.size() >= kRecordBytes || last) {
      current = current.first(std::min({current.size(), kRecordBytes, kBatchBytes - sealed}));
      if (!in.seal(current)) return in.failed();
      sealed += current.size();
      offset += current.size();
      continue;
    }
    // Small parts share a record.
    in.staging.clear();
    while (part < parts.size() && in.staging.size() < kRecordBytes) {
      current = parts[part].subspan(offset);
      current = current.first(std::min(current.size(), kRecordBytes - in.staging.size()));
      in.staging.insert(in.staging.end(), current.begin(), current.end());
      offset += current.size();
      if (offset == parts[part].size()) {
        ++part;
        offset = 0;
      }
    }
    if (!in.seal(in.staging)) return in.failed();
    sealed += in.staging.size();
  }
  if (sealed == 0) return {State::kMoved, 0};
  return in.after_sealing(sealed, more);
}

world::Transfer TlsStream::try_send_file(world::File& file, std::uint64_t offset, std::uint64_t length) {
  auto& in = *inside_;
  if (auto earlier = in.finish_pending(false)) return *earlier;
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(length, kBatchBytes));
  std::vector<std::byte> plain(wanted);
  auto got = file.read_at(offset, plain);
  if (!got) {
    in.fail(std::move(got).error());
    return in.failed();
  }
  if (*got == 0) return {State::kEnd, 0};
  for (std::size_t done = 0; done < *got;) {
    const auto piece = Bytes(plain).subspan(done, std::min(*got - done, kRecordBytes));
    if (!in.seal(piece)) return in.failed();
    done += piece.size();
  }
  return in.after_sealing(*got, *got < length);
}

Signal& TlsStream::readable() { return inside_->stream->readable(); }
Signal& TlsStream::writable() { return inside_->stream->writable(); }

Error TlsStream::error() const {
  if (inside_->failure) return inside_->failure->clone();
  return inside_->stream->error();
}

void TlsStream::finish_writing() {
  auto& in = *inside_;
  if (in.finished) return;
  in.finished = true;
  if (in.failure) return;
  ERR_clear_error();
  SSL_shutdown(in.ssl.get());
  ERR_clear_error();
  const auto state = in.flush(false);
  if (state == State::kMoved) in.stream->finish_writing();
  if (state == State::kWouldBlock) in.closer.spawn(in.pump_close());
}

void TlsStream::abort() {
  inside_->closer.cancel();
  inside_->stream->abort();
}

Address TlsStream::local() const { return inside_->stream->local(); }
Address TlsStream::remote() const { return inside_->stream->remote(); }

std::string TlsStream::alpn() const {
  const std::uint8_t* data = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(inside_->ssl.get(), &data, &length);
  return data == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(data), length);
}

TlsVersion TlsStream::version() const {
  return SSL_version(inside_->ssl.get()) == TLS1_3_VERSION ? TlsVersion::k13 : TlsVersion::k12;
}

std::string TlsStream::cipher() const {
  const auto* cipher = SSL_get_current_cipher(inside_->ssl.get());
  return cipher == nullptr ? std::string() : SSL_CIPHER_standard_name(cipher);
}

bool TlsStream::resumed() const { return SSL_session_reused(inside_->ssl.get()) == 1; }

std::string TlsStream::peer_subject() const {
  bssl::UniquePtr<X509> certificate(SSL_get_peer_certificate(inside_->ssl.get()));
  if (!certificate) return {};
  char text[256] = {};
  X509_NAME_oneline(X509_get_subject_name(certificate.get()), text, sizeof text);
  return text;
}

std::string TlsStream::peer_certificate_pem() const {
  const STACK_OF(X509)* chain = SSL_get_peer_full_cert_chain(inside_->ssl.get());
  if (chain == nullptr) return {};
  bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  for (std::size_t i = 0; i < sk_X509_num(chain); ++i) PEM_write_bio_X509(bio.get(), sk_X509_value(chain, i));
  const std::uint8_t* data = nullptr;
  std::size_t length = 0;
  BIO_mem_contents(bio.get(), &data, &length);
  return std::string(reinterpret_cast<const char*>(data), length);
}

}  // namespace d7y::net
