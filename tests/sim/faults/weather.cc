// The faults. Each strikes somebody whom the seed chooses, at a moment that the seed chooses.
#include "sim/faults/cast.h"
#include "sim/faults/liar.h"

namespace d7y::sim {

using namespace std::chrono_literals;

const std::vector<Storm::Fault>& Storm::faults() {
  static const std::vector<Fault> kAll = {
      {"crash", &Storm::crash_peer},
      {"power", &Storm::pull_plug},
      {"power-at-a-write", &Storm::pull_plug_soon},
      {"restart", &Storm::restart_peer},
      {"stop", &Storm::stop_peer},
      {"sync", &Storm::sync_store},
      {"scheduler-crash", &Storm::crash_scheduler},
      {"origin-crash", &Storm::crash_origin},
      {"pause", &Storm::pause_peer},
      {"burn", &Storm::burn_peer},
      {"isolate", &Storm::isolate_one},
      {"partition", &Storm::cut_in_two},
      {"heal", &Storm::heal_network},
      {"slow-line", &Storm::slow_line},
      {"lossy-line", &Storm::lossy_line},
      {"write-errors", &Storm::fail_writes},
      {"read-errors", &Storm::fail_reads},
      {"sync-errors", &Storm::fail_syncs},
      {"name-errors", &Storm::fail_names},
      {"disk-full", &Storm::fill_disk},
      {"rot", &Storm::rot_disk},
      {"descriptors", &Storm::few_descriptors},
      {"liar", &Storm::make_liar},
      {"evict", &Storm::evict},
      {"cancel", &Storm::cancel_download},
      {"origin-breaks-off", &Storm::origin_breaks_off},
      {"origin-stalls", &Storm::origin_stalls},
      {"origin-refuses", &Storm::origin_refuses},
      {"origin-ignores-ranges", &Storm::origin_ignores_ranges},
      {"origin-wrong-length", &Storm::origin_lies_about_length},
      {"origin-flips-bits", &Storm::origin_flips_bits},
      {"origin-nonsense", &Storm::origin_talks_nonsense},
      {"origin-changes", &Storm::origin_changes},
      {"clock", &Storm::shift_clock},
  };
  return kAll;
}

// A seed has few kinds of faults, often: all of them at once hide each other.
void Storm::choose_weather() {
  double share = random_.chance(0.3) ? 0.5 : 0.12;
  for (const auto& fault : faults()) {
    if (!random_.chance(share)) continue;
    weather_.push_back(&fault);
    report_.weather += (report_.weather.empty() ? "" : " ") + std::string(fault.name);
  }
}

Member& Storm::anybody() {
  for (int i = 0; i < 4; ++i) {
    auto& member = members_[random_.below(members_.size())];
    if (member.peer->host().running()) return member;
  }
  return members_[random_.below(members_.size())];
}

OriginFile& Storm::some_file() {
  return cluster_.origin().file(contents_[random_.below(contents_.size())]->path);
}

// ---- Machines and processes.

void Storm::kill(Member& member) {
  auto& peer = *member.peer;
  if (!peer.host().running()) return;
  say("{} is killed", peer.host().name());
  if (peer.node() != nullptr) {
    member.killed = kept_of(peer);
  } else {
    member.killed.reset();  // in the middle of its start or end
  }
  peer.kill();
}

void Storm::power_off(Member& member) {
  if (!member.peer->host().has_power()) return;
  say("{} loses power", member.peer->host().name());
  member.killed.reset();
  member.peer->power_off();
}

void Storm::crash_peer() { kill(anybody()); }
void Storm::pull_plug() { power_off(anybody()); }

void Storm::pull_plug_soon() {
  auto& member = anybody();
  if (!member.peer->host().running()) return;
  auto change = 1 + random_.below(60);
  say("{} will lose power at its {}. write from now on", member.peer->host().name(), change);
  member.killed.reset();
  member.peer->host().disk().power_off_at(change);
}

void Storm::restart_peer() {
  for (auto& member : members_) {
    if (!member.peer->host().running()) return come_back(member);
  }
}

void Storm::stop_peer() {
  auto& member = anybody();
  auto& peer = *member.peer;
  if (!peer.host().running() || peer.node() == nullptr) return;
  say("{} is asked to stop", peer.host().name());
  peer.stop();
}

void Storm::sync_store() {
  auto& member = anybody();
  if (!member.peer->host().running() || member.peer->node() == nullptr) return;
  say("{} makes a sync point", member.peer->host().name());
  auto sync = [](Member& who, Storm& storm) -> Task<void> {
    auto now = kept_of(*who.peer);
    auto synced = co_await who.peer->node()->store().sync();
    if (!synced) co_return;
    who.synced = std::move(now);
    storm.say("{} has a sync point", who.peer->host().name());
  };
  member.peer->host().spawn(sync(member, *this));
}

void Storm::crash_scheduler() {
  auto& host = *cluster_.schedulers()[random_.below(cluster_.schedulers().size())];
  ++triggers_;
  if (!host.running()) {
    say("{} comes back", host.name());
    host.start();
    cluster_.start_scheduler(host);
  } else if (random_.chance(0.5)) {
    say("{} is killed", host.name());
    host.kill();
  } else {
    say("{} loses power", host.name());
    host.power_off();
  }
}

void Storm::crash_origin() {
  auto& host = cluster_.origin().host();
  ++triggers_;
  if (!host.running()) {
    say("the origin comes back");
    host.start();
    cluster_.origin().start();
  } else {
    say("the origin dies");
    // A killed process closes its connections properly: the end of content that is as long as its connection.
    const bool nobody_could_tell = std::any_of(contents_.begin(), contents_.end(), [&](const auto& content) {
      return cluster_.origin().file(content->path).framing == OriginFile::Framing::kUntilClose;
    });
    random_.chance(0.5) && !nobody_could_tell ? host.kill() : host.power_off();
  }
}

void Storm::pause_peer() {
  auto& member = anybody();
  auto& host = member.peer->host();
  if (!host.running()) return;
  auto time = random_.up_to(5s);
  say("{} stands still for {} ms", host.name(), time / 1ms);
  member.halted += time;
  host.pause();
  auto boot = host.boot();
  cluster_.sim().fabric().after(time, [&host, boot] {
    if (host.boot() == boot) host.resume();
  });
}

void Storm::burn_peer() {
  auto& member = anybody();
  auto time = random_.up_to(3s);
  say("{} is busy for {} ms", member.peer->host().name(), time / 1ms);
  member.halted += time;
  member.peer->host().burn(time);
}

void Storm::shift_clock() {
  auto& host = anybody().peer->host();
  auto by = random_.up_to(48h) - 24h;
  say("the clock of {} jumps by {} s", host.name(), by / 1s);
  host.shift_clock(by);
}

// ---- The network.

void Storm::isolate_one() {
  auto& host = anybody().peer->host();
  say("{} is cut off", host.name());
  cluster_.sim().fabric().isolate(host);
}

void Storm::cut_in_two() {
  std::vector<Host*> sides[2];
  for (auto& host : cluster_.sim().hosts()) {
    if (host.get() == &cluster_.origin().host()) continue;
    sides[random_.below(2)].push_back(host.get());
  }
  if (random_.chance(0.3)) sides[random_.below(2)].push_back(&cluster_.origin().host());
  say("the network is cut in two, {} machines on one side", sides[0].size());
  cluster_.sim().fabric().partition(sides[0], sides[1]);
  triggers_ += 2;
}

void Storm::heal_network() {
  say("the network is whole again");
  cluster_.sim().fabric().heal();
}

void Storm::slow_line() {
  auto& host = anybody().peer->host();
  auto rate = 1'000 * random_.between(10, 10'000);
  say("the line of {} has {} kB/s", host.name(), rate / 1'000);
  host.set_bandwidth(rate, rate);
}

void Storm::lossy_line() {
  auto& host = anybody().peer->host();
  LinkOptions link;
  link.latency = random_.up_to(150ms);
  link.jitter = random_.up_to(50ms);
  link.loss = random_.chance(0.5) ? 0.05 : 0;
  say("the line of {} has {} ms latency, {} loss", host.name(), link.latency / 1ms, link.loss);
  for (auto& other : cluster_.sim().hosts()) {
    if (other.get() != &host) cluster_.sim().fabric().set_link(host, *other, link);
  }
}

// ---- Disks.

namespace {
constexpr std::string_view kPlaces[] = {"", "content", "journal", "/out/", "index"};
}

void Storm::fail_writes() {
  auto& member = anybody();
  DiskFault fault;
  constexpr FileOp kOps[] = {FileOp::kWrite, FileOp::kWrite, FileOp::kResize, FileOp::kReserve};
  fault.op = kOps[random_.below(4)];
  fault.path = kPlaces[random_.below(5)];
  fault.code = random_.chance(0.5) ? ErrorCode::kIo : ErrorCode::kDiskFull;
  fault.after = random_.below(20);
  fault.count = 1 + random_.below(30);
  fault.probability = random_.chance(0.5) ? 1 : 0.3;
  say("writes on {} to '{}' will fail: {}", member.peer->host().name(), fault.path, name_of(fault.code));
  member.sick_disk = true;
  member.peer->host().disk().inject(fault);
}

void Storm::fail_reads() {
  auto& member = anybody();
  DiskFault fault;
  constexpr FileOp kOps[] = {FileOp::kRead, FileOp::kRead, FileOp::kOpen, FileOp::kStatus, FileOp::kList};
  fault.op = kOps[random_.below(5)];
  fault.path = kPlaces[random_.below(5)];
  fault.after = random_.below(20);
  fault.count = 1 + random_.below(10);
  say("reads on {} from '{}' will fail", member.peer->host().name(), fault.path);
  member.sick_disk = true;
  member.peer->host().disk().inject(fault);
}

void Storm::fail_syncs() {
  auto& member = anybody();
  DiskFault fault;
  fault.op = random_.chance(0.7) ? FileOp::kSync : FileOp::kSyncFolder;
  fault.count = 1 + random_.below(5);
  say("syncs on {} will fail", member.peer->host().name());
  member.sick_disk = true;
  member.peer->host().disk().inject(fault);
}

void Storm::fail_names() {
  auto& member = anybody();
  DiskFault fault;
  constexpr FileOp kOps[] = {FileOp::kRename, FileOp::kLink, FileOp::kRemove, FileOp::kMakeFolder,
                             FileOp::kOpen};
  fault.op = kOps[random_.below(5)];
  fault.count = 1 + random_.below(8);
  fault.after = random_.below(4);
  say("names on {} will fail (operation {})", member.peer->host().name(), static_cast<int>(fault.op));
  member.sick_disk = true;
  member.peer->host().disk().inject(fault);
}

void Storm::fill_disk() {
  auto& member = anybody();
  auto& disk = member.peer->host().disk();
  auto left = random_.below(small_pieces_ ? 600'000 : 12'000'000);
  say("the disk of {} has {} bytes left", member.peer->host().name(), left);
  member.loses_tasks = true;
  member.sick_disk = true;
  disk.options().capacity = disk.used() + left;
}

void Storm::rot_disk() {
  auto& member = anybody();
  say("the disk of {} rots", member.peer->host().name());
  member.sick_disk = member.rots = true;
  member.peer->host().disk().rot(random_.chance(0.7) ? "content" : "", 1 << random_.between(12, 20));
}

void Storm::few_descriptors() {
  auto& host = anybody().peer->host();
  auto most = random_.between(15, 60);
  say("{} may have {} descriptors", host.name(), most);
  host.limit_descriptors(most);
}

void Storm::evict() {
  auto& member = anybody();
  if (!member.peer->host().running() || member.peer->node() == nullptr) return;
  auto& store = member.peer->node()->store();
  member.loses_tasks = true;
  if (random_.chance(0.5)) {
    auto freed = store.make_room(random_.below(1 << 20));
    say("{} makes room: {} bytes", member.peer->host().name(), freed);
  } else {
    auto all = store.list();
    if (all.empty()) return;
    auto& id = all[random_.below(all.size())].id;
    auto removed = store.remove(id);
    say("{} deletes task {}: {}", member.peer->host().name(), id.substr(0, 8),
        removed ? "ok" : "gone already");
  }
}

// ---- Parents that lie, callers that leave.

void Storm::make_liar() {
  auto& member = anybody();
  auto& fabric = cluster_.sim().fabric();
  auto& host = member.peer->host();
  auto seed = random_.next();
  member.liar = true;
  if (random_.chance(0.75)) {
    double share = random_.chance(0.5) ? 0.05 : 0.4;
    say("{} begins to lie about its pieces", host.name());
    auto made = std::make_shared<std::uint64_t>(seed);
    fabric.rewrite(host, 4005, [this, made, share] { return until_calm(liar(mix((*made)++), share)); });
  } else {
    say("bits flip in what {} answers", host.name());
    auto made = std::make_shared<std::uint64_t>(seed);
    auto one_in = random_.chance(0.5) ? 2'000 : 50'000;
    for (std::uint16_t port : {4000, 4005})
      fabric.rewrite(host, port,
                     [this, made, one_in] { return until_calm(bit_flipper(mix((*made)++), one_in)); });
  }
}

// Connections outlive the storm.
Fabric::Rewrite Storm::until_calm(Fabric::Rewrite lies) {
  return [this, lies = std::move(lies)](Bytes bytes) {
    return calm_ ? std::string(as_text(bytes)) : lies(bytes);
  };
}

void Storm::cancel_download() {
  std::vector<Wanted*> running;
  for (auto& wanted : wanted_) {
    if (wanted->fetch && !wanted->fetch->over && !wanted->fetch->crashed()) running.push_back(wanted.get());
  }
  if (running.empty()) return;
  auto& wanted = *running[random_.below(running.size())];
  say("{} gives up its download of {}", wanted.member->peer->host().name(), wanted.content->path);
  wanted.cancelled = true;
  wanted.member->peer->cancel(wanted.fetch);
}

// ---- The origin.

void Storm::origin_breaks_off() {
  OriginFault fault;
  auto at = random_.below(600'000);
  auto& file = some_file();
  // A proper close is the end of content that is as long as its connection: nobody can tell (RFC 9112, 8).
  if (random_.chance(0.5) || file.framing == OriginFile::Framing::kUntilClose) {
    fault.reset_after = at;
  } else {
    fault.close_after = at;
  }
  fault.count = 1 + random_.below(6);
  fault.probability = random_.chance(0.5) ? 1 : 0.5;
  triggers_ += fault.count;
  say("the origin will break off after {} bytes, {} times", at, fault.count);
  file.faults.push_back(fault);
}

void Storm::origin_stalls() {
  OriginFault fault;
  if (random_.chance(0.5)) {
    fault.stall_after = random_.below(300'000);
  } else {
    fault.delay = random_.up_to(40s);
  }
  fault.count = 1 + random_.below(3);
  triggers_ += fault.count;
  say("the origin will stall, {} times", fault.count);
  some_file().faults.push_back(fault);
}

void Storm::origin_refuses() {
  constexpr int kStatuses[] = {403, 404, 416, 429, 500, 503};
  OriginFault fault;
  fault.status = kStatuses[random_.below(6)];
  if (random_.chance(0.4)) fault.retry_after = static_cast<int>(random_.below(20));
  fault.count = random_.chance(0.2) ? kAlways : 1 + random_.below(8);
  triggers_ += 4;
  say("the origin will answer {}", fault.status);
  some_file().faults.push_back(fault);
}

void Storm::origin_ignores_ranges() {
  OriginFault fault;
  fault.ignore_range = true;
  fault.count = random_.chance(0.5) ? kAlways : 1 + random_.below(4);
  triggers_ += 8;
  say("the origin ignores ranges");
  some_file().faults.push_back(fault);
}

void Storm::origin_lies_about_length() {
  OriginFault fault;
  auto by = static_cast<std::int64_t>(random_.below(20'000)) - 10'000;
  if (random_.chance(0.5)) {
    fault.wrong_length = by;
  } else {
    fault.wrong_range = by;
  }
  fault.count = 1 + random_.below(4);
  triggers_ += fault.count;
  say("the origin will say wrong lengths or places, by {}", by);
  auto& content = *contents_[random_.below(contents_.size())];
  content.undetected = true;
  cluster_.origin().file(content.path).faults.push_back(fault);
}

void Storm::origin_flips_bits() {
  auto& content = *contents_[random_.below(contents_.size())];
  auto& file = cluster_.origin().file(content.path);
  if (file.content->empty()) return;
  OriginFault fault;
  fault.flip_at = random_.below(file.content->size());
  fault.count = 1 + random_.below(4);
  say("the origin will flip a bit of {}", content.path);
  content.undetected = true;
  file.faults.push_back(fault);
}

void Storm::origin_talks_nonsense() {
  OriginFault fault;
  fault.garbage = true;
  fault.count = 1 + random_.below(4);
  triggers_ += fault.count;
  say("the origin will talk nonsense, {} times", fault.count);
  some_file().faults.push_back(fault);
}

void Storm::origin_changes() {
  auto& content = *contents_[random_.below(contents_.size())];
  auto& file = cluster_.origin().file(content.path);
  // One that never says what version it has cannot be told from its old self.
  if (file.etag.empty() && file.last_modified.empty()) return;
  say("{} changes at the origin", content.path);
  content.changes = true;
  auto size = random_.chance(0.5) ? file.content->size() : random_.below(600'000);
  file.change(random_bytes(size, random_.next()), fmt::format("\"v{}\"", file.versions.size() + 1));
}

}  // namespace d7y::sim
