// A ledger in Redis that several schedulers share (FORMAT.md).
//
//   RedisLedger ledger(world, options, log, metrics);
//   scope.spawn(ledger.run());
//
// Everything goes through one connection in order, so what is read has seen what was written. Writing never
// waits; while Redis is away up to a hundred thousand writes wait, older ones are lost. Reads fail at once
// then, and schedulers go on with what they know. With a master's name the addresses are Sentinels, which are
// asked for the master at each connection. Redis Cluster is not spoken.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "base/log.h"
#include "base/metrics.h"
#include "base/notify.h"
#include "scheduler/ledger.h"
#include "scheduler/resp.h"
#include "world/world.h"

namespace d7y::scheduler {

struct RedisOptions {
  std::vector<std::string> addrs;  // "host:port", tried in this order
  std::string master_name;
  std::string username, password, sentinel_username, sentinel_password;
  std::string prefix;                           // of all keys
  Duration timeout = std::chrono::seconds(10);  // of connecting, and of answers to a batch
  std::size_t most_waiting = 100'000;           // writes
  // Makes a connection; none: plain TCP. For TLS.
  std::function<Task<Result<std::unique_ptr<world::Stream>>>(std::string, Deadline)> connect;
};

class RedisLedger final : public Ledger {
 public:
  RedisLedger(world::World& world, RedisOptions options, Log log, Metrics& metrics);
  ~RedisLedger() override;

  // Talks to Redis; for ever.
  Task<void> run();

  Task<Result<void>> load(std::function<void(LedgerEntry)> each) override;
  bool shared() const override { return true; }
  Task<Result<std::vector<LedgerEntry>>> read(std::string group) override;
  void put(LedgerEntry entry) override;
  void erase(std::string group, std::string name) override;
  void erase_group(std::string group) override;
  Task<Result<void>> settle(Deadline deadline) override;

 private:
  // A reader's place in the queue.
  struct Reply {
    std::optional<Result<RespValue>> value;
    Signal here;
  };
  struct Item {
    std::string bytes;             // the command
    std::shared_ptr<Reply> reply;  // none: a write
  };
  struct Connection {
    std::unique_ptr<world::Stream> stream;
    RespReader reader;
  };

  std::string key(std::string_view group) const;
  void write(std::vector<std::string> words);
  Task<Result<RespValue>> ask(std::vector<std::string> words, Deadline deadline);
  Task<Result<Connection>> connect(Deadline deadline);
  Task<Result<Connection>> connect_to(std::string address, std::string username, std::string password,
                                      Deadline deadline);
  Task<Result<RespValue>> receive(Connection& connection, Deadline deadline);
  Task<Result<RespValue>> exchange(Connection& connection, std::vector<std::string> words, Deadline deadline);
  // Sends the first items and takes what comes back.
  Task<Result<void>> work_off(Connection& connection);
  void fail_readers(const Error& why);

  world::World& world_;
  RedisOptions options_;
  Log log_;
  std::deque<Item> queue_;
  std::size_t writes_ = 0;  // in the queue
  std::size_t sent_ = 0;    // the first so many items of it are on their way
  Signal wake_;
  Gauge& connected_;
  Counter &commands_, &failures_;
};

}  // namespace d7y::scheduler
