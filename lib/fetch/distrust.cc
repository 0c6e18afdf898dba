// Content that is not what its digest says: who gave it, and what becomes of them.
#include <algorithm>

#include "fetch/conductor.h"

namespace d7y::fetch {

std::vector<Suspects::Evidence> Conductor::evidence() const {
  std::vector<Suspects::Evidence> all;
  const auto count = task_->piece_count().value_or(0);
  for (std::uint32_t number = 0; number < count; ++number) {
    auto piece = task_->piece(number);
    if (!piece || piece->parent.empty()) continue;
    auto host = hosts_.find(piece->parent);
    all.push_back({.number = number,
                   .crc = piece->crc,
                   .length = piece->length,
                   .peer_id = piece->parent,
                   .host_id = host != hosts_.end() ? host->second : std::string()});
  }
  return all;
}

bool Conductor::all_from_origin() const { return from_origin_ >= task_->piece_count().value_or(0); }

void Conductor::distrust(std::vector<Suspects::Evidence> evidence, bool all_from_origin) {
  if (all_from_origin) {
    // What was expected is wrong, or the origin is: peers who had the same were no liars.
    suspects_.acquit(task_id_);
    return;
  }
  misled_ = true;
  if (parts_.metrics != nullptr) {
    parts_.metrics
        ->counter("d7y_content_wrong", "Downloads whose content from peers was not what its digest says.")
        .add();
  }
  auto another = [&](const Suspects::Evidence& piece) { return piece.peer_id != evidence.front().peer_id; };
  if (!evidence.empty() && std::none_of(evidence.begin(), evidence.end(), another))
    accused_ = evidence.front();
  log_.warn("task {}: its content was wrong; {} pieces of it came from peers, who are not asked for it again",
            task_id_, evidence.size());
  suspects_.suspect(task_id_, std::move(evidence), parts_.world.now());
}

void Conductor::judge() {
  if (!distrusted()) return;
  auto crc_of = [this](std::uint32_t number, std::uint64_t length) -> std::optional<std::uint32_t> {
    auto piece = task_->piece(number);
    if (!piece || piece->length != length) return std::nullopt;
    return piece->crc;
  };
  for (const auto& liar : suspects_.judge(task_id_, crc_of, parts_.world.now())) {
    log_.warn(
        "peer {} gave wrong bytes as piece {} of task {}; its host is not asked for anything for a while",
        liar.peer_id, liar.number, task_id_);
    if (parts_.metrics == nullptr) continue;
    parts_.metrics
        ->counter("d7y_peers_banned",
                  "Peers that were found to have given wrong bytes, and left out for a while.")
        .add();
  }
}

}  // namespace d7y::fetch
