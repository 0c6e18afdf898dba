#include "sim/connection.h"

#include <algorithm>

#include "sim/fabric.h"
#include "sim/host.h"
#include "sim/host_network.h"
#include "world/files.h"

namespace d7y::sim {

using world::Transfer;

namespace {
constexpr std::size_t kSmall = 1448;                                 // less than one packet
constexpr Duration kCork = std::chrono::milliseconds(200);           // Linux sends it then anyway
constexpr Duration kShortestRetry = std::chrono::milliseconds(200);  // TCP_RTO_MIN
constexpr Duration kLongestRetry = std::chrono::seconds(120);        // TCP_RTO_MAX
constexpr int kRetries = 15;                                         // tcp_retries2
constexpr Duration kProbes = std::chrono::seconds(10);               // ten probes, one a second
}  // namespace

Connection::Connection(Fabric& fabric, std::uint64_t id, Endpoint client, Endpoint server)
    : fabric_(fabric), id_(id), ends_{std::move(client), std::move(server)} {
  for (int side : {0, 1}) {
    flights_[side].connection = retries_[side].connection = corks_[side].connection = this;
    flights_[side].side = retries_[side].side = corks_[side].side = side;
    auto& pipe = pipes_[side];
    pipe.send_buffer = fabric.options().send_buffer;
    pipe.receive_buffer = fabric.options().receive_buffer;
    pipe.credit = pipe.receive_buffer;
    ends_[side].heard = fabric.loop().now();
  }
}

// ---- What a stream does to its end. ----

Transfer Connection::read(int side, MutableBytes buffer) {
  auto& pipe = pipes_[1 - side];
  if (pipe.received.empty()) {
    if (ends_[side].broken) return {Transfer::State::kFailed};
    return {pipe.fin_received ? Transfer::State::kEnd : Transfer::State::kWouldBlock};
  }
  auto wanted = buffer.size();
  if (wanted == 0) return {Transfer::State::kWouldBlock};
  if (fabric_.random().chance(fabric_.options().chop)) wanted = fabric_.random().between(1, wanted);
  std::size_t done = 0;
  while (done < wanted && !pipe.received.empty()) {
    auto& chunk = pipe.received.front();
    auto count = std::min(wanted - done, chunk.size());
    std::memcpy(buffer.data() + done, chunk.data.get() + chunk.begin, count);
    chunk.begin += static_cast<std::uint32_t>(count);
    done += count;
    if (chunk.size() == 0) pipe.received.pop_front();
  }
  pipe.unread -= done;
  pipe.uncredited += done;
  if (pipe.uncredited >= pipe.receive_buffer / 4) {
    give_credit(1 - side, std::exchange(pipe.uncredited, 0), 0);
  }
  return {Transfer::State::kMoved, done};
}

std::size_t Connection::room(int side) const {
  auto& pipe = pipes_[side];
  return pipe.queued >= pipe.send_buffer ? 0 : pipe.send_buffer - pipe.queued;
}

void Connection::append(int side, Bytes bytes) {
  auto& pipe = pipes_[side];
  while (!bytes.empty()) {
    if (pipe.queue.empty() || pipe.queue.back().end == pipe.queue.back().capacity) {
      auto wanted = std::max(bytes.size(), std::max<std::size_t>(pipe.queued, 512));
      Chunk chunk;
      chunk.capacity = static_cast<std::uint32_t>(std::min(wanted, fabric_.options().segment));
      chunk.data = std::make_unique_for_overwrite<std::byte[]>(chunk.capacity);
      pipe.queue.push_back(std::move(chunk));
    }
    auto& chunk = pipe.queue.back();
    auto count = std::min<std::size_t>(bytes.size(), chunk.capacity - chunk.end);
    std::memcpy(chunk.data.get() + chunk.end, bytes.data(), count);
    chunk.end += static_cast<std::uint32_t>(count);
    pipe.queued += count;
    bytes = bytes.subspan(count);
  }
}

Transfer Connection::write(int side, std::span<const Bytes> parts, bool more) {
  auto& pipe = pipes_[side];
  if (ends_[side].broken) return {Transfer::State::kFailed};
  if (pipe.fin_queued) {
    break_end(side, ErrorCode::kPrecondition, "written to after it was finished");
    return {Transfer::State::kFailed};
  }
  auto left = room(side);
  std::size_t total = 0;
  for (auto part : parts) total += part.size();
  if (total == 0) return {Transfer::State::kMoved, 0};
  if (left == 0) return {Transfer::State::kWouldBlock};
  if (fabric_.random().chance(fabric_.options().chop)) left = fabric_.random().between(1, left);
  std::size_t done = 0;
  for (auto part : parts) {
    auto count = std::min(part.size(), left - done);
    if (side == 1 && rewrite_) {
      auto instead = rewrite_(part.first(count));
      append(side, as_bytes(instead));
    } else {
      append(side, part.first(count));
    }
    done += count;
    if (done == left) break;
  }
  pipe.corked = more && done == total;
  kick(side);
  return {Transfer::State::kMoved, done};
}

Transfer Connection::write_file(int side, world::File& file, std::uint64_t offset, std::uint64_t length) {
  if (ends_[side].broken) return {Transfer::State::kFailed};
  auto count = std::min<std::uint64_t>({room(side), length, fabric_.options().segment});
  if (count == 0) return {length == 0 ? Transfer::State::kMoved : Transfer::State::kWouldBlock};
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(count);
  auto got = file.read_at(offset, MutableBytes(buffer.get(), count));
  if (!got) {
    break_end(side, got.error().code(), got.error().message());
    return {Transfer::State::kFailed};
  }
  if (*got == 0) return {Transfer::State::kEnd};
  Bytes part(buffer.get(), *got);
  return write(side, std::span(&part, 1), false);
}

void Connection::finish(int side) {
  auto& pipe = pipes_[side];
  if (ends_[side].broken || pipe.fin_queued) return;
  pipe.fin_queued = true;
  pipe.corked = false;
  fabric_.timeline().note("finish", ends_[side].host->id(), id_);
  kick(side);
}

void Connection::abort(int side) {
  if (ends_[side].broken) return;
  fabric_.timeline().note("abort", ends_[side].host->id(), id_);
  send_reset(side);
  break_end(side, ErrorCode::kReset, "aborted here");
}

void Connection::close(int side) {
  auto keep = shared_from_this();
  auto& end = ends_[side];
  end.handle = nullptr;
  if (!end.broken) {
    fabric_.timeline().note("close", end.host->id(), id_);
    bool unread = pipes_[1 - side].unread > 0;
    if (unread) {
      abort(side);
    } else {
      finish(side);
    }
  }
  pipes_[1 - side].received.clear();
  pipes_[1 - side].unread = 0;
  forget_if_over();
}

void Connection::vanish(int side) {
  auto keep = shared_from_this();
  auto& end = ends_[side];
  end.vanished = true;
  break_end(side, ErrorCode::kClosed, "its machine lost power");
  end.handle = nullptr;
  pipes_[1 - side].received.clear();
  pipes_[1 - side].arrived.clear();
  forget_if_over();
}

void Connection::watch_keepalive(int side) {
  auto& end = ends_[side];
  if (end.keepalive.count() == 0 || end.broken || end.handle == nullptr) return;
  auto idle = fabric_.loop().now() - end.heard;
  std::weak_ptr<Connection> self = weak_from_this();
  auto again = [self, side](Fabric& fabric, Duration delay) {
    fabric.after(delay, [self, side] {
      if (auto alive = self.lock()) alive->watch_keepalive(side);
    });
  };
  if (idle < end.keepalive) return again(fabric_, end.keepalive - idle);
  auto& other = ends_[1 - side];
  bool answers = fabric_.open(*end.host, *other.host) && fabric_.open(*other.host, *end.host);
  if (answers && other.vanished) return break_end(side, ErrorCode::kReset, "the other side restarted");
  if (answers) {
    end.heard = fabric_.loop().now();
    return again(fabric_, end.keepalive);
  }
  if (idle >= end.keepalive + kProbes) return break_end(side, ErrorCode::kTimeout, "keepalive probes failed");
  again(fabric_, std::chrono::seconds(1));
}

// ---- The way of a segment. ----

bool Connection::sendable(int side) const {
  auto& pipe = pipes_[side];
  if (ends_[side].broken || !pipe.lost.empty()) return false;
  if (pipe.queued == 0) return pipe.fin_queued && !pipe.fin_sent;
  if (pipe.corked && pipe.queued < kSmall) return false;
  return pipe.credit > 0;
}

void Connection::kick(int side) {
  auto& pipe = pipes_[side];
  if (sendable(side)) {
    fabric_.link(*this, side, Link::Stage::kSend).add(*this, side);
  } else if (pipe.corked && !ends_[side].broken && !corks_[side].is_set()) {
    corks_[side].set(fabric_.loop(), fabric_.loop().now() + kCork);
  }
}

void Connection::CorkTimer::fire() {
  auto keep = connection->shared_from_this();
  connection->pipes_[side].corked = false;
  connection->kick(side);
}

std::optional<Packet> Connection::next_to_send(int side) {
  if (!sendable(side)) return std::nullopt;
  auto& pipe = pipes_[side];
  Packet packet;
  if (pipe.queued == 0) {
    pipe.fin_sent = packet.fin = true;
    return packet;
  }
  auto& front = pipe.queue.front();
  auto limit = std::min({front.size(), pipe.credit, fabric_.options().segment});
  if (fabric_.random().chance(fabric_.options().chop)) limit = fabric_.random().between(1, limit);
  if (limit == front.size()) {
    packet.chunk = std::move(front);
    pipe.queue.pop_front();
  } else {
    packet.chunk.capacity = packet.chunk.end = static_cast<std::uint32_t>(limit);
    packet.chunk.data = std::make_unique_for_overwrite<std::byte[]>(limit);
    std::memcpy(packet.chunk.data.get(), front.data.get() + front.begin, limit);
    front.begin += static_cast<std::uint32_t>(limit);
  }
  bool was_full = room(side) < pipe.send_buffer / 3;
  pipe.queued -= limit;
  pipe.credit -= limit;
  if (was_full && room(side) >= pipe.send_buffer / 3 && ends_[side].handle != nullptr) {
    ends_[side].handle->writable().notify_all();
  }
  return packet;
}

void Connection::depart(int side, Packet packet) {
  auto& pipe = pipes_[side];
  auto& from = *ends_[side].host;
  auto& to = *ends_[1 - side].host;
  auto time = fabric_.flight_time(from, to, packet.chunk.size());
  packet.arrival = std::max(fabric_.loop().now() + time, pipe.last_arrival);
  pipe.last_arrival = packet.arrival;
  pipe.flying.push_back(std::move(packet));
  if (!flights_[side].is_set()) flights_[side].set(fabric_.loop(), pipe.flying.front().arrival);
}

void Connection::FlightTimer::fire() {
  auto keep = connection->shared_from_this();
  connection->land(side);
}

void Connection::land(int side) {
  auto& pipe = pipes_[side];
  while (!pipe.flying.empty() && pipe.flying.front().arrival <= fabric_.loop().now()) {
    Packet packet = std::move(pipe.flying.front());
    pipe.flying.pop_front();
    arrive(side, std::move(packet));
  }
  if (!pipe.flying.empty()) flights_[side].set(fabric_.loop(), pipe.flying.front().arrival);
  forget_if_over();
}

void Connection::arrive(int side, Packet packet) {
  auto& pipe = pipes_[side];
  auto& to = ends_[1 - side];
  bool open = fabric_.open(*ends_[side].host, *to.host);
  if (packet.reset) {  // nobody repeats a reset
    if (open && !to.vanished) break_end(1 - side, ErrorCode::kReset, "reset by the other side");
    return;
  }
  if (!open || !pipe.lost.empty()) return lose(side, std::move(packet));
  if (to.vanished) {  // the machine is back, but knows nothing of this connection
    return send_reset(1 - side);
  }
  pipe.retries = 0;
  if (is_local()) return deliver(side, std::move(packet));
  pipe.arrived.push_back(std::move(packet));
  fabric_.link(*this, side, Link::Stage::kReceive).add(*this, side);
}

void Connection::lose(int side, Packet packet) {
  if (ends_[side].broken) return;
  auto& pipe = pipes_[side];
  fabric_.timeline().note("lose", ends_[side].host->id(), id_, packet.chunk.size());
  pipe.lost.push_back(std::move(packet));
  if (retries_[side].is_set()) return;
  auto& from = *ends_[side].host;
  auto& to = *ends_[1 - side].host;
  auto wait = std::max(kShortestRetry, 4 * fabric_.latency(from, to));
  for (int i = 0; i < pipe.retries && wait < kLongestRetry; ++i) wait *= 2;
  retries_[side].set(fabric_.loop(), fabric_.loop().now() + std::min(wait, kLongestRetry));
}

void Connection::RetryTimer::fire() {
  auto keep = connection->shared_from_this();
  connection->retry(side);
}

void Connection::retry(int side) {
  auto& pipe = pipes_[side];
  if (ends_[side].broken || pipe.lost.empty()) return;
  if (++pipe.retries > kRetries) {
    break_end(side, ErrorCode::kTimeout, "no answer to 15 retransmissions");
    return forget_if_over();
  }
  auto arrival = fabric_.loop().now() + fabric_.latency(*ends_[side].host, *ends_[1 - side].host);
  while (!pipe.lost.empty()) {
    pipe.lost.back().arrival = arrival;
    pipe.flying.push_front(std::move(pipe.lost.back()));
    pipe.lost.pop_back();
  }
  pipe.last_arrival = std::max(pipe.last_arrival, arrival);
  flights_[side].set(fabric_.loop(), arrival);
}

std::optional<Packet> Connection::next_to_receive(int side) {
  auto& pipe = pipes_[side];
  if (pipe.arrived.empty()) return std::nullopt;
  Packet packet = std::move(pipe.arrived.front());
  pipe.arrived.pop_front();
  return packet;
}

void Connection::deliver(int side, Packet packet) {
  auto& pipe = pipes_[side];
  auto& to = ends_[1 - side];
  if (to.vanished) return;
  fabric_.timeline().note(packet.fin ? "fin" : "data", to.host->id(), id_, packet.chunk.size());
  to.heard = fabric_.loop().now();
  if (packet.fin) {
    pipe.fin_received = true;
  } else if (to.broken || to.handle == nullptr) {
    // Data for a closed end: nobody will ever read it.
    send_reset(1 - side);
    if (!to.broken) break_end(1 - side, ErrorCode::kReset, "data after it was closed");
  } else {
    pipe.unread += packet.chunk.size();
    pipe.received.push_back(std::move(packet.chunk));
  }
  if (to.handle != nullptr) to.handle->readable().notify_all();
  // Gone out completely: the sender can go on with what it may have queued since.
  kick(side);
  forget_if_over();
}

void Connection::give_credit(int side, std::size_t bytes, int attempt) {
  auto& from = *ends_[1 - side].host;
  auto& to = *ends_[side].host;
  auto delay = fabric_.latency(from, to);
  if (attempt > 0) delay = std::min(kShortestRetry * (1 << std::min(attempt, 10)), kLongestRetry);
  fabric_.after(delay, [self = shared_from_this(), side, bytes, attempt, &from, &to] {
    if (self->ends_[side].broken || self->ends_[1 - side].broken) return;
    if (!self->fabric_.open(from, to)) return self->give_credit(side, bytes, attempt + 1);
    self->ends_[side].heard = self->fabric_.loop().now();
    self->pipes_[side].credit += bytes;
    self->kick(side);
  });
}

// Tells the other side that this end is no more.
void Connection::send_reset(int side) {
  auto& pipe = pipes_[side];
  auto keep = shared_from_this();
  Packet packet;
  packet.reset = true;
  if (pipe.lost.empty() && !ends_[side].vanished) return depart(side, std::move(packet));
  auto time = fabric_.flight_time(*ends_[side].host, *ends_[1 - side].host, 0);
  fabric_.after(time, [keep, side] {
    Packet reset;
    reset.reset = true;
    keep->arrive(side, std::move(reset));
  });
}

void Connection::break_end(int side, ErrorCode code, std::string_view why) {
  auto& end = ends_[side];
  if (end.broken) return;
  auto keep = shared_from_this();
  fabric_.timeline().note("broken", end.host->id(), id_, static_cast<std::uint64_t>(code));
  end.broken =
      d7y::error(code, "connection {} -> {}: {}", end.local.to_string(), end.remote.to_string(), why);
  auto& pipe = pipes_[side];
  pipe.queue.clear();
  pipe.queued = 0;
  pipe.lost.clear();
  retries_[side].cancel();
  corks_[side].cancel();
  if (end.handle != nullptr) {
    end.handle->readable().notify_all();
    end.handle->writable().notify_all();
  }
  forget_if_over();
}

bool Connection::over(int side) const {
  auto& end = ends_[side];
  if (end.handle != nullptr) return false;
  return end.broken || end.vanished || (pipes_[side].fin_sent && pipes_[1 - side].fin_received);
}

void Connection::forget_if_over() {
  if (!over(0) || !over(1)) return;
  for (auto& pipe : pipes_) {
    if (!pipe.flying.empty() || !pipe.lost.empty() || !pipe.arrived.empty()) return;
  }
  ends_[0].host->release_port(ends_[0].local);
  fabric_.forget(id_);
}

}  // namespace d7y::sim
