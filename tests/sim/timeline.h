// What happened in a simulation: a fingerprint of every event, always; and readable lines, on
// request ($D7Y_SIM_TRACE=1 prints them as they happen, keep_lines() keeps the last ones).
//
// Two runs with the same seed have the same fingerprint; where they differ, the lines say where.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "base/loop.h"

namespace d7y::sim {

class Timeline {
 public:
  explicit Timeline(const Loop& clock);

  // Records one event: what, on which host (0: none), and up to three numbers that say which.
  void note(std::string_view what, std::uint32_t host, std::uint64_t a = 0, std::uint64_t b = 0,
            std::uint64_t c = 0);
  // A line that is not part of the fingerprint: log messages, and the test's own remarks.
  void say(std::uint32_t host, std::string_view text);

  bool tracing() const { return print_ || limit_ > 0; }
  // Keeps the last `limit` lines for text(); without events, only what is said.
  void keep_lines(std::size_t limit, bool events = true) {
    limit_ = limit;
    keep_events_ = events;
  }
  std::string text() const;

  std::uint64_t fingerprint() const { return fingerprint_; }
  std::uint64_t events() const { return events_; }

 private:
  void add(std::string line);

  const Loop& clock_;
  std::uint64_t fingerprint_ = 0;
  std::uint64_t events_ = 0;
  bool print_ = false, keep_events_ = true;
  std::size_t limit_ = 0;
  std::deque<std::string> lines_;
};

}  // namespace d7y::sim
