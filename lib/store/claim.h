// The right, and the duty, to fetch one piece.
//
//   auto claimed = CO_TRY(task->claim(number));
//   if (claimed.state != ClaimState::kClaimed) ...           // follow it, or it is here
//   PieceClaim claim = std::move(*claimed.claim);
//   while (claim.remaining() > 0) {
//     MutableBytes room = claim.buffer();
//     std::size_t n = CO_TRY(co_await read_some(stream, room, deadline));
//     if (n == 0) co_return error(kReset, ...);              // dropping the claim frees the piece
//     CO_OK(claim.commit(n));                                // crc while hot, one write per full buffer
//   }
//   CO_OK(claim.complete({.parent = id, .traffic = Traffic::kRemotePeer, .expected_crc = crc}));
//
// Bytes that were written are seen by followers at once. If the claim is dropped half way, the
// bytes stay: the next claim on the piece finds already() > 0 and may fetch only the rest
// (skip_already()), or fetch it all; what is there already is then only compared, not rewritten.
//
// Rivals: with Rivals::kAllowed several claims fetch one piece. Every byte is written once, by
// whoever comes first with it; the first to complete() wins, the others learn it from superseded().
#pragma once

#include "store/buffers.h"
#include "store/stored_task.h"

namespace d7y::store {

struct PieceOrigin {
  std::string parent;  // peer id; empty: the origin
  Traffic traffic = Traffic::kBackToSource;
  Duration cost{0};
  // What the sender says the CRC-32 is. None: nothing to compare with (the origin, an old parent).
  std::optional<std::uint32_t> expected_crc;
};

class PieceClaim {
 public:
  PieceClaim(PieceClaim&&) noexcept;
  PieceClaim& operator=(PieceClaim&&) noexcept;
  // Gives the piece back to whoever wants it next; buffered bytes are written first.
  ~PieceClaim();

  const TaskHandle& task() const { return task_; }
  std::uint32_t number() const { return number_; }
  std::uint64_t offset() const;  // in the content
  std::uint64_t length() const;  // shrinks if set_content_length() ends the content in this piece
  bool rival() const { return rival_; }

  // Says that the bytes will come from the origin, not from a peer. Only before the first commit.
  void from_origin() { from_origin_ = true; }
  // Bytes of the piece that are on disk already, from an earlier claim or a rival.
  std::uint64_t already() const;
  // Go on behind already(): buffer() then takes the bytes from there. Only before the first commit.
  // The CRC of the whole piece is verified all the same. False, and nothing is skipped, where that
  // could not be: the origin names no CRC, so it cannot vouch for bytes that a peer sent.
  bool skip_already();
  // Where in the piece the next byte goes: ask the source for [offset() + position(), ...).
  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return length() - position_; }

  // Room to receive into: never empty while remaining() > 0, never more than remaining(). Valid
  // until the next call on this claim.
  MutableBytes buffer();
  // `n` bytes of buffer() were filled. Writes when the buffer is full or the piece ends. kDiskFull,
  // kIo; kChanged: the task was reset; kPrecondition: a rival completed the piece.
  Result<void> commit(std::size_t n);
  // Copies `bytes` in, for sources that own their memory. At most remaining() of them.
  Result<void> write(Bytes bytes);
  // Call it before waiting for the network: if a follower has nothing left to do, what is buffered
  // is written now. Free when there is nothing to do.
  Result<void> publish();
  // Somebody waits for bytes of the piece.
  bool awaited() const;
  // Waits until what was committed is on disk or has failed to get there; complete() does so too, but
  // holds up the loop for it. Nothing to wait for is free.
  Task<void> settled();
  // Leaves the next bytes, at most `most`, to a receiver beside the loop, which takes them off `stream` and
  // writes them; null where that is not possible or does not pay. Until the receiving has ended nothing else
  // is done with the claim but catch_up(), which is called each time the receiving has changed. It may also
  // end because a rival wants the piece, or with the claim; then the next read of the stream goes on.
  std::shared_ptr<world::Receiving> lend(world::Stream& stream, std::uint64_t most);
  // Brings the claim up to what `receiving` has done, and tells that. A claim whose receiving is told as
  // ended is its holder's again: it goes on where the receiving stopped, neither before nor behind.
  world::Receiving::State catch_up(world::Receiving& receiving);
  // CRC-32 of the bytes this claim has received from position 0 on.
  std::uint32_t crc() const { return crc_; }

  // All bytes are here: verifies, records, and tells followers. kCorrupt: the CRC is not the
  // expected one, the bytes are thrown away and the piece is free again; whose fault it is says
  // `crc() != expected`. kPrecondition: bytes are missing, or a rival was first (the piece is
  // complete then). The claim is over in any case.
  Result<PieceInfo> complete(PieceOrigin origin);
  // Gives the bytes up as well: they are known to be wrong.
  void discard();
  // A rival completed the piece, or the task was reset: stop.
  bool superseded() const;
  // Notified when superseded() may have changed. Only until the claim is over.
  Signal& changed();

 private:
  friend class StoredTask;
  PieceClaim(TaskHandle task, std::shared_ptr<Flight> flight, bool rival);
  void release();

  Result<void> still_wanted() const;
  Result<void> flush();
  Result<void> write_out(Bytes fresh);
  Result<PieceInfo> verify_and_record(PieceOrigin& origin);

  TaskHandle task_;
  std::shared_ptr<Flight> flight_;  // null: moved away or over
  BufferPool::Loan buffer_;
  std::uint32_t number_ = 0;
  std::uint32_t crc_ = 0;
  std::uint64_t serial_ = 0;  // tells claims on one flight apart
  bool rival_ = false;
  bool from_origin_ = false;
  bool skipped_ = false;
  bool broken_ = false;         // a write failed
  bool lent_ = false;           // its bytes are received elsewhere
  std::uint64_t position_ = 0;  // received, from the piece's start
  std::size_t buffered_ = 0;    // of which in the buffer
};

struct StoredTask::Claimed {
  ClaimState state = ClaimState::kBusy;
  std::optional<PieceClaim> claim;  // with kClaimed
};

}  // namespace d7y::store
