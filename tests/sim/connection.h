// One simulated stream connection: two ends, and a pipe in each direction.
//
// A pipe moves segments of up to 64 KiB: send buffer -> sender's uplink -> flight (latency, jitter,
// loss) -> receiver's downlink -> receive buffer. What it keeps of TCP: order, reliability, bounded
// buffers at both ends (a window of credit that the reader gives back), FIN per direction, RST when
// data meets a closed end or unread bytes are thrown away, retransmission with exponential back-off
// over a broken path, giving up after 15 tries. What it leaves out: slow start and congestion
// control (links are shared round robin instead), and packets smaller than a segment.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "base/address.h"
#include "base/bytes.h"
#include "base/loop.h"
#include "base/result.h"
#include "world/network.h"

namespace d7y::sim {

class Connection;
class Fabric;
class Host;
class Link;
class SimStream;

struct Chunk {
  std::unique_ptr<std::byte[]> data;
  std::uint32_t begin = 0, end = 0, capacity = 0;
  std::size_t size() const { return end - begin; }
};

struct Packet {
  TimePoint arrival{};
  Chunk chunk;
  bool fin = false, reset = false;
};

struct Endpoint {
  Host* host = nullptr;
  Address local = Address::ipv4({}, 0), remote = Address::ipv4({}, 0);
  SimStream* handle = nullptr;  // null: its owner closed it
  bool vanished = false;        // its machine lost power: nobody will ever answer
  std::optional<Error> broken;
  TimePoint heard{};  // when something last arrived here
  std::chrono::seconds keepalive{0};
};

// One direction. Everything here is driven by Connection.
struct Pipe {
  // The sender's end.
  std::deque<Chunk> queue;
  std::size_t queued = 0, send_buffer = 0;
  std::size_t credit = 0;  // bytes the receiver has room for
  bool fin_queued = false, fin_sent = false;
  bool corked = false;   // a small rest waits for more (MSG_MORE)
  bool sending = false;  // in the uplink's round
  // Under way.
  std::deque<Packet> flying;
  std::deque<Packet> lost;  // in order; sent again when the retry timer says so
  TimePoint last_arrival{};
  int retries = 0;
  // The receiver's end.
  std::deque<Packet> arrived;  // waiting for the downlink
  bool arriving = false;       // in the downlink's round
  std::deque<Chunk> received;
  std::size_t unread = 0, uncredited = 0, receive_buffer = 0;
  bool fin_received = false;
};

class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Fabric& fabric, std::uint64_t id, Endpoint client, Endpoint server);

  std::uint64_t id() const { return id_; }
  Endpoint& end(int side) { return ends_[side]; }
  // The pipe that `side` writes into.
  Pipe& pipe(int side) { return pipes_[side]; }
  // What the server writes goes through `rewrite` from now on.
  void rewrite_server(std::function<std::string(Bytes)> rewrite) { rewrite_ = std::move(rewrite); }
  bool is_local() const { return ends_[0].host == ends_[1].host; }

  // What a stream does to its end.
  world::Transfer read(int side, MutableBytes buffer);
  world::Transfer write(int side, std::span<const Bytes> parts, bool more);
  world::Transfer write_file(int side, world::File& file, std::uint64_t offset, std::uint64_t length);
  void finish(int side);
  void abort(int side);
  // Its owner lets go: unsent bytes still go out; unread ones turn it into a reset, as in Linux.
  void close(int side);
  // Its machine is gone without a word.
  void vanish(int side);
  void watch_keepalive(int side);

  // What links do: the next packet for the uplink or downlink, and what becomes of it.
  std::optional<Packet> next_to_send(int side);
  std::optional<Packet> next_to_receive(int side);
  void depart(int side, Packet packet);
  void deliver(int side, Packet packet);

 private:
  class FlightTimer final : public Timer {
   public:
    Connection* connection = nullptr;
    int side = 0;

   private:
    void fire() override;
  };
  class RetryTimer final : public Timer {
   public:
    Connection* connection = nullptr;
    int side = 0;

   private:
    void fire() override;
  };
  class CorkTimer final : public Timer {
   public:
    Connection* connection = nullptr;
    int side = 0;

   private:
    void fire() override;
  };

  std::size_t room(int side) const;
  void append(int side, Bytes bytes);
  bool sendable(int side) const;
  void kick(int side);
  void land(int side);  // handles what has arrived by now
  void arrive(int side, Packet packet);
  void lose(int side, Packet packet);
  void retry(int side);
  void give_credit(int side, std::size_t bytes, int attempt);
  void send_reset(int side);
  void break_end(int side, ErrorCode code, std::string_view why);
  void forget_if_over();
  bool over(int side) const;

  Fabric& fabric_;
  std::uint64_t id_;
  Endpoint ends_[2];
  std::function<std::string(Bytes)> rewrite_;
  Pipe pipes_[2];
  FlightTimer flights_[2];
  RetryTimer retries_[2];
  CorkTimer corks_[2];
};

}  // namespace d7y::sim
