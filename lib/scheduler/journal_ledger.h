// A ledger in one append-only file, "scheduler.journal" (FORMAT.md).
//
//   TRY(auto ledger, JournalLedger::open(world, "/var/lib/dragonfly", log, metrics));
//   scope.spawn(ledger->run());
//
// Entries are collected for a tenth of a second and written together; the disk is told to keep them once a
// second. A torn or damaged tail is cut off when the file is opened; everything before it counts. When most
// of the file is out of date it is written anew beside the old one, a slice at a time, and takes its place by
// one rename.
#pragma once

#include <memory>
#include <unordered_map>

#include "base/log.h"
#include "base/metrics.h"
#include "base/notify.h"
#include "scheduler/ledger.h"
#include "world/world.h"

namespace d7y::scheduler {

class JournalLedger final : public Ledger {
 public:
  // Makes the folder. kExists: another process has it. kCorrupt: the file is something else.
  static Result<std::unique_ptr<JournalLedger>> open(world::World& world, const std::string& folder, Log log,
                                                     Metrics& metrics);

  // Writes and tidies up; for ever.
  Task<void> run();

  Task<Result<void>> load(std::function<void(LedgerEntry)> each) override;
  bool shared() const override { return false; }
  Task<Result<std::vector<LedgerEntry>>> read(std::string group) override;
  void put(LedgerEntry entry) override;
  void erase(std::string group, std::string name) override;
  void erase_group(std::string group) override;
  Task<Result<void>> settle(Deadline deadline) override;

  std::uint64_t size() const { return end_ + pending_.size(); }  // bytes
  // Writes the file anew now, whatever its size.
  Task<Result<void>> compact();

 private:
  JournalLedger(world::World& world, std::string path, Log log, Metrics& metrics);

  // What the records up to some place amount to: where the last word about each name stands.
  struct Survey {
    std::unordered_map<std::uint64_t, std::uint64_t> names;  // hash of group and name -> offset of its record
    std::unordered_map<std::uint64_t, std::uint64_t> groups;  // hash of group -> offset of its last erasure
    std::uint64_t end = 0;                                    // behind the last whole record
  };
  struct Record;
  using Each = std::function<void(const Record&, std::uint64_t offset, std::string_view raw)>;
  // Goes through the records in [from, to), a slice at a time. Stops at the first that is not whole.
  Task<Result<std::uint64_t>> walk(std::uint64_t from, std::uint64_t to, Each each);
  Task<Result<Survey>> survey(std::uint64_t to);
  bool lives(const Survey& survey, const Record& record, std::uint64_t offset) const;
  std::uint64_t key_of(std::string_view group, std::string_view name) const;
  void append(std::uint8_t kind, const LedgerEntry& entry);
  Result<void> flush();

  world::World& world_;
  std::string path_;
  Log log_;
  std::uint64_t hash_key_;
  std::unique_ptr<world::FileLock> lock_;
  std::shared_ptr<world::File> file_;
  std::uint64_t end_ = 0;                   // of what is written
  std::uint64_t compacted_at_ = 0;          // the file's size when it was last written anew
  std::string pending_;                     // not yet written
  std::uint64_t written_ = 0, synced_ = 0;  // counts of flushes with and without the disk's word
  bool complained_ = false;
  Signal wake_;
  Counter &records_, &failures_;
  Gauge& bytes_;
};

}  // namespace d7y::scheduler
