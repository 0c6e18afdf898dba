// A simulated host's Receiver: what receiving threads do, in turns of the host's loop.
#pragma once

#include "world/receiver.h"

namespace d7y::sim {

class Host;

class HostReceiver final : public world::Receiver {
 public:
  HostReceiver(Host& host, const Terms& terms) : host_(host), terms_(terms) {}

  const Terms& terms() const override { return terms_; }
  std::unique_ptr<world::Receiving> start(world::Stream& stream, std::shared_ptr<world::File> file,
                                          const Order& order, Bytes ahead) override;

  // How often it was asked and had a hand free.
  std::size_t started() const { return started_; }

 private:
  friend class HostReceiving;
  Host& host_;
  Terms terms_;
  std::size_t running_ = 0, started_ = 0;
};

}  // namespace d7y::sim
