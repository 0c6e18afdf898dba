#include "net/http/exchange.h"

#include <algorithm>

namespace d7y::http::detail {
namespace {

constexpr std::size_t kPieceBytes = 64 << 10;  // of a produced body
constexpr int kMostInterim = 16;               // 1xx heads before the final one
// How long a server may stay silent after "Expect: 100-continue" (RFC 9110 10.1.1 names no number;
// curl waits as long).
constexpr auto kContinueWait = std::chrono::seconds(1);

// Reads heads until one is final; with `until_continue` a 100 ends it too.
Task<Result<void>> read_final_head(Connection& connection, std::string_view method, bool until_continue,
                                   Deadline deadline) {
  Wire& wire = connection.wire();
  for (int interim = 0; interim < kMostInterim; ++interim) {
    auto got = co_await wire.read_head(deadline);
    if (!got) co_return std::move(got).error();
    if (!*got) co_return error(ErrorCode::kReset, "the server closed the connection without an answer");
    const int status = wire.reader().response().status;
    if (status >= 200 || status == 101) co_return Result<void>{};
    wire.begin(method);
    if (until_continue && status == 100) co_return Result<void>{};
  }
  co_return error(ErrorCode::kProtocol, "more than {} interim answers", kMostInterim);
}

// Sends a produced body; true when the server answered before its end.
Task<Result<bool>> send_produced(Connection& connection, const Outgoing& request, Deadline deadline) {
  Wire& wire = connection.wire();
  Loop& loop = co_await this_loop();
  const auto length = request.producer->length();
  std::uint64_t sent = 0;
  std::vector<std::byte> buffer(kPieceBytes);
  while (true) {
    auto early = wire.poll_head();
    if (!early) co_return std::move(early).error();
    if (*early && wire.reader().response().status >= 200) co_return true;
    if (*early) wire.begin(request.method);  // an interim answer

    auto got = co_await request.producer->read(buffer, deadline);
    if (!got) co_return std::move(got).error().in("making the request's body");
    const Bytes data = Bytes(buffer).first(*got);
    sent += data.size();
    if (length && (sent > *length || (data.empty() && sent < *length))) {
      co_return error(ErrorCode::kInvalid, "the request's body has {} bytes where {} were announced", sent,
                      *length);
    }
    if (data.empty() && length) co_return false;
    const auto until = connection.stall_deadline(deadline, loop.now());
    if (length) {
      CO_OK(co_await world::write_all(wire.stream(), data, until));
    } else if (data.empty()) {
      CO_OK(co_await world::write_all(wire.stream(), as_bytes(kLastChunk), until));
      co_return false;
    } else {
      const std::string frame = chunk_header(data.size());
      CO_OK(co_await world::write_all(wire.stream(), as_bytes(frame), until, true));
      CO_OK(co_await world::write_all(wire.stream(), data, until, true));
      CO_OK(co_await world::write_all(wire.stream(), as_bytes(kChunkEnd), until));
    }
  }
}

// Sends a body that is in memory; true when the server answered before its end.
Task<Result<bool>> send_bytes(Connection& connection, const Outgoing& request, Deadline deadline) {
  Wire& wire = connection.wire();
  Loop& loop = co_await this_loop();
  Bytes left = as_bytes(request.body);
  while (!left.empty()) {
    auto early = wire.poll_head();
    if (!early) co_return std::move(early).error();
    if (*early && wire.reader().response().status >= 200) co_return true;
    if (*early) wire.begin(request.method);
    const auto piece = left.first(std::min(left.size(), kPieceBytes * 4));
    CO_OK(co_await world::write_all(wire.stream(), piece, connection.stall_deadline(deadline, loop.now())));
    left = left.subspan(piece.size());
  }
  co_return false;
}

}  // namespace

Task<Result<void>> exchange(Connection& connection, const Outgoing& request, Duration head_timeout,
                            Heard& heard, Deadline deadline) {
  Wire& wire = connection.wire();
  Loop& loop = co_await this_loop();
  wire.begin(request.method);
  heard.anything = false;

  const bool has_body = request.producer != nullptr || !request.body.empty();
  bool body_due = has_body, answered = false;
  const auto head_sent_by = connection.stall_deadline(deadline, loop.now());
  auto written = co_await world::write_all(wire.stream(), as_bytes(request.head), head_sent_by,
                                           has_body && !request.expect_continue);
  if (written && has_body && request.expect_continue) {
    auto asked = co_await read_final_head(connection, request.method, true,
                                          deadline.or_earlier(Deadline::in(kContinueWait, loop.now())));
    answered = asked && wire.reader().head_complete();
    heard.anything = heard.anything || wire.head_started() || asked.ok();
    if (!asked && (!asked.failed_with(ErrorCode::kTimeout) || deadline.passed(loop.now()))) {
      co_return std::move(asked).error();
    }
    body_due = !answered;
    if (answered) connection.keep = false;  // a server may still wait for the body it was promised
  }
  if (written && body_due) {
    Result<bool> sent = false;
    if (request.producer != nullptr) {
      heard.anything = true;  // the producer cannot be read a second time
      sent = co_await send_produced(connection, request, deadline);
    } else {
      sent = co_await send_bytes(connection, request, deadline);
    }
    if (sent) {
      answered = *sent;
    } else {
      written = std::move(sent).error();
    }
    if (answered || !written) connection.keep = false;
  }
  if (!written) {
    connection.keep = false;
    // A server that refuses a body may answer and close while we still write; the answer says more
    // than the broken pipe.
    const bool broken = written.failed_with(ErrorCode::kReset) || written.failed_with(ErrorCode::kIo);
    if (!broken || !has_body) co_return written;
    auto last = co_await read_final_head(connection, request.method, false, deadline);
    heard.anything = heard.anything || wire.head_started();
    if (!last) co_return written;
    co_return Result<void>{};
  }
  if (!answered) {
    const auto until = deadline.or_earlier(Deadline::in(head_timeout, loop.now()));
    auto got = co_await read_final_head(connection, request.method, false, until);
    heard.anything = heard.anything || wire.head_started();
    if (!got) {
      if (got.failed_with(ErrorCode::kTimeout) && !deadline.passed(loop.now())) {
        co_return error(ErrorCode::kTimeout, "the server did not answer within {} s",
                        std::chrono::duration_cast<std::chrono::seconds>(head_timeout).count());
      }
      co_return got;
    }
  }
  connection.keep = connection.keep && wire.reader().keep_alive();
  co_return Result<void>{};
}

}  // namespace d7y::http::detail
