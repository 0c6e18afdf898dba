// A simulated host's Receiver: what receiving threads do, in turns of the host's loop.
#pragma once

#include "world/receiver.h"

namespace d7y::sim {

class Host;

class HostReceiver final : public world::Receiver {
 public:
  explicit HostReceiver(Host& host) : host_(host) {}

  std::unique_ptr<world::Receiving> start(world::Stream& stream, std::shared_ptr<world::File> file,
                                          const Order& order, Bytes ahead) override;

  // How often it was asked and had a hand free.
  std::size_t started() const { return started_; }

 private:
  friend class HostReceiving;
  Host& host_;
  std::size_t running_ = 0, started_ = 0;
};

}  // namespace d7y::sim
