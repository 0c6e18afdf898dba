// Connected and listening sockets of the system.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "world/descriptor.h"
#include "world/network.h"
#include "world/poller.h"
#include "world/receiver.h"
#include "world/socket_address.h"

namespace d7y::world {

class SocketStream final : public Stream, private Poller::Watch {
 public:
  // Takes a non-blocking socket that is connected or, with `connecting`, on its way there; then
  // writable() tells when connected() is worth a look.
  static Result<std::unique_ptr<SocketStream>> make(Poller& poller, Descriptor socket, Address remote,
                                                    bool connecting);
  ~SocketStream() override;

  Transfer try_read(MutableBytes buffer) override;
  Transfer try_write(std::span<const Bytes> parts, bool more) override;
  Transfer try_send_file(File& file, std::uint64_t offset, std::uint64_t length) override;
  Signal& readable() override { return readable_; }
  Signal& writable() override { return writable_; }
  Error error() const override;
  void finish_writing() override;
  void abort() override;
  Address local() const override;
  Address remote() const override { return remote_; }
  std::optional<PeerCredentials> peer_credentials() const override;

  // How a connection attempt stands: nothing while it goes on, else 0 or the system's error number.
  std::optional<int> connected();

  // Leaves reading to `by` until give_back(); the descriptor, or -1 where that cannot be.
  int lend(Receiving& by);
  void give_back();

 private:
  SocketStream(Poller& poller, Descriptor socket, Address remote)
      : poller_(poller), socket_(std::move(socket)), remote_(std::move(remote)) {}
  void on_edge(std::uint32_t events) override;
  Transfer fail(int number, std::string_view doing);
  Transfer last_words(MutableBytes buffer);
  Transfer send_copied(File& file, std::uint64_t offset, std::uint64_t length);

  Poller& poller_;
  Descriptor socket_;
  Address remote_;
  mutable std::optional<Address> local_;
  Signal readable_, writable_;
  // What the kernel said last. A false one saves the call that would only say EAGAIN.
  bool may_read_ = true, may_write_ = true;
  bool connecting_ = false;
  bool hung_up_ = false;  // an end or an error is on its way: a short read does not mean empty
  Receiving* lent_to_ = nullptr;
  int failure_ = 0;  // errno
  std::string_view failed_doing_;
};

class SocketListener final : public Listener, private Poller::Watch {
 public:
  static Result<std::unique_ptr<Listener>> make(Poller& poller, const Address& at,
                                                const ListenOptions& options);
  ~SocketListener() override;

  Task<Result<std::unique_ptr<Stream>>> accept(Deadline deadline) override;
  Address local() const override { return local_; }

 private:
  SocketListener(Poller& poller, Descriptor socket) : poller_(poller), socket_(std::move(socket)) {}
  void on_edge(std::uint32_t events) override;

  Poller& poller_;
  Descriptor socket_;
  Address local_ = Address::ipv4({}, 0);
  Signal acceptable_;
  // The socket file we made, to remove that and not a successor's.
  std::uint64_t file_device_ = 0, file_inode_ = 0;
};

// Options that connecting and listening sockets share; accepted ones inherit them. Those a kernel
// does not know are skipped.
struct SocketTuning {
  std::uint32_t send_buffer = 0, receive_buffer = 0;
  std::chrono::seconds keepalive{0};
};
void tune_socket(int socket, int family, const SocketTuning& tuning);

// A non-blocking stream socket that programs started by this process do not inherit.
Result<Descriptor> open_socket(int family);

// The address a socket is bound to.
Address bound_address(int socket);

// Blocks SIGPIPE for this thread while it lives, and swallows one that came meanwhile.
class SigpipeBlock {
 public:
  SigpipeBlock();
  ~SigpipeBlock();
  SigpipeBlock(const SigpipeBlock&) = delete;
  SigpipeBlock& operator=(const SigpipeBlock&) = delete;

 private:
  bool unblock_ = false;
};

}  // namespace d7y::world
