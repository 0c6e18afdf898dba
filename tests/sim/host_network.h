// A simulated host's streams, listeners and look-ups: what world::Network promises, on the fabric.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "sim/connection.h"
#include "world/network.h"
#include "world/receiver.h"

namespace d7y::sim {

class SimStream final : public world::Stream {
 public:
  SimStream(std::shared_ptr<Connection> connection, int side);
  ~SimStream() override;

  world::Transfer try_read(MutableBytes buffer) override;
  world::Transfer try_write(std::span<const Bytes> parts, bool more) override;
  world::Transfer try_send_file(world::File& file, std::uint64_t offset, std::uint64_t length) override;
  Signal& readable() override { return readable_; }
  Signal& writable() override { return writable_; }
  Error error() const override;
  void finish_writing() override;
  void abort() override;
  Address local() const override { return local_; }
  Address remote() const override { return remote_; }
  std::optional<world::PeerCredentials> peer_credentials() const override;

  // The host crashed: from now on nothing this object does has an effect.
  void detach();

  // Only `by` reads, with read_lent(), until it calls give_back().
  void lend(world::Receiving& by) { lent_to_ = &by; }
  bool is_lent() const { return lent_to_ != nullptr; }
  void give_back();
  world::Transfer read_lent(MutableBytes buffer);

 private:
  Host& host_;
  std::shared_ptr<Connection> connection_;
  world::Receiving* lent_to_ = nullptr;
  int side_;
  Address local_, remote_;
  std::optional<world::PeerCredentials> peer_;
  Signal readable_, writable_;
};

class SimListener final : public world::Listener {
 public:
  SimListener(Host& host, Address at, world::ListenOptions options);
  ~SimListener() override;

  Task<Result<std::unique_ptr<world::Stream>>> accept(Deadline deadline) override;
  Address local() const override { return at_; }

  const world::ListenOptions& options() const { return options_; }
  bool has_room() const { return pending_ + queue_.size() < static_cast<std::size_t>(options_.backlog); }
  // A handshake has begun; it ends with arrive() or give_up().
  void expect() { ++pending_; }
  void give_up() { pending_ -= pending_ > 0 ? 1 : 0; }
  void arrive(std::unique_ptr<SimStream> stream);
  // The host crashed.
  void detach();

 private:
  Host* host_;
  Address at_;
  world::ListenOptions options_;
  std::deque<std::unique_ptr<SimStream>> queue_;
  std::size_t pending_ = 0;
  Signal arrived_;
};

class HostNetwork final : public world::Network {
 public:
  explicit HostNetwork(Host& host) : host_(host) {}

  Task<Result<std::unique_ptr<world::Stream>>> connect(Address to, world::ConnectOptions options,
                                                       Deadline deadline) override;
  Result<std::unique_ptr<world::Listener>> listen(const Address& at,
                                                  const world::ListenOptions& options) override;
  Task<Result<std::vector<Address>>> resolve(std::string name, std::uint16_t port,
                                             Deadline deadline) override;
  std::vector<world::Interface> interfaces() override;

 private:
  class Dial;
  Result<Address> source_for(const Address& to, const world::ConnectOptions& options);
  Result<void> check_bind(const Address& at, const world::ListenOptions& options);
  static void send_syn(const std::shared_ptr<Dial>& dial);

  Host& host_;
};

}  // namespace d7y::sim
