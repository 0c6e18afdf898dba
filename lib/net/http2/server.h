// Requests that come over HTTP/2, for the same http::Handler as those over HTTP/1.1.
//
//   http2::Server server(world, handler, {}, log);
//   server.adopt(std::move(stream));      // where ALPN chose "h2"
//   co_await server.drain(deadline);
//
// One connection's requests are handled side by side, and whoever reads slowly delays only himself: each
// stream has its own bounded queue. The handler sees the request as if HTTP/1.1 had carried it: the path as
// its target, the authority as Host, cookies in one field. What it refuses or breaks off ends its stream, not
// the connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/log.h"
#include "base/notify.h"
#include "base/scope.h"
#include "net/http/server.h"
#include "net/http2/connection.h"

namespace d7y::http2 {

struct ServerOptions {
  std::string name;                                   // Server header; empty: none
  std::uint64_t max_body = 16 << 20;                  // bytes of a request's body (413)
  Duration head_timeout = std::chrono::seconds(30);   // SETTINGS, and each request's fields to their end
  Duration idle_timeout = std::chrono::seconds(75);   // without a request
  Duration stall_timeout = std::chrono::seconds(60);  // between bytes of a body, either way
  http::Limits limits;                                // of a request's fields (414, 431)
  std::uint32_t max_streams = 100;                    // of one connection at once
  // What a client may send before its request's handler reads it, on one stream and on all of a connection.
  std::uint32_t stream_window = 256 << 10, connection_window = 1 << 20;
  // Requests that a client may give up, and PINGs that it may send, per second, and at once. More ends the
  // connection (CVE-2023-44487): each request that is given up may have cost a connection elsewhere.
  std::uint64_t resets = 100, reset_burst = 500;
  std::uint64_t pings = 10, ping_burst = 100;
};

namespace detail {
class ServedConnection;
}

class Server {
 public:
  // All references must outlive the server.
  Server(world::World& world, http::Handler& handler, ServerOptions options, Log log = {});
  ~Server();  // cuts what still runs
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves one connection, from its preface on. Returns at once.
  void adopt(std::unique_ptr<world::Stream> stream);

  // No further requests; waits for the running ones. kTimeout at `deadline`: what is left has been cut.
  Task<Result<void>> drain(Deadline deadline);

  http::ServerNumbers numbers() const { return numbers_; }

 private:
  friend class detail::ServedConnection;
  Task<void> serve(std::unique_ptr<world::Stream> stream);

  world::World& world_;
  http::Handler& handler_;
  ServerOptions options_;
  Log log_;
  ReadBuffer buffer_;
  bool draining_ = false;
  http::ServerNumbers numbers_;
  detail::ServedConnection* first_ = nullptr;
  Scope connections_;
};

}  // namespace d7y::http2
