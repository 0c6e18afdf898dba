#include "net/http/wire.h"

#include <algorithm>

#include "net/tls/prefixed_stream.h"

namespace d7y::http::detail {

namespace {
// Holds a usual head. Longer ones are parsed as they come, and bodies go past it; thousands of open
// connections have one each.
constexpr std::size_t kInboxBytes = 4 << 10;
}  // namespace

Wire::Wire(std::unique_ptr<world::Stream> stream, MessageReader::Kind kind, Limits limits)
    : stream_(std::move(stream)), reader_(kind, limits) {}

void Wire::begin(std::string_view answers) {
  reader_.begin(answers);
  complete_ = false;
  left_ = 0;
}

void Wire::take(std::size_t count) {
  begin_ += count;
  if (begin_ == end_) begin_ = end_ = 0;
}

MutableBytes Wire::room() {
  if (inbox_.empty()) inbox_.resize(kInboxBytes);
  if (begin_ > 0) {
    std::memmove(inbox_.data(), inbox_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return MutableBytes(inbox_).subspan(end_);
}

Result<void> Wire::start_body() {
  left_ = reader_.framing() == Framing::kLength ? reader_.content_length() : 0;
  complete_ = reader_.framing() == Framing::kNone;
  return {};
}

Result<bool> Wire::feed() {
  TRY(const auto used, reader_.feed_head(surplus()));
  take(used);
  if (!reader_.head_complete()) return false;
  TRY_OK(start_body());
  return true;
}

Task<Result<bool>> Wire::read_head(Deadline deadline) {
  while (true) {
    CO_TRY(const bool done, feed());
    if (done) co_return true;
    const auto got = co_await world::read_some(*stream_, room(), deadline);
    if (!got) co_return got.error().clone();
    if (*got == 0) {
      if (!reader_.started()) co_return false;
      co_return error(ErrorCode::kReset, "the connection ended inside the head of a message");
    }
    end_ += *got;
  }
}

Result<bool> Wire::poll_head() {
  while (!reader_.head_complete()) {
    TRY(const bool done, feed());
    if (done) return true;
    const auto got = stream_->try_read(room());
    if (got.state == world::Transfer::State::kWouldBlock) return false;
    if (got.state == world::Transfer::State::kFailed) return stream_->error();
    if (got.state == world::Transfer::State::kEnd) {
      return error(ErrorCode::kReset, "the connection ended before the answer");
    }
    end_ += got.bytes;
  }
  return true;
}

Task<Result<std::size_t>> Wire::read_raw(MutableBytes buffer, Deadline deadline) {
  if (has_surplus()) {
    const auto count = std::min(buffer.size(), end_ - begin_);
    std::memcpy(buffer.data(), inbox_.data() + begin_, count);
    take(count);
    co_return count;
  }
  const auto got = co_await world::read_some(*stream_, buffer, deadline);
  if (!got) co_return got.error().clone();
  co_return *got;
}

Task<Result<std::size_t>> Wire::read_chunked(MutableBytes buffer, Deadline deadline) {
  while (true) {
    MessageReader::Decoded step;
    if (has_surplus()) {
      CO_TRY(step, reader_.decode(surplus(), buffer));
      take(step.consumed);
    } else {
      // Decoded where it lies; what follows the message's end is kept for the next one.
      const auto got = co_await world::read_some(*stream_, buffer, deadline);
      if (!got) co_return got.error().clone();
      if (*got == 0) co_return error(ErrorCode::kReset, "the connection ended inside a chunked body");
      CO_TRY(step, reader_.decode(buffer.first(*got), buffer));
      auto rest = buffer.first(*got).subspan(step.consumed);
      if (!rest.empty()) {
        if (inbox_.size() < rest.size()) inbox_.resize(std::max(rest.size(), kInboxBytes));
        std::memcpy(inbox_.data(), rest.data(), rest.size());
        end_ = rest.size();
      }
    }
    complete_ = reader_.body_complete();
    if (step.produced > 0 || complete_) co_return step.produced;
  }
}

Task<Result<std::size_t>> Wire::read_body(MutableBytes buffer, Deadline deadline) {
  if (complete_ || buffer.empty()) co_return std::size_t{0};
  switch (reader_.framing()) {
    case Framing::kNone: complete_ = true; co_return std::size_t{0};
    case Framing::kChunked: {
      auto got = co_await read_chunked(buffer, deadline);
      co_return got;
    }
    case Framing::kUntilClose: {
      auto got = co_await read_raw(buffer, deadline);
      if (got && *got == 0) complete_ = true;
      co_return got;
    }
    case Framing::kLength: break;
  }
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_));
  auto got = co_await read_raw(buffer.first(wanted), deadline);
  if (!got) co_return std::move(got).error();
  if (*got == 0) {
    co_return error(ErrorCode::kReset, "the connection ended after {} of {} bytes",
                    reader_.content_length() - left_, reader_.content_length());
  }
  left_ -= *got;
  complete_ = left_ == 0;
  co_return *got;
}

bool Wire::still_idle() {
  if (has_surplus()) return false;
  std::byte probe{};
  return stream_->try_read(MutableBytes(&probe, 1)).state == world::Transfer::State::kWouldBlock;
}

world::Transfer::State Wire::read_ahead() {
  const auto got = stream_->try_read(room());
  if (got.state == world::Transfer::State::kMoved) end_ += got.bytes;
  return got.state;
}

std::unique_ptr<world::Stream> Wire::release() {
  if (!has_surplus()) return std::move(stream_);
  std::string prefix(as_text(surplus()));
  begin_ = end_ = 0;
  return std::make_unique<net::PrefixedStream>(std::move(prefix), std::move(stream_));
}

}  // namespace d7y::http::detail
