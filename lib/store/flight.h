// One piece while it is fetched: what claims write into and followers read from.
//
// Bytes are written in order and each once, so the CRC is counted as they come, and whoever follows
// sees one unchanging run of bytes that only grows, whoever of several writers brings them. A flight
// without writers is parked: its bytes wait for the next claim.
#pragma once

#include <cstdint>

#include <memory>
#include <optional>

#include "base/notify.h"
#include "world/receiver.h"

namespace d7y::store {

class Flight {
 public:
  enum State : int { kOpen, kComplete, kCorrupt, kReset };

  Flight(std::uint32_t number, std::uint64_t offset, std::uint64_t length)
      : number(number), offset(offset), length(length) {}

  // Bytes of the piece that a reader may hand out before it is verified: all but the last write
  // once everything is there, so that nobody reads to its end before that.
  std::uint64_t readable() const { return written == length ? held : written; }

  const std::uint32_t number;
  const std::uint64_t offset;
  std::uint64_t length;
  std::uint64_t written = 0;      // bytes on disk, or on their way there (write_behind.h)
  std::uint64_t held = 0;         // `written` before the last write
  std::uint32_t crc = 0;          // of the written bytes
  std::uint32_t writers = 0;      // claims
  std::uint64_t sole_writer = 0;  // serial of the claim that wrote all of it; 0: several did
  bool peer_bytes = false;        // some of it did not come from the origin
  std::uint32_t pending = 0;      // writes on their way
  std::optional<Error> failure;   // one of them failed; until its claims are gone
  // Somebody else receives for the only claim, from `lent_at` on; then neither that nor others write.
  std::shared_ptr<world::Receiving> receiving;
  std::uint64_t lent_at = 0;
  // Where the last such receiving ended, and the CRC up to there.
  std::uint64_t received_to = 0;
  std::uint32_t received_crc = 0;
  State state = kOpen;
  Signal moved;  // any of this changed, or the task failed
};

}  // namespace d7y::store
