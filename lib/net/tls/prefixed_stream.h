// A stream whose first bytes have been read already: they come again, then the rest.
#pragma once

#include <memory>
#include <string>

#include "world/network.h"

namespace d7y::net {

class PrefixedStream final : public world::Stream {
 public:
  PrefixedStream(std::string prefix, std::unique_ptr<world::Stream> stream);

  world::Transfer try_read(MutableBytes buffer) override;
  world::Transfer try_write(std::span<const Bytes> parts, bool more) override {
    return stream_->try_write(parts, more);
  }
  world::Transfer try_send_file(world::File& file, std::uint64_t offset, std::uint64_t length) override {
    return stream_->try_send_file(file, offset, length);
  }
  Signal& readable() override { return stream_->readable(); }
  Signal& writable() override { return stream_->writable(); }
  Error error() const override { return stream_->error(); }
  void finish_writing() override { stream_->finish_writing(); }
  void abort() override { stream_->abort(); }
  Address local() const override { return stream_->local(); }
  Address remote() const override { return stream_->remote(); }
  std::optional<world::PeerCredentials> peer_credentials() const override {
    return stream_->peer_credentials();
  }

 private:
  std::string prefix_;
  std::size_t used_ = 0;
  std::unique_ptr<world::Stream> stream_;
};

}  // namespace d7y::net
