// What a scheduler asks of hosts (dfdaemon.v2.DfdaemonUpload), over channels that are kept for a while.
//
//   HostCalls calls(world, connect, log);
//   auto downloading = calls.download(address, request);
//   CO_OK(co_await downloading);                     // when the host has it all
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "api/dfdaemon.h"
#include "base/log.h"
#include "net/grpc/channel.h"
#include "world/world.h"

namespace d7y::scheduler {

class HostCalls {
 public:
  // Makes connections; none: plain TCP. For TLS.
  using Connector = std::function<grpc::Channel::Connect(Address)>;
  HostCalls(world::World& world, Connector connector, Log log);
  HostCalls(const HostCalls&) = delete;
  HostCalls& operator=(const HostCalls&) = delete;

  // A server stream that is read to its end; what it says is of no interest.
  template <class Response, class Request>
  Task<Result<void>> drain(Address at, std::string_view path, Request request,
                           grpc::CallOptions options = grpc::CallOptions()) {
    auto call = channel_to(at).template server_stream<Response>(path, request, std::move(options));
    for (;;) {
      auto reading = call.read();
      CO_TRY(auto message, co_await reading);
      if (!message) co_return Result<void>{};
    }
  }
  template <class Response, class Request>
  Task<Result<Response>> unary(Address at, std::string_view path, Request request, Duration timeout) {
    grpc::CallOptions options;
    options.deadline = Deadline::in(timeout, world_.now());
    auto calling = channel_to(at).template unary<Response>(path, request, std::move(options));
    co_return co_await calling;
  }

  // `traceparent`: the trace that the download belongs to; empty: none.
  Task<Result<void>> download(Address at, api::dfdaemon::DownloadTaskRequest request,
                              const std::string& traceparent = std::string());

  // Whether anything is answered there before `patience` is over, be it a refusal.
  Task<bool> answers(Address at, Duration patience);

  std::size_t channels() const { return channels_.size(); }

 private:
  grpc::Channel& channel_to(const Address& at);

  world::World& world_;
  Connector connector_;
  Log log_;
  std::map<Address, std::unique_ptr<grpc::Channel>> channels_;
};

// Runs work(0) to work(count - 1), at most `at_once` at a time.
Task<void> in_parallel(Loop& loop, std::size_t count, std::size_t at_once,
                       std::function<Task<void>(std::size_t)> work);

}  // namespace d7y::scheduler
