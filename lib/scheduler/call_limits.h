// How many calls and new streams a second, per kind and per client, so that one kind or one client cannot use
// up what is there for all.
//
//   CallLimits limits(4000, now);
//   TRY_OK(limits.admit("/scheduler.v2.Scheduler/AnnouncePeer", remote, now));
//
// Kinds: streams of downloads, announcements of hosts (ten times as many), questions about origins, and all
// other calls. A client address gets at most a quarter of each; the machine's own addresses are not told
// apart.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/address.h"
#include "base/result.h"
#include "base/token_bucket.h"

namespace d7y::scheduler {

class CallLimits {
 public:
  CallLimits(std::uint32_t per_second, TimePoint now);

  // kExhausted: too many of this kind, by all or by this client.
  Result<void> admit(std::string_view path, const Address& from, TimePoint now);
  std::size_t clients() const { return clients_.size(); }

 private:
  enum Kind : std::uint8_t { kDownloads, kHosts, kOrigins, kOthers };
  static constexpr std::size_t kKinds = 4;
  static Kind kind_of(std::string_view path);
  std::uint64_t rate_of(Kind kind) const { return kind == kHosts ? std::uint64_t{rate_} * 10 : rate_; }
  std::uint64_t share_of(Kind kind) const;  // of one client

  struct Client {
    std::array<TokenBucket, kKinds> buckets;
    TimePoint last{};
  };
  std::uint32_t rate_;
  std::array<TokenBucket, kKinds> all_;
  std::unordered_map<std::string, Client> clients_;  // by IP
};

// How many streams a client address may have open, so that one that opens them without end is refused before
// it costs others anything. The machine's own addresses may have any number.
class StreamLimit {
 public:
  explicit StreamLimit(std::uint32_t most) : most_(most) {}

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

 private:
  std::uint32_t most_;
  std::unordered_map<std::string, std::uint32_t> open_;  // by IP
};

}  // namespace d7y::scheduler
