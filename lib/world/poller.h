// Readiness of sockets: one epoll instance of our own, nested in the libuv loop as a single
// descriptor. Each socket is registered once, edge-triggered, for everything; after that a socket
// costs no system call besides its own reads and writes, and one epoll_wait serves them all.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "world/descriptor.h"

namespace d7y::world {

class Poller {
 public:
  // Something that is told about edges. on_edge() only takes notes and notifies signals; it must not
  // destroy any watch.
  class Watch {
   public:
    virtual void on_edge(std::uint32_t events) = 0;

   protected:
    ~Watch() = default;
  };

  static Result<std::unique_ptr<Poller>> make();

  // Readable when poll() has something to do.
  int descriptor() const { return epoll_.get(); }

  Result<void> add(int descriptor, Watch& watch, std::uint32_t events);
  // Watches for other events from now on; those that hold already are told again.
  void change(int descriptor, Watch& watch, std::uint32_t events);
  // To be called before the descriptor is closed: a host program may have forked, and a copy of the
  // socket in its child would keep the registration alive.
  void remove(int descriptor);

  // Tells watches about all edges that are there now.
  void poll();

 private:
  explicit Poller(Descriptor epoll) : epoll_(std::move(epoll)) {}
  Descriptor epoll_;
};

}  // namespace d7y::world
