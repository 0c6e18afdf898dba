#include "net/http2/output.h"

#include <utility>

namespace d7y::http2 {

void Output::append(Bytes bytes) {
  if (bytes.empty()) return;
  if (segments_.empty() || segments_.back().owner != nullptr) {
    segments_.push_back({copied_.size(), 0, nullptr, nullptr});
  }
  copied_.append(as_text(bytes));
  segments_.back().length += bytes.size();
  size_ += bytes.size();
}

void Output::append(std::shared_ptr<const std::string> owner, Bytes bytes) {
  if (bytes.empty()) return;
  segments_.push_back({0, bytes.size(), std::move(owner), bytes.data()});
  size_ += bytes.size();
}

std::size_t Output::gather(std::span<Bytes> parts) const {
  std::size_t filled = 0;
  std::size_t skip = offset_;
  for (std::size_t i = head_; i < segments_.size() && filled < parts.size(); ++i) {
    const Segment& segment = segments_[i];
    const std::byte* start =
        segment.owner ? segment.at : reinterpret_cast<const std::byte*>(copied_.data()) + segment.begin;
    parts[filled++] = Bytes(start + skip, segment.length - skip);
    skip = 0;
  }
  return filled;
}

void Output::advance(std::size_t count) {
  size_ -= count;
  while (count > 0) {
    Segment& segment = segments_[head_];
    std::size_t left = segment.length - offset_;
    if (count < left) {
      offset_ += count;
      return;
    }
    count -= left;
    segment.owner.reset();
    offset_ = 0;
    ++head_;
  }
  if (size_ == 0) clear();
}

void Output::clear() {
  // An idle connection keeps no big buffer; a busy one keeps what it needs each turn.
  constexpr std::size_t kKept = 32u << 10;
  if (copied_.capacity() > kKept) {
    std::string().swap(copied_);
  } else {
    copied_.clear();
  }
  segments_.clear();
  head_ = offset_ = size_ = 0;
}

}  // namespace d7y::http2
