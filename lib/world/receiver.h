// Receiving into a file on other threads.
//
// A loop moves as many bytes as one processor can take out of a socket, sum up and write. Where a stream
// brings more than that, the node lends it to a Receiver until so many bytes of it are in a file; what it
// parses and decides stays on its loop.
//
//   if (auto* receiver = world.receiver()) {
//     auto receiving = receiver->start(stream, file, {.offset = at, .length = n}, {});
//     while (receiving && !receiving->state().ended) co_await receiving->changed().wait(deadline);
//   }
//
// It pays for fast streams only: a lend costs two hand-overs between threads, some 100 us. So a Receiver
// gives a stream back as soon as it brings nothing for a moment, and whoever lends one does so after it has
// brought much without a pause.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/deadline.h"
#include "base/notify.h"
#include "base/result.h"

namespace d7y::world {

class File;
class Stream;

// One lend. Everything but the moving itself happens on the loop's thread. Its end, its destruction, and that
// of the stream stop it.
class Receiving {
 public:
  struct State {
    std::uint64_t taken = 0;    // bytes off the stream
    std::uint64_t written = 0;  // bytes in the file: those, and what was given along
    std::uint32_t crc = 0;      // of the written ones, going on from that of the order
    bool ended = false;         // the stream is the lender's again
  };

  virtual ~Receiving() = default;
  // How far it is. Once it has ended with fewer bytes than ordered, the lender's own next read tells why.
  virtual State state() = 0;
  // Notified when it has ended, and after hurry() whenever more is written.
  virtual Signal& changed() = 0;
  // Somebody waits for these bytes.
  virtual void hurry() = 0;
  // Ends it now. What was taken off the stream is written, or refused().
  virtual void stop() = 0;
  // What the file did not take, and why; lies behind `written`. Once, after the end.
  struct Refused {
    std::vector<std::byte> bytes;
    Error why;
  };
  virtual std::optional<Refused> refused() = 0;
};

class Receiver {
 public:
  struct Order {
    std::uint64_t offset = 0;  // in the file, of the first byte
    std::uint64_t length = 0;  // bytes to take off the stream
    std::uint32_t crc = 0;     // CRC-32 of what comes before
  };

  // When a loan pays, by measurements of production's (docs/performance.md).
  struct Terms {
    std::uint64_t least = std::uint64_t{1} << 20;     // bytes; fewer are here before another thread has begun
    std::size_t burst = 128 << 10;                    // bytes that a fast stream brings at once
    Duration per_mib = std::chrono::milliseconds(4);  // and one that was lent, if it is to be lent again

    bool fast(std::size_t at_once) const { return at_once >= burst; }
    bool fast(std::uint64_t bytes, Duration took) const {
      return took * (1 << 20) <= per_mib * static_cast<std::int64_t>(bytes);
    }
  };

  virtual ~Receiver() = default;
  virtual const Terms& terms() const = 0;
  // Lends `stream`, which is not read by others meanwhile; writing on it goes on. `ahead` was read before and
  // is written first; copied. Null: not this stream, or all hands are full; read it yourself.
  virtual std::unique_ptr<Receiving> start(Stream& stream, std::shared_ptr<File> file, const Order& order,
                                           Bytes ahead) = 0;
};

}  // namespace d7y::world
