#include "net/tls/prefixed_stream.h"

#include <algorithm>

namespace d7y::net {

PrefixedStream::PrefixedStream(std::string prefix, std::unique_ptr<world::Stream> stream)
    : prefix_(std::move(prefix)), stream_(std::move(stream)) {}

world::Transfer PrefixedStream::try_read(MutableBytes buffer) {
  if (used_ == prefix_.size()) return stream_->try_read(buffer);
  const auto count = std::min(buffer.size(), prefix_.size() - used_);
  std::memcpy(buffer.data(), prefix_.data() + used_, count);
  used_ += count;
  if (used_ == prefix_.size()) {
    prefix_ = {};
    used_ = 0;
  }
  return {world::Transfer::State::kMoved, count};
}

}  // namespace d7y::net
