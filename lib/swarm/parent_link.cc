#include "swarm/parent_link.h"

#include <algorithm>

#include "swarm/piece_receiver.h"

namespace d7y::swarm {

namespace {

constexpr std::size_t kReadAhead = 4096;
constexpr std::uint64_t kYieldAfter = std::uint64_t{4} << 20;
// Requests on a connection from which on a further one is opened.
constexpr std::size_t kBusy = 2;
// A parent that vanishes without a word is noticed by probes on quiet connections (as Dragonfly: client 3.7).
constexpr std::chrono::seconds kKeepalive{5};
// Connections held ready for a Rust parent.
constexpr std::size_t kSpares = 2;

Error refused_by(const vortex::Refusal& refusal) {
  switch (refusal.code) {
    case vortex::Code::kNotFound: return error(ErrorCode::kNotFound, "the parent says: {}", refusal.message);
    case vortex::Code::kBusy: return error(ErrorCode::kExhausted, "the parent says: {}", refusal.message);
    default: return error(ErrorCode::kUnavailable, "the parent says: {}", refusal.message);
  }
}

}  // namespace

ParentLink::ParentLink(ParentPool& pool, Address address, Log log)
    : pool_(pool),
      world_(pool.world()),
      address_(std::move(address)),
      log_(log),
      last_use_(world_.now()),
      scope_(world_.loop()) {}

Task<Result<store::PieceInfo>> ParentLink::fetch(store::PieceClaim claim, const FetchOptions& options) {
  struct Counted {
    ParentLink& link;
    explicit Counted(ParentLink& owner) : link(owner) { ++link.fetching_; }
    ~Counted() {
      --link.fetching_;
      link.last_use_ = link.world_.now();
    }
  };
  Counted counted(*this);
  if (d7y_) {
    Task<Result<store::PieceInfo>> fetching = fetch_shared(std::move(claim), options);
    co_return co_await fetching;
  }
  Task<Result<store::PieceInfo>> fetching = fetch_alone(std::move(claim), options);
  co_return co_await fetching;
}

Task<Result<store::PieceInfo>> ParentLink::fetch_shared(store::PieceClaim claim,
                                                        const FetchOptions& options) {
  CO_TRY(std::shared_ptr<DataConnection> connection,
         co_await acquire(options.limit, options.deadline, options.apart));
  Task<Result<store::PieceInfo>> fetching = connection->fetch(std::move(claim), options);
  auto fetched = co_await fetching;
  if (!fetched && connection->broken() && !connection->proven()) {
    // It hung up on our first word: what it once was, it is d7y no more.
    log_.debug("parent {} does not know our extensions any more", address_.to_string());
    d7y_ = false;
  }
  co_return fetched;
}

void ParentLink::prune() {
  std::erase_if(connections_, [](const auto& connection) { return connection->broken(); });
}

Task<Result<std::shared_ptr<DataConnection>>> ParentLink::acquire(TokenBucket* limit, Deadline deadline,
                                                                  bool apart) {
  const auto busy = apart ? 1 : kBusy;
  for (;;) {
    prune();
    std::shared_ptr<DataConnection> best;
    std::size_t count = 0;
    for (const auto& connection : connections_) {
      if (connection->limit() != limit) continue;
      ++count;
      if (!best || connection->in_flight() < best->in_flight()) best = connection;
    }
    bool enough =
        best && (best->in_flight() < busy || count >= pool_.options().connections_per_parent || opening_);
    if (enough) co_return best;
    if (opening_) {
      CO_OK(co_await opened_.wait(deadline));
      continue;
    }

    struct Opening {
      ParentLink& link;
      explicit Opening(ParentLink& owner) : link(owner) { link.opening_ = true; }
      ~Opening() {
        link.opening_ = false;
        link.opened_.notify_all();
      }
    };
    Opening opening(*this);
    Task<Result<std::unique_ptr<world::Stream>>> connecting = connect(deadline);
    auto stream = co_await connecting;
    if (!stream) {
      if (best && !best->broken()) co_return best;
      co_return std::move(stream).error();
    }
    auto connection = std::make_shared<DataConnection>(pool_, address_, std::move(*stream), limit);
    connections_.push_back(connection);
    co_return connection;
  }
}

Task<Result<std::unique_ptr<world::Stream>>> ParentLink::connect(Deadline deadline) {
  last_use_ = world_.now();
  ++pool_.stats_.connections_opened;
  auto until = deadline.or_earlier(Deadline::in(pool_.options().connect_timeout, world_.now()));
  world::ConnectOptions how;
  how.keepalive = kKeepalive;
  Task<Result<std::unique_ptr<world::Stream>>> connecting =
      pool_.options().connect ? pool_.options().connect(address_, until)
                              : world_.network().connect(address_, how, until);
  auto stream = co_await connecting;
  if (!stream)
    co_return std::move(stream).error().in(fmt::format("connecting to parent {}", address_.to_string()));
  co_return stream;
}

// ---- Parents that serve one piece per connection

std::unique_ptr<world::Stream> ParentLink::take_spare() {
  while (!spares_.empty()) {
    Spare spare = std::move(spares_.front());
    spares_.pop_front();
    if (world_.now() - spare.opened < pool_.options().spare_lifetime) return std::move(spare.stream);
  }
  return nullptr;
}

Task<void> ParentLink::open_spare() {
  struct Counted {
    std::size_t& count;
    explicit Counted(std::size_t& counter) : count(counter) { ++count; }
    ~Counted() { --count; }
  };
  Counted counted(spares_opening_);
  Task<Result<std::unique_ptr<world::Stream>>> connecting =
      connect(Deadline::in(pool_.options().connect_timeout, world_.now()));
  auto stream = co_await connecting;
  if (!stream || d7y_) co_return;
  Spare spare{std::move(*stream), world_.now()};
  spares_.push_back(std::move(spare));
}

Task<Result<store::PieceInfo>> ParentLink::fetch_alone(store::PieceClaim claim, const FetchOptions& options) {
  auto began = world_.now();
  vortex::PieceRequest request{options.kind, claim.task()->id(), claim.number()};
  CO_TRY(std::string packet, vortex::encode(request, static_cast<std::uint8_t>(world_.random())));
  auto prefix = [&] { return fmt::format("piece {} from parent {}", request.number, address_.to_string()); };

  std::unique_ptr<world::Stream> stream = take_spare();
  vortex::AnswerReader reader;
  std::vector<std::byte> buffer(kReadAhead);
  Bytes ahead;
  std::optional<vortex::Answer> answer;
  auto answer_deadline = options.deadline.or_earlier(Deadline::in(options.stall_timeout, began));
  for (bool spare = stream != nullptr;; spare = false) {
    if (stream == nullptr) {
      Task<Result<std::unique_ptr<world::Stream>>> connecting = connect(options.deadline);
      CO_TRY(stream, co_await connecting);
    }
    // The next piece finds its connection open. Whether there is a next one shows by others running.
    if (!d7y_ && spares_.size() + spares_opening_ < std::min(kSpares, fetching_)) scope_.spawn(open_spare());
    Task<Result<void>> asking = ask(*stream, packet, reader, buffer, ahead, answer, answer_deadline);
    auto asked = co_await asking;
    if (asked) break;
    // A connection that was opened ahead may have died of old age.
    if (!spare || reader.partial() ||
        !(asked.failed_with(ErrorCode::kReset) || asked.failed_with(ErrorCode::kClosed))) {
      co_return std::move(asked).error().in(prefix());
    }
    stream.reset();
  }

  if (auto* refusal = std::get_if<vortex::Refusal>(&*answer)) co_return refused_by(*refusal).in(prefix());
  auto* content = std::get_if<vortex::PieceContent>(&*answer);
  if (content == nullptr || content->kind != options.kind) {
    co_return error(ErrorCode::kProtocol, "{}: it answers something else", prefix());
  }
  if (content->number != claim.number() || content->offset != claim.offset() ||
      content->length != claim.length()) {
    co_return error(ErrorCode::kProtocol,
                    "{}: it offers piece {} with {} bytes at {}, the task says {} at {}", prefix(),
                    content->number, content->length, content->offset, claim.length(), claim.offset());
  }
  bool keeps_open = (content->abilities & vortex::kOurAbilities) == vortex::kOurAbilities;
  if (keeps_open && !d7y_) {
    d7y_ = true;
    spares_.clear();
  }

  Task<Result<void>> receiving = receive_body(*stream, reader, ahead, claim, options);
  auto received = co_await receiving;
  if (!received) co_return std::move(received).error().in(prefix());
  if (keeps_open) {
    prune();
    connections_.push_back(
        std::make_shared<DataConnection>(pool_, address_, std::move(stream), options.limit));
  }
  Task<void> settling = claim.settled();
  co_await settling;
  ++pool_.stats_.pieces;
  co_return complete_piece(std::move(claim), content->digest, 0, world_.now() - began, options.peer_id,
                           address_);
}

// Sends one request and reads the packet that answers it. What was read beyond it is in `ahead`.
Task<Result<void>> ParentLink::ask(world::Stream& stream, std::string request, vortex::AnswerReader& reader,
                                   std::vector<std::byte>& buffer, Bytes& ahead,
                                   std::optional<vortex::Answer>& answer, Deadline deadline) {
  Task<Result<void>> writing = world::write_all(stream, as_bytes(request), deadline);
  CO_OK(co_await writing);
  while (!answer) {
    Task<Result<std::size_t>> reading = world::read_some(stream, buffer, deadline);
    CO_TRY(std::size_t got, co_await reading);
    // A Rust parent that cannot make sense of a request hangs up.
    if (got == 0) co_return error(ErrorCode::kReset, "the parent hung up without an answer");
    ahead = Bytes(buffer).first(got);
    CO_TRY(auto step, reader.feed(ahead));
    ahead = ahead.subspan(step.taken);
    answer = std::move(step.answer);
  }
  co_return Result<void>{};
}

Task<Result<void>> ParentLink::receive_body(world::Stream& stream, vortex::AnswerReader& reader, Bytes ahead,
                                            store::PieceClaim& claim, const FetchOptions& options) {
  std::uint64_t without_wait = 0;
  while (reader.body_left() > 0) {
    if (claim.superseded()) co_return error(ErrorCode::kPrecondition, "a rival completed it");
    if (options.deadline.passed(world_.now())) {
      co_return error(ErrorCode::kTimeout, "{} of {} bytes came in time", claim.position(), claim.length());
    }
    auto step = receive_step(stream, ahead, claim, reader.body_left(), pool_.options().limit, options.limit,
                             world_.now());
    switch (step.state) {
      case ReceiveStep::State::kMoved:
        reader.took_body(step.bytes);
        pool_.stats_.bytes += step.bytes;
        without_wait += step.bytes;
        if (options.received) options.received(step.bytes);
        if (step.refused) co_return std::move(*step.refused);
        if (without_wait >= kYieldAfter) {
          co_await sleep_until(world_.now());
          without_wait = 0;
        }
        break;
      case ReceiveStep::State::kPaced:
        co_await sleep_until(options.deadline.or_earlier(Deadline::at(step.again)).when());
        without_wait = 0;
        break;
      case ReceiveStep::State::kWouldBlock: {
        CO_OK(claim.publish());
        auto deadline = options.deadline.or_earlier(Deadline::in(options.stall_timeout, world_.now()));
        auto woken = co_await stream.readable().wait(deadline);
        if (!woken) {
          co_return error(ErrorCode::kTimeout, "it stalls with {} of {} bytes", claim.position(),
                          claim.length());
        }
        without_wait = 0;
        break;
      }
      case ReceiveStep::State::kEnd:
        co_return error(ErrorCode::kReset, "it ended with {} of {} bytes", claim.position(), claim.length());
      case ReceiveStep::State::kFailed: co_return stream.error();
    }
  }
  co_return Result<void>{};
}

bool ParentLink::collect(TimePoint now) {
  prune();
  std::erase_if(connections_, [&](const auto& connection) {
    // One that serves a limited download only is of no use after it.
    auto patience = connection->limit() != nullptr ? Duration(pool_.options().spare_lifetime)
                                                   : Duration(pool_.options().idle_timeout);
    return connection.use_count() == 1 && connection->idle() && now - connection->last_use() >= patience;
  });
  while (!spares_.empty() && now - spares_.front().opened >= pool_.options().spare_lifetime)
    spares_.pop_front();
  return connections_.empty() && spares_.empty() && scope_.size() == 0 && fetching_ == 0 && !opening_ &&
         now - last_use_ >= Duration(pool_.options().idle_timeout);
}

}  // namespace d7y::swarm
