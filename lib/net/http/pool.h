// Kept client connections, by where they lead.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/notify.h"
#include "net/http/wire.h"

namespace d7y::http::detail {

class Pool;

// A connection and its place among those that its origin may have.
class Connection {
 public:
  Connection(Pool& pool, std::string key, Limits limits, Duration stall);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void attach(std::unique_ptr<world::Stream> stream);
  Wire& wire() { return *wire_; }
  Pool& pool() { return pool_; }
  const std::string& key() const { return key_; }
  Deadline stall_deadline(Deadline deadline, TimePoint now) const {
    return deadline.or_earlier(Deadline::in(stall_, now));
  }
  Duration stall() const { return stall_; }

  // Keeps alive what the key names by its address, so that no other trust can take its place.
  std::shared_ptr<void> trust;
  bool reused = false;
  bool keep = true;  // may serve another request

 private:
  friend class Pool;
  class Expiry final : public Timer {
   public:
    explicit Expiry(Connection& connection) : connection_(connection) {}

   private:
    void fire() override;
    Connection& connection_;
  };

  Pool& pool_;
  std::string key_;
  Limits limits_;
  Duration stall_;
  std::optional<Wire> wire_;
  std::uint64_t idle_since_ = 0;  // a count that grows with every connection put to rest
  Expiry expiry_;
};

struct PoolLimits {
  std::size_t per_origin, idle_per_origin, idle_total;
  Duration idle_timeout;
};

class Pool {
 public:
  Pool(Loop& loop, PoolLimits limits) : loop_(loop), limits_(limits) {}
  ~Pool();

  // A kept connection that still looks alive, or null.
  std::unique_ptr<Connection> take_idle(const std::string& key);
  // Whether another connection to `key` may be opened now. Making a Connection takes the place.
  bool has_room(const std::string& key) const;
  // Waits until a connection to `key` ends or is given back.
  Task<Result<void>> wait(std::string key, Deadline deadline);
  void give_back(std::unique_ptr<Connection> connection);
  void close_idle();
  // Closes the kept connections to `key`, all presumably gone when one of them is.
  void close_idle(const std::string& key);

  // While a request waits for its answer. After a second the kept connections to the same place are closed,
  // and no further ones are kept: a server that serves one connection at a time comes to this one when they
  // are gone.
  class Unheard final : public Timer {
   public:
    Unheard(Pool& pool, const std::string& key);  // both outlive it
    ~Unheard() override;
    Unheard(const Unheard&) = delete;
    Unheard& operator=(const Unheard&) = delete;

   private:
    void fire() override;
    Pool& pool_;
    const std::string& key_;
    bool for_long_ = false;
  };

  std::size_t idle() const { return idle_; }
  std::size_t open() const { return open_; }

 private:
  friend class Connection;
  struct Origin {
    std::size_t open = 0;
    std::size_t waiting = 0;
    std::vector<std::unique_ptr<Connection>> idle;  // longest unused first
    Signal changed;
  };
  Origin& origin(const std::string& key);
  void opened(const std::string& key);
  void closed(const std::string& key);
  void expire(Connection& connection);
  void evict_oldest();
  void tidy(const std::string& key);

  Loop& loop_;
  PoolLimits limits_;
  std::map<std::string, std::unique_ptr<Origin>> origins_;
  std::map<std::string, std::size_t> unheard_;  // requests that have waited for long
  std::size_t open_ = 0, idle_ = 0;
  std::uint64_t rests_ = 0;
};

}  // namespace d7y::http::detail
