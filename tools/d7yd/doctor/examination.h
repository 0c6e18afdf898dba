// What `d7yd doctor` looks at and what it has found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../runtime/plan.h"

namespace tools::doctor {

enum class State { kGood, kHint, kProblem };

struct Finding {
  State state;
  std::string check;  // short name of what was looked at, "scheduler"
  std::string what;   // a sentence about what is so
  std::string fix;    // what to do, for hints and problems
};

// The parts of dfdaemon.yaml that matter here, with d7yd's defaults.
struct Daemon {
  std::string config_path = "/etc/dragonfly/dfdaemon.yaml";
  bool config_there = false;
  std::string socket = "/var/run/dragonfly/dfdaemon.sock";
  std::string storage = "/var/lib/dragonfly/";
  struct Port {
    std::string name;  // its key
    std::string ip;
    std::uint16_t number = 0;
  };
  std::vector<Port> ports;
  std::uint16_t port(const std::string& name) const;
  std::vector<std::string> schedulers;
  std::string manager;
  std::vector<std::string> registries;        // names under proxy.registryMirror
  std::vector<std::uint16_t> registry_ports;  // ports of such that have their own
  std::uint64_t disk_threshold = 0;           // percent from which on tasks are removed
  bool answers = false;                       // found out by examine_daemon()
};

class Examination {
 public:
  // `root` stands before the paths of runtimes' files; empty: none.
  Examination(std::string config_path, std::string root);

  void run();

  const std::vector<Finding>& findings() const { return findings_; }
  bool problems() const;

 private:
  void good(const char* check, std::string what);
  void hint(const char* check, std::string what, std::string fix);
  void problem(const char* check, std::string what, std::string fix);

  void read_configuration();
  // machine.cc
  void examine_daemon();
  void examine_ports();
  void examine_disk();
  void examine_clock();
  void examine_upstream();
  // runtimes.cc
  void examine_containerd();
  void examine_hosts(const std::string& path, const std::string& registry);
  void examine_pulls(const std::string& certs, const std::string& content);
  void examine_docker();
  void examine_registries_conf();

  void examine_proxy_address(const char* check, const std::string& path, const std::string& url);
  // Whether "host:port" resolves and somebody accepts connections there; what was found is noted.
  void examine_address(const char* check, const std::string& address, const std::string& key);
  std::optional<std::string> read(const std::string& path) const;  // below the root
  runtime::Files host_files() const;

  std::string root_;
  Daemon daemon_;
  bool some_runtime_ = false;
  std::vector<Finding> findings_;
};

}  // namespace tools::doctor
