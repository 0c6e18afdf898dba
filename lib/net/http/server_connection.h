// One accepted connection: requests in, answers out, in order.
#pragma once

#include <optional>

#include "net/http/server.h"
#include "net/http/turn.h"
#include "net/http/wire.h"

namespace d7y::http::detail {

class ServerConnection;

class ConnectionRequest final : public ServerRequest {
 public:
  std::optional<std::uint64_t> length() const override;
  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline) override;

 private:
  friend class ServerConnection;
  explicit ConnectionRequest(ServerConnection& connection) : connection_(connection) {}
  ServerConnection& connection_;
};

class ConnectionAnswer final : public Responder {
 public:
  using Responder::send;
  Task<Result<void>> send(ResponseHead head, std::string body) override;
  Task<Result<void>> begin(ResponseHead head, std::optional<std::uint64_t> length) override;
  Task<Result<void>> write(Bytes bytes) override;
  Task<Result<void>> send_file(world::File& file, std::uint64_t offset, std::uint64_t length) override;
  Task<Result<void>> finish() override;
  Task<void> hung_up() override;
  void close_after() override { close_ = true; }
  Task<Result<std::unique_ptr<world::Stream>>> take_stream(ResponseHead head) override;

 private:
  friend class ServerConnection;
  explicit ConnectionAnswer(ServerConnection& connection) : connection_(connection) {}
  Result<std::string> prepare(ResponseHead& head, std::optional<std::uint64_t> length);
  // Whether the client can tell that the body written so far is not the whole.
  bool visibly_short() const { return !bodyless_ && (chunked_ || left_.value_or(0) > 0); }

  ServerConnection& connection_;
  bool close_ = false, chunked_ = false, old_client_ = false;
};

class ServerConnection {
 public:
  ServerConnection(Server& server, std::unique_ptr<world::Stream> stream, bool tls);
  ~ServerConnection();

  Task<void> run();
  // Has run() look at the server's state if it waits for a request.
  void wake() { wire_.stream().readable().notify_all(); }

 private:
  friend class ConnectionRequest;
  friend class ConnectionAnswer;
  enum class Next : std::uint8_t { kAgain, kClose, kGone };

  Task<Next> serve_one();
  // Waits for a request's head; false: nothing more comes. Errors are the client's fault.
  Task<Result<bool>> await_head();
  Task<Next> refuse(const Error& why, std::string_view target);
  Task<void> linger();

  // Body of the current request.
  Task<Result<std::size_t>> read_body(MutableBytes buffer, Deadline deadline);
  Task<bool> read_rest();

  Task<void> hung_up();

  // Sends everything, giving up when nothing moves for the stall timeout.
  Task<Result<void>> send(std::span<const Bytes> parts);
  Task<Result<void>> send_file(world::File& file, std::uint64_t offset, std::uint64_t length);
  void complete(ResponseHead& head, bool close) const;
  Deadline in(Duration time) const;
  bool draining() const { return server_.draining_; }
  WallTime wall_now() const { return server_.world_.wall_now(); }

  Server& server_;
  Wire wire_;
  bool tls_;
  Turn turn_;
  bool first_ = true;          // no request has come yet
  bool continue_due_ = false;  // the client waits for "100 Continue"
  std::uint64_t body_bytes_ = 0;
  std::optional<std::uint64_t> length_;
  bool gone_ = false;  // the stream was handed over
  Signal body_read_;   // the current request's body has been read to its end
  ServerConnection* before_ = nullptr;
  ServerConnection* after_ = nullptr;
  friend class d7y::http::Server;
};

}  // namespace d7y::http::detail
