// The brain's events: what hosts, peers and seeds say.
#include "scheduler/brain.h"

#include <algorithm>
#include <cmath>

namespace d7y::scheduler {
namespace {

// On one stream. How many it takes is a client's own business (its scheduler.maxScheduleCount, 5 unless it is
// set otherwise; Dragonfly scheduler 0.11); this is for those that would ask for ever.
constexpr std::uint8_t kMostResponses = 100;
constexpr std::size_t kMostBlocked = 64;            // parents a child may refuse at a time
constexpr std::uint32_t kMostSourcePieces = 65536;  // remembered of a task
constexpr std::size_t kMostSourcePiecesInAll = 1 << 20;
constexpr std::size_t kMostDownloadBytes = 256 << 20;            // remembered of all tasks
constexpr std::size_t kMostSites = 65536, kMostOrigins = 65536;  // told apart
constexpr double kFastest = 50e9;          // bytes per second; what is said beyond is no measurement
constexpr std::uint8_t kRateSamples = 64;  // of one child about one parent
constexpr std::size_t kMostOfHost = 128;   // the newest peers among which a host's lost copy is looked for
constexpr Duration kUsedUp = std::chrono::seconds(5);  // a parent that served well is not given again at once

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::uint32_t milliseconds(Duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 0, 0xffffffffLL));
}

}  // namespace

std::string_view name_of(PeerState state) {
  switch (state) {
    case PeerState::kPending: return "Pending";
    case PeerState::kReceivedEmpty: return "ReceivedEmpty";
    case PeerState::kReceivedNormal: return "ReceivedNormal";
    case PeerState::kRunning: return "Running";
    case PeerState::kBackToSource: return "BackToSource";
    case PeerState::kSucceeded: return "Succeeded";
    case PeerState::kFailed: return "Failed";
    default: return "Leave";
  }
}

std::string_view name_of(TaskState state) {
  switch (state) {
    case TaskState::kPending: return "Pending";
    case TaskState::kRunning: return "Running";
    case TaskState::kSucceeded: return "Succeeded";
    default: return "Failed";
  }
}

Brain::Brain(BrainOptions options, std::uint64_t random_seed)
    : options_(options),
      random_state_(random_seed),
      host_ids_(random()),
      task_ids_(random()),
      peer_ids_(random()) {}
Brain::~Brain() = default;

void Brain::set_options(BrainOptions options) {
  const bool same_room = options.children_per_peer == options_.children_per_peer &&
                         options.children_per_seed == options_.children_per_seed;
  options_ = options;
  if (same_room) return;
  for (std::uint32_t at = 0; at < peers_.end(); ++at) {
    if (peers_.live(at)) update_open(at);
  }
}

// Hosts.

std::uint32_t Brain::site_of(const HostFacts& facts) {
  Site site{lower(facts.idc), lower(facts.location)};
  auto key = site.idc.empty() ? std::pair(std::string(), site.location) : std::pair(site.idc, std::string());
  // Names are the hosts' own choice: there is an end to how many are told apart.
  if (sites_.size() >= kMostSites) {
    const auto known = site_ids_.find(key);
    return known != site_ids_.end() ? known->second : 0;
  }
  const auto [entry, fresh] =
      site_ids_.try_emplace(std::move(key), static_cast<std::uint32_t>(sites_.size()));
  if (fresh) sites_.push_back(std::move(site));
  return entry->second;
}

HostHandle Brain::announce_host(HostFacts facts, TimePoint now) {
  auto handle = find_host(facts.id);
  const bool fresh = !handle;
  if (fresh) {
    handle = hosts_.insert();
    host_ids_.insert(host_ids_.key(facts.id), handle.index);
    auto& host = *hosts_.find(handle);
    host.prefix = facts.ip + "-" + facts.hostname + "-";
    host.created = now;
  } else {
    // The id is made of them, so they stay what they were.
    const auto& known = hosts_.find(handle)->facts;
    facts.ip = known.ip;
    facts.hostname = known.hostname;
  }
  auto& host = *hosts_.find(handle);
  const auto site = site_of(facts);
  const bool moved = !fresh && host.site != site;
  const bool serves_otherwise =
      !fresh && (host.facts.disable_shared != facts.disable_shared || host.facts.seed != facts.seed);
  if (moved) {
    // Edges and open parents are filed by site: take them out under the old one.
    for (auto at = host.first_peer; at != kNowhere; at = peers_.at(at).host_after) {
      release_parents(peers_.at(at));
      close(at);
    }
  }
  host.facts = std::move(facts);
  host.site = site;
  const auto uplink = host.facts.max_tx_bandwidth;
  host.uplink = uplink > 1 && uplink < kUnknownBandwidth ? std::log2(static_cast<float>(uplink)) : 0;
  if (!host.facts.seed && host.uplink > 0)
    usual_uplink_ = usual_uplink_ == 0 ? host.uplink : usual_uplink_ + (host.uplink - usual_uplink_) / 64;
  heard(handle, now);
  host.unreachable_until = {};
  if (host.facts.seed && host.seed_position == kNowhere) {
    host.seed_position = static_cast<std::uint32_t>(seeds_.size());
    seeds_.push_back(handle);
  } else if (!host.facts.seed && host.seed_position != kNowhere) {
    seeds_[host.seed_position] = seeds_.back();
    hosts_.find(seeds_.back())->seed_position = host.seed_position;
    seeds_.pop_back();
    host.seed_position = kNowhere;
  }
  if (moved || serves_otherwise) {
    for (auto at = host.first_peer; at != kNowhere; at = peers_.at(at).host_after) {
      recount(peers_.handle_of(at));
      auto& peer = peers_.at(at);
      if (!peer.holds_token) continue;
      release_token(peer);  // it is counted as one that reads for others, or not any more
      take_token(peer);
    }
  }
  if (host.facts.seed) seed_came();
  return handle;
}

bool Brain::delete_host(std::string_view host_id, TimePoint now) {
  const auto handle = find_host(host_id);
  if (!handle) return false;
  remove_host(handle, now);
  return true;
}

// Registration.

std::uint32_t Brain::origin_of(std::string_view name) {
  if (origins_.size() >= kMostOrigins) {
    const auto known = origin_ids_.find(std::string(name));
    return known != origin_ids_.end() ? known->second : static_cast<std::uint32_t>(random() % kMostOrigins);
  }
  const auto [entry, fresh] =
      origin_ids_.try_emplace(std::string(name), static_cast<std::uint32_t>(origins_.size()));
  if (fresh) origins_.emplace_back().name = name;
  return entry->second;
}

// A registration touches records that are far apart: all are asked for before the first is waited for.
Brain::Keys Brain::bring_near(const Registration& registration) const {
  const Keys keys{host_ids_.key(registration.host_id), task_ids_.key(registration.task_id),
                  peer_ids_.key(registration.peer_id)};
  const auto host_at = host_ids_.likely(keys.host), task_at = task_ids_.likely(keys.task);
  if (host_at) hosts_.prefetch_all(*host_at);
  if (task_at) tasks_.prefetch_all(*task_at);
  if (host_at) {
    const auto& host = hosts_.at(*host_at);
    __builtin_prefetch(host.facts.id.data());
    __builtin_prefetch(host.prefix.data());
    if (host.first_peer != kNowhere) peers_.prefetch_all(host.first_peer);
  }
  if (task_at) {
    const auto& task = tasks_.at(*task_at);
    __builtin_prefetch(task.id.data());
    __builtin_prefetch(task.waiting.data());
    for (const auto& site : task.sites) __builtin_prefetch(&site);
    if (task.first_peer != kNowhere) peers_.prefetch_all(task.first_peer);
  }
  return keys;
}

TaskHandle Brain::task_for(const Registration& registration, IdTable::Key key, TimePoint now) {
  auto handle = find_task(registration.task_id, key);
  if (!handle) {
    handle = tasks_.insert();
    task_ids_.insert(key, handle.index);
    auto& task = *tasks_.find(handle);
    task.id = registration.task_id;
    task.origin = origin_of(registration.origin);
    task.created = now;
  }
  auto& task = *tasks_.find(handle);
  task.updated = now;
  // What the content looks like is settled by whoever comes first, until nobody has any of it.
  // Who may not ask the origin may not know it.
  bool unsettled = task.content_length < 0 || (task.usable == 0 && task.tokens == 0);
  if (unsettled && (task.content_length < 0 || registration.content_length >= 0)) {
    task.content_length = registration.content_length;
    task.piece_length = registration.piece_length;
    task.piece_count = registration.piece_count;
  }
  if (!provider_expected(task) && !registration.metadata_only) keep_download(task, registration.download);
  return handle;
}

// Without it no seed is asked, and a peer reads the origin itself.
void Brain::keep_download(TaskRecord& task, std::string_view download) {
  download_bytes_ -= task.download.size();
  task.download.clear();
  if (download_bytes_ + download.size() <= kMostDownloadBytes) task.download = download;
  download_bytes_ += task.download.size();
}

// Whoever asks for what it has by our books has lost it, as a daemon that began anew with an empty store.
// Others would be sent there in vain, and the host itself would wait for its own copy.
void Brain::forget_lost_copy(const Registration& registration, HostHandle host_handle, IdTable::Key task_key,
                             TimePoint now) {
  const auto task = find_task(registration.task_id, task_key);
  if (!task) return;
  const auto& host = *hosts_.find(host_handle);
  if (host.finished == 0) return;
  const bool fewer_of_task = tasks_.find(task)->peers < host.peers;
  auto at = fewer_of_task ? tasks_.find(task)->first_peer : host.first_peer;
  for (std::size_t looked = 0; at != kNowhere && looked < kMostOfHost; ++looked) {
    const auto& peer = peers_.at(at);
    const auto next = fewer_of_task ? peer.task_after : peer.host_after;
    const bool covers =
        !peer.partial() || same_range(peer, registration.range_start, registration.range_length);
    if (peer.host == host_handle && peer.task == task && peer.state == PeerState::kSucceeded && covers)
      remove_peer(peers_.handle_of(at), now);
    at = next;
  }
}

Result<PeerHandle> Brain::register_peer(const Registration& registration, TimePoint now) {
  const auto keys = bring_near(registration);
  const auto host_handle = find_host(registration.host_id, keys.host);
  if (!host_handle) {
    return error(ErrorCode::kNotFound, "host {} is not known here: announce it, then register again",
                 registration.host_id);
  }
  if (const auto other = find_peer(registration.peer_id, keys.peer)) {
    // An id of another host, or of a copy that is there, is nobody's to take.
    const auto& known = *peers_.find(other);
    if (known.has_stream || known.host != host_handle || known.state == PeerState::kSucceeded) {
      return error(ErrorCode::kExists, "peer {} is registered already; use a new id for each download",
                   registration.peer_id);
    }
    remove_peer(other, now);
  }
  if (!registration.metadata_only) forget_lost_copy(registration, host_handle, keys.task, now);
  const auto task_handle = task_for(registration, keys.task, now);
  auto& task = *tasks_.find(task_handle);
  const bool cold = !provider_expected(task) && task.usable == 0;
  if (cold && !registration.need_back_to_source && !registration.metadata_only) {
    if (registration.priority == 1) {
      return error(ErrorCode::kPrecondition, "downloads with priority LEVEL1 are forbidden");
    }
    if (registration.priority == 2) {
      return error(ErrorCode::kNotFound, "no peer has task {}, and priority LEVEL2 does not fetch it",
                   task.id);
    }
  }

  heard(host_handle, now);
  auto& host = *hosts_.find(host_handle);
  const auto handle = peers_.insert();
  auto& peer = *peers_.find(handle);
  peer.name = PeerName(registration.peer_id, host.prefix);
  peer.host = host_handle;
  peer.task = task_handle;
  peer.progress = std::make_unique<Progress>();
  peer.progress->last_piece = now;
  peer.created = peer.updated = now;
  peer.range_start = registration.range_start;
  peer.range_length = registration.range_length;
  peer.concurrent_pieces = registration.concurrent_pieces;
  peer.priority = registration.priority;
  peer.need_back_to_source = registration.need_back_to_source;
  peer.disable_back_to_source = registration.disable_back_to_source;
  peer.has_stream = true;
  // Among unmodified clients a second seed is one of their tree: a mesh would take from its top.
  peer.takes_offers = registration.takes_offers && !(is_more_seed(task, host_handle) && has_tree(task));
  peer_ids_.insert(keys.peer, handle.index);
  link(handle);
  if (task.state != TaskState::kSucceeded) task.state = TaskState::kRunning;

  if (registration.metadata_only) {
    set_state(handle, PeerState::kReceivedNormal, now);
    ++peer.progress->responses;
    actions_.emplace_back(SendMetadataOnly{handle});
  } else if (registration.content_length == 0 ||
             (registration.content_length < 0 && task.content_length == 0)) {
    set_state(handle, PeerState::kReceivedEmpty, now);
    ++peer.progress->responses;
    actions_.emplace_back(SendEmpty{handle});
  } else {
    set_state(handle, PeerState::kReceivedNormal, now);
    if (registration.need_back_to_source) {
      tell_back_to_source(handle, "as asked for", now);
      // A seed of ours reads the origin already: whoever waits for it need not wait until it says so.
      if (registration.takes_offers) set_state(handle, PeerState::kBackToSource, now);
    } else if (cold && registration.priority == 3 && !registration.disable_back_to_source) {
      tell_back_to_source(handle, "priority LEVEL3 goes to the source itself", now);
    } else if (was_asked(peer)) {
      send_seed_to_source(handle, now);
    } else {
      park(handle, options_.patience, now);
    }
  }
  return handle;
}

PeerHandle Brain::restore_copy(const Registration& registration, TimePoint now) {
  const auto keys = bring_near(registration);
  const auto host_handle = find_host(registration.host_id, keys.host);
  if (!host_handle || find_peer(registration.peer_id, keys.peer)) return {};
  const auto task_handle = task_for(registration, keys.task, now);
  if (has_copy(host_handle, task_handle)) return {};
  auto& task = *tasks_.find(task_handle);
  const auto handle = peers_.insert();
  auto& peer = *peers_.find(handle);
  peer.name = PeerName(registration.peer_id, hosts_.find(host_handle)->prefix);
  peer.host = host_handle;
  peer.task = task_handle;
  peer.created = peer.updated = now;
  peer.finished_pieces = task.piece_count;
  peer_ids_.insert(keys.peer, handle.index);
  link(handle);
  set_state(handle, PeerState::kSucceeded, now);
  task.state = TaskState::kSucceeded;
  make_dirty(task_handle);
  return handle;
}

bool Brain::has_copy(HostHandle host_handle, TaskHandle task) const {
  const auto* host = hosts_.find(host_handle);
  if (host == nullptr) return false;
  for (auto at = host->first_peer; at != kNowhere; at = peers_.at(at).host_after) {
    const auto& peer = peers_.at(at);
    if (peer.task == task && peer.state == PeerState::kSucceeded && !peer.partial()) return true;
  }
  return false;
}

// The host finished a download of the task, of all or of a part.
bool Brain::finished_any(const HostRecord& host, TaskHandle task) const {
  for (auto at = host.first_peer; at != kNowhere; at = peers_.at(at).host_after) {
    if (peers_.at(at).task == task && peers_.at(at).state == PeerState::kSucceeded) return true;
  }
  return false;
}

void Brain::tell_back_to_source(PeerHandle handle, std::string_view reason, TimePoint now) {
  auto& peer = *peers_.find(handle);
  unpark(peer);
  release_parents(peer);
  take_token(peer);
  peer.updated = now;
  peer.progress->last_piece = now;
  peer.progress->rescheduling = false;
  ++peer.progress->responses;
  ++tasks_.find(peer.task)->back_to_source_told;
  actions_.emplace_back(SendBackToSource{handle, reason});
}

// What peers say.

// The peer, if its download is in progress. A sign of life of its host.
PeerRecord* Brain::alive(PeerHandle handle, TimePoint now) {
  auto* peer = peers_.find(handle);
  if (peer == nullptr || !peer->progress || peer->terminal()) return nullptr;
  peer->updated = now;
  heard(peer->host, now);
  return peer;
}

void Brain::started(PeerHandle handle, TimePoint now) {
  const auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  if (peer->state == PeerState::kReceivedNormal || peer->state == PeerState::kReceivedEmpty) {
    set_state(handle, PeerState::kRunning, now);
    if (peer->takes_offers) watch(peer->task, now);
  }
}

void Brain::back_to_source_started(PeerHandle handle, TimePoint now) {
  auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  unpark(*peer);
  release_parents(*peer);
  take_token(*peer);
  set_state(handle, PeerState::kBackToSource, now);
}

void Brain::reschedule(PeerHandle handle, TimePoint now) {
  auto* peer = alive(handle, now);
  if (peer == nullptr || peer->waiting) return;
  auto& progress = *peer->progress;
  if (progress.responses >= kMostResponses) {
    return end_with_error(handle, ErrorCode::kPrecondition, "the peer was answered 100 times already", now);
  }
  progress.blocked.erase_if([&](const BlockedParent& block) { return block.until <= now; });
  for (const auto& edge : progress.parents) {
    const bool served = edge.pieces > 0 && !edge.failed;
    if (progress.blocked.size() == kMostBlocked) progress.blocked.erase_first(1);
    BlockedParent block{edge.parent, now + (served ? kUsedUp : options_.block)};
    block.served = served;
    if (const auto* parent = peers_.find(edge.parent); parent != nullptr && !edge.failed) {
      block.pieces = parent->finished_pieces;
      block.to_read = !parent->holds_token;
      if (gave_nothing(*peer, edge)) hosts_.find(parent->host)->health.piece_failed(options_.health, now);
    }
    progress.blocked.push_back(block);
  }
  release_parents(*peer);
  release_token(*peer);
  if (was_asked(*peer)) return send_seed_to_source(handle, now);
  progress.rescheduling = true;
  park(handle, options_.reschedule_patience, now);
}

// Though it has what the child lacks: the child cannot reach it, of which unmodified clients say nothing
// else.
bool Brain::gave_nothing(const PeerRecord& child, const ParentEdge& edge) const {
  const auto& parent = *peers_.find(edge.parent);
  return !child.takes_offers && !child.partial() && child.progress->parents.size() == 1 && edge.pieces == 0 &&
         parent.counted_usable && parent.finished_pieces > child.finished_pieces;
}

ParentEdge* Brain::edge_to(PeerRecord& child, std::string_view parent_id) {
  const PeerIdParts id(parent_id);
  for (auto& edge : child.progress->parents) {
    const auto* parent = peers_.find(edge.parent);
    if (parent == nullptr || !parent->name.may_be(id)) continue;
    if (parent->name.is(id, hosts_.find(parent->host)->prefix)) return &edge;
  }
  return nullptr;
}

void Brain::piece_finished(PeerHandle handle, std::string_view parent_id, const PieceReport& piece,
                           TimePoint now) {
  auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  auto& task = *tasks_.find(peer->task);
  if (task.piece_count > 0 && piece.number >= task.piece_count) return;  // there is no such piece
  if (task.piece_length > 0 && piece.length > task.piece_length) return;
  task.updated = task.moved = now;
  peer->progress->last_piece = now;
  if (task.piece_count == 0 || peer->finished_pieces < task.piece_count) ++peer->finished_pieces;
  auto* edge = edge_to(*peer, parent_id);
  if (edge == nullptr) return;
  if (edge->pieces < 0xff) ++edge->pieces;
  if (piece.length == 0 || piece.cost <= Duration::zero()) return;
  const double rate = std::min(
      kFastest, static_cast<double>(piece.length) / std::chrono::duration<double>(piece.cost).count());
  if (edge->pieces <= kRateSamples && piece.length >= options_.health.tells_rate)
    usual_rate_ = usual_rate_ == 0 ? rate : usual_rate_ + (rate - usual_rate_) / 64;
  hosts_.find(peers_.find(edge->parent)->host)
      ->health.piece_served(piece.length, piece.cost, usual_rate_, options_.health, now);
}

void Brain::back_to_source_piece_finished(PeerHandle handle, const PieceReport& piece, TimePoint now) {
  auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  auto& task = *tasks_.find(peer->task);
  if (task.piece_count > 0 && piece.number >= task.piece_count) return;
  if (task.piece_length > 0 && piece.length > task.piece_length) return;
  task.updated = task.moved = now;
  peer->progress->last_piece = now;
  if (task.piece_count == 0 || peer->finished_pieces < task.piece_count) ++peer->finished_pieces;
  if (task.refused_until > now) {
    // It gives it to some. Who waits may have it from them.
    task.refused_until = {};
    make_dirty(peer->task);
  }

  SourcePiece remembered{piece.number,
                         milliseconds(piece.cost),
                         piece.crc32.value_or(0),
                         piece.crc32.has_value(),
                         piece.offset,
                         piece.length,
                         now};
  const auto at =
      std::lower_bound(task.pieces.begin(), task.pieces.end(), piece.number,
                       [](const SourcePiece& p, std::uint32_t number) { return p.number < number; });
  if (at != task.pieces.end() && at->number == piece.number) {
    *at = remembered;
  } else if (task.pieces.size() < kMostSourcePieces && source_pieces_ < kMostSourcePiecesInAll) {
    task.pieces.insert(at, remembered);
    ++source_pieces_;
  }
}

void Brain::piece_failed(PeerHandle handle, std::string_view parent_id, bool temporary, TimePoint now) {
  auto* peer = alive(handle, now);
  if (peer == nullptr || !temporary) return;
  auto* edge = edge_to(*peer, parent_id);
  if (edge == nullptr || edge->failed) return;  // one child says it once
  edge->failed = true;
  auto& host = *hosts_.find(peers_.find(edge->parent)->host);
  host.health.piece_failed(options_.health, now);
}

void Brain::end(PeerHandle handle, PeerState state, TimePoint now) {
  auto& peer = *peers_.find(handle);
  unpark(peer);
  if (state == PeerState::kFailed) neighbours_lost(peer, now);
  release_parents(peer);
  release_token(peer);
  peer.cost_ms = milliseconds(now - peer.created);
  peer.progress.reset();
  set_state(handle, state, now);
  if (options_.report_copies && state == PeerState::kSucceeded && !peer.partial())
    actions_.emplace_back(CopyKept{handle});
  make_dirty(peer.task);
  auto& task = *tasks_.find(peer.task);
  task.updated = now;
  if (task.usable == 0 && task.tokens == 0 && state == PeerState::kFailed) task.state = TaskState::kFailed;
}

void Brain::end_with_error(PeerHandle handle, ErrorCode code, std::string message, TimePoint now) {
  auto& peer = *peers_.find(handle);
  end(handle, PeerState::kFailed, now);
  if (!peer.has_stream) return;
  peer.has_stream = false;
  actions_.emplace_back(EndStream{handle, code, std::move(message)});
}

void Brain::finished(PeerHandle handle, TimePoint now) {
  auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  auto& task = *tasks_.find(peer->task);
  if (!peer->partial()) peer->finished_pieces = task.piece_count;
  end(handle, PeerState::kSucceeded, now);
  peer->has_stream = false;
  actions_.emplace_back(EndStream{handle, std::nullopt, {}});
}

void Brain::back_to_source_finished(PeerHandle handle, TimePoint now) {
  const auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  auto& task = *tasks_.find(peer->task);
  if (!peer->partial()) {
    task.state = TaskState::kSucceeded;
    task.seeds_failed.clear();
    task.seed_rest_until = {};
    task.refused_until = {};
  }
  finished(handle, now);
}

void Brain::failed(PeerHandle handle, TimePoint now) {
  auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  end(handle, PeerState::kFailed, now);
  peer->has_stream = false;
  actions_.emplace_back(EndStream{handle, std::nullopt, {}});
}

void Brain::back_to_source_failed(PeerHandle handle, bool refused, TimePoint now) {
  const auto* peer = alive(handle, now);
  if (peer == nullptr) return;
  auto& task = *tasks_.find(peer->task);
  if (refused) note_refusal(task, now);
  failed(handle, now);
}

void Brain::stream_lost(PeerHandle handle, TimePoint now) {
  auto* peer = peers_.find(handle);
  if (peer == nullptr) return;
  peer->has_stream = false;
  if (peer->terminal()) return;
  // Of a seed that was asked nothing more is to be expected, though its answer may never end.
  auto& task = *tasks_.find(peer->task);
  if (task.seed_attempt != 0 && peer->host == task.seed) task.seed_attempt = 0;
  if (task.more_attempt != 0 && peer->host == task.more_seed) task.more_attempt = 0;
  end(handle, PeerState::kFailed, now);
}

// Removals and looking.

bool Brain::delete_peer(std::string_view peer_id, TimePoint now) {
  const auto handle = find_peer(peer_id);
  if (!handle) return false;
  remove_peer(handle, now);
  return true;
}

bool Brain::delete_task(std::string_view host_id, std::string_view task_id, TimePoint now) {
  const auto host = find_host(host_id);
  const auto task = find_task(task_id);
  if (!host) return false;
  if (!task) return true;
  auto at = hosts_.find(host)->first_peer;
  while (at != kNowhere) {
    const auto next = peers_.at(at).host_after;
    if (peers_.at(at).task == task) remove_peer(peers_.handle_of(at), now);
    at = next;
  }
  return true;
}

HostHandle Brain::find_host(std::string_view id, IdTable::Key key) const {
  const auto at =
      host_ids_.find(key, [&](std::uint32_t position) { return hosts_.at(position).facts.id == id; });
  return at ? hosts_.handle_of(*at) : HostHandle{};
}
TaskHandle Brain::find_task(std::string_view id, IdTable::Key key) const {
  const auto at = task_ids_.find(key, [&](std::uint32_t position) { return tasks_.at(position).id == id; });
  return at ? tasks_.handle_of(*at) : TaskHandle{};
}
PeerHandle Brain::find_peer(std::string_view id, IdTable::Key key) const {
  const auto at = peer_ids_.find(key, [&](std::uint32_t position) {
    const auto& peer = peers_.at(position);
    return peer.name.is(id, hosts_.find(peer.host)->prefix);
  });
  return at ? peers_.handle_of(*at) : PeerHandle{};
}

std::string Brain::peer_id(const PeerRecord& peer) const {
  return peer.name.text(hosts_.find(peer.host)->prefix);
}

std::vector<PeerHandle> Brain::usable_parents(TaskHandle handle) const {
  std::vector<PeerHandle> found;
  const auto* task = tasks_.find(handle);
  if (task == nullptr) return found;
  for (auto at = task->first_peer; at != kNowhere; at = peers_.at(at).task_after) {
    if (peers_.at(at).counted_usable) found.push_back(peers_.handle_of(at));
  }
  return found;
}

}  // namespace d7y::scheduler
