// When and whether to ask an origin again. Pure: it says how long to wait, the caller waits.
//
//   Retry retry(policy);
//   while (true) {
//     auto body = co_await sources.read(request, span, version, deadline);
//     if (body) co_return body;
//     auto pause = retry.after(body.error(), world.random());
//     if (!pause) co_return std::move(body).error();
//     co_await sleep_for(*pause);
//   }
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"

namespace d7y::source {

struct RetryPolicy {
  int attempts = 4;  // in all, the first included
  Duration first_pause = std::chrono::milliseconds(200);
  Duration longest_pause = std::chrono::seconds(10);
  // Retry-After is honoured up to here; an origin that wants more is not asked again.
  Duration longest_retry_after = std::chrono::seconds(60);
};

// Whether asking again may help: broken or refused connections, timeouts, 408, 425, 429 and 5xx
// except 501 and 505. Everything else says the same next time.
bool is_retryable(const Error& error);

// Retry-After's seconds or date as a wait from `now`; none if it is neither.
std::optional<Duration> parse_retry_after(std::string_view value, WallTime now);

class Retry {
 public:
  explicit Retry(RetryPolicy policy) : policy_(policy) {}

  // How long to wait before the next attempt; none: give up. `random` spreads the waits evenly
  // between half and the whole of the back-off. `retry_after` is what the origin asked for.
  std::optional<Duration> after(const Error& error, std::uint64_t random,
                                std::optional<Duration> retry_after = std::nullopt);
  // Progress was made: the count starts again.
  void reset() { failures_ = 0; }
  int failures() const { return failures_; }

 private:
  RetryPolicy policy_;
  int failures_ = 0;
};

// What the origin asked for, out of the JSON in Error::details() of an http error.
std::optional<Duration> retry_after_of(const Error& error, WallTime now);

}  // namespace d7y::source
