#include "net/http/server_connection.h"

#include <algorithm>
#include <array>

namespace d7y::http::detail {
namespace {

using State = world::Transfer::State;

constexpr std::size_t kRestBytes = 256 << 10;  // unread body that is read away to keep a connection
constexpr std::size_t kLingerBytes = 1 << 20;
constexpr auto kLingerTime = std::chrono::seconds(2);

}  // namespace

ServerConnection::ServerConnection(Server& server, std::unique_ptr<world::Stream> stream, bool tls)
    : server_(server),
      wire_(std::move(stream), MessageReader::Kind::kRequest, server.options_.limits),
      tls_(tls),
      after_(server.first_) {
  if (after_ != nullptr) after_->before_ = this;
  server.first_ = this;
}

ServerConnection::~ServerConnection() {
  (before_ != nullptr ? before_->after_ : server_.first_) = after_;
  if (after_ != nullptr) after_->before_ = before_;
}

std::optional<std::uint64_t> ConnectionRequest::length() const { return connection_.length_; }

Task<Result<std::size_t>> ConnectionRequest::read(MutableBytes buffer, Deadline deadline) {
  return connection_.read_body(buffer, deadline);
}

Deadline ServerConnection::in(Duration time) const { return Deadline::in(time, server_.world_.now()); }

Task<void> ServerConnection::run() {
  Next next = Next::kAgain;
  while (next == Next::kAgain) next = co_await serve_one();
  if (next == Next::kClose) co_await linger();
}

Task<Result<bool>> ServerConnection::await_head() {
  wire_.begin({});
  const auto& options = server_.options_;
  const auto idle = in(first_ ? options.head_timeout : options.idle_timeout);
  while (true) {
    auto here = wire_.poll_head();
    if (!here) {
      if (here.failed_with(ErrorCode::kReset) && !wire_.head_started()) co_return false;
      co_return here;
    }
    if (*here) co_return true;
    if (wire_.head_started()) break;
    if (server_.draining_) co_return false;
    auto woken = co_await wire_.stream().readable().wait(idle);
    if (!woken) co_return false;
  }
  auto got = co_await wire_.read_head(in(options.head_timeout));
  if (got.failed_with(ErrorCode::kTimeout)) {
    co_return error(ErrorCode::kTimeout, "the request's head took too long").with_status(408);
  }
  co_return got;
}

Task<ServerConnection::Next> ServerConnection::serve_one() {
  auto head = co_await await_head();
  if (!head) {
    if (head.error().status() == 0) co_return Next::kGone;  // the connection broke
    const auto next = co_await refuse(head.error(), wire_.reader().request().target);
    co_return next;
  }
  if (!*head) co_return first_ ? Next::kGone : Next::kClose;
  first_ = false;
  ++server_.numbers_.requests;

  auto& reader = wire_.reader();
  ConnectionRequest request(*this);
  request.head_ = std::move(reader.request());
  request.remote_ = wire_.stream().remote();
  request.tls_ = tls_;
  body_bytes_ = 0;
  length_.reset();
  if (reader.framing() == Framing::kLength) length_ = reader.content_length();
  if (reader.framing() == Framing::kNone) length_ = 0;
  continue_due_ = false;
  if (const auto expect = request.head_.headers.get("Expect"); expect && request.head_.minor_version == 1) {
    if (!same_name(*expect, "100-continue")) {
      const auto why = error(ErrorCode::kUnsupported, "unknown expectation").with_status(417);
      const auto next = co_await refuse(why, request.head_.target);
      co_return next;
    }
    continue_due_ = !wire_.body_complete() && !wire_.has_surplus();
  }
  if (length_ && *length_ > server_.options_.max_body) {
    const auto why =
        error(ErrorCode::kTooLarge, "the body is longer than {} bytes", server_.options_.max_body)
            .with_status(413);
    const auto next = co_await refuse(why, request.head_.target);
    co_return next;
  }

  ConnectionAnswer responder(*this);
  responder.bodyless_ = request.head_.method == "HEAD";
  responder.old_client_ = request.head_.minor_version == 0;
  responder.close_ = !reader.keep_alive();
  co_await server_.handler_.handle(request, responder);

  if (gone_) co_return Next::kGone;
  if (!responder.begun_) {
    auto sent = co_await responder.send(500, "text/plain", "the server has no answer to this request\n");
    if (!sent) co_return Next::kGone;
  }
  if (responder.cut_short_ && !responder.aborted_ && responder.visibly_short()) co_return Next::kClose;
  if (!responder.finished_ || responder.aborted_) {
    wire_.stream().abort();
    co_return Next::kGone;
  }
  if (responder.close_) co_return Next::kClose;
  const bool kept = co_await read_rest();
  co_return kept ? Next::kAgain : Next::kClose;
}

Task<ServerConnection::Next> ServerConnection::refuse(const Error& why, std::string_view target) {
  ++server_.numbers_.refused;
  ResponseHead head;
  head.status = why.status();
  const std::string body = server_.handler_.refusal(target, why, wire_.stream().remote(), head.headers);
  head.headers.set("Content-Length", fmt::format("{}", body.size()));
  complete(head, true);
  auto wire = to_wire(head);
  if (!wire) co_return Next::kGone;
  const std::array<Bytes, 2> parts = {as_bytes(*wire), as_bytes(body)};
  auto sent = co_await send(parts);
  co_return sent ? Next::kClose : Next::kGone;
}

// Ends the connection so that the client still gets what was sent: closing with unread bytes would
// reset it.
Task<void> ServerConnection::linger() {
  wire_.stream().finish_writing();
  const auto until = in(kLingerTime);
  std::vector<std::byte> waste(16 << 10);
  for (std::size_t total = 0; total < kLingerBytes;) {
    auto got = co_await world::read_some(wire_.stream(), waste, until);
    if (!got || *got == 0) co_return;
    total += *got;
  }
}

Task<Result<std::size_t>> ServerConnection::read_body(MutableBytes buffer, Deadline deadline) {
  if (wire_.body_complete()) co_return std::size_t{0};
  if (continue_due_) {
    continue_due_ = false;
    const std::array<Bytes, 1> part = {as_bytes("HTTP/1.1 100 Continue\r\n\r\n")};
    auto sent = co_await send(part);
    if (!sent) co_return std::move(sent).error();
  }
  const auto stall = in(server_.options_.stall_timeout);
  auto got = co_await wire_.read_body(buffer, deadline.or_earlier(stall));
  if (!got) {
    if (got.failed_with(ErrorCode::kTimeout)) {
      co_return error(ErrorCode::kTimeout, "the request's body took too long").with_status(408);
    }
    co_return got;
  }
  body_bytes_ += *got;
  if (wire_.body_complete()) body_read_.notify_all();
  if (turn_.spent(*got, server_.world_.now())) co_await yield();
  if (body_bytes_ > server_.options_.max_body) {
    co_return error(ErrorCode::kTooLarge, "the body is longer than {} bytes", server_.options_.max_body)
        .with_status(413);
  }
  co_return got;
}

Task<void> ServerConnection::hung_up() {
  // A body's reader sees the end of the connection itself.
  while (!wire_.body_complete()) (void)co_await body_read_.wait(Deadline::never());
  while (!gone_ && wire_.has_room()) {
    const auto state = wire_.read_ahead();
    if (state == State::kEnd || state == State::kFailed) co_return;
    if (state == State::kWouldBlock) (void)co_await wire_.stream().readable().wait(Deadline::never());
  }
  (void)co_await body_read_.wait(Deadline::never());  // the handler's end ends this
}

Task<bool> ServerConnection::read_rest() {
  if (wire_.body_complete()) co_return true;
  if (continue_due_) co_return false;  // whether the body will come is the client's guess
  std::vector<std::byte> waste(16 << 10);
  const auto until = in(kLingerTime);
  for (std::size_t total = 0; !wire_.body_complete() && total < kRestBytes;) {
    auto got = co_await wire_.read_body(waste, until);
    if (!got) co_return false;
    total += *got;
  }
  co_return wire_.body_complete();
}

Task<Result<void>> ServerConnection::send(std::span<const Bytes> parts) {
  std::array<Bytes, 4> left{};
  std::size_t count = 0;
  for (const auto part : parts) {
    if (!part.empty()) left[count++] = part;
  }
  std::size_t first = 0;
  auto& stream = wire_.stream();
  while (first < count) {
    const auto sent = stream.try_write(std::span(left).subspan(first, count - first), false);
    if (sent.state == State::kWouldBlock) {
      auto woken = co_await stream.writable().wait(in(server_.options_.stall_timeout));
      if (!woken) co_return error(ErrorCode::kTimeout, "the client does not read its answer");
      continue;
    }
    if (sent.state != State::kMoved) co_return stream.error();
    if (turn_.spent(sent.bytes, server_.world_.now())) co_await yield();
    for (auto moved = sent.bytes; moved > 0;) {
      const auto step = std::min(moved, left[first].size());
      left[first] = left[first].subspan(step);
      moved -= step;
      if (left[first].empty()) ++first;
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> ServerConnection::send_file(world::File& file, std::uint64_t offset,
                                               std::uint64_t length) {
  auto& stream = wire_.stream();
  while (length > 0) {
    const auto sent = stream.try_send_file(file, offset, length);
    switch (sent.state) {
      case State::kMoved:
        offset += sent.bytes;
        length -= sent.bytes;
        if (turn_.spent(sent.bytes, server_.world_.now())) co_await yield();
        break;
      case State::kWouldBlock: {
        auto woken = co_await stream.writable().wait(in(server_.options_.stall_timeout));
        if (!woken) co_return error(ErrorCode::kTimeout, "the client does not read its answer");
        break;
      }
      case State::kEnd:
        co_return error(ErrorCode::kCorrupt, "file {} ends {} bytes early", file.path(), length);
      case State::kFailed: co_return stream.error();
    }
  }
  co_return Result<void>{};
}

void ServerConnection::complete(ResponseHead& head, bool close) const {
  head.headers.set("Date", to_http_date(server_.world_.wall_now()));
  if (!server_.options_.name.empty()) head.headers.set("Server", server_.options_.name);
  if (close) head.headers.set("Connection", "close");
}

}  // namespace d7y::http::detail
