#include "net/http/server.h"

#include <array>

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

std::optional<std::uint64_t> ServerRequest::length() const { return connection_.length_; }

Task<Result<std::size_t>> ServerRequest::read(MutableBytes buffer, Deadline deadline) {
  auto got = co_await connection_.read_body(buffer, deadline);
  co_return got;
}

Task<Result<std::string>> ServerRequest::read_all(std::size_t limit, Deadline deadline) {
  std::string body;
  std::vector<std::byte> buffer(16 << 10);
  while (true) {
    auto got = co_await connection_.read_body(buffer, deadline);
    if (!got) co_return std::move(got).error();
    if (*got == 0) co_return body;
    if (body.size() + *got > limit) {
      co_return error(ErrorCode::kTooLarge, "the body is longer than {} bytes", limit).with_status(413);
    }
    body.append(as_text(Bytes(buffer).first(*got)));
  }
}

// The head as it goes out: what the connection needs is added, what the handler must not decide is
// replaced.
Result<std::string> Responder::prepare(ResponseHead& head, std::optional<std::uint64_t> length) {
  if (begun_) return error(ErrorCode::kPrecondition, "a second answer to one request");
  begun_ = true;
  for (auto name : {"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive"}) {
    if (head.status != 101 || !same_name(name, "Connection")) head.headers.remove(name);
  }
  close_ = close_ || connection_.draining();
  const bool no_body = has_no_body(head.status);
  if (length && !no_body) head.headers.add("Content-Length", fmt::format("{}", *length));
  if (!length && !no_body) {
    if (old_client_) {
      close_ = true;
    } else {
      head.headers.add("Transfer-Encoding", "chunked");
      chunked_ = true;
    }
  }
  bodyless_ = bodyless_ || no_body;
  left_ = length;
  if (old_client_ && !close_) head.headers.set("Connection", "keep-alive");
  connection_.complete(head, close_);
  return to_wire(head);
}

Task<Result<void>> Responder::send(int status, std::string content_type, std::string body) {
  ResponseHead head;
  head.status = status;
  if (!content_type.empty()) head.headers.add("Content-Type", std::move(content_type));
  auto sent = co_await send(std::move(head), std::move(body));
  co_return sent;
}

Task<Result<void>> Responder::send(ResponseHead head, std::string body) {
  auto wire = prepare(head, body.size());
  if (!wire) co_return std::move(wire).error();
  const std::array<Bytes, 2> parts = {as_bytes(*wire), bodyless_ ? Bytes{} : as_bytes(body)};
  auto sent = co_await connection_.send(parts);
  if (!sent) {
    aborted_ = true;
    co_return sent;
  }
  left_ = 0;
  finished_ = true;
  co_return Result<void>{};
}

Task<Result<void>> Responder::begin(ResponseHead head, std::optional<std::uint64_t> length) {
  auto wire = prepare(head, length);
  if (!wire) co_return std::move(wire).error();
  const std::array<Bytes, 1> parts = {as_bytes(*wire)};
  auto sent = co_await connection_.send(parts);
  aborted_ = aborted_ || !sent;
  co_return sent;
}

// Whether `bytes` more of the body may be written now.
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

Task<Result<void>> Responder::write(Bytes bytes) {
  CO_OK(admit(bytes.size()));
  if (bodyless_ || bytes.empty()) co_return Result<void>{};
  const std::string frame = chunked_ ? chunk_header(bytes.size()) : std::string();
  const std::array<Bytes, 3> parts = {as_bytes(frame), bytes, chunked_ ? as_bytes(kChunkEnd) : Bytes{}};
  auto sent = co_await connection_.send(parts);
  aborted_ = aborted_ || !sent;
  co_return sent;
}

Task<Result<void>> Responder::send_file(world::File& file, std::uint64_t offset, std::uint64_t length) {
  CO_OK(admit(length));
  if (bodyless_ || length == 0) co_return Result<void>{};
  if (chunked_) {
    const std::string frame = chunk_header(length);
    const std::array<Bytes, 1> parts = {as_bytes(frame)};
    auto sent = co_await connection_.send(parts);
    if (!sent) aborted_ = true;
    if (!sent) co_return sent;
  }
  auto sent = co_await connection_.send_file(file, offset, length);
  if (sent && chunked_) {
    const std::array<Bytes, 1> parts = {as_bytes(kChunkEnd)};
    sent = co_await connection_.send(parts);
  }
  aborted_ = aborted_ || !sent;
  co_return sent;
}

Task<Result<void>> Responder::finish() {
  CO_OK(admit(0));
  if (aborted_) co_return error(ErrorCode::kReset, "the connection broke during the answer");
  if (left_.value_or(0) > 0 && !bodyless_) {
    co_return error(ErrorCode::kPrecondition, "{} bytes of the announced length are missing", *left_);
  }
  if (chunked_ && !bodyless_) {
    const std::array<Bytes, 1> parts = {as_bytes(kLastChunk)};
    auto sent = co_await connection_.send(parts);
    if (!sent) {
      aborted_ = true;
      co_return sent;
    }
  }
  finished_ = true;
  co_return Result<void>{};
}

Task<void> Responder::hung_up() {
  auto gone = connection_.hung_up();
  co_await gone;
}

void Responder::abort() {
  begun_ = true;
  aborted_ = true;
}

Task<Result<std::unique_ptr<world::Stream>>> Responder::take_stream(ResponseHead head) {
  if (begun_) co_return error(ErrorCode::kPrecondition, "a second answer to one request");
  begun_ = true;
  head.headers.set("Date", to_http_date(connection_.wall_now()));
  auto wire = to_wire(head);
  if (!wire) co_return std::move(wire).error();
  const std::array<Bytes, 1> parts = {as_bytes(*wire)};
  auto sent = co_await connection_.send(parts);
  if (!sent) {
    aborted_ = true;
    co_return std::move(sent).error();
  }
  finished_ = true;
  connection_.gone_ = true;
  co_return connection_.wire_.release();
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
