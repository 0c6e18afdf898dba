// What the parts of the TLS room share; not for other rooms.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <list>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/scope.h"
#include "net/tls/tls.h"

namespace d7y::net {

// Sessions that servers offered for resumption, by server and group; the least recently stored goes
// first. TLS 1.3 tickets are used once.
class SessionCache {
 public:
  explicit SessionCache(std::size_t capacity) : capacity_(capacity) {}
  void set_capacity(std::size_t capacity) { capacity_ = capacity; }  // before first use
  void put(const std::string& key, bssl::UniquePtr<SSL_SESSION> session);
  bssl::UniquePtr<SSL_SESSION> take(const std::string& key);

 private:
  struct Entry {
    std::string key;
    bssl::UniquePtr<SSL_SESSION> session;
  };
  std::size_t capacity_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // newest first
};

struct TlsContext::Inside {
  bool server = false;
  bssl::UniquePtr<SSL_CTX> ssl;
  std::string alpn_wire;  // server: accepted protocols in TLS's encoding
  SessionCache sessions{0};
};

// BoringSSL asks for the time without saying for which connection; this tells it, while it lives, the
// time of the connection at work on this thread.
class TimeOf {
 public:
  explicit TimeOf(const TlsStream::Inside& inside);
  ~TimeOf();
  TimeOf(const TimeOf&) = delete;
  TimeOf& operator=(const TimeOf&) = delete;
  static WallTime current();

 private:
  WallTime outer_;
};

// What verification found wrong first.
struct Refusal {
  int code = X509_V_OK;
  std::string reason;  // a clause: "it expired on ..."
};

struct TlsStream::Inside {
  Inside(std::unique_ptr<world::Stream> below, std::shared_ptr<TlsContext> owner, Loop& loop);
  ~Inside();

  // The Inside that an SSL object belongs to.
  static Inside& of(const SSL* ssl);

  // BoringSSL reads records through `inbox` (one system call for several records) and writes into
  // `outbox`, which takes everything; flush() moves it on.
  int bio_read(char* out, int size);
  int bio_write(const char* data, int size);
  world::Transfer::State flush(bool more);
  // Encrypts `data` as one record; false if the session is broken (failure is set).
  bool seal(Bytes data);
  world::Transfer after_sealing(std::size_t plain, bool more);
  // Finishes what an earlier write began; nothing if there was none.
  std::optional<world::Transfer> finish_pending(bool more);
  void fail(Error why);
  world::Transfer failed();
  Error describe_failure(std::string_view doing, int ssl_error);
  Task<void> pump_close();

  std::unique_ptr<world::Stream> stream;
  std::shared_ptr<TlsContext> context;
  bssl::UniquePtr<SSL> ssl;

  std::unique_ptr<std::byte[]> inbox;
  std::size_t in_begin = 0, in_end = 0;
  std::vector<std::byte> outbox;
  std::size_t out_begin = 0;
  std::size_t pending = 0;  // plaintext bytes in outbox that the writer has not been told about
  std::vector<std::byte> staging;

  bool below_ended = false;   // the stream below ended
  bool below_failed = false;  // or broke
  bool read_ended = false;    // close_notify came
  bool finished = false;      // close_notify sent
  std::optional<Error> failure;

  WallTime now{};
  std::string peer_name;    // whom we talk to, for messages
  std::string session_key;  // client
  std::optional<Refusal> refusal;
  Scope closer;  // sends what is left of a close_notify
};

}  // namespace d7y::net
