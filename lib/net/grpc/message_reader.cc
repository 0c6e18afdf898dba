#include "net/grpc/message_reader.h"

#include <algorithm>
#include <utility>

#include "net/grpc/gzip.h"

namespace d7y::grpc {

namespace {
// Memory for a message is taken as its bytes arrive, not as its length promises.
constexpr std::size_t kFirstReserve = 64u << 10;
}  // namespace

Result<void> MessageReader::receive(Bytes bytes) {
  while (!bytes.empty()) {
    if (head_bytes_ < prefix_.size()) {
      auto count = std::min(prefix_.size() - head_bytes_, bytes.size());
      std::memcpy(prefix_.data() + head_bytes_, bytes.data(), count);
      head_bytes_ += count;
      bytes = bytes.subspan(count);
      if (head_bytes_ < prefix_.size()) break;
      TRY_OK(begin());
    }
    auto left = static_cast<std::size_t>(length_ - partial_.size());
    if (partial_.empty() && bytes.size() >= left) {
      auto whole = bytes.first(left);
      bytes = bytes.subspan(left);
      head_bytes_ = 0;
      TRY_OK(complete(std::string(as_text(whole))));
      continue;
    }
    if (partial_.empty()) partial_.reserve(std::min<std::uint64_t>(length_, kFirstReserve));
    auto part = bytes.first(std::min(left, bytes.size()));
    if (partial_.capacity() - partial_.size() < part.size()) {
      partial_.reserve(
          std::min<std::uint64_t>(length_, std::max(partial_.capacity() * 2, partial_.size() + part.size())));
    }
    partial_.append(as_text(part));
    bytes = bytes.subspan(part.size());
    if (partial_.size() == length_) {
      head_bytes_ = 0;
      TRY_OK(complete(std::exchange(partial_, {})));
    }
  }
  if (head_bytes_ == prefix_.size() && length_ == 0) {
    head_bytes_ = 0;
    return complete({});
  }
  return {};
}

Result<void> MessageReader::begin() {
  length_ = 0;
  for (std::size_t i = 1; i < prefix_.size(); ++i) length_ = length_ << 8 | prefix_[i];
  if (length_ > max_message_) {
    return error(ErrorCode::kTooLarge, "a message of {} bytes is over the {} bytes that are accepted",
                 length_, max_message_);
  }
  if (prefix_[0] > 1) {
    return error(ErrorCode::kProtocol, "a message has flags {:#x}, which gRPC does not know", prefix_[0]);
  }
  if (prefix_[0] == 1 && !gzip_) {
    return error(ErrorCode::kProtocol, "a message is compressed although its stream said no grpc-encoding");
  }
  return {};
}

Result<void> MessageReader::complete(std::string message) {
  if (prefix_[0] == 1) {
    TRY(message, gzip_decompress(message, max_message_));
  }
  messages_.push_back(std::move(message));
  return {};
}

std::optional<std::string> MessageReader::take() {
  if (empty()) return std::nullopt;
  std::optional<std::string> message(std::move(messages_[head_++]));
  if (head_ == messages_.size()) {
    messages_.clear();
    head_ = 0;
  } else if (head_ >= 64 && head_ * 2 >= messages_.size()) {
    messages_.erase(messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
  return message;
}

void MessageReader::clear() {
  messages_.clear();
  partial_.clear();
  head_ = head_bytes_ = 0;
  length_ = 0;
}

std::array<std::byte, 5> message_prefix(std::size_t length, bool compressed) {
  return {std::byte{compressed}, static_cast<std::byte>(length >> 24), static_cast<std::byte>(length >> 16),
          static_cast<std::byte>(length >> 8), static_cast<std::byte>(length)};
}

}  // namespace d7y::grpc
