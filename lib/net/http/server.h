// An HTTP/1.1 server: a coroutine per connection, a Handler per request.
//
//   class Hello : public http::Handler {
//     Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
//       (void)co_await responder.send(200, "text/plain", "hello\n");
//     }
//   };
//   http::Server server(world, hello, options, log);
//   scope.spawn(server.serve(*listener));
//   ...
//   co_await server.drain(deadline);      // finishes what runs, closes what idles
//
// Requests on one connection are handled one after the other; pipelined ones wait in order. What
// the parser refuses is answered (400, 413, 414, 431, 501, 505) and the connection closed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/notify.h"
#include "base/scope.h"
#include "net/http/codec.h"
#include "net/tls/tls.h"
#include "world/world.h"

namespace d7y::http {

struct ServerOptions {
  std::string name;                                   // Server header; empty: none
  std::size_t max_connections = 4096;                 // further ones wait in the kernel's queue
  std::uint64_t max_body = 16 << 20;                  // bytes of a request's body (413)
  Duration head_timeout = std::chrono::seconds(30);   // first byte of a request to its head's end (408)
  Duration idle_timeout = std::chrono::seconds(75);   // between requests
  Duration stall_timeout = std::chrono::seconds(60);  // between bytes of a body, either way
  Limits limits;
  // TLS for accepted connections; none: plaintext.
  std::shared_ptr<net::TlsContext> tls;
  // With `tls`: connections that do not begin with a TLS handshake are served in plaintext.
  bool plaintext_too = false;
};

namespace detail {
class ServerConnection;
}

// A request as its handler sees it, whatever carries it: a connection here, a stream of an HTTP/2 one in
// net/http2/server.h. Valid until the handler returns.
class ServerRequest {
 public:
  virtual ~ServerRequest() = default;
  ServerRequest(const ServerRequest&) = delete;
  ServerRequest& operator=(const ServerRequest&) = delete;

  const RequestHead& head() const { return head_; }
  const std::string& method() const { return head_.method; }
  const Headers& headers() const { return head_.headers; }
  // The target without its query: "/metrics". As sent, still percent-encoded. For the absolute form
  // (proxies) the whole URL up to "?".
  std::string_view path() const;
  std::string_view query() const;  // without "?"; empty if none
  const Address& remote() const { return remote_; }
  bool over_tls() const { return tls_; }

  // Bytes of the body; none: not announced.
  virtual std::optional<std::uint64_t> length() const = 0;
  // Reads at least one byte of the body, or 0 at its end. Sends "100 Continue" first if the client
  // waits for it. kTooLarge (413) past max_body.
  virtual Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline) = 0;
  // The whole body, at most `limit` bytes (kTooLarge with status 413).
  Task<Result<std::string>> read_all(std::size_t limit, Deadline deadline);

 protected:
  ServerRequest() = default;
  RequestHead head_;
  Address remote_ = Address::ipv4({}, 0);
  bool tls_ = false;
};

// Where a handler writes its answer. If it returns without one, 500 is sent; if it returns in the
// middle of a body, the connection is broken so that the client notices.
class Responder {
 public:
  virtual ~Responder() = default;
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  // A whole answer. HEAD gets the head alone.
  Task<Result<void>> send(int status, std::string content_type, std::string body);
  virtual Task<Result<void>> send(ResponseHead head, std::string body) = 0;

  // A streamed answer: the head first. With `length` the body has exactly that many bytes; without
  // it its end is marked otherwise (HTTP/1.1: chunks, HTTP/1.0: by closing). Date, Content-Length and what
  // belongs to the connection are set here.
  virtual Task<Result<void>> begin(ResponseHead head, std::optional<std::uint64_t> length) = 0;
  // Part of the body. Waits while the client does not read: kTimeout after the stall timeout.
  virtual Task<Result<void>> write(Bytes bytes) = 0;
  // Part of the body straight from a file, by sendfile where the connection allows.
  virtual Task<Result<void>> send_file(world::File& file, std::uint64_t offset, std::uint64_t length) = 0;
  // The body's end. kPrecondition when bytes of the promised length are missing.
  virtual Task<Result<void>> finish() = 0;
  // Gives up in the middle of a body: the client sees a broken connection (or stream), never a short body
  // that looks whole.
  void abort() { begun_ = aborted_ = true; }
  // The same for a client that may ask for the rest: all that was written still reaches it, and the
  // answer ends in order, where length or chunks show that something is missing. Go's and so containerd's
  // client goes on where it stood then, which it does not after a reset. Breaks off where nothing would show
  // it.
  void cut_short() { cut_short_ = begun_ = true; }

  // Returns when the client has closed its side, or the connection broke, while its answer is awaited:
  // nobody is there to take it. Reads ahead what the client sends meanwhile, as far as there is room. Not
  // to be awaited twice at a time, nor beyond the handler.
  virtual Task<void> hung_up() = 0;

  bool begun() const { return begun_; }
  // This is the last answer on its connection.
  virtual void close_after() = 0;

  // For CONNECT and Upgrade: sends `head` (200 or 101, no body) and takes the connection over. What
  // the client sent already is read first from the returned stream. kUnsupported where requests share a
  // connection.
  virtual Task<Result<std::unique_ptr<world::Stream>>> take_stream(ResponseHead head) = 0;

 protected:
  Responder() = default;
  // Counts `bytes` more of the body, if they may be written now.
  Result<void> admit(std::uint64_t bytes);
  // Whether all of the body was written that was promised.
  Result<void> admit_end() const;

  bool begun_ = false, finished_ = false, aborted_ = false, cut_short_ = false;
  bool bodyless_ = false;              // answers HEAD, or has a status without body
  std::optional<std::uint64_t> left_;  // bytes of a promised length still to come
};

class Handler {
 public:
  virtual ~Handler() = default;
  virtual Task<void> handle(ServerRequest& request, Responder& responder) = 0;
  // The body, and headers beside the usual ones, that tell a client why its request never came to handle():
  // its head was malformed, too long or too slow (`why` has the status). `target`: as much of it as was read.
  // By default the message as plain text.
  virtual std::string refusal(std::string_view target, const Error& why, const Address& client,
                              Headers& headers);
};

struct ServerNumbers {
  std::uint64_t connections = 0;                          // open now
  std::uint64_t accepted = 0, requests = 0, refused = 0;  // since start; refused by the parser
};

class Server {
 public:
  // All references must outlive the server.
  Server(world::World& world, Handler& handler, ServerOptions options, Log log = {});
  ~Server();  // cuts what still runs
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Accepts connections until drained or cancelled. Several listeners may be served at once.
  Task<void> serve(world::Listener& listener);
  // Serves one connection that somebody else accepted. Returns at once.
  void adopt(std::unique_ptr<world::Stream> stream);

  // No new connections and no further requests on open ones; waits for the running ones.
  // kTimeout at `deadline`: what is left has been cut.
  Task<Result<void>> drain(Deadline deadline);

  ServerNumbers numbers() const { return numbers_; }

 private:
  friend class detail::ServerConnection;
  class Counted;
  Task<void> serve_stream(std::unique_ptr<world::Stream> stream, Counted counted);

  world::World& world_;
  Handler& handler_;
  ServerOptions options_;
  Log log_;
  bool draining_ = false;
  ServerNumbers numbers_;
  Signal room_;  // a connection ended
  detail::ServerConnection* first_ = nullptr;
  Scope connections_;
};

}  // namespace d7y::http
