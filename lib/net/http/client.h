// An HTTP/1.1 client with kept connections. One request is one coroutine call; its response streams
// from the connection into the caller's buffer, without a copy when its length is known.
//
//   http::Client client(world, options);
//   http::Request request;
//   request.url = "http://origin/model.bin";
//   request.headers.set("Range", "bytes=0-1048575");
//   CO_TRY(auto response, co_await client.fetch(std::move(request), deadline));
//   while (true) {
//     CO_TRY(auto got, co_await response.read(buffer, deadline));
//     if (got == 0) break;
//     ...
//   }
//
// Not in here: retries of failed requests (source/retry.h) and caching. One exception, since only
// this layer can know it: a request without a body that meets a kept connection which the server
// was just closing is sent again on a new one.
//
// A client belongs to one loop and must outlive its responses.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/notify.h"
#include "base/scope.h"
#include "net/http/codec.h"
#include "net/http/http_url.h"
#include "net/http/proxy_settings.h"
#include "net/http/turn.h"
#include "net/tls/tls.h"
#include "world/world.h"

namespace d7y::http {

// A request's body that is made while it is sent.
class BodyProducer {
 public:
  virtual ~BodyProducer() = default;
  // Its exact length in bytes; none: it is sent in chunks.
  virtual std::optional<std::uint64_t> length() const = 0;
  // Fills some of `buffer`; 0 at the end.
  virtual Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline) = 0;
};

struct RedirectRules {
  int limit = 10;                // hops followed; 0: a redirect is the answer
  bool allow_downgrade = false;  // from https to http
};

struct Request {
  std::string method = "GET";
  std::string url;  // absolute, http or https; credentials in it become Authorization
  Headers headers;  // Host, Content-Length, Transfer-Encoding and Connection are set by the client
  // Host as the URL's own origin gets it; empty: as in the URL, whose name TLS verifies in any case. Where a
  // redirect leads to another origin it is forgotten.
  std::string host;

  std::string body;                  // sent if not empty, or with POST and PUT
  BodyProducer* producer = nullptr;  // instead of `body`; kept by the caller until fetch() returns
  bool expect_continue = false;      // ask before sending the body; sent anyway after 1 s of silence

  RedirectRules redirects;
  // Trust and identity for this request alone; none: the client's.
  std::shared_ptr<net::TlsContext> tls;
};

// What must not follow a redirect to another origin.
void drop_credentials(Headers& headers);

struct ClientOptions {
  std::string user_agent;                   // sent unless the request has one
  std::size_t connections_per_origin = 64;  // further requests wait for one
  std::size_t idle_per_origin = 16;         // kept
  std::size_t idle_total = 256;             // kept
  Duration idle_timeout = std::chrono::seconds(60);
  Duration connect_timeout = std::chrono::seconds(20);  // name, TCP, proxy and TLS together
  Duration head_timeout = std::chrono::seconds(60);     // request sent to response's head
  Duration stall_timeout = std::chrono::seconds(60);    // between bytes, either way
  Limits limits;
  ProxySettings proxies;
  world::ConnectOptions connect;
  // Makes the trust for https when first needed (reading root certificates costs milliseconds).
  // Empty: https is kUnsupported unless the request brings its own.
  std::function<Result<std::shared_ptr<net::TlsContext>>()> tls;
  // Trust and identity for single origins, by "https://host[:port]", instead of those; also for those that a
  // redirect leads to.
  std::map<std::string, std::shared_ptr<net::TlsContext>, std::less<>> tls_of;
};

namespace detail {
class Connection;
class Pool;
}  // namespace detail

// A response whose head is here and whose body streams. Destroying it early closes its connection;
// reading it to the end gives the connection back.
class Response {
 public:
  Response(Response&&) noexcept;
  Response& operator=(Response&&) noexcept;
  ~Response();

  int status() const { return head_.status; }
  const ResponseHead& head() const { return head_; }
  const Headers& headers() const { return head_.headers; }
  // Where the answer came from, after redirects; without credentials and fragment.
  const std::string& url() const { return url_; }
  // Bytes of the whole body; none: known only at its end. 0 for HEAD, 204, 304.
  std::optional<std::uint64_t> length() const;

  // Reads at least one byte, or 0 at the body's end. kReset when the connection broke before the
  // end; kTimeout at `deadline` or after the client's stall_timeout without a byte.
  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline);
  // The stream that the next `left` bytes of the body lie on as they are; null if they do not. Whoever reads
  // them there tells took() how many, before anything else is done with the response.
  struct Bare {
    world::Stream* stream = nullptr;
    std::uint64_t left = 0;
  };
  Bare bare() const;
  void took(std::uint64_t bytes);
  // The whole (rest of the) body; kTooLarge when it is longer than `limit` bytes.
  Task<Result<std::string>> read_all(std::size_t limit, Deadline deadline);
  // Reads up to `limit` bytes away so that the connection can be kept; if more is left, closes it.
  Task<Result<void>> discard(std::size_t limit, Deadline deadline);
  bool complete() const;
  const Headers& trailers() const;

  // After a 101: the raw stream, with whatever was read beyond the head still to come.
  std::unique_ptr<world::Stream> take_stream();

  // Connection's other end, for logs.
  const std::string& remote() const { return remote_; }
  bool reused_connection() const { return reused_; }

 private:
  friend class Client;
  Response();
  void settle();

  ResponseHead head_;
  std::string url_;
  std::string remote_;
  Headers trailers_;
  std::optional<std::uint64_t> length_;
  std::optional<Error> failed_;  // why the body broke off
  bool reused_ = false;
  bool complete_ = false;
  detail::Turn turn_;
  std::unique_ptr<detail::Connection> connection_;  // until the body is complete or broken
};

class Client {
 public:
  // `world` must outlive the client.
  Client(world::World& world, ClientOptions options, Log log = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Sends `request` and returns when the final response's head is here, whatever its status.
  // kInvalid (URL, headers), kRefused (also an unknown host), kReset, kTimeout,
  // kUnauthenticated (certificate; or the proxy wants credentials: status 407), kProtocol,
  // kTooLarge, kExhausted (no connection became free), kUnsupported.
  Task<Result<Response>> fetch(Request request, Deadline deadline);

  // A raw connection to `host`, through the proxy's CONNECT if `scheme` ("http" or "https") has
  // one. Without TLS.
  Task<Result<std::unique_ptr<world::Stream>>> tunnel(std::string scheme, std::string host,
                                                      std::uint16_t port, Deadline deadline);

  const ClientOptions& options() const { return options_; }
  std::size_t idle_connections() const;
  std::size_t open_connections() const;
  // Closes the connections that are kept but unused.
  void close_idle();

 private:
  struct Hop;
  Task<Result<Response>> fetch_hop(const Request& request, const Hop& hop, Deadline deadline);
  Task<Result<std::unique_ptr<detail::Connection>>> acquire(const Hop& hop, bool fresh, Deadline deadline);
  Task<Result<std::unique_ptr<world::Stream>>> dial(const Hop& hop, Deadline deadline);
  Task<Result<std::unique_ptr<world::Stream>>> dial_proxy(const Hop& hop, Deadline deadline);
  Task<Result<std::unique_ptr<world::Stream>>> dial_host(std::string host, std::uint16_t port,
                                                         Deadline deadline);
  Task<Result<std::unique_ptr<world::Stream>>> secure(std::unique_ptr<world::Stream> stream,
                                                      std::shared_ptr<net::TlsContext> context,
                                                      std::string host, Deadline deadline);
  Result<Hop> plan(const Request& request, const HttpUrl& url);
  Result<std::shared_ptr<net::TlsContext>> default_tls();

  world::World& world_;
  ClientOptions options_;
  Log log_;
  std::shared_ptr<net::TlsContext> tls_;
  std::unique_ptr<detail::Pool> pool_;
};

}  // namespace d7y::http
