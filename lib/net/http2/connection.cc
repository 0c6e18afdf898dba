#include "net/http2/connection.h"

#include <array>
#include <utility>

namespace d7y::http2 {

namespace {

// Enough to fill a socket buffer, little enough to let urgent frames in soon.
constexpr std::size_t kOutputLimit = 256u << 10;
constexpr std::size_t kParts = 64;
// Full reads in a row before others on the loop get their turn.
constexpr int kReadsPerTurn = 4;

// Goes to the end of the loop's queue.
class Yield final {
 public:
  bool await_ready() const noexcept { return false; }
  template <d7y::detail::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    resumption_.bind(handle);
    resumption_.resume_later();
  }
  void await_resume() const noexcept {}

 private:
  Resumption resumption_;
};

}  // namespace

Connection::Connection(Loop& loop, std::unique_ptr<world::Stream> stream, const ConnectionOptions& options,
                       Owner& owner, ReadBuffer& buffer)
    : loop_(loop),
      stream_(std::move(stream)),
      options_(options),
      owner_(owner),
      buffer_(buffer),
      ears_(*this),
      flush_(*this),
      alarm_(*this),
      last_read_(loop.now()),
      session_(options.session, ears_) {}

Connection::~Connection() = default;

Task<Error> Connection::run() {
  Scope scope(loop_);
  scope.spawn(read());
  scope.spawn(write());
  loop_.make_ready(flush_);  // SETTINGS
  arm_keepalive();
  while (!why_) {
    if (auto woken = co_await ended_signal_.wait(Deadline::never()); !woken) break;
  }
  alarm_.cancel();
  flush_.unqueue();
  co_return why_->clone();
}

void Connection::end(Error why) {
  if (why_) return;
  why_ = std::move(why);
  ended_signal_.notify_all();
}

Task<void> Connection::read() {
  int reads = 0;
  while (!why_) {
    auto space = buffer_.bytes();
    auto got = stream_->try_read(space);
    switch (got.state) {
      case world::Transfer::State::kMoved: {
        last_read_ = loop_.now();
        pinged_ = false;
        auto taken = session_.receive(space.first(got.bytes));
        owner_.on_turn();
        if (!taken) {
          flush();
          end(std::move(taken).error());
          co_return;
        }
        if (session_.finished() && output_.empty()) {
          end(Error(ErrorCode::kClosed, "the connection has come to its end"));
          co_return;
        }
        if (++reads % kReadsPerTurn == 0 && got.bytes == space.size()) co_await Yield{};
        break;
      }
      case world::Transfer::State::kWouldBlock: {
        reads = 0;
        auto woken = co_await stream_->readable().wait(Deadline::never());
        if (!woken) co_return;
        break;
      }
      case world::Transfer::State::kEnd:
        end(Error(ErrorCode::kClosed, "the other side closed the connection"));
        co_return;
      case world::Transfer::State::kFailed: end(stream_->error()); co_return;
    }
  }
}

Task<void> Connection::write() {
  while (!why_) {
    if (!blocked_) {
      auto woken = co_await blocked_signal_.wait(Deadline::never());
      if (!woken) co_return;
      continue;
    }
    blocked_ = false;
    if (flush() || !blocked_) continue;
    auto deadline = options_.stall_timeout.count() > 0 ? Deadline::in(options_.stall_timeout, loop_.now())
                                                       : Deadline::never();
    auto woken = co_await stream_->writable().wait(deadline);
    if (woken.failed_with(ErrorCode::kTimeout)) {
      end(Error(ErrorCode::kTimeout, "the other side takes no bytes; gave up on the connection"));
    }
  }
}

bool Connection::flush() {
  if (blocked_ || why_) return false;
  for (;;) {
    if (output_.size() < kOutputLimit / 2) {
      auto pulled = session_.pull(output_, kOutputLimit);
      owner_.on_turn();
      if (!pulled) {
        end(std::move(pulled).error());
        return false;
      }
    }
    if (output_.empty()) break;
    std::array<Bytes, kParts> parts;
    auto count = output_.gather(parts);
    auto sent = stream_->try_write(std::span<const Bytes>(parts.data(), count), false);
    if (sent.state == world::Transfer::State::kMoved) {
      output_.advance(sent.bytes);
      continue;
    }
    if (sent.state == world::Transfer::State::kWouldBlock) {
      blocked_ = true;
      blocked_signal_.notify_all();
    } else {
      end(stream_->error());
    }
    return false;
  }
  if (session_.finished()) {
    stream_->finish_writing();
    end(Error(ErrorCode::kClosed,
              session_.fault().empty() ? "the connection has come to its end" : session_.fault()));
    return false;
  }
  if (!alarm_.is_set()) arm_keepalive();
  return true;
}

void Connection::arm_keepalive() {
  if (options_.keepalive.count() > 0) alarm_.set(loop_, loop_.now() + options_.keepalive);
}

void Connection::check_alive() {
  if (why_) return;
  if (pinged_) {
    if (loop_.now() - pinged_at_ >= options_.keepalive_timeout) {
      end(Error(ErrorCode::kReset, "the other side did not answer a PING; the connection is taken for dead"));
    } else {
      alarm_.set(loop_, pinged_at_ + options_.keepalive_timeout);
    }
    return;
  }
  auto due = last_read_ + options_.keepalive;
  if (loop_.now() < due) {
    alarm_.set(loop_, due);
    return;
  }
  if (session_.open_streams() == 0) return;  // flush() arms it again
  pinged_ = true;
  pinged_at_ = loop_.now();
  session_.ping();
  alarm_.set(loop_, pinged_at_ + options_.keepalive_timeout);
}

Stream* Connection::Ears::on_new_stream() { return connection_.owner_.on_new_stream(); }

void Connection::Ears::on_goaway(std::int32_t last_stream, H2Error code, std::string_view debug) {
  connection_.owner_.on_goaway(last_stream, code, debug);
}

void Connection::Ears::on_settings() { connection_.owner_.on_settings(); }
void Connection::Ears::on_ping() { connection_.owner_.on_ping(); }
void Connection::Ears::on_ping_ack() { connection_.owner_.on_ping_ack(); }
void Connection::Ears::on_remote_reset() { connection_.owner_.on_remote_reset(); }

void Connection::Ears::on_output() {
  if (!connection_.blocked_ && !connection_.why_) connection_.loop_.make_ready(connection_.flush_);
}

}  // namespace d7y::http2
