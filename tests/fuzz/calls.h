// Lists of calls out of arbitrary bytes: for each a byte that chooses the method, two bytes of length (little
// endian), the message. All of them run at the same time, over a connection of the simulated world.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/scope.h"
#include "net/grpc/channel.h"
#include "sim/simulation.h"

namespace d7y::fuzz {

inline void must(bool holds) {
  if (!holds) std::abort();
}

struct Call {
  std::uint8_t choice = 0;
  std::string message;
};

inline std::vector<Call> calls_in(const std::uint8_t* data, std::size_t size, std::size_t most) {
  std::vector<Call> calls;
  for (std::size_t at = 0; at + 3 <= size && calls.size() < most;) {
    Call call;
    call.choice = data[at];
    auto length = static_cast<std::size_t>(data[at + 1]) | static_cast<std::size_t>(data[at + 2]) << 8;
    at += 3;
    length = std::min(length, size - at);
    call.message.assign(reinterpret_cast<const char*>(data) + at, length);
    at += length;
    calls.push_back(std::move(call));
  }
  return calls;
}

// One message, then whatever comes until the end.
inline Task<void> call(grpc::Channel& channel, std::string path, std::vector<std::string> messages,
                       Deadline deadline, int& open) {
  struct Open {
    int& count;
    ~Open() { --count; }
  } counted{open};
  grpc::CallOptions options;
  options.deadline = deadline;
  auto call = channel.start(path, options);
  for (auto& message : messages) {
    auto wrote = co_await call.write(std::move(message));
    if (!wrote) break;
  }
  call.finish_writing();
  for (;;) {
    auto answer = co_await call.read();
    if (!answer || !*answer) co_return;
  }
}

}  // namespace d7y::fuzz
