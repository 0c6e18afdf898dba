#include "swarm/data_connection.h"

#include "swarm/content_version.h"

#include <algorithm>

#include "swarm/piece_receiver.h"

namespace d7y::swarm {

namespace {

// Headers are small; what is read beyond them is copied once into its piece.
constexpr std::size_t kReadAhead = 4096;
// How often is looked at what those do.
constexpr auto kLook = std::chrono::milliseconds(100);
// Bytes after which others get their turn on the loop, and after which somebody who waits for them sees them:
// a parent that is fast enough would have us read whole pieces before.
constexpr std::uint64_t kYieldAfter = std::uint64_t{1} << 20;
constexpr std::uint64_t kShowAfter = std::uint64_t{256} << 10;
// A piece whose beginning is here already is fetched from there on if that saves this much.
constexpr std::uint64_t kWorthSkipping = std::uint64_t{1} << 20;

Error refusal_of(vortex::Code code, std::string_view message) {
  switch (code) {
    case vortex::Code::kNotFound: return error(ErrorCode::kNotFound, "the parent says: {}", message);
    case vortex::Code::kBusy: return error(ErrorCode::kExhausted, "the parent says: {}", message);
    case vortex::Code::kCorrupt:
      // It found out itself that what it forwarded is wrong.
      return error(ErrorCode::kUnavailable, "the parent's own fetch went wrong: {}", message);
    default: return error(ErrorCode::kUnavailable, "the parent says: {}", message);
  }
}

}  // namespace

// Takes a request off the connection however its fetch ends.
class DataConnection::Registration {
 public:
  Registration(DataConnection& connection, std::uint32_t id, Request& request)
      : connection_(connection), id_(id), request_(request) {
    if (connection_.requests_.empty()) ++connection_.pool_.busy_;
    connection_.requests_[id_] = &request_;
  }
  ~Registration() {
    connection_.requests_.erase(id_);
    if (connection_.requests_.empty()) --connection_.pool_.busy_;
    connection_.last_use_ = connection_.world_.now();
    if (!request_.ended && !connection_.broken_) connection_.send(vortex::encode(vortex::Cancel{id_}));
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  DataConnection& connection_;
  std::uint32_t id_;
  Request& request_;
};

DataConnection::DataConnection(ParentPool& pool, Address address, std::unique_ptr<world::Stream> stream,
                               TokenBucket* limit)
    : pool_(pool),
      world_(pool.world()),
      address_(std::move(address)),
      stream_(std::move(stream)),
      limit_(limit),
      buffer_(kReadAhead),
      last_use_(world_.now()),
      last_byte_(world_.now()),
      scope_(world_.loop()) {
  scope_.spawn(read_forever());
  scope_.spawn(write_forever());
}

DataConnection::~DataConnection() = default;

Task<Result<store::PieceInfo>> DataConnection::fetch(store::PieceClaim claim, const FetchOptions& options) {
  auto self = shared_from_this();
  if (broken_) co_return broken_->clone();
  auto began = world_.now();
  if (claim.already() >= kWorthSkipping && claim.already() < claim.length()) claim.skip_already();
  auto from = claim.position();
  auto id = next_number_++;

  vortex::Fetch fetch{id, claim.task()->id(), claim.number(), from};
  CO_TRY(auto packet, vortex::encode(fetch));
  Request request;
  request.claim = &claim;
  request.options = &options;
  request.number = claim.number();
  request.last_byte = began;
  {
    Registration registration(*this, id, request);
    last_use_ = began;
    if (requests_.size() == 1) last_byte_ = began;
    send(std::move(packet));
    while (!request.ended) {
      if (claim.superseded())
        co_return error(ErrorCode::kPrecondition, "piece {} was completed by a rival", claim.number());
      auto stall = std::chrono::nanoseconds(options.stall_timeout);
      // Behind other pieces on this connection it has to wait as long as those go on.
      auto quiet_since = std::max(request.last_byte, request.overtaken.value_or(last_byte_));
      auto quiet_until = Deadline::in(stall, quiet_since);
      if (quiet_until.passed(world_.now())) {
        co_return error(ErrorCode::kTimeout, "piece {} from parent {}: no byte for {} s", claim.number(),
                        address_.to_string(),
                        std::chrono::duration_cast<std::chrono::seconds>(stall).count());
      }
      if (options.deadline.passed(world_.now())) {
        co_return error(ErrorCode::kTimeout, "piece {} from parent {}: {} of {} bytes came in time",
                        claim.number(), address_.to_string(), claim.position(), claim.length());
      }
      (void)co_await request.changed.wait(options.deadline.or_earlier(quiet_until));
    }
  }
  if (request.wrong) claim.discard();
  if (request.failure) {
    co_return std::move(*request.failure)
        .in(fmt::format("piece {} from parent {}", claim.number(), address_.to_string()));
  }
  Task<void> settling = claim.settled();
  co_await settling;
  ++pool_.stats_.pieces;
  co_return complete_piece(std::move(claim), request.digest, from, world_.now() - began, options.peer_id,
                           address_);
}

Result<std::unique_ptr<DataConnection::Subscription>> DataConnection::subscribe(const std::string& task_id,
                                                                                Told told) {
  if (broken_) return broken_->clone();
  auto number = next_number_++;
  TRY(auto packet, vortex::encode(vortex::Subscribe{number, task_id}));
  subscriptions_[number] = std::move(told);
  last_use_ = world_.now();
  send(std::move(packet));
  return std::make_unique<Subscription>(shared_from_this(), number);
}

DataConnection::Subscription::~Subscription() {
  // An ended one is unknown to the parent by now, which ignores the packet.
  if (connection_->subscriptions_.erase(number_) > 0 && !connection_->broken_) {
    connection_->send(vortex::encode(vortex::Unsubscribe{number_}));
  }
  connection_->last_use_ = connection_->world_.now();
}

void DataConnection::send(std::string packet) {
  if (broken_) return;
  if (outbox_.empty()) {
    Bytes part = as_bytes(packet);
    auto wrote = stream_->try_write(std::span<const Bytes>(&part, 1), false);
    if (wrote.state == world::Transfer::State::kMoved) packet.erase(0, wrote.bytes);
    if (packet.empty()) return;
  }
  outbox_ += packet;
  to_write_.notify_all();
}

Task<void> DataConnection::write_forever() {
  while (!broken_) {
    if (outbox_.empty()) {
      (void)co_await to_write_.wait(Deadline::never());
      continue;
    }
    Bytes part = as_bytes(outbox_);
    auto wrote = stream_->try_write(std::span<const Bytes>(&part, 1), false);
    if (wrote.state == world::Transfer::State::kMoved) {
      outbox_.erase(0, wrote.bytes);
    } else if (wrote.state == world::Transfer::State::kWouldBlock) {
      (void)co_await stream_->writable().wait(Deadline::never());
    } else {
      break_off(stream_->error());
    }
  }
}

Task<void> DataConnection::read_forever() {
  Task<Result<void>> reading = read();
  auto ended = co_await reading;
  break_off(ended ? error(ErrorCode::kReset, "the parent closed the connection") : std::move(ended).error());
}

Task<Result<void>> DataConnection::read() {
  for (;;) {
    if (reader_.body_left() > 0) {
      Task<Result<void>> taking = take_chunk();
      CO_OK(co_await taking);
      continue;
    }
    if (!ahead_.empty()) {
      CO_TRY(auto step, reader_.feed(ahead_));
      ahead_ = ahead_.subspan(step.taken);
      if (step.answer) {
        proven_ = true;
        CO_OK(handle(*step.answer));
      }
      continue;
    }
    world::Transfer got = stream_->try_read(buffer_);
    if (got.state == world::Transfer::State::kEnd) co_return Result<void>{};
    if (got.state == world::Transfer::State::kFailed) co_return stream_->error();
    if (got.state == world::Transfer::State::kMoved) ahead_ = Bytes(buffer_).first(got.bytes);
    if (got.state == world::Transfer::State::kWouldBlock) {
      CO_OK(co_await stream_->readable().wait(Deadline::never()));
    }
  }
}

// Whose bytes these are; null if nobody wants them any more.
DataConnection::Request* DataConnection::wanted() {
  auto found = requests_.find(chunk_of_);
  return found == requests_.end() || found->second->ended ? nullptr : found->second;
}

// Notes `bytes` of the chunk, for `request` if that still wants them.
void DataConnection::arrived(Request* request, std::uint64_t bytes) {
  reader_.took_body(bytes);
  last_byte_ = world_.now();
  for (auto& [id, other] : requests_) {
    if (id >= chunk_of_) break;
    if (!other->overtaken) other->overtaken = last_byte_;
  }
  pool_.stats_.bytes += bytes;
  if (request == nullptr) return;
  request->last_byte = last_byte_;
  request->overtaken.reset();
  if (request->options->received) request->options->received(bytes);
}

// Counts what others receive for us.
Task<void> DataConnection::follow(std::shared_ptr<world::Receiving> receiving, std::uint64_t ordered) {
  auto began = world_.now();
  for (std::uint64_t counted = 0;;) {
    Request* request = wanted();
    if (request == nullptr) receiving->stop();
    auto state = request == nullptr ? receiving->state() : request->claim->catch_up(*receiving);
    if (auto fresh = state.taken - counted; fresh > 0) {
      counted = state.taken;
      arrived(request, fresh);
    }
    if (state.ended) {
      fast_ = counted == ordered && world_.receiver()->terms().fast(ordered, world_.now() - began);
      co_return;
    }
    (void)co_await receiving->changed().wait(Deadline::in(kLook, world_.now()));
  }
}

// The bytes of one chunk, into the piece they belong to, or nowhere if nobody wants it any more.
Task<Result<void>> DataConnection::take_chunk() {
  while (reader_.body_left() > 0) {
    Request* request = wanted();
    if (request == nullptr) {
      if (!ahead_.empty()) {
        auto skip = std::min<std::uint64_t>(ahead_.size(), reader_.body_left());
        ahead_ = ahead_.subspan(skip);
        reader_.took_body(skip);
        continue;
      }
      auto room = MutableBytes(buffer_).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), reader_.body_left())));
      world::Transfer got = stream_->try_read(room);
      if (got.state == world::Transfer::State::kEnd)
        co_return error(ErrorCode::kReset, "the parent broke off");
      if (got.state == world::Transfer::State::kFailed) co_return stream_->error();
      reader_.took_body(got.bytes);
      if (got.state == world::Transfer::State::kWouldBlock) {
        CO_OK(co_await stream_->readable().wait(Deadline::never()));
      }
      continue;
    }
    if (request->claim->remaining() == 0) {
      fail(chunk_of_, *request,
           error(ErrorCode::kProtocol, "the parent sends more bytes than the piece has"));
      continue;
    }
    bool free = (pool_.options().limit == nullptr || pool_.options().limit->unlimited()) &&
                request->options->limit == nullptr;
    // One by itself is better off here, with its writes on another thread.
    if (fast_ && free && ahead_.empty() && pool_.busy_ > 1) {
      auto most = std::min(reader_.body_left(), request->claim->remaining());
      if (auto receiving = request->claim->lend(*stream_, most)) {
        Task<void> following = follow(std::move(receiving), most);
        co_await following;
        without_wait_ = 0;
        continue;
      }
    }
    const bool from_stream = ahead_.empty();  // what came with the header tells nothing about the stream
    const bool awaited = request->claim->awaited();  // a full buffer is shown at once, and then nobody waits
    auto step = receive_step(*stream_, ahead_, *request->claim, reader_.body_left(), pool_.options().limit,
                             request->options->limit, world_.now());
    switch (step.state) {
      case ReceiveStep::State::kMoved:
        if (from_stream) fast_ = world_.receiver() != nullptr && world_.receiver()->terms().fast(step.bytes);
        without_wait_ += step.bytes;
        arrived(request, step.bytes);
        // Only this piece's trouble; the rest of its bytes is skipped.
        if (step.refused) {
          fail(chunk_of_, *request, std::move(*step.refused));
          break;
        }
        if (without_wait_ >= kYieldAfter || (without_wait_ >= kShowAfter && awaited)) {
          if (auto published = request->claim->publish(); !published) {
            fail(chunk_of_, *request, std::move(published).error());
          }
          without_wait_ = 0;
          co_await sleep_until(world_.now());
        }
        break;
      case ReceiveStep::State::kPaced:
        // The limit is ours; nobody stalls.
        co_await sleep_until(step.again);
        last_byte_ = world_.now();
        if (auto again = requests_.find(chunk_of_); again != requests_.end())
          again->second->last_byte = world_.now();
        without_wait_ = 0;
        break;
      case ReceiveStep::State::kWouldBlock: {
        if (auto published = request->claim->publish(); !published) {
          fail(chunk_of_, *request, std::move(published).error());
          break;
        }
        CO_OK(co_await stream_->readable().wait(Deadline::never()));
        without_wait_ = 0;
        break;
      }
      case ReceiveStep::State::kEnd:
        co_return error(ErrorCode::kReset, "the parent broke off in the middle of a piece");
      case ReceiveStep::State::kFailed: co_return stream_->error();
    }
  }
  co_return Result<void>{};
}

Result<void> DataConnection::handle(const vortex::Answer& answer) {
  last_use_ = world_.now();
  if (auto* have = std::get_if<vortex::Have>(&answer)) {
    auto found = subscriptions_.find(have->subscription);
    if (found != subscriptions_.end()) found->second(have, nullptr);
    return {};
  }
  if (auto* start = std::get_if<vortex::PieceStart>(&answer)) {
    last_byte_ = world_.now();
    auto found = requests_.find(start->request);
    if (found == requests_.end() || found->second->ended) return {};
    auto& request = *found->second;
    const auto& claim = *request.claim;
    if (!versions_agree(start->version, version_tag(claim.task()->facts().version))) {
      fail(start->request, request,
           error(ErrorCode::kProtocol, "the parent offers a piece of another version of the content"));
      return {};
    }
    if (start->number != claim.number() || start->offset != claim.offset() ||
        start->length != claim.length()) {
      fail(start->request, request,
           error(ErrorCode::kProtocol, "the parent offers {} bytes at {}, the task says {} at {}",
                 start->length, start->offset, claim.length(), claim.offset()));
    }
    return {};
  }
  if (auto* chunk = std::get_if<vortex::PieceChunk>(&answer)) {
    chunk_of_ = chunk->request;
    return {};
  }
  if (auto* end = std::get_if<vortex::PieceEnd>(&answer)) {
    last_byte_ = world_.now();
    auto found = requests_.find(end->request);
    if (found == requests_.end() || found->second->ended) return {};
    auto& request = *found->second;
    if (end->code != vortex::Code::kOk) {
      request.wrong = end->code == vortex::Code::kCorrupt;
      request.failure = refusal_of(end->code, end->message);
    } else if (request.claim->remaining() > 0) {
      request.failure =
          error(ErrorCode::kProtocol, "the parent ended it {} bytes early", request.claim->remaining());
    } else if (end->digest.empty()) {
      // Every piece that a d7y peer has was summed up; only Dragonfly's may come without.
      request.failure = error(ErrorCode::kProtocol, "the parent does not say the digest of it");
    }
    request.digest = end->digest;
    request.ended = true;
    request.changed.notify_all();
    return {};
  }
  if (std::holds_alternative<vortex::Close>(answer))
    return error(ErrorCode::kReset, "the parent closed the connection");
  if (auto* refusal = std::get_if<vortex::Refusal>(&answer)) {
    return error(ErrorCode::kUnavailable, "the parent says: {}", refusal->message);
  }
  return error(ErrorCode::kProtocol, "the parent sent a piece that nobody asked for");
}

// Ends one request and tells the parent to stop it; the connection goes on.
void DataConnection::fail(std::uint32_t id, Request& request, Error why) {
  request.failure = std::move(why);
  request.ended = true;
  request.changed.notify_all();
  send(vortex::encode(vortex::Cancel{id}));
}

void DataConnection::break_off(Error why) {
  if (broken_) return;
  broken_ = std::move(why);
  stream_->abort();
  to_write_.notify_all();
  for (auto& [id, request] : requests_) {
    if (request->ended) continue;
    request->failure = broken_->clone();
    request->ended = true;
    request->changed.notify_all();
  }
  auto told = std::exchange(subscriptions_, {});
  for (auto& [number, tell] : told) tell(nullptr, &*broken_);
}

}  // namespace d7y::swarm
