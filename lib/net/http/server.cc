#include "net/http/server.h"

#include "net/http/server_connection.h"

namespace d7y::http {

std::string_view ServerRequest::path() const {
  const std::string_view target = head_.target;
  return target.substr(0, target.find('?'));
}

std::string_view ServerRequest::query() const {
  const std::string_view target = head_.target;
  const auto mark = target.find('?');
  return mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
}

Task<Result<std::string>> ServerRequest::read_all(std::size_t limit, Deadline deadline) {
  std::string body;
  std::vector<std::byte> buffer(16 << 10);
  while (true) {
    auto got = co_await read(buffer, deadline);
    if (!got) co_return std::move(got).error();
    if (*got == 0) co_return body;
    if (body.size() + *got > limit) {
      co_return error(ErrorCode::kTooLarge, "the body is longer than {} bytes", limit).with_status(413);
    }
    body.append(as_text(Bytes(buffer).first(*got)));
  }
}

Task<Result<void>> Responder::send(int status, std::string content_type, std::string body) {
  ResponseHead head;
  head.status = status;
  if (!content_type.empty()) head.headers.add("Content-Type", std::move(content_type));
  auto sent = co_await send(std::move(head), std::move(body));
  co_return sent;
}

Result<void> Responder::admit(std::uint64_t bytes) {
  if (!begun_ || finished_)
    return error(ErrorCode::kPrecondition, "body written before the head or after the end");
  if (left_ && bytes > *left_) {
    return error(ErrorCode::kInvalid, "{} bytes of body written where {} are left of the announced length",
                 bytes, *left_);
  }
  if (left_) *left_ -= bytes;
  return {};
}

Result<void> Responder::admit_end() const {
  if (!begun_ || finished_) return error(ErrorCode::kPrecondition, "ended before the head or twice");
  if (aborted_) return error(ErrorCode::kReset, "the connection broke during the answer");
  if (left_.value_or(0) > 0 && !bodyless_) {
    return error(ErrorCode::kPrecondition, "{} bytes of the announced length are missing", *left_);
  }
  return {};
}

std::string Handler::refusal(std::string_view, const Error& why, const Address&, Headers& headers) {
  headers.set("Content-Type", "text/plain");
  return why.message() + "\n";
}

Server::Server(world::World& world, Handler& handler, ServerOptions options, Log log)
    : world_(world), handler_(handler), options_(std::move(options)), log_(log), connections_(world.loop()) {}
Server::~Server() = default;

Task<void> Server::serve(world::Listener& listener) {
  while (!draining_) {
    while (numbers_.connections >= options_.max_connections) {
      if (auto woken = co_await room_.wait(Deadline::never()); !woken) co_return;
    }
    auto stream = co_await listener.accept(Deadline::never());
    if (!stream) {
      log_.warn("listener at {} gave up: {}", listener.local().to_string(), stream.error().message());
      co_return;
    }
    if (!draining_) adopt(std::move(stream).value());
  }
}

// One of the connections that count against the limit.
class Server::Counted {
 public:
  explicit Counted(Server& server) : server_(&server) { ++server.numbers_.connections; }
  Counted(Counted&& other) noexcept : server_(std::exchange(other.server_, nullptr)) {}
  ~Counted() {
    if (server_ == nullptr) return;
    --server_->numbers_.connections;
    server_->room_.notify_all();
  }

 private:
  Server* server_;
};

void Server::adopt(std::unique_ptr<world::Stream> stream) {
  ++numbers_.accepted;
  connections_.spawn(serve_stream(std::move(stream), Counted(*this)));
}

Task<void> Server::serve_stream(std::unique_ptr<world::Stream> stream, Counted) {
  bool tls = options_.tls != nullptr;
  if (tls) {
    const auto until = Deadline::in(options_.head_timeout, world_.now());
    if (options_.plaintext_too) {
      auto sniffed = co_await net::sniff_tls(std::move(stream), until);
      if (!sniffed) co_return;
      tls = sniffed->tls;
      stream = std::move(sniffed->stream);
    }
    if (tls) {
      auto secured = co_await net::tls_accept(std::move(stream), options_.tls, world_.wall_now(), until);
      if (!secured) {
        ++numbers_.refused;
        log_.debug("{}", secured.error().message());
        co_return;
      }
      stream = std::move(secured).value();
    }
  }
  detail::ServerConnection connection(*this, std::move(stream), tls);
  co_await connection.run();
}

Task<Result<void>> Server::drain(Deadline deadline) {
  draining_ = true;
  for (auto* connection = first_; connection != nullptr; connection = connection->after_) connection->wake();
  auto done = co_await connections_.idle(deadline);
  if (!done) {
    connections_.cancel();
    co_return error(ErrorCode::kTimeout, "requests still ran at the deadline and were cut");
  }
  co_return Result<void>{};
}

}  // namespace d7y::http
