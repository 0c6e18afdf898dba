#include "sim/timeline.h"

#include <cstdio>
#include <cstdlib>

#include "sim/rng.h"

namespace d7y::sim {

Timeline::Timeline(const Loop& clock) : clock_(clock) {
  const char* wish = std::getenv("D7Y_SIM_TRACE");
  print_ = wish != nullptr && *wish != '\0' && *wish != '0';
}

void Timeline::note(std::string_view what, std::uint32_t host, std::uint64_t a, std::uint64_t b,
                    std::uint64_t c) {
  ++events_;
  std::uint64_t name = host;
  for (char letter : what) name = name * 131 + static_cast<unsigned char>(letter);
  auto when = static_cast<std::uint64_t>(clock_.now().time_since_epoch().count());
  fingerprint_ = mix(fingerprint_ ^ name) ^ mix(when ^ mix(a ^ mix(b ^ mix(c))));
  if (print_ || (limit_ > 0 && keep_events_)) say(host, fmt::format("{} {} {} {}", what, a, b, c));
}

void Timeline::say(std::uint32_t host, std::string_view text) {
  if (!tracing()) return;
  auto when = static_cast<double>(clock_.now().time_since_epoch().count()) / 1e9;
  add(fmt::format("{:14.9f} h{} {}", when, host, text));
}

void Timeline::add(std::string line) {
  if (print_) std::fprintf(stderr, "%s\n", line.c_str());
  if (limit_ == 0) return;
  lines_.push_back(std::move(line));
  while (lines_.size() > limit_) lines_.pop_front();
}

std::string Timeline::text() const {
  std::string all;
  for (auto& line : lines_) {
    all += line;
    all += '\n';
  }
  return all;
}

}  // namespace d7y::sim
