// HTTP/1.1 messages out of bytes, without I/O. The head goes through llhttp in its strict mode, so
// do chunked bodies; bodies of known length need no parser, their owner just counts.
//
//   MessageReader reader(MessageReader::Kind::kResponse, limits);
//   reader.begin({.method = "GET"});
//   while (!reader.head_complete()) {
//     ... get bytes ...
//     CO_TRY(auto used, reader.feed_head(bytes));   // what is left over belongs to the body
//   }
//   switch (reader.framing()) ...
//
// What makes message boundaries ambiguous is refused, not repaired: Content-Length together with
// Transfer-Encoding, two lengths, bare line feeds, blanks before a colon, folded lines, codings
// other than a single "chunked". Errors of requests carry in status() the answer a server should give.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "net/http/message.h"

namespace d7y::http {

// Bounds on what the other side can make us hold or chew.
struct Limits {
  std::size_t head_bytes = 64 << 10;      // start line and headers together (431)
  std::size_t header_count = 256;         // fields in a head or in trailers (431)
  std::size_t target_bytes = 16 << 10;    // request target (414)
  std::size_t overhead_bytes = 16 << 10;  // chunk sizes, extensions and trailers beyond what honest
                                          // chunking needs (16 bytes plus twice the data)
};

// How a message's body ends.
enum class Framing : std::uint8_t { kNone, kLength, kChunked, kUntilClose };

class MessageReader {
 public:
  enum class Kind : std::uint8_t { kRequest, kResponse };

  MessageReader(Kind kind, Limits limits);
  ~MessageReader();
  MessageReader(MessageReader&&) noexcept;
  MessageReader& operator=(MessageReader&&) noexcept;

  // Begins the next message, forgetting the last. `answers` is the method of the request that a
  // response answers: HEAD has no body, a successful CONNECT turns into a tunnel.
  void begin(std::string_view answers = "GET");

  // Takes bytes of the head; returns how many of them belong to it. Fewer than given only when the
  // head is complete. kProtocol, kTooLarge, kUnsupported.
  Result<std::size_t> feed_head(Bytes bytes);
  bool head_complete() const;
  // Whether anything of the head has arrived (empty lines before a request do not count).
  bool started() const;

  // Valid once the head is complete. The lvalues may be moved from.
  RequestHead& request();
  ResponseHead& response();

  Framing framing() const;
  std::uint64_t content_length() const;  // kLength: bytes of the body, > 0
  // Whether the connection may carry another message after this one.
  bool keep_alive() const;
  // After this head the connection is no longer HTTP: a 101, a 2xx to CONNECT, or a request with
  // method CONNECT.
  bool switches_protocol() const;

  // kChunked: decodes as much of `in` as fits `out`. `out` may begin at `in`'s own first byte; then
  // the data moves to the front of the buffer. Both numbers are 0 only if `in` is empty.
  struct Decoded {
    std::size_t consumed = 0;
    std::size_t produced = 0;
  };
  Result<Decoded> decode(Bytes in, MutableBytes out);
  bool body_complete() const;  // kChunked: the last chunk and the trailers have been read
  const Headers& trailers() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The frame around one chunk of `size` bytes: this, the data, then "\r\n".
std::string chunk_header(std::size_t size);
inline constexpr std::string_view kChunkEnd = "\r\n";
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace d7y::http
