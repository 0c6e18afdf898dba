#include "swarm/parent_watch.h"

#include <algorithm>
#include <charconv>

#include "api/dfdaemon.h"
#include "api/methods.h"
#include "base/backoff.h"
#include "swarm/parent_link.h"
#include "swarm/sync_service.h"

namespace d7y::swarm {

namespace {

constexpr std::uint32_t kLostOfAll = 2;  // pieces by whose loss all are known to be lost

std::string_view sync_path(vortex::Kind kind) {
  switch (kind) {
    case vortex::Kind::kPersistent: return api::method::upload::kSyncPersistentPieces;
    case vortex::Kind::kPersistentCache: return api::method::upload::kSyncPersistentCachePieces;
    default: return api::method::upload::kSyncPieces;
  }
}

// "<ip>:<port> <abilities>"; none if it is not understood, then the parent is treated as a Rust one.
std::optional<DataAddress> parse_vortex_header(std::string_view text) {
  auto space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  auto address = Address::parse(text.substr(0, space));
  if (!address || address->family() == Address::Family::kUnix || address->port() == 0) return std::nullopt;
  auto number = text.substr(space + 1);
  DataAddress data{*address, 0};
  if (std::from_chars(number.data(), number.data() + number.size(), data.abilities).ec != std::errc()) {
    return std::nullopt;
  }
  constexpr auto kNeeded = vortex::kKeepsOpen | vortex::kStreams | vortex::kSubscribes;
  if ((data.abilities & kNeeded) != kNeeded) return std::nullopt;
  return data;
}

}  // namespace

ParentWatch::ParentWatch(ParentPool& pool, Candidate parent, WatchOptions options, Log log)
    : pool_(pool),
      parent_(std::move(parent)),
      options_(std::move(options)),
      log_(log.in("parents")),
      scope_(pool.world().loop()) {
  piece_limit_ = store::kMaxPieces;
  if (options_.content_length && options_.piece_length > 0) {
    auto count = (*options_.content_length + options_.piece_length - 1) / options_.piece_length;
    piece_limit_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, store::kMaxPieces));
  }
  scope_.spawn(run());
}

ParentWatch::~ParentWatch() = default;

Availability ParentWatch::has(std::uint32_t number) const {
  if (complete_.test(number)) return Availability::kComplete;
  return arriving_.test(number) ? Availability::kArriving : Availability::kNone;
}

void ParentWatch::retract(std::uint32_t number) {
  bool changed = complete_.clear(number);
  changed = arriving_.clear(number) || changed;
  if (changed) note();
}

void ParentWatch::lost(std::uint32_t number) {
  // One that still announces pieces may have others, and a single one may be damaged.
  const bool was_there = complete_.test(number);
  retract(number);
  if (!was_there || state_ != State::kEnded || ++lost_ < kLostOfAll) return;
  scope_.cancel();
  complete_.clear_all();
  state_ = State::kFailed;
  error_ = error(ErrorCode::kNotFound, "parent {} ({}) has lost what it announced", parent_.peer_id,
                 parent_.upload.to_string());
  note();
}

std::uint64_t ParentWatch::idle_tx() const {
  auto idle = parent_.max_tx - std::min(parent_.max_tx, parent_.tx);
  return std::max(idle, parent_.max_tx / 10);
}

void ParentWatch::note() {
  ++version_;
  changed_.notify_all();
}

Task<void> ParentWatch::run() {
  world::World& world = pool_.world();
  Backoff backoff(std::chrono::milliseconds(100), std::chrono::seconds(3));
  std::optional<Error> why;
  bool extensions = !options_.plain;
  // A parent that restarts, or a connection that breaks, is worth a few more tries.
  constexpr unsigned kTries = 4;
  while (backoff.tries() < kTries) {
    bool moved = false;
    if (auto known = extensions ? pool_.known(parent_.upload) : std::nullopt) {
      data_ = *known;
      moved = true;
    } else {
      Task<Result<void>> following = follow_sync_pieces(moved);
      auto followed = co_await following;
      if (followed && !moved) {
        state_ = State::kEnded;
        note();
        co_return;
      }
      if (!followed) why = std::move(followed).error();
    }
    if (moved) {
      Task<Result<void>> following = follow_bitmaps();
      auto followed = co_await following;
      if (followed) {
        state_ = State::kEnded;
        note();
        co_return;
      }
      why = std::move(followed).error();
      pool_.forget(parent_.upload);
      // What arrives there cannot be fetched without the connection's news about it.
      arriving_.clear_all();
      note();
    }
    // It told us plainly; asking again would not help.
    if (why && (why->code() == ErrorCode::kProtocol || why->code() == ErrorCode::kNotFound ||
                why->code() == ErrorCode::kInternal || why->code() == ErrorCode::kUnsupported ||
                why->code() == ErrorCode::kInvalid)) {
      break;
    }
    co_await sleep_for(backoff.next(world.random()));
  }
  if (!why) why = error(ErrorCode::kUnavailable, "gave up");
  error_ = std::move(*why).in(fmt::format("parent {} ({})", parent_.peer_id, parent_.upload.to_string()));
  log_.debug("{}", error_->message());
  state_ = State::kFailed;
  note();
}

Task<Result<void>> ParentWatch::follow_sync_pieces(bool& moved) {
  world::World& world = pool_.world();
  // The variants for persistent tasks have the same shape.
  api::dfdaemon::SyncPiecesRequest request;
  request.set_host_id(options_.host_id);
  request.set_task_id(options_.task_id);
  request.mutable_interested_piece_numbers()->Assign(options_.wanted.begin(), options_.wanted.end());
  grpc::CallOptions call_options;
  call_options.headers_deadline = Deadline::in(options_.answer_timeout, world.now());
  auto call = pool_.channel(parent_.upload)
                  .server_stream<api::dfdaemon::SyncPiecesResponse>(sync_path(options_.kind), request,
                                                                    std::move(call_options));
  Task<Result<void>> waiting = call.wait_headers();
  CO_OK(co_await waiting);
  if (auto header = call.headers().get(kVortexHeader); header && !options_.plain) {
    if (auto data = parse_vortex_header(*header)) {
      data_ = *data;
      pool_.remember(parent_.upload, data_);
      moved = true;
      co_return Result<void>{};  // leaves the call, which cancels it
    }
  }

  state_ = State::kFollowing;
  note();
  if (!host_followed_) {
    host_followed_ = true;
    scope_.spawn(follow_host());
  }
  for (;;) {
    Task<Result<std::optional<api::dfdaemon::SyncPiecesResponse>>> reading = call.read();
    auto read = co_await within(Deadline::in(options_.silence, world.now()), std::move(reading));
    CO_OK(read);
    if (!*read) co_return Result<void>{};
    const auto& said = **read;
    if (said.number() >= piece_limit_ || complete_.test(said.number())) continue;
    if (said.tcp_port() <= 0 || said.tcp_port() > 0xffff) {
      co_return error(ErrorCode::kProtocol, "it announces pieces at port {}", said.tcp_port());
    }
    auto address = Address::parse_ip(said.ip(), static_cast<std::uint16_t>(said.tcp_port()));
    if (!address) co_return error(ErrorCode::kProtocol, "it announces pieces at something that is no ip");
    data_.address = *address;
    complete_.set(said.number());
    note();
  }
}

// How busy a Rust parent's network is. Best effort: without it all parents look the same until measured.
Task<void> ParentWatch::follow_host() {
  world::World& world = pool_.world();
  api::dfdaemon::SyncHostRequest request;
  request.set_host_id(options_.host_id);
  request.set_peer_id(parent_.peer_id);
  grpc::CallOptions call_options;
  call_options.headers_deadline = Deadline::in(options_.answer_timeout, world.now());
  auto call =
      pool_.channel(parent_.upload)
          .server_stream<api::common::Host>(api::method::upload::kSyncHost, request, std::move(call_options));
  for (;;) {
    Task<Result<std::optional<api::common::Host>>> reading = call.read();
    auto read = co_await reading;
    if (!read || !*read) co_return;
    const auto& network = (**read).network();
    if (network.max_tx_bandwidth() == 0) continue;
    parent_.max_tx = network.max_tx_bandwidth();
    parent_.tx = network.tx_bandwidth();
    note();
  }
}

Task<Result<void>> ParentWatch::follow_bitmaps() {
  world::World& world = pool_.world();
  auto way = pool_.link(data_.address);
  way->set_d7y(true);
  Task<Result<std::shared_ptr<DataConnection>>> acquiring =
      way->acquire(nullptr, Deadline::in(pool_.options().connect_timeout, world.now()));
  CO_TRY(std::shared_ptr<DataConnection> connection, co_await acquiring);

  std::optional<Error> ended;
  Signal news;
  all_ = false;
  auto told = [this, &ended, &news](const vortex::Have* have, const Error* broken) {
    if (ended) return;
    if (broken != nullptr) {
      ended = broken->clone();
    } else if (auto applied = apply(*have); !applied) {
      ended = std::move(applied).error();
    }
    if (ended || all_) news.notify_all();
  };
  CO_TRY(auto subscription, connection->subscribe(options_.task_id, std::move(told)));
  // A d7y parent answers at once, or within the two seconds it gives a task to appear.
  auto first = Deadline::in(options_.answer_timeout, world.now());
  while (!ended && !all_) {
    auto deadline = state_ == State::kAsking ? first : Deadline::never();
    auto woken = co_await news.wait(deadline);
    if (!woken && state_ == State::kAsking && first.passed(world.now())) {
      co_return error(ErrorCode::kTimeout, "it does not say what it has");
    }
  }
  if (all_) {
    // Its pieces are known for good; how they are dealt may change as long as the connection lasts.
    state_ = State::kEnded;
    note();
    while (!ended) CO_OK(co_await news.wait(Deadline::never()));
    if (ended->code() == ErrorCode::kNotFound) co_return std::move(*ended);  // deleted there meanwhile
    co_return Result<void>{};
  }
  co_return std::move(*ended);
}

Result<void> ParentWatch::apply(const vortex::Have& have) {
  using What = vortex::Have::What;
  if (!all_) state_ = State::kFollowing;
  switch (have.what) {
    case What::kTask: {
      if (options_.piece_length != 0 && have.piece_length != options_.piece_length) {
        return error(ErrorCode::kProtocol, "it cuts the task into pieces of {} bytes, we into {}",
                     have.piece_length, options_.piece_length);
      }
      if (options_.same_version && !options_.same_version(have.version)) {
        complete_.clear_all();
        arriving_.clear_all();
        return error(ErrorCode::kProtocol, "it holds another version of the content");
      }
      if (have.content_length == vortex::Have::kUnknownLength) break;
      if (options_.content_length && have.content_length != *options_.content_length) {
        return error(ErrorCode::kProtocol, "its content has {} bytes, ours {}", have.content_length,
                     *options_.content_length);
      }
      content_length_ = have.content_length;
      if (have.piece_length > 0) {
        auto count = have.content_length / have.piece_length + (have.content_length % have.piece_length != 0);
        piece_limit_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(piece_limit_, count));
      }
      break;
    }
    case What::kComplete:
    case What::kArriving: {
      auto& bits = have.what == What::kComplete ? complete_ : arriving_;
      for (std::size_t byte = 0; byte < have.bitmap.size(); ++byte) {
        auto value = static_cast<std::uint8_t>(have.bitmap[byte]);
        for (std::uint32_t bit = 0; value != 0; ++bit, value >>= 1) {
          auto number = std::uint64_t{have.first} + byte * 8 + bit;
          if ((value & 1) != 0 && number < piece_limit_) bits.set(static_cast<std::uint32_t>(number));
        }
      }
      break;
    }
    case What::kGained:
      for (auto number : have.numbers) {
        if (number >= piece_limit_) continue;
        complete_.set(number);
        arriving_.clear(number);
      }
      break;
    case What::kStarted:
      for (auto number : have.numbers) {
        if (number < piece_limit_) arriving_.set(number);
      }
      break;
    case What::kLost:
      for (auto number : have.numbers) arriving_.clear(number);
      break;
    case What::kClear:
      complete_.clear_all();
      arriving_.clear_all();
      break;
    case What::kAll:
      all_ = true;
      arriving_.clear_all();
      break;
    case What::kShare:
      share_ = {have.share, have.shares};
      for (auto number : have.numbers) {
        if (number < piece_limit_) given_.set(number);
      }
      break;
    case What::kEnd:
      if (have.code == vortex::Code::kNotFound) {
        complete_.clear_all();
        arriving_.clear_all();
      }
      return error(have.code == vortex::Code::kNotFound ? ErrorCode::kNotFound
                   : have.code == vortex::Code::kBusy   ? ErrorCode::kExhausted
                                                        : ErrorCode::kInternal,
                   "it says: {}", have.message);
  }
  note();
  return {};
}

}  // namespace d7y::swarm
