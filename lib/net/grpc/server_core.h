// What a Server is made of: the methods, and the connections with their clocks and limits.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/token_bucket.h"
#include "net/grpc/server.h"
#include "net/grpc/server_exchange.h"
#include "net/http2/connection.h"

namespace d7y::grpc {

class ServerCore {
 public:
  ServerCore(world::World& world, ServerOptions options, Log log);
  ~ServerCore();

  void add(std::unique_ptr<Method> method);
  const Method* find(std::string_view path) const;
  std::vector<std::string> services() const;

  Result<Address> listen(const Address& at, ListenerOptions options);
  void serve(std::unique_ptr<world::Stream> stream);
  Task<Result<void>> drain(Deadline deadline);

  world::World& world;
  ServerOptions options;
  Log log;
  http2::ReadBuffer buffer;
  std::size_t open_calls = 0;
  std::vector<ServerConnection*> connections;
  Signal changed;  // a connection has ended
  bool draining = false;

 private:
  Task<void> accept(std::unique_ptr<world::Listener> listener, ListenerOptions options);
  Task<void> serve_one(std::unique_ptr<world::Stream> stream, ListenerOptions options);
  Task<void> carry(std::unique_ptr<world::Stream> stream);

  std::vector<std::unique_ptr<Method>> all_methods_;  // replaced ones too: calls may run in them
  std::unordered_map<std::string_view, const Method*> methods_;
  Scope listening_;
  Scope serving_;
};

// One client's connection: its calls, its idleness, its age, its manners.
class ServerConnection final : private http2::Connection::Owner {
 public:
  ServerConnection(ServerCore& core, std::unique_ptr<world::Stream> stream);
  ~ServerConnection();
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  Task<Error> run() { return connection_.run(); }

  ServerCore& core() { return core_; }
  world::Stream& stream() { return connection_.stream(); }
  http2::Session& session() { return connection_.session(); }
  TimePoint last_heard() const { return connection_.last_read(); }
  void ask_client();

  // `exchange` has ended or must end: cancel it after the current event, destroy it if it is closed.
  void sweep_later(ServerExchange& exchange);
  // Tells the client to go elsewhere; running calls go on, until `grace` has passed.
  void retire(Duration grace);

 private:
  struct Alarm final : Timer {
    Alarm(ServerConnection& connection, void (ServerConnection::*then)())
        : connection(connection), then(then) {}
    void fire() override { (connection.*then)(); }
    ServerConnection& connection;
    void (ServerConnection::*then)();
  };

  http2::Stream* on_new_stream() override;
  void on_goaway(std::int32_t last_stream, http2::H2Error code, std::string_view debug) override;
  void on_ping() override;
  void on_ping_ack() override;
  void on_remote_reset() override;
  void on_turn() override;

  void sweep();
  void check_handshake();
  void check_idle();
  void check_age();
  void end_of_grace();

  ServerCore& core_;
  std::vector<ServerExchange*> to_sweep_;
  TokenBucket resets_;
  Alarm handshake_, idle_, age_, grace_;
  TimePoint idle_since_;
  TimePoint last_ping_{};
  std::uint64_t frames_at_ping_ = 0;
  int ping_strikes_ = 0;
  bool pinged_ = false;
  bool retiring_ = false;
  bool said_goodbye_ = false;     // the final GOAWAY is out
  http2::Connection connection_;  // last: its end still speaks to the members above
};

}  // namespace d7y::grpc
