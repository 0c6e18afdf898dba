// How fast the scheduler's brain decides, and what it remembers costs.
//
//   ninja -C build tests/bench/brain && build/tests/bench/brain [part...]
//
// Prints, for one core and without the making of the events; without parts, all of:
//
//   memory         resident bytes of a million peers in 100,000 tasks on 20,000 hosts
//   registrations  of 200,000 peers of one task: unmodified clients, then those that listen
//   lifecycles     register, answer, started, 64 piece reports, finished; of both as well
//   reschedules    100,000 of them in one task of 10,000 peers
//   announcements  of 100,000 hosts, and once more: the longest pause
//   growth         time per peer of 1,000 to 1,000,000 of them, ten for each task and fifty for each host
#include <fmt/format.h>

#include <time.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "base/ids.h"
#include "scheduler/brain.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

constexpr std::size_t kPeers = 1'000'000;

// CPU seconds of this process, so that a busy machine does not count.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

template <class Work>
double seconds_of(Work work) {
  const double start = cpu_seconds();
  work();
  return cpu_seconds() - start;
}

double resident_mib() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return static_cast<double>(resident) * 4096 / (1 << 20);
}

std::uint64_t state = 1;
std::uint64_t dice() {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return state >> 20 ^ state << 21;
}

std::string task_name(std::size_t i) {
  return fmt::format("{:08x}", static_cast<std::uint32_t>(i) * 2654435761U) + std::string(56, 'a');
}

HostFacts host_facts(std::size_t i) {
  HostFacts facts;
  facts.hostname = fmt::format("node-{:05}.example", i);
  facts.ip = fmt::format("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
  facts.id = host_id(facts.ip, facts.hostname, false);
  facts.port = 4000;
  facts.idc = fmt::format("idc-{}", i % 8);
  facts.announcement = std::string(300, 'x');
  return facts;
}

// One peer that is going to register.
struct Arrival {
  const std::string* host = nullptr;
  std::string task, peer;
};

struct Bench {
  Brain brain{BrainOptions{}, 1};
  TimePoint now{std::chrono::hours(1)};
  std::vector<std::string> host_ids;
  std::string download = std::string(160, 'd');
  SendParents last;
  std::size_t answers = 0;

  explicit Bench(std::size_t hosts) {
    for (std::size_t i = 0; i < hosts; ++i) {
      auto facts = host_facts(i);
      host_ids.push_back(facts.id);
      brain.announce_host(std::move(facts), now);
    }
  }

  Arrival arrival(std::size_t host, std::size_t task) {
    const auto& id = host_ids[host];
    return {&id, task_name(task), fmt::format("{}-{}", id, uuid_v4(dice(), dice()))};
  }
  PeerHandle add(const Arrival& arrival, bool listens, bool from_origin = false) {
    Registration r;
    r.host_id = *arrival.host;
    r.task_id = arrival.task;
    r.peer_id = arrival.peer;
    r.origin = "https://origin.example";
    r.content_length = 1 << 30;
    r.piece_length = 4 << 20;
    r.piece_count = 256;
    r.need_back_to_source = from_origin;
    r.takes_offers = listens;
    r.download = download;
    const auto peer = *brain.register_peer(r, now);
    settle();
    return peer;
  }
  // One that has everything.
  void add_root(std::size_t host, std::size_t task) {
    const auto root = add(arrival(host, task), false, true);
    brain.back_to_source_started(root, now);
    brain.back_to_source_finished(root, now);
    settle();
  }
  void settle() {
    do {
      for (auto& action : brain.take_actions(now)) {
        auto* parents = std::get_if<SendParents>(&action);
        if (parents == nullptr) continue;
        ++answers;
        last = std::move(*parents);
      }
    } while (brain.pending());
  }
  // Some pieces, so that peers differ.
  void progress(PeerHandle peer) {
    PieceReport report;
    report.length = 4 << 20;
    for (auto count = dice() % 200; count > 0; --count) brain.piece_finished(peer, "", report, now);
  }
};

const char* kind(bool listens) { return listens ? "that listen" : "unmodified"; }

void registrations(bool listens) {
  constexpr std::size_t kCount = 200'000;
  Bench b(10'000);
  b.add_root(0, 0);
  std::vector<Arrival> arrivals;
  for (std::size_t i = 0; i < kCount; ++i) arrivals.push_back(b.arrival(1 + dice() % 9'999, 0));
  b.answers = 0;
  const auto took = seconds_of([&] {
    for (const auto& arrival : arrivals) {
      b.now += std::chrono::microseconds(3);
      b.brain.started(b.add(arrival, listens), b.now);
      b.brain.tick(b.now);
      b.settle();
    }
  });
  fmt::print("registrations, one task, {}: {:10.0f} per second ({} answers to {})\n", kind(listens),
             kCount / took, b.answers, kCount);
}

void lifecycles(bool listens) {
  constexpr std::size_t kCount = 100'000, kTasks = 100;
  Bench b(10'000);
  for (std::size_t i = 0; i < kTasks; ++i) b.add_root(i, i);
  std::vector<Arrival> arrivals;
  for (std::size_t i = 0; i < kCount; ++i) arrivals.push_back(b.arrival(100 + dice() % 9'900, i % kTasks));
  std::vector<std::string> ids(kCount + kTasks);
  PieceReport report;
  report.length = 4 << 20;
  report.cost = std::chrono::milliseconds(20);
  const auto took = seconds_of([&] {
    for (const auto& arrival : arrivals) {
      b.now += std::chrono::microseconds(20);
      const auto peer = b.add(arrival, listens);
      ids[peer.index] = arrival.peer;
      b.brain.started(peer, b.now);
      const auto& parents = b.last.parents;
      for (report.number = 0; report.number < 64; ++report.number) {
        const auto& parent = ids[parents[report.number % parents.size()].index];
        b.brain.piece_finished(peer, parent, report, b.now);
      }
      b.brain.finished(peer, b.now);
      b.settle();
      b.brain.tick(b.now);
    }
  });
  fmt::print("lifecycles, 64 reports, {}:  {:10.0f} per second\n", kind(listens), kCount / took);
}

void reschedules() {
  Bench b(10'000);
  std::vector<PeerHandle> peers;
  const auto join = [&](std::size_t host) {
    const auto peer = b.add(b.arrival(host, 0), false);
    b.brain.started(peer, b.now);
    b.progress(peer);
    b.settle();
    return peer;
  };
  for (std::size_t i = 0; i < 100; ++i) b.add_root(i, 0);
  for (std::size_t i = 100; i < 10'000; ++i) peers.push_back(join(i));
  std::vector<double> times;
  for (int i = 0; i < 100'000; ++i) {
    b.now += std::chrono::milliseconds(1);
    auto& peer = peers[dice() % peers.size()];
    const auto* record = b.brain.peer(peer);
    if (!record->progress || record->progress->responses >= 5) {
      const auto host = record->host.index;
      b.brain.failed(peer, b.now);
      b.settle();
      peer = join(host);
    }
    times.push_back(1e6 * seconds_of([&] {
                      b.brain.reschedule(peer, b.now);
                      b.settle();
                    }));
    b.brain.tick(b.now);
  }
  std::sort(times.begin(), times.end());
  fmt::print("reschedule, 10,000 peers: {:.2f} us median, {:.2f} us p99, {:.2f} us worst\n",
             times[times.size() / 2], times[times.size() * 99 / 100], times.back());
}

void announcements() {
  constexpr std::size_t kHosts = 100'000;
  Bench b(0);
  for (const char* when : {"first", "again"}) {
    double sum = 0, worst = 0;
    for (std::size_t i = 0; i < kHosts; ++i) {
      auto facts = host_facts(i);
      const auto took = seconds_of([&] {
        b.brain.announce_host(std::move(facts), b.now);
        b.settle();
      });
      sum += took;
      worst = std::max(worst, took);
    }
    fmt::print("100,000 hosts announce, {}: {:.2f} us each, {:.2f} ms the longest\n", when,
               1e6 * sum / kHosts, 1e3 * worst);
  }
}

// `count` peers register and start; three of four finish. CPU seconds.
double fill(Bench& b, std::size_t count, std::size_t tasks) {
  constexpr std::size_t kBatch = 10'000;  // made up beforehand, and not all, because they take memory
  double took = 0;
  for (std::size_t from = 0; from < count; from += kBatch) {
    std::vector<Arrival> arrivals;
    for (std::size_t i = from; i < std::min(count, from + kBatch); ++i)
      arrivals.push_back(b.arrival(dice() % b.host_ids.size(), i % tasks));
    took += seconds_of([&] {
      for (std::size_t i = 0; i < arrivals.size(); ++i) {
        b.now += std::chrono::microseconds(3);
        const bool first = from + i < tasks;
        const auto peer = b.add(arrivals[i], false, first);
        first ? b.brain.back_to_source_started(peer, b.now) : b.brain.started(peer, b.now);
        if (i % 4 != 0) first ? b.brain.back_to_source_finished(peer, b.now) : b.brain.finished(peer, b.now);
        b.settle();
        b.brain.tick(b.now);
      }
    });
  }
  return took;
}

void growth() {
  for (std::size_t count = 1'000; count <= kPeers; count *= 10) {
    double took = 0;
    const std::size_t rounds = std::max<std::size_t>(1, 100'000 / count);
    for (std::size_t i = 0; i < rounds; ++i) {
      Bench b(count / 50);
      took += fill(b, count, count / 10);
    }
    fmt::print("{:>9} peers: {:.2f} us each\n", count, 1e6 * took / static_cast<double>(count * rounds));
  }
}

void memory() {
  const auto before = resident_mib();
  Bench b(20'000);
  fill(b, kPeers, 100'000);
  const auto grown = resident_mib() - before;
  fmt::print("{} peers, {} tasks, {} hosts: {:.0f} MiB, {:.0f} bytes a peer (tables {:.0f} MiB)\n",
             b.brain.peers().size(), b.brain.tasks().size(), b.brain.hosts().size(), grown,
             grown * (1 << 20) / static_cast<double>(b.brain.peers().size()),
             static_cast<double>(b.brain.table_memory()) / (1 << 20));
  fmt::print("a peer's record has {} bytes, a task's {}, a host's {}\n", sizeof(PeerRecord),
             sizeof(TaskRecord), sizeof(HostRecord));
}

struct Part {
  std::string_view name;
  void (*run)();
};
constexpr Part kParts[] = {
    {"memory", memory},  // first, in a process that holds nothing yet
    {"registrations", [] { registrations(false), registrations(true); }},
    {"lifecycles", [] { lifecycles(false), lifecycles(true); }},
    {"reschedules", reschedules},
    {"announcements", announcements},
    {"growth", growth},
};

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> wanted(argv + 1, argv + argc);
  for (const auto& part : kParts) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), part.name) != wanted.end()) part.run();
  }
}
