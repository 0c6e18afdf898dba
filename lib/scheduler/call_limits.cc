#include "scheduler/call_limits.h"

#include <algorithm>

#include "net/grpc/server.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kMostClients = 20'000;  // remembered; those that were quiet go first
constexpr Duration kQuiet = std::chrono::seconds(2);
// Of a stream for its turn: 80,000 of them at 4,000 a second. Clients wait for longer (Dragonfly scheduler
// 0.4).
constexpr Duration kLongestWait = std::chrono::seconds(20);
constexpr std::uint64_t kLeastShare = 16, kLeastHosts = 160;  // a second, of calls and of announcements

}  // namespace

Turns::Turns(std::uint64_t per_second)
    : each_(Duration(std::chrono::seconds(1)) / std::max<std::uint64_t>(per_second, 1)) {}

std::optional<TimePoint> Turns::take(Duration longest, TimePoint now) {
  // A second's worth may come at once.
  const auto free = last_ + each_ - std::chrono::seconds(1);
  const auto turn = std::max(now, free);
  if (turn - now > longest) return std::nullopt;
  last_ = std::max(last_, now) + each_;
  return turn;
}

CallLimits::CallLimits(std::uint32_t per_second, TimePoint now) : rate_(per_second) {
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    const auto rate = rate_of(static_cast<Kind>(kind));
    if (kind < kWaiting) {
      turns_[kind] = Turns(rate);
    } else {
      all_[kind - kWaiting] = TokenBucket(rate, rate, now);
    }
  }
}

CallLimits::Kind CallLimits::kind_of(std::string_view path) {
  const auto method = path.substr(path.rfind('/') + 1);
  if (method == "AnnounceHost" || method == "DeleteHost") return kHosts;
  if (method.starts_with("Announce")) return kDownloads;
  if (method == "StatOrigin") return kOrigins;
  return kOthers;
}

std::uint64_t CallLimits::share_of(Kind kind) const {
  return std::max(kind == kHosts ? kLeastHosts : kLeastShare, rate_of(kind) / 4);
}

CallLimits::Client* CallLimits::client(const Address& from, TimePoint now) {
  if (from.family() == Address::Family::kUnix || from.is_loopback()) return nullptr;
  if (clients_.size() >= kMostClients) {
    // A full bucket says nothing that a new one does not.
    std::erase_if(clients_, [&](const auto& entry) {
      const auto& turns = entry.second.turns;
      return now - entry.second.last > kQuiet &&
             std::all_of(turns.begin(), turns.end(), [&](const Turns& each) { return each.empty(now); });
    });
    if (clients_.size() >= kMostClients) clients_.clear();
  }
  auto& found = clients_[from.ip()];
  if (found.last == TimePoint{}) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      const auto rate = share_of(static_cast<Kind>(kind));
      if (kind < kWaiting) {
        found.turns[kind] = Turns(rate);
      } else {
        found.buckets[kind - kWaiting] = TokenBucket(rate, rate, now);
      }
    }
  }
  found.last = now;
  return &found;
}

namespace {

Error too_many(const Address& from, std::uint64_t share) {
  return error(ErrorCode::kExhausted,
               "more calls from {} than a quarter of server.requestRateLimit ({} a second); try again later",
               from.ip(), share);
}
Error too_many() {
  return error(ErrorCode::kExhausted, "more calls than server.requestRateLimit allows; try again later");
}

}  // namespace

Result<void> CallLimits::admit(std::string_view path, const Address& from, TimePoint now) {
  const auto kind = kind_of(path);
  if (kind < kWaiting) return {};
  auto* asking = client(from, now);
  auto* share = asking != nullptr ? &asking->buckets[kind - kWaiting] : nullptr;
  if (share != nullptr && share->take(1, now) != 1) return too_many(from, share_of(kind));
  if (all_[kind - kWaiting].take(1, now) == 1) return {};
  if (share != nullptr) share->give_back(1);
  return too_many();
}

Result<TimePoint> CallLimits::turn_of(std::string_view path, const Address& from, TimePoint now) {
  const auto kind = kind_of(path);
  auto* asking = kind < kWaiting ? client(from, now) : nullptr;
  if (asking == nullptr) return now;
  if (const auto turn = asking->turns[kind].take(kLongestWait, now)) return *turn;
  return too_many(from, share_of(kind));
}

Result<TimePoint> CallLimits::turn_of_all(std::string_view path, TimePoint now) {
  const auto kind = kind_of(path);
  if (kind >= kWaiting) return now;
  if (const auto turn = turns_[kind].take(kLongestWait, now)) return *turn;
  return too_many();
}

StreamLimit::Place::~Place() {
  if (limit_ == nullptr) return;
  const auto found = limit_->open_.find(ip_);
  if (found != limit_->open_.end() && --found->second == 0) limit_->open_.erase(found);
}

Result<StreamLimit::Place> StreamLimit::open(const Address& from) {
  if (from.family() == Address::Family::kUnix || from.is_loopback()) return Place();
  auto ip = from.ip();
  auto& count = open_[ip];
  if (count >= most_) {
    return error(ErrorCode::kExhausted, "{} has {} streams open, as many as one address may", ip, count);
  }
  ++count;
  return Place(*this, std::move(ip));
}

Task<Result<StreamLimit::Place>> StreamLimit::enter(grpc::ServerCall& call, world::World& world) {
  CO_TRY(Place place, open(call.remote()));
  call.send_headers();
  if (turns_ == nullptr) co_return place;
  CO_TRY(const TimePoint own, turns_->turn_of(call.path(), call.remote(), world.now()));
  if (own > world.now()) co_await sleep_until(own);
  CO_TRY(const TimePoint turn, turns_->turn_of_all(call.path(), world.now()));
  if (turn > world.now()) co_await sleep_until(turn);
  co_return place;
}

}  // namespace d7y::scheduler
