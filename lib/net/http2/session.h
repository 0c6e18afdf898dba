// HTTP/2 as a plain object: bytes in, bytes out, events. No socket, no clock; nghttp2 does the protocol.
//
// One Session is one connection's state. Streams are objects of the layer above, derived from Stream;
// the session calls them while it receives and lets them go when they are closed.
//
//   session.receive(bytes);            // calls stream.on_field(), on_data(), ... from inside
//   session.pull(output, 256_KiB);     // what is to be written now, frames of all streams interleaved
//
// Rules that come from nghttp2: events run inside receive() and pull(), so they must not call these
// two; everything else may be called from events. Events::on_output() says that pull() has something
// to do; a hand schedules one pull per loop turn.
//
// Flow control: received bytes count against the stream's window until consume(). The connection's
// window is given back at once while less than its size lies unread, so that one slow reader does
// not stop the others, and with the readers' progress beyond that.
//
// Floods: CONTINUATION chains, more than 1000 unwritten acknowledgements of SETTINGS and PING, empty DATA
// frames and broken frames over a budget end the connection here. What needs a clock (resets per second,
// PINGs per minute) is its owner's business: on_remote_reset(), on_ping().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "net/http2/output.h"

struct nghttp2_session;

namespace d7y::http2 {

// RFC 9113 section 7.
enum class H2Error : std::uint32_t {
  kNone = 0,
  kProtocol = 1,
  kInternal = 2,
  kFlowControl = 3,
  kSettingsTimeout = 4,
  kStreamClosed = 5,
  kFrameSize = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompression = 9,
  kConnect = 10,
  kEnhanceYourCalm = 11,
  kInadequateSecurity = 12,
  kHttp11Required = 13,
};
std::string_view name_of(H2Error code);

// One header field to send. `lasting`: both views are literals and need not be copied.
struct Field {
  std::string_view name;  // lower case
  std::string_view value;
  bool lasting = false;
};

class Session;

// What a list of header fields was.
enum class FieldsKind : std::uint8_t { kRequest, kInformational, kResponse, kTrailers };

class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // The session still knows it.
  bool attached() const { return session_ != nullptr; }
  std::int32_t id() const { return id_; }
  Session* session() const { return session_; }

  // Queues body bytes. Before the stream is attached they wait in it.
  void send(Bytes small);
  void send(std::string bytes);
  void send(std::shared_ptr<const std::string> bytes);
  // Nothing more follows the queued bytes: END_STREAM, or trailers that carry it.
  void finish();
  void finish(std::span<const Field> trailers);
  // The same with trailers that are constants, span and all.
  void finish_lasting(std::span<const Field> trailers);
  bool finished() const { return finished_; }
  // Queued bytes that did not yet go to an Output.
  std::size_t unsent() const { return unsent_; }
  // Its header fields went to an Output: the other side may have seen it.
  bool begun() const { return headers_sent_; }
  bool sent_body() const { return sent_any_; }
  // For sending it again on another session, while not attached: forgets all progress and what was
  // queued...
  void rewind();
  // ...or keeps what was queued, of which nothing may have been sent.
  void rewind_unsent();

  // Ends the stream at once. on_close() follows.
  void reset(H2Error code);
  // `count` received bytes were used: the other side may send as many more.
  void consume(std::size_t count);

  // The other side's header list is over the limit; fields beyond it were dropped.
  bool fields_too_large() const { return fields_too_large_; }
  // The other side has finished sending.
  bool remote_finished() const { return remote_finished_; }

 protected:
  // Resets the stream with CANCEL if it is still open. No events follow.
  virtual ~Stream();

  virtual void on_field(std::string_view name, std::string_view value) = 0;
  virtual void on_fields_end(FieldsKind kind) = 0;
  virtual void on_data(Bytes bytes) = 0;
  // The other side finished sending; after the last on_data() or on_fields_end().
  virtual void on_end() = 0;
  // Queued bytes went out; look at unsent().
  virtual void on_progress() {}
  // The session has forgotten the stream; the last event. `processed` false: the other side certainly
  // did nothing with it (REFUSED_STREAM, beyond GOAWAY, never sent).
  virtual void on_close(H2Error code, bool processed) = 0;

 private:
  friend class Session;
  friend struct Callbacks;

  // Sent from where it lies if big, copied if small.
  struct Chunk {
    std::string small;
    std::shared_ptr<const std::string> big;
    std::string_view bytes() const { return big ? std::string_view(*big) : std::string_view(small); }
  };

  Session* session_ = nullptr;
  Stream* before_ = nullptr;  // in the session's list
  Stream* after_ = nullptr;
  std::int32_t id_ = 0;
  std::vector<Chunk> chunks_;
  std::size_t head_ = 0;    // first chunk with unsent bytes
  std::size_t offset_ = 0;  // sent bytes of that one
  std::size_t unsent_ = 0;
  std::size_t unconsumed_ = 0;  // received bytes not yet given to consume()
  std::size_t field_bytes_ = 0;
  struct Trailer {
    std::string name, value;
  };
  std::vector<Trailer> trailers_;
  std::span<const Field> lasting_trailers_;
  bool finished_ = false;
  bool deferred_ = false;  // nghttp2 waits for resume_data
  bool sent_any_ = false;
  bool headers_sent_ = false;
  bool remote_finished_ = false;
  bool fields_too_large_ = false;
  bool status_seen_ = false;  // in the header block being read
  bool informational_ = false;
  bool closing_ = false;  // reset() was called
};

// What a connection's owner wants to hear.
class Events {
 public:
  // Server: a client opens a stream. The object stays its maker's; null refuses.
  virtual Stream* on_new_stream() = 0;
  // The other side will take no new streams; those above `last_stream` are closed after this.
  virtual void on_goaway(std::int32_t last_stream, H2Error code, std::string_view debug) = 0;
  virtual void on_settings() {}
  virtual void on_ping() {}
  virtual void on_ping_ack() {}
  // The other side reset a stream before it had ended (a count of these is how floods are noticed).
  virtual void on_remote_reset() {}
  // pull() has something to do. Called often; must be cheap.
  virtual void on_output() = 0;

 protected:
  ~Events() = default;
};

struct SessionOptions {
  bool server = false;
  std::uint32_t stream_window = 1u << 20;
  std::uint32_t connection_window = 16u << 20;
  std::uint32_t max_concurrent_streams = 100'000;  // of the other side; announced by servers
  std::uint32_t max_frame = 64u << 10;             // announced: the biggest frame to accept
  std::uint32_t max_header_list = 64u << 10;       // announced and enforced
};

class Session {
 public:
  // `events` must outlive it.
  Session(const SessionOptions& options, Events& events);
  // Closes all streams with kCancel.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // kProtocol: the other side broke HTTP/2 so badly that nothing can be answered; pull() once more
  // and close.
  Result<void> receive(Bytes bytes);
  // Moves frames to `output` until it holds `limit` bytes or there are none.
  Result<void> pull(Output& output, std::size_t limit);
  // Neither reads nor writes any more; the connection should close.
  bool finished() const;
  bool wants_write() const;

  // Client: opens a stream. `body` false: the request ends with its fields.
  void request(Stream& stream, std::span<const Field> fields, bool body);
  // Server: final response fields. `body` false: they end the stream.
  void respond(Stream& stream, std::span<const Field> fields, bool body);
  // Server: an answer before the final one, "100" for example.
  void inform(Stream& stream, std::string_view status);

  void ping();
  // Announces that streams opened from now on may be refused (first half of a graceful end).
  void shutdown_notice();
  // No streams above those seen are taken; running ones go on.
  void goaway(H2Error code, std::string_view debug);
  // GOAWAY, and all streams end now.
  void terminate(H2Error code, std::string_view debug);
  // Closes every stream with `code`, without frames: the connection is gone.
  void drop_streams(H2Error code, bool processed);

  std::size_t open_streams() const { return open_streams_; }
  // HEADERS and DATA frames sent so far.
  std::uint64_t payload_frames_sent() const { return payload_frames_; }
  // Received bytes nobody consumed yet.
  std::size_t unread() const { return unread_; }
  // Largest header list the other side takes, in the units of SETTINGS_MAX_HEADER_LIST_SIZE.
  std::uint32_t remote_max_header_list() const;
  bool remote_settings_seen() const { return remote_settings_seen_; }
  std::uint32_t remote_max_concurrent_streams() const;
  // Why the session broke the connection off, if it did.
  const std::string& fault() const { return fault_; }

 private:
  friend class Stream;
  friend struct Callbacks;

  void attach(Stream& stream, std::int32_t id);
  void detach(Stream& stream);
  void close(Stream& stream, H2Error code, bool processed);
  void returned(std::size_t count);  // unread bytes became read
  void glitch(int weight);
  Stream* find(std::int32_t id);
  void output_ready() { events_.on_output(); }

  SessionOptions options_;
  Events& events_;
  nghttp2_session* session_ = nullptr;
  Stream* first_ = nullptr;
  std::size_t open_streams_ = 0;
  std::size_t unread_ = 0;
  std::size_t window_debt_ = 0;  // connection window not given back yet
  std::uint64_t payload_frames_ = 0;
  int glitches_ = 0;
  bool remote_settings_seen_ = false;
  std::int32_t goaway_last_ = -1;  // from the other side's GOAWAY
  Stream* current_ = nullptr;      // whose header block is being read
  Output* output_ = nullptr;       // during pull()
  std::size_t output_limit_ = 0;
  std::string fault_;
};

}  // namespace d7y::http2
