// Takes a piece's bytes off a stream, straight into the store's buffer, at the pace the limits allow.
#pragma once

#include <string>

#include "base/token_bucket.h"
#include "store/claim.h"
#include "swarm/parent_pool.h"
#include "world/network.h"

namespace d7y::swarm {

struct ReceiveStep {
  enum class State : std::uint8_t {
    kMoved,       // `bytes` > 0 went to the claim
    kPaced,       // over a limit; again at `again`
    kWouldBlock,  // nothing there now
    kEnd,         // the parent has finished sending
    kFailed,      // the stream is broken
  };
  State state = State::kMoved;
  std::size_t bytes = 0;  // taken off `ahead` or the stream
  TimePoint again{};
  // kMoved: the store did not take them; the claim is of no use any more.
  std::optional<Error> refused;
};

// At most `most` bytes, from `ahead` (bytes that were read together with a header; the used ones are
// cut off) or from the stream. `claim` has room, `most` > 0.
ReceiveStep receive_step(world::Stream& stream, Bytes& ahead, store::PieceClaim& claim, std::uint64_t most,
                         TokenBucket* limit, TokenBucket* own_limit, TimePoint now);

// All bytes are there: verifies them against what the parent said and records the piece. `from`: where
// in the piece this fetch began.
Result<store::PieceInfo> complete_piece(store::PieceClaim claim, const std::string& digest,
                                        std::uint64_t from, Duration cost, const std::string& peer_id,
                                        const Address& parent);

}  // namespace d7y::swarm
