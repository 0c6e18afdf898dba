#include "base/scheduler_ring.h"

#include <algorithm>

#include "base/siphash.h"

namespace d7y {
namespace {

void append_little_endian(std::string& to, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace

// What Rust's Hash feeds for a SocketAddr: the variant, the octets, the port, and for IPv6 flow and scope.
std::uint64_t SchedulerRing::point_of(const Address& scheduler) {
  const bool v6 = scheduler.family() == Address::Family::kIpv6;
  std::string bytes;
  append_little_endian(bytes, v6 ? 1 : 0, 8);
  bytes += scheduler.octets();
  append_little_endian(bytes, scheduler.port(), 2);
  if (v6) {
    append_little_endian(bytes, 0, 4);
    append_little_endian(bytes, scheduler.scope_id(), 4);
  }
  return siphash24(as_bytes(bytes));
}

std::uint64_t SchedulerRing::key_of(std::string_view task_id) {
  std::string bytes(task_id.substr(0, 5));
  bytes += '\xff';
  return siphash24(as_bytes(bytes));
}

SchedulerRing::SchedulerRing(const std::vector<Address>& schedulers) {
  for (const auto& address : schedulers) {
    if (address.family() != Address::Family::kUnix) points_.push_back({point_of(address), address});
  }
  std::sort(points_.begin(), points_.end(), [](const Point& a, const Point& b) {
    return a.hash != b.hash ? a.hash < b.hash : a.address < b.address;
  });
  const auto same = [](const Point& a, const Point& b) { return a.address == b.address; };
  points_.erase(std::unique(points_.begin(), points_.end(), same), points_.end());
}

std::size_t SchedulerRing::index_of(std::string_view task_id) const {
  const auto key = key_of(task_id);
  const auto at = std::lower_bound(points_.begin(), points_.end(), key,
                                   [](const Point& point, std::uint64_t hash) { return point.hash < hash; });
  return at == points_.end() ? 0 : static_cast<std::size_t>(at - points_.begin());
}

const Address* SchedulerRing::pick(std::string_view task_id) const {
  return points_.empty() ? nullptr : &points_[index_of(task_id)].address;
}

std::vector<Address> SchedulerRing::in_order(std::string_view task_id) const {
  std::vector<Address> all;
  if (points_.empty()) return all;
  const auto first = index_of(task_id);
  for (std::size_t i = 0; i < points_.size(); ++i)
    all.push_back(points_[(first + i) % points_.size()].address);
  return all;
}

}  // namespace d7y
