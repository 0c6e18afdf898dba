// How fast the scheduler's brain decides, and what it remembers costs.
//
//   ninja -C build tests/bench/brain && build/tests/bench/brain [peers]
//
// Prints decisions per second on one core for whole lifecycles (register, answer, started, 64 piece reports,
// finished), for registrations alone, the slowest of 100,000 reschedules in one task of 10,000 peers, and
// bytes of resident memory per peer with `peers` (1,000,000) peers in 100,000 tasks on 20,000 hosts.
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

// CPU time of this process, so that a busy machine does not count.
struct Clock {
  using time_point = double;
  static double now() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  }
};

namespace {

std::uint64_t state = 1;
std::uint64_t dice() {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return state >> 20 ^ state << 21;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double resident_mib() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return static_cast<double>(resident) * 4096 / (1 << 20);
}

struct Bench {
  Brain brain{BrainOptions{}, 1};
  TimePoint now{std::chrono::hours(1)};
  std::vector<std::string> host_ids, ips;

  void hosts(int count) {
    for (int i = 0; i < count; ++i) {
      HostFacts facts;
      facts.hostname = fmt::format("node-{:05}.example", i);
      facts.ip = fmt::format("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
      facts.id = host_id(facts.ip, facts.hostname, false);
      facts.port = 4000;
      facts.idc = fmt::format("idc-{}", i % 8);
      facts.announcement = std::string(300, 'x');
      host_ids.push_back(facts.id);
      ips.push_back(facts.ip);
      brain.announce_host(std::move(facts), now);
    }
  }
  PeerHandle add(std::size_t host, const std::string& task, bool from_origin = false) {
    const auto id = fmt::format("{}-{}", host_ids[host], uuid_v4(dice(), dice()));
    Registration r;
    r.host_id = host_ids[host];
    r.task_id = task;
    r.peer_id = id;
    r.origin = "https://origin.example";
    r.content_length = 1 << 30;
    r.piece_length = 4 << 20;
    r.piece_count = 256;
    r.need_back_to_source = from_origin;
    r.download = download;
    return *brain.register_peer(r, now);
  }
  std::size_t settle() {
    std::size_t answers = 0;
    do {
      for (auto& action : brain.take_actions(now)) {
        if (auto* parents = std::get_if<SendParents>(&action)) {
          ++answers;
          last = *parents;
        }
      }
    } while (brain.pending());
    return answers;
  }
  // Some pieces, so that peers differ.
  void progress(PeerHandle peer) {
    PieceReport report;
    report.length = 4 << 20;
    for (auto count = dice() % 200; count > 0; --count) brain.piece_finished(peer, "", report, now);
  }
  SendParents last;
  std::string download = std::string(160, 'd');
};

std::string task_name(int i) {
  auto text = fmt::format("{:08x}", i * 2654435761U);
  return text + std::string(56, 'a');
}

void lifecycles() {
  Bench b;
  b.hosts(10000);
  constexpr int kTasks = 100;
  for (int i = 0; i < kTasks; ++i) {
    const auto seed = b.add(static_cast<std::size_t>(i), task_name(i), true);
    b.settle();
    b.brain.back_to_source_started(seed, b.now);
    b.brain.back_to_source_finished(seed, b.now);
  }
  b.settle();
  constexpr int kCount = 100000;
  const auto start = Clock::now();
  for (int i = 0; i < kCount; ++i) {
    b.now += std::chrono::microseconds(20);
    const auto peer = b.add(100 + dice() % 9900, task_name(i % kTasks));
    b.settle();
    b.brain.started(peer, b.now);
    const auto parents = b.last.parents;
    std::vector<std::string> ids;
    for (const auto parent : parents) ids.push_back(b.brain.peer_id(*b.brain.peer(parent)));
    PieceReport report;
    report.length = 4 << 20;
    report.cost = std::chrono::milliseconds(20);
    for (std::uint32_t piece = 0; piece < 64; ++piece) {
      report.number = piece;
      b.brain.piece_finished(peer, ids.empty() ? std::string_view() : ids[piece % ids.size()], report, b.now);
    }
    b.brain.finished(peer, b.now);
    b.settle();
  }
  const auto took = seconds_since(start);
  fmt::print("lifecycles with 64 reports: {:10.0f} per second and core\n", kCount / took);
}

void registrations() {
  Bench b;
  b.hosts(10000);
  const auto seed = b.add(0, task_name(0), true);
  b.settle();
  b.brain.back_to_source_started(seed, b.now);
  b.brain.back_to_source_finished(seed, b.now);
  b.settle();
  constexpr int kCount = 200000;
  std::size_t answered = 0;
  const auto start = Clock::now();
  for (int i = 0; i < kCount; ++i) {
    const auto peer = b.add(1 + dice() % 9999, task_name(0));
    answered += b.settle();
    b.brain.started(peer, b.now);
  }
  const auto took = seconds_since(start);
  fmt::print("registrations, one task:    {:10.0f} per second and core ({} of {} answered at once)\n",
             kCount / took, answered, kCount);
}

void reschedules() {
  Bench b;
  b.hosts(10000);
  std::vector<PeerHandle> peers;
  for (std::size_t i = 0; i < 100; ++i) {
    const auto seed = b.add(i, task_name(0), true);
    b.settle();
    b.brain.back_to_source_started(seed, b.now);
    b.brain.back_to_source_finished(seed, b.now);
  }
  b.settle();
  for (std::size_t i = 100; i < 10000; ++i) {
    peers.push_back(b.add(i, task_name(0)));
    b.settle();
    b.brain.started(peers.back(), b.now);
    b.progress(peers.back());
  }
  b.settle();
  std::vector<double> times;
  for (int i = 0; i < 100000; ++i) {
    b.now += std::chrono::milliseconds(1);
    auto& peer = peers[dice() % peers.size()];
    if (b.brain.peer(peer) == nullptr || !b.brain.peer(peer)->progress ||
        b.brain.peer(peer)->progress->responses >= 5) {
      const auto host = b.brain.peer(peer)->host.index;
      b.brain.failed(peer, b.now);
      b.settle();
      peer = b.add(host, task_name(0));
      b.settle();
      b.brain.started(peer, b.now);
      b.progress(peer);
      b.settle();
    }
    const auto start = Clock::now();
    b.brain.reschedule(peer, b.now);
    b.settle();
    times.push_back(seconds_since(start) * 1e6);
    b.brain.tick(b.now);
  }
  std::sort(times.begin(), times.end());
  fmt::print("reschedule, 10,000 peers:   {:10.2f} us median, {:.2f} us p99, {:.2f} us worst\n",
             times[times.size() / 2], times[times.size() * 99 / 100], times.back());
}

void memory(int count) {
  const auto before = resident_mib();
  Bench b;
  b.hosts(20000);
  const auto start = Clock::now();
  constexpr int kTasks = 100000;
  for (int i = 0; i < count; ++i) {
    b.now += std::chrono::microseconds(3);
    const auto task = task_name(i % kTasks);
    const auto peer = b.add(dice() % 20000, task, i < kTasks);
    b.settle();
    if (i < kTasks) {
      b.brain.back_to_source_started(peer, b.now);
    } else {
      b.brain.started(peer, b.now);
    }
    if (i % 4 != 0) {  // a quarter is still downloading
      if (i < kTasks)
        b.brain.back_to_source_finished(peer, b.now);
      else
        b.brain.finished(peer, b.now);
    }
    b.settle();
    b.brain.tick(b.now);
  }
  const auto took = seconds_since(start);
  const auto grown = resident_mib() - before;
  fmt::print(
      "{} peers, {} tasks, {} hosts: {:.0f} MiB, {:.0f} bytes a peer (tables {:.0f} MiB), {:.2f} us a peer\n",
      b.brain.peers().size(), b.brain.tasks().size(), b.brain.hosts().size(), grown,
      grown * (1 << 20) / static_cast<double>(b.brain.peers().size()),
      static_cast<double>(b.brain.table_memory()) / (1 << 20), took / count * 1e6);
  fmt::print("a peer's record has {} bytes, a task's {}, a host's {}\n", sizeof(PeerRecord),
             sizeof(TaskRecord), sizeof(HostRecord));
}

}  // namespace

int main(int argc, char** argv) {
  lifecycles();
  registrations();
  reschedules();
  memory(argc > 1 ? std::stoi(argv[1]) : 1'000'000);
}
