#include "swarm/piece_receiver.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/digest.h"

namespace d7y::swarm {

ReceiveStep receive_step(world::Stream& stream, Bytes& ahead, store::PieceClaim& claim, std::uint64_t most,
                         TokenBucket* limit, TokenBucket* own_limit, TimePoint now) {
  using State = ReceiveStep::State;
  MutableBytes room = claim.buffer();
  room = room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), most)));
  if (!ahead.empty()) room = room.first(std::min(room.size(), ahead.size()));

  std::uint64_t granted = room.size();
  for (TokenBucket* bucket : {limit, own_limit}) {
    if (bucket == nullptr) continue;
    auto part = bucket->take(granted, now);
    // What the first one granted and the second one did not.
    if (bucket == own_limit && limit != nullptr && part < granted) limit->give_back(granted - part);
    granted = part;
    if (granted == 0) return {State::kPaced, 0, bucket->next(now), std::nullopt};
  }
  auto give_back = [&](std::uint64_t bytes) {
    if (limit != nullptr) limit->give_back(bytes);
    if (own_limit != nullptr) own_limit->give_back(bytes);
  };
  room = room.first(static_cast<std::size_t>(granted));

  std::size_t got = 0;
  if (!ahead.empty()) {
    std::memcpy(room.data(), ahead.data(), room.size());
    got = room.size();
    ahead = ahead.subspan(got);
  } else {
    world::Transfer moved = stream.try_read(room);
    if (moved.bytes < granted) give_back(granted - moved.bytes);
    switch (moved.state) {
      case world::Transfer::State::kMoved: got = moved.bytes; break;
      case world::Transfer::State::kWouldBlock: return {State::kWouldBlock, 0, {}, std::nullopt};
      case world::Transfer::State::kEnd: return {State::kEnd, 0, {}, std::nullopt};
      case world::Transfer::State::kFailed: return {State::kFailed, 0, {}, std::nullopt};
    }
  }
  ReceiveStep step{State::kMoved, got, {}, std::nullopt};
  if (auto committed = claim.commit(got); !committed) step.refused = std::move(committed).error();
  return step;
}

Result<store::PieceInfo> complete_piece(store::PieceClaim claim, const std::string& digest,
                                        std::uint64_t from, Duration cost, const std::string& peer_id,
                                        const Address& parent) {
  auto number = claim.number();
  store::PieceOrigin origin;
  origin.parent = peer_id;
  origin.traffic = store::Traffic::kRemotePeer;
  origin.cost = cost;
  // Without a digest there is nothing to compare with; Dragonfly's imports by hard link have none.
  if (!digest.empty()) {
    auto said = Digest::parse(digest);
    std::uint32_t crc = 0;
    bool known = said.ok() && said->kind() == HashKind::kCrc32;
    if (known) {
      const auto& text = said->encoded();
      known = std::from_chars(text.data(), text.data() + text.size(), crc).ec == std::errc();
    }
    if (!known) {
      return error(ErrorCode::kProtocol, "piece {} from parent {}: its digest \"{}\" is not a crc32", number,
                   parent.to_string(), digest.substr(0, 64));
    }
    origin.expected_crc = crc;
  }
  auto completed = claim.complete(std::move(origin));
  if (completed) return completed;
  auto prefix = fmt::format("piece {} from parent {}", number, parent.to_string());
  if (completed.failed_with(ErrorCode::kCorrupt) && from > 0) {
    return error(ErrorCode::kUnavailable,
                 "{}: its first {} bytes came from elsewhere and do not fit; all is fetched anew", prefix,
                 from);
  }
  return std::move(completed).error().in(prefix);
}

}  // namespace d7y::swarm
