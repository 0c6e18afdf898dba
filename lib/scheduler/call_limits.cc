#include "scheduler/call_limits.h"

#include <algorithm>

namespace d7y::scheduler {
namespace {

constexpr std::size_t kMostClients = 20'000;  // remembered; those that were quiet go first
constexpr Duration kQuiet = std::chrono::seconds(2);
constexpr std::uint64_t kLeastShare = 16, kLeastHosts = 160;  // a second, of calls and of announcements

}  // namespace

CallLimits::CallLimits(std::uint32_t per_second, TimePoint now) : rate_(per_second) {
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    const auto rate = rate_of(static_cast<Kind>(kind));
    all_[kind] = TokenBucket(rate, rate, now);
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

Result<void> CallLimits::admit(std::string_view path, const Address& from, TimePoint now) {
  const auto kind = kind_of(path);
  TokenBucket* own = nullptr;
  const bool network = from.family() != Address::Family::kUnix;
  if (network && !from.is_loopback()) {
    const auto share = share_of(kind);
    if (clients_.size() >= kMostClients) {
      // A full bucket says nothing that a new one does not.
      std::erase_if(clients_, [&](const auto& entry) { return now - entry.second.last > kQuiet; });
      if (clients_.size() >= kMostClients) clients_.clear();
    }
    auto& client = clients_[from.ip()];
    if (client.last == TimePoint{}) {
      for (std::size_t k = 0; k < kKinds; ++k) {
        const auto rate = share_of(static_cast<Kind>(k));
        client.buckets[k] = TokenBucket(rate, rate, now);
      }
    }
    client.last = now;
    own = &client.buckets[kind];
    if (own->take(1, now) != 1) {
      return error(
          ErrorCode::kExhausted,
          "more calls from {} than a quarter of server.requestRateLimit ({} a second); try again later",
          from.ip(), share);
    }
  }
  if (all_[kind].take(1, now) == 1) return {};
  if (own != nullptr) own->give_back(1);
  return error(ErrorCode::kExhausted, "more calls than server.requestRateLimit allows; try again later");
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

}  // namespace d7y::scheduler
