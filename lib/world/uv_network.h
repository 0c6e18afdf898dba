// The system's network on a libuv loop.
#pragma once

#include <uv.h>

#include "world/network.h"
#include "world/poller.h"

namespace d7y::world {

class UvNetwork final : public Network {
 public:
  UvNetwork(uv_loop_t& loop, Poller& poller) : loop_(loop), poller_(poller) {}

  Task<Result<std::unique_ptr<Stream>>> connect(Address to, ConnectOptions options,
                                                Deadline deadline) override;
  Result<std::unique_ptr<Listener>> listen(const Address& at, const ListenOptions& options) override;
  Task<Result<std::vector<Address>>> resolve(std::string host, std::uint16_t port,
                                             Deadline deadline) override;
  std::vector<Interface> interfaces() override;

 private:
  uv_loop_t& loop_;
  Poller& poller_;
};

}  // namespace d7y::world
