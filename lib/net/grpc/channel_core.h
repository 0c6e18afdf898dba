// What a Channel is made of: connections, the calls that wait for one, and when to try again.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "net/grpc/channel.h"
#include "net/grpc/client_exchange.h"
#include "net/http2/connection.h"

namespace d7y::grpc {

class ChannelCore {
 public:
  ChannelCore(world::World& world, std::string name, Channel::Connect connect, ChannelOptions options,
              Log log);
  ~ChannelCore();

  // Sends `exchange` on a connection, or lets it wait for one.
  void submit(ClientExchange& exchange);
  // The exchange has ended or is going away.
  void forget(ClientExchange& exchange);
  RawCall start(std::string path, CallOptions options, std::shared_ptr<const std::string> only_message);
  Task<Result<void>> connect(Deadline deadline);
  bool connected() const { return best() != nullptr; }

  world::World& world;
  std::string name;
  std::string authority;
  ChannelOptions options;
  Log log;
  std::size_t open_calls = 0;

 private:
  friend class ClientConnection;
  // One of the connections a channel may have.
  struct Slot {
    Slot(Duration first, Duration longest) : backoff(first, longest) {}
    ClientConnection* ready = nullptr;  // takes new calls
    bool trying = false;
    Backoff backoff;
    TimePoint not_before{};
  };

  ClientConnection* best() const;
  // Starts an attempt in a slot that has neither a connection nor an attempt.
  void grow();
  // Starts an attempt unless one is under way.
  void ensure_trying();
  Task<void> run_slot(Slot& slot);
  void send_waiting();
  void fail_waiting(const Error& why);
  void link(ClientExchange& exchange);

  Channel::Connect connect_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::deque<ClientExchange*> waiting_;
  ClientExchange* first_ = nullptr;
  Signal attempted_;
  std::optional<Error> last_failure_;
  http2::ReadBuffer buffer_;
  Scope scope_;
};

class ClientConnection final : private http2::Connection::Owner {
 public:
  ClientConnection(ChannelCore& core, ChannelCore::Slot& slot, std::unique_ptr<world::Stream> stream);
  ~ClientConnection();
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  // Works until the connection has ended; its calls have then ended too, or gone to another one.
  Task<void> run();
  http2::Session& session() { return connection_.session(); }
  // Why the connection has ended; null while it works.
  const Error* why() const { return why_ ? &*why_ : nullptr; }

 private:
  struct Alarm final : Timer {
    explicit Alarm(ClientConnection& connection) : connection(connection) {}
    void fire() override { connection.check_idle(); }
    ClientConnection& connection;
  };

  void on_goaway(std::int32_t last_stream, http2::H2Error code, std::string_view debug) override;
  void on_settings() override;
  void on_turn() override;
  void check_idle();
  void leave_slot();

  ChannelCore& core_;
  ChannelCore::Slot& slot_;
  std::optional<Error> why_;
  std::string goaway_;  // the server's words
  Alarm idle_;
  http2::Connection connection_;  // last: its end still speaks to the members above
};

}  // namespace d7y::grpc
