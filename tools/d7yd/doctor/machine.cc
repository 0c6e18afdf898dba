// The daemon and the machine under it.
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <map>

#include "examination.h"
#include "probe.h"

namespace tools::doctor {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMib = 1 << 20;
constexpr std::uint64_t kLittleRoom = 1024 * kMib;  // less than a large image
constexpr std::time_t kAuthorsTime = 1735689600;    // 2025-01-01: no clock is right that says earlier
constexpr std::int64_t kSkewLimit = 60;             // seconds; tokens and certificates begin to fail

}  // namespace

void Examination::examine_daemon() {
  auto outcome = connect_unix(daemon_.socket);
  daemon_.answers = static_cast<bool>(outcome);
  if (outcome) {
    good("daemon", "answers at " + daemon_.socket);
  } else if (outcome.number == ENOENT) {
    // Perhaps it runs with another socket than this file says.
    std::string elsewhere;
    for (const char* usual : {"/var/run/dragonfly/dfdaemon.sock", "/run/d7yd.sock", "/var/run/dfdaemon.sock"})
      if (usual != daemon_.socket && connect_unix(usual)) elsewhere = usual;
    problem("daemon",
            fmt::format("nothing is at {}: d7yd does not run, or has another socket", daemon_.socket),
            elsewhere.empty()
                ? fmt::format("start it: d7yd --config {}; in a container, mount the folder of the socket",
                              daemon_.config_path)
                : fmt::format("a daemon answers at {}: use the file that it was started with, or say "
                              "--endpoint {} to the tools",
                              elsewhere, elsewhere));
  } else if (outcome.number == ECONNREFUSED) {
    problem("daemon",
            fmt::format("{} is there, but nobody listens: d7yd has ended without tidying up", daemon_.socket),
            "start it again and look at its log");
  } else if (outcome.number == EACCES || outcome.number == EPERM) {
    problem("daemon", fmt::format("this user may not use {}", daemon_.socket),
            "download.server.socketMode: 0666 opens it to every user of the machine");
  } else {
    problem("daemon", fmt::format("{} cannot be used: {}", daemon_.socket, outcome.why),
            outcome.number == ENAMETOOLONG ? "choose a shorter download.server.socketPath"
                                           : "look at d7yd's log");
  }
  if (!daemon_.answers) return;
  for (const auto& port : daemon_.ports) {
    if (port.name != "health.server" || port.number == 0) continue;
    if (http_get(local_address(port.ip), port.number, "/healthy"))
      good("health",
           fmt::format("http://{}:{}/healthy says it is well", local_address(port.ip), port.number));
    else
      problem("health",
              fmt::format("http://{}:{}/healthy does not answer", local_address(port.ip), port.number),
              "the daemon was started with another file, or hangs: look at its log");
  }
}

void Examination::examine_ports() {
  std::map<std::pair<std::string, std::uint16_t>, std::string> used;
  bool clash = false;
  for (const auto& port : daemon_.ports) {
    if (port.number == 0) continue;
    auto& other = used[{port.ip, port.number}];
    if (!other.empty()) {
      clash = true;
      problem("ports", fmt::format("{} and {} both have port {}", other, port.name, port.number),
              "give one of them another port in " + daemon_.config_path);
    }
    other = port.name;
    if (daemon_.answers) continue;  // they are its own
    if (auto outcome = can_listen(port.ip, port.number); !outcome) {
      clash = true;
      auto who = listener_of(port.number);
      problem("ports",
              fmt::format("{} cannot listen on {}:{}: {}{}", port.name, port.ip, port.number, outcome.why,
                          who.empty() ? "" : ", by " + who),
              fmt::format("stop what uses it, or set {}.{} in {}", port.name,
                          port.name == "storage.server" ? "tcpPort" : "port", daemon_.config_path));
    }
  }
  if (!clash && !daemon_.answers) good("ports", "all ports are free");
}

void Examination::examine_disk() {
  // The store's folder, or where it will be made.
  fs::path folder = daemon_.storage;
  std::error_code failed;
  while (!fs::exists(folder, failed) && folder.has_relative_path()) folder = folder.parent_path();
  struct statvfs disk{};
  if (statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) {
    problem("disk",
            fmt::format("the room in {} cannot be found out: {}", daemon_.storage, std::strerror(errno)),
            "set storage.dir to a folder that d7yd may use");
    return;
  }
  std::uint64_t free = disk.f_bavail * disk.f_frsize, whole = disk.f_blocks * disk.f_frsize;
  auto used = 100 - 100 * free / whole;
  if (free < kLittleRoom)
    problem("disk", fmt::format("{} has {} MiB left", daemon_.storage, free / kMib),
            "make room, or move storage.dir to a larger disk");
  else if (used >= daemon_.disk_threshold)
    hint("disk",
         fmt::format("the disk of {} is {} % full, and from {} % on d7yd removes what was not used for the "
                     "longest time",
                     daemon_.storage, used, daemon_.disk_threshold),
         "make room, raise gc.policy.diskHighThresholdPercent, or give d7yd its own share by "
         "gc.policy.diskThreshold");
  else
    good("disk", fmt::format("{} has {} MiB left", daemon_.storage, free / kMib));
  if (disk.f_files > 0 && disk.f_favail < 1000)
    problem("disk", fmt::format("{} has room for {} more files", daemon_.storage, disk.f_favail),
            "remove files there, or make the file system with more inodes");
}

void Examination::examine_clock() {
  timex clock{};
  if (std::time(nullptr) < kAuthorsTime)
    problem("clock", "this machine's clock is years behind: no certificate is valid to it",
            "set it, and let a time service keep it: timedatectl set-ntp true");
  else if (adjtimex(&clock) == TIME_ERROR)
    hint("clock", "the kernel says that nothing keeps this machine's clock right",
         "if it drifts, registries' tokens and certificates fail: timedatectl set-ntp true (a virtual "
         "machine may get "
         "the time in another way)");
  else
    good("clock", "is kept by a time service");
}

void Examination::examine_address(const char* check, const std::string& address, const std::string& key) {
  auto parts = split(address);
  auto host = parts.host;
  auto port = parts.port;
  if (port == 0) port = address.starts_with("http://") ? 80 : 443;
  auto resolved = resolve(host);
  if (!resolved.why.empty() || resolved.addresses.empty()) {
    problem(
        check, fmt::format("{} ({}) has no address: {}", host, key, resolved.why),
        "check the name, and the name servers in /etc/resolv.conf (a pod with hostNetwork needs dnsPolicy "
        "ClusterFirstWithHostNet)");
    return;
  }
  Outcome last;
  for (const auto& each : resolved.addresses) {
    last = connect_tcp(each, port);
    if (!last) continue;
    good(check, fmt::format("{} ({}) accepts connections", address, key));
    if (!address.starts_with("http://")) return;
    if (auto date = http_date(each, port)) {
      auto skew = *date - static_cast<std::int64_t>(std::time(nullptr));
      if (std::abs(skew) > kSkewLimit)
        problem("clock",
                fmt::format("{}'s clock is {} s {} this machine's", host, std::abs(skew),
                            skew > 0 ? "ahead of" : "behind"),
                "set the clock of the one that is wrong; tokens and certificates fail");
    }
    return;
  }
  problem(check, fmt::format("nobody can be reached at {} ({}): {}", address, key, last.why),
          last.number == ECONNREFUSED
              ? "is it running, and on this port?"
              : "is it running, and does a firewall or NetworkPolicy let this machine in?");
}

void Examination::examine_upstream() {
  if (!daemon_.manager.empty()) examine_address("manager", daemon_.manager, "manager.addr");
  for (const auto& scheduler : daemon_.schedulers) {
    if (split(scheduler).port == 0)
      problem("scheduler", fmt::format("'{}' has no port", scheduler),
              "write it as host:port; d7ysched uses 8002");
    else
      examine_address("scheduler", scheduler, "scheduler.addrs");
  }
  if (daemon_.schedulers.empty() && daemon_.manager.empty())
    hint("scheduler", "no scheduler is known, so that everything comes from the origin",
         "name one: scheduler.addrs: [\"HOST:8002\"] in " + daemon_.config_path);
}

}  // namespace tools::doctor
