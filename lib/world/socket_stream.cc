#include "world/socket_stream.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/scope.h"
#include "world/files.h"
#include "world/system_error.h"

namespace d7y::world {
namespace {

constexpr std::size_t kMostParts = 64;          // per sendmsg; the kernel takes 1024
constexpr std::uint64_t kSendfileStep = 1_MiB;  // larger steps gain nothing and keep the loop for longer

bool would_block(int number) { return number == EAGAIN || number == EWOULDBLOCK; }

thread_local int sigpipe_blocks = 0;  // how many SigpipeBlocks this thread has

template <class Value>
void set_option(int socket, int level, int name, const Value& value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

}  // namespace

SigpipeBlock::SigpipeBlock() {
  if (sigpipe_blocks++ > 0) return;
  sigset_t pipe, before;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  unblock_ = sigismember(&before, SIGPIPE) == 0;
}

SigpipeBlock::~SigpipeBlock() {
  --sigpipe_blocks;
  if (!unblock_) return;
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  timespec at_once{};
  while (::sigtimedwait(&pipe, nullptr, &at_once) < 0 && errno == EINTR) {
  }
  pthread_sigmask(SIG_UNBLOCK, &pipe, nullptr);
}

Result<Descriptor> open_socket(int family) {
  Descriptor socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return system_error(errno, "making a socket");
  return socket;
}

Address bound_address(int socket) {
  SocketAddress address;
  if (::getsockname(socket, &address.any, &address.size) != 0) return Address::ipv4({}, 0);
  return address.address();
}

void tune_socket(int socket, int family, const SocketTuning& tuning) {
  if (tuning.send_buffer > 0) set_option(socket, SOL_SOCKET, SO_SNDBUF, static_cast<int>(tuning.send_buffer));
  if (tuning.receive_buffer > 0) {
    set_option(socket, SOL_SOCKET, SO_RCVBUF, static_cast<int>(tuning.receive_buffer));
  }
  if (family == AF_UNIX) return;
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  // Where BBR is the default, loopback and LAN run at half speed with twice the CPU.
  ::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
  if (tuning.keepalive.count() > 0) {
    auto idle = static_cast<int>(std::min<std::int64_t>(tuning.keepalive.count(), 32767));
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, idle);
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, idle / 3));
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
  }
}

Result<std::unique_ptr<SocketStream>> SocketStream::make(Poller& poller, Descriptor socket, Address remote,
                                                         bool connecting) {
  int number = socket.get();
  std::unique_ptr<SocketStream> stream(new SocketStream(poller, std::move(socket), std::move(remote)));
  stream->connecting_ = connecting;
  stream->may_write_ = !connecting;
  if (auto added = poller.add(number, *stream, EPOLLIN | EPOLLOUT | EPOLLRDHUP); !added) {
    stream->socket_.reset();
    return std::move(added).error();
  }
  return stream;
}

SocketStream::~SocketStream() {
  if (lent_to_ != nullptr) lent_to_->stop();
  if (socket_) poller_.remove(socket_.get());
}

int SocketStream::lend(Receiving& by) {
  // A Unix socket stops short at a message that carries descriptors; an empty read there is no end.
  if (!socket_ || failure_ != 0 || connecting_ || lent_to_ != nullptr ||
      remote_.family() == Address::Family::kUnix) {
    return -1;
  }
  lent_to_ = &by;
  may_read_ = false;
  poller_.change(socket_.get(), *this, EPOLLOUT);
  return socket_.get();
}

void SocketStream::give_back() {
  lent_to_ = nullptr;
  may_read_ = true;  // a look tells
  if (socket_) poller_.change(socket_.get(), *this, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
  readable_.notify_all();
}

void SocketStream::on_edge(std::uint32_t events) {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
  if (lent_to_ == nullptr && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    may_read_ = true;
    readable_.notify_all();
  }
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
    may_write_ = true;
    writable_.notify_all();
  }
}

std::optional<int> SocketStream::connected() {
  if (!may_write_) return std::nullopt;
  int number = 0;
  socklen_t size = sizeof number;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &number, &size) != 0) number = errno;
  if (number == 0) connecting_ = false;
  return number;
}

Transfer SocketStream::fail(int number, std::string_view doing) {
  if (failure_ == 0) {
    failure_ = number;
    failed_doing_ = doing;
    // The other direction learns of it at its next step.
    may_read_ = may_write_ = true;
    readable_.notify_all();
    writable_.notify_all();
  }
  return {Transfer::State::kFailed, 0};
}

Error SocketStream::error() const {
  if (failure_ == 0)
    return d7y::error(ErrorCode::kInternal, "connection with {} is whole", remote_.to_string());
  if (failure_ == ECANCELED) {
    return d7y::error(ErrorCode::kReset, "{} {}: this side broke the connection off", failed_doing_,
                      remote_.to_string());
  }
  return system_error(failure_, "{} {}", failed_doing_, remote_.to_string());
}

Transfer SocketStream::try_read(MutableBytes buffer) {
  if (!may_read_ || lent_to_ != nullptr) return {};
  if (failure_ != 0) return last_words(buffer);
  if (buffer.empty()) return {Transfer::State::kMoved, 0};
  for (;;) {
    auto count = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (count > 0) {
      auto bytes = static_cast<std::size_t>(count);
      // A TCP socket that gave less than asked was empty at that moment, and whatever comes later makes
      // a new edge. (A Unix socket also stops short at a message that carries descriptors.)
      if (bytes < buffer.size() && !hung_up_ && remote_.family() != Address::Family::kUnix) may_read_ = false;
      return {Transfer::State::kMoved, bytes};
    }
    if (count == 0) return {Transfer::State::kEnd, 0};
    if (errno == EINTR) continue;
    if (would_block(errno)) {
      may_read_ = false;
      return {};
    }
    return fail(errno, "reading from");
  }
}

// What the other side said before it broke off is still there when writing finds that out: a server that
// refuses an upload answers and closes.
Transfer SocketStream::last_words(MutableBytes buffer) {
  const bool broken_off = failure_ == EPIPE || failure_ == ECONNRESET;
  if (!broken_off || !socket_ || buffer.empty()) return {Transfer::State::kFailed, 0};
  auto count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count > 0) return {Transfer::State::kMoved, static_cast<std::size_t>(count)};
  return {Transfer::State::kFailed, 0};
}

Transfer SocketStream::try_write(std::span<const Bytes> parts, bool more) {
  if (!may_write_) return {};
  if (failure_ != 0) return {Transfer::State::kFailed, 0};
  std::array<iovec, kMostParts> vectors;
  std::size_t moved = 0;
  while (!parts.empty()) {
    std::size_t used = 0, wanted = 0, taken = 0;
    for (; taken < parts.size() && used < vectors.size(); ++taken) {
      if (parts[taken].empty()) continue;
      vectors[used++] = {const_cast<std::byte*>(parts[taken].data()), parts[taken].size()};
      wanted += parts[taken].size();
    }
    parts = parts.subspan(taken);
    if (used == 0) break;
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = used;
    int flags = MSG_NOSIGNAL | (more || !parts.empty() ? MSG_MORE : 0);
    ssize_t count;
    do {
      count = ::sendmsg(socket_.get(), &message, flags);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
      // What went out before is reported first; the next step meets the failure again.
      if (moved > 0) break;
      if (would_block(errno)) {
        may_write_ = false;
        return {};
      }
      return fail(errno, "writing to");
    }
    moved += static_cast<std::size_t>(count);
    if (static_cast<std::size_t>(count) < wanted) break;
  }
  return {Transfer::State::kMoved, moved};
}

Transfer SocketStream::try_send_file(File& file, std::uint64_t offset, std::uint64_t length) {
  if (!may_write_) return {};
  if (failure_ != 0) return {Transfer::State::kFailed, 0};
  if (length == 0) return {Transfer::State::kMoved, 0};
  int source = file.descriptor();
  if (source < 0) return send_copied(file, offset, length);
  SigpipeBlock no_signal;  // counts only, while the world runs
  for (;;) {
    auto from = static_cast<off_t>(offset);
    auto count = ::sendfile(socket_.get(), source, &from, std::min(length, kSendfileStep));
    if (count > 0) return {Transfer::State::kMoved, static_cast<std::size_t>(count)};
    if (count == 0) return {Transfer::State::kEnd, 0};
    if (errno == EINTR) continue;
    if (would_block(errno)) {
      may_write_ = false;
      return {};
    }
    if (errno == EINVAL || errno == ENOSYS) return send_copied(file, offset, length);  // an odd file system
    return fail(errno, "sending a file to");
  }
}

// Through user space, for files that the kernel cannot send by itself.
Transfer SocketStream::send_copied(File& file, std::uint64_t offset, std::uint64_t length) {
  std::array<std::byte, 64_KiB> buffer;
  auto piece =
      MutableBytes(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(length, buffer.size())));
  auto got = file.read_at(offset, piece);
  if (!got) return fail(EIO, "reading a file for");
  if (*got == 0) return {Transfer::State::kEnd, 0};
  Bytes part = piece.first(*got);
  return try_write({&part, 1}, *got < length);
}

void SocketStream::finish_writing() {
  if (socket_) ::shutdown(socket_.get(), SHUT_WR);
}

void SocketStream::abort() {
  if (!socket_) return;
  if (lent_to_ != nullptr) lent_to_->stop();
  local();  // while it can be asked
  linger now{1, 0};
  set_option(socket_.get(), SOL_SOCKET, SO_LINGER, now);
  poller_.remove(socket_.get());
  socket_.reset();
  fail(ECANCELED, "talking to");
}

Address SocketStream::local() const {
  if (!local_) {
    if (!socket_) return Address::ipv4({}, 0);
    local_ = bound_address(socket_.get());
  }
  return *local_;
}

std::optional<PeerCredentials> SocketStream::peer_credentials() const {
  if (!socket_ || remote_.family() != Address::Family::kUnix) return std::nullopt;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return std::nullopt;
  return PeerCredentials{static_cast<std::uint32_t>(credentials.pid), credentials.uid, credentials.gid};
}

}  // namespace d7y::world
