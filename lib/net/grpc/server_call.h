// One call as the server's handler sees it.
//
// The handler is a task in the call's own scope. When the client resets the stream or its connection
// breaks, the scope is cancelled: the handler's frame is destroyed where it waits, its destructors
// undo what must be undone. So a handler never asks "is the client still there?".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/address.h"
#include "base/deadline.h"
#include "base/scope.h"
#include "base/task.h"
#include "base/trace.h"
#include "net/grpc/client_call.h"
#include "net/grpc/metadata.h"
#include "net/grpc/status.h"
#include "world/network.h"

namespace d7y::grpc {

class ServerExchange;  // server_exchange.h: the call's state, shared with its connection

class ServerCall {
 public:
  explicit ServerCall(ServerExchange& exchange) : exchange_(exchange) {}
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

  std::string_view path() const;  // "/package.Service/Method"
  const Metadata& metadata() const;
  Address remote() const;
  std::optional<world::PeerCredentials> peer_credentials() const;
  Loop& loop() const;
  // Ends with the call; for tasks that run beside the handler.
  Scope& scope();

  // What the client said in grpc-timeout. The server enforces it for unary and client-streaming methods
  // only: Rust clients put 10 s on streams that last for ever and mean the headers (Dragonfly grpc 4.1).
  // Handlers of the other two kinds decide for themselves.
  std::optional<Duration> timeout() const;
  // Arrival + timeout(); never() without one.
  Deadline deadline() const;

  // Sent with the response headers; fill it before the first await or send_headers().
  Metadata& initial_metadata();
  // Sent with the status.
  Metadata& trailing_metadata();
  // Sends the response headers now if they are not sent. Streaming methods do so by themselves when the
  // handler waits for the first time.
  void send_headers();
  // Where the call's span stands; none: it has no span.
  std::optional<TraceContext> trace() const;
  // Says more in the call's span, if it has one.
  void describe(std::string_view name, SpanValue value);
  // Asks whether the client's process is there (PING), and when anything came from it on the call's
  // connection.
  void ask_client();
  TimePoint last_heard() const;
  // Compress the responses from here on, if the client accepts gzip.
  void use_gzip();

  // Serialized messages; Reader and Writer below are what one normally uses.
  Task<Result<std::optional<std::string>>> read_bytes();
  // The next message if it is here already.
  std::optional<std::string> take_bytes();
  // Waits for one: true once it is here, false once the client has half-closed.
  Task<Result<bool>> wait_bytes();
  Task<Result<void>> write_bytes(std::string message);

 private:
  ServerExchange& exchange_;
};

// The client's messages. Lives as long as the handler.
template <class Request>
class Reader {
 public:
  explicit Reader(ServerCall& call) : call_(call) {}
  // The next message; none once the client has half-closed.
  Task<Result<std::optional<Request>>> read() { return detail::read_message<Request>(call_.read_bytes()); }

  // For handlers of many small messages: the next one into `request`, whose memory is used again; false if
  // none is here now. Then wait() until one is: true; false once the client has half-closed.
  Result<bool> take(Request& request) {
    const auto bytes = call_.take_bytes();
    if (!bytes) return false;
    TRY_OK(detail::parse_into(*bytes, request));
    return true;
  }
  Task<Result<bool>> wait() { return call_.wait_bytes(); }

 private:
  ServerCall& call_;
};

// Messages to the client. Lives as long as the handler; one task at a time may write.
template <class Response>
class Writer {
 public:
  explicit Writer(ServerCall& call) : call_(call) {}
  // Queues one message, then waits while the client takes less than is queued (back-pressure).
  Task<Result<void>> write(const Response& response) {
    auto bytes = detail::serialize(response);
    return bytes ? call_.write_bytes(std::move(*bytes)) : detail::fail(std::move(bytes).error());
  }

 private:
  ServerCall& call_;
};

}  // namespace d7y::grpc
