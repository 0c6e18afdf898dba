// The floor of one peer-to-peer hop on this machine: plain blocking system calls, no protocol.
// Sender: sendfile in 1 MiB steps. Receiver: fill 256 KiB from the socket, CRC-32, pwrite into a
// fallocated file. Every other number of a hop is told as a ratio to this one in the same run.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <thread>
#include <vector>

#include "base/crc32.h"
#include "hop.h"

namespace {

using namespace d7y;
using namespace d7y::bench;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

void use_cubic(int socket) { ::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5); }

void send_range(int socket, int file) {
  Request request;
  if (::recv(socket, &request, sizeof request, MSG_WAITALL) != sizeof request) die("recv");
  auto offset = static_cast<off_t>(request.offset);
  while (request.length > 0) {
    auto sent = ::sendfile(socket, file, &offset, std::min<std::uint64_t>(request.length, 1 << 20));
    if (sent <= 0) die("sendfile");
    request.length -= static_cast<std::uint64_t>(sent);
  }
  ::close(socket);
}

[[noreturn]] void send_all(const HopOptions& options, int listener) {
  int file = ::open(options.source.c_str(), O_RDONLY);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.connections; ++i) {
    int socket = ::accept(listener, nullptr, nullptr);
    if (socket < 0) die("accept");
    threads.emplace_back(send_range, socket, file);
  }
  for (auto& thread : threads) thread.join();
  std::_Exit(0);
}

void receive_range(Request request, sockaddr_in to, int file) {
  int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  use_cubic(socket);
  int bytes = kReceiveBuffer;
  ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) die("connect");
  if (::send(socket, &request, sizeof request, 0) != sizeof request) die("send");
  std::vector<std::byte> buffer(kBuffer);
  Crc32 crc;
  while (request.length > 0) {
    auto wanted = std::min<std::uint64_t>(request.length, buffer.size());
    std::size_t filled = 0;
    while (filled < wanted) {
      auto got = ::recv(socket, buffer.data() + filled, wanted - filled, 0);
      if (got <= 0) die("recv");
      filled += static_cast<std::size_t>(got);
    }
    crc.update(Bytes(buffer).first(filled));
    if (::pwrite(file, buffer.data(), filled, static_cast<off_t>(request.offset)) !=
        static_cast<ssize_t>(filled)) {
      die("pwrite");
    }
    request.offset += filled;
    request.length -= filled;
  }
  ::close(socket);
}

}  // namespace

int main(int count, char** arguments) {
  auto options = parse(count, arguments);
  int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  use_cubic(listener);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 16) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    die("listen");
  }
  pid_t sender = ::fork();
  if (sender == 0) send_all(options, listener);
  ::unlink(options.target.c_str());
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  auto began = Clock::now();
  int file = ::open(options.target.c_str(), O_RDWR | O_CREAT | O_EXCL, 0644);
  if (file < 0 || ::fallocate(file, 0, 0, static_cast<off_t>(options.size)) != 0) die("making the target");
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.connections; ++i)
    threads.emplace_back(receive_range, options.part(i), address, file);
  for (auto& thread : threads) thread.join();
  ::close(file);
  return report(options, began, before, sender);
}
