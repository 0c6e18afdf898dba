// Package common.v2, and the well-known types everybody needs with conversions to ours; see api.h.
#pragma once

#include <common.pb.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <limits>

#include "base/deadline.h"

namespace d7y::api {

namespace common = ::common::v2;
using Empty = ::google::protobuf::Empty;
using PbDuration = ::google::protobuf::Duration;
using PbTimestamp = ::google::protobuf::Timestamp;

// What a content length that nobody knows looks like on the wire.
inline constexpr std::uint64_t kUnknownLength = std::numeric_limits<std::uint64_t>::max();

inline void set_duration(PbDuration& to, Duration from) {
  to.set_seconds(from.count() / 1'000'000'000);
  to.set_nanos(static_cast<std::int32_t>(from.count() % 1'000'000'000));
}
// Clamped to what Duration holds (292 years).
inline Duration duration_of(const PbDuration& from) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 1'000'000'000 - 3;
  const auto seconds = from.seconds() > kMost ? kMost : from.seconds() < -kMost ? -kMost : from.seconds();
  return std::chrono::seconds(seconds) + std::chrono::nanoseconds(from.nanos());
}
inline void set_time(PbTimestamp& to, WallTime from) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(from);
  to.set_seconds(seconds.time_since_epoch().count());
  to.set_nanos(static_cast<std::int32_t>((from - seconds).count()));
}
inline WallTime time_of(const PbTimestamp& from) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 1'000'000'000 - 3;
  const auto seconds = from.seconds() > kMost ? kMost : from.seconds() < -kMost ? -kMost : from.seconds();
  return WallTime(std::chrono::seconds(seconds) + std::chrono::nanoseconds(from.nanos()));
}

}  // namespace d7y::api
