#include "sim/host.h"

#include <cstdio>
#include <cstdlib>

#include "sim/simulation.h"

namespace d7y::sim {

namespace {

HostOptions complete(HostOptions options, std::uint32_t id) {
  if (options.name.empty()) options.name = fmt::format("h{}", id);
  if (options.addresses.empty()) {
    options.addresses.push_back(
        Address::ipv4({10, static_cast<std::uint8_t>(id >> 16), static_cast<std::uint8_t>(id >> 8),
                       static_cast<std::uint8_t>(id)},
                      0));
  }
  return options;
}

}  // namespace

// Work that goes on even when nobody waits for it any more.
class Host::Offloaded final : public Timer {
 public:
  Offloaded(Host& host, std::uint64_t id, std::function<void()> work)
      : host_(host), id_(id), work_(std::move(work)) {}
  bool over = false;
  Signal done;

 private:
  void fire() override {
    auto self = host_.offloaded_.extract(id_);
    work_();
    over = true;
    done.notify_all();
  }
  Host& host_;
  std::uint64_t id_;
  std::function<void()> work_;
};

Host::Host(Simulation& simulation, std::uint32_t id, HostOptions options, std::uint64_t seed)
    : simulation_(simulation),
      id_(id),
      options_(complete(std::move(options), id)),
      random_(seed),
      disk_(*this, simulation.pages(), options_.disk, mix(seed)),
      uplink_(simulation.fabric(), Link::Stage::kSend, options_.uplink),
      downlink_(simulation.fabric(), Link::Stage::kReceive, options_.downlink),
      loopback_(simulation.fabric(), Link::Stage::kSend, 4'000'000'000),
      next_port_(static_cast<std::uint16_t>(32768 + random_.below(20000))),
      scope_(std::make_unique<Scope>(loop_)) {
  loop_.set_now(simulation.now());
  load_.memory_total = 16_GiB;
  load_.memory_available = load_.memory_free = 8_GiB;
  load_.memory_used = 8_GiB;
}

Host::~Host() = default;

Fabric& Host::fabric() { return simulation_.fabric(); }

WallTime Host::wall_now() { return simulation_.wall_now() + wall_shift_; }

world::MachineFacts Host::machine() {
  world::MachineFacts facts;
  facts.hostname = name();
  facts.os = "linux";
  facts.platform = facts.platform_family = "debian";
  facts.platform_version = "12";
  facts.kernel_version = "6.1.0";
  facts.logical_cpus = facts.physical_cpus = options_.cpus;
  return facts;
}

world::MachineLoad Host::load() { return load_; }

Task<void> Host::offload(std::function<void()> work) {
  auto id = next_offloaded_++;
  auto job = std::make_shared<Offloaded>(*this, id, std::move(work));
  offloaded_.emplace(id, job);
  Duration delay = std::chrono::microseconds(50);
  job->set(loop_, loop_.now() + delay + random_.up_to(delay));
  while (!job->over) {
    auto woken = co_await job->done.wait(Deadline::never());
    if (!woken) co_return;
  }
}

void Host::post(std::function<void()> work) {
  simulation_.check_thread();
  posts_.push_back(std::move(work));
  posted_.make_ready();
}

void Host::Posted::fire() {
  auto all = std::exchange(host_.posts_, {});
  for (auto& work : all) work();
}

bool Host::Sink::wants(LogLevel) const { return host_.simulation_.timeline().tracing(); }

void Host::Sink::write(LogLevel level, std::string_view room, std::string_view message) {
  host_.simulation_.timeline().say(host_.id_,
                                   fmt::format("{} {} {}: {}", host_.name(), name_of(level), room, message));
}

void Host::spawn(Task<void> task) {
  if (!running_) {
    std::fprintf(stderr, "sim: a task was given to %s, which is not running\n", name().c_str());
    std::abort();
  }
  scope_->spawn(std::move(task));
}

bool Host::inside() const { return loop_.running() != nullptr || in_turn_; }

void Host::kill() {
  if (crashing_ && !inside()) finish_crash();
  if (running_) stop_running(false);
}

void Host::power_off() {
  if (crashing_ && !inside()) finish_crash();
  if (powered_) stop_running(true);
}

void Host::stop_running(bool power) {
  simulation_.timeline().note(power ? "power-off" : "kill", id_);
  // From here on nothing the host does has an effect, even if its stack is still running.
  disk_.freeze();
  if (power) powered_ = false;
  running_ = false;
  ++boot_;
  for (auto& [connection, side] : fabric().ends_on(*this)) {
    if (power) {
      connection->vanish(side);
    } else if (connection->end(side).handle != nullptr) {
      connection->close(side);
    }
  }
  for (auto* stream : std::exchange(streams_, {})) stream->detach();
  for (auto& [address, listener] : std::exchange(listeners_, {})) listener->detach();
  if (power) ports_.clear();
  lost_power_ = lost_power_ || power;
  if (crashing_) return;
  crashing_ = true;
  if (!inside()) return finish_crash();
  fabric().after(Duration::zero(), [this, boot = boot_] {
    if (crashing_ && boot_ == boot) finish_crash();
  });
}

void Host::finish_crash() {
  scope_.reset();
  offloaded_.clear();
  posts_.clear();
  posted_.unqueue();
  if (std::exchange(lost_power_, false)) disk_.lose_power();
  paused_ = false;
  busy_until_ = {};
  crashing_ = false;
}

void Host::start() {
  if (crashing_ && inside()) {
    std::fprintf(stderr, "sim: %s was started in the middle of its crash\n", name().c_str());
    std::abort();
  }
  if (crashing_) finish_crash();
  if (running_) return;
  simulation_.timeline().note("start", id_);
  scope_ = std::make_unique<Scope>(loop_);
  disk_.thaw();
  running_ = powered_ = true;
}

void Host::pause() {
  simulation_.timeline().note("pause", id_);
  paused_ = true;
}

void Host::resume() {
  simulation_.timeline().note("resume", id_);
  paused_ = false;
}

void Host::burn(Duration time) {
  auto from = std::max(busy_until_, simulation_.now());
  busy_until_ = from + time;
  fabric().after(busy_until_ - simulation_.now(), [] {});  // somebody must look at the loop then
}

bool Host::runnable() const { return running_ && !paused_ && simulation_.now() >= busy_until_; }

void Host::set_bandwidth(std::uint64_t uplink, std::uint64_t downlink) {
  uplink_.set_rate(uplink);
  downlink_.set_rate(downlink);
}

bool Host::owns(const Address& ip) const {
  if (ip.is_loopback()) return true;
  auto plain = ip.with_port(0);
  for (auto& own : addresses()) {
    if (own == plain) return true;
  }
  return false;
}

SimListener* Host::listener_for(const Address& to) {
  auto pick = [&](const Address& at) -> SimListener* {
    auto count = listeners_.count(at);
    if (count == 0) return nullptr;
    auto found = listeners_.lower_bound(at);
    if (count > 1) std::advance(found, static_cast<std::ptrdiff_t>(random_.below(count)));
    return found->second;
  };
  if (auto* exact = pick(to)) return exact;
  if (to.family() == Address::Family::kUnix) return nullptr;
  if (to.family() == Address::Family::kIpv4) {
    if (auto* any = pick(Address::ipv4({}, to.port()))) return any;
  }
  return pick(Address::ipv6({}, to.port()));
}

std::uint16_t Host::free_port(const Address& ip) {
  for (int tries = 0; tries < 28232; ++tries) {
    if (next_port_ < 32768 || next_port_ >= 61000) next_port_ = 32768;
    auto at = ip.with_port(next_port_++);
    if (listener_for(at) == nullptr && take_port(at)) return at.port();
  }
  return 0;
}

bool Host::has_descriptors() const {
  return streams_.size() + listeners_.size() + disk_.open_files() < options_.descriptors;
}

std::string Host::leaks() const {
  std::string all;
  auto count = [&](std::size_t number, const char* what) {
    if (number > 0) all += fmt::format("{} holds {} {}\n", name(), number, what);
  };
  count(tasks(), "tasks");
  count(streams_.size(), "streams");
  count(listeners_.size(), "listeners");
  count(disk_.open_files(), "open files");
  count(loop_.timers(), "timers");
  return all;
}

}  // namespace d7y::sim
