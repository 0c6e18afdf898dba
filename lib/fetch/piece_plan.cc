#include "fetch/piece_plan.h"

#include <algorithm>
#include <limits>

namespace d7y::fetch {
namespace {

// A reader's next pieces that go before all others. Enough to keep several parents busy for it.
constexpr std::uint32_t kAhead = 8;

}  // namespace

void PiecePlan::begin(std::uint32_t pieces, const store::Bitmap& have) {
  pieces_ = pieces;
  here_ = have;
  taken_ = wanted_ = open_ = {};
  wants_.clear();
  missing_ = 0;
}

void PiecePlan::shorten(std::uint32_t pieces) {
  for (std::uint32_t piece = pieces; piece < pieces_; ++piece) {
    if (wanted_.clear(piece) && !here_.test(piece)) --missing_;
    open_.clear(piece);
    here_.clear(piece);
    taken_.clear(piece);
  }
  pieces_ = std::min(pieces_, pieces);
  for (auto& [id, want] : wants_) {
    want.run.end = std::min(want.run.end, pieces_);
    want.run.first = std::min(want.run.first, want.run.end);
  }
}

void PiecePlan::recount(std::uint32_t piece) {
  bool open = wanted_.test(piece) && !here_.test(piece) && !taken_.test(piece);
  if (open) {
    open_.set(piece);
  } else {
    open_.clear(piece);
  }
}

PiecePlan::WantId PiecePlan::want(Run run) {
  run.end = std::min(run.end, pieces_);
  for (auto piece = run.first; piece < run.end; ++piece) {
    if (wanted_.set(piece) && !here_.test(piece)) ++missing_;
    recount(piece);
  }
  wants_.emplace(next_want_, Want{run, std::nullopt});
  return next_want_++;
}

void PiecePlan::forget(WantId id) {
  auto found = wants_.find(id);
  if (found == wants_.end()) return;
  auto run = found->second.run;
  wants_.erase(found);
  for (auto piece = run.first; piece < run.end; ++piece) {
    bool still = std::any_of(wants_.begin(), wants_.end(), [piece](const auto& entry) {
      return piece >= entry.second.run.first && piece < entry.second.run.end;
    });
    if (still) continue;
    if (wanted_.clear(piece) && !here_.test(piece)) --missing_;
    recount(piece);
  }
}

void PiecePlan::reading(WantId id, std::uint32_t at) {
  if (auto found = wants_.find(id); found != wants_.end()) found->second.reader = at;
}

void PiecePlan::taken(std::uint32_t piece) {
  taken_.set(piece);
  recount(piece);
}

void PiecePlan::released(std::uint32_t piece) {
  taken_.clear(piece);
  recount(piece);
}

void PiecePlan::release_all() {
  for (auto piece = taken_.first_set(0, pieces_); piece; piece = taken_.first_set(*piece + 1, pieces_)) {
    released(*piece);
  }
}

void PiecePlan::completed(std::uint32_t piece) {
  taken_.clear(piece);
  if (here_.set(piece) && wanted_.test(piece)) --missing_;
  recount(piece);
}

void PiecePlan::lost(std::uint32_t piece) {
  if (here_.clear(piece) && wanted_.test(piece)) ++missing_;
  recount(piece);
}

bool PiecePlan::reader_waits() const {
  return std::any_of(wants_.begin(), wants_.end(), [this](const auto& entry) {
    const auto& want = entry.second;
    return want.reader && *want.reader < want.run.end && open_.test(*want.reader);
  });
}

std::optional<std::uint32_t> PiecePlan::urgent(const store::Bitmap* there, swarm::PieceShare share,
                                               const store::Bitmap* without) const {
  for (const auto& [id, want] : wants_) {
    if (!want.reader) continue;
    auto end = std::min(want.run.end, *want.reader + kAhead);
    for (auto piece = std::max(want.run.first, *want.reader); piece < end; ++piece) {
      if (without != nullptr && without->test(piece)) continue;
      if (open_.test(piece) && share.contains(piece) && (there == nullptr || there->test(piece)))
        return piece;
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> PiecePlan::pick(const store::Bitmap& there,
                                             std::span<const std::uint16_t> copies, std::uint64_t random,
                                             swarm::PieceShare share, const store::Bitmap* without) const {
  if (open_.count() == 0) return std::nullopt;
  if (auto piece = urgent(&there, share, without)) return piece;
  bool all_in_order = !wants_.empty() && std::all_of(wants_.begin(), wants_.end(), [](const auto& entry) {
    return entry.second.reader.has_value();
  });
  std::optional<std::uint32_t> best;
  auto least = std::numeric_limits<std::uint32_t>::max();
  auto consider = [&](std::uint32_t from, std::uint32_t end) {
    for (auto at = open_.first_set(from, end); at; at = open_.first_set(*at + 1, end)) {
      if (!there.test(*at) || !share.contains(*at) || (without != nullptr && without->test(*at))) continue;
      auto count = *at < copies.size() ? copies[*at] : 0U;
      if (count < least) {
        least = count;
        best = *at;
        if (all_in_order) return;
      }
    }
  };
  auto start = all_in_order || pieces_ == 0 ? 0 : static_cast<std::uint32_t>(random % pieces_);
  consider(start, pieces_);
  if (!(all_in_order && best)) consider(0, start);
  return best;
}

std::optional<PiecePlan::Run> PiecePlan::next_run(std::uint32_t lanes, std::uint32_t longest,
                                                  std::uint32_t worthwhile) const {
  if (open_.count() == 0) return std::nullopt;
  auto first = urgent(nullptr, {}, nullptr);
  if (!first) first = open_.first_set(0, pieces_);
  if (!first) return std::nullopt;
  // One by itself has nobody to wait for at the end.
  auto fair = lanes < 2 ? open_.count() : std::max(1U, open_.count() / (2 * lanes));
  Run run{*first, *first + 1};
  // Short ones at the end make all end together, but each of them waits for its answer.
  const auto even = lanes < 2 ? fair : (open_.count() + lanes - 1) / lanes;
  auto most = std::min(longest, std::max(fair, std::min(worthwhile, even)));
  while (run.end < pieces_ && run.end - run.first < most && open_.test(run.end)) ++run.end;
  return run;
}

}  // namespace d7y::fetch
