#include "net/http2/server.h"

#include <utility>

#include "net/http2/served_connection.h"

namespace d7y::http2 {
namespace detail {
namespace {

// After a retiring connection's first GOAWAY, when its client does not answer the PING.
constexpr auto kGoodbye = std::chrono::seconds(5);
// What handlers get to notice that their client has gone.
constexpr auto kFarewell = std::chrono::seconds(5);

ConnectionOptions connection_options(const ServerOptions& options) {
  ConnectionOptions made;
  made.session.server = true;
  made.session.stream_window = options.stream_window;
  made.session.connection_window = options.connection_window;
  made.session.max_concurrent_streams = options.max_streams;
  made.session.max_frame = 16 << 10;
  made.session.max_header_list = static_cast<std::uint32_t>(options.limits.head_bytes);
  made.stall_timeout = options.stall_timeout;
  return made;
}

}  // namespace

ServedConnection::ServedConnection(Server& server, std::unique_ptr<world::Stream> stream)
    : server_(server),
      loop_(server.world_.loop()),
      remote_(stream->remote()),
      resets_(server.options_.resets, server.options_.reset_burst, loop_.now()),
      pings_(server.options_.pings, server.options_.ping_burst, loop_.now()),
      heads_(*this, &ServedConnection::check_heads),
      idle_(*this, &ServedConnection::check_idle),
      goodbye_(*this, &ServedConnection::on_ping_ack),
      sweep_(*this),
      after_(server.first_),
      connection_(loop_, std::move(stream), connection_options(server.options_), *this, server.buffer_),
      handlers_(loop_) {
  if (after_ != nullptr) after_->before_ = this;
  server_.first_ = this;
  ++server_.numbers_.connections;
  heads_.set(loop_, loop_.now() + options().head_timeout);
  idle_.set(loop_, loop_.now() + options().idle_timeout);
}

ServedConnection::~ServedConnection() {
  handlers_.cancel();
  session().drop_streams(H2Error::kCancel, true);
  while (streams_ != nullptr) {
    auto* stream = streams_;
    streams_ = stream->after;
    delete stream;
  }
  (before_ != nullptr ? before_->after_ : server_.first_) = after_;
  if (after_ != nullptr) after_->before_ = before_;
  --server_.numbers_.connections;
}

Task<void> ServedConnection::run() {
  auto why = co_await connection_.run();
  server_.log_.debug("HTTP/2 connection from {} ended: {}", remote_.to_string(), why.message());
  session().drop_streams(H2Error::kCancel, true);
  (void)co_await handlers_.idle(Deadline::in(kFarewell, loop_.now()));
}

void ServedConnection::start(RequestStream& stream) { handlers_.spawn(stream.run()); }

Stream* ServedConnection::on_new_stream() {
  // Streams that were given up count until their handlers have noticed.
  if (said_goodbye_ || count_ >= std::size_t{2} * options().max_streams) return nullptr;
  idle_.cancel();
  // Until its fields are complete nothing else can come.
  heads_.set(loop_, loop_.now() + options().head_timeout);
  auto* stream = new RequestStream(*this, remote_);
  stream->after = streams_;
  if (streams_ != nullptr) streams_->before = stream;
  streams_ = stream;
  ++count_;
  return stream;
}

void ServedConnection::sweep() {
  for (auto* stream = streams_; stream != nullptr;) {
    auto* next = stream->after;
    // One whose fields never came to their end has no handler.
    if (!stream->attached() && (stream->handled() || !stream->fields_complete())) {
      (stream->before != nullptr ? stream->before->after : streams_) = next;
      if (next != nullptr) next->before = stream->before;
      delete stream;
      --count_;
    }
    stream = next;
  }
  if (count_ == 0 && !idle_.is_set()) idle_.set(loop_, loop_.now() + options().idle_timeout);
}

void ServedConnection::check_heads() {
  if (!session().remote_settings_seen()) {
    connection_.end(Error(ErrorCode::kTimeout, "no HTTP/2 SETTINGS came in time"));
    return;
  }
  for (auto* stream = streams_; stream != nullptr; stream = stream->after) {
    if (stream->fields_complete() || !stream->attached()) continue;
    connection_.end(Error(ErrorCode::kTimeout, "the fields of a request took too long"));
    return;
  }
}

void ServedConnection::check_idle() {
  if (retiring_) {
    connection_.end(Error(ErrorCode::kTimeout, "it was idle, and did not close"));
    return;
  }
  retire();
  idle_.set(loop_, loop_.now() + kGoodbye);
}

void ServedConnection::retire() {
  if (std::exchange(retiring_, true)) return;
  if (session().open_streams() == 0) {
    said_goodbye_ = true;
    session().goaway(H2Error::kNone, "");
    return;
  }
  // In two steps, so that requests which are on their way to us are still taken (RFC 9113 6.8).
  session().shutdown_notice();
  session().ping();
  goodbye_.set(loop_, loop_.now() + kGoodbye);
}

void ServedConnection::on_ping_ack() {
  if (!retiring_ || std::exchange(said_goodbye_, true)) return;
  session().goaway(H2Error::kNone, "");
}

void ServedConnection::on_ping() {
  if (pings_.take(1, loop_.now()) == 0) session().terminate(H2Error::kEnhanceYourCalm, "too many PINGs");
}

void ServedConnection::on_remote_reset() {
  if (resets_.take(1, loop_.now()) == 0) session().terminate(H2Error::kEnhanceYourCalm, "too many resets");
}

}  // namespace detail

Server::Server(world::World& world, http::Handler& handler, ServerOptions options, Log log)
    : world_(world), handler_(handler), options_(std::move(options)), log_(log), connections_(world.loop()) {}

Server::~Server() = default;

void Server::adopt(std::unique_ptr<world::Stream> stream) {
  ++numbers_.accepted;
  connections_.spawn(serve(std::move(stream)));
}

Task<void> Server::serve(std::unique_ptr<world::Stream> stream) {
  if (draining_) co_return;
  detail::ServedConnection connection(*this, std::move(stream));
  auto running = connection.run();
  co_await running;
}

Task<Result<void>> Server::drain(Deadline deadline) {
  draining_ = true;
  for (auto* connection = first_; connection != nullptr; connection = connection->after_)
    connection->retire();
  auto done = co_await connections_.idle(deadline);
  if (!done) {
    connections_.cancel();
    co_return error(ErrorCode::kTimeout, "requests still ran at the deadline and were cut");
  }
  co_return Result<void>{};
}

}  // namespace d7y::http2
