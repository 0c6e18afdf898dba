// Storms over simulated clusters (storm.h), one after the other, each in a process of its own.
//
//   sim-faults                                  300 seeds, as ./check runs them
//   sim-faults --seeds 100000 --jobs 2 --report storms.txt
//   sim-faults --seed 4711 --timeline           one seed again, and what happened in it
//
// The exit code is 0 if every promise was kept.
#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include <CLI/CLI.hpp>

#include "sim/faults/storm.h"

using namespace d7y::sim;

namespace {

// More memory than this left over by a storm is a leak; caches of the C library are smaller.
constexpr std::size_t kLeftOver = 64 << 10;
// A storm that computes longer than this hangs.
constexpr rlim_t kCpuSeconds = 120;

std::size_t allocated() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return 0;
#else
  return mallinfo2().uordblks + mallinfo2().hblkhd;
#endif
#else
  return mallinfo2().uordblks + mallinfo2().hblkhd;
#endif
}

// What the child tells its parent, as one line each.
void tell(int to, const StormReport& report, std::size_t left_over) {
  std::string text = fmt::format(
      "{} downloads: {} right, {} failed, {} crashed, {} cancelled; {} faults; {:.1f} s; "
      "origin {} bytes, {:.2f} of what is explained; {}\n",
      report.downloads, report.right, report.failed, report.crashed, report.cancelled, report.faults,
      report.seconds, report.origin_bytes, report.origin_use, report.weather);
  for (const auto& what : report.broken) text += "! " + what + "\n";
  if (left_over > kLeftOver) text += fmt::format("! {} bytes of memory were not given back\n", left_over);
  for (std::size_t at = 0; at < text.size();) {
    auto wrote = write(to, text.data() + at, text.size() - at);
    if (wrote <= 0) break;
    at += static_cast<std::size_t>(wrote);
  }
}

int one(std::uint64_t seed, std::size_t nodes, bool timeline) {
  auto report = run_storm({.seed = seed, .nodes = nodes, .timeline = timeline});
  std::fputs(report.timeline.c_str(), stdout);
  std::printf(
      "seed %llu: %zu downloads: %zu right, %zu failed, %zu crashed, %zu cancelled; fingerprint %016llx\n",
      static_cast<unsigned long long>(seed), report.downloads, report.right, report.failed, report.crashed,
      report.cancelled, static_cast<unsigned long long>(report.fingerprint));
  for (const auto& what : report.broken) std::printf("BROKEN: %s\n", what.c_str());
  return report.broken.empty() ? 0 : 1;
}

struct Child {
  std::uint64_t seed = 0;
  int from = -1;
  std::string text;
};

class Fleet {
 public:
  Fleet(std::size_t nodes, std::FILE* report) : nodes_(nodes), report_(report) {}

  void start(std::uint64_t seed) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    std::fflush(nullptr);
    auto pid = fork();
    if (pid < 0) std::abort();
    if (pid == 0) {
      close(ends[0]);
      rlimit cpu{kCpuSeconds, kCpuSeconds};
      setrlimit(RLIMIT_CPU, &cpu);
      auto before = allocated();
      {
        auto report = run_storm({.seed = seed, .nodes = nodes_});
        auto text = std::move(report);
        // Counted below, after everything of the storm but its report is gone.
        auto held = allocated();
        tell(ends[1], text, held > before ? held - before : 0);
      }
      std::exit(0);
    }
    close(ends[1]);
    children_[pid] = Child{seed, ends[0], {}};
  }

  std::size_t running() const { return children_.size(); }

  // Waits for one to end.
  void reap() {
    // Reports are short, so a pipe holds one: nobody waits for us.
    int status = 0;
    auto pid = wait(&status);
    auto found = children_.find(pid);
    if (found == children_.end()) return;
    auto child = std::move(found->second);
    children_.erase(found);
    char buffer[4096];
    for (;;) {
      auto got = read(child.from, buffer, sizeof buffer);
      if (got <= 0) break;
      child.text.append(buffer, static_cast<std::size_t>(got));
    }
    close(child.from);
    if (WIFSIGNALED(status)) {
      child.text += fmt::format("! ended by signal {} ({})\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
      child.text += fmt::format("! ended with exit code {}\n", WEXITSTATUS(status));
    }
    ++storms_;
    bool broken = child.text.starts_with('!') || child.text.find("\n!") != std::string::npos;
    if (broken) ++failed_;
    auto line = fmt::format("{} seed {}: {}", broken ? "FAILED" : "ok", child.seed, child.text);
    if (report_ != nullptr) std::fputs(line.c_str(), report_), std::fflush(report_);
    if (broken) {
      std::fputs(line.c_str(), stdout);
      std::printf("  again: sim-faults --seed %llu --timeline\n",
                  static_cast<unsigned long long>(child.seed));
      std::fflush(stdout);
    }
  }

  std::uint64_t storms() const { return storms_; }
  std::uint64_t failed() const { return failed_; }

 private:
  std::size_t nodes_;
  std::FILE* report_;
  std::map<pid_t, Child> children_;
  std::uint64_t storms_ = 0, failed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seeds = 300, first = 1, seed = 0;
  std::size_t jobs = 1, nodes = 52;
  bool timeline = false;
  std::string report_path;
  CLI::App app("Storms over simulated clusters: every fault at random times, every promise looked at.");
  app.add_option("--seeds", seeds, "how many seeds")->capture_default_str();
  app.add_option("--first", first, "the first of them")->capture_default_str();
  app.add_option("--jobs", jobs, "storms at the same time")->capture_default_str();
  app.add_option("--report", report_path, "write a line about every seed to this file");
  app.add_option("--seed", seed, "only this seed, in this process");
  app.add_option("--nodes", nodes, "nodes of each cluster")
      ->capture_default_str()
      ->check(CLI::Range(4, 1000));
  app.add_flag("--timeline", timeline, "print what happened (with --seed)");
  CLI11_PARSE(app, argc, argv);
  if (seed != 0) return one(seed, nodes, timeline);

  std::FILE* report = report_path.empty() ? nullptr : std::fopen(report_path.c_str(), "w");
  if (!report_path.empty() && report == nullptr) {
    std::perror(report_path.c_str());
    return 2;
  }
  // What is made once per process is made before anybody counts.
  (void)run_storm({.seed = 1, .nodes = 8});
  auto started = std::chrono::steady_clock::now();
  Fleet fleet(nodes, report);
  for (std::uint64_t next = first; next < first + seeds || fleet.running() > 0;) {
    if (next < first + seeds && fleet.running() < jobs) {
      fleet.start(next++);
    } else {
      fleet.reap();
    }
  }
  rusage used{};
  getrusage(RUSAGE_CHILDREN, &used);
  auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  auto cpu = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
             static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  std::printf("%llu storms, %llu with broken promises; %.0f s, %.0f s of CPU, at most %ld KiB resident\n",
              static_cast<unsigned long long>(fleet.storms()),
              static_cast<unsigned long long>(fleet.failed()), took, cpu, used.ru_maxrss);
  if (report != nullptr) std::fclose(report);
  return fleet.failed() == 0 ? 0 : 1;
}
