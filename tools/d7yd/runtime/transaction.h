// Writes a plan so that it can be taken back: all files or none, with what was there before kept beside the
// runtime's configuration, in its folder .d7yd/: an init container sees no other folder of the host.
//
// A plan is always made from the files as they are without us (`base`), so configuring twice changes nothing,
// other settings replace the former ones, and lines that people add meanwhile stay.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "plan.h"

namespace tools::runtime {

struct Change {
  std::string path;                          // without the root
  std::optional<std::string> before, after;  // nothing: no such file
};

class Transaction {
 public:
  // `root` stands before every path (host_path.h), for the host's files in an init container; empty: none.
  // Reads what earlier ones have left. Throws Refusal.
  Transaction(Runtime runtime, std::string config_path, std::string root);

  // The files as they are without our changes.
  Files base() const;

  // What applying `plan` would change on disk, in the order of paths.
  std::vector<Change> changes(const Plan& plan) const;
  // What undo would change. Throws Refusal (kChangedByHand), unless `force`, which puts back what was there
  // before.
  std::vector<Change> changes_of_undo(bool force) const;

  // Writes them all, or on failure none. Throws Refusal (kFailed).
  void apply(const Plan& plan, const std::vector<Change>& changes);
  void undo(const std::vector<Change>& changes);

  // Whether a change waits for a restart that has not been done yet, also from earlier times.
  bool restart_pending() const { return restart_pending_; }
  const std::string& restart_command() const { return restart_command_; }
  void restarted();

  bool empty() const { return records_.empty(); }
  std::string place() const;  // where the texts before and after are kept

 private:
  struct Record {
    std::optional<std::string> before;  // without us
    std::string after;                  // as we wrote it
  };

  std::optional<std::string> current(const std::string& path) const;
  std::optional<std::string> without_us(const std::string& path) const;
  void write_all(const std::vector<Change>& changes);
  void save() const;
  void load();

  Runtime runtime_;
  std::string root_, folder_;
  std::map<std::string, Record> records_;
  bool restart_pending_ = false;
  std::string restart_command_;
};

}  // namespace tools::runtime
