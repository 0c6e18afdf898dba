#include "scheduler/origin_stats.h"

#include <algorithm>

namespace d7y::scheduler {

OriginStats::Answer OriginStats::ask(const std::string& task, TimePoint now, std::string_view doubted) {
  clean(now);
  auto entry = entry_for(task, now);
  const bool known = entry && !entry->stat.empty() && now < entry->at + limits_.fresh;
  if (known && entry->stat != doubted) return {.what = What::kKnown, .entry = entry};
  if (!entry || now < entry->open) return {.what = What::kLook, .turn = ++turns_};
  if (now < entry->looking) return {.what = What::kWait, .until = entry->looking, .entry = entry};
  entry->looking = now + limits_.patience;
  entry->turn = ++turns_;
  return {.what = What::kLook, .turn = entry->turn};
}

void OriginStats::found(const std::string& task, Turn turn, std::string stat, TimePoint now) {
  clean(now);
  auto entry = entry_for(task, now);
  if (!entry || turn <= entry->told) return;
  entry->told = turn;
  if (bytes_ - entry->stat.size() + stat.size() > limits_.most_bytes) stat.clear();
  bytes_ += stat.size() - entry->stat.size();
  entry->stat = std::move(stat);
  entry->at = now;
  entry->looking = {};
  entry->open = entry->stat.empty() ? now + limits_.open : TimePoint{};
  entry->changed.notify_all();
}

void OriginStats::gave_up(const std::string& task, Turn turn, TimePoint now) {
  auto* entry = with_turn(task, turn);
  if (entry == nullptr) return;
  entry->looking = {};
  entry->open = now + limits_.open;
  entry->changed.notify_all();
}

void OriginStats::lost(const std::string& task, Turn turn) {
  auto* entry = with_turn(task, turn);
  if (entry == nullptr) return;
  entry->looking = {};
  entry->changed.notify_all();
}

OriginStats::Entry* OriginStats::with_turn(const std::string& task, Turn turn) {
  auto found = entries_.find(task);
  return found != entries_.end() && found->second->turn == turn ? found->second.get() : nullptr;
}

// Null: there is no room for one more.
std::shared_ptr<OriginStats::Entry> OriginStats::entry_for(const std::string& task, TimePoint now) {
  auto found = entries_.find(task);
  if (found != entries_.end()) return found->second;
  if (entries_.size() >= limits_.most) return nullptr;
  looks_.emplace_back(now + limits_.fresh, task);
  return entries_.emplace(task, std::make_shared<Entry>()).first->second;
}

bool OriginStats::over(const Entry& entry, TimePoint now) const {
  const bool fresh = !entry.stat.empty() && now < entry.at + limits_.fresh;
  return !fresh && now >= entry.looking && now >= entry.open;
}

void OriginStats::clean(TimePoint now) {
  while (!looks_.empty() && looks_.front().first <= now) {
    auto task = std::move(looks_.front().second);
    looks_.pop_front();
    auto found = entries_.find(task);
    if (!over(*found->second, now)) {
      looks_.emplace_back(now + limits_.fresh, std::move(task));
      continue;
    }
    bytes_ -= found->second->stat.size();
    entries_.erase(found);
  }
}

}  // namespace d7y::scheduler
