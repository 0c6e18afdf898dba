// What goes away by itself, a slice at a time so that no pause is noticed, and the check of all books.
#include <fmt/format.h>

#include <algorithm>

#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr Duration kEvery = std::chrono::seconds(1);
constexpr std::uint32_t kRounds = 60;     // slices until everything was looked at once
constexpr std::uint32_t kAtLeast = 1000;  // records in a slice

}  // namespace

void Brain::clean(TimePoint now) {
  next_clean_ = now + kEvery;
  const auto slice = [](std::uint32_t end) { return std::min(end, std::max(kAtLeast, end / kRounds + 1)); };
  for (std::uint32_t i = slice(peers_.end()); i > 0; --i) {
    const auto at = clean_peer_++ % peers_.end();
    if (!peers_.live(at)) continue;
    const auto handle = peers_.handle_of(at);
    const auto& peer = peers_.at(at);
    if (peer.progress) {
      const auto quiet = now - std::max(peer.progress->last_piece, peer.updated);
      if (!peer.waiting && quiet > options_.piece_timeout) {
        end_with_error(handle, ErrorCode::kTimeout, "no piece was reported for too long", now);
      }
    } else if (!peer.has_stream &&
               now - peer.updated >
                   (peer.state == PeerState::kSucceeded ? options_.peer_ttl : options_.lost_peer_ttl)) {
      remove_peer(handle, now);
    }
  }
  for (std::uint32_t i = slice(hosts_.end()); i > 0; --i) {
    const auto at = clean_host_++ % hosts_.end();
    if (!hosts_.live(at)) continue;
    const auto& host = hosts_.at(at);
    const auto ttl = host.facts.interval > Duration::zero() ? host.facts.interval * 2 : options_.host_ttl;
    if (now - host.updated > ttl) remove_host(hosts_.handle_of(at), now);
  }
  for (std::uint32_t i = slice(tasks_.end()); i > 0; --i) {
    const auto at = clean_task_++ % tasks_.end();
    if (!tasks_.live(at)) continue;
    const auto& task = tasks_.at(at);
    if (task.peers > 0 || task.seed_attempt != 0 || now - task.updated < options_.task_ttl) continue;
    download_bytes_ -= task.download.size();
    source_pieces_ -= task.pieces.size();
    task_ids_.erase(task_ids_.key(task.id), at);
    tasks_.erase(tasks_.handle_of(at));
  }
}

std::size_t Brain::table_memory() const {
  return peers_.memory() + tasks_.memory() + hosts_.memory() + peer_ids_.memory() + task_ids_.memory() +
         host_ids_.memory();
}

std::string Brain::check(TimePoint now) const {
  std::vector<std::uint32_t> children(peers_.end()), used(hosts_.end()), of_host(hosts_.end()),
      finished_of(hosts_.end());
  std::vector<std::uint32_t> of_task(tasks_.end()), roots(tasks_.end()), usable_of(tasks_.end()),
      tokens(tasks_.end()), readers(tasks_.end()), waiters(tasks_.end());
  std::vector<std::uint32_t> origin_tokens(origins_.size());
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> inbound;
  std::size_t waiting = 0, open = 0;
  for (std::uint32_t at = 0; at < peers_.end(); ++at) {
    if (!peers_.live(at)) continue;
    const auto& peer = peers_.at(at);
    const auto* host = hosts_.find(peer.host);
    const auto* task = tasks_.find(peer.task);
    if (host == nullptr || task == nullptr) return fmt::format("peer {} has no host or task", at);
    ++of_host[peer.host.index];
    finished_of[peer.host.index] += peer.state == PeerState::kSucceeded;
    ++of_task[peer.task.index];
    roots[peer.task.index] += is_root(peer);
    usable_of[peer.task.index] += usable(peer);
    tokens[peer.task.index] += peer.holds_token;
    if (peer.token_serves) {
      std::uint32_t of_range = 0;
      for (const auto& range : task->ranges)
        of_range += same_range(peer, range.start, range.length) ? range.count : 0;
      if (!peer.holds_token || (peer.partial() && of_range == 0))
        return fmt::format("peer {} reads for others and is not counted", at);
      readers[peer.task.index] += 1;
    }
    origin_tokens[task->origin] += peer.holds_token;
    waiting += peer.waiting;
    waiters[peer.task.index] += peer.waiting;
    const bool in_seeds = std::count(task->seeds.begin(), task->seeds.end(), at) == 1;
    if (in_seeds != (usable(peer) && host->facts.seed) || in_seeds != peer.counted_seed)
      return fmt::format("peer {} is counted wrongly among the seeds", at);
    if (is_root(peer) != peer.counted_root || usable(peer) != peer.counted_usable)
      return fmt::format("peer {} is counted wrongly", at);
    if (peer.terminal() && (peer.waiting || peer.holds_token || peer.progress))
      return fmt::format("peer {} has ended and still holds something", at);
    if (!peer.terminal() && !peer.progress) return fmt::format("peer {} lives without progress", at);
    if (peer.waiting && peer.progress->deadline < now)
      return fmt::format("peer {} waits past its deadline", at);
    if (peer.waiting && !peer.has_stream) return fmt::format("peer {} waits and nobody listens", at);
    if (peer.waiting && !peer.progress->parents.empty())
      return fmt::format("peer {} waits and has parents", at);
    if (peer.waiting && std::find(task->waiting.begin() + static_cast<std::ptrdiff_t>(task->waiting_from),
                                  task->waiting.end(), peers_.handle_of(at)) == task->waiting.end()) {
      return fmt::format("peer {} waits outside of the queue", at);
    }
    if (peer.open_position != kNowhere) {
      ++open;
      bool found = false;
      for (const auto& site : task->sites) {
        found |= site.site == host->site && peer.open_position < site.open.size() &&
                 site.open[peer.open_position] == at &&
                 (peer.open_position < site.open_roots) == peer.counted_root;
      }
      if (!found) return fmt::format("peer {} is not in the list it says", at);
    }
    const bool should_be_open =
        usable(peer) && peer.children_units + kChildUnits / kMaxParents <= soft_limit(*host);
    if (should_be_open != (peer.open_position != kNowhere)) return fmt::format("peer {} is open wrongly", at);
    if (!peer.progress) continue;
    for (const auto& edge : peer.progress->parents) {
      if (edge.cross_site) ++inbound[{peer.task.index, host->site}];
      const auto* parent = peers_.find(edge.parent);
      if (parent == nullptr) continue;
      if (parent->host == peer.host) return fmt::format("peer {} is served by its own host", at);
      if (parent->task != peer.task) return fmt::format("peer {} has a parent of another task", at);
      children[edge.parent.index] += edge.units;
    }
  }
  for (std::uint32_t at = 0; at < peers_.end(); ++at) {
    if (!peers_.live(at)) continue;
    if (children[at] != peers_.at(at).children_units)
      return fmt::format("peer {}: {} units used, {} counted", at, children[at],
                         peers_.at(at).children_units);
    used[peers_.at(at).host.index] += children[at];
  }
  for (std::uint32_t at = 0; at < hosts_.end(); ++at) {
    if (!hosts_.live(at)) continue;
    if (used[at] != hosts_.at(at).used_units || of_host[at] != hosts_.at(at).peers ||
        finished_of[at] != hosts_.at(at).finished)
      return fmt::format("host {} is counted wrongly", at);
  }
  std::size_t listed = 0;
  for (std::uint32_t at = 0; at < tasks_.end(); ++at) {
    if (!tasks_.live(at)) continue;
    const auto& task = tasks_.at(at);
    if (of_task[at] != task.peers || roots[at] != task.roots || usable_of[at] != task.usable ||
        tokens[at] != task.tokens || waiters[at] != task.waiters) {
      return fmt::format("task {} is counted wrongly", at);
    }
    std::uint32_t reading = task.readers;
    for (const auto& range : task.ranges) reading += range.count;
    if (readers[at] != reading) return fmt::format("task {}: peers that read for others", at);
    std::size_t of_sites = 0;
    for (const auto& site : task.sites) {
      of_sites += site.open.size();
      const auto counted = inbound.find({at, site.site});
      if (site.inbound != (counted == inbound.end() ? 0 : counted->second))
        return fmt::format("task {}: inbound edges of a site", at);
    }
    if (of_sites != task.open) return fmt::format("task {}: open parents of its sites", at);
    listed += of_sites;
  }
  for (std::size_t at = 0; at < origins_.size(); ++at) {
    if (origins_[at].tokens != origin_tokens[at])
      return fmt::format("origin {} has the wrong number of tokens", at);
  }
  if (listed != open) return "a list of open parents holds one that is gone";
  if (waiting != waiting_) return "the number of waiting peers is wrong";
  return {};
}

}  // namespace d7y::scheduler
