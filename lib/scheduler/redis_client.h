// A client of Redis: one connection, kept, with commands and answers in order.
//
//   RedisClient client(world, options, "ledger", log, metrics);
//   scope.spawn(client.run());
//   client.write({"SET", "key", "value"});                        // some time; nobody waits
//   CO_TRY(RespValue value, co_await client.ask({"GET", "key"}, deadline));
//
// What is read has seen what was written before. While Redis is away up to `most_waiting` writes wait, older
// ones are lost; whoever asks fails at once. With a master's name the addresses are Sentinels, which are
// asked for the master at each connection. Redis Cluster is not spoken. One loop.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "base/log.h"
#include "base/metrics.h"
#include "base/notify.h"
#include "scheduler/resp.h"
#include "world/world.h"

namespace d7y::scheduler {

struct RedisOptions {
  std::vector<std::string> addrs;  // "host:port", tried in this order
  std::string master_name;
  std::string username, password, sentinel_username, sentinel_password;
  unsigned database = 0;
  std::string prefix;                           // of all keys
  Duration timeout = std::chrono::seconds(10);  // of connecting, and of answers to a batch
  std::size_t most_waiting = 100'000;           // writes
  // Makes a connection; none: plain TCP. For TLS.
  std::function<Task<Result<std::unique_ptr<world::Stream>>>(std::string, Deadline)> connect;
};

// One connection, logged in, with its database chosen. Commands may be sent before answers are received.
class RedisConnection {
 public:
  static Task<Result<RedisConnection>> open(world::World& world, RedisOptions options, Deadline deadline);

  Task<Result<void>> send(std::string bytes, Deadline deadline);  // of resp_command
  Task<Result<RespValue>> receive(Deadline deadline);
  // Both; kUnauthenticated for an error that Redis answers.
  Task<Result<RespValue>> exchange(std::vector<std::string> words, Deadline deadline);

 private:
  static Task<Result<RedisConnection>> open_at(world::World& world, const RedisOptions& options,
                                               std::string address, std::string username,
                                               std::string password, Deadline deadline);
  std::unique_ptr<world::Stream> stream_;
  RespReader reader_;
};

class RedisClient {
 public:
  // `use` names this client in logs and metrics.
  RedisClient(world::World& world, RedisOptions options, std::string use, Log log, Metrics& metrics);
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  // Talks to Redis; for ever.
  Task<void> run();
  void write(std::vector<std::string> words);
  // kUnavailable: Redis is away, or refuses; kTimeout.
  Task<Result<RespValue>> ask(std::vector<std::string> words, Deadline deadline);

  const RedisOptions& options() const { return options_; }

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

  // Sends the first items and takes what comes back.
  Task<Result<void>> work_off(RedisConnection& connection);
  void fail_readers(const Error& why);

  world::World& world_;
  RedisOptions options_;
  std::string use_;
  Log log_;
  std::deque<Item> queue_;
  std::size_t writes_ = 0;  // in the queue
  std::size_t sent_ = 0;    // the first so many items of it are on their way
  Signal wake_;
  Gauge& connected_;
  Counter &commands_, &failures_;
};

}  // namespace d7y::scheduler
