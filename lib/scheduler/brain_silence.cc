// Hosts that stand still: a stopped process, a machine that vanished. Nothing ends there, so nothing tells.
//
// When pieces of a task come no more, those from whom they should come are asked whether they are there. One
// that answers may have a slow origin, and is waited for. One that does not is left aside until it says
// something: it is nobody's parent, and does not count as one that reads the origin, so that another may.
#include "scheduler/brain.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kPeersAtOnce = 256;                 // of a task
constexpr Duration kJustHeard = std::chrono::seconds(2);  // one that said something is there

}  // namespace

void Brain::ask_providers(TaskHandle handle, TimePoint now) {
  auto& task = *tasks_.find(handle);
  if (task.seed_attempt != 0 && now - task.seed_asked >= kJustHeard) {
    const auto* seed = hosts_.find(task.seed);
    if (seed == nullptr || seed->silent) {
      task.seed_attempt = 0;
      make_dirty(handle);
    } else {
      ask(task.seed, now);
    }
  }
  for (const auto at : task.seeds) {
    if (peers_.at(at).counted_root) ask(peers_.at(at).host, now);
  }
  auto at = task.first_peer;
  for (std::size_t i = 0; i < kPeersAtOnce && at != kNowhere; ++i, at = peers_.at(at).task_after) {
    const auto& peer = peers_.at(at);
    if (peer.counted_root || peer.token_serves) ask(peer.host, now);
  }
}

void Brain::ask(HostHandle handle, TimePoint now) {
  auto& host = *hosts_.find(handle);
  if (host.question != 0 || now - host.updated < kJustHeard) return;
  if (++questions_ == 0) ++questions_;
  host.question = questions_;
  actions_.emplace_back(AskHost{handle, host.question});
}

void Brain::host_answered(HostHandle handle, std::uint32_t question, bool answers, TimePoint now) {
  const auto* host = hosts_.find(handle);
  if (host == nullptr || host->question != question || question == 0) return;
  if (answers) {
    hosts_.find(handle)->question = 0;
    if (host->silent) set_silent(handle, false, now);
  } else if (!host->silent) {
    set_silent(handle, true, now);
  }
}

std::vector<PeerHandle> Brain::speakers_of(HostHandle handle, std::size_t look) const {
  std::vector<PeerHandle> found;
  const auto* host = hosts_.find(handle);
  if (host == nullptr) return found;
  for (auto at = host->first_peer; at != kNowhere && look > 0; at = peers_.at(at).host_after, --look) {
    if (peers_.at(at).has_stream) found.push_back(peers_.handle_of(at));
  }
  return found;
}

void Brain::heard(HostHandle handle, TimePoint now) {
  auto& host = *hosts_.find(handle);
  host.updated = now;
  host.question = 0;
  if (host.silent) set_silent(handle, false, now);
}

void Brain::set_silent(HostHandle handle, bool silent, TimePoint now) {
  auto& host = *hosts_.find(handle);
  host.silent = silent;
  for (auto at = host.first_peer; at != kNowhere; at = peers_.at(at).host_after) {
    auto& peer = peers_.at(at);
    recount(peers_.handle_of(at));
    if (peer.holds_token) {
      release_token(peer);  // it is counted as one that reads for others, or not any more
      take_token(peer);
    }
    if (peer.children_units > 0) children_of_silent(peers_.handle_of(at), now);
    make_dirty(peer.task);
  }
  if (!silent && host.facts.seed) seed_came();
}

// They may want others.
void Brain::children_of_silent(PeerHandle parent, TimePoint now) {
  auto at = tasks_.find(peers_.find(parent)->task)->first_peer;
  for (std::size_t i = 0; i < kPeersAtOnce && at != kNowhere; ++i, at = peers_.at(at).task_after) {
    const auto& child = peers_.at(at);
    if (!child.progress) continue;
    for (const auto& edge : child.progress->parents) {
      if (edge.parent == parent) look_soon(peers_.handle_of(at), now);
    }
  }
}

}  // namespace d7y::scheduler
