// A gRPC client's way to one server.
//
//   Channel channel(world, *Address::parse("10.0.0.1:8002"));
//   CallOptions options;
//   options.deadline = Deadline::in(2s, world.now());
//   CO_TRY(auto reply, co_await channel.unary<HealthCheckResponse>(kCheck, request, options));
//
// Connects when the first call needs it, keeps the connection, reconnects after it broke (with back-
// off while the server is away), and leaves one that announces its end (GOAWAY) as soon as its calls
// are done. A call that finds no connection waits for the next attempt and shares its outcome.
// Requests that the server certainly did not look at are sent again on another connection, at
// most twice; nothing else is retried here.
//
// HTTP/2 with prior knowledge over whatever stream the connector gives: TCP, Unix socket, TLS (ALPN
// h2 is the connector's business).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/address.h"
#include "base/log.h"
#include "net/grpc/client_call.h"
#include "world/world.h"

namespace d7y::grpc {

// Idle time after which TCP asks whether the other machine is still there; a vanished one is noticed twice
// that long after it was last heard.
inline constexpr std::chrono::seconds kTcpKeepalive{15};

struct ChannelOptions {
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(3);
  // Wait before attempt n+1: initial * 2^n, at most `max`, less up to 20 % at random.
  std::chrono::nanoseconds backoff_initial = std::chrono::milliseconds(50);
  std::chrono::nanoseconds backoff_max = std::chrono::seconds(3);
  // Connections to spread calls over. One is right unless many big streams share the channel.
  int connections = 1;
  // PING after so long without hearing from the server while calls are open; a server in Go ends the
  // connection if that is under 5 minutes (Dragonfly grpc 4.3). 0: never.
  std::chrono::nanoseconds keepalive = std::chrono::minutes(5);
  std::chrono::nanoseconds keepalive_timeout = std::chrono::seconds(20);
  // A connection without calls is closed after this. 0: kept until the server ends it.
  std::chrono::nanoseconds idle_timeout{0};
  // Largest message to accept, in bytes. A whole piece (64 MiB) may come in one (need_piece_content).
  std::uint64_t max_receive_message = 256u << 20;
  // How much the server may send ahead of the readers, in bytes.
  std::uint32_t stream_window = 16u << 20;
  std::uint32_t connection_window = 64u << 20;
  // What :authority says where the address does not give a good one (Unix sockets).
  std::string authority;
  std::string scheme = "http";  // "https" over TLS; servers hardly ever look
  std::string user_agent = "d7y";
};

class ChannelCore;

class Channel {
 public:
  // Makes one connected stream; called for each connection.
  using Connect = std::function<Task<Result<std::unique_ptr<world::Stream>>>(Deadline)>;

  Channel(world::World& world, Address address, ChannelOptions options = ChannelOptions(), Log log = Log());
  // `name` says in errors what `connect` connects to, and is the :authority unless options give one.
  Channel(world::World& world, std::string name, Connect connect, ChannelOptions options = ChannelOptions(),
          Log log = Log());
  // Running calls end with kClosed. May be destroyed by one of its callers' tasks.
  ~Channel();
  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) noexcept;

  // `path` is "/package.Service/Method". All four return at once; requests are serialized before that.
  template <class Response, class Request>
  Task<Result<Response>> unary(std::string_view path, const Request& request,
                               CallOptions options = CallOptions()) {
    return detail::parse_later<Response>(unary_bytes(path, detail::serialize(request), std::move(options)));
  }
  template <class Response, class Request>
  ReadCall<Response> server_stream(std::string_view path, const Request& request,
                                   CallOptions options = CallOptions()) {
    return ReadCall<Response>(server_stream_bytes(path, detail::serialize(request), std::move(options)));
  }
  template <class Request, class Response>
  WriteCall<Request, Response> client_stream(std::string_view path, CallOptions options = CallOptions()) {
    return WriteCall<Request, Response>(start(path, std::move(options)));
  }
  template <class Request, class Response>
  BidiCall<Request, Response> bidi(std::string_view path, CallOptions options = CallOptions()) {
    return BidiCall<Request, Response>(start(path, std::move(options)));
  }

  // The same in serialized messages.
  Task<Result<std::string>> unary_bytes(std::string_view path, Result<std::string> request,
                                        CallOptions options = CallOptions());
  RawCall server_stream_bytes(std::string_view path, Result<std::string> request,
                              CallOptions options = CallOptions());
  RawCall start(std::string_view path, CallOptions options = CallOptions());

  // Unary with what the server sent around the message.
  struct Reply {
    Result<std::string> message;
    Metadata headers, trailers;
  };
  Task<Reply> unary_with_metadata(std::string_view path, Result<std::string> request,
                                  CallOptions options = CallOptions());

  // Connects if there is no connection; ok as soon as there is one.
  Task<Result<void>> connect(Deadline deadline);
  bool connected() const;
  // Calls that have not ended.
  std::size_t open_calls() const;
  const std::string& name() const;

 private:
  std::shared_ptr<ChannelCore> core_;
};

}  // namespace d7y::grpc
