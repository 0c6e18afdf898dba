#include "sim/faults/storm.h"

#include <algorithm>

#include "sim/faults/cast.h"

namespace d7y::sim {

using namespace std::chrono_literals;

namespace {
constexpr Duration kStorm = 8s;       // faults strike within
constexpr Duration kPatience = 240s;  // nothing takes longer than this
constexpr std::uint64_t kSmallPiece = 64 << 10;

SimulationOptions weather_of(std::uint64_t seed) {
  SimulationOptions options;
  Random random(mix(seed ^ 0x11eb));
  options.fabric.link.latency = random.chance(0.5) ? Duration(250us) : random.up_to(20ms);
  options.fabric.link.jitter = options.fabric.link.latency;
  options.fabric.link.loss = random.chance(0.2) ? 0.002 : 0;
  // Small, so that things meet in the middle of each other.
  if (random.chance(0.5)) options.fabric.segment = 16 << 10;
  return options;
}
}  // namespace

Storm::Storm(const StormOptions& options)
    : options_(options),
      cluster_(options.seed, weather_of(options.seed)),
      random_(mix(options.seed ^ 0x5702)),
      keeping_random_(mix(options.seed ^ 0x1eeb)) {
  report_.seed = options.seed;
  if (options.timeline) cluster_.sim().timeline().keep_lines(1'000'000, false);
}

void Storm::cast() {
  auto schedulers = random_.chance(0.6) ? 1U : 2U;
  auto seeds = random_.between(1, 3);
  small_pieces_ = !random_.chance(0.03);
  scheduler::SchedulerConfig config;
  if (options_.seed % 3 != 0) config.hot_task = 6;  // some of these want the same
  for (auto i = 0U; i < schedulers; ++i) cluster_.add_scheduler(config);
  auto count = options_.nodes - schedulers;
  for (std::size_t i = 0; i < count; ++i) {
    bool seed = i < seeds;
    HostOptions host;
    host.receives = random_.chance(0.5);
    // Pieces are short here; all that comes is lent.
    host.terms = {.least = 1, .burst = 1, .per_mib = 1s};
    auto& peer = seed ? cluster_.add_seed(host) : cluster_.add_peer(host);
    if (small_pieces_) {
      peer.engine().piece_length = kSmallPiece;
      peer.engine().small_content = random_.chance(0.5) ? 0 : kSmallPiece;
      peer.engine().source_run = 4 * kSmallPiece;
      peer.engine().first_request = 2 * kSmallPiece;
    }
    auto& member = members_.emplace_back();
    member.peer = &peer;
    member.seed = member.asks_origin = seed;
  }
}

void Storm::write_contents() {
  auto count = random_.between(1, 4);
  for (std::uint64_t i = 0; i < count; ++i) {
    auto& content = *contents_.emplace_back(std::make_unique<Content>());
    content.path = fmt::format("/{}", static_cast<char>('a' + i));
    std::uint64_t piece = small_pieces_ ? kSmallPiece : 4_MiB;
    std::uint64_t size = 0;
    switch (random_.below(12)) {
      case 0: break;
      case 1: size = 1; break;
      case 2: size = piece; break;
      case 3: size = piece + 1; break;
      case 4: size = 3 * piece; break;
      default: size = random_.below((small_pieces_ ? 8 : 2) * piece);
    }
    auto& file = cluster_.origin().serve(content.path, random_bytes(size, random_.next()));
    if (random_.chance(0.1)) file.ranges = false;
    if (random_.chance(0.1)) file.head = false;
    if (random_.chance(0.1)) file.etag.clear();
    if (random_.chance(0.1)) file.last_modified.clear();
    if (random_.chance(0.1)) file.framing = OriginFile::Framing::kChunked;
    if (random_.chance(0.05)) file.framing = OriginFile::Framing::kUntilClose;
    if (random_.chance(0.3)) file.rate = random_.between(100'000, 5'000'000);
    say("{} has {} bytes{}", content.path, size,
        file.framing == OriginFile::Framing::kLength ? "" : ", which the origin does not say");
  }
}

void Storm::plan_downloads(std::size_t count, Duration within, bool after_the_storm) {
  std::vector<std::pair<Duration, Wanted*>> plan;
  for (std::size_t i = 0; i < count; ++i) {
    auto& wanted = *wanted_.emplace_back(std::make_unique<Wanted>());
    wanted.member = &members_[random_.below(members_.size())];
    wanted.content = contents_[random_.below(contents_.size())].get();
    wanted.after_the_storm = after_the_storm;
    auto& options = wanted.options;
    auto& file = cluster_.origin().file(wanted.content->path);
    auto size = file.content->size();
    bool whole_length = file.framing == OriginFile::Framing::kLength;
    options.timeout = after_the_storm ? Duration(120s) : Duration(5s) + random_.up_to(75s);
    options.read = random_.chance(0.25);
    if (random_.chance(0.12) && size > 0 && whole_length) {
      auto offset = random_.below(size);
      options.range = {offset, 1 + random_.below(size - offset)};
    } else if (random_.chance(0.3)) {
      Hasher hasher(HashKind::kSha256);
      hasher.update(as_bytes(*file.content));
      wanted.wrong_digest = random_.chance(0.08);
      options.digest = Digest::of(hasher).to_string();
      if (wanted.wrong_digest) options.digest.back() = options.digest.back() == '0' ? '1' : '0';
    }
    options.disable_back_to_source = !after_the_storm && random_.chance(0.12);
    // A wrong digest throws away what others count on, so does a changed file.
    if (!options.disable_back_to_source) wanted.member->asks_origin = true;
    if (wanted.wrong_digest) wanted.member->loses_tasks = true;
    plan.emplace_back(random_.up_to(within), &wanted);
  }
  for (auto& [when, wanted] : plan) {
    cluster_.sim().fabric().after(when, [this, wanted = wanted] { begin(*wanted); });
  }
}

// Files that some members import, and others want.
void Storm::plan_keepings() {
  auto& random = keeping_random_;
  if (!random.chance(0.4)) return;
  const auto count = random.between(1, 2);
  for (std::uint64_t i = 0; i < count; ++i) {
    auto& content = *kept_contents_.emplace_back(std::make_unique<Content>());
    content.path = fmt::format("/kept-{}", i);
    const std::uint64_t sizes[] = {0, 1, 4_MiB, 4_MiB + 1, random.below(12_MiB)};
    cluster_.origin().serve(content.path, random_bytes(sizes[random.below(5)], random.next()));
    auto& keeping = *keepings_.emplace_back(std::make_unique<Keeping>());
    keeping.content = &content;
    keeping.member = &members_[random.below(members_.size())];
    keeping.member->loses_tasks = true;  // an import begins by throwing an older copy away
    keeping.copies = static_cast<std::uint32_t>(random.between(1, 4));
    keeping.timeout = 10s + random.up_to(60s);
    cluster_.sim().fabric().after(random.up_to(kStorm / 2), [this, &keeping] { begin_import(keeping); });
    for (auto wishes = random.below(6); wishes > 0; --wishes)
      plan_export(keeping, random.up_to(kStorm), false);
  }
}

void Storm::plan_export(Keeping& keeping, Duration when, bool after_the_storm) {
  auto& random = keeping_random_;
  auto& wanted = *wanted_.emplace_back(std::make_unique<Wanted>());
  wanted.keeping = &keeping;
  wanted.content = keeping.content;
  wanted.member = &members_[random.below(members_.size())];
  wanted.after_the_storm = after_the_storm;
  wanted.options.disable_back_to_source = true;
  wanted.options.timeout = after_the_storm ? Duration(120s) : Duration(5s) + random.up_to(75s);
  wanted.options.read = random.chance(0.25);
  cluster_.sim().fabric().after(when, [this, &wanted] { begin(wanted); });
}

void Storm::begin_import(Keeping& keeping) {
  auto& peer = *keeping.member->peer;
  if (!peer.host().running() || peer.node() == nullptr || peer.stopping()) return;
  const auto path = "/out" + keeping.content->path;
  const auto& content = *cluster_.origin().file(keeping.content->path).content;
  peer.host().disk().put(path, content);
  if (peer.host().disk().content(path) != content) return;  // a full disk
  keeping.halted_before = keeping.member->halted;
  keeping.import = peer.import(path, keeping.copies, keeping.timeout);
  say("{} imports {}, to be kept by {}", peer.host().name(), keeping.content->path, keeping.copies);
}

void Storm::begin(Wanted& wanted) {
  auto& peer = *wanted.member->peer;
  if (!peer.host().running() || peer.stopping() || peer.stopped()) return;
  if (wanted.keeping != nullptr) {
    if (!wanted.keeping->import || !wanted.keeping->import->ok()) return;
    wanted.options.task = wanted.keeping->import->task;
    wanted.certain = wanted.after_the_storm && is_certain(*wanted.keeping);
  }
  wanted.halted_before = wanted.member->halted;
  wanted.fetch = peer.fetch(wanted.content->path, wanted.options);
  ++report_.downloads;
  const auto& options = wanted.options;
  say("{} wants {} within {} s{}{}{}{}", peer.host().name(), wanted.content->path, options.timeout / 1s,
      options.read ? ", reading" : "",
      options.range ? fmt::format(", {} bytes from {}", options.range->second, options.range->first) : "",
      options.digest.empty() ? ""
      : wanted.wrong_digest  ? ", with a wrong digest"
                             : ", with its digest",
      options.disable_back_to_source ? ", not from the origin" : "");
}

void Storm::come_back(Member& member) {
  auto& peer = *member.peer;
  say("{} comes back", peer.host().name());
  peer.host().disk().keep_power();
  peer.restart();
  peer.host().spawn(look_into_store(member, true));
}

// Most of what broke is mended, so that everybody can get everything.
void Storm::clear_up() {
  say("---- the storm is over");
  calm_ = true;
  cluster_.sim().fabric().heal();
  for (auto* host : cluster_.schedulers()) {
    if (host->running()) continue;
    host->start();
    cluster_.start_scheduler(*host);
  }
  if (!cluster_.origin().host().running()) {
    cluster_.origin().host().start();
    cluster_.origin().start();
  }
  for (auto& content : contents_) cluster_.origin().file(content->path).faults.clear();
  for (auto& member : members_) {
    auto& host = member.peer->host();
    host.resume();
    host.disk().clear_faults();
    host.disk().keep_power();
    host.disk().options().capacity = 1ULL << 40;
    host.limit_descriptors(65536);
    host.set_bandwidth(125'000'000, 125'000'000);
    for (std::uint16_t port : {4000, 4005}) cluster_.sim().fabric().rewrite(host, port, nullptr);
    if (host.running() && member.peer->node() == nullptr &&
        (member.peer->failure() || member.peer->stopped())) {
      member.killed.reset();
      host.kill();
    }
    if (!host.running() && (member.seed || random_.chance(0.8))) come_back(member);
  }
  for (auto& a : cluster_.sim().hosts()) {
    for (auto& b : cluster_.sim().hosts()) {
      if (a->id() < b->id()) cluster_.sim().fabric().set_link(*a, *b, cluster_.sim().fabric().options().link);
    }
  }
}

bool Storm::all_over() const {
  const bool imported = std::all_of(keepings_.begin(), keepings_.end(), [](auto& keeping) {
    return !keeping->import || keeping->import->over || keeping->import->crashed();
  });
  return imported && std::all_of(wanted_.begin(), wanted_.end(), [](auto& wanted) {
           return !wanted->fetch || wanted->fetch->over || wanted->fetch->crashed();
         });
}

StormReport Storm::run() {
  auto& sim = cluster_.sim();
  cast();
  write_contents();
  choose_weather();
  say("weather: {}", report_.weather);
  cluster_.start(random_.up_to(2s));

  plan_downloads(25 + random_.below(35), kStorm / 2, false);
  plan_keepings();
  auto strikes = weather_.empty() ? 0 : random_.between(5, 40);
  for (std::uint64_t i = 0; i < strikes; ++i) {
    sim.fabric().after(random_.up_to(kStorm), [this] {
      if (calm_) return;
      ++report_.faults;
      (this->*weather_[random_.below(weather_.size())]->strike)();
    });
  }
  cluster_.run_for(kStorm);
  // Some storms last until the last download has ended, some clear up before.
  if (random_.chance(0.5)) sim.run_until([this] { return all_over(); }, kPatience);
  clear_up();
  if (!sim.run_until([this] { return all_over(); }, kPatience)) {
    promise_broken("downloads still run {} s after they had to end", kPatience / 1s);
  }
  // Whatever a scheduler still holds against somebody is forgotten by then.
  cluster_.run_for(45s);

  auto before = wanted_.size();
  plan_downloads(12, 500ms, true);
  for (auto& keeping : keepings_) {
    for (int i = 0; i < 3; ++i) plan_export(*keeping, keeping_random_.up_to(500ms), true);
  }
  cluster_.run_for(600ms);
  if (!sim.run_until([this] { return all_over(); }, kPatience)) {
    promise_broken("downloads after the storm still run {} s later", kPatience / 1s);
  }
  for (auto& wanted : wanted_) judge(*wanted);
  for (auto& keeping : keepings_) judge(*keeping);
  for (auto i = before; i < wanted_.size(); ++i) {
    auto& wanted = *wanted_[i];
    if (!wanted.fetch || wanted.fetch->ok() || wanted.wrong_digest || wanted.fetch->crashed()) continue;
    if (wanted.keeping != nullptr && !wanted.certain) continue;
    // Who says what the bytes are hears that others have other ones, if the origin made it so; and with it
    // whoever reads the same bytes on the same machine.
    bool particular =
        wanted.keeping == nullptr && std::any_of(wanted_.begin(), wanted_.end(), [&](const auto& other) {
          return other->member == wanted.member && other->content == wanted.content &&
                 (!other->options.digest.empty() || other->options.range);
        });
    if (!particular || !(wanted.content->changes || wanted.content->undetected)) {
      promise_broken("{} wanted {} after the storm and did not get it: {}",
                     wanted.member->peer->host().name(), wanted.content->path, wanted.fetch->verdict());
    }
  }
  judge_outputs();
  judge_origin();
  look_into_stores();
  judge_schedulers();
  judge_leaks();
  report_.seconds = static_cast<double>(sim.now().time_since_epoch().count()) / 1e9;
  report_.fingerprint = sim.fingerprint();
  for (auto& host : sim.hosts()) report_.moved_bytes += host->sent_bytes();
  if (options_.timeline) report_.timeline = sim.timeline().text();
  return std::move(report_);
}

StormReport run_storm(const StormOptions& options) { return Storm(options).run(); }

}  // namespace d7y::sim
