// Hosts and complete copies of standard tasks over a restart: the brain's actions become ledger entries, and
// ledger entries become hosts and copies again.
//
//   CopyBook book(world, brain, ledger, log);
//   auto loading = book.load(entry);                // for each entry of the ledger
//   book.note(copy_kept);                           // from the brain's actions
//
// Groups: "hosts" (by host id, an AnnounceHostRequest) and "task/<id>" (without a name, a Download without
// anything secret; by host id, the Peer that fetched it).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/common.h"
#include "base/log.h"
#include "base/notify.h"
#include "scheduler/brain.h"
#include "scheduler/ledger.h"
#include "world/world.h"

namespace d7y::scheduler {

class CopyBook {
 public:
  CopyBook(world::World& world, Brain& brain, Ledger& ledger, Log log);
  CopyBook(const CopyBook&) = delete;
  CopyBook& operator=(const CopyBook&) = delete;

  // Takes an entry of the ledger; false if it is about something else.
  bool load(const LedgerEntry& entry);
  // That was all.
  void loaded() { tasks_.clear(); }
  // With a shared ledger: what others know about a task that nobody here can serve. Once for all who ask at
  // the same time.
  Task<void> recall(std::string task_id);

  void note_host(const HostFacts& facts);
  void note(const CopyKept& kept);
  void note(const CopyGone& gone);
  void note(const HostGone& gone);

  std::size_t hosts_found() const { return hosts_found_; }
  std::size_t copies_found() const { return copies_found_; }

 private:
  struct KnownTask {
    api::common::Download download;
    std::string bytes, origin;
  };
  bool load_host(const LedgerEntry& entry);
  bool load_copy(const std::string& task_id, const LedgerEntry& entry);

  world::World& world_;
  Brain& brain_;
  Ledger& ledger_;
  Log log_;
  std::map<std::string, KnownTask> tasks_;                    // read, and their copies not yet
  std::map<std::string, std::shared_ptr<Signal>> recalling_;  // by task id
  std::size_t hosts_found_ = 0, copies_found_ = 0;
};

// The announcement is the same as far as it is worth remembering.
bool same_host(const HostFacts& a, const HostFacts& b);

}  // namespace d7y::scheduler
