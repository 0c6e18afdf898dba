// Vortex: the framing in which Dragonfly peers exchange pieces, and our extensions to it (FORMAT.md).
// Pure: bytes in, messages out; no socket, no clock. Byte-compatible with vortex-protocol 0.1.5.
//
// A connection carries packets of a 6-byte header (packet id, tag, length) and a value. Integers are
// big endian. Two things make it unlike other TLV protocols, and both are traps:
//   - the header's length of a piece's packet covers its metadata only; the piece's bytes follow raw;
//   - a Rust server answers one request and closes. Sending it a second one destroys the first answer.
//
// The serving side feeds everything it reads to a RequestReader:
//
//   vortex::RequestReader reader;
//   std::vector<vortex::Request> requests;
//   CO_OK(reader.feed(received, requests));        // an error: drop the connection
//
// The asking side feeds an AnswerReader up to where a piece's bytes begin, and takes those off the
// stream itself, straight into the buffer they are meant for:
//
//   CO_TRY(auto step, reader.feed(received));      // step.taken bytes are used up
//   if (step.answer) ... reader.body_left() bytes of the piece follow; reader.took_body(n) as they come
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace d7y::swarm::vortex {

inline constexpr std::size_t kHeaderSize = 6;
inline constexpr std::size_t kTaskIdSize = 64;
// Longest values that we read from anybody. Both sides of the protocol stay far below.
inline constexpr std::size_t kMaxRequestValue = 256;
inline constexpr std::size_t kMaxMetadata = 8 * 1024;
inline constexpr std::size_t kMaxDigest = 160;  // "sha512:" and 128 digits is the longest known
inline constexpr std::size_t kMaxParentId = 1024;
inline constexpr std::size_t kMaxErrorValue = 64 * 1024;
inline constexpr std::size_t kMaxHaveValue = 256 * 1024;
// Extension: a chunk that we send at first is at most this long; the most that we send and accept.
inline constexpr std::size_t kChunkSize = 1 << 20;
inline constexpr std::size_t kMaxChunk = 4 << 20;

enum class Tag : std::uint8_t {
  kDownloadPiece = 0,
  kPieceContent = 1,
  kDownloadPersistentPiece = 2,
  kPersistentPieceContent = 3,
  kDownloadPersistentCachePiece = 4,
  kPersistentCachePieceContent = 5,
  kDownloadCachePiece = 6,
  kCachePieceContent = 7,
  // Ours, in the reserved range; sent only to those who have shown that they are d7y.
  kSubscribe = 215,
  kUnsubscribe = 216,
  kHave = 217,
  kFetch = 218,
  kCancel = 219,
  kPieceStart = 220,
  kPieceChunk = 221,
  kPieceEnd = 222,
  kClose = 254,
  kError = 255,
};

// Dragonfly's task kinds; each has its own pair of tags.
enum class Kind : std::uint8_t { kStandard, kPersistent, kPersistentCache, kCache };

// Why a request was not served. Values above 3 are ours and go only into extension packets.
enum class Code : std::uint8_t {
  kUnknown = 0,
  kInvalidArgument = 1,
  kNotFound = 2,
  kInternal = 3,
  kCancelled = 4,  // the child took its request back
  kBusy = 5,       // over the server's limits; try again later or elsewhere
  kCorrupt = 6,    // bytes forwarded in flight failed their verification
  kOk = 255,       // PieceEnd only: the piece is complete
};

struct Header {
  std::uint8_t id = 0;  // random, never checked, never echoed
  std::uint8_t tag = 0;
  std::uint32_t length = 0;
};

// ---- requests: child to parent

struct PieceRequest {
  Kind kind = Kind::kStandard;
  std::string task_id;
  std::uint32_t number = 0;
  bool operator==(const PieceRequest&) const = default;
};
// Extension: tell me which pieces of a task you have, now and as they come.
struct Subscribe {
  std::uint32_t subscription = 0;  // the child's number for it, unique on the connection
  std::string task_id;
  bool operator==(const Subscribe&) const = default;
};
struct Unsubscribe {
  std::uint32_t subscription = 0;
  bool operator==(const Unsubscribe&) const = default;
};
// Extension: send a piece in chunks, as far as it is here, the rest as it arrives.
struct Fetch {
  std::uint32_t request = 0;  // the child's number for it, unique on the connection
  std::string task_id;
  std::uint32_t number = 0;
  std::uint64_t start = 0;  // bytes of the piece that the child has already
  bool operator==(const Fetch&) const = default;
};
struct Cancel {
  std::uint32_t request = 0;
  bool operator==(const Cancel&) const = default;
};
struct Close {
  bool operator==(const Close&) const = default;
};
using Request = std::variant<PieceRequest, Subscribe, Unsubscribe, Fetch, Cancel, Close>;

// ---- answers: parent to child

// What precedes a piece's raw bytes.
struct PieceContent {
  Kind kind = Kind::kStandard;
  std::uint32_t number = 0;
  std::uint64_t offset = 0;     // in the task's content
  std::uint64_t length = 0;     // raw bytes that follow
  std::string digest;           // "crc32:1475635037"; may be empty
  std::string parent_id;        // the sender's own parent, empty if it came from the origin
  std::uint8_t traffic = 1;     // common.v2.TrafficType; Rust always sends 1
  std::uint64_t cost = 0;       // whole seconds
  std::int64_t created = 0;     // Unix seconds
  std::uint32_t abilities = 0;  // bits of Ability, from a d7y parent's marker; 0 from others
  bool operator==(const PieceContent&) const = default;
};
struct Refusal {
  Code code = Code::kUnknown;
  std::string message;  // printable, at most 512 bytes
  bool operator==(const Refusal&) const = default;
};
// Extension: which pieces a parent has.
struct Have {
  enum class What : std::uint8_t {
    kTask = 0,      // geometry; comes first, and again when the length becomes known
    kComplete = 1,  // bitmap: pieces that are complete and verified
    kArriving = 2,  // bitmap: pieces that are on their way and can be forwarded in flight
    kGained = 3,    // list: became complete
    kStarted = 4,   // list: became arriving
    kLost = 5,      // list: neither any more
    kAll = 6,       // the task is complete on the parent; nothing more will come
    kEnd = 7,       // the subscription is over: unknown, deleted or failed task
    kClear = 8,     // forget all that was said about pieces; it follows anew
    kShare = 9,     // which pieces this child should take here rather than from other children, and a list:
                    // those that some child was given
  };
  std::uint32_t subscription = 0;
  What what = What::kTask;
  std::uint32_t first = 0;              // bitmaps: number of the piece of the first bit
  std::string bitmap;                   // bit i of byte j is piece first + 8j + i
  std::vector<std::uint32_t> numbers;   // lists, kShare
  std::uint64_t content_length = 0;     // kTask, bytes; kUnknownLength if not yet known
  std::uint64_t piece_length = 0;       // kTask, bytes
  std::uint64_t version = 0;            // kTask, version_tag() of the content; 0 if not known
  std::uint32_t share = 0, shares = 1;  // kShare, see PieceShare
  Code code = Code::kUnknown;           // kEnd
  std::string message;                  // kEnd
  static constexpr std::uint64_t kUnknownLength = ~std::uint64_t{0};
  bool operator==(const Have&) const = default;
};
struct PieceStart {
  std::uint32_t request = 0;
  std::uint32_t number = 0;
  std::uint64_t offset = 0, length = 0;
  std::uint64_t version = 0;  // as in Have: of the content that the piece belongs to
  bool operator==(const PieceStart&) const = default;
};
// `length` raw bytes of the piece follow.
struct PieceChunk {
  std::uint32_t request = 0;
  std::uint32_t length = 0;
  bool operator==(const PieceChunk&) const = default;
};
// The end of a Fetch, good or bad.
struct PieceEnd {
  std::uint32_t request = 0;
  Code code = Code::kOk;
  std::string digest;   // kOk
  std::string message;  // otherwise
  bool operator==(const PieceEnd&) const = default;
};
using Answer = std::variant<PieceContent, Refusal, Have, PieceStart, PieceChunk, PieceEnd, Close>;

// What a d7y parent tells at the end of a piece's metadata, where a Rust child does not look.
enum Ability : std::uint32_t {
  kKeepsOpen = 1,   // the connection stays open for further requests, which may be pipelined
  kSubscribes = 2,  // Subscribe, Unsubscribe, Have
  kStreams = 4,     // Fetch, Cancel, PieceStart, PieceChunk, PieceEnd
};
inline constexpr std::uint32_t kOurAbilities = kKeepsOpen | kSubscribes | kStreams;

// ---- writing

// kInvalid: a task id that is not 64 printable ASCII characters does not fit the protocol.
Result<std::string> encode(const PieceRequest& request, std::uint8_t packet_id);
std::string encode(const PieceContent& content, std::uint8_t packet_id);  // without the piece's bytes
std::string encode(const Refusal& refusal, std::uint8_t packet_id);
Result<std::string> encode(const Subscribe& subscribe);
std::string encode(const Unsubscribe& unsubscribe);
Result<std::string> encode(const Fetch& fetch);
std::string encode(const Cancel& cancel);
std::string encode(const Have& have);
std::string encode(const PieceStart& start);
std::string encode(const PieceChunk& chunk);  // without the chunk's bytes
std::string encode(const PieceEnd& end);
std::string encode(const Close& close);

// ---- reading

// A server's ear. Bounded memory: one packet of at most kMaxRequestValue bytes.
class RequestReader {
 public:
  // Appends the requests that are complete now to `out`. kProtocol: drop the connection, as a
  // Dragonfly server does. Once failed it stays so.
  Result<void> feed(Bytes bytes, std::vector<Request>& out);
  // In the middle of a packet.
  bool partial() const { return !pending_.empty(); }

 private:
  std::string pending_;
  bool failed_ = false;
};

// A child's ear.
class AnswerReader {
 public:
  struct Step {
    std::size_t taken = 0;  // bytes used up; never more than up to the first raw byte of a piece
    std::optional<Answer> answer;
  };

  // Uses bytes up to the end of one packet. Must not be called while body_left() > 0. kProtocol:
  // the parent cannot be understood; drop the connection. Once failed it stays so.
  Result<Step> feed(Bytes bytes);

  // Raw bytes of a piece that follow on the stream before the next packet.
  std::uint64_t body_left() const { return body_left_; }
  // `bytes` of them have been taken off the stream.
  void took_body(std::uint64_t bytes) { body_left_ -= bytes; }
  bool partial() const { return !pending_.empty(); }

 private:
  std::string pending_;
  std::uint64_t body_left_ = 0;
  bool failed_ = false;
};

// The tag's name, or "tag N".
std::string name_of_tag(std::uint8_t tag);

}  // namespace d7y::swarm::vortex
