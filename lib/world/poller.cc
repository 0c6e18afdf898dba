#include "world/poller.h"

#include <array>
#include <cerrno>

#include "world/system_error.h"

namespace d7y::world {

Result<std::unique_ptr<Poller>> Poller::make() {
  Descriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return system_error(errno, "making an epoll instance");
  return std::unique_ptr<Poller>(new Poller(std::move(epoll)));
}

Result<void> Poller::add(int descriptor, Watch& watch, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.ptr = &watch;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
    return system_error(errno, "watching a socket");
  }
  return {};
}

void Poller::change(int descriptor, Watch& watch, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.ptr = &watch;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, descriptor, &event);
}

void Poller::remove(int descriptor) {
  epoll_event event{};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor, &event);
}

void Poller::poll() {
  std::array<epoll_event, 256> events;
  for (;;) {
    int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 0);
    for (int i = 0; i < count; ++i) {
      static_cast<Watch*>(events[static_cast<std::size_t>(i)].data.ptr)
          ->on_edge(events[static_cast<std::size_t>(i)].events);
    }
    if (count < static_cast<int>(events.size())) return;
  }
}

}  // namespace d7y::world
