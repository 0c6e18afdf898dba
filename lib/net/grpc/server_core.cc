#include "net/grpc/server_core.h"

#include <algorithm>
#include <set>
#include <utility>

namespace d7y::grpc {

namespace {

// Resets a client may make before it must be slow: one for every call of a busy peer is fine, a flood
// (CVE-2023-44487) is not.
constexpr std::uint64_t kResetsPerSecond = 500;
constexpr std::uint64_t kResetBurst = 5000;
constexpr int kPingStrikes = 2;
// After a retiring connection's first GOAWAY, when its client does not answer the PING.
constexpr Duration kGoodbye = std::chrono::seconds(5);

http2::ConnectionOptions connection_options(const ServerOptions& options) {
  http2::ConnectionOptions made;
  made.session.server = true;
  made.session.stream_window = options.stream_window;
  made.session.connection_window = options.connection_window;
  made.session.max_concurrent_streams = options.max_concurrent_streams;
  made.session.max_header_list = options.max_header_list;
  made.keepalive = options.keepalive;
  made.keepalive_timeout = options.keepalive_timeout;
  made.stall_timeout = options.stall_timeout;
  return made;
}

}  // namespace

// ------------------------------------------------------------------------------- ServerCore

ServerCore::ServerCore(world::World& world, ServerOptions options, Log log)
    : world(world),
      options(std::move(options)),
      log(log.in("grpc")),
      listening_(world.loop()),
      serving_(world.loop()) {}

ServerCore::~ServerCore() = default;

void ServerCore::add(std::unique_ptr<Method> method) {
  if (options.counters) method->counters = options.counters(method->path, method->kind);
  methods_.erase(method->path);
  methods_.emplace(method->path, method.get());
  all_methods_.push_back(std::move(method));
}

const Method* ServerCore::find(std::string_view path) const {
  auto found = methods_.find(path);
  return found == methods_.end() ? nullptr : found->second;
}

std::vector<std::string> ServerCore::services() const {
  std::set<std::string> names;
  for (const auto& [path, method] : methods_) {
    auto slash = path.rfind('/');
    if (path.starts_with('/') && slash > 0 && slash != std::string_view::npos) {
      names.emplace(path.substr(1, slash - 1));
    }
  }
  return {names.begin(), names.end()};
}

Result<Address> ServerCore::listen(const Address& at, ListenerOptions options) {
  TRY(auto listener, world.network().listen(at, options.listen));
  Address local = listener->local();
  listening_.spawn(accept(std::move(listener), std::move(options)));
  return local;
}

void ServerCore::serve(std::unique_ptr<world::Stream> stream) { serving_.spawn(carry(std::move(stream))); }

Task<void> ServerCore::accept(std::unique_ptr<world::Listener> listener, ListenerOptions options) {
  for (;;) {
    auto stream = co_await listener->accept(Deadline::never());
    if (!stream) {
      if (stream.failed_with(ErrorCode::kClosed)) co_return;
      log.warn("accepting at {}: {}", listener->local().to_string(), stream.error().message());
      co_await sleep_for(std::chrono::milliseconds(100));
      continue;
    }
    if (serving_.size() >= this->options.max_connections) {
      log.warn("dropped a connection from {}: {} are open already", (*stream)->remote().to_string(),
               serving_.size());
      continue;
    }
    serving_.spawn(serve_one(std::move(*stream), options));
  }
}

Task<void> ServerCore::serve_one(std::unique_ptr<world::Stream> stream, ListenerOptions options) {
  if (options.wrap) {
    Address remote = stream->remote();
    Deadline deadline = this->options.handshake_timeout.count() > 0
                            ? Deadline::in(this->options.handshake_timeout, world.now())
                            : Deadline::never();
    Task<Result<std::unique_ptr<world::Stream>>> wrapping = options.wrap(std::move(stream), deadline);
    auto wrapped = co_await within(deadline, std::move(wrapping));
    if (!wrapped) {
      log.debug("connection from {}: {}", remote.to_string(), wrapped.error().message());
      co_return;
    }
    if (*wrapped == nullptr) co_return;
    stream = std::move(*wrapped);
  }
  Task<void> carried = carry(std::move(stream));
  co_await carried;
}

Task<void> ServerCore::carry(std::unique_ptr<world::Stream> stream) {
  Address remote = stream->remote();
  struct Ended {  // also when it is cancelled
    ServerCore& core;
    ~Ended() { core.changed.notify_all(); }
  } ended{*this};
  ServerConnection connection(*this, std::move(stream));
  Task<Error> running = connection.run();
  Error why = co_await running;
  log.debug("connection from {} ended: {}", remote.to_string(), why.message());
}

Task<Result<void>> ServerCore::drain(Deadline deadline) {
  draining = true;
  listening_.cancel();
  for (ServerConnection* connection : connections) connection->retire(Duration{0});
  while (!connections.empty()) {
    auto waited = co_await changed.wait(deadline);
    if (waited) continue;
    if (waited.failed_with(ErrorCode::kClosed)) co_return std::move(waited).error();
    serving_.cancel();
    co_return error(ErrorCode::kTimeout, "{} calls did not end in time and were cancelled", open_calls);
  }
  serving_.cancel();  // handshakes that have not become connections
  co_return Result<void>{};
}

// ------------------------------------------------------------------------- ServerConnection

ServerConnection::ServerConnection(ServerCore& core, std::unique_ptr<world::Stream> stream)
    : core_(core),
      resets_(kResetsPerSecond, kResetBurst, core.world.now()),
      handshake_(*this, &ServerConnection::check_handshake),
      idle_(*this, &ServerConnection::check_idle),
      age_(*this, &ServerConnection::check_age),
      grace_(*this, &ServerConnection::end_of_grace),
      idle_since_(core.world.now()),
      connection_(core.world.loop(), std::move(stream), connection_options(core.options), *this,
                  core.buffer) {
  core_.connections.push_back(this);
  Loop& loop = core_.world.loop();
  const ServerOptions& options = core_.options;
  auto now = loop.now();
  if (options.handshake_timeout.count() > 0) handshake_.set(loop, now + options.handshake_timeout);
  if (options.idle_timeout.count() > 0) idle_.set(loop, now + options.idle_timeout);
  if (options.max_age.count() > 0) {
    // 90 % to 110 %, so that connections made together do not end together.
    auto tenth = options.max_age.count() / 10;
    auto jitter = static_cast<std::int64_t>(core_.world.random() % static_cast<std::uint64_t>(2 * tenth + 1));
    age_.set(loop, now + options.max_age + Duration(jitter - tenth));
  }
  if (core_.draining) retire(Duration{0});
}

ServerConnection::~ServerConnection() {
  session().drop_streams(http2::H2Error::kCancel, true);
  sweep();
  std::erase(core_.connections, this);
}

http2::Stream* ServerConnection::on_new_stream() { return new ServerExchange(*this); }

void ServerConnection::on_goaway(std::int32_t, http2::H2Error, std::string_view) {}

void ServerConnection::on_ping() {
  if (core_.options.min_ping_interval.count() <= 0) return;
  auto now = core_.world.now();
  auto frames = session().payload_frames_sent();
  bool busy = frames != frames_at_ping_;
  bool early = pinged_ && now - last_ping_ < core_.options.min_ping_interval;
  frames_at_ping_ = frames;
  last_ping_ = now;
  pinged_ = true;
  if (busy) {
    ping_strikes_ = 0;
  } else if (early && ++ping_strikes_ > kPingStrikes) {
    session().terminate(http2::H2Error::kEnhanceYourCalm, "too_many_pings");
  }
}

void ServerConnection::on_ping_ack() {
  if (!retiring_ || std::exchange(said_goodbye_, true)) return;
  session().goaway(http2::H2Error::kNone, "");
}

void ServerConnection::ask_client() {
  if (!retiring_) session().ping();  // the one of its end is under way
}

void ServerConnection::on_remote_reset() {
  if (resets_.take(1, core_.world.now()) == 0) {
    session().terminate(http2::H2Error::kEnhanceYourCalm, "too many resets");
  }
}

void ServerConnection::on_turn() {
  if (!to_sweep_.empty()) sweep();
  if (session().open_streams() > 0) {
    idle_since_ = TimePoint::max();
  } else if (idle_since_ == TimePoint::max()) {
    idle_since_ = core_.world.now();
  }
}

void ServerConnection::sweep_later(ServerExchange& exchange) {
  if (!std::exchange(exchange.swept_, true)) to_sweep_.push_back(&exchange);
}

void ServerConnection::sweep() {
  // Destructors of handlers may end further calls.
  for (std::size_t i = 0; i < to_sweep_.size(); ++i) {
    ServerExchange* exchange = to_sweep_[i];
    exchange->cancel();
    exchange->swept_ = false;
    if (!exchange->attached()) delete exchange;
  }
  to_sweep_.clear();
}

void ServerConnection::retire(Duration grace) {
  if (grace.count() > 0 && !grace_.is_set()) grace_.set(core_.world.loop(), core_.world.now() + grace);
  if (std::exchange(retiring_, true)) return;
  if (session().open_streams() == 0 && grace.count() == 0) {
    said_goodbye_ = true;
    session().goaway(http2::H2Error::kNone, "");
    return;
  }
  // In two steps, so that calls which are on their way to us are still taken (RFC 9113 6.8).
  session().shutdown_notice();
  session().ping();
  handshake_.set(core_.world.loop(), core_.world.now() + kGoodbye);
}

void ServerConnection::check_handshake() {
  if (retiring_) return on_ping_ack();
  if (!session().remote_settings_seen()) {
    connection_.end(Error(ErrorCode::kTimeout, "no HTTP/2 SETTINGS came in time"));
  }
}

void ServerConnection::check_idle() {
  Loop& loop = core_.world.loop();
  auto idle = core_.options.idle_timeout;
  if (session().open_streams() > 0) {
    idle_.set(loop, loop.now() + idle);
  } else if (idle_since_ != TimePoint::max() && loop.now() < idle_since_ + idle) {
    idle_.set(loop, idle_since_ + idle);
  } else {
    retire(core_.options.age_grace);
  }
}

void ServerConnection::check_age() { retire(core_.options.age_grace); }

void ServerConnection::end_of_grace() { session().terminate(http2::H2Error::kNone, "max_age"); }

}  // namespace d7y::grpc
