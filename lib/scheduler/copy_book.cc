#include "scheduler/copy_book.h"

#include <algorithm>

#include "api/validate.h"
#include "base/scope.h"
#include "base/url.h"
#include "scheduler/messages.h"

namespace d7y::scheduler {
namespace {

constexpr std::string_view kTaskPrefix = "task/";
constexpr Duration kRecallTimeout = std::chrono::seconds(2);

std::string group_of(std::string_view task_id) { return std::string(kTaskPrefix) + std::string(task_id); }

// What children and seeds of a later life may be told: no headers, no credentials, no place on a disk.
api::common::Download without_secrets(const TaskRecord& task) {
  api::common::Download known, out;
  (void)known.ParseFromString(task.download);
  const auto url = Url::parse(known.url());
  out.set_url(url ? url->redacted() : "unknown:" + task.id);
  out.set_type(known.type());
  if (known.has_digest()) out.set_digest(known.digest());
  if (known.has_tag()) out.set_tag(known.tag());
  if (known.has_application()) out.set_application(known.application());
  *out.mutable_filtered_query_params() = known.filtered_query_params();
  if (task.content_length >= 0)
    out.set_actual_content_length(static_cast<std::uint64_t>(task.content_length));
  out.set_actual_piece_length(task.piece_length);
  out.set_actual_piece_count(task.piece_count);
  return out;
}

}  // namespace

bool same_host(const HostFacts& a, const HostFacts& b) {
  return a.id == b.id && a.ip == b.ip && a.port == b.port && a.seed == b.seed &&
         a.disable_shared == b.disable_shared && a.idc == b.idc && a.location == b.location &&
         a.interval == b.interval && a.hostname == b.hostname;
}

CopyBook::CopyBook(world::World& world, Brain& brain, Ledger& ledger, Log log)
    : world_(world), brain_(brain), ledger_(ledger), log_(log.in("copies")) {}

bool CopyBook::load(const LedgerEntry& entry) {
  if (entry.group == kHostsGroup) return load_host(entry);
  if (!entry.group.starts_with(kTaskPrefix)) return false;
  const auto task_id = entry.group.substr(kTaskPrefix.size());
  if (!entry.name.empty()) return load_copy(task_id, entry);
  KnownTask known;
  if (known.download.ParseFromString(entry.value)) {
    known.bytes = entry.value;
    known.origin = origin_of_url(known.download.url());
    tasks_[task_id] = std::move(known);
  }
  return true;
}

bool CopyBook::load_host(const LedgerEntry& entry) {
  api::scheduler::AnnounceHostRequest request;
  if (!request.ParseFromString(entry.value) || !api::validate(request) || request.host().id() != entry.name ||
      brain_.find_host(entry.name)) {
    return true;
  }
  brain_.announce_host(host_facts(request), world_.now());
  ++hosts_found_;
  return true;
}

bool CopyBook::load_copy(const std::string& task_id, const LedgerEntry& entry) {
  const auto known = tasks_.find(task_id);
  api::common::Peer peer;
  if (known == tasks_.end() || !peer.ParseFromString(entry.value) || peer.id().empty()) return true;
  const auto& download = known->second.download;
  Registration r;
  r.host_id = entry.name;
  r.task_id = task_id;
  r.peer_id = peer.id();
  r.origin = known->second.origin;
  r.download = known->second.bytes;
  if (download.has_actual_content_length()) {
    r.content_length = static_cast<std::int64_t>(download.actual_content_length());
  }
  r.piece_length = download.actual_piece_length();
  r.piece_count = static_cast<std::uint32_t>(download.actual_piece_count());
  if (brain_.restore_copy(r, world_.now())) ++copies_found_;
  return true;
}

Task<void> CopyBook::recall(std::string task_id) {
  if (!ledger_.shared()) co_return;
  const auto* task = brain_.task(brain_.find_task(task_id));
  if (task != nullptr && (task->usable > 0 || task->tokens > 0 || task->seed_attempt != 0)) co_return;
  if (const auto running = recalling_.find(task_id); running != recalling_.end()) {
    const auto signal = running->second;
    auto waited = co_await signal->wait(Deadline::in(kRecallTimeout, world_.now()));
    (void)waited;
    co_return;
  }
  const auto signal = std::make_shared<Signal>();
  recalling_[task_id] = signal;
  struct Done {
    CopyBook& book;
    const std::string& id;
    Signal& signal;
    ~Done() {
      book.recalling_.erase(id);
      book.tasks_.erase(id);
      signal.notify_all();
    }
  } done{*this, task_id, *signal};
  auto reading = ledger_.read(group_of(task_id));
  auto bounded = within(Deadline::in(kRecallTimeout, world_.now()), std::move(reading));
  auto entries = co_await bounded;
  if (!entries) {
    log_.debug("task {} is not looked up: {}", task_id, entries.error().message());
    co_return;
  }
  // What describes the task itself comes before its copies; names are unique within a group.
  std::sort(entries->begin(), entries->end(),
            [](const LedgerEntry& a, const LedgerEntry& b) { return a.name < b.name; });
  for (const auto& entry : *entries) load(entry);
}

void CopyBook::note_host(const HostFacts& facts) {
  api::scheduler::AnnounceHostRequest request;
  (void)request.mutable_host()->ParseFromString(facts.announcement);
  if (facts.interval > Duration::zero()) api::set_duration(*request.mutable_interval(), facts.interval);
  ledger_.put({std::string(kHostsGroup), facts.id, request.SerializeAsString()});
}

void CopyBook::note(const CopyKept& kept) {
  const auto* peer = brain_.peer(kept.peer);
  if (peer == nullptr) return;
  const auto& task = *brain_.task(peer->task);
  const auto now = world_.now();
  const auto ttl = brain_.options().peer_ttl;
  if (task.kept_until < now + ttl) {
    ledger_.put(
        {group_of(task.id), "", without_secrets(task).SerializeAsString(), world_.wall_now() + 2 * ttl});
    brain_.set_kept_until(peer->task, now + 2 * ttl);
  }
  api::common::Peer message;
  message.set_id(brain_.peer_id(*peer));
  ledger_.put({group_of(task.id), brain_.host(peer->host)->facts.id, message.SerializeAsString(),
               world_.wall_now() + ttl});
}

void CopyBook::note(const CopyGone& gone) { ledger_.erase(group_of(gone.task_id), gone.host_id); }
void CopyBook::note(const HostGone& gone) { ledger_.erase(std::string(kHostsGroup), gone.host_id); }

}  // namespace d7y::scheduler
