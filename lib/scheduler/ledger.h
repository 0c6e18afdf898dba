// What a scheduler remembers over a restart: small entries with a name in a group. Writing never waits; what
// was written is safe once settle() says so.
//
//   ledger.put({"task/abc", "host-1", bytes, expires});
//   auto settling = ledger.settle(deadline);
//   CO_OK(co_await settling);
//
// Two makers: a journal in a folder (journal_ledger.h), or a Redis shared by several schedulers
// (redis_ledger.h).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "base/task.h"

namespace d7y::scheduler {

struct LedgerEntry {
  std::string group, name;
  std::string value;
  WallTime expires = WallTime::max();  // forgotten by itself after this
};

// The group of announced hosts.
inline constexpr std::string_view kHostsGroup = "hosts";

class Ledger {
 public:
  virtual ~Ledger() = default;

  // What is there from before, each entry once: hosts, then entries without a name (what their group is
  // about), then the others. A shared ledger gives hosts only; other groups are read when they are needed.
  virtual Task<Result<void>> load(std::function<void(LedgerEntry)> each) = 0;
  // Others write too: groups have to be read before they are used.
  virtual bool shared() const = 0;
  // A group as it is now; only for shared ones.
  virtual Task<Result<std::vector<LedgerEntry>>> read(std::string group) = 0;

  virtual void put(LedgerEntry entry) = 0;
  virtual void erase(std::string group, std::string name) = 0;
  virtual void erase_group(std::string group) = 0;
  // Waits until everything that was written is safe.
  virtual Task<Result<void>> settle(Deadline deadline) = 0;
};

}  // namespace d7y::scheduler
