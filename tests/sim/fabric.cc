#include "sim/fabric.h"

#include <cmath>

#include "sim/host.h"

namespace d7y::sim {

namespace {
constexpr std::size_t kPacket = 1448;  // payload of one Ethernet packet
constexpr std::size_t kOverhead = 90;  // its TCP, IP and Ethernet headers, preamble and gap
constexpr Duration kLoopback = std::chrono::microseconds(10);
}  // namespace

bool& Link::member(Turn& turn) const {
  auto& pipe = turn.connection->pipe(turn.side);
  return stage_ == Stage::kSend ? pipe.sending : pipe.arriving;
}

void Link::add(Connection& connection, int side) {
  Turn turn{connection.shared_from_this(), side};
  if (member(turn)) return;
  member(turn) = true;
  round_.push_back(std::move(turn));
  if (!serving_) serve();
}

void Link::serve() {
  while (!serving_ && !round_.empty()) {
    Turn turn = std::move(round_.front());
    round_.pop_front();
    auto packet = stage_ == Stage::kSend ? turn.connection->next_to_send(turn.side)
                                         : turn.connection->next_to_receive(turn.side);
    if (!packet) {
      member(turn) = false;
      continue;
    }
    auto bytes = packet->chunk.size();
    auto on_wire = bytes + (bytes / kPacket + 1) * kOverhead;
    auto takes = rate_ == 0 ? Duration::zero()
                            : Duration(static_cast<std::int64_t>(std::ceil(
                                  static_cast<double>(on_wire) * 1e9 / static_cast<double>(rate_))));
    serving_ = std::move(turn);
    packet_ = std::move(*packet);
    set(fabric_.loop(), fabric_.loop().now() + takes);
  }
}

void Link::fire() {
  Turn turn = std::move(*serving_);
  serving_.reset();
  Packet packet = std::move(packet_);
  bytes_ += packet.chunk.size();
  member(turn) = true;
  if (stage_ == Stage::kSend) {
    turn.connection->depart(turn.side, std::move(packet));
  } else {
    turn.connection->deliver(turn.side, std::move(packet));
  }
  round_.push_back(std::move(turn));  // leaves the round when it turns out to have nothing
  serve();
}

class Fabric::Later final : public Timer {
 public:
  Later(Fabric& fabric, std::uint64_t id, std::function<void()> work)
      : fabric_(fabric), id_(id), work_(std::move(work)) {}

 private:
  void fire() override {
    auto self = std::move(fabric_.later_.extract(id_).mapped());
    work_();
  }
  Fabric& fabric_;
  std::uint64_t id_;
  std::function<void()> work_;
};

Fabric::Fabric(Simulation& simulation, Loop& loop, Timeline& timeline, std::uint64_t seed,
               FabricOptions options)
    : simulation_(simulation), loop_(loop), timeline_(timeline), random_(seed), options_(options) {}

Fabric::~Fabric() = default;

void Fabric::set_way(const Host& from, const Host& to, const LinkOptions& link) {
  ways_[{from.id(), to.id()}] = link;
}

void Fabric::set_link(const Host& a, const Host& b, const LinkOptions& link) {
  set_way(a, b, link);
  set_way(b, a, link);
}

void Fabric::block(const Host& from, const Host& to) {
  timeline_.note("block", from.id(), to.id());
  blocked_.insert({from.id(), to.id()});
}

void Fabric::unblock(const Host& from, const Host& to) {
  timeline_.note("unblock", from.id(), to.id());
  blocked_.erase({from.id(), to.id()});
}

void Fabric::partition(const std::vector<Host*>& one, const std::vector<Host*>& other) {
  for (auto* a : one) {
    for (auto* b : other) {
      block(*a, *b);
      block(*b, *a);
    }
  }
}

void Fabric::isolate(const Host& host) {
  timeline_.note("isolate", host.id());
  isolated_.insert(host.id());
}

void Fabric::rejoin(const Host& host) {
  timeline_.note("rejoin", host.id());
  isolated_.erase(host.id());
}

void Fabric::heal() {
  timeline_.note("heal", 0);
  blocked_.clear();
  isolated_.clear();
}

void Fabric::set_name(const std::string& name, std::vector<Address> addresses, Duration delay) {
  names_[name] = Name{std::move(addresses), delay, std::nullopt};
}

void Fabric::break_name(const std::string& name, ErrorCode code) { names_[name].fault = code; }

const Fabric::Name* Fabric::find_name(const std::string& name) const {
  auto found = names_.find(name);
  return found == names_.end() ? nullptr : &found->second;
}

Host* Fabric::host_of(const Address& address) const {
  auto found = hosts_.find(address.with_port(0));
  return found == hosts_.end() ? nullptr : found->second;
}

void Fabric::add_host(Host& host) {
  for (auto& address : host.addresses()) hosts_[address.with_port(0)] = &host;
  set_name(host.name(), host.addresses());
}

bool Fabric::open(const Host& from, const Host& to) const {
  if (!to.has_power()) return false;
  if (&from == &to) return true;
  if (!isolated_.empty() && (isolated_.contains(from.id()) || isolated_.contains(to.id()))) return false;
  return blocked_.empty() || !blocked_.contains({from.id(), to.id()});
}

const LinkOptions& Fabric::way(const Host& from, const Host& to) const {
  if (ways_.empty()) return options_.link;
  auto found = ways_.find({from.id(), to.id()});
  return found == ways_.end() ? options_.link : found->second;
}

Duration Fabric::latency(const Host& from, const Host& to) const {
  return &from == &to ? kLoopback : way(from, to).latency;
}

Duration Fabric::flight_time(const Host& from, const Host& to, std::size_t bytes) {
  if (&from == &to) return kLoopback;
  auto& link = way(from, to);
  auto time = link.latency + random_.up_to(link.jitter);
  if (link.loss > 0) {
    auto packets = static_cast<double>(bytes / kPacket + 1);
    // Most losses are repaired by a fast retransmission after a round trip, some by a timeout.
    for (int tries = 0; tries < 6 && random_.chance(1 - std::pow(1 - link.loss, packets)); ++tries) {
      bool fast = random_.chance(0.9);
      time += fast ? 2 * link.latency : std::max<Duration>(std::chrono::milliseconds(200), 4 * link.latency);
      packets = 1;
    }
  }
  return time;
}

Link& Fabric::link(Connection& connection, int side, Link::Stage stage) {
  if (connection.is_local()) return connection.end(0).host->loopback();
  return stage == Link::Stage::kSend ? connection.end(side).host->uplink()
                                     : connection.end(1 - side).host->downlink();
}

void Fabric::after(Duration delay, std::function<void()> work) {
  auto id = next_later_++;
  auto later = std::make_unique<Later>(*this, id, std::move(work));
  later->set(loop_, loop_.now() + delay);
  later_.emplace(id, std::move(later));
}

void Fabric::rewrite(const Host& host, std::uint16_t port, std::function<Rewrite()> make) {
  rewrites_[{host.id(), port}] = std::move(make);
}

std::shared_ptr<Connection> Fabric::connect(Endpoint client, Endpoint server) {
  auto rewriter = rewrites_.find({server.host->id(), server.local.port()});
  auto id = next_connection_++;
  auto connection = std::make_shared<Connection>(*this, id, std::move(client), std::move(server));
  connections_.emplace(id, connection);
  if (rewriter != rewrites_.end() && rewriter->second) connection->rewrite_server(rewriter->second());
  return connection;
}

std::vector<std::pair<std::shared_ptr<Connection>, int>> Fabric::ends_on(const Host& host) const {
  std::vector<std::pair<std::shared_ptr<Connection>, int>> ends;
  for (auto& [id, connection] : connections_) {
    for (int side : {0, 1}) {
      if (connection->end(side).host == &host) ends.emplace_back(connection, side);
    }
  }
  return ends;
}

}  // namespace d7y::sim
