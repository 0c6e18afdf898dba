#include "scheduler/messages.h"

#include <algorithm>
#include <limits>

#include "base/digest.h"
#include "base/url.h"
#include "net/http/headers.h"

namespace d7y::scheduler {

HostFacts host_facts(const api::scheduler::AnnounceHostRequest& request) {
  const auto& host = request.host();
  HostFacts facts;
  facts.id = host.id();
  facts.hostname = host.hostname();
  facts.ip = host.ip();
  facts.port = static_cast<std::uint16_t>(host.port());
  facts.seed = host.type() != 0;
  facts.disable_shared = host.disable_shared();
  facts.idc = host.network().idc();
  facts.location = host.network().location();
  facts.max_tx_bandwidth = host.network().max_tx_bandwidth();
  if (request.has_interval())
    facts.interval = std::max(Duration::zero(), api::duration_of(request.interval()));
  facts.announcement = host.SerializeAsString();
  return facts;
}

std::string origin_of_url(std::string_view url) {
  if (const auto parsed = Url::parse(url)) {
    if (parsed->host()) return parsed->scheme() + "://" + parsed->authority();
    return parsed->scheme();
  }
  return std::string(url.substr(0, url.find(':')));
}

void fill_registration(const api::scheduler::AnnouncePeerRequest& request, std::uint8_t priority,
                       bool takes_offers, RegistrationParts& out) {
  const auto& download = request.register_peer_request().download();
  out.origin = origin_of_url(download.url());
  out.bytes = download.SerializeAsString();
  auto& r = out.registration;
  r.host_id = request.host_id();
  r.task_id = request.task_id();
  r.peer_id = request.peer_id();
  r.origin = out.origin;
  r.download = out.bytes;
  // An unset length is not an empty task.
  if (download.has_actual_content_length() &&
      download.actual_content_length() <=
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    r.content_length = static_cast<std::int64_t>(download.actual_content_length());
  }
  r.piece_length =
      download.has_actual_piece_length() ? download.actual_piece_length() : download.piece_length();
  r.piece_count = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(download.actual_piece_count(), std::numeric_limits<std::uint32_t>::max()));
  if (download.has_range()) {
    r.range_start = download.range().start();
    r.range_length = download.range().length();
  }
  r.priority = priority;
  r.takes_offers = takes_offers;
  r.concurrent_pieces = static_cast<std::uint16_t>(
      download.has_concurrent_piece_count() ? std::min(download.concurrent_piece_count(), 1024U) : 8);
  r.need_back_to_source = download.need_back_to_source();
  r.disable_back_to_source = download.disable_back_to_source();
  r.metadata_only = download.metadata_only();
}

PieceReport piece_report(const api::common::Piece& piece) {
  PieceReport report;
  report.number = piece.number();
  report.offset = piece.offset();
  report.length = piece.length();
  report.cost = api::duration_of(piece.cost());
  return report;
}

PieceReport source_piece_report(const api::common::Piece& piece) {
  auto report = piece_report(piece);
  if (const auto digest = Digest::parse(piece.digest()); digest && digest->kind() == HashKind::kCrc32) {
    report.crc32 = static_cast<std::uint32_t>(std::stoul(digest->encoded()));
  }
  return report;
}

api::common::Host host_message(const HostRecord& host, bool brief) {
  api::common::Host message;
  (void)message.ParseFromString(host.facts.announcement);  // our own bytes
  if (brief) {
    message.clear_cpu();
    message.clear_memory();
    message.clear_disk();
  }
  return message;
}

api::common::Task task_message(const TaskRecord& task, const Clocks& clocks) {
  api::common::Download download;
  (void)download.ParseFromString(task.download);
  api::common::Task message;
  message.set_id(task.id);
  message.set_type(download.type());
  const auto url = Url::parse(download.url());
  message.set_url(url ? url->redacted() : "unknown:" + task.id);
  if (download.has_digest()) message.set_digest(download.digest());
  if (download.has_tag()) message.set_tag(download.tag());
  if (download.has_application()) message.set_application(download.application());
  *message.mutable_filtered_query_params() = download.filtered_query_params();
  message.set_content_length(static_cast<std::uint64_t>(task.content_length));
  message.set_piece_count(task.piece_count);
  message.set_size_scope(task.content_length < 0      ? api::common::UNKNOW
                         : task.content_length == 0   ? api::common::EMPTY
                         : task.content_length <= 128 ? api::common::TINY
                         : task.piece_count == 1      ? api::common::SMALL
                                                      : api::common::NORMAL);
  message.set_state(std::string(name_of(task.state)));
  message.set_peer_count(task.peers);
  message.set_has_available_peer(task.usable > 0);
  api::set_time(*message.mutable_created_at(), clocks.at(task.created));
  api::set_time(*message.mutable_updated_at(), clocks.at(task.updated));
  return message;
}

void add_source_pieces(const TaskRecord& task, const Clocks& clocks, api::common::Task& to) {
  for (const auto& piece : task.pieces) {
    auto& message = *to.add_pieces();
    message.set_number(piece.number);
    message.set_offset(piece.offset);
    message.set_length(piece.length);
    if (piece.has_crc32) message.set_digest(Digest::crc32(piece.crc32).to_string());
    message.set_traffic_type(api::common::BACK_TO_SOURCE);
    api::set_duration(*message.mutable_cost(), std::chrono::milliseconds(piece.cost_ms));
    api::set_time(*message.mutable_created_at(), clocks.at(piece.created));
  }
}

namespace {

void fill_peer(const Brain& brain, const PeerRecord& peer, const Clocks& clocks, api::common::Peer& message) {
  message.set_id(brain.peer_id(peer));
  if (peer.partial()) {
    message.mutable_range()->set_start(peer.range_start);
    message.mutable_range()->set_length(peer.range_length);
  }
  message.set_priority(static_cast<api::common::Priority>(peer.priority));
  api::set_duration(*message.mutable_cost(), std::chrono::milliseconds(peer.cost_ms));
  message.set_state(std::string(name_of(peer.state)));
  message.set_need_back_to_source(peer.need_back_to_source);
  message.set_concurrent_piece_count(peer.concurrent_pieces);
  api::set_time(*message.mutable_created_at(), clocks.at(peer.created));
  api::set_time(*message.mutable_updated_at(), clocks.at(peer.updated));
}

}  // namespace

api::common::Peer peer_message(const Brain& brain, const PeerRecord& peer, const Clocks& clocks) {
  api::common::Peer message;
  fill_peer(brain, peer, clocks, message);
  const auto& task = *brain.task(peer.task);
  *message.mutable_task() = task_message(task, clocks);
  add_source_pieces(task, clocks, *message.mutable_task());
  *message.mutable_host() = host_message(*brain.host(peer.host), false);
  return message;
}

api::scheduler::AnnouncePeerResponse parents_message(const Brain& brain, const SendParents& action,
                                                     const Clocks& clocks) {
  api::scheduler::AnnouncePeerResponse response;
  auto& normal = *response.mutable_normal_task_response();
  std::optional<api::common::Task> task;
  for (const auto handle : action.parents) {
    const auto* parent = brain.peer(handle);
    if (parent == nullptr) continue;
    if (!task) task = task_message(*brain.task(parent->task), clocks);
    auto& message = *normal.add_candidate_parents();
    fill_peer(brain, *parent, clocks, message);
    *message.mutable_task() = *task;
    *message.mutable_host() = host_message(*brain.host(parent->host), true);
  }
  return response;
}

namespace {

// Of the download of another child everything but the range is the same.
void set_range(api::common::Download& download, std::uint64_t start, std::uint64_t length) {
  const auto& known = download.range();
  if (download.has_range() ? known.start() == start && known.length() == length : length == 0) return;
  auto& headers = *download.mutable_request_header();
  for (auto at = headers.begin(); at != headers.end();)
    at = http::same_name(at->first, "range") ? headers.erase(at) : std::next(at);
  download.clear_range();
  if (length == 0) return;
  download.mutable_range()->set_start(start);
  download.mutable_range()->set_length(length);
}

}  // namespace

api::dfdaemon::DownloadTaskRequest seed_request(const TaskRecord& task, const TriggerSeed& trigger) {
  api::dfdaemon::DownloadTaskRequest request;
  auto& download = *request.mutable_download();
  (void)download.ParseFromString(task.download);
  // If it is the child that must not ask the origin: the seed is there to do it.
  download.set_need_back_to_source(!trigger.from_peers);
  download.set_disable_back_to_source(trigger.from_peers);
  download.clear_output_path();
  set_range(download, trigger.range_start, trigger.range_length);
  download.set_need_piece_content(false);  // nobody here would read it
  return request;
}

}  // namespace d7y::scheduler
