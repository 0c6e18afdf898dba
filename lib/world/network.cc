#include "world/network.h"

#include <algorithm>
#include <chrono>

#include "base/scope.h"
#include "world/files.h"

namespace d7y::world {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAttemptDelay = 250ms;  // RFC 8305 5
constexpr std::size_t kTurn = 1_MiB;       // moved at most before others get their turn

// The candidates in their order, but families in turn, the first one's first (RFC 8305 4).
std::vector<Address> alternate(const std::vector<Address>& candidates) {
  std::vector<Address> one, other, mixed;
  for (const auto& address : candidates) {
    (address.family() == candidates.front().family() ? one : other).push_back(address);
  }
  mixed.reserve(candidates.size());
  for (std::size_t i = 0; mixed.size() < candidates.size(); ++i) {
    if (i < one.size()) mixed.push_back(one[i]);
    if (i < other.size()) mixed.push_back(other[i]);
  }
  return mixed;
}

struct Race {
  Signal changed;
  std::unique_ptr<Stream> winner;
  std::optional<Error> last;
  std::size_t failed = 0;
};

Task<void> attempt(Network& network, Address to, ConnectOptions options, Deadline deadline, Race& race) {
  auto stream = co_await network.connect(std::move(to), std::move(options), deadline);
  if (stream.ok()) {
    if (!race.winner) race.winner = std::move(*stream);
  } else {
    race.last = std::move(stream).error();
    ++race.failed;
  }
  race.changed.notify_all();
}

// Waits for one side of a stream, and says who was waited for if nothing came.
Task<Result<void>> wait_for(Stream& stream, Signal& signal, const char* doing, Deadline deadline) {
  auto woken = co_await signal.wait(deadline);
  if (woken.failed_with(ErrorCode::kTimeout)) {
    co_return error(ErrorCode::kTimeout, "{} {}: nothing moved before the deadline", doing,
                    stream.remote().to_string());
  }
  co_return std::move(woken);
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> connect_any(Network& network, std::vector<Address> candidates,
                                                  ConnectOptions options, Deadline deadline) {
  if (candidates.empty()) co_return error(ErrorCode::kNotFound, "there is no address to connect to");
  if (candidates.size() == 1) {
    auto only = co_await network.connect(candidates.front(), options, deadline);
    co_return std::move(only);
  }
  candidates = alternate(candidates);
  Loop& loop = co_await this_loop();
  Race race;
  Scope attempts(loop);  // leaving cancels the slower ones
  std::size_t begun = 0;
  TimePoint next_start = loop.now();
  for (;;) {
    if (race.winner) co_return std::move(race.winner);
    if (race.failed == candidates.size()) {
      co_return std::move(*race.last).in(fmt::format("none of {} addresses answered", candidates.size()));
    }
    if (deadline.passed(loop.now())) {
      co_return error(ErrorCode::kTimeout, "connecting to {} and {} more: no answer before the deadline",
                      candidates.front().to_string(), candidates.size() - 1);
    }
    // The next one starts when its time has come, or at once when nobody is on the way any more.
    if (begun < candidates.size() && (begun == race.failed || loop.now() >= next_start)) {
      attempts.spawn(attempt(network, candidates[begun++], options, deadline, race));
      next_start = loop.now() + kAttemptDelay;
    }
    auto until = begun < candidates.size() ? deadline.or_earlier(Deadline::at(next_start)) : deadline;
    if (auto woken = co_await race.changed.wait(until); !woken) continue;
  }
}

Task<Result<std::size_t>> read_some(Stream& stream, MutableBytes buffer, Deadline deadline) {
  for (;;) {
    auto step = stream.try_read(buffer);
    switch (step.state) {
      case Transfer::State::kMoved: co_return step.bytes;
      case Transfer::State::kEnd: co_return std::size_t{0};
      case Transfer::State::kFailed: co_return stream.error();
      case Transfer::State::kWouldBlock: break;
    }
    CO_OK(co_await wait_for(stream, stream.readable(), "reading from", deadline));
  }
}

Task<Result<void>> read_exactly(Stream& stream, MutableBytes buffer, Deadline deadline) {
  std::size_t in_turn = 0;
  while (!buffer.empty()) {
    auto step = stream.try_read(buffer);
    switch (step.state) {
      case Transfer::State::kMoved:
        buffer = buffer.subspan(step.bytes);
        in_turn += step.bytes;
        break;
      case Transfer::State::kEnd:
        co_return error(ErrorCode::kReset, "reading from {}: the connection ended {} bytes too early",
                        stream.remote().to_string(), buffer.size());
      case Transfer::State::kFailed: co_return stream.error();
      case Transfer::State::kWouldBlock:
        CO_OK(co_await wait_for(stream, stream.readable(), "reading from", deadline));
        in_turn = 0;
        break;
    }
    if (in_turn >= kTurn && !buffer.empty()) {
      co_await next_turn();
      in_turn = 0;
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> write_all(Stream& stream, Bytes bytes, Deadline deadline, bool more) {
  std::size_t in_turn = 0;
  while (!bytes.empty()) {
    auto step = stream.try_write({&bytes, 1}, more);
    switch (step.state) {
      case Transfer::State::kMoved:
        bytes = bytes.subspan(step.bytes);
        in_turn += step.bytes;
        break;
      case Transfer::State::kEnd:
      case Transfer::State::kFailed: co_return stream.error();
      case Transfer::State::kWouldBlock:
        CO_OK(co_await wait_for(stream, stream.writable(), "writing to", deadline));
        in_turn = 0;
        break;
    }
    if (in_turn >= kTurn && !bytes.empty()) {
      co_await next_turn();
      in_turn = 0;
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> send_file(Stream& stream, File& file, std::uint64_t offset, std::uint64_t length,
                             Deadline deadline) {
  std::size_t in_turn = 0;
  while (length > 0) {
    auto step = stream.try_send_file(file, offset, length);
    switch (step.state) {
      case Transfer::State::kMoved:
        offset += step.bytes;
        length -= step.bytes;
        in_turn += step.bytes;
        break;
      case Transfer::State::kEnd:
        co_return error(ErrorCode::kCorrupt, "sending \"{}\" to {}: the file ends {} bytes too early",
                        file.path(), stream.remote().to_string(), length);
      case Transfer::State::kFailed: co_return stream.error();
      case Transfer::State::kWouldBlock:
        CO_OK(co_await wait_for(stream, stream.writable(), "sending to", deadline));
        in_turn = 0;
        break;
    }
    if (in_turn >= kTurn && length > 0) {
      co_await next_turn();
      in_turn = 0;
    }
  }
  co_return Result<void>{};
}

}  // namespace d7y::world
