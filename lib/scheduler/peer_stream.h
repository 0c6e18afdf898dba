// One AnnouncePeer stream: what a daemon says about one download, in order, and what is answered.
#pragma once

#include <deque>
#include <optional>

#include "scheduler/service.h"

namespace d7y::scheduler {

// Lives in the stream's handler. When the client goes away the handler is destroyed where it waits, and with
// it this object, which tells the brain.
class PeerStream {
 public:
  using Request = api::scheduler::AnnouncePeerRequest;
  using Response = api::scheduler::AnnouncePeerResponse;

  // `takes_offers`: the client reads answers that it did not ask for.
  PeerStream(Service& service, grpc::ServerCall& call, bool takes_offers);
  ~PeerStream();
  PeerStream(const PeerStream&) = delete;
  PeerStream& operator=(const PeerStream&) = delete;

  // Waits until the scheduler is ready, and until it knows what others know about a task.
  Task<void> prepare();
  Task<void> recall(std::string task_id);
  // One message from the client; an error ends the stream with it.
  Result<void> take(const Request& request);

  // From the brain's actions.
  void send(Response response);
  void end(std::optional<Error> error);

  // What goes out: the next response, or none once the stream is over.
  Task<std::optional<Response>> next();
  Result<void> outcome();

  PeerHandle peer() const { return peer_; }
  grpc::ServerCall& call() { return call_; }
  bool takes_offers() const { return takes_offers_; }

 private:
  Result<void> take_register(const Request& request);
  void note(std::string_view event);
  // `parent_id`: empty: from the source.
  void note_piece(const HostRecord& host, std::string_view parent_id, std::uint64_t bytes);

  // A span from the request for parents to this answer.
  void trace_answer(const Response& response) const;

  Service& service_;
  grpc::ServerCall& call_;
  bool takes_offers_;
  PeerHandle peer_;
  std::string host_id_, task_id_, peer_id_;
  std::deque<Response> outbox_;
  bool over_ = false;
  std::optional<Error> error_;
  bool origin_refused_ = false;        // the last failed piece says that the origin answered 4xx
  std::optional<TimePoint> asked_at_;  // a request for parents that has no answer yet
  bool answered_ = false;
  Signal changed_;
};

}  // namespace d7y::scheduler
