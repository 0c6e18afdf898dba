// How many connections to its origin a task is read over. Pure.
//
// Several are faster where one is slow: far away, throttled, served by a slow thread. But each of them costs
// the origin requests and processors. So tasks that are read at the same time, like the layers of an image,
// share the connections that one task alone would have, as long as each of these is fast.
//
//   OriginReaders readers;                                // an engine's
//   OriginReaders::Place place = readers.enter();         // as long as a task is read
//   OriginLanes lanes(readers, 4, now);
//   while (running < lanes.wanted()) ...
//   lanes.arrived(bytes);
//   lanes.look(running, now);                             // every kLook, and before something is asked for
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/deadline.h"

namespace d7y::fetch {

// The tasks of an engine that are read from their origins now.
class OriginReaders {
 public:
  class Place {
   public:
    Place() = default;
    explicit Place(OriginReaders& readers) : readers_(&readers) { ++readers_->tasks_; }
    Place(Place&& other) noexcept : readers_(std::exchange(other.readers_, nullptr)) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(readers_, other.readers_);  // `other` ends with what was here
      return *this;
    }
    ~Place() {
      if (readers_ != nullptr) --readers_->tasks_;
    }
    explicit operator bool() const { return readers_ != nullptr; }

   private:
    OriginReaders* readers_ = nullptr;
  };

  Place enter() { return Place(*this); }
  std::uint32_t tasks() const { return tasks_; }

 private:
  std::uint32_t tasks_ = 0;
};

// Those of one task.
class OriginLanes {
 public:
  // The tasks of an image are asked for one after the other, with so much between the first and the last:
  // until then one connection is enough.
  static constexpr Duration kOthersCome = std::chrono::milliseconds(2);
  // How often is looked at how fast they are; a far origin has hardly answered by then.
  static constexpr Duration kLook = std::chrono::milliseconds(50);
  static constexpr double kWorth = 8;
  // Bytes a second of one connection that is fast: four of them fill 2 Gbit/s.
  static constexpr std::uint64_t kFast = std::uint64_t{64} << 20;

  OriginLanes(const OriginReaders& readers, std::uint32_t most, TimePoint now)
      : readers_(readers), most_(most), since_(now) {}

  // At least one.
  std::uint32_t wanted() const;
  // Those that have to be left something to do: all there may be, until it is known that fewer are enough.
  std::uint32_t sharing() const { return known_ ? wanted() : most_; }
  // The origin takes no more of them.
  void at_most(std::uint32_t lanes) { most_ = std::min(most_, std::max(1U, lanes)); }
  void arrived(std::uint64_t bytes) { bytes_ += bytes; }
  // The origin began to answer a request after `took`. The shortest counts: longer ones also waited for a
  // processor, here or there, and would not have waited less in one request.
  void answered(Duration took) { wait_ = wait_ == Duration::zero() ? took : std::min(wait_, took); }
  // Bytes that a request should ask for where there are as many, so that a connection moves bytes kWorth
  // times as long as it waits for them.
  std::uint64_t worthwhile() const;
  // Judges, once there is enough to judge by. `running`: connections that have brought what has arrived.
  void look(std::uint32_t running, TimePoint now);

 private:
  const OriginReaders& readers_;
  std::uint32_t most_;
  TimePoint since_;
  std::uint64_t bytes_ = 0;  // since then
  bool known_ = false, slow_ = false;
  double rate_ = kFast;  // bytes a second of one connection
  Duration wait_{};      // for an answer's first byte
};

}  // namespace d7y::fetch
