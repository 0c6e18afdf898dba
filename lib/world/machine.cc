#include "world/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "world/small_file.h"

namespace d7y::world {
namespace {

std::string_view next_line(std::string_view& text) {
  auto end = text.find('\n');
  auto line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view next_word(std::string_view& line) {
  auto begin = line.find_first_not_of(" \t:");
  if (begin == std::string_view::npos) return line = {};
  line.remove_prefix(begin);
  auto end = std::min(line.find_first_of(" \t:"), line.size());
  auto word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

std::uint64_t to_number(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// "ID=debian" or "ID="debian"" in os-release.
std::string os_release(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    auto line = next_line(text);
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != '=') continue;
    line.remove_prefix(key.size() + 1);
    if (line.size() >= 2 && (line.front() == '"' || line.front() == '\''))
      line = line.substr(1, line.size() - 2);
    return std::string(line);
  }
  return {};
}

std::uint32_t usable_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (::sched_getaffinity(0, sizeof mask, &mask) == 0 && CPU_COUNT(&mask) > 0) {
    return static_cast<std::uint32_t>(CPU_COUNT(&mask));
  }
  return static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

// Distinct pairs of socket and core; 0 if /proc/cpuinfo does not tell (arm64).
std::uint32_t physical_cpus() {
  auto text = read_small_file("/proc/cpuinfo");
  if (!text) return 0;
  std::set<std::pair<std::uint64_t, std::uint64_t>> cores;
  std::uint64_t socket = 0;
  std::string_view rest = *text;
  while (!rest.empty()) {
    auto line = next_line(rest);
    auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    auto value = line.substr(colon + 1);
    if (line.starts_with("physical id")) socket = to_number(next_word(value));
    if (line.starts_with("core id")) cores.emplace(socket, to_number(next_word(value)));
  }
  return static_cast<std::uint32_t>(cores.size());
}

// The unified hierarchy's folder of this process, if it limits anything at all (not the root).
std::string cgroup_folder() {
  auto text = read_small_file("/proc/self/cgroup");
  if (!text) return {};
  std::string_view rest = *text;
  while (!rest.empty()) {
    auto line = next_line(rest);
    if (line.starts_with("0::")) return "/sys/fs/cgroup" + std::string(line.substr(3));
  }
  return {};
}

// How many processors the cgroup may use, in units of one: "150000 100000" is 1.5. Nothing if all.
std::optional<double> cgroup_cpus(const std::string& folder) {
  if (folder.empty()) return std::nullopt;
  auto text = read_small_file(folder + "/cpu.max");
  if (!text || text->empty() || text->front() < '0' || text->front() > '9') return std::nullopt;
  std::string_view line = *text;
  auto quota = to_number(next_word(line));
  auto period = to_number(next_word(line));
  if (quota == 0 || period == 0) return std::nullopt;
  return static_cast<double>(quota) / static_cast<double>(period);
}

// Processor time the cgroup has used.
std::optional<Duration> cgroup_time(const std::string& folder) {
  auto text = read_small_file(folder + "/cpu.stat");
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  while (!rest.empty()) {
    auto line = next_line(rest);
    if (next_word(line) == "usage_usec") {
      return std::chrono::microseconds(static_cast<std::int64_t>(to_number(next_word(line))));
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> cgroup_number(const std::string& folder, const char* file) {
  if (folder.empty()) return std::nullopt;
  auto text = read_small_file(folder + "/" + file);
  if (!text || text->empty() || text->front() < '0' || text->front() > '9') return std::nullopt;  // "max"
  return to_number(*text);
}

}  // namespace

MachineFacts read_machine_facts() {
  MachineFacts facts;
  utsname names{};
  if (::uname(&names) == 0) {
    facts.hostname = names.nodename;
    facts.kernel_version = names.release;
  }
  facts.os = "linux";
  auto release = read_small_file("/etc/os-release");
  if (!release) release = read_small_file("/usr/lib/os-release");
  if (release) {
    facts.platform = os_release(*release, "ID");
    facts.platform_version = os_release(*release, "VERSION_ID");
    facts.platform_family = os_release(*release, "ID_LIKE");
    if (facts.platform_family.empty()) facts.platform_family = facts.platform;
  }
  facts.logical_cpus = usable_cpus();
  if (auto share = cgroup_cpus(cgroup_folder())) {
    facts.logical_cpus = std::clamp(static_cast<std::uint32_t>(std::ceil(*share)), 1U, facts.logical_cpus);
  }
  facts.physical_cpus = std::min(physical_cpus(), facts.logical_cpus);
  if (facts.physical_cpus == 0) facts.physical_cpus = facts.logical_cpus;
  return facts;
}

LoadMeter::LoadMeter() : cgroup_(cgroup_folder()), last_(sample()) {}

LoadMeter::Sample LoadMeter::sample() const {
  Sample result;
  if (auto text = read_small_file("/proc/stat")) {
    std::string_view line = std::string_view(*text).substr(0, text->find('\n'));
    next_word(line);  // "cpu"
    // user nice system idle iowait irq softirq steal; guest time is inside user already (proc(5)).
    for (int i = 0; i < 8; ++i) {
      auto ticks = to_number(next_word(line));
      result.total += ticks;
      if (i != 3 && i != 4) result.busy += ticks;
    }
  }
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    auto of = [](const timeval& time) {
      return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
    };
    result.process = of(usage.ru_utime) + of(usage.ru_stime);
  }
  if (!cgroup_.empty()) result.cgroup = cgroup_time(cgroup_).value_or(Duration::zero());
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  result.when = TimePoint(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
  return result;
}

MachineLoad LoadMeter::measure() {
  MachineLoad load;
  auto now = sample();
  if (now.total > last_.total && now.busy >= last_.busy) {
    load.cpu_percent =
        100.0 * static_cast<double>(now.busy - last_.busy) / static_cast<double>(now.total - last_.total);
  }
  if (now.when > last_.when) {
    auto elapsed = static_cast<double>((now.when - last_.when).count());
    load.process_cpu_percent = 100.0 * static_cast<double>((now.process - last_.process).count()) / elapsed;
    if (auto share = cgroup_cpus(cgroup_)) {
      auto used = static_cast<double>((now.cgroup - last_.cgroup).count()) / elapsed;
      load.cpu_percent = std::clamp(100.0 * used / *share, 0.0, 100.0);
    }
  }
  last_ = now;

  if (auto text = read_small_file("/proc/meminfo")) {
    std::string_view rest = *text;
    while (!rest.empty()) {
      auto line = next_line(rest);
      auto key = next_word(line);
      auto bytes = to_number(next_word(line)) * 1024;
      if (key == "MemTotal") load.memory_total = bytes;
      if (key == "MemFree") load.memory_free = bytes;
      if (key == "MemAvailable") load.memory_available = bytes;
    }
  }
  auto limit = cgroup_number(cgroup_, "memory.max");
  auto used = cgroup_number(cgroup_, "memory.current");
  if (limit && used && *limit < load.memory_total) {
    load.memory_total = *limit;
    load.memory_free = *limit > *used ? *limit - *used : 0;
    load.memory_available = std::min(load.memory_available, load.memory_free);
  }
  load.memory_used = load.memory_total - std::min(load.memory_total, load.memory_available);
  if (auto text = read_small_file("/proc/self/statm")) {
    std::string_view line = *text;
    next_word(line);
    load.process_resident = to_number(next_word(line)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  if (load.memory_total > 0) {
    load.process_memory_percent =
        100.0 * static_cast<double>(load.process_resident) / static_cast<double>(load.memory_total);
  }
  return load;
}

}  // namespace d7y::world
