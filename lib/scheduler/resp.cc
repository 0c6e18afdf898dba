#include "scheduler/resp.h"

#include <charconv>

namespace d7y::scheduler {
namespace {

constexpr std::size_t kLongestLine = 64 << 10;
constexpr std::int64_t kBiggestText = 64 << 20;   // bytes
constexpr std::int64_t kMostItems = 4 << 20;      // of a list
constexpr std::size_t kBiggestReply = 512 << 20;  // bytes
constexpr int kDeepest = 4;

Result<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
    return error(ErrorCode::kProtocol, "Redis sends a length or number that is none");
  }
  return value;
}

}  // namespace

std::string resp_command(const std::vector<std::string>& words) {
  std::string out = fmt::format("*{}\r\n", words.size());
  for (const auto& word : words) {
    out += fmt::format("${}\r\n", word.size());
    out += word;
    out += "\r\n";
  }
  return out;
}

Result<std::optional<std::string_view>> RespReader::line(std::size_t& at) const {
  const auto end = buffer_.find("\r\n", at);
  if (end == std::string::npos) {
    if (buffer_.size() - at > kLongestLine) return error(ErrorCode::kTooLarge, "Redis sends an endless line");
    return std::optional<std::string_view>();
  }
  const auto found = std::string_view(buffer_).substr(at, end - at);
  at = end + 2;
  return std::optional(found);
}

Result<RespReader::Step> RespReader::parse(std::size_t& at, RespValue& out, int depth) const {
  TRY(const auto head, line(at));
  if (!head) return Step::kMore;
  if (head->empty()) return error(ErrorCode::kProtocol, "Redis sends an empty line");
  const auto rest = head->substr(1);
  switch (head->front()) {
    case '+':
    case '-':
      out.kind = head->front() == '+' ? RespValue::Kind::kText : RespValue::Kind::kError;
      out.text = rest;
      return Step::kDone;
    case ':': {
      out.kind = RespValue::Kind::kInteger;
      TRY(out.integer, number(rest));
      return Step::kDone;
    }
    case '$': {
      TRY(const std::int64_t length, number(rest));
      if (length < 0) return Step::kDone;  // null
      if (length > kBiggestText)
        return error(ErrorCode::kTooLarge, "Redis sends a value of {} bytes", length);
      const auto size = static_cast<std::size_t>(length);
      if (buffer_.size() - at < size + 2) return Step::kMore;
      if (std::string_view(buffer_).substr(at + size, 2) != "\r\n")
        return error(ErrorCode::kProtocol, "Redis sends a value that is longer than it says");
      out.kind = RespValue::Kind::kText;
      out.text = buffer_.substr(at, size);
      at += size + 2;
      return Step::kDone;
    }
    case '*': {
      TRY(const std::int64_t count, number(rest));
      if (count < 0) return Step::kDone;
      if (count > kMostItems || depth >= kDeepest)
        return error(ErrorCode::kTooLarge, "Redis sends a list that is too long or too deep");
      out.kind = RespValue::Kind::kList;
      for (std::int64_t i = 0; i < count; ++i) {
        RespValue item;
        TRY(const Step step, parse(at, item, depth + 1));
        if (step == Step::kMore) return Step::kMore;
        out.items.push_back(std::move(item));
      }
      return Step::kDone;
    }
    default: return error(ErrorCode::kProtocol, "what answers is no Redis");
  }
}

Result<std::optional<RespValue>> RespReader::next() {
  if (buffer_.size() < needed_) return std::optional<RespValue>();
  std::size_t at = used_;
  RespValue value;
  TRY(const Step step, parse(at, value, 0));
  if (step == Step::kMore) {
    if (buffer_.size() - used_ > kBiggestReply)
      return error(ErrorCode::kTooLarge, "Redis sends a reply of more than {} bytes", kBiggestReply);
    buffer_.erase(0, used_);
    used_ = 0;
    // A long reply is not looked at again for each read: work stays linear.
    needed_ = buffer_.size() < 4096 ? 0 : buffer_.size() + buffer_.size() / 4;
    return std::optional<RespValue>();
  }
  used_ = at;
  needed_ = 0;
  if (used_ == buffer_.size()) {
    buffer_.clear();
    used_ = 0;
  }
  return std::optional(std::move(value));
}

}  // namespace d7y::scheduler
