// The promises, looked at from outside of the code that makes them.
#include <algorithm>

#include "scheduler/service.h"
#include "sim/faults/cast.h"

namespace d7y::sim {

using namespace std::chrono_literals;

namespace {

// The part of `whole` that was asked for.
std::string_view part_of(const std::string& whole, const FetchOptions& options) {
  std::string_view part(whole);
  if (!options.range) return part;
  auto [offset, length] = *options.range;
  return offset < part.size() ? part.substr(offset, length) : std::string_view();
}

std::string path_of(const std::string& url) {
  auto slash = url.find('/', std::string_view("http://").size());
  return slash == std::string::npos ? "/" : url.substr(slash);
}

}  // namespace

const Content* Storm::content_of(const store::TaskFacts& task) const {
  for (const auto& keeping : keepings_) {
    if (keeping->import && keeping->import->task == task.id) return keeping->content;
  }
  const auto path = path_of(task.url);
  const auto found = std::find_if(contents_.begin(), contents_.end(),
                                  [&](const auto& content) { return content->path == path; });
  return found == contents_.end() ? nullptr : found->get();
}

// Whether an export must succeed: its only scheduler knows somebody who has the content and can give it.
bool Storm::is_certain(const Keeping& keeping) {
  if (cluster_.schedulers().size() != 1) return false;  // what one knows the others do not
  auto* scheduler = cluster_.scheduler(*cluster_.schedulers().front());
  if (scheduler == nullptr) return false;
  const auto& id = keeping.import->task;
  const auto* task = scheduler->service().replicas().task({scheduler::ReplicaKind::kPersistentCache, id});
  if (task == nullptr) return false;
  return std::any_of(members_.begin(), members_.end(), [&](Member& member) {
    auto* node = member.peer->node();
    const bool unfit = member.sick_disk || member.rots || member.liar || member.peer->stopping();
    if (node == nullptr || unfit) return false;
    const auto here = node->store().summary(id);
    if (!here || !here->finished) return false;
    return std::any_of(task->peers.begin(), task->peers.end(), [&](const auto& peer) {
      return peer.second.host_id == node->host_id() &&
             peer.second.state == scheduler::ReplicaState::kSucceeded;
    });
  });
}

Kept Storm::kept_of(Peer& peer) {
  Kept kept;
  for (auto& task : peer.node()->store().list()) {
    if (task.pieces > 0) kept[task.id] = task.pieces;
  }
  return kept;
}

// Reads every complete piece as it lies on the disk, and after a crash compares with what must have survived.
Task<void> Storm::look_into_store(Member& member, bool after_crash) {
  auto& peer = *member.peer;
  auto& host = peer.host();
  auto killed = after_crash ? std::exchange(member.killed, std::nullopt) : std::nullopt;
  auto synced = member.synced;
  while (peer.node() == nullptr) {
    if (peer.failure() || peer.stopped()) co_return;
    co_await sleep_for(100us);
  }
  auto& store = peer.node()->store();
  Kept found;
  for (auto& summary : store.list()) {
    auto id = summary.id;
    auto handle = co_await store.find(id);
    if (peer.node() == nullptr) co_return;
    if (!handle) continue;
    auto task = std::move(*handle);
    const auto& pieces = task->pieces();
    found[id] = static_cast<std::uint32_t>(pieces.count());
    const auto* content = content_of(task->facts());
    if (content == nullptr || content->undetected) continue;
    if (pieces.count() == 0) continue;
    auto bytes = host.disk().content(task->file()->path());
    const auto& versions = cluster_.origin().file(content->path).versions;
    bool right = std::any_of(versions.begin(), versions.end(), [&](auto& version) {
      for (std::uint32_t number = 0; number < pieces.words().size() * 64; ++number) {
        if (!pieces.test(number)) continue;
        auto piece = task->piece(number);
        if (piece->offset + piece->length > version->size() || piece->offset + piece->length > bytes.size())
          return false;
        if (version->compare(piece->offset, piece->length, bytes, piece->offset, piece->length) != 0)
          return false;
      }
      return true;
    });
    if (!right)
      promise_broken("the store of {} holds wrong bytes of {} as complete", host.name(), content->path);
  }
  if (!after_crash || member.sick_disk || member.loses_tasks) co_return;
  for (auto* kept : {&killed, &synced}) {
    if (!*kept) continue;
    for (auto& [id, pieces] : **kept) {
      bool changed = std::any_of(contents_.begin(), contents_.end(), [](auto& c) { return c->changes; });
      if (found[id] >= pieces || changed) continue;
      promise_broken("{} had {} pieces of task {} {}, and has {} now", host.name(), pieces, id.substr(0, 8),
                     kept == &killed ? "when it was killed" : "at its last sync point", found[id]);
    }
  }
}

void Storm::look_into_stores() {
  for (auto& member : members_) {
    auto& peer = *member.peer;
    if (!peer.host().running() || peer.node() == nullptr) continue;
    peer.host().spawn(look_into_store(member, false));
  }
  // A seed may still be at work for somebody who has it all by now, as long as an origin may be silent
  // (download.pieceTimeout, for each of two tries).
  const auto at_work = [&] {
    return std::any_of(members_.begin(), members_.end(), [](const auto& member) {
      auto& peer = *member.peer;
      return peer.config().seed_peer && peer.host().running() && peer.node() != nullptr &&
             peer.node()->engine().running() > 0;
    });
  };
  cluster_.run_for(30s);
  for (int i = 0; i < 25 && at_work(); ++i) cluster_.run_for(30s);
  for (auto& member : members_) {
    auto& peer = *member.peer;
    if (!peer.host().running() || peer.node() == nullptr) continue;
    if (peer.node()->engine().running() > 0) {
      promise_broken("{} still counts {} running downloads", peer.host().name(),
                     peer.node()->engine().running());
    }
    auto stats = peer.node()->store().stats();
    if (stats.pinned + stats.in_flight > 0) {
      promise_broken("the store of {} still has {} tasks pinned, {} pieces in flight", peer.host().name(),
                     stats.pinned, stats.in_flight);
    }
  }
}

void Storm::judge(Keeping& keeping) {
  if (!keeping.import || keeping.import->crashed()) return;
  const auto& import = *keeping.import;
  const auto who =
      fmt::format("{}, importing {}", keeping.member->peer->host().name(), keeping.content->path);
  if (!import.over) return promise_broken("{}: never ended", who);
  const auto late =
      import.ended - import.began - keeping.timeout - (keeping.member->halted - keeping.halted_before);
  if (late > 1s) promise_broken("{}: ended {} ms after its deadline", who, late / 1ms);
  if (!import.failure) return;
  if (import.failure->message().empty()) promise_broken("{}: failed without a word", who);
  if (import.failure->code() == ErrorCode::kInternal)
    promise_broken("{}: failed with an internal error: {}", who, import.failure->message());
}

void Storm::judge(Wanted& wanted) {
  if (!wanted.fetch) return;
  auto& fetch = *wanted.fetch;
  auto& host = wanted.member->peer->host();
  auto who = fmt::format("{}, {}", host.name(), wanted.content->path);
  if (fetch.crashed()) {
    ++report_.crashed;
    return;
  }
  if (!fetch.over) return promise_broken("{}: never ended", who);
  if (wanted.cancelled) {
    ++report_.cancelled;
  } else {
    auto late =
        fetch.ended - fetch.began - wanted.options.timeout - (wanted.member->halted - wanted.halted_before);
    if (late > 1s) promise_broken("{}: ended {} ms after its deadline", who, late / 1ms);
  }
  const auto& versions = cluster_.origin().file(wanted.content->path).versions;
  if (fetch.failure) {
    ++report_.failed;
    if (fetch.failure->message().empty()) promise_broken("{}: failed without a word", who);
    if (fetch.failure->code() == ErrorCode::kInternal)
      promise_broken("{}: failed with an internal error: {}", who, fetch.failure->message());
    if (fetch.failure->code() == ErrorCode::kCancelled && !wanted.cancelled)
      promise_broken("{}: was cancelled by nobody: {}", who, fetch.failure->message());
    if (fetch.read_to_end && wanted.wrong_digest)
      promise_broken("{}: read to the end, though the digest was wrong", who);
    return;
  }
  ++report_.right;
  if (wanted.wrong_digest) return promise_broken("{}: ended well, though its digest was wrong", who);
  if (wanted.content->undetected && wanted.options.digest.empty()) return;
  if (wanted.member->rots) return;
  auto matches = [&](std::string_view bytes) {
    return std::any_of(versions.begin(), versions.end(),
                       [&](auto& version) { return bytes == part_of(*version, wanted.options); });
  };
  if (wanted.options.read && !matches(fetch.bytes)) {
    promise_broken("{}: {} wrong bytes were read in a response that ended well", who, fetch.bytes.size());
  }
}

// What lies at an output's name is right, whatever became of the download that put it there.
void Storm::judge_outputs() {
  for (auto& wanted : wanted_) {
    if (!wanted->fetch || wanted->fetch->output.empty()) continue;
    auto& fetch = *wanted->fetch;
    auto& host = wanted->member->peer->host();
    auto who = fmt::format("{}, {} at {}", host.name(), wanted->content->path, fetch.output);
    // After a power failure what was never synced may be anything; the next download verifies it.
    bool since_boot = host.boot() == fetch.boot;
    if (!since_boot) continue;
    bool there = host.disk().exists(fetch.output);
    if (fetch.ok() && !there) promise_broken("{}: is not there, though it ended well", who);
    if (fetch.over && fetch.failure && there && !wanted->cancelled)
      promise_broken("{}: is there, though it failed: {}", who, fetch.failure->message());
    if (!there || wanted->member->rots) continue;
    if (wanted->content->undetected && wanted->options.digest.empty()) continue;
    auto bytes = host.disk().content(fetch.output);
    const auto& versions = cluster_.origin().file(wanted->content->path).versions;
    bool right = std::any_of(versions.begin(), versions.end(),
                             [&](auto& version) { return bytes == part_of(*version, wanted->options); });
    if (!right) promise_broken("{}: holds {} wrong bytes", who, bytes.size());
  }
}

void Storm::judge_origin() {
  auto& origin = cluster_.origin();
  report_.origin_bytes = origin.body_bytes();
  std::map<std::string, Member*> shy;
  for (auto& member : members_) {
    if (!member.asks_origin) shy[member.peer->host().addresses().front().ip()] = &member;
  }
  for (const auto& request : origin.log()) {
    auto found = shy.find(request.client);
    if (found == shy.end()) continue;
    promise_broken("{} asked the origin for {}, though it must not", found->second->peer->host().name(),
                   request.target);
    break;
  }
  for (auto& content : contents_) {
    const auto& file = origin.file(content->path);
    std::uint64_t size = 0;
    for (const auto& version : file.versions) size = std::max<std::uint64_t>(size, version->size());
    // Alone, each download that may ask the origin reads it once, each seed once for others. Twice, where an
    // origin answers a look at the first byte with everything, or where what came from peers proves wrong in
    // the end. And each fault that takes away what was read makes one of them begin again.
    auto readers = static_cast<std::size_t>(
        std::count_if(members_.begin(), members_.end(), [](const Member& member) { return member.seed; }));
    for (const auto& wanted : wanted_) {
      readers += wanted->content == content.get() && wanted->fetch && !wanted->options.disable_back_to_source;
    }
    const auto most = 2 * readers + triggers_;
    if (size == 0) continue;
    auto times = static_cast<double>(file.body_bytes) / static_cast<double>(size);
    report_.origin_use = std::max(report_.origin_use, times / static_cast<double>(most));
    if (times > static_cast<double>(most)) {
      promise_broken("{} was read {:.1f} times from the origin, {} are explained", content->path, times,
                     most);
    }
  }
}

void Storm::judge_schedulers() {
  for (auto* host : cluster_.schedulers()) {
    auto* node = cluster_.scheduler(*host);
    if (node == nullptr) continue;
    auto wrong = node->service().brain().check(host->now());
    if (!wrong.empty()) promise_broken("{}: its books are wrong: {}", host->name(), wrong);
    wrong = node->service().replicas().check();
    if (!wrong.empty()) promise_broken("{}: its books of copies are wrong: {}", host->name(), wrong);
  }
}

void Storm::judge_leaks() {
  auto left = cluster_.shut_down();
  if (!left.empty()) promise_broken("left behind: {}", left);
  for (auto& member : members_) {
    auto& peer = *member.peer;
    if (peer.host().running() && peer.node() != nullptr)
      promise_broken("{} does not stop", peer.host().name());
  }
  // Nobody is there any more: nobody waits, and no slot is taken.
  for (auto* host : cluster_.schedulers()) {
    auto* node = cluster_.scheduler(*host);
    if (node == nullptr) continue;
    auto& brain = node->service().brain();
    auto wrong = brain.check(host->now());
    if (!wrong.empty()) promise_broken("{}: its books are wrong in the end: {}", host->name(), wrong);
    if (brain.waiting() > 0) promise_broken("{}: {} peers wait in the end", host->name(), brain.waiting());
  }
}

}  // namespace d7y::sim
