// How an answer goes over an HTTP/1 connection.
#include <array>

#include "net/http/server_connection.h"

namespace d7y::http::detail {

// The head as it goes out: what the connection needs is added, what the handler must not decide is
// replaced.
Result<std::string> ConnectionAnswer::prepare(ResponseHead& head, std::optional<std::uint64_t> length) {
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

Task<Result<void>> ConnectionAnswer::send(ResponseHead head, std::string body) {
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

Task<Result<void>> ConnectionAnswer::begin(ResponseHead head, std::optional<std::uint64_t> length) {
  auto wire = prepare(head, length);
  if (!wire) co_return std::move(wire).error();
  const std::array<Bytes, 1> parts = {as_bytes(*wire)};
  auto sent = co_await connection_.send(parts);
  aborted_ = aborted_ || !sent;
  co_return sent;
}

Task<Result<void>> ConnectionAnswer::write(Bytes bytes) {
  CO_OK(admit(bytes.size()));
  if (bodyless_ || bytes.empty()) co_return Result<void>{};
  const std::string frame = chunked_ ? chunk_header(bytes.size()) : std::string();
  const std::array<Bytes, 3> parts = {as_bytes(frame), bytes, chunked_ ? as_bytes(kChunkEnd) : Bytes{}};
  auto sent = co_await connection_.send(parts);
  aborted_ = aborted_ || !sent;
  co_return sent;
}

Task<Result<void>> ConnectionAnswer::send_file(world::File& file, std::uint64_t offset,
                                               std::uint64_t length) {
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

Task<Result<void>> ConnectionAnswer::finish() {
  CO_OK(admit_end());
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

Task<void> ConnectionAnswer::hung_up() { return connection_.hung_up(); }

Task<Result<std::unique_ptr<world::Stream>>> ConnectionAnswer::take_stream(ResponseHead head) {
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

}  // namespace d7y::http::detail
