#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>

#include "base/scope.h"
#include "world/socket_stream.h"
#include "world/system_error.h"

namespace d7y::world {
namespace {

using namespace std::chrono_literals;

// Pauses between attempts while the process or the system is out of descriptors or memory.
constexpr Duration kFirstPause = 10ms, kLongestPause = 1s;

bool is_socket_file(const Address& address) {
  return address.family() == Address::Family::kUnix && !address.path().starts_with('@');
}

// Whether somebody listens at a socket file.
bool is_alive(const Address& address) {
  auto target = socket_address(address);
  auto probe = open_socket(AF_UNIX);
  if (!target || !probe) return true;  // when in doubt, touch nothing
  return ::connect(probe->get(), &target->any, target->size) == 0 || errno != ECONNREFUSED;
}

// Takes away a socket file that nobody serves any more. The file is moved aside before it is judged
// for good, so that a program that starts at the same moment never loses a fresh one.
bool remove_stale(const Address& address) {
  struct stat status{};
  const auto& path = address.path();
  if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode) || is_alive(address)) return false;
  auto aside = Address::unix_socket(path + "~");
  if (!socket_address(aside)) return ::unlink(path.c_str()) == 0;
  if (::rename(path.c_str(), aside.path().c_str()) != 0) return false;
  if (is_alive(aside)) {
    if (::renameat2(AT_FDCWD, aside.path().c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) {
      ::unlink(aside.path().c_str());
    }
    return false;
  }
  return ::unlink(aside.path().c_str()) == 0;
}

bool is_exhaustion(int number) {
  return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

}  // namespace

Result<std::unique_ptr<Listener>> SocketListener::make(Poller& poller, const Address& at,
                                                       const ListenOptions& options) {
  auto attempt = fmt::format("listening at {}", at.to_string());
  auto target = socket_address(at);
  if (!target) return std::move(target).error().in(attempt);
  auto opened = open_socket(target->family());
  if (!opened) return std::move(opened).error().in(attempt);
  int number = opened->get();
  tune_socket(number, target->family(), {options.send_buffer, options.receive_buffer, options.keepalive});
  int yes = 1;
  if (target->family() != AF_UNIX) {
    ::setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (options.reuse_port && ::setsockopt(number, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) != 0) {
      return describe_system_error(errno, attempt + " together with others");
    }
  }
  // [::] and 0.0.0.0 are two addresses everywhere, whatever the system's default.
  if (target->family() == AF_INET6) ::setsockopt(number, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  // The file gets the socket's own mode at bind(), less the umask: never more than asked.
  if (is_socket_file(at)) ::fchmod(number, options.mode);
  if (::bind(number, &target->any, target->size) != 0) {
    int failure = errno;
    bool again = failure == EADDRINUSE && is_socket_file(at) && remove_stale(at);
    if (!again || ::bind(number, &target->any, target->size) != 0) {
      return describe_system_error(again ? errno : failure, attempt);
    }
  }
  std::unique_ptr<SocketListener> listener(new SocketListener(poller, std::move(*opened)));
  listener->local_ = bound_address(number);
  if (is_socket_file(at)) {
    listener->local_ = at;
    struct stat status{};
    if (::stat(at.path().c_str(), &status) == 0) {
      listener->file_device_ = status.st_dev;
      listener->file_inode_ = status.st_ino;
    }
    if (::chmod(at.path().c_str(), options.mode) != 0) {
      return describe_system_error(errno, attempt + fmt::format(" with mode {:o}", options.mode));
    }
  }
  if (::listen(number, options.backlog) != 0) return describe_system_error(errno, attempt);
  if (auto added = poller.add(number, *listener, EPOLLIN); !added) {
    return std::move(added).error().in(attempt);
  }
  return std::unique_ptr<Listener>(std::move(listener));
}

SocketListener::~SocketListener() {
  poller_.remove(socket_.get());
  if (!is_socket_file(local_)) return;
  struct stat status{};
  if (::lstat(local_.path().c_str(), &status) == 0 && status.st_dev == file_device_ &&
      status.st_ino == file_inode_) {
    ::unlink(local_.path().c_str());
  }
}

void SocketListener::on_edge(std::uint32_t) { acceptable_.notify_all(); }

Task<Result<std::unique_ptr<Stream>>> SocketListener::accept(Deadline deadline) {
  Loop& loop = co_await this_loop();
  Duration pause = kFirstPause;
  for (;;) {
    SocketAddress remote;
    int number = ::accept4(socket_.get(), &remote.any, &remote.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int failure = errno;
    if (number >= 0) {
      auto stream = SocketStream::make(poller_, Descriptor(number), remote.address(), false);
      if (!stream) co_return std::move(stream).error().in("accepting a connection");
      co_return std::unique_ptr<Stream>(std::move(*stream));
    }
    if (failure == EAGAIN || failure == EWOULDBLOCK) {
      auto woken = co_await acceptable_.wait(deadline);
      if (woken.failed_with(ErrorCode::kTimeout)) {
        co_return error(ErrorCode::kTimeout, "nobody connected to {} before the deadline",
                        local_.to_string());
      }
      CO_OK(std::move(woken));
    } else if (is_exhaustion(failure)) {
      // Connections stay in the kernel's queue. Trying again at once would spin, since the
      // shortage ends only when something else is closed.
      auto next = Deadline::in(pause, loop.now());
      if (deadline <= next) {
        co_await sleep_until(deadline.when());
        co_return system_error(failure, "accepting a connection at {}", local_.to_string());
      }
      co_await sleep_until(next.when());
      pause = std::min(pause * 2, kLongestPause);
    } else if (failure == EBADF || failure == EINVAL || failure == ENOTSOCK || failure == EOPNOTSUPP) {
      co_return system_error(failure, "accepting a connection at {}", local_.to_string());
    }
    // Everything else concerns one connection that is gone already (accept(2): ECONNABORTED, EPROTO,
    // ENETDOWN, EPERM of a firewall): take the next.
  }
}

}  // namespace d7y::world
