// Streams, listeners and names, as the world offers them.
//
// A Stream is a non-blocking byte pipe with two signals. Hot paths use the try_ calls and wait only
// when they would block; everything else uses the coroutines at the end of this file.
//
// The signals tell edges, not levels: wait for readable() or writable() only after the try_ call of
// that side said kWouldBlock, without awaiting anything else in between. After the wait, try again;
// a wake-up promises nothing. Who moves much in a loop without ever having to wait lets others run
// with `co_await next_turn()` (base/task.h) once per MiB or so; the coroutines below do.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/notify.h"
#include "base/result.h"
#include "base/task.h"

namespace d7y::world {

class File;

// What one non-blocking step did.
struct Transfer {
  enum class State : std::uint8_t {
    kMoved,       // `bytes` > 0 were moved
    kWouldBlock,  // nothing now; wait for readable() or writable()
    kEnd,         // reading: the other side has finished sending
    kFailed,      // broken; error() says how
  };
  State state = State::kWouldBlock;
  std::size_t bytes = 0;
};

// Identity of the process at the other end of a Unix socket.
struct PeerCredentials {
  std::uint32_t pid = 0, uid = 0, gid = 0;
};

class Stream {
 public:
  virtual ~Stream() = default;  // closes; unsent bytes of the kernel still go out

  // Reads what is there, at most buffer.size() bytes.
  virtual Transfer try_read(MutableBytes buffer) = 0;
  // Writes as much of `parts` as fits. `more`: further bytes follow at once, so hold back a small
  // segment (MSG_MORE).
  virtual Transfer try_write(std::span<const Bytes> parts, bool more) = 0;
  // Sends file content without passing through user space where possible. kEnd: the file is shorter.
  virtual Transfer try_send_file(File& file, std::uint64_t offset, std::uint64_t length) = 0;

  // Notified when a step that would have blocked may succeed, or the stream broke.
  virtual Signal& readable() = 0;
  virtual Signal& writable() = 0;

  // Why the stream is broken; a clone for each caller.
  virtual Error error() const = 0;

  // No more will be written: the other side reads to the end. Reading goes on.
  virtual void finish_writing() = 0;
  // Breaks the connection at once; the other side sees a reset.
  virtual void abort() = 0;

  virtual Address local() const = 0;
  virtual Address remote() const = 0;
  virtual std::optional<PeerCredentials> peer_credentials() const { return std::nullopt; }
};

struct ConnectOptions {
  // Bind to this local address before connecting (port 0: any); none: the system chooses.
  std::optional<Address> from;
  // Socket buffer sizes in bytes; 0 leaves them to the system.
  std::uint32_t send_buffer = 0, receive_buffer = 0;
  // TCP keepalive idle time; 0 turns it off.
  std::chrono::seconds keepalive{0};
};

struct ListenOptions {
  int backlog = 1024;
  // Several loops may listen on one address; the kernel spreads connections.
  bool reuse_port = false;
  // Unix sockets: permission bits of the file. A stale socket file is removed first; a live one
  // (somebody accepts) is kExists.
  std::uint32_t mode = 0600;
  std::uint32_t send_buffer = 0, receive_buffer = 0;
  std::chrono::seconds keepalive{0};
};

class Listener {
 public:
  virtual ~Listener() = default;  // stops listening; removes its Unix socket's file
  // The next connection. Transient failures (descriptors used up) are waited out inside, and shown
  // as kExhausted only when `deadline` comes first.
  virtual Task<Result<std::unique_ptr<Stream>>> accept(Deadline deadline) = 0;
  virtual Address local() const = 0;  // with the real port where 0 was asked for
};

// One network interface's address and speed.
struct Interface {
  std::string name;
  Address address = Address::ipv4({}, 0);   // port 0
  std::uint64_t speed_bits_per_second = 0;  // 0: unknown
  bool up = false;
  std::uint64_t received_bytes = 0, sent_bytes = 0;  // since boot
};

class Network {
 public:
  virtual ~Network() = default;

  // TCP (nodelay on, cubic where available) or Unix. kRefused, kTimeout, kPermission, kInvalid.
  virtual Task<Result<std::unique_ptr<Stream>>> connect(Address to, ConnectOptions options,
                                                        Deadline deadline) = 0;
  // kExists: the address is in use. kPermission: not allowed. kInvalid: no such local address.
  virtual Result<std::unique_ptr<Listener>> listen(const Address& at, const ListenOptions& options) = 0;
  // All addresses of `host` (a name or an IP literal) with `port`, in the system's order of
  // preference. Does not block the loop. kRefused: no such name.
  virtual Task<Result<std::vector<Address>>> resolve(std::string host, std::uint16_t port,
                                                     Deadline deadline) = 0;
  virtual std::vector<Interface> interfaces() = 0;
};

// Connects to the first of `candidates` that answers, starting the next one every 250 ms and
// alternating families (RFC 8305). The error of the last one if none does.
Task<Result<std::unique_ptr<Stream>>> connect_any(Network& network, std::vector<Address> candidates,
                                                  ConnectOptions options, Deadline deadline);

// Reads at least one byte, or 0 at the end of the stream.
Task<Result<std::size_t>> read_some(Stream& stream, MutableBytes buffer, Deadline deadline);
// Fills the buffer; kReset if the stream ends before.
Task<Result<void>> read_exactly(Stream& stream, MutableBytes buffer, Deadline deadline);
// Writes everything.
Task<Result<void>> write_all(Stream& stream, Bytes bytes, Deadline deadline, bool more = false);
// Sends `length` bytes of `file` from `offset`. kCorrupt if the file is shorter.
Task<Result<void>> send_file(Stream& stream, File& file, std::uint64_t offset, std::uint64_t length,
                             Deadline deadline);

}  // namespace d7y::world
