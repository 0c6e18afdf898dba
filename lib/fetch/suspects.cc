#include "fetch/suspects.h"

#include <algorithm>

namespace d7y::fetch {
namespace {

constexpr std::size_t kMostCases = 64;
constexpr std::size_t kMostEvidence = 64 << 10;
constexpr std::size_t kMostBanned = 1024;

}  // namespace

void Suspects::suspect(const std::string& task_id, std::vector<Evidence> evidence, TimePoint now) {
  std::erase_if(cases_, [&](const auto& each) { return now - each.second.since >= terms_.suspects; });
  if (cases_.size() >= kMostCases && !cases_.contains(task_id)) {
    auto oldest = std::min_element(cases_.begin(), cases_.end(), [](const auto& a, const auto& b) {
      return a.second.since < b.second.since;
    });
    cases_.erase(oldest);
  }
  auto& found = cases_[task_id];
  found.since = now;
  for (auto& piece : evidence) {
    if (found.evidence.size() >= kMostEvidence) break;
    found.evidence.push_back(std::move(piece));
  }
}

bool Suspects::distrusted(const std::string& task_id, TimePoint now) const {
  auto found = cases_.find(task_id);
  return found != cases_.end() && now - found->second.since < terms_.suspects;
}

bool Suspects::may_give(const std::string& task_id, const std::string& peer_id, const std::string& host_id,
                        TimePoint now) const {
  if (auto ban = bans_.find(host_id); ban != bans_.end() && now < ban->second.until) return false;
  if (!distrusted(task_id, now)) return true;
  const auto& evidence = cases_.at(task_id).evidence;
  return std::none_of(evidence.begin(), evidence.end(), [&](const Evidence& piece) {
    return piece.peer_id == peer_id || (!host_id.empty() && piece.host_id == host_id);
  });
}

std::vector<Suspects::Evidence> Suspects::judge(const std::string& task_id, const CrcOf& crc_of,
                                                TimePoint now) {
  std::vector<Evidence> wrong;
  auto found = cases_.find(task_id);
  if (found == cases_.end()) return wrong;
  for (auto& piece : found->second.evidence) {
    auto right = crc_of(piece.number, piece.length);
    const bool known = std::any_of(wrong.begin(), wrong.end(),
                                   [&](const Evidence& other) { return other.peer_id == piece.peer_id; });
    if (right && *right != piece.crc && !known) wrong.push_back(std::move(piece));
  }
  cases_.erase(found);
  std::vector<std::string> liars;
  for (const auto& piece : wrong) {
    if (piece.host_id.empty() || std::count(liars.begin(), liars.end(), piece.host_id) != 0) continue;
    liars.push_back(piece.host_id);
    ban(piece.host_id, now);
  }
  return wrong;
}

void Suspects::ban(const std::string& host_id, TimePoint now) {
  std::erase_if(bans_, [&](const auto& each) { return now - each.second.until >= terms_.remembered; });
  if (bans_.size() >= kMostBanned && !bans_.contains(host_id)) return;
  auto& ban = bans_[host_id];
  ban.lasted = ban.lasted == Duration() ? terms_.first : std::min(ban.lasted * 2, terms_.longest);
  ban.until = now + ban.lasted;
}

}  // namespace d7y::fetch
