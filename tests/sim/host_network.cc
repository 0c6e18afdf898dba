#include "sim/host_network.h"

#include <algorithm>

#include "sim/fabric.h"
#include "sim/host.h"
#include "sim/simulation.h"

namespace d7y::sim {

using namespace std::chrono_literals;
using world::Transfer;

namespace {
Error no_host() { return d7y::error(ErrorCode::kClosed, "this machine is not running"); }
constexpr int kSynTries = 6;  // tcp_syn_retries
}  // namespace

// ---- Streams. ----

SimStream::SimStream(std::shared_ptr<Connection> connection, int side)
    : host_(*connection->end(side).host),
      connection_(std::move(connection)),
      side_(side),
      local_(connection_->end(side).local),
      remote_(connection_->end(side).remote) {
  connection_->end(side_).handle = this;
  host_.streams().insert(this);
  connection_->watch_keepalive(side_);
  if (local_.family() == Address::Family::kUnix || remote_.family() == Address::Family::kUnix) {
    peer_ = world::PeerCredentials{connection_->end(1 - side_).host->id(), 0, 0};
  }
}

SimStream::~SimStream() {
  if (lent_to_ != nullptr) lent_to_->stop();
  if (!connection_) return;
  host_.streams().erase(this);
  connection_->close(side_);
}

void SimStream::detach() {
  connection_.reset();
  readable_.notify_all();
  writable_.notify_all();
}

void SimStream::give_back() {
  lent_to_ = nullptr;
  readable_.notify_all();
}

Transfer SimStream::try_read(MutableBytes buffer) {
  if (lent_to_ != nullptr) return {};
  return read_lent(buffer);
}

Transfer SimStream::read_lent(MutableBytes buffer) {
  if (!connection_) return {Transfer::State::kFailed};
  return connection_->read(side_, buffer);
}

Transfer SimStream::try_write(std::span<const Bytes> parts, bool more) {
  if (!connection_) return {Transfer::State::kFailed};
  return connection_->write(side_, parts, more);
}

Transfer SimStream::try_send_file(world::File& file, std::uint64_t offset, std::uint64_t length) {
  if (!connection_) return {Transfer::State::kFailed};
  return connection_->write_file(side_, file, offset, length);
}

Error SimStream::error() const {
  if (!connection_) return no_host();
  auto& end = connection_->end(side_);
  if (end.broken) return end.broken->clone();
  return d7y::error(ErrorCode::kInternal, "connection {} -> {} is not broken", local_.to_string(),
                    remote_.to_string());
}

void SimStream::finish_writing() {
  if (connection_) connection_->finish(side_);
}

void SimStream::abort() {
  if (lent_to_ != nullptr) lent_to_->stop();
  if (connection_) connection_->abort(side_);
}

std::optional<world::PeerCredentials> SimStream::peer_credentials() const { return peer_; }

// ---- Listeners. ----

SimListener::SimListener(Host& host, Address at, world::ListenOptions options)
    : host_(&host), at_(std::move(at)), options_(options) {
  host.listeners().emplace(at_, this);
}

SimListener::~SimListener() {
  for (auto& stream : queue_) stream->abort();
  if (host_ == nullptr) return;
  auto& all = host_->listeners();
  auto [first, last] = all.equal_range(at_);
  for (auto it = first; it != last; ++it) {
    if (it->second == this) {
      all.erase(it);
      break;
    }
  }
  if (at_.family() == Address::Family::kUnix) host_->disk().remove_socket(at_.path());
}

void SimListener::detach() {
  host_ = nullptr;
  arrived_.notify_all();
}

void SimListener::arrive(std::unique_ptr<SimStream> stream) {
  queue_.push_back(std::move(stream));
  arrived_.notify_one();
}

Task<Result<std::unique_ptr<world::Stream>>> SimListener::accept(Deadline deadline) {
  for (;;) {
    if (host_ == nullptr) co_return no_host();
    if (!queue_.empty()) {
      if (host_->has_descriptors()) break;
      Loop& loop = co_await this_loop();
      auto pause = Deadline::in(100ms, loop.now());
      if (deadline <= pause) {
        co_return d7y::error(ErrorCode::kExhausted, "accepting on {}: too many open files", at_.to_string());
      }
      co_await sleep_until(pause.when());
      continue;
    }
    auto woken = co_await arrived_.wait(deadline);
    if (!woken) {
      co_return d7y::error(woken.error().code(), "accepting on {}: nobody connected before the deadline",
                           at_.to_string());
    }
  }
  auto stream = std::move(queue_.front());
  queue_.pop_front();
  if (!queue_.empty()) arrived_.notify_one();
  co_return std::unique_ptr<world::Stream>(std::move(stream));
}

// ---- Connecting. ----

// A handshake under way. It outlives a caller who gave up: then it is `abandoned`.
class HostNetwork::Dial {
 public:
  Host* from = nullptr;
  std::uint64_t boot = 0;
  Address to = Address::ipv4({}, 0), local = Address::ipv4({}, 0);
  world::ConnectOptions options;
  int tries = 0;
  bool over = false, abandoned = false;
  std::unique_ptr<SimStream> stream;
  std::optional<Error> failure;
  Signal done;

  bool is_on() const { return !over && !abandoned && from->running() && from->boot() == boot; }
  void fail(ErrorCode code, std::string_view why) {
    if (over) return;
    over = true;
    failure = d7y::error(code, "connecting to {}: {}", to.to_string(), why);
    if (!stream) from->release_port(local);
    done.notify_all();
  }
};

void HostNetwork::send_syn(const std::shared_ptr<Dial>& dial) {
  if (!dial->is_on()) return;
  auto& fabric = dial->from->fabric();
  fabric.timeline().note("syn", dial->from->id(), dial->to.port(), static_cast<std::uint64_t>(dial->tries));
  bool is_unix = dial->to.family() == Address::Family::kUnix;
  Host* target =
      is_unix || dial->to.is_loopback() || dial->from->owns(dial->to) ? dial->from : fabric.host_of(dial->to);
  if (target == nullptr) {
    fabric.after(1ms, [dial] {
      if (dial->is_on()) dial->fail(ErrorCode::kRefused, "no route to host");
    });
    return;
  }
  // The next try, should this one be lost.
  auto pause = 1s * (1 << dial->tries);
  if (dial->tries++ >= kSynTries) {
    fabric.after(pause, [dial] {
      if (dial->is_on()) dial->fail(ErrorCode::kTimeout, "no answer");
    });
  } else {
    fabric.after(pause, [dial] { send_syn(dial); });
  }

  fabric.after(fabric.flight_time(*dial->from, *target, 0), [dial, target, &fabric] {
    Host& from = *dial->from;
    if (!fabric.open(from, *target)) return;
    auto way_back = fabric.flight_time(*target, from, 0);
    auto* listener = target->running() ? target->listener_for(dial->to) : nullptr;
    if (listener == nullptr) {
      fabric.after(way_back, [dial, target, &fabric] {
        if (!fabric.open(*target, *dial->from) || !dial->is_on()) return;
        dial->fail(ErrorCode::kRefused, "connection refused; nobody listens there");
      });
      return;
    }
    if (!listener->has_room()) return;  // the queue is full: as if the packet were lost
    listener->expect();
    fabric.after(way_back, [dial, target, &fabric] {
      auto* there = target->running() ? target->listener_for(dial->to) : nullptr;
      if (there != nullptr) there->give_up();
      if (!fabric.open(*target, *dial->from) || !dial->is_on()) return;
      if (there == nullptr) return dial->fail(ErrorCode::kReset, "reset while connecting");
      auto client_end = [&] {
        Endpoint end;
        end.host = dial->from;
        end.local = dial->local;
        end.remote = dial->to;
        end.keepalive = dial->options.keepalive;
        return end;
      }();
      Endpoint server_end;
      server_end.host = target;
      server_end.local = dial->to;
      server_end.remote = dial->local;
      server_end.keepalive = there->options().keepalive;
      auto connection = fabric.connect(std::move(client_end), std::move(server_end));
      fabric.timeline().note("connected", dial->from->id(), target->id(), connection->id());
      auto buffers = [&](int side, std::uint32_t send, std::uint32_t receive) {
        if (send != 0) connection->pipe(side).send_buffer = send;
        if (receive != 0)
          connection->pipe(1 - side).receive_buffer = connection->pipe(1 - side).credit = receive;
      };
      buffers(0, dial->options.send_buffer, dial->options.receive_buffer);
      buffers(1, there->options().send_buffer, there->options().receive_buffer);
      dial->stream = std::make_unique<SimStream>(connection, 0);
      auto accepted =
          std::make_shared<std::unique_ptr<SimStream>>(std::make_unique<SimStream>(connection, 1));
      dial->over = true;
      dial->done.notify_all();
      // The third packet of the handshake brings it to the listener.
      auto last = fabric.flight_time(*dial->from, *target, 0);
      connection->pipe(0).last_arrival = fabric.loop().now() + last;
      there->expect();
      auto boot = target->boot();
      fabric.after(last, [dial, target, accepted, boot] {
        if (!target->running() || target->boot() != boot) return;
        auto* where = target->listener_for(dial->to);
        if (where == nullptr) return (*accepted)->abort();
        where->give_up();
        where->arrive(std::move(*accepted));
      });
    });
  });
}

Result<Address> HostNetwork::source_for(const Address& to, const world::ConnectOptions& options) {
  if (to.family() == Address::Family::kUnix) return Address::unix_socket("");
  auto attempt = fmt::format("connecting to {}", to.to_string());
  Address ip = to;
  if (options.from) {
    ip = options.from->with_port(0);
    if (ip.family() != to.family()) {
      return error(ErrorCode::kInvalid, "{} from {}: the addresses are of different families", attempt,
                   ip.ip());
    }
    if (!ip.is_unspecified() && !host_.owns(ip)) {
      return error(ErrorCode::kInvalid, "{} from {}: no interface of this machine has that address", attempt,
                   ip.ip());
    }
  }
  if (!options.from || ip.is_unspecified()) {
    if (to.is_loopback() || host_.owns(to)) {
      ip = to.with_port(0);
    } else {
      auto& own = host_.addresses();
      auto same = std::find_if(own.begin(), own.end(), [&](auto& a) { return a.family() == to.family(); });
      if (same == own.end()) return error(ErrorCode::kRefused, "{}: network is unreachable", attempt);
      ip = *same;
    }
  }
  if (options.from && options.from->port() != 0) {
    auto wanted = ip.with_port(options.from->port());
    if (!host_.take_port(wanted))
      return error(ErrorCode::kExists, "{} from {}: in use", attempt, wanted.to_string());
    return wanted;
  }
  auto port = host_.free_port(ip);
  if (port == 0)
    return error(ErrorCode::kExhausted, "{}: no free local port left; use fewer connections at once",
                 attempt);
  return ip.with_port(port);
}

Task<Result<std::unique_ptr<world::Stream>>> HostNetwork::connect(Address to, world::ConnectOptions options,
                                                                  Deadline deadline) {
  if (!host_.running()) co_return no_host();
  if (!host_.has_descriptors()) {
    co_return error(ErrorCode::kExhausted, "connecting to {}: too many open files", to.to_string());
  }
  if (to.is_unspecified() && to.family() != Address::Family::kUnix) {
    auto loopback = to.family() == Address::Family::kIpv4 ? Address::parse_ip("127.0.0.1", to.port())
                                                          : Address::parse_ip("::1", to.port());
    to = std::move(*loopback);
  }
  CO_TRY(auto local, source_for(to, options));
  auto dial = std::make_shared<Dial>();
  struct Caller {
    Dial& dial;
    ~Caller() {
      if (!dial.over) dial.from->release_port(dial.local);
      dial.abandoned = true;
      dial.stream.reset();
    }
  } caller{*dial};
  dial->from = &host_;
  dial->boot = host_.boot();
  dial->to = to;
  dial->local = local;
  dial->options = options;
  send_syn(dial);
  while (!dial->over) {
    auto woken = co_await dial->done.wait(deadline);
    if (!woken && !dial->over) {
      co_return error(ErrorCode::kTimeout, "connecting to {}: no answer before the deadline", to.to_string());
    }
  }
  if (dial->failure) co_return std::move(*dial->failure);
  co_return std::unique_ptr<world::Stream>(std::move(dial->stream));
}

// ---- Listening. ----

Result<void> HostNetwork::check_bind(const Address& at, const world::ListenOptions& options) {
  auto& all = host_.listeners();
  for (auto& [address, listener] : all) {
    if (address.family() != at.family() || address.port() != at.port()) continue;
    if (at.family() == Address::Family::kUnix
            ? address != at
            : address != at && !address.is_unspecified() && !at.is_unspecified()) {
      continue;
    }
    if (options.reuse_port && listener->options().reuse_port && address == at) continue;
    return error(ErrorCode::kExists,
                 "listening on {}: address in use; stop the program that uses it or choose another one",
                 at.to_string());
  }
  return {};
}

Result<std::unique_ptr<world::Listener>> HostNetwork::listen(const Address& at,
                                                             const world::ListenOptions& options) {
  if (!host_.running()) return no_host();
  if (!host_.has_descriptors()) {
    return error(ErrorCode::kExhausted, "listening on {}: too many open files", at.to_string());
  }
  Address where = at;
  if (at.family() == Address::Family::kUnix) {
    TRY_OK(check_bind(at, options));
    TRY_OK(host_.disk().make_socket(at.path(), options.mode));
  } else {
    if (!at.is_unspecified() && !at.is_loopback() && !host_.owns(at)) {
      return error(ErrorCode::kInvalid, "listening on {}: no interface of this machine has that address",
                   at.to_string());
    }
    if (at.port() == 0) {
      auto port = host_.free_port(at.with_port(0));
      if (port == 0)
        return error(ErrorCode::kExhausted, "listening on {}: no free port left", at.to_string());
      host_.release_port(at.with_port(port));
      where = at.with_port(port);
    }
    TRY_OK(check_bind(where, options));
  }
  host_.fabric().timeline().note("listen", host_.id(), where.port());
  return std::unique_ptr<world::Listener>(std::make_unique<SimListener>(host_, where, options));
}

// ---- Names. ----

Task<Result<std::vector<Address>>> HostNetwork::resolve(std::string name, std::uint16_t port,
                                                        Deadline deadline) {
  std::vector<Address> addresses;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  if (auto literal = Address::parse_ip(name, port); literal) {
    addresses.push_back(std::move(*literal));
    co_return std::move(addresses);
  }
  if (name == "localhost") {
    std::array<std::uint8_t, 16> one{};
    one[15] = 1;
    addresses.push_back(Address::ipv4({127, 0, 0, 1}, port));
    addresses.push_back(Address::ipv6(one, port));
    co_return std::move(addresses);
  }
  auto* known = host_.fabric().find_name(name);
  auto delay = known != nullptr ? known->delay : Duration(1ms);
  auto fault = known != nullptr ? known->fault : std::optional(ErrorCode::kRefused);
  Loop& loop = co_await this_loop();
  auto answer = fault == ErrorCode::kTimeout ? Deadline::never() : Deadline::in(delay, loop.now());
  if (deadline < answer) {
    co_await sleep_until(deadline.when());
    co_return error(ErrorCode::kTimeout, "looking up \"{}\": the name server did not answer in time", name);
  }
  co_await sleep_until(answer.when());
  if (fault) co_return error(*fault, "looking up \"{}\": {}", name, name_of(*fault));
  known = host_.fabric().find_name(name);
  if (known->addresses.empty())
    co_return error(ErrorCode::kRefused, "looking up \"{}\": it has no address", name);
  for (auto& address : known->addresses) addresses.push_back(address.with_port(port));
  co_return std::move(addresses);
}

std::vector<world::Interface> HostNetwork::interfaces() {
  std::vector<world::Interface> result;
  world::Interface loopback;
  loopback.name = "lo";
  loopback.address = Address::ipv4({127, 0, 0, 1}, 0);
  loopback.up = true;
  result.push_back(loopback);
  for (auto& address : host_.addresses()) {
    world::Interface card;
    card.name = "eth0";
    card.address = address;
    card.speed_bits_per_second = host_.uplink().rate() * 8;
    card.up = true;
    card.received_bytes = host_.received_bytes();
    card.sent_bytes = host_.sent_bytes();
    result.push_back(card);
  }
  return result;
}

}  // namespace d7y::sim
