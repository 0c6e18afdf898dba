// One direction of an HTTP/1.1 connection: heads and bodies as they come out of a stream. Shared by
// client (reads responses) and server (reads requests). Bodies of known length bypass every buffer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/http/codec.h"
#include "world/network.h"

namespace d7y::http::detail {

class Wire {
 public:
  Wire(std::unique_ptr<world::Stream> stream, MessageReader::Kind kind, Limits limits);

  world::Stream& stream() { return *stream_; }
  MessageReader& reader() { return reader_; }

  // Forgets the last message. Its body must have been read.
  void begin(std::string_view answers);
  // Reads the head of the message begun; false if the stream ends before its first byte. kReset if
  // it ends inside.
  Task<Result<bool>> read_head(Deadline deadline);
  // Takes what is here of a head, without waiting; true when it is complete.
  Result<bool> poll_head();
  // Bytes of the body: at least one, or 0 at its end.
  Task<Result<std::size_t>> read_body(MutableBytes buffer, Deadline deadline);
  bool body_complete() const { return complete_; }
  // How many bytes of the body lie on stream() as they are, for one who reads them there; then took() says
  // how many that were. 0: they come encoded, to an end that is not known, or are partly here.
  std::uint64_t bare() const {
    return !complete_ && reader_.framing() == Framing::kLength && !has_surplus() ? left_ : 0;
  }
  void took(std::uint64_t bytes) {
    left_ -= bytes;
    complete_ = left_ == 0;
  }
  bool head_started() const { return reader_.started(); }

  // Bytes read beyond the message; a client never has any on a healthy connection.
  bool has_surplus() const { return begin_ != end_; }
  // Whether an idle connection still looks alive: nothing to read and not ended.
  bool still_idle();

  // Reads what is there of later messages, without waiting. Only after the current one's body.
  bool has_room() const { return end_ - begin_ < inbox_.size() || inbox_.empty(); }
  world::Transfer::State read_ahead();

  // Hands the stream over with what was read too far.
  std::unique_ptr<world::Stream> release();

 private:
  Result<bool> feed();
  Result<void> start_body();
  Bytes surplus() const { return Bytes(inbox_).subspan(begin_, end_ - begin_); }
  void take(std::size_t count);
  MutableBytes room();
  Task<Result<std::size_t>> read_chunked(MutableBytes buffer, Deadline deadline);
  Task<Result<std::size_t>> read_raw(MutableBytes buffer, Deadline deadline);

  std::unique_ptr<world::Stream> stream_;
  MessageReader reader_;
  std::vector<std::byte> inbox_;
  std::size_t begin_ = 0, end_ = 0;  // what of inbox_ is unread
  std::uint64_t left_ = 0;           // kLength: bytes still to come
  bool complete_ = true;
};

}  // namespace d7y::http::detail
