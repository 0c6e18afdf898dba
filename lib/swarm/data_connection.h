// A kept connection to a d7y parent: several pieces at once, and news about what it has.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/scope.h"
#include "swarm/parent_pool.h"
#include "swarm/vortex.h"
#include "world/network.h"

namespace d7y::swarm {

class DataConnection : public std::enable_shared_from_this<DataConnection> {
 public:
  // `limit` is the own limit of the download that this connection is for; null: for all.
  DataConnection(ParentPool& pool, Address address, std::unique_ptr<world::Stream> stream,
                 TokenBucket* limit);
  ~DataConnection();
  DataConnection(const DataConnection&) = delete;
  DataConnection& operator=(const DataConnection&) = delete;

  // See ParentPool::fetch. The caller keeps the connection alive.
  Task<Result<store::PieceInfo>> fetch(store::PieceClaim claim, const FetchOptions& options);

  // Calls `told` for each statement about the task; with null and the reason when no more will come
  // because the connection broke. `told` must not end the subscription or the connection.
  using Told = std::function<void(const vortex::Have* have, const Error* broken)>;
  class Subscription {
   public:
    Subscription(std::shared_ptr<DataConnection> connection, std::uint32_t number)
        : connection_(std::move(connection)), number_(number) {}
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

   private:
    std::shared_ptr<DataConnection> connection_;
    std::uint32_t number_;
  };
  Result<std::unique_ptr<Subscription>> subscribe(const std::string& task_id, Told told);

  bool broken() const { return broken_.has_value(); }
  // The parent has sent something: it speaks our extensions.
  bool proven() const { return proven_; }
  TokenBucket* limit() const { return limit_; }
  std::size_t in_flight() const { return requests_.size(); }
  bool idle() const { return requests_.empty() && subscriptions_.empty(); }
  TimePoint last_use() const { return last_use_; }

 private:
  struct Request {
    store::PieceClaim* claim = nullptr;
    const FetchOptions* options = nullptr;
    std::uint32_t number = 0;
    bool ended = false;
    bool wrong = false;  // the parent says that what it forwarded is not the piece
    std::optional<Error> failure;
    std::string digest;
    TimePoint last_byte{};
    // Since when the parent serves later requests and not this one; none if it does not.
    std::optional<TimePoint> overtaken;
    Signal changed;
  };
  class Registration;

  Task<void> read_forever();
  Task<Result<void>> read();
  Task<Result<void>> take_chunk();
  Task<void> follow(std::shared_ptr<world::Receiving> receiving, std::uint64_t ordered);
  Request* wanted();
  void arrived(Request* request, std::uint64_t bytes);
  Task<void> write_forever();
  Result<void> handle(const vortex::Answer& answer);
  void send(std::string packet);
  void break_off(Error why);
  void fail(std::uint32_t id, Request& request, Error why);

  ParentPool& pool_;
  world::World& world_;
  Address address_;
  std::unique_ptr<world::Stream> stream_;
  TokenBucket* limit_;
  vortex::AnswerReader reader_;
  std::uint64_t without_wait_ = 0;  // bytes of bodies, since others on the loop had their turn
  std::vector<std::byte> buffer_;
  Bytes ahead_;  // of buffer_, not used yet
  std::uint32_t chunk_of_ = 0;
  std::uint32_t next_number_ = 1;
  std::map<std::uint32_t, Request*> requests_;
  std::map<std::uint32_t, Told> subscriptions_;
  std::string outbox_;
  Signal to_write_;
  std::optional<Error> broken_;
  bool proven_ = false;
  bool fast_ = false;  // it brought much without a pause
  TimePoint last_use_{}, last_byte_{};
  Scope scope_;
};

}  // namespace d7y::swarm
