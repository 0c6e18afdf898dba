// How many calls and new streams a second, per kind and per client, so that one kind or one client cannot use
// up what is there for all.
//
//   CallLimits limits(4000, now);
//   TRY_OK(limits.admit("/scheduler.v2.Scheduler/StatTask", remote, now));
//   StreamLimit streams(20'000, &limits);
//   CO_TRY(const StreamLimit::Place place, co_await streams.enter(call, world));
//
// Kinds: streams of downloads, announcements of hosts (ten times as many), questions about origins, and all
// other calls. A client address gets at most a quarter of each; the machine's own addresses are not told
// apart. Other calls beyond that are refused. Streams wait for their turn, since whoever is refused reads the
// origin instead (Dragonfly scheduler 0.12): a crowd would be there at once.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/address.h"
#include "base/result.h"
#include "base/task.h"
#include "base/token_bucket.h"
#include "world/world.h"

namespace d7y::grpc {
class ServerCall;
}

namespace d7y::scheduler {

// A queue that moves on so many times a second, after a pause that many at once.
class Turns {
 public:
  explicit Turns(std::uint64_t per_second = 1);
  // When whoever comes now has its turn; none if that would be later than `longest` from now.
  std::optional<TimePoint> take(Duration longest, TimePoint now);
  bool empty(TimePoint now) const { return last_ <= now; }

 private:
  Duration each_;
  TimePoint last_{};  // when there are as many free turns again as after a pause
};

class CallLimits {
 public:
  CallLimits(std::uint32_t per_second, TimePoint now);

  // kExhausted: too many of this kind, by all or by this client. Streams that wait for turns are let in.
  Result<void> admit(std::string_view path, const Address& from, TimePoint now);
  // When such a stream of this client may begin, for its own part, and, once that has come, for that of all.
  // kExhausted: the queue is too long.
  Result<TimePoint> turn_of(std::string_view path, const Address& from, TimePoint now);
  Result<TimePoint> turn_of_all(std::string_view path, TimePoint now);
  std::size_t clients() const { return clients_.size(); }

 private:
  enum Kind : std::uint8_t { kDownloads, kOrigins, kHosts, kOthers };
  static constexpr std::size_t kKinds = 4, kWaiting = 2;  // the first ones wait
  static Kind kind_of(std::string_view path);
  std::uint64_t rate_of(Kind kind) const { return kind == kHosts ? std::uint64_t{rate_} * 10 : rate_; }
  std::uint64_t share_of(Kind kind) const;  // of one client

  struct Client {
    std::array<Turns, kWaiting> turns;
    std::array<TokenBucket, kKinds - kWaiting> buckets;
    TimePoint last{};
  };
  // None: one that is not told apart.
  Client* client(const Address& from, TimePoint now);

  std::uint32_t rate_;
  std::array<Turns, kWaiting> turns_;
  std::array<TokenBucket, kKinds - kWaiting> all_;
  std::unordered_map<std::string, Client> clients_;  // by IP
};

// How many streams a client address may have open, so that one that opens them without end is refused before
// it costs others anything. The machine's own addresses may have any number.
class StreamLimit {
 public:
  // `turns`: their beginnings are spread by it; none: they begin at once.
  explicit StreamLimit(std::uint32_t most, CallLimits* turns = nullptr) : most_(most), turns_(turns) {}

  // A place for one stream, given back by its destructor.
  class Place {
   public:
    Place() = default;
    Place(StreamLimit& limit, std::string ip) : limit_(&limit), ip_(std::move(ip)) {}
    ~Place();
    Place(Place&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)), ip_(std::move(other.ip_)) {}
    Place& operator=(Place&&) = delete;

   private:
    StreamLimit* limit_ = nullptr;
    std::string ip_;
  };
  // kExhausted: the address has too many.
  Result<Place> open(const Address& from);
  // The same, and waits for the stream's turn. The headers go out before, because clients give up without
  // them after 10 s (Dragonfly scheduler 0.4).
  Task<Result<Place>> enter(grpc::ServerCall& call, world::World& world);

 private:
  std::uint32_t most_;
  CallLimits* turns_;
  std::unordered_map<std::string, std::uint32_t> open_;  // by IP
};

}  // namespace d7y::scheduler
