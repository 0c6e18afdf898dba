// The stream on which a download talks to its scheduler, in the messages of AnnouncePeer whatever its kind
// is.
//
// Persistent-cache tasks have a call of their own with nearly the same words (Dragonfly grpc 2.5). They are
// translated here, so that one conversation (announce_session.h) serves all kinds. What they cannot say,
// going to an origin, is kInvalid to write.
#pragma once

#include <optional>
#include <variant>

#include "api/scheduler.h"
#include "net/grpc/channel.h"
#include "store/task_facts.h"

namespace d7y::swarm {

class PeerCall {
 public:
  using Request = api::scheduler::AnnouncePeerRequest;
  using Response = api::scheduler::AnnouncePeerResponse;

  PeerCall() = default;
  // `persistent`: this host's copy shall stay until the task's time is over; of no meaning to standard tasks.
  PeerCall(grpc::Channel& channel, store::TaskKind kind, bool persistent, grpc::CallOptions options);

  Task<Result<void>> write(const Request& request);
  // None at the end of the stream.
  Task<Result<std::optional<Response>>> read();
  void cancel();

 private:
  using Standard = grpc::BidiCall<Request, Response>;
  using CacheRequest = api::scheduler::AnnouncePersistentCachePeerRequest;
  using CacheResponse = api::scheduler::AnnouncePersistentCachePeerResponse;
  using Cache = grpc::BidiCall<CacheRequest, CacheResponse>;

  Result<CacheRequest> translated(const Request& request) const;
  Response translated(const CacheResponse& response);

  std::variant<Standard, Cache> call_;
  bool persistent_ = false;
  // As they were offered last: rescheduling echoes them.
  google::protobuf::RepeatedPtrField<api::common::PersistentCachePeer> offered_;
};

}  // namespace d7y::swarm
