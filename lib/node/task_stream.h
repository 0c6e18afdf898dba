// A download as the stream of messages that DownloadTask answers with (Dragonfly client 3.5): one
// "started" with all pieces, then each piece once as it lands, then the end.
//
// A client of ours may ask for the bytes as they arrive instead (kBytesKey): pieces are told of without
// content, and between them go the bytes in order, as pieces without a digest that lie anywhere: whole pieces
// would keep whoever reads waiting for as long as one takes, and take as much memory.
#pragma once

#include <functional>
#include <string>

#include "api/dfdaemon.h"
#include "base/scope.h"
#include "fetch/engine.h"
#include "net/grpc/server.h"

namespace d7y::node {

// Metadata of a call, with any value. Dragonfly's message has no place for it, and its daemons pass over
// metadata that they do not know: then the bytes come with the pieces, which have digests.
inline constexpr std::string_view kBytesKey = "d7y-bytes";

struct TaskStreamOptions {
  std::string host_id;
  // Upload server's manner: a task that is complete here is announced to the scheduler, and the stream
  // ends without any message.
  bool silent_if_complete = false;
  bool bytes_in_order = false;  // as kBytesKey asks for; with need_piece_content
  // Called when the origin or a parent has told what the task is, before the first message; may be empty.
  std::function<void()> begun;
  // Where the download goes on to its end when the call is cancelled; none: it ends with the call.
  Scope* outlives = nullptr;
  bool removes_output = false;  // the caller does so after an error, as below
};

// Whether the caller removes the output when a download that had begun fails. Dragonfly's commands do, and
// where there is none to remove they say that, instead of the reason. Theirs is the gRPC library of Rust.
bool removes_output(const grpc::ServerCall& call);

// Runs `wish` and writes its messages to `out`: DownloadTaskResponse, or DownloadPersistentCacheTaskResponse.
template <class Response>
Task<Result<void>> stream_download(fetch::Engine& engine, fetch::Wish wish, TaskStreamOptions options,
                                   grpc::Writer<Response>& out);

// An error as DownloadTask's clients expect it: what an origin answered is INTERNAL with its JSON as details;
// everything else keeps its own code.
Error to_task_error(Error error);

// How long a download may take: what its message says, or two hours.
template <class Message>
Duration timeout_of(const Message& message) {
  const Duration usual = std::chrono::hours(2);
  if (!message.has_timeout()) return usual;
  auto timeout = api::duration_of(message.timeout());
  return timeout > Duration::zero() ? timeout : usual;
}

}  // namespace d7y::node
