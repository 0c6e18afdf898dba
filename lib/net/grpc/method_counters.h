// What a server counts of each method, under the names that Prometheus's libraries for gRPC give it:
// grpc_server_started_total, grpc_server_handled_total, grpc_server_msg_received_total and
// grpc_server_msg_sent_total, with the labels grpc_type, grpc_service, grpc_method and grpc_code.
//
//   options.counters = [&](std::string_view path, MethodKind kind) { return count_method(metrics, path,
//   kind); };
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/metrics.h"
#include "net/grpc/status.h"

namespace d7y::grpc {

enum class MethodKind : std::uint8_t { kUnary, kServerStream, kClientStream, kBidi };

// Numbers of one method, found once; they live as long as their registry.
struct MethodCounters {
  static constexpr std::size_t kCodes = 17;
  Counter* started = nullptr;
  Counter* received = nullptr;  // messages that the handler has taken
  Counter* sent = nullptr;
  std::array<Counter*, kCodes> handled{};
  // The same under names of the server's own; none: not counted.
  Counter* calls = nullptr;
  Counter* failures = nullptr;

  void begin() const {
    started->add();
    if (calls != nullptr) calls->add();
  }
  // Once for each begin().
  void end(Code code) const {
    handled[static_cast<std::size_t>(code)]->add();
    if (code != Code::kOk && failures != nullptr) failures->add();
  }
};

// All of them begin at 0, so that a rate has something to begin from.
MethodCounters count_method(Metrics& metrics, std::string_view path, MethodKind kind);

}  // namespace d7y::grpc
