#include "swarm/upload_turns.h"

#include <algorithm>

namespace d7y::swarm {
namespace {

constexpr auto kStandstill = std::chrono::seconds(1);

}  // namespace

UploadTurns::Turn::Turn(UploadTurns& turns, Child child, std::uint32_t piece)
    : turns_(turns), line_(turns.lines_.try_emplace(std::move(child)).first), place_(piece, turns.next_++) {
  line_->second.waiting.emplace(place_, this);
}

UploadTurns::Turn::~Turn() {
  auto& line = line_->second;
  line.waiting.erase(place_);
  std::erase(line.granted, this);
  if (line.waiting.empty() && line.granted.empty()) {
    turns_.lines_.erase(line_);
  } else {
    offer(line);
  }
}

Task<void> UploadTurns::Turn::wait() {
  auto& line = line_->second;
  while (!turns_.may_go(*this)) {
    // The first in line looks whether those before it stand still; all others are told when they are first.
    const bool first = line.waiting.begin()->second == this;
    const auto look_again = first ? Deadline::in(kStandstill, turns_.world_.now()) : Deadline::never();
    auto woken = co_await offered_.wait(look_again);
    static_cast<void>(woken);
  }
  line.waiting.erase(place_);
  line.granted.push_back(this);
  moved();
  offer(line);
}

bool UploadTurns::may_go(const Turn& turn) const {
  const auto& line = turn.line_->second;
  if (line.waiting.begin()->second != &turn) return false;
  const auto now = world_.now();
  const auto going = std::count_if(line.granted.begin(), line.granted.end(),
                                   [&](const Turn* other) { return now - other->moved_at_ < kStandstill; });
  return static_cast<std::size_t>(going) < at_once();
}

void UploadTurns::offer(Line& line) {
  if (!line.waiting.empty()) line.waiting.begin()->second->offered_.notify_all();
}

std::size_t UploadTurns::at_once() const {
  return std::max(width_.width(), std::min(beside_.size(), UploadWidth::kMost));
}

void UploadTurns::sent(std::uint64_t bytes) {
  if (!width_.sent(bytes, world_.now())) return;
  const auto before = width_.width();
  width_.span_over(wanted());
  if (width_.width() <= before) return;
  for (auto& [child, line] : lines_) offer(line);
}

bool UploadTurns::wanted() const {
  return std::any_of(lines_.begin(), lines_.end(), [&](const auto& entry) {
    const auto& line = entry.second;
    return line.waiting.size() + line.granted.size() > width_.width() / 2 &&
           (width_.width() > 1 || !line.waiting.empty());
  });
}

}  // namespace d7y::swarm
