// Which scheduler serves a task. All peers of a task must meet on one scheduler, Rust daemons included, so
// this is their consistent ring to the bit: one point per scheduler, SipHash-2-4 with a zero key, looked up
// by the first five characters of the task id (Dragonfly client 1.5).
//
//   SchedulerRing ring(addresses);
//   const Address* scheduler = ring.pick(task_id);
#pragma once

#include <string_view>
#include <vector>

#include "base/address.h"

namespace d7y {

class SchedulerRing {
 public:
  SchedulerRing() = default;
  // The order of `schedulers` does not matter; an address that comes twice counts once. Unix sockets have
  // no place on the ring and are left out.
  explicit SchedulerRing(const std::vector<Address>& schedulers);

  bool empty() const { return points_.empty(); }
  std::size_t size() const { return points_.size(); }

  // Null only if the ring is empty. Lives as long as the ring.
  const Address* pick(std::string_view task_id) const;
  // All schedulers, the picked one first, then in the ring's order: whom to ask next if one is dead.
  std::vector<Address> in_order(std::string_view task_id) const;

  static std::uint64_t point_of(const Address& scheduler);
  static std::uint64_t key_of(std::string_view task_id);

 private:
  struct Point {
    std::uint64_t hash;
    Address address;
  };
  std::size_t index_of(std::string_view task_id) const;
  std::vector<Point> points_;  // sorted by hash
};

}  // namespace d7y
