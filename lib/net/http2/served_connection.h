// One client's HTTP/2 connection: its requests, its idleness, its manners.
#pragma once

#include "base/token_bucket.h"
#include "net/http2/request_stream.h"
#include "net/http2/server.h"

namespace d7y::http2::detail {

class ServedConnection final : private Connection::Owner {
 public:
  ServedConnection(Server& server, std::unique_ptr<world::Stream> stream);
  ~ServedConnection();
  ServedConnection(const ServedConnection&) = delete;
  ServedConnection& operator=(const ServedConnection&) = delete;

  // Until the connection has ended and no handler works for it any more.
  Task<void> run();
  // No further requests; those that run go on.
  void retire();

  // For its streams.
  void start(RequestStream& stream);
  // Destroys what is closed and handled, after the current event.
  void sweep_later() { loop_.make_ready(sweep_); }
  Session& session() { return connection_.session(); }
  const ServerOptions& options() const { return server_.options_; }
  http::Handler& handler() const { return server_.handler_; }
  world::World& world() const { return server_.world_; }
  void count_request() const { ++server_.numbers_.requests; }
  void count_refused() const { ++server_.numbers_.refused; }

 private:
  friend class d7y::http2::Server;
  struct Alarm final : Timer {
    Alarm(ServedConnection& connection, void (ServedConnection::*then)())
        : connection(connection), then(then) {}
    void fire() override { (connection.*then)(); }
    ServedConnection& connection;
    void (ServedConnection::*then)();
  };
  struct Sweep final : Event {
    explicit Sweep(ServedConnection& connection) : connection(connection) {}
    void fire() override { connection.sweep(); }
    ServedConnection& connection;
  };

  Stream* on_new_stream() override;
  void on_goaway(std::int32_t, H2Error, std::string_view) override {}
  void on_ping() override;
  void on_ping_ack() override;
  void on_remote_reset() override;

  void sweep();
  void check_heads();
  void check_idle();

  Server& server_;
  Loop& loop_;
  Address remote_;
  RequestStream* streams_ = nullptr;
  std::size_t count_ = 0;
  TokenBucket resets_, pings_;
  Alarm heads_, idle_, goodbye_;
  Sweep sweep_;
  bool retiring_ = false, said_goodbye_ = false;
  ServedConnection* before_ = nullptr;
  ServedConnection* after_ = nullptr;
  Connection connection_;  // its end still speaks to the members above
  Scope handlers_;
};

}  // namespace d7y::http2::detail
