// The least world that a gRPC connection needs: a loop whose clock is turned by hand, and streams that play
// back bytes and swallow what is written.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "base/loop.h"
#include "world/world.h"

namespace d7y::fuzz {

class MemoryStream final : public world::Stream {
 public:
  // Hands out `input` in steps of `step` bytes, then stays silent or ends.
  MemoryStream(std::string input, std::size_t step, bool ends)
      : input_(std::move(input)), step_(std::max<std::size_t>(step, 1)), ends_(ends) {}

  world::Transfer try_read(MutableBytes buffer) override {
    auto count = std::min({buffer.size(), step_, input_.size() - at_});
    if (count == 0) return {ends_ ? world::Transfer::State::kEnd : world::Transfer::State::kWouldBlock, 0};
    std::copy_n(reinterpret_cast<const std::byte*>(input_.data()) + at_, count, buffer.begin());
    at_ += count;
    return {world::Transfer::State::kMoved, count};
  }
  world::Transfer try_write(std::span<const Bytes> parts, bool) override {
    std::size_t count = 0;
    for (Bytes part : parts) {
      // Look at every byte, so that a sanitizer sees one that must not be there.
      for (std::byte byte : part) sum_ = sum_ + static_cast<unsigned>(byte);
      count += part.size();
    }
    return {world::Transfer::State::kMoved, count};
  }
  world::Transfer try_send_file(world::File&, std::uint64_t, std::uint64_t) override { std::abort(); }
  Signal& readable() override { return readable_; }
  Signal& writable() override { return writable_; }
  Error error() const override { return {ErrorCode::kReset, "broken"}; }
  void finish_writing() override {}
  void abort() override {}
  Address local() const override { return Address::ipv4({127, 0, 0, 1}, 1); }
  Address remote() const override { return Address::ipv4({127, 0, 0, 1}, 2); }

 private:
  std::string input_;
  std::size_t step_;
  bool ends_;
  std::size_t at_ = 0;
  volatile unsigned sum_ = 0;
  Signal readable_, writable_;
};

class MemoryWorld final : public world::World {
 public:
  Loop& loop() override { return loop_; }
  WallTime wall_now() override { return {}; }
  std::uint64_t random() override { return state_ = state_ * 6364136223846793005u + 1442695040888963407u; }
  world::Network& network() override { std::abort(); }
  world::Files& files() override { std::abort(); }
  world::MachineFacts machine() override { return {}; }
  world::MachineLoad load() override { return {}; }
  Task<void> offload(std::function<void()>) override { std::abort(); }
  void post(std::function<void()>) override { std::abort(); }

  // Runs all that is ready, then `steps` timers, each at its time.
  void run(int steps) {
    while (loop_.run_ready()) {
    }
    for (; steps > 0 && loop_.next_timer() != TimePoint::max(); --steps) {
      loop_.set_now(loop_.next_timer());
      loop_.fire_timers();
      while (loop_.run_ready()) {
      }
    }
  }

 private:
  Loop loop_;
  std::uint64_t state_ = 1;
};

}  // namespace d7y::fuzz
