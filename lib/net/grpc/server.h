// A gRPC server: methods by path, listeners, limits.
//
//   Server server(world, options, log);
//   server.unary<StatTaskRequest, Task>("/scheduler.v2.Scheduler/StatTask",
//       [&](ServerCall& call, StatTaskRequest request) { return service.stat_task(call, std::move(request));
//       });
//   server.bidi<AnnouncePeerRequest, AnnouncePeerResponse>("/scheduler.v2.Scheduler/AnnouncePeer",
//       [&](ServerCall& call, Reader<AnnouncePeerRequest>& in, Writer<AnnouncePeerResponse>& out) {
//         return service.announce_peer(call, in, out);
//       });
//   TRY(Address at, server.listen(*Address::parse("0.0.0.0:8002")));
//
// Handlers return Task<Result<Response>> or Task<Result<void>>; an error becomes the call's status
// (status.h). Errors' messages and details go to the client. A handler may be a coroutine lambda: the
// server keeps it for as long as calls run. It may also be an ordinary lambda that calls a member coroutine.
//
// Everything runs on the world's loop. For several loops make one server per loop and listen with
// reuse_port.
#pragma once

#include <google/protobuf/arena.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/trace.h"
#include "net/grpc/method_counters.h"
#include "net/grpc/server_call.h"
#include "world/world.h"

namespace d7y::grpc {

struct ServerOptions {
  // Largest request message to accept, in bytes; more is RESOURCE_EXHAUSTED.
  std::uint64_t max_receive_message = 16u << 20;
  // Calls at a time per connection, as announced to the client. Rust clients queue beyond it.
  std::uint32_t max_concurrent_streams = 100'000;
  std::uint32_t max_connections = 100'000;
  // Header lists over this are refused. What we send stays under 16 KiB or what the client
  // announced, whichever is less: status details and then the message are cut (Dragonfly grpc 4.3).
  std::uint32_t max_header_list = 64u << 10;
  // How much a client may send ahead of the handler, in bytes.
  std::uint32_t stream_window = 1u << 20;
  std::uint32_t connection_window = 16u << 20;
  // A connection without calls gets GOAWAY after `idle`; one older than `max_age` (+-10 %) gets GOAWAY
  // and `age_grace` to finish its calls. 0: never.
  std::chrono::nanoseconds idle_timeout = std::chrono::minutes(10);
  std::chrono::nanoseconds max_age = std::chrono::hours(12);
  std::chrono::nanoseconds age_grace = std::chrono::minutes(5);
  // PING after so long without hearing from a client with open calls, and how long to wait for the
  // answer. 0: never.
  std::chrono::nanoseconds keepalive = std::chrono::minutes(5);
  std::chrono::nanoseconds keepalive_timeout = std::chrono::seconds(20);
  // PINGs closer together than this are a strike each, unless we sent headers or data in between; the
  // third ends the connection with ENHANCE_YOUR_CALM "too_many_pings". 0: no policy. Legitimate
  // clients ping every 300 s.
  std::chrono::nanoseconds min_ping_interval = std::chrono::seconds(240);
  // How long a new connection may take to send its preface and SETTINGS.
  std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(20);
  // A connection that takes none of our bytes for this long is dropped.
  std::chrono::nanoseconds stall_timeout = std::chrono::minutes(2);
  // Decides before the handler whether a call may run (rate limits, overload); an error refuses it. Not
  // asked for health checks, which must be answered under load too.
  std::function<Result<void>(const ServerCall&)> admit;
  // Asked once for each method; what it gives is counted from then on. Calls that `admit` refuses are none.
  std::function<MethodCounters(std::string_view path, MethodKind kind)> counters;
  // Takes a span of each call that `admit` was asked about, unless the caller's "traceparent" says that
  // nobody records it. None: no spans. Must outlive the server.
  SpanSink* spans = nullptr;
};

// How one listener treats new connections.
struct ListenerOptions {
  world::ListenOptions listen;
  // Turns an accepted stream into the one that carries HTTP/2: a TLS handshake, or sniffing whether the
  // client wants one. A null stream: somebody else took the connection. None: the stream itself.
  std::function<Task<Result<std::unique_ptr<world::Stream>>>(std::unique_ptr<world::Stream>, Deadline)> wrap;
};

struct MethodOptions {
  // Not subject to ServerOptions::admit.
  bool always_admit = false;
  // Streaming kinds: send the response headers when the handler first waits, not with the first message.
  bool headers_at_once = true;
};

class ServerCore;

class Server {
 public:
  using Handler = std::function<Task<Result<void>>(ServerCall&)>;
  using UnaryHandler = std::function<Task<Result<std::string>>(ServerCall&, std::string)>;
  // Answers without waiting, or has no answer now.
  using PromptHandler = std::function<std::optional<Result<std::string>>(ServerCall&, std::string_view)>;

  explicit Server(world::World& world, ServerOptions options = ServerOptions(), Log log = Log());
  // Cancels all calls and closes all connections. Not from inside a handler.
  ~Server();
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;

  // Registration: before or after listen(); a second handler for a path replaces the first.
  template <class Request, class Response>
  void unary(std::string path, std::function<Task<Result<Response>>(ServerCall&, Request)> handler,
             MethodOptions options = MethodOptions());
  // The same for what mostly needs no waiting: `prompt` is asked first, which costs no task, and `handler`
  // runs where it has no answer. The request's memory ends with prompt(), which may change it and must leave
  // no tasks in the call's scope.
  template <class Request, class Response>
  void unary(std::string path, std::function<std::optional<Result<Response>>(ServerCall&, Request&)> prompt,
             std::function<Task<Result<Response>>(ServerCall&, Request)> handler,
             MethodOptions options = MethodOptions());
  template <class Request, class Response>
  void server_stream(std::string path,
                     std::function<Task<Result<void>>(ServerCall&, Request, Writer<Response>&)> handler,
                     MethodOptions options = MethodOptions());
  template <class Request, class Response>
  void client_stream(std::string path,
                     std::function<Task<Result<Response>>(ServerCall&, Reader<Request>&)> handler,
                     MethodOptions options = MethodOptions());
  template <class Request, class Response>
  void bidi(std::string path,
            std::function<Task<Result<void>>(ServerCall&, Reader<Request>&, Writer<Response>&)> handler,
            MethodOptions options = MethodOptions());
  // The same in serialized messages: one in and one out, or as many as the handler moves with
  // call.read_bytes() and call.write_bytes().
  void unary_bytes(std::string path, UnaryHandler handler, MethodOptions options = MethodOptions());
  void unary_bytes(std::string path, PromptHandler prompt, UnaryHandler handler,
                   MethodOptions options = MethodOptions());
  void method(std::string path, MethodKind kind, Handler handler, MethodOptions options = MethodOptions());

  // Names of the services that have methods, sorted.
  std::vector<std::string> services() const;

  // Accepts connections at `at` (TCP or Unix socket) from now on; the real address, with the real port
  // where 0 was asked for. May be called several times.
  Result<Address> listen(const Address& at, ListenerOptions options = ListenerOptions());
  // Serves one connection that somebody else accepted.
  void serve(std::unique_ptr<world::Stream> stream);

  // Stops accepting, tells clients with GOAWAY to go elsewhere, waits for running calls; at `deadline`
  // the rest is cancelled. ok if all calls ended by themselves, else kTimeout.
  Task<Result<void>> drain(Deadline deadline);

  std::size_t connections() const;
  std::size_t open_calls() const;

 private:
  std::unique_ptr<ServerCore> core_;
};

namespace detail {

Task<Result<std::string>> only_request(ServerCall& call);

template <class Response>
Task<Result<std::string>> serialize_later(Task<Result<Response>> work) {
  auto response = co_await work;
  if (!response) co_return std::move(response).error();
  co_return serialize(*response);
}
Task<Result<std::string>> no_reply(Error error);

// The request with all its parts in one piece of memory, most of the time on the stack.
template <class Request, class Response>
std::optional<Result<std::string>> answer_promptly(
    ServerCall& call, std::string_view bytes,
    const std::function<std::optional<Result<Response>>(ServerCall&, Request&)>& prompt) {
  alignas(std::max_align_t) std::array<char, 4096> memory;
  google::protobuf::ArenaOptions options;
  options.initial_block = memory.data();
  options.initial_block_size = memory.size();
  google::protobuf::Arena arena(options);
  auto* request = google::protobuf::Arena::CreateMessage<Request>(&arena);
  if (auto parsed = parse_into(bytes, *request); !parsed) return std::move(parsed).error();
  auto response = prompt(call, *request);
  if (!response) return std::nullopt;
  if (!*response) return std::move(*response).error();
  return serialize(**response);
}

template <class Request, class Response>
Server::UnaryHandler parsing(std::function<Task<Result<Response>>(ServerCall&, Request)> handler) {
  return [handler = std::move(handler)](ServerCall& call, const std::string& bytes) {
    auto request = parse<Request>(bytes);
    if (!request) return no_reply(std::move(request).error());
    return serialize_later<Response>(handler(call, std::move(*request)));
  };
}

template <class Request, class Response>
Task<Result<void>> run_server_stream(
    ServerCall& call,
    const std::function<Task<Result<void>>(ServerCall&, Request, Writer<Response>&)>& handler) {
  CO_TRY(std::string bytes, co_await only_request(call));
  CO_TRY(Request request, parse<Request>(bytes));
  Writer<Response> writer(call);
  Task<Result<void>> work = handler(call, std::move(request), writer);
  co_return co_await work;
}

template <class Request, class Response>
Task<Result<void>> run_client_stream(
    ServerCall& call, const std::function<Task<Result<Response>>(ServerCall&, Reader<Request>&)>& handler) {
  Reader<Request> reader(call);
  Task<Result<Response>> work = handler(call, reader);
  CO_TRY(Response response, co_await work);
  CO_TRY(std::string reply, serialize(response));
  Task<Result<void>> written = call.write_bytes(std::move(reply));
  co_return co_await written;
}

template <class Request, class Response>
Task<Result<void>> run_bidi(
    ServerCall& call,
    const std::function<Task<Result<void>>(ServerCall&, Reader<Request>&, Writer<Response>&)>& handler) {
  Reader<Request> reader(call);
  Writer<Response> writer(call);
  Task<Result<void>> work = handler(call, reader, writer);
  co_return co_await work;
}

}  // namespace detail

template <class Request, class Response>
void Server::unary(std::string path, std::function<Task<Result<Response>>(ServerCall&, Request)> handler,
                   MethodOptions options) {
  unary_bytes(std::move(path), detail::parsing<Request, Response>(std::move(handler)), options);
}

template <class Request, class Response>
void Server::unary(std::string path,
                   std::function<std::optional<Result<Response>>(ServerCall&, Request&)> prompt,
                   std::function<Task<Result<Response>>(ServerCall&, Request)> handler,
                   MethodOptions options) {
  unary_bytes(
      std::move(path),
      [prompt = std::move(prompt)](ServerCall& call, std::string_view bytes) {
        return detail::answer_promptly<Request, Response>(call, bytes, prompt);
      },
      detail::parsing<Request, Response>(std::move(handler)), options);
}

template <class Request, class Response>
void Server::server_stream(std::string path,
                           std::function<Task<Result<void>>(ServerCall&, Request, Writer<Response>&)> handler,
                           MethodOptions options) {
  method(
      std::move(path), MethodKind::kServerStream,
      [handler = std::move(handler)](ServerCall& call) {
        return detail::run_server_stream<Request, Response>(call, handler);
      },
      options);
}

template <class Request, class Response>
void Server::client_stream(std::string path,
                           std::function<Task<Result<Response>>(ServerCall&, Reader<Request>&)> handler,
                           MethodOptions options) {
  method(
      std::move(path), MethodKind::kClientStream,
      [handler = std::move(handler)](ServerCall& call) {
        return detail::run_client_stream<Request, Response>(call, handler);
      },
      options);
}

template <class Request, class Response>
void Server::bidi(std::string path,
                  std::function<Task<Result<void>>(ServerCall&, Reader<Request>&, Writer<Response>&)> handler,
                  MethodOptions options) {
  method(
      std::move(path), MethodKind::kBidi,
      [handler = std::move(handler)](ServerCall& call) {
        return detail::run_bidi<Request, Response>(call, handler);
      },
      options);
}

}  // namespace d7y::grpc
