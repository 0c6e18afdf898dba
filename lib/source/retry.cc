#include "source/retry.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/backoff.h"
#include "net/http/message.h"

namespace d7y::source {

bool is_retryable(const Error& error) {
  const int status = error.status();
  if (status != 0) {
    return status == 408 || status == 425 || status == 429 ||
           (status >= 500 && status <= 599 && status != 501 && status != 505);
  }
  switch (error.code()) {
    case ErrorCode::kTimeout:
    case ErrorCode::kRefused:
    case ErrorCode::kReset:
    case ErrorCode::kProtocol:
    case ErrorCode::kExhausted:
    case ErrorCode::kUnavailable: return true;
    default: return false;
  }
}

std::optional<Duration> parse_retry_after(std::string_view value, WallTime now) {
  std::uint32_t seconds = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (failed == std::errc{} && end == value.data() + value.size()) return std::chrono::seconds(seconds);
  if (const auto date = http::parse_http_date(value)) return *date > now ? *date - now : Duration::zero();
  return std::nullopt;
}

std::optional<Duration> Retry::after(const Error& error, std::uint64_t random,
                                     std::optional<Duration> retry_after) {
  ++failures_;
  if (failures_ >= policy_.attempts || !is_retryable(error)) return std::nullopt;
  if (retry_after && *retry_after > policy_.longest_retry_after) return std::nullopt;
  Backoff backoff(policy_.first_pause, policy_.longest_pause);
  Duration pause = backoff.next(random);
  for (int i = 1; i < failures_; ++i) pause = backoff.next(random);
  return retry_after ? std::max(*retry_after, pause) : pause;
}

std::optional<Duration> retry_after_of(const Error& error, WallTime now) {
  if (error.details().empty()) return std::nullopt;
  const auto details = nlohmann::json::parse(error.details(), nullptr, false);
  if (!details.is_object() || !details.contains("header") || !details["header"].is_object())
    return std::nullopt;
  const auto& header = details["header"];
  if (!header.contains("retry-after") || !header["retry-after"].is_string()) return std::nullopt;
  return parse_retry_after(header["retry-after"].get_ref<const std::string&>(), now);
}

}  // namespace d7y::source
