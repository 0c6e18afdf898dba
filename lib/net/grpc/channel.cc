#include "net/grpc/channel.h"

#include <algorithm>
#include <utility>

#include "net/grpc/channel_core.h"

namespace d7y::grpc {

namespace {

http2::ConnectionOptions connection_options(const ChannelOptions& options) {
  http2::ConnectionOptions made;
  made.session.stream_window = options.stream_window;
  made.session.connection_window = options.connection_window;
  made.keepalive = options.keepalive;
  made.keepalive_timeout = options.keepalive_timeout;
  return made;
}

Channel::Connect connector(world::World& world, Address address) {
  return [&world, address = std::move(address)](Deadline deadline) {
    world::ConnectOptions options;
    options.keepalive = kTcpKeepalive;
    return world.network().connect(address, options, deadline);
  };
}

}  // namespace

// ------------------------------------------------------------------------------- ChannelCore

ChannelCore::ChannelCore(world::World& world, std::string name, Channel::Connect connect,
                         ChannelOptions options, Log log)
    : world(world),
      name(std::move(name)),
      options(std::move(options)),
      log(log.in("grpc")),
      connect_(std::move(connect)),
      scope_(world.loop()) {
  authority = this->options.authority.empty() ? this->name : this->options.authority;
  for (int i = 0; i < std::max(1, this->options.connections); ++i) {
    slots_.push_back(std::make_unique<Slot>(this->options.backoff_initial, this->options.backoff_max));
  }
}

ChannelCore::~ChannelCore() {
  waiting_.clear();
  while (first_ != nullptr) {
    first_->fail(first_->local_error(ErrorCode::kClosed, Code::kUnavailable, "the channel was closed"),
                 Code::kUnavailable);
  }
}

RawCall ChannelCore::start(std::string path, CallOptions call_options,
                           std::shared_ptr<const std::string> only_message) {
  auto exchange = std::make_shared<ClientExchange>(*this, std::move(path), std::move(call_options),
                                                   std::move(only_message));
  link(*exchange);
  submit(*exchange);
  return RawCall(std::move(exchange));
}

void ChannelCore::link(ClientExchange& exchange) {
  exchange.after_ = first_;
  if (first_ != nullptr) first_->before_ = &exchange;
  first_ = &exchange;
  ++open_calls;
}

void ChannelCore::forget(ClientExchange& exchange) {
  if (exchange.waiting()) {
    std::erase(waiting_, &exchange);
    exchange.set_waiting(false);
  }
  if (exchange.before_ == nullptr && first_ != &exchange) return;
  (exchange.before_ != nullptr ? exchange.before_->after_ : first_) = exchange.after_;
  if (exchange.after_ != nullptr) exchange.after_->before_ = exchange.before_;
  exchange.before_ = exchange.after_ = nullptr;
  --open_calls;
}

ClientConnection* ChannelCore::best() const {
  ClientConnection* chosen = nullptr;
  for (const auto& slot : slots_) {
    if (slot->ready == nullptr) continue;
    if (chosen == nullptr || slot->ready->session().open_streams() < chosen->session().open_streams()) {
      chosen = slot->ready;
    }
  }
  return chosen;
}

void ChannelCore::grow() {
  for (auto& slot : slots_) {
    if (slot->ready != nullptr || slot->trying) continue;
    slot->trying = true;
    scope_.spawn(run_slot(*slot));
    return;
  }
}

void ChannelCore::ensure_trying() {
  bool trying = std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) { return slot->trying; });
  if (!trying) grow();
}

void ChannelCore::submit(ClientExchange& exchange) {
  auto* connection = best();
  if (connection == nullptr) {
    ensure_trying();
    exchange.set_waiting(true);
    waiting_.push_back(&exchange);
    return;
  }
  if (slots_.size() > 1 && connection->session().open_streams() > 0) grow();
  exchange.begin(*connection);
}

void ChannelCore::send_waiting() {
  auto waiting = std::exchange(waiting_, {});
  for (auto* exchange : waiting) exchange->set_waiting(false);
  for (auto* exchange : waiting) submit(*exchange);
}

void ChannelCore::fail_waiting(const Error& why) {
  auto waiting = std::exchange(waiting_, {});
  for (auto* exchange : waiting) {
    if (exchange->options().wait_for_ready) {
      waiting_.push_back(exchange);
      continue;
    }
    exchange->set_waiting(false);
    exchange->fail(exchange->local_error(why.code(), Code::kUnavailable, why.message()), Code::kUnavailable);
  }
}

Task<void> ChannelCore::run_slot(Slot& slot) {
  for (;;) {
    if (slot.not_before > world.now()) co_await sleep_until(slot.not_before);
    Deadline deadline = Deadline::in(options.connect_timeout, world.now());
    Task<Result<std::unique_ptr<world::Stream>>> connecting = connect_(deadline);
    auto stream = co_await within(deadline, std::move(connecting));
    slot.not_before = world.now() + slot.backoff.next(world.random());
    slot.trying = false;
    if (stream) {
      ClientConnection connection(*this, slot, std::move(*stream));
      last_failure_.reset();
      attempted_.notify_all();
      send_waiting();
      Task<void> running = connection.run();
      co_await running;
      break;
    }
    log.debug("connecting to {}: {}", name, stream.error().message());
    last_failure_ = stream.error().clone();
    attempted_.notify_all();
    fail_waiting(stream.error());
    if (waiting_.empty()) break;
    slot.trying = true;
  }
  // Calls that came while no slot was free to try.
  if (!waiting_.empty() && !connected()) ensure_trying();
}

Task<Result<void>> ChannelCore::connect(Deadline deadline) {
  while (!connected()) {
    ensure_trying();
    CO_OK(co_await attempted_.wait(deadline));
    if (last_failure_ && !connected()) co_return last_failure_->clone();
  }
  co_return Result<void>{};
}

// ------------------------------------------------------------------------- ClientConnection

ClientConnection::ClientConnection(ChannelCore& core, ChannelCore::Slot& slot,
                                   std::unique_ptr<world::Stream> stream)
    : core_(core),
      slot_(slot),
      idle_(*this),
      connection_(core.world.loop(), std::move(stream), connection_options(core.options), *this,
                  core.buffer_) {
  slot_.ready = this;
}

ClientConnection::~ClientConnection() {
  leave_slot();
  // Of the channel's end; otherwise run() has done it.
  if (!why_) why_ = Error(ErrorCode::kClosed, "the channel was closed");
  session().drop_streams(http2::H2Error::kCancel, true);
}

Task<void> ClientConnection::run() {
  Task<Error> running = connection_.run();
  Error why = co_await running;
  core_.log.debug("connection to {} ended: {}{}{}", core_.name, why.message(),
                  goaway_.empty() ? "" : ", GOAWAY ", goaway_);
  if (!goaway_.empty()) {
    why_ = error(ErrorCode::kReset, "{} (the server said {})", why.message(), goaway_);
  } else if (why.code() == ErrorCode::kTimeout) {
    // The connection's time was over, not the call's.
    why_ = error(ErrorCode::kReset, "{}", why.message());
  } else {
    why_ = std::move(why);
  }
  leave_slot();
  session().drop_streams(http2::H2Error::kCancel, true);
}

void ClientConnection::leave_slot() {
  if (slot_.ready == this) slot_.ready = nullptr;
}

void ClientConnection::on_goaway(std::int32_t, http2::H2Error code, std::string_view debug) {
  leave_slot();
  // Printable, short: it ends up in messages.
  goaway_ = fmt::format("{} \"", http2::name_of(code));
  for (char c : debug.substr(0, 100)) goaway_.push_back(c >= ' ' && c <= '~' ? c : '?');
  goaway_.push_back('"');
  if (code == http2::H2Error::kEnhanceYourCalm && debug == "too_many_pings") core_.options.keepalive *= 2;
}

void ClientConnection::on_settings() {
  slot_.backoff.reset();
  slot_.not_before = {};
}

void ClientConnection::on_turn() {
  if (core_.options.idle_timeout.count() <= 0) return;
  if (session().open_streams() > 0) {
    idle_.cancel();
  } else if (!idle_.is_set()) {
    idle_.set(core_.world.loop(), core_.world.now() + core_.options.idle_timeout);
  }
}

void ClientConnection::check_idle() {
  if (session().open_streams() > 0) return;
  leave_slot();
  session().goaway(http2::H2Error::kNone, "");
}

// ------------------------------------------------------------------------------------ Channel

Channel::Channel(world::World& world, Address address, ChannelOptions options, Log log) {
  std::string name = address.to_string();
  if (address.family() == Address::Family::kUnix && options.authority.empty())
    options.authority = "localhost";
  core_ = std::make_shared<ChannelCore>(world, std::move(name), connector(world, std::move(address)),
                                        std::move(options), log);
}

Channel::Channel(world::World& world, std::string name, Connect connect, ChannelOptions options, Log log)
    : core_(std::make_shared<ChannelCore>(world, std::move(name), std::move(connect), std::move(options),
                                          log)) {}

Channel::~Channel() = default;
Channel::Channel(Channel&&) noexcept = default;
Channel& Channel::operator=(Channel&&) noexcept = default;

namespace {

Task<Result<std::string>> only_answer(RawCall call) {
  Task<Result<std::string>> message = detail::only_message(call);
  co_return co_await message;
}

Task<Result<std::string>> failed(Error error) { co_return std::move(error); }

Task<Channel::Reply> full_answer(RawCall call) {
  Task<Result<std::string>> reading = detail::only_message(call);
  Result<std::string> message = co_await reading;
  Channel::Reply reply{std::move(message), {}, {}};
  reply.headers = call.headers();
  reply.trailers = call.trailers();
  co_return std::move(reply);
}

Task<Channel::Reply> failed_reply(Error error) { co_return Channel::Reply{std::move(error), {}, {}}; }

}  // namespace

Task<Result<std::string>> Channel::unary_bytes(std::string_view path, Result<std::string> request,
                                               CallOptions options) {
  if (!request) return failed(std::move(request).error());
  return only_answer(server_stream_bytes(path, std::move(request), std::move(options)));
}

Task<Channel::Reply> Channel::unary_with_metadata(std::string_view path, Result<std::string> request,
                                                  CallOptions options) {
  if (!request) return failed_reply(std::move(request).error());
  return full_answer(server_stream_bytes(path, std::move(request), std::move(options)));
}

RawCall Channel::server_stream_bytes(std::string_view path, Result<std::string> request,
                                     CallOptions options) {
  if (!request) {
    auto call = core_->start(std::string(path), std::move(options), nullptr);
    call.cancel();
    return call;
  }
  auto message = std::make_shared<const std::string>(std::move(*request));
  return core_->start(std::string(path), std::move(options), std::move(message));
}

RawCall Channel::start(std::string_view path, CallOptions options) {
  return core_->start(std::string(path), std::move(options), nullptr);
}

Task<Result<void>> Channel::connect(Deadline deadline) { return core_->connect(deadline); }
bool Channel::connected() const { return core_->connected(); }
std::size_t Channel::open_calls() const { return core_->open_calls; }
const std::string& Channel::name() const { return core_->name; }

}  // namespace d7y::grpc
