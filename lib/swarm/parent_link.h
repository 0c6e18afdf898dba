// One parent's data address: the connections to it, whichever of the two kinds it is.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/scope.h"
#include "swarm/data_connection.h"
#include "swarm/parent_pool.h"

namespace d7y::swarm {

class ParentLink : public std::enable_shared_from_this<ParentLink> {
 public:
  ParentLink(ParentPool& pool, Address address, Log log);
  ParentLink(const ParentLink&) = delete;
  ParentLink& operator=(const ParentLink&) = delete;

  // See ParentPool::fetch. The caller keeps the link alive.
  Task<Result<store::PieceInfo>> fetch(store::PieceClaim claim, const FetchOptions& options);

  // A connection that can carry extensions, for one that is known to understand them; opened if needed.
  // `apart`: one that carries nothing, if there may be one more.
  Task<Result<std::shared_ptr<DataConnection>>> acquire(TokenBucket* limit, Deadline deadline,
                                                        bool apart = false);

  // It is known to be d7y, from elsewhere or from its answers.
  bool d7y() const { return d7y_; }
  void set_d7y(bool d7y) { d7y_ = d7y; }

  // Closes what was not used for long; true if nothing is left.
  bool collect(TimePoint now);
  std::size_t connections() const { return connections_.size() + spares_.size(); }

 private:
  struct Spare {
    std::unique_ptr<world::Stream> stream;
    TimePoint opened{};
  };

  Task<Result<store::PieceInfo>> fetch_shared(store::PieceClaim claim, const FetchOptions& options);
  Task<Result<store::PieceInfo>> fetch_alone(store::PieceClaim claim, const FetchOptions& options);
  Task<Result<void>> ask(world::Stream& stream, std::string request, vortex::AnswerReader& reader,
                         std::vector<std::byte>& buffer, Bytes& ahead, std::optional<vortex::Answer>& answer,
                         Deadline deadline);
  Task<Result<void>> receive_body(world::Stream& stream, vortex::AnswerReader& reader, Bytes ahead,
                                  store::PieceClaim& claim, const FetchOptions& options);
  Task<Result<std::unique_ptr<world::Stream>>> connect(Deadline deadline);
  Task<void> open_spare();
  std::unique_ptr<world::Stream> take_spare();
  void prune();

  ParentPool& pool_;
  world::World& world_;
  Address address_;
  Log log_;
  bool d7y_ = false;
  std::size_t fetching_ = 0;
  std::vector<std::shared_ptr<DataConnection>> connections_;
  bool opening_ = false;
  Signal opened_;
  std::deque<Spare> spares_;
  std::size_t spares_opening_ = 0;
  TimePoint last_use_{};
  Scope scope_;
};

}  // namespace d7y::swarm
