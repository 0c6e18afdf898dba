// A ledger in Redis that several schedulers share (FORMAT.md).
//
//   RedisLedger ledger(world, options, log, metrics);
//   scope.spawn(ledger.run());
//
// Writing never waits. While Redis is away, reads fail at once, and schedulers go on with what they know.
#pragma once

#include "scheduler/ledger.h"
#include "scheduler/redis_client.h"

namespace d7y::scheduler {

class RedisLedger final : public Ledger {
 public:
  RedisLedger(world::World& world, RedisOptions options, Log log, Metrics& metrics);

  // Talks to Redis; for ever.
  Task<void> run() { return client_.run(); }

  Task<Result<void>> load(std::function<void(LedgerEntry)> each) override;
  bool shared() const override { return true; }
  Task<Result<std::vector<LedgerEntry>>> read(std::string group) override;
  void put(LedgerEntry entry) override;
  void erase(std::string group, std::string name) override;
  void erase_group(std::string group) override;
  Task<Result<void>> settle(Deadline deadline) override;

 private:
  std::string key(std::string_view group) const;

  world::World& world_;
  RedisClient client_;
};

}  // namespace d7y::scheduler
